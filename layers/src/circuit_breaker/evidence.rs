//! The seam to a fleet: what one instance has counted since it was last asked, and what the others say. Values only; whoever
//! carries them from one instance to the other does the I/O.
//!
//! What comes from outside is never handed out again, so that two instances don't talk each other up.

use std::time::Duration;

/// What was counted since somebody asked last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delta {
    /// Calls that said something about the upstream.
    pub calls: u64,
    /// Those among them that failed.
    pub failures: u64,
    /// Those among them that were slow.
    pub slow: u64,
    /// Calls that were refused.
    pub rejected: u64,
}

impl Delta {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// What the fleet has decided, by whatever quorum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FleetVerdict {
    /// The upstream is bad: leave it alone for so long, then probe.
    Open(Duration),
    /// The upstream is good: close.
    Closed,
}
