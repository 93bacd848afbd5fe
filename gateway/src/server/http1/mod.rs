//! HTTP/1.1 (and 1.0) from clients: one connection, driven by one future.
//!
//! `connection` is the life of a connection: head, call, answer, and again. `line` is its socket with what was read ahead,
//! shared with the body of the request that is being served; `body` is that body. `outgoing` is an answer on its way to the
//! socket, and `timer` the one timer that all of it has. `wire` has the codec; nothing here parses.
//!
//! Why not hyper's: its faults are answered by itself, without our problem details and without a line in the log; it says
//! nothing of a length beside a coding; and its machinery was a quarter of the gateway's user time.

mod body;
mod connection;
mod line;
mod outgoing;
mod timer;

pub use self::{
    body::{Body, Broken},
    connection::{Bounds, serve},
};
