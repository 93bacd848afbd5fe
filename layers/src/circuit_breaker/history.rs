//! What a breaker tells the world: each change of state, in order and numbered, the newest kept for those who ask.
//!
//! What listeners have heard of is kept for those who poll, up to [`CHANGES_KEPT`]; what they haven't heard of is kept for
//! them, so that a burst that is faster than a listener loses nothing. Both are bounded: a listener that hangs loses the oldest
//! beyond [`UNTOLD_MAX`], and sees the gap in the numbers, as whoever polls too seldom does.

use std::{collections::VecDeque, sync::Arc, time::SystemTime};

use super::{state::State, why::Why};

/// So many changes are kept. A breaker that flaps every few seconds fills it in minutes, which is as far back as an incident
/// is looked at; a log keeps the rest.
pub const CHANGES_KEPT: usize = 64;

/// So many changes wait for listeners that are slow, some megabytes. No working listener is that far behind.
const UNTOLD_MAX: usize = 16 * 1024;

/// A change of state, as listeners hear of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Counted up by one with each change of this breaker, from 1.
    pub number: u64,
    /// When.
    pub at: SystemTime,
    /// The breaker's name.
    pub breaker: Arc<str>,
    /// The state that ended.
    pub from: State,
    /// The state that began.
    pub to: State,
    /// Why, for people.
    pub reason: String,
    /// Why, for programs.
    pub why: Why,
    /// Failures in the state that ended.
    pub failures: u64,
    /// Calls in the state that ended.
    pub calls: u64,
}

#[derive(Debug, Default)]
pub(super) struct History {
    kept: VecDeque<Change>,
    /// The number of the last change.
    last: u64,
    /// The number of the last change that listeners heard of.
    told: u64,
}

impl History {
    pub(super) fn add(&mut self, change: impl FnOnce(u64) -> Change) {
        self.last += 1;
        self.kept.push_back(change(self.last));
        self.forget();
    }

    /// Lets go of what is over the bounds, the oldest first.
    fn forget(&mut self) {
        let over = |kept: &VecDeque<Change>, told| {
            let told = kept.front().is_some_and(|oldest| oldest.number <= told);
            kept.len() > if told { CHANGES_KEPT } else { UNTOLD_MAX }
        };
        while over(&self.kept, self.told) {
            self.kept.pop_front();
        }
    }

    /// The next change for the listeners.
    pub(super) fn next_untold(&mut self) -> Option<Change> {
        let first = self.kept.partition_point(|change| change.number <= self.told);
        let next = self.kept.get(first)?.clone();
        self.told = next.number;
        self.forget();
        Some(next)
    }

    pub(super) fn has_untold(&self) -> bool {
        self.told < self.last
    }

    pub(super) fn since(&self, number: u64) -> Vec<Change> {
        let first = self.kept.partition_point(|change| change.number <= number);
        self.kept.iter().skip(first).cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(history: &mut History, changes: usize) {
        for _ in 0..changes {
            history.add(|number| Change {
                number,
                at: SystemTime::UNIX_EPOCH,
                breaker: "b".into(),
                from: State::Closed,
                to: State::Open,
                reason: String::new(),
                why: Why::ProbeFailed,
                failures: 0,
                calls: 0,
            });
        }
    }

    fn tell_all(history: &mut History) -> Vec<u64> {
        std::iter::from_fn(|| history.next_untold()).map(|change| change.number).collect()
    }

    #[test]
    fn a_burst_that_is_faster_than_a_listener_loses_nothing() {
        let mut history = History::default();
        add(&mut history, 10 * CHANGES_KEPT);
        assert_eq!(tell_all(&mut history), (1..=10 * CHANGES_KEPT as u64).collect::<Vec<_>>());
        assert_eq!(history.since(0).len(), CHANGES_KEPT, "and what was told is let go");
    }

    #[test]
    fn a_listener_that_hangs_loses_the_oldest_and_sees_it_by_the_numbers() {
        let mut history = History::default();
        add(&mut history, UNTOLD_MAX + 3);
        assert_eq!(tell_all(&mut history).first(), Some(&4));
    }
}
