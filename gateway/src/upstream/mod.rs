//! The way to an upstream: connections that belong to one worker, driven inside the requests that use them.
//!
//! `connect` opens a connection; `lane` is one connection with the request it carries; `pool` keeps idle ones; `answer` is
//! the response body that goes on driving its connection; and `forward` puts them together as a tower service.

pub mod answer;
pub mod connect;
pub mod forward;
pub mod lane;
pub mod pool;
