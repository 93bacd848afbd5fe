//! The way back: after the probes succeeded, a growing share of calls goes through, rather than all at once.
//!
//! Which calls those are is decided by a *key* that the caller names, such as a user: the same users stay in while the share
//! grows, and nobody is thrown back and forth. A call without a key takes its chance.

use std::time::{Duration, Instant};

use super::{chance::scatter, ratio::Ratio};

/// How traffic comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ramp {
    /// The share that it begins with.
    pub from: Ratio,
    /// Each step lets through so many hundredths of the share before. 500 makes 5 %, 25 %, 100 %. At least 110, or it would
    /// never arrive.
    pub growth_hundredths: u32,
    /// How long a step lasts at least. It lasts until a call went well: without traffic nothing is proven.
    pub step: Duration,
}

impl Ramp {
    const GROWTH_MIN: u32 = 110;
    const FROM_MIN: Ratio = Ratio::per_million(1_000);
}

/// The place of a key on the ramp: the same for the same key in every process and release. FNV-1a, scattered.
pub fn place_of(key: &[u8]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in key {
        hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    scatter(hash)
}

/// Gives requests their place on a ramp. A closure from a request to its place does; [`Unplaced`] gives none.
pub trait Place<Req> {
    /// The place of this request, if it has one.
    fn place(&self, request: &Req) -> Option<u64>;
}

/// No request has a place of its own.
#[derive(Debug, Clone, Copy, Default)]
pub struct Unplaced;

impl<Req> Place<Req> for Unplaced {
    fn place(&self, _: &Req) -> Option<u64> {
        None
    }
}

impl<F: Fn(&Req) -> Option<u64>, Req> Place<Req> for F {
    fn place(&self, request: &Req) -> Option<u64> {
        self(request)
    }
}

/// A breaker on its way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Climb {
    pub(super) share: Ratio,
    pub(super) step_ends: Instant,
    /// Whether a call of this step went well.
    pub(super) proven: bool,
}

impl Climb {
    pub(super) fn begin(ramp: &Ramp, step_ends: Instant) -> Self {
        Self { share: ramp.from.max(Ramp::FROM_MIN), step_ends, proven: false }
    }

    /// The next step; nothing once everything gets through.
    pub(super) fn next(self, ramp: &Ramp, step_ends: Instant) -> Option<Self> {
        let share = self.share.times(ramp.growth_hundredths.max(Ramp::GROWTH_MIN));
        (share < Ratio::ALL).then_some(Self { share, step_ends, proven: false })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_key_never_changes() {
        assert_eq!(place_of(b"ana"), 0x7d09_8ee2_a98d_098a);
    }

    #[test]
    fn keys_spread_evenly() {
        let share = Ratio::percent(25);
        let within = (0..10_000).filter(|n: &u32| share.covers(place_of(&n.to_be_bytes()))).count();
        assert!((2_300..2_700).contains(&within), "{within}");
    }

    #[test]
    fn every_ramp_arrives() {
        let now = Instant::now();
        let ramp = Ramp { from: Ratio::NONE, growth_hundredths: 0, step: Duration::ZERO };
        let mut climb = Climb::begin(&ramp, now);
        let mut steps = 1;
        while let Some(next) = climb.next(&ramp, now) {
            (climb, steps) = (next, steps + 1);
        }
        assert!(steps < 100);
    }
}
