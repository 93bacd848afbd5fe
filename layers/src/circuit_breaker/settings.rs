//! When a breaker opens, for how long, and what it takes to close it.

use std::{num::NonZeroU32, time::Duration};

/// The settings of one breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// So many failures in a row open it. By default 5: one bad answer, or one restart of an instance, is no outage.
    pub consecutive_failures: NonZeroU32,
    /// For how long it refuses before it probes. By default 60 s, time enough for an instance to be replaced.
    pub open_wait: Duration,
    /// How many probes may be under way at once. By default 1: an upstream that comes back has enough to do.
    pub half_open_probes: NonZeroU32,
    /// So many successful probes close it. By default 1; raise it where one good answer proves little.
    pub successes_to_close: NonZeroU32,
    /// How long a probe may keep its place without an answer. By default 60 s. Keep it above the deadline of one call, or
    /// the failures of slow probes come too late to count.
    pub probe_timeout: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        const ONE: NonZeroU32 = NonZeroU32::MIN;
        Self {
            consecutive_failures: ONE.saturating_add(4),
            open_wait: Duration::from_secs(60),
            half_open_probes: ONE,
            successes_to_close: ONE,
            probe_timeout: Duration::from_secs(60),
        }
    }
}
