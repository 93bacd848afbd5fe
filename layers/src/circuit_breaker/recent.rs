//! The window of a breaker: the calls that its rates are taken from.
//!
//! It slides: a window of calls forgets exactly the oldest call with each new one, a window of time its oldest bucket at
//! each beat. Recording costs the same whatever the window holds. A breaker that has no rule about a rate keeps no window.

use std::time::Instant;

use super::{
    sample::{Mark, Sample},
    settings::{Settings, Span},
};
use crate::window::Window;

/// What was recorded lately.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Recent {
    window: Sliding,
    /// Calls recorded since it was empty, also those that have left the window by now.
    seen: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Sliding {
    Nothing,
    Calls(LastCalls),
    Time(Window<Sample>),
}

impl Recent {
    pub(super) fn new(settings: &Settings) -> Self {
        let window = match settings.span() {
            _ if !settings.has_rates() => Sliding::Nothing,
            Span::Calls(calls) => Sliding::Calls(LastCalls::new(calls.get() as usize)),
            Span::Time { length, buckets } => Sliding::Time(Window::new(length, buckets)),
        };
        Self { window, seen: 0 }
    }

    #[inline]
    pub(super) fn record(&mut self, mark: Mark, now: Instant) {
        self.seen += 1;
        match &mut self.window {
            Sliding::Nothing => {}
            Sliding::Calls(calls) => calls.push(mark),
            Sliding::Time(window) => add(window, mark, now),
        }
    }

    /// Records many calls at once, as others have seen them.
    pub(super) fn record_all(&mut self, calls: Sample, now: Instant) {
        self.seen += calls.calls;
        match &mut self.window {
            Sliding::Nothing => {}
            Sliding::Calls(last) => last.push_all(calls),
            Sliding::Time(window) => window.add(now, calls),
        }
    }

    /// The sum, and how many calls a minimum is to be measured against: those in a window of time, but all since it was
    /// empty for a window of calls, which can't hold one more than its size.
    pub(super) fn sum(&mut self, now: Instant) -> (Sample, u64) {
        match &mut self.window {
            Sliding::Nothing => (Sample::default(), 0),
            Sliding::Calls(calls) => (calls.total, self.seen),
            Sliding::Time(window) => {
                let sum = window.sum(now);
                (sum, sum.calls)
            }
        }
    }

    /// Whether it may hold anything that speaks against the upstream; it isn't slid for this question.
    #[inline]
    pub(super) const fn is_tainted(&self) -> bool {
        let total = match &self.window {
            Sliding::Nothing => return false,
            Sliding::Calls(calls) => calls.total,
            Sliding::Time(window) => window.total(),
        };
        total.failed > 0 || total.slow > 0
    }

    /// Calls recorded since it was empty.
    pub(super) const fn seen(&self) -> u64 {
        self.seen
    }

    pub(super) fn clear(&mut self) {
        self.seen = 0;
        match &mut self.window {
            Sliding::Nothing => {}
            Sliding::Calls(calls) => calls.clear(),
            Sliding::Time(window) => window.clear(),
        }
    }

    /// The same memory in the shape that other settings ask for. The newest calls stay in their order from one window of
    /// calls to another; anything else is carried over as though it had been seen just now.
    pub(super) fn reshaped(&mut self, settings: &Settings, now: Instant) -> Self {
        let mut next = Self::new(settings);
        match (&self.window, &mut next.window) {
            (Sliding::Calls(before), Sliding::Calls(after)) => after.take_over(before),
            (_, Sliding::Nothing) => {}
            _ => next.record_all(self.sum(now).0, now),
        }
        next.seen = next.seen_of(self.seen);
        next
    }

    /// Of so many calls seen earlier, those that a minimum may be measured against here: a window of calls that isn't full has
    /// seen what it holds, and no more.
    fn seen_of(&self, earlier: u64) -> u64 {
        match &self.window {
            Sliding::Calls(calls) if calls.kept < calls.ring.len() => calls.kept as u64,
            _ => earlier,
        }
    }
}

/// On its own, so that a window of calls doesn't pay for what a window of time needs.
#[inline(never)]
fn add(window: &mut Window<Sample>, mark: Mark, now: Instant) {
    window.add(now, mark.sample());
}

/// The last so many calls.
#[derive(Debug, Clone, PartialEq, Eq)]
struct LastCalls {
    ring: Box<[Mark]>,
    next: usize,
    kept: usize,
    total: Sample,
}

impl LastCalls {
    fn new(calls: usize) -> Self {
        Self {
            ring: vec![Mark::EMPTY; calls].into_boxed_slice(),
            next: 0,
            kept: 0,
            total: Sample::default(),
        }
    }

    #[inline]
    fn push(&mut self, mark: Mark) {
        let oldest = std::mem::replace(&mut self.ring[self.next], mark);
        if self.kept < self.ring.len() {
            self.kept += 1;
            self.total += mark.sample();
        } else if oldest != mark {
            self.total -= oldest.sample();
            self.total += mark.sample();
        }
        self.next += 1;
        if self.next == self.ring.len() {
            self.next = 0;
        }
    }

    /// Successes first, so that the failures among them stay the longest. More than the window holds are scaled down.
    fn push_all(&mut self, calls: Sample) {
        let most = self.ring.len() as u64;
        let fit = |part: u64| {
            let part = u128::from(part) * u128::from(most) / u128::from(calls.calls.max(most));
            u64::try_from(part).unwrap_or(most)
        };
        let (count, failed, slow) = (fit(calls.calls), fit(calls.failed), fit(calls.slow));
        let whole = u64::from(Mark::FAILURE.failed());
        for left in (0..count).rev() {
            let fails = left < failed.div_ceil(whole);
            self.push(Mark::new(fails, left < slow));
        }
    }

    fn take_over(&mut self, before: &Self) {
        let kept = before.kept.min(self.ring.len());
        let size = before.ring.len();
        for back in (1..=kept).rev() {
            self.push(before.ring[(before.next + size - back) % size]);
        }
    }

    /// The ring needs no wiping: nothing is read that wasn't written since.
    fn clear(&mut self) {
        (self.next, self.kept, self.total) = (0, 0, Sample::default());
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use proptest::prelude::*;

    use super::*;
    use crate::circuit_breaker::ratio::Ratio;

    fn last(calls: u32) -> Settings {
        let span = Span::Calls(NonZeroU32::new(calls).unwrap());
        Settings { failure_rate: Some(Ratio::percent(50)), span, ..Settings::default() }
    }

    fn sum_of(recent: &mut Recent) -> (u64, u64) {
        let sum = recent.sum(Instant::now()).0;
        (sum.calls, sum.failures())
    }

    fn record(recent: &mut Recent, failures: &[bool]) {
        failures.iter().for_each(|fails| recent.record(Mark::new(*fails, false), Instant::now()));
    }

    #[test]
    fn a_breaker_without_a_rate_keeps_no_window() {
        let mut recent = Recent::new(&Settings::default());
        record(&mut recent, &[true; 10]);
        assert_eq!(sum_of(&mut recent), (0, 0));
    }

    #[test]
    fn a_smaller_window_keeps_the_newest_calls() {
        let mut recent = Recent::new(&last(5));
        record(&mut recent, &[true, true, false, false, true]);
        assert_eq!(sum_of(&mut recent.reshaped(&last(3), Instant::now())), (3, 1));
        assert_eq!(sum_of(&mut recent.reshaped(&last(9), Instant::now())), (5, 3));
    }

    #[test]
    fn a_window_of_calls_that_is_not_full_has_seen_no_more_than_it_holds() {
        let mut recent = Recent::new(&Settings::default());
        record(&mut recent, &[false; 200]);
        let now = Instant::now();
        assert_eq!(recent.reshaped(&last(10), now).seen(), 0, "nothing was kept");
        let mut recent = Recent::new(&last(4));
        record(&mut recent, &[false; 200]);
        assert_eq!(recent.reshaped(&last(10), now).seen(), 4);
        assert_eq!(recent.reshaped(&last(3), now).seen(), 200, "it is full");
    }

    #[test]
    fn more_than_fits_is_scaled_down_and_keeps_its_rate() {
        let mut recent = Recent::new(&last(10));
        recent.record_all(Sample { calls: 1_000, failed: 30_000, slow: 0 }, Instant::now());
        assert_eq!(sum_of(&mut recent), (10, 3));
    }

    #[test]
    fn a_window_of_time_goes_on_as_a_window_of_calls() {
        let time = Settings {
            span: Span::Time {
                length: std::time::Duration::from_secs(10),
                buckets: NonZeroU32::MIN,
            },
            ..last(1)
        };
        let mut recent = Recent::new(&time);
        record(&mut recent, &[true, false, false, false]);
        assert_eq!(sum_of(&mut recent.reshaped(&last(10), Instant::now())), (4, 1));
    }

    proptest! {
        #[test]
        fn the_last_calls_are_the_last_calls(size in 1..12_u32, failures in prop::collection::vec(any::<bool>(), 0..60)) {
            let mut recent = Recent::new(&last(size));
            for end in 0..failures.len() {
                record(&mut recent, &failures[end..=end]);
                let window = &failures[(end + 1).saturating_sub(size as usize)..=end];
                let failed = window.iter().filter(|fails| **fails).count();
                prop_assert_eq!(sum_of(&mut recent), (window.len() as u64, failed as u64));
            }
        }
    }
}
