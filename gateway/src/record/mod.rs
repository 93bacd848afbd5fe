//! What is kept of each request: a count, a duration, a log line, and a span if it is sampled.
//!
//! `layer` sees every answer and each refusal while it is still typed; `traffic` are the numbers (per worker, summed when
//! scraped); `access` is the log line; `span` is the trace.

pub mod access;
mod ids;
pub mod layer;
pub mod span;
pub mod traffic;
