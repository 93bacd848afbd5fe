//! Asks each upstream that has a health path how it is, at its interval, and keeps the last answer for `health`.
//!
//! Only words, numbers and yes or no are taken over: the report is public, and free text (an error with an address in it, say)
//! has no place there. That says nothing to a breaker: a service that is ill in its own eyes may still answer calls. A breaker
//! that asks for it has checks of its own, which go through it and count as any call does.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use http_body_util::{BodyExt, Empty, Limited};
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::TokioExecutor;
use serde_json::{Map, Value, json};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::breakers::NamedBreaker;
use super::health::Health;
use super::moment::rfc3339;
use crate::config::config::{Config, Upstream};
use portcullis::circuit_breaker::Breaker;
use portcullis::outcome::Outcome;
use portcullis::switchboard::UnixMillis;

/// A health answer is small; more is not read.
const BODY_BYTES_MAX: usize = 64 << 10;
/// Members taken over from one answer.
const MEMBERS_MAX: usize = 32;
/// The longest word taken over.
const WORD_BYTES_MAX: usize = 32;
/// Until an upstream counts as down. A health answer that takes longer is no better than none.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

type Probe = Client<HttpConnector, Empty<Bytes>>;

/// One task per upstream, and one per breaker that is checked; they end when the set is dropped.
pub(super) fn spawn(config: &Config, health: &Health, breakers: &[NamedBreaker]) -> JoinSet<()> {
    let mut tasks = JoinSet::new();
    for upstream in &config.upstreams {
        if let Some(uri) = uri(upstream) {
            tasks.spawn(watch(
                health.clone(),
                upstream.name.clone(),
                uri,
                upstream.health_interval,
            ));
        }
    }
    for (breaker, uri, every) in checks(config, breakers) {
        tasks.spawn(check(breaker, uri, every));
    }
    tasks
}

/// The breakers of upstreams and routes that are checked, each once.
fn checks(config: &Config, breakers: &[NamedBreaker]) -> Vec<(Breaker, Uri, Duration)> {
    let of_upstreams = config.upstreams.iter().map(|upstream| (upstream, &upstream.breaker));
    let of_routes =
        config.routes.iter().map(|route| (&config.upstreams[route.upstream.0], &route.breaker));
    let mut checks: Vec<(Breaker, Uri, Duration)> = Vec::new();
    for (upstream, of) in of_upstreams.chain(of_routes) {
        let Some(of) = of else { continue };
        let named = breakers.iter().find(|named| named.breaker.name() == &of.name);
        if let (Some(named), Some(uri), Some(every)) =
            (named, uri(upstream), of.profile.health_check)
            && checks.iter().all(|(breaker, ..)| breaker.name() != named.breaker.name())
        {
            checks.push((named.breaker.clone(), uri, every));
        }
    }
    checks
}

/// Calls the health path through the breaker. While it refuses, nothing is asked; after its wait the check is its probe, so that
/// a circuit without traffic closes by itself.
async fn check(breaker: Breaker, uri: Uri, every: Duration) {
    let client = client();
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Ok(permit) = breaker.admit() else { continue };
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = uri.clone();
        let answers = timeout(ANSWER_TIMEOUT, client.request(request)).await;
        let is_well =
            answers.is_ok_and(|answer| answer.is_ok_and(|head| !head.status().is_server_error()));
        let outcome = match is_well {
            // While clients fail at what they do, a health path that answers well must not count their failures away.
            true if !permit.is_probe() => Outcome::Ignored,
            true => Outcome::Success,
            false => Outcome::Failure,
        };
        permit.settle(outcome);
    }
}

/// A new connection each time: a pooled one would tell how things were when it was made.
fn client() -> Probe {
    Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build_http()
}

fn uri(upstream: &Upstream) -> Option<Uri> {
    let path = upstream.health_path.as_deref()?;
    Uri::builder()
        .scheme("http")
        .authority(upstream.address.clone())
        .path_and_query(path)
        .build()
        .ok()
}

async fn watch(health: Health, upstream: Arc<str>, uri: Uri, every: Duration) {
    let client = client();
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let mut said =
            timeout(ANSWER_TIMEOUT, ask(&client, uri.clone())).await.unwrap_or_else(|_| down());
        said.insert("checked_at".to_owned(), json!(rfc3339(UnixMillis::now())));
        health.heard(&upstream, Value::Object(said));
    }
}

async fn ask(client: &Probe, uri: Uri) -> Map<String, Value> {
    let mut request = Request::new(Empty::new());
    *request.uri_mut() = uri;
    let Ok(response) = client.request(request).await else { return down() };
    let status = response.status();
    match Limited::new(response.into_body(), BODY_BYTES_MAX).collect().await {
        Ok(body) => said(status, &body.to_bytes()),
        Err(_) => down(),
    }
}

fn down() -> Map<String, Value> {
    Map::from_iter([("status".to_owned(), json!("down"))])
}

/// The answer, flat: its own members, and the members of its `dependencies` beside them.
fn said(status: StatusCode, body: &[u8]) -> Map<String, Value> {
    let mut members = Map::new();
    members.insert(
        "status".to_owned(),
        json!(if status.is_success() { "healthy" } else { "unhealthy" }),
    );
    let Ok(Value::Object(mut answer)) = serde_json::from_slice(body) else { return members };
    let inner = match answer.remove("dependencies") {
        Some(Value::Object(inner)) => inner,
        _ => Map::new(),
    };
    let status = answer.remove("status").map(|status| ("status".to_owned(), status));
    // The service's own status last, so that a dependency by that name can't stand in for it.
    for (name, value) in answer
        .into_iter()
        .chain(inner.into_iter().filter(|(name, _)| name != "status"))
        .chain(status)
    {
        if let Some(value) =
            presentable(value).filter(|_| is_word(&name) && members.len() < MEMBERS_MAX)
        {
            members.insert(name, value);
        }
    }
    members
}

/// The value if it can carry no free text. Of a dependency that is an object itself, its status.
fn presentable(value: Value) -> Option<Value> {
    match value {
        Value::Object(mut inner) => {
            inner.remove("status").filter(Value::is_string).and_then(presentable)
        }
        Value::String(word) => is_word(&word).then_some(Value::String(word)),
        Value::Bool(_) | Value::Number(_) => Some(value),
        Value::Null | Value::Array(_) => None,
    }
}

fn is_word(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    text.len() <= WORD_BYTES_MAX
        && text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.bytes().all(letter)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(status: u16, body: &str) -> Value {
        Value::Object(said(StatusCode::from_u16(status).unwrap(), body.as_bytes()))
    }

    #[test]
    fn a_services_own_dependencies_show_beside_its_status() {
        let body = r#"{"status":"degraded","dependencies":{"database":"down"},"queued":2}"#;
        assert_eq!(
            heard(200, body),
            json!({ "status": "degraded", "database": "down", "queued": 2 })
        );
    }

    #[test]
    fn a_dependency_that_is_an_object_shows_as_its_status() {
        let body = r#"{"status":"healthy","dependencies":{"database":{"status":"up","url":"postgres://db"}}}"#;
        assert_eq!(heard(200, body), json!({ "status": "healthy", "database": "up" }));
    }

    #[test]
    fn free_text_never_shows() {
        let body =
            r#"{"status":"degraded","error":"connect 10.0.0.7:5432 refused","10.0.0.7":"up"}"#;
        assert_eq!(heard(503, body), json!({ "status": "degraded" }));
    }

    #[test]
    fn an_answer_that_is_no_json_is_judged_by_its_status() {
        assert_eq!(heard(200, "ok"), json!({ "status": "healthy" }));
        assert_eq!(heard(500, "oops"), json!({ "status": "unhealthy" }));
    }
}
