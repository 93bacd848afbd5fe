//! The leave to make one call, held until it is settled.

use std::time::{Duration, Instant};

use super::{breaker::Breaker, ticket::Ticket};
use crate::{ending::Settle, outcome::Outcome};

/// The leave to make one call. Settle it with the call's outcome; dropped unsettled it is given back and says nothing.
#[derive(Debug)]
#[must_use = "a permit that is dropped says nothing about the upstream"]
pub struct Permit {
    breaker: Breaker,
    ticket: Option<Ticket>,
    at: Instant,
    /// How long the answer took, if it was timed before the call's end.
    took: Option<Duration>,
}

impl Permit {
    pub(super) const fn new(breaker: Breaker, ticket: Ticket, at: Instant) -> Self {
        Self { breaker, ticket: Some(ticket), at, took: None }
    }

    /// Tells the breaker how the call ended.
    pub fn settle(mut self, outcome: Outcome) {
        if let Some(ticket) = self.ticket.take() {
            self.breaker.settle(ticket, outcome, self.at, self.took, None);
        }
    }

    /// Tells the breaker how the call ended, at a time that is known already. Spares a look at the clock.
    pub fn settle_at(mut self, outcome: Outcome, now: Instant) {
        if let Some(ticket) = self.ticket.take() {
            self.breaker.settle(ticket, outcome, self.at, self.took, Some(now));
        }
    }

    /// Whether this call is a probe, whose outcome decides over a half-open breaker.
    pub fn is_probe(&self) -> bool {
        self.ticket.is_some_and(Ticket::is_probe)
    }

    /// When the call was admitted.
    pub const fn at(&self) -> Instant {
        self.at
    }

    pub(super) fn clock(&self) -> fn() -> Instant {
        self.breaker.clock()
    }
}

impl Settle for Permit {
    /// The head of a good answer is here: that is how long the upstream took, and a probe isn't lost any more.
    fn answered(&mut self) {
        self.took = self
            .breaker
            .times_answers()
            .then(|| self.breaker.now().saturating_duration_since(self.at));
        if let Some(ticket) = self.ticket.filter(|ticket| ticket.is_probe()) {
            self.breaker.answered(ticket);
        }
    }

    fn settle(self, outcome: Outcome) {
        Self::settle(self, outcome);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take()
            && ticket.is_probe()
        {
            self.breaker.settle(ticket, Outcome::Ignored, self.at, self.took, None);
        }
    }
}
