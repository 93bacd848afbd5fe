//! The handle of a meter: the pure core behind a lock, with a clock, and someone to tell.

use std::{
    fmt,
    num::NonZeroU32,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use super::core::Core;
use crate::{outcome::Outcome, window::Counts};

/// When a meter trips.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// So many errors within the window. By default 10: an incident, not an accident.
    pub errors: NonZeroU32,
    /// The window. By default 300 s, so that a slow trickle of errors adds up too. It slides in thirty steps: an error
    /// counts for at least 29 of them.
    pub window: Duration,
}

impl Settings {
    pub(super) const BUCKETS: NonZeroU32 = NonZeroU32::MIN.saturating_add(29);
}

impl Default for Settings {
    fn default() -> Self {
        Self { errors: NonZeroU32::MIN.saturating_add(9), window: Duration::from_secs(300) }
    }
}

/// Counts the errors of a feature. Cloning gives another handle of the same meter.
#[derive(Clone)]
pub struct Meter(Arc<Shared>);

struct Shared {
    feature: Arc<str>,
    clock: fn() -> Instant,
    on_trip: Box<dyn Fn(&Trip) + Send + Sync>,
    locked: Mutex<Locked>,
}

struct Locked {
    core: Core,
    since: Option<SystemTime>,
    last_error: Option<String>,
}

/// A meter has tripped: its feature should be turned off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trip {
    /// The feature.
    pub feature: Arc<str>,
    /// Errors in the window.
    pub errors: u64,
    /// Calls in the window.
    pub calls: u64,
    /// The window's length.
    pub window: Duration,
}

/// A meter at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// The feature.
    pub feature: Arc<str>,
    /// Errors in the window.
    pub errors: u64,
    /// Calls in the window.
    pub calls: u64,
    /// Trips at so many errors.
    pub threshold: u32,
    /// The window's length.
    pub window: Duration,
    /// Whether it has tripped since the last reset.
    pub tripped: bool,
    /// Since when it is tripped.
    pub since: Option<SystemTime>,
    /// The text of the last error that had one.
    pub last_error: Option<String>,
}

/// So much of an error's text is kept: enough to recognise it.
const ERROR_CHARS_MAX: usize = 200;

impl Meter {
    /// A meter that calls `on_trip` once when it trips, and once more after each reset.
    pub fn new(
        feature: impl Into<Arc<str>>,
        settings: Settings,
        on_trip: impl Fn(&Trip) + Send + Sync + 'static,
    ) -> Self {
        let locked = Locked { core: Core::new(settings), since: None, last_error: None };
        Self(Arc::new(Shared {
            feature: feature.into(),
            clock: Instant::now,
            on_trip: Box::new(on_trip),
            locked: Mutex::new(locked),
        }))
    }

    /// Takes the time from another clock, such as the paused one of a test. Meters of one layer share the clock of the
    /// first.
    ///
    /// # Panics
    /// When the handle has been cloned already.
    #[must_use]
    pub fn with_clock(mut self, clock: fn() -> Instant) -> Self {
        let shared = Arc::get_mut(&mut self.0);
        shared.expect("a meter is set up before its handle is cloned").clock = clock;
        self
    }

    /// The feature whose errors it counts.
    pub fn feature(&self) -> &Arc<str> {
        &self.0.feature
    }

    /// Counts a call by its outcome.
    pub fn record(&self, outcome: Outcome) {
        self.record_at((self.0.clock)(), outcome);
    }

    /// Counts an error that someone else has seen, and keeps what it said.
    pub fn record_error(&self, message: &str) {
        self.lock().last_error = Some(message.chars().take(ERROR_CHARS_MAX).collect());
        self.record(Outcome::Failure);
    }

    /// Counts a call at a moment of the meter's clock.
    pub(super) fn record_at(&self, now: Instant, outcome: Outcome) {
        let mut locked = self.lock();
        let Some(counts) = locked.core.record(outcome, now) else { return };
        locked.since = Some(SystemTime::now());
        let trip = self.trip(counts, locked.core.settings().window);
        drop(locked);
        (self.0.on_trip)(&trip);
    }

    fn trip(&self, Counts { calls, failures }: Counts, window: Duration) -> Trip {
        Trip { feature: self.0.feature.clone(), errors: failures, calls, window }
    }

    /// Counts anew: the feature is on again.
    pub fn reset(&self) {
        let mut locked = self.lock();
        locked.core.reset();
        locked.since = None;
        locked.last_error = None;
    }

    /// The meter as it is now.
    pub fn snapshot(&self) -> Snapshot {
        let mut locked = self.lock();
        let Counts { calls, failures } = locked.core.counts((self.0.clock)());
        let Settings { errors, window } = locked.core.settings();
        Snapshot {
            feature: self.0.feature.clone(),
            errors: failures,
            calls,
            threshold: errors.get(),
            window,
            tripped: locked.core.tripped(),
            since: locked.since,
            last_error: locked.last_error.clone(),
        }
    }

    pub(super) fn clock(&self) -> fn() -> Instant {
        self.0.clock
    }

    /// A panic can't leave the core half-changed: it does arithmetic only.
    fn lock(&self) -> MutexGuard<'_, Locked> {
        self.0.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tripped = self.lock().core.tripped();
        f.debug_struct("Meter")
            .field("feature", &self.0.feature)
            .field("tripped", &tripped)
            .finish()
    }
}
