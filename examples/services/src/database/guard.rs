//! A breaker in small for one database: after a few failures in a row, leave it alone for a while, then try it again.
//!
//! Acts when three calls in a row failed: it refuses at once, so that requests don't queue up behind a dead disk.
//! Recovers by itself: after each rest one call goes through, and its success ends the rest. A call that is let
//! through and never settles costs nothing but one more rest, so a caller that vanishes can't wedge it.
//! A pure core: `now` is an argument.

use std::time::{Duration, Instant};

const FAILURES_BEFORE_REST: u32 = 3;
const REST: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
pub(super) struct Guard {
    failures: u32,
    rests_until: Option<Instant>,
}

impl Guard {
    /// Whether a call may go to the database now.
    pub(super) fn admit(&mut self, now: Instant) -> bool {
        match self.rests_until {
            None => true,
            Some(until) if now < until => false,
            Some(_) => {
                self.rests_until = Some(now + REST);
                true
            }
        }
    }

    /// What came of a call; says whether that changed the guard's mind.
    pub(super) fn settle(&mut self, now: Instant, worked: bool) -> Option<Change> {
        if worked {
            self.failures = 0;
            return self.rests_until.take().map(|_| Change::Recovered);
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures < FAILURES_BEFORE_REST {
            return None;
        }
        self.rests_until.replace(now + REST).is_none().then_some(Change::Rests)
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    Rests,
    Recovered,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resting(now: Instant) -> Guard {
        let mut guard = Guard::default();
        for _ in 0..FAILURES_BEFORE_REST {
            guard.settle(now, false);
        }
        guard
    }

    #[test]
    fn a_success_between_failures_starts_the_count_again() {
        let now = Instant::now();
        let mut guard = Guard::default();
        for worked in [false, false, true, false, false] {
            assert_eq!(guard.settle(now, worked), None);
        }
        assert!(guard.admit(now));
    }

    #[test]
    fn the_third_failure_in_a_row_begins_the_rest() {
        let now = Instant::now();
        let mut guard = Guard::default();
        assert_eq!(guard.settle(now, false), None);
        assert_eq!(guard.settle(now, false), None);
        assert_eq!(guard.settle(now, false), Some(Change::Rests));
        assert!(!guard.admit(now));
    }

    #[test]
    fn after_the_rest_one_call_is_let_through() {
        let now = Instant::now();
        let mut guard = resting(now);
        assert!(guard.admit(now + REST));
        assert!(!guard.admit(now + REST));
    }

    #[test]
    fn a_call_that_never_settles_only_costs_another_rest() {
        let now = Instant::now();
        let mut guard = resting(now);
        assert!(guard.admit(now + REST));
        assert!(guard.admit(now + REST + REST));
    }

    #[test]
    fn a_success_ends_the_rest() {
        let now = Instant::now();
        let mut guard = resting(now);
        assert_eq!(guard.settle(now + REST, true), Some(Change::Recovered));
        assert!(guard.admit(now + REST));
    }
}
