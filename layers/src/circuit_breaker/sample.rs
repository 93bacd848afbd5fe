//! What is counted of calls, for the rules that look at a rate.

use std::ops::{AddAssign, SubAssign};

use crate::outcome::{Outcome, Weight};

/// Some calls, summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sample {
    /// Calls that said something about the upstream.
    pub calls: u64,
    /// How much of them failed, in hundredths of an ordinary failure.
    pub failed: u64,
    /// Those among them that were slow.
    pub slow: u64,
}

impl AddAssign for Sample {
    fn add_assign(&mut self, more: Self) {
        self.calls += more.calls;
        self.failed += more.failed;
        self.slow += more.slow;
    }
}

impl SubAssign for Sample {
    fn sub_assign(&mut self, less: Self) {
        self.calls -= less.calls;
        self.failed -= less.failed;
        self.slow -= less.slow;
    }
}

/// What one call adds to a window, in sixteen bits, so that a window of a hundred thousand calls fits into a cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark(u16);

const SLOW: u16 = 1 << 15;
const _: () = assert!(Weight::MAX.in_hundredths() < SLOW, "a weight fits below the bit for slow");

impl Mark {
    /// Of nothing that was ever recorded.
    pub(super) const EMPTY: Self = Self(0);
    pub(super) const FAILURE: Self = Self(Weight::ONE.in_hundredths());

    pub(super) const fn new(fails: bool, slow: bool) -> Self {
        let weight = if fails { Self::FAILURE.0 } else { 0 };
        Self(if slow { weight | SLOW } else { weight })
    }

    /// The mark of an outcome; none if it says nothing.
    pub(super) const fn of(outcome: Outcome, slow: bool) -> Option<Self> {
        let weight = match outcome {
            Outcome::Success => 0,
            Outcome::Failure | Outcome::Overload { .. } => Weight::ONE.in_hundredths(),
            Outcome::Weighed(weight) => weight.in_hundredths(),
            Outcome::Ignored => return None,
        };
        Some(Self(if slow { weight | SLOW } else { weight }))
    }

    pub(super) const fn failed(self) -> u16 {
        self.0 & !SLOW
    }

    pub(super) const fn is_slow(self) -> bool {
        self.0 & SLOW != 0
    }

    pub(super) const fn sample(self) -> Sample {
        Sample { calls: 1, failed: self.failed() as u64, slow: self.is_slow() as u64 }
    }
}

impl Sample {
    /// The failed calls in whole ones, rounded up: what people want to see.
    pub const fn failures(&self) -> u64 {
        self.failed.div_ceil(Weight::ONE.in_hundredths() as u64)
    }
}
