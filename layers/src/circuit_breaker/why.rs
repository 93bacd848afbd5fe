//! Why a breaker is in its state, with the numbers.

use std::{fmt, time::Duration};

use super::{
    order::Order,
    ratio::Ratio,
    sample::Sample,
    settings::{Objective, Slow},
};

/// Why a breaker changed its state. `Display` says it to people.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Why {
    /// So many failures in a row.
    Failures(u64),
    /// Too large a share of failures.
    FailureRate {
        /// What the window held.
        calls: Sample,
        /// The threshold.
        threshold: Ratio,
    },
    /// Too large a share of slow calls.
    SlowRate {
        /// What the window held.
        calls: Sample,
        /// The rule.
        slow: Slow,
    },
    /// The objective is missed beyond reasonable doubt.
    Objective {
        /// What the window held.
        calls: Sample,
        /// The true rate of failures is at least this.
        at_least: Ratio,
        /// The rule.
        objective: Objective,
    },
    /// The upstream asked to be left alone for so long.
    UpstreamAsked(Duration),
    /// The wait is over.
    WaitOver(Duration),
    /// A probe failed.
    ProbeFailed,
    /// A probe was too slow.
    ProbeSlow,
    /// A probe had no answer in time.
    ProbeLost(Duration),
    /// Too many of the probes failed or were slow.
    ProbesFailed(Sample),
    /// So many probes succeeded.
    ProbesSucceeded(u64),
    /// All traffic is back.
    Climbed,
    /// It was half-open for too long.
    HalfOpenTooLong(Duration),
    /// An operator ordered it.
    Ordered(Order),
    /// An operator's order has expired.
    OrderExpired(Order),
    /// The fleet says so.
    Fleet,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failures(1) => f.write_str("1 failure"),
            Self::Failures(run) => write!(f, "{run} failures in a row"),
            Self::FailureRate { calls, threshold } => {
                write!(
                    f,
                    "{} of {} calls failed, {threshold} are too many",
                    calls.failures(),
                    calls.calls
                )
            }
            Self::SlowRate { calls, slow } => {
                let Slow { longer_than, rate } = slow;
                write!(
                    f,
                    "{} of {} calls took longer than {longer_than:?}, {rate} are too many",
                    calls.slow, calls.calls
                )
            }
            Self::Objective { calls, at_least, objective } => {
                let (failures, promised) = (calls.failures(), objective.failures);
                write!(
                    f,
                    "{failures} of {} calls failed: surely more than {at_least}, and {promised} are promised",
                    calls.calls
                )
            }
            Self::UpstreamAsked(wait) => {
                write!(f, "the upstream asked to be left alone for {wait:?}")
            }
            Self::WaitOver(wait) => write!(f, "the wait of {wait:?} is over"),
            Self::ProbeFailed => f.write_str("a probe failed"),
            Self::ProbeSlow => f.write_str("a probe was too slow"),
            Self::ProbeLost(timeout) => write!(f, "a probe had no answer within {timeout:?}"),
            Self::ProbesFailed(probes) if probes.slow > probes.failures() => {
                write!(f, "{} of {} probes were too slow", probes.slow, probes.calls)
            }
            Self::ProbesFailed(probes) => {
                write!(f, "{} of {} probes failed", probes.failures(), probes.calls)
            }
            Self::ProbesSucceeded(1) => f.write_str("a probe succeeded"),
            Self::ProbesSucceeded(probes) => write!(f, "{probes} probes succeeded"),
            Self::Climbed => f.write_str("all traffic is back"),
            Self::HalfOpenTooLong(most) => write!(f, "it was half-open for {most:?}"),
            Self::Ordered(order) => order.fmt(f),
            Self::OrderExpired(order) => write!(f, "an order has expired: {order}"),
            Self::Fleet => f.write_str("the fleet says so"),
        }
    }
}
