//! The leave to make one call, held until it is settled.

use std::{
    num::NonZeroU64,
    time::{Duration, Instant},
};

use super::{breaker::Breaker, ticket::Ticket};
use crate::{ending::Settle, outcome::Outcome};

/// The leave to make one call. Settle it with the call's outcome; dropped unsettled it is given back and says nothing.
#[derive(Debug)]
#[must_use = "a permit that is dropped says nothing about the upstream"]
pub struct Permit {
    /// Whom to tell; nobody any more once it is settled.
    breaker: Option<Breaker>,
    ticket: Ticket,
    at: Instant,
    /// How long the answer took in nanoseconds, if it was timed before the call's end.
    took: Option<NonZeroU64>,
}

impl Permit {
    #[inline]
    pub(super) const fn new(breaker: Breaker, ticket: Ticket, at: Instant) -> Self {
        Self { breaker: Some(breaker), ticket, at, took: None }
    }

    /// Tells the breaker how the call ended.
    pub fn settle(mut self, outcome: Outcome) {
        self.tell(outcome, None);
    }

    /// Tells the breaker how the call ended, at a time that is known already. Spares a look at the clock.
    pub fn settle_at(mut self, outcome: Outcome, now: Instant) {
        self.tell(outcome, Some(now));
    }

    /// Whether this call is a probe, whose outcome decides over a half-open breaker.
    pub const fn is_probe(&self) -> bool {
        self.ticket.is_probe()
    }

    /// When the call was admitted.
    pub const fn at(&self) -> Instant {
        self.at
    }

    #[inline]
    fn tell(&mut self, outcome: Outcome, now: Option<Instant>) {
        if let Some(breaker) = self.breaker.take() {
            let took = self.took.map(|took| Duration::from_nanos(took.get()));
            breaker.settle(self.ticket, outcome, self.at, took, now);
        }
    }
}

impl Settle for Permit {
    fn clock(&self) -> fn() -> Instant {
        self.breaker.as_ref().map_or(Instant::now, Breaker::clock)
    }

    /// The head of a good answer is here: that is how long the upstream took, and a probe isn't lost any more.
    #[inline]
    fn answered(&mut self) {
        let Some(breaker) = &self.breaker else { return };
        if breaker.times_answers() {
            let took = breaker.now().saturating_duration_since(self.at).as_nanos();
            self.took = NonZeroU64::new(u64::try_from(took).unwrap_or(u64::MAX).max(1));
        }
        if self.ticket.is_probe() {
            breaker.answered(self.ticket);
        }
    }

    #[inline]
    fn settle(&mut self, outcome: Outcome) {
        self.tell(outcome, None);
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if self.ticket.is_probe() {
            self.tell(Outcome::Ignored, None);
        }
    }
}
