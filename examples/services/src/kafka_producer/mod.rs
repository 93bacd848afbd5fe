//! The kafka-producer service: takes events and hands them to a sink, once each.
//!
//! An event is answered `sent` when the sink has it durably and `queued` when the sink can't take it now; then it
//! waits in memory and is tried again. Who needs to be sure asks again with the same `Idempotency-Key` until the
//! answer is `sent`; that never stores it twice. The sink is a local log for now, behind [`sink::Sink`].

mod delivery;
mod ledger;
mod log_sink;
mod sink;

use std::time::Duration;

use axum::extract::rejection::JsonRejection;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::answer::{bad_json, busy, refusal};
use crate::startup::{Background, OpenError, Service, Settings};
use crate::trace::traceparent;
use delivery::{Delivery, Progress};
use log_sink::LogSink;
use sink::Event;

/// Together with the queue's length this bounds what waits in memory.
const EVENT_BYTES_MAX: usize = 64 * 1024;
const KEY_BYTES_MAX: usize = 255;

/// Opens the service: its log must be readable, or nobody could say what was delivered.
pub async fn open(settings: Settings) -> Result<Service, OpenError> {
    let (sink, ledger) = LogSink::open(settings.data_dir.join("events.log"))?;
    let mut background = Background::default();
    let delivery = Delivery::start(sink, ledger, &mut background);
    Ok(Service { router: router(delivery), background })
}

fn router(delivery: Delivery) -> Router {
    Router::new()
        .route("/events", post(accept))
        .route("/stats", get(stats))
        .route("/health", get(health))
        .layer(DefaultBodyLimit::max(EVENT_BYTES_MAX))
        .with_state(delivery)
}

async fn accept(
    State(delivery): State<Delivery>,
    headers: HeaderMap,
    body: Result<Json<Value>, JsonRejection>,
) -> Response {
    let Json(payload) = match body {
        Ok(body) => body,
        Err(rejection) => return bad_json(&rejection),
    };
    let Ok(key) = idempotency_key(&headers) else {
        return refusal(
            StatusCode::BAD_REQUEST,
            "Idempotency-Key must be one line of at most 255 visible characters",
        );
    };
    let event = Event {
        id: Uuid::now_v7(),
        key,
        at: Timestamp::now(),
        traceparent: traceparent(&headers).map(str::to_owned),
        payload,
    };
    match delivery.accept(event).await {
        Ok((id, Progress::Stored)) => Json(json!({ "status": "sent", "id": id })).into_response(),
        Ok((id, Progress::Waiting)) => {
            Json(json!({ "status": "queued", "id": id })).into_response()
        }
        Err(delivery::QueueFull) => busy("Too many events are waiting", Duration::from_secs(1)),
    }
}

async fn stats(State(delivery): State<Delivery>, headers: HeaderMap) -> Json<Value> {
    let counts = delivery.counts();
    let queued = counts.queued.saturating_add(spool_queued(&headers));
    let sink = json!({ "kind": "log", "available": counts.sink_available });
    Json(json!({ "queued": queued, "successful": counts.successful, "sink": sink }))
}

async fn health(State(delivery): State<Delivery>) -> Json<Value> {
    let counts = delivery.counts();
    let (status, sink) =
        if counts.sink_available { ("healthy", "up") } else { ("degraded", "down") };
    Json(json!({ "status": status, "dependencies": { "sink": sink }, "queued": counts.queued }))
}

/// What the gateway's spool holds for us and so isn't delivered anywhere yet. Nonsense counts as nothing.
fn spool_queued(headers: &HeaderMap) -> u64 {
    let value = headers.get("spool-queued").and_then(|value| value.to_str().ok());
    value.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<String>, ()> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    let key = value.to_str().map_err(|_| ())?;
    let is_good = values.next().is_none() && !key.is_empty() && key.len() <= KEY_BYTES_MAX;
    if is_good { Ok(Some(key.to_owned())) } else { Err(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_test::{get, post, send, with};
    use std::fs;
    use std::path::Path;
    use tempfile::TempDir;
    use tokio::time::timeout;

    /// The service, and its background, which ends with the test.
    fn service(directory: &Path) -> (Router, Background) {
        let (sink, ledger) = LogSink::open(directory.join("events.log")).unwrap();
        let mut background = Background::default();
        let delivery = Delivery::start(sink, ledger, &mut background);
        (router(delivery), background)
    }

    fn lines(directory: &Path) -> usize {
        fs::read_to_string(directory.join("events.log")).unwrap().lines().count()
    }

    async fn stats_when(router: &Router, successful: u64) -> Value {
        timeout(Duration::from_secs(10), async {
            loop {
                let (_, stats) = send(router, get("/stats")).await;
                if stats["successful"] == successful {
                    return stats;
                }
                tokio::task::yield_now().await;
            }
        })
        .await
        .expect("the events are delivered in the end")
    }

    #[tokio::test]
    async fn an_event_is_sent_and_stands_in_the_log() {
        let directory = TempDir::new().unwrap();
        let (router, _background) = service(directory.path());
        let (status, body) = send(&router, post("/events", &json!({ "any": ["thing"] }))).await;
        assert_eq!((status, &body["status"]), (200, &json!("sent")));
        let log = fs::read_to_string(directory.path().join("events.log")).unwrap();
        let line: Value = serde_json::from_str(log.trim()).unwrap();
        assert_eq!((&line["id"], &line["payload"]), (&body["id"], &json!({ "any": ["thing"] })));
    }

    #[tokio::test]
    async fn the_same_key_is_stored_once_and_answered_alike() {
        let directory = TempDir::new().unwrap();
        let (router, _background) = service(directory.path());
        let event = || with(post("/events", &json!(1)), "idempotency-key", "test-7");
        let first = send(&router, event()).await;
        assert_eq!(send(&router, event()).await, first);
        assert_eq!(lines(directory.path()), 1);
    }

    #[tokio::test]
    async fn counts_and_keys_survive_a_restart() {
        let directory = TempDir::new().unwrap();
        let event = || with(post("/events", &json!(1)), "idempotency-key", "test-7");
        let (router, background) = service(directory.path());
        let first = send(&router, event()).await;
        background.end().await;
        drop(router);
        let (router, _background) = service(directory.path());
        assert_eq!(send(&router, event()).await, first);
        let (_, stats) = send(&router, get("/stats")).await;
        assert_eq!((&stats["queued"], &stats["successful"]), (&json!(0), &json!(1)));
    }

    #[tokio::test]
    async fn while_the_sink_fails_events_are_queued_and_later_sent() {
        let directory = TempDir::new().unwrap();
        let data = directory.path().join("data");
        fs::create_dir(&data).unwrap();
        let (router, _background) = service(&data);
        fs::rename(&data, directory.path().join("away")).unwrap();
        for _ in 0..2 {
            let (status, body) = send(&router, post("/events", &json!(1))).await;
            assert_eq!((status, &body["status"]), (200, &json!("queued")));
        }
        let (_, health) = send(&router, get("/health")).await;
        assert_eq!(
            health,
            json!({ "status": "degraded", "dependencies": { "sink": "down" }, "queued": 2 })
        );
        fs::rename(directory.path().join("away"), &data).unwrap();
        assert_eq!(stats_when(&router, 2).await["queued"], 0);
        assert_eq!(lines(&data), 2);
    }

    #[tokio::test]
    async fn what_the_spool_holds_counts_as_queued() {
        let directory = TempDir::new().unwrap();
        let (router, _background) = service(directory.path());
        for (said, queued) in [("3", 3), ("nonsense", 0), ("-1", 0)] {
            let (_, stats) = send(&router, with(get("/stats"), "spool-queued", said)).await;
            assert_eq!(stats["queued"], queued, "{said}");
        }
    }

    #[tokio::test]
    async fn what_is_no_json_or_too_large_is_refused() {
        let directory = TempDir::new().unwrap();
        let (router, _background) = service(directory.path());
        let large = post("/events", &json!("x".repeat(EVENT_BYTES_MAX)));
        assert_eq!(send(&router, large).await.0, 413);
        let mut words = post("/events", &json!(null));
        *words.body_mut() = "{half".into();
        assert_eq!(send(&router, words).await.0, 400);
        let long_key = with(post("/events", &json!(1)), "idempotency-key", &"k".repeat(256));
        assert_eq!(send(&router, long_key).await.0, 400);
    }
}
