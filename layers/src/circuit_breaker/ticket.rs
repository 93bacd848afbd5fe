//! What goes between a call and the core: the leave to go through, and the refusal.

use std::{num::NonZeroU64, time::Duration};

/// What an admitted call holds until it is settled.
///
/// It carries the *generation* in which it was given, which is counted up with each change of state: so an answer can be
/// told from one that was asked for in better or worse times. The ticket of a probe also carries its lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a ticket is to be settled"]
pub struct Ticket {
    pub(super) generation: u64,
    pub(super) lease: Option<NonZeroU64>,
}

impl Ticket {
    /// Whether its outcome decides over a half-open breaker.
    pub const fn is_probe(self) -> bool {
        self.lease.is_some()
    }

    pub(super) const fn of_generation(generation: u64) -> Self {
        Self { generation, lease: None }
    }

    pub(super) const fn generation(self) -> u64 {
        self.generation
    }
}

/// The answer to a call that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may go through.
    Admitted(Ticket),
    /// It may not.
    Refused(Refusal),
}

/// What a call is told that doesn't get through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    /// When to ask again.
    pub retry_after: Duration,
    /// Whether an operator's order stands in the way. Unless it expires it has no end that we know of, and the wait stands in
    /// for it.
    pub forced: bool,
}
