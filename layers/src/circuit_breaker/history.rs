//! What a breaker tells the world: each change of state, in order and numbered, the newest kept for those who ask.
//!
//! The memory is bounded. A listener that is so slow that changes were overwritten before it heard of them sees the gap in
//! the numbers, and so does whoever polls.

use std::{collections::VecDeque, sync::Arc, time::SystemTime};

use super::{state::State, why::Why};

/// So many changes are kept. A breaker that flaps every few seconds fills it in minutes, which is as far back as an incident
/// is looked at; a log keeps the rest.
pub const CHANGES_KEPT: usize = 64;

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
        if self.kept.len() == CHANGES_KEPT {
            self.kept.pop_front();
        }
        self.kept.push_back(change(self.last));
    }

    /// The next change for the listeners.
    pub(super) fn next_untold(&mut self) -> Option<Change> {
        let next = self.kept.iter().find(|change| change.number > self.told)?.clone();
        self.told = next.number;
        Some(next)
    }

    pub(super) fn has_untold(&self) -> bool {
        self.told < self.last
    }

    pub(super) fn since(&self, number: u64) -> Vec<Change> {
        self.kept.iter().filter(|change| change.number > number).cloned().collect()
    }
}
