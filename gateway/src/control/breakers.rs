//! Breakers as the control plane shows them.

use std::sync::Arc;

use portcullis::circuit_breaker::{Breaker, Snapshot, State};
use serde_json::{Map, Value, json};

use super::moment::{rfc3339_in, rfc3339_of};

/// A breaker and what it protects.
#[derive(Debug, Clone)]
pub struct NamedBreaker {
    pub breaker: Breaker,
    pub upstream: Arc<str>,
}

/// All breakers by name, each as [`shown`].
pub(crate) fn all(breakers: &[NamedBreaker]) -> Map<String, Value> {
    let entry = |named: &NamedBreaker| (named.breaker.name().to_string(), shown(named));
    breakers.iter().map(entry).collect()
}

/// One breaker: its state, since when and why, and what it counted.
pub(crate) fn shown(named: &NamedBreaker) -> Value {
    let snapshot = named.breaker.snapshot();
    json!({
        "state": snapshot.state.as_str(),
        "upstream": &*named.upstream,
        "failure_count": snapshot.failure_count,
        "success_count": snapshot.success_count,
        "calls_total": snapshot.calls_total,
        "failures_total": snapshot.failures_total,
        "rejected_total": snapshot.rejected_total,
        "since": rfc3339_of(snapshot.since),
        "closes_at": closes_at(&snapshot),
        "retry_after": snapshot.retry_after.map(|wait| wait.as_secs_f64().ceil()),
        "why": snapshot.why,
    })
}

/// When an open circuit lets the first call through again.
fn closes_at(snapshot: &Snapshot) -> Option<String> {
    rfc3339_in(snapshot.retry_after.filter(|_| snapshot.state == State::Open)?)
}

/// Whether nothing is out of the ordinary: calls pass.
pub(crate) const fn is_in_order(state: State) -> bool {
    matches!(state, State::Closed | State::Shadow)
}

/// Whether the circuit refuses calls, or tries whether it should still.
pub(crate) const fn is_unhealthy(state: State) -> bool {
    matches!(state, State::Open | State::HalfOpen | State::ForcedOpen)
}
