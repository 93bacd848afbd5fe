//! The demo's services: small programs that are real enough to fail in real ways.
//!
//! Each has a folder for its body and a thin binary beside the others in `bin/`. What they share stands here once:
//! [`startup`] (how each starts and ends), [`database`] (SQLite that may break and come back), [`answer`] (the shape
//! of a refusal) and [`trace`] (which request a log line belongs to). A service never imports another one: they meet
//! only over HTTP, through the gateway.

pub mod answer;
pub mod auth;
pub mod control;
pub mod database;
pub mod kafka_producer;
pub mod orders;
pub mod sensor;
pub mod startup;
pub mod trace;

#[cfg(test)]
mod http_test;
