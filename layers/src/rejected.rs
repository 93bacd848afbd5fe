//! Every reason for which a layer refuses a call, in one enum.
//!
//! A refusal is a value with what the caller needs: a stable word ([`Rejected::reason`]), the status it becomes
//! ([`Rejected::status`]) and, where it is known, when to come back ([`Rejected::retry_after`]). It imports nothing of this crate,
//! so that every layer can raise it and every classifier can recognise it.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use http::StatusCode;

/// Why a layer answered instead of the upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rejected {
    /// The breaker is open, or its half-open probes are all taken.
    CircuitOpen {
        /// The breaker's name.
        breaker: Arc<str>,
        /// What is left of the wait.
        retry_after: Duration,
        /// Whether an operator holds it open. Nobody knows for how long then, and the wait only says when to ask again.
        forced: bool,
    },
    /// A killswitch turned the feature off.
    Killed {
        /// The feature.
        feature: Arc<str>,
        /// What clients may be told; never the operator's reason.
        public_message: Option<Arc<str>>,
        /// What is left until the kill expires, if it does.
        retry_after: Option<Duration>,
    },
    /// More calls than the rate allows.
    RateLimited {
        /// The limit's name (a route, a user).
        limit: Arc<str>,
        /// When the next call conforms.
        retry_after: Duration,
    },
    /// More calls in flight than the limit allows.
    Overloaded {
        /// The limit's name.
        limit: Arc<str>,
    },
    /// The call took longer than its deadline allows. The one refusal that says something about the upstream.
    TimedOut {
        /// The time it had.
        after: Duration,
    },
}

impl Rejected {
    /// The stable word that clients and metrics see.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::CircuitOpen { .. } => "circuit_open",
            Self::Killed { .. } => "killswitch",
            Self::RateLimited { .. } => "rate_limited",
            Self::Overloaded { .. } => "overloaded",
            Self::TimedOut { .. } => "timeout",
        }
    }

    /// The HTTP status of the refusal.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::RateLimited { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::TimedOut { .. } => StatusCode::GATEWAY_TIMEOUT,
            Self::CircuitOpen { .. } | Self::Killed { .. } | Self::Overloaded { .. } => {
                StatusCode::SERVICE_UNAVAILABLE
            }
        }
    }

    /// When to come back, where that is known.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::CircuitOpen { retry_after, .. } | Self::RateLimited { retry_after, .. } => {
                Some(*retry_after)
            }
            Self::Killed { retry_after, .. } => *retry_after,
            Self::Overloaded { .. } => Some(Duration::from_secs(1)),
            Self::TimedOut { .. } => None,
        }
    }

    /// [`Rejected::retry_after`] in whole seconds, rounded up: what `Retry-After` carries. Never 0, which would mean "now".
    pub fn retry_after_seconds(&self) -> Option<u64> {
        let wait = self.retry_after()?;
        Some((wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1))
    }

    /// The refusal among an error and its causes.
    pub fn find<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e Self> {
        let mut next = Some(error);
        while let Some(error) = next {
            if let Some(rejected) = error.downcast_ref() {
                return Some(rejected);
            }
            next = error.source();
        }
        None
    }
}

impl fmt::Display for Rejected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::CircuitOpen { breaker, forced: true, .. } => {
                write!(f, "the circuit {breaker} is held open by an operator")
            }
            Self::CircuitOpen { breaker, retry_after, .. } => {
                write!(f, "the circuit {breaker} is open for another {retry_after:.1?}")
            }
            Self::Killed { feature, .. } => write!(f, "the feature {feature} is turned off"),
            Self::RateLimited { limit, retry_after } => {
                write!(f, "the rate limit of {limit} is used up for another {retry_after:.1?}")
            }
            Self::Overloaded { limit } => {
                write!(f, "{limit} has as many calls in flight as it may")
            }
            Self::TimedOut { after } => write!(f, "no answer within {after:.1?}"),
        }
    }
}

impl Error for Rejected {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_rounded_up_and_never_zero() {
        let open = |wait| {
            let breaker = "b".into();
            Rejected::CircuitOpen { breaker, retry_after: wait, forced: false }
                .retry_after_seconds()
        };
        assert_eq!(open(Duration::from_millis(29_001)), Some(30));
        assert_eq!(open(Duration::from_secs(30)), Some(30));
        assert_eq!(open(Duration::ZERO), Some(1));
    }

    #[test]
    fn a_circuit_that_is_held_open_counts_nothing_down() {
        let open = |forced| {
            let retry_after = Duration::from_secs(3);
            Rejected::CircuitOpen { breaker: "b".into(), retry_after, forced }
        };
        assert_eq!(open(false).to_string(), "the circuit b is open for another 3.0s");
        assert_eq!(open(true).to_string(), "the circuit b is held open by an operator");
        assert_eq!(open(true).retry_after_seconds(), Some(3), "when to ask again");
    }

    #[test]
    fn a_refusal_is_found_among_the_causes_of_an_error() {
        let refusal = Rejected::Overloaded { limit: "orders".into() };
        let wrapped = std::io::Error::other(refusal.clone());
        assert_eq!(Rejected::find(&wrapped), None, "io::Error hides its inner error from source()");
        assert_eq!(Rejected::find(&refusal), Some(&refusal));
    }
}
