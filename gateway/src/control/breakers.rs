//! Breakers as the control plane shows them, and what it does for them while no call comes by.
//!
//! There are two views. Operators see all; the public report, which also stands on the listener of clients, has neither who
//! gave an order nor why.

use std::sync::Arc;
use std::time::Duration;

use portcullis::circuit_breaker::{Action, Breaker, Order, Settings, Snapshot, State};
use serde_json::{Map, Value, json};

use super::moment::{rfc3339_in, rfc3339_of};
use crate::config::config::{BreakerOf, Config};

/// A breaker and what it protects. An upstream has one endpoint; where it has several, each has a breaker of its own, with
/// the name of the endpoint behind that of the upstream.
#[derive(Debug, Clone)]
pub struct NamedBreaker {
    pub breaker: Breaker,
    pub upstream: Arc<str>,
}

/// All breakers by name, for everybody.
pub(crate) fn all(breakers: &[NamedBreaker]) -> Map<String, Value> {
    by_name(breakers, |named| publicly(named, &named.breaker.snapshot()))
}

/// All breakers by name, for operators; `dependencies` is what the upstreams say of themselves.
pub(crate) fn all_with_orders(
    breakers: &[NamedBreaker],
    dependencies: &Map<String, Value>,
) -> Map<String, Value> {
    by_name(breakers, |named| {
        let mut shown = with_order(named);
        shown["health"] = dependencies.get(&*named.upstream).cloned().unwrap_or_default();
        shown
    })
}

fn by_name(
    breakers: &[NamedBreaker],
    shown: impl Fn(&NamedBreaker) -> Value,
) -> Map<String, Value> {
    breakers.iter().map(|named| (named.breaker.name().to_string(), shown(named))).collect()
}

/// One breaker: its state, since when, and what it counted. Why it refuses by itself may be known; what an operator said may
/// not.
fn publicly(named: &NamedBreaker, snapshot: &Snapshot) -> Value {
    let by_itself = matches!(snapshot.state, State::Open | State::HalfOpen);
    json!({
        "state": snapshot.state.as_str(),
        "upstream": &*named.upstream,
        "failure_count": snapshot.failure_count,
        "success_count": snapshot.success_count,
        "calls_total": snapshot.calls_total,
        "failures_total": snapshot.failures_total,
        "rejected_total": snapshot.rejected_total,
        "since": rfc3339_of(snapshot.since),
        "closes_at": closes_at(snapshot),
        "retry_after": snapshot.retry_after.map(|wait| wait.as_secs_f64().ceil()),
        "why": snapshot.why.as_ref().filter(|_| by_itself),
    })
}

/// One breaker for operators: with the order that holds, what its window holds, and all that it ever counted.
pub(crate) fn with_order(named: &NamedBreaker) -> Value {
    let snapshot = named.breaker.snapshot();
    let mut shown = publicly(named, &snapshot);
    let (window, totals) = (snapshot.window, snapshot.totals);
    let rate = |part: u64| {
        (window.calls > 0).then(|| (part as f64 / window.calls as f64 * 1000.0).round() / 10.0)
    };
    let more = json!({
        "why": snapshot.why,
        "order": snapshot.order.as_ref().map(|order| ordered(order, &snapshot)),
        "window": {
            "calls": window.calls,
            "failures": window.failures(),
            "slow": window.slow,
            "failure_percent": rate(window.failures()),
            "slow_percent": rate(window.slow),
        },
        "successes_total": totals.answers.successes,
        "slow_total": totals.slow,
        "overloads_total": totals.overloads,
        "ignored_total": totals.ignored,
        "late_total": totals.late,
        "lost_probes_total": totals.lost_probes,
        "would_reject_total": totals.would_reject,
        "attempts": snapshot.attempts,
        "probes": snapshot.probes,
        "share_percent": snapshot.share.map(|share| share.as_f64() * 100.0),
    });
    if let (Value::Object(shown), Value::Object(more)) = (&mut shown, more) {
        shown.extend(more);
    }
    shown
}

fn ordered(order: &Order, snapshot: &Snapshot) -> Value {
    json!({
        "action": word(order.action),
        "actor": order.actor.as_deref(),
        "reason": order.reason.as_deref(),
        "expires_at": snapshot.order_expires_in.and_then(rfc3339_in),
    })
}

/// An order as the admin API and the audit call it.
pub(crate) const fn word(action: Action) -> &'static str {
    match action {
        Action::Reset => "reset",
        Action::ForceOpen => "force-open",
        Action::Disable => "disable",
        Action::Shadow => "shadow",
        Action::OpenFor(_) => "open-for",
    }
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

/// The longest and the shortest rest of [`watch`].
const REST_MAX: Duration = Duration::from_secs(1);
const REST_MIN: Duration = Duration::from_millis(100);

/// Lets breakers do what is due by itself (an order that expires, a lost probe), so that it is told on time also while nobody
/// calls.
pub(super) async fn watch(breakers: Vec<NamedBreaker>) {
    loop {
        breakers.iter().for_each(|named| named.breaker.tick());
        let due = breakers.iter().filter_map(|named| named.breaker.due_in()).min();
        tokio::time::sleep(due.unwrap_or(REST_MAX).clamp(REST_MIN, REST_MAX)).await;
    }
}

/// Gives living breakers the settings of another configuration, and answers the names of those that it changed. Their state,
/// their orders and what they counted stay. A breaker that the configuration no longer has is left alone, and one that is new
/// isn't made here: both belong to whoever builds the routes anew.
pub fn reconfigure(breakers: &[NamedBreaker], config: &Config) -> Vec<Arc<str>> {
    let changes = |named: &&NamedBreaker| {
        let wanted = settings_of(config, named.breaker.name());
        wanted.filter(|wanted| *wanted != named.breaker.settings()).is_some_and(|wanted| {
            named.breaker.reconfigure(wanted);
            true
        })
    };
    breakers.iter().filter(changes).map(|named| named.breaker.name().clone()).collect()
}

/// Breakers of one name are one breaker, so the first of the name tells.
fn settings_of(config: &Config, name: &str) -> Option<Settings> {
    let of_upstreams = config.upstreams.iter().map(|upstream| &upstream.breaker);
    let of_routes = config.routes.iter().map(|route| &route.breaker);
    let of_name = |of: &&BreakerOf| *of.name == *name;
    of_upstreams.chain(of_routes).flatten().find(of_name).map(|of| of.profile.settings)
}

#[cfg(test)]
mod tests {
    use portcullis::outcome::Outcome;

    use super::*;

    fn config(keys: &str) -> Config {
        let text =
            format!("[upstreams.a]\nurl = 'http://127.0.0.1:9'\n[upstreams.a.breaker]\n{keys}");
        crate::config::parse("test.toml", &text, &|_| None).expect("it is sound")
    }

    fn named(config: &Config) -> NamedBreaker {
        let of = config.upstreams[0].breaker.as_ref().expect("it has one");
        let breaker = Breaker::new(of.name.clone(), of.profile.settings);
        NamedBreaker { breaker, upstream: "a".into() }
    }

    #[test]
    fn a_living_breaker_takes_other_settings_and_keeps_what_it_knows() {
        let breakers = [named(&config("consecutive_failures = 5"))];
        let breaker = &breakers[0].breaker;
        for _ in 0..3 {
            breaker.admit().expect("it is closed").settle(Outcome::Failure);
        }
        let other = config("consecutive_failures = 4");
        assert_eq!(reconfigure(&breakers, &other), [Arc::<str>::from("a")]);
        assert_eq!(reconfigure(&breakers, &other), [] as [Arc<str>; 0], "it has them already");

        assert_eq!(breaker.snapshot().failure_count, 3);
        breaker.admit().expect("it is closed").settle(Outcome::Failure);
        assert_eq!(breaker.state(), State::Open, "the three from before and this one are four");
    }

    #[test]
    fn an_order_outlives_other_settings() {
        let breakers = [named(&config(""))];
        breakers[0].breaker.order(Order::new(Action::ForceOpen).by("ana"));
        reconfigure(&breakers, &config("open_wait_seconds = 1"));
        assert_eq!(breakers[0].breaker.state(), State::ForcedOpen);
    }

    #[test]
    fn what_an_operator_said_is_for_operators() {
        let breakers = [named(&config(""))];
        breakers[0].breaker.order(Order::new(Action::ForceOpen).by("ana").because("INC-42"));
        let (public, full) =
            (Value::Object(all(&breakers)), Value::Object(all_with_orders(&breakers, &Map::new())));
        assert!(!public.to_string().contains("INC-42") && !public.to_string().contains("ana"));
        assert_eq!(full["a"]["order"]["reason"], "INC-42");
        assert_eq!(full["a"]["why"], "forced open by ana: INC-42");
    }
}
