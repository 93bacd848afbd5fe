//! Who waits in `poll_ready` until a breaker may admit: one waker per service, so there are never more than services.

use std::{collections::HashMap, task::Waker};

#[derive(Debug, Default)]
pub(super) struct Waiters {
    wakers: HashMap<u64, Waker>,
    #[cfg(feature = "back-pressure")]
    next: u64,
}

impl Waiters {
    /// A place of its own for a service.
    #[cfg(feature = "back-pressure")]
    pub(super) fn place(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    #[cfg(feature = "back-pressure")]
    pub(super) fn wait(&mut self, place: u64, waker: &Waker) {
        self.wakers
            .entry(place)
            .and_modify(|known| known.clone_from(waker))
            .or_insert_with(|| waker.clone());
    }

    #[cfg(feature = "back-pressure")]
    pub(super) fn leave(&mut self, place: u64) {
        self.wakers.remove(&place);
    }

    pub(super) fn take_all(&mut self) -> Vec<Waker> {
        self.wakers.drain().map(|(_, waker)| waker).collect()
    }
}
