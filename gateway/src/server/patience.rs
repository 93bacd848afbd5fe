//! How long a client may take for what is its own to do.

use std::time::Duration;

/// How long a connection may be in each phase.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Between two requests.
    pub idle: Duration,
    /// From a head's first byte to its last.
    pub head: Duration,
    /// While the client takes nothing of what is written to it.
    pub write: Duration,
}
