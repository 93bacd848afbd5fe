//! The fine print in which libraries differ: whoever moves here from one of them can keep what it is used to.

/// The fine print. By default [`Profile::RESILIENCE4J`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// Whether a rate that just reaches its threshold opens.
    pub threshold: Threshold,
    /// Which results a rate is judged after.
    pub judges: Judges,
    /// From which call on a rate is judged.
    pub minimum: Minimum,
    /// What becomes of an answer that comes after the state has changed.
    pub late: Late,
}

/// Whether a rate that just reaches its threshold opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Threshold {
    /// At the threshold (`>=`): resilience4j, Polly, Hystrix.
    Reached,
    /// Above it (`>`): Sentinel.
    Passed,
}

/// Which results a rate is judged after.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judges {
    /// After each result, so that a success which completes the minimum can open: resilience4j, recloser.
    EachResult,
    /// After failures and slow calls only: Polly, gobreaker, Sentinel.
    FailuresOnly,
}

/// From which call on a rate is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Minimum {
    /// The call that completes the minimum: resilience4j, Polly.
    Reached,
    /// The one after it: recloser.
    Passed,
}

/// What becomes of an answer to a call that was admitted before the state changed. Whatever is said here, it never decides
/// over a half-open breaker: only a probe does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Late {
    /// It is counted in the closed state that it meets: resilience4j, Polly.
    Recorded,
    /// It shows in the totals only: gobreaker. Calls that were still hanging from an outage can't open what has recovered.
    Dropped,
}

impl Profile {
    /// As resilience4j has it.
    pub const RESILIENCE4J: Self = Self {
        threshold: Threshold::Reached,
        judges: Judges::EachResult,
        minimum: Minimum::Reached,
        late: Late::Recorded,
    };
    /// As Polly has it.
    pub const POLLY: Self = Self { judges: Judges::FailuresOnly, ..Self::RESILIENCE4J };
    /// As gobreaker has it.
    pub const GOBREAKER: Self = Self { late: Late::Dropped, ..Self::POLLY };
    /// As Sentinel has it.
    pub const SENTINEL: Self = Self { threshold: Threshold::Passed, ..Self::POLLY };
    /// As recloser has it.
    pub const RECLOSER: Self = Self { minimum: Minimum::Passed, ..Self::RESILIENCE4J };
}

impl Default for Profile {
    fn default() -> Self {
        Self::RESILIENCE4J
    }
}
