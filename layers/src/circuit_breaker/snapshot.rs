//! A breaker at one moment, for people and metrics.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{order::Order, ratio::Ratio, sample::Sample, state::State, totals::Totals};

/// A breaker at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name.
    pub name: Arc<str>,
    /// Its state. Open stays open after the wait, until a call comes to probe or [`Breaker::tick`](super::Breaker::tick) is
    /// told to.
    pub state: State,
    /// Failures in a row; while open, those that opened it.
    pub failure_count: u64,
    /// Successes in the present state.
    pub success_count: u64,
    /// Calls that were answered, in any state. Ignored ones aren't counted.
    pub calls_total: u64,
    /// Those among them that failed.
    pub failures_total: u64,
    /// Calls that were refused.
    pub rejected_total: u64,
    /// Calls that went through in shadow and would have been refused.
    pub would_reject_total: u64,
    /// All that it counted since it was made.
    pub totals: Totals,
    /// What the window of its rates holds; nothing without a rule about a rate.
    pub window: Sample,
    /// How often in a row it has opened.
    pub attempts: u32,
    /// How many probes are under way.
    pub probes: usize,
    /// The share of calls that gets through while traffic comes back.
    pub share: Option<Ratio>,
    /// When the present state began.
    pub since: SystemTime,
    /// How long until it probes, if it waits for that, or until the order that holds it open expires.
    pub retry_after: Option<Duration>,
    /// Why it is in this state; nothing if it always was.
    pub why: Option<String>,
    /// The operator's order that holds, if one does.
    pub order: Option<Order>,
    /// How long until that order expires, if it does.
    pub order_expires_in: Option<Duration>,
}
