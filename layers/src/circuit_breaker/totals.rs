//! What a breaker has counted since it was made, and since its present state began. Kept in every state.

use crate::outcome::Outcome;

/// Answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// All that said something about the upstream.
    pub calls: u64,
    /// Those that went well.
    pub successes: u64,
    /// Those that failed, with whatever weight.
    pub failures: u64,
}

/// Since the breaker was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// Answers, whenever they came.
    pub answers: Tally,
    /// Answers that took longer than [`Slow::longer_than`](super::Slow::longer_than).
    pub slow: u64,
    /// Answers by which the upstream asked for less.
    pub overloads: u64,
    /// Calls that said nothing.
    pub ignored: u64,
    /// Answers to calls that were admitted in an earlier state.
    pub late: u64,
    /// Probes that had no answer in time.
    pub lost_probes: u64,
    /// Calls that were refused.
    pub rejected: u64,
    /// Calls that went through in shadow and would have been refused.
    pub would_reject: u64,
}

impl Tally {
    #[inline]
    pub(super) fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Success => self.successes += 1,
            Outcome::Failure | Outcome::Weighed(_) => self.failures += 1,
            Outcome::Overload { .. } => {}
            Outcome::Ignored => return,
        }
        self.calls += 1;
    }

    /// The same with so many successes more.
    pub(super) const fn with_successes(self, more: u64) -> Self {
        Self { calls: self.calls + more, successes: self.successes + more, ..self }
    }
}

impl Totals {
    #[inline]
    pub(super) fn count(&mut self, outcome: Outcome, slow: bool) {
        self.answers.count(outcome);
        match outcome {
            Outcome::Ignored => self.ignored += 1,
            Outcome::Overload { .. } => self.overloads += 1,
            _ => {}
        }
        self.slow += u64::from(slow && outcome != Outcome::Ignored);
    }
}
