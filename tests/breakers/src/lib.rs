//! Our circuit breaker beside its peers in Rust. The same vectors are run against each of them, and the table of what came of
//! it stands in the documentation; and its shell is put under a scheduler that tries interleavings.
//!
//! A package of its own, so that no peer is ever compiled for the layers, nor for who works on them.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test")]

#[path = "../../../layers/tests/vectors/ours.rs"]
mod ours;
mod peers;
pub mod table;
#[path = "../../../layers/tests/vectors/mod.rs"]
mod vectors;

// The very source of the breaker, compiled once more with the scheduler's locks and atomics in place of the standard library's.
// What it needs of the rest of the layers it takes from them as they are.
#[allow(dead_code, unreachable_pub, reason = "only a part of it is put to work here")]
#[path = "../../../layers/src/circuit_breaker/mod.rs"]
pub mod circuit_breaker;
pub use portcullis::{ending, guarded, outcome, refuse, rejected, window};
mod sync;
