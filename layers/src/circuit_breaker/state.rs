//! The states of a breaker, with the words and numbers under which the world knows them.

/// What a breaker does with the next call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Lets it through.
    Closed,
    /// Refuses it, until the wait is over.
    Open,
    /// Lets it through if it may be a probe.
    HalfOpen,
    /// Refuses it until an operator says otherwise.
    ForcedOpen,
    /// Lets it through and counts it, but never opens.
    Disabled,
    /// Lets it through, and counts whether it would have.
    Shadow,
}

impl State {
    /// The stable word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half_open",
            Self::ForcedOpen => "forced_open",
            Self::Disabled => "disabled",
            Self::Shadow => "shadow",
        }
    }

    /// The stable number for it, as gauges carry it.
    pub const fn code(self) -> u8 {
        match self {
            Self::Closed => 0,
            Self::Open => 1,
            Self::HalfOpen => 2,
            Self::ForcedOpen => 3,
            Self::Disabled => 4,
            Self::Shadow => 5,
        }
    }
}
