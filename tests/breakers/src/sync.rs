//! What the layers call `crate::sync`, under a scheduler that tries interleavings.

pub(crate) use std::sync::PoisonError;

pub(crate) use shuttle::sync::{
    Mutex, MutexGuard,
    atomic::{AtomicBool, AtomicU64, Ordering},
};
