//! The locks and atomics of the shells, in one place: a test that tries every interleaving puts its own in their stead.

pub(crate) use std::sync::{
    Mutex, MutexGuard, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
