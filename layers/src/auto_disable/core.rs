//! The meter as a pure state machine: outcomes and `now` go in, and once the news that it tripped comes out.

use std::time::Instant;

use super::meter::Settings;
use crate::{
    outcome::Outcome,
    window::{Counts, Window},
};

#[derive(Debug, Clone)]
pub(super) struct Core {
    settings: Settings,
    window: Window,
    tripped: bool,
}

impl Core {
    pub(super) fn new(settings: Settings) -> Self {
        let window = Window::new(settings.window, Settings::BUCKETS);
        Self { settings, window, tripped: false }
    }

    /// A call ended. The counts that made the meter trip, if this call did.
    pub(super) fn record(&mut self, outcome: Outcome, now: Instant) -> Option<Counts> {
        let failures = u64::from(outcome.is_failure());
        if outcome == Outcome::Ignored {
            return None;
        }
        self.window.add(now, Counts { calls: 1, failures });
        if failures == 0 || self.tripped {
            return None;
        }
        let counts = self.window.sum(now);
        self.tripped = counts.failures >= u64::from(self.settings.errors.get());
        self.tripped.then_some(counts)
    }

    /// The feature is on again: counts anew.
    pub(super) fn reset(&mut self) {
        self.window.clear();
        self.tripped = false;
    }

    pub(super) fn counts(&mut self, now: Instant) -> Counts {
        self.window.sum(now)
    }

    pub(super) const fn tripped(&self) -> bool {
        self.tripped
    }

    pub(super) const fn settings(&self) -> Settings {
        self.settings
    }
}
