//! The count of calls in flight, and the slot that one of them holds.

use std::{
    any::Any,
    num::NonZeroUsize,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use crate::{guarded::Guard, rejected::Rejected};

/// How many calls may be in flight. Cloning gives another handle of the same limit.
#[derive(Debug, Clone)]
pub struct Limit(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    name: Arc<str>,
    max: NonZeroUsize,
    in_flight: AtomicUsize,
}

/// The place of one call, given back when it is dropped.
#[derive(Debug)]
#[must_use = "a slot that is dropped is given back"]
pub struct Slot(Limit);

impl Limit {
    /// At most so many at once.
    pub fn new(name: impl Into<Arc<str>>, max: NonZeroUsize) -> Self {
        Self(Arc::new(Shared { name: name.into(), max, in_flight: AtomicUsize::new(0) }))
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// How many are in flight now.
    pub fn in_flight(&self) -> usize {
        self.0.in_flight.load(Ordering::Relaxed)
    }

    /// How many may be.
    pub fn max(&self) -> NonZeroUsize {
        self.0.max
    }

    /// A slot for one call.
    ///
    /// # Errors
    /// [`Rejected::Overloaded`] when all are taken.
    pub fn admit(&self) -> Result<Slot, Rejected> {
        // Relaxed: the count guards nothing but itself.
        let more = |count: usize| (count < self.0.max.get()).then_some(count + 1);
        match self.0.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => Ok(Slot(self.clone())),
            Err(_) => Err(Rejected::Overloaded { limit: self.0.name.clone() }),
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.0.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// However the body ends, the slot is free.
impl Guard for Slot {
    fn complete(&mut self) {}
    fn broken(&mut self, _: &dyn Any) {}
}
