//! Connections from clients: accepted, told apart (HTTP/1 or h2c), served under time and size bounds, drained.
//!
//! Generic over any service; nothing here knows of a route. A panic in the service costs its connection's task, which
//! tokio contains; the process lives.

pub mod accept;
pub mod connection;
pub mod descriptors;
pub mod drain;
pub mod http1;
pub mod http2;
pub mod inbound;
pub mod patience;
pub mod peer;
pub mod preface;
