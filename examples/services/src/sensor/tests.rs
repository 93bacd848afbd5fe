//! The service as its callers see it, with a gateway that is scripted here.

use std::collections::VecDeque;
use std::fs;
use std::sync::Mutex;

use axum::body::Bytes;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;
use crate::http_test::{get, post, send, send_for_headers, with};

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A gateway that answers as told, then `sent`; what it hears comes out of the channel.
async fn gateway(answers: &[(u16, &str)]) -> (String, mpsc::UnboundedReceiver<(HeaderMap, Value)>) {
    let answers: VecDeque<_> =
        answers.iter().map(|(status, word)| (*status, (*word).to_owned())).collect();
    let (answers, (say, heard)) = (Arc::new(Mutex::new(answers)), mpsc::unbounded_channel());
    let router = Router::new().route(
        "/kafka/events",
        post_route(move |headers: HeaderMap, body: Bytes| async move {
            say.send((headers, serde_json::from_slice(&body).unwrap())).unwrap();
            let (status, word) =
                answers.lock().unwrap().pop_front().unwrap_or((200, "sent".to_owned()));
            (StatusCode::from_u16(status).unwrap(), Json(json!({ "status": word, "id": "1" })))
        }),
    );
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    (url, heard)
}

use axum::routing::post as post_route;

const AT_ONCE: Pace = Pace { measuring_max: Duration::ZERO, waiting_max: 8 };
const NEVER: Pace = Pace { measuring_max: Duration::from_secs(1_000_000), waiting_max: 8 };

fn service(directory: &TempDir, gateway_url: &str, pace: Pace) -> Service {
    let tests = TestsTable::open(directory.path(), Limits::default());
    start(tests, GatewayClient::new(gateway_url).unwrap(), pace)
}

/// Nobody listens there: the port was given back.
async fn nowhere() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

async fn begin_test(router: &Router) -> String {
    let request = with(post("/test/temperature", &json!(null)), "traceparent", TRACEPARENT);
    let (status, body) = send(router, request).await;
    assert_eq!((status, &body["status"]), (200, &json!("processing")), "{body}");
    body["test_id"].as_str().unwrap().to_owned()
}

/// Asks until the answer is as wanted.
async fn when(router: &Router, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
    timeout(Duration::from_secs(20), async {
        loop {
            let (_, body) = send(router, get(path)).await;
            if wanted(&body) {
                return body;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
    .expect("it comes to that in the end")
}

#[tokio::test]
async fn a_test_is_processing_at_once_and_completed_later() {
    let directory = TempDir::new().unwrap();
    let (url, _heard) = gateway(&[]).await;
    let service = service(&directory, &url, AT_ONCE);
    let id = begin_test(&service.router).await;
    let test =
        when(&service.router, &format!("/test/{id}"), |test| test["status"] == "completed").await;
    assert_eq!((&test["sensor"], &test["result"]["unit"]), (&json!("temperature"), &json!("°C")));
}

#[tokio::test]
async fn the_plain_answer_has_two_members_and_a_degraded_one_says_so() {
    let directory = TempDir::new().unwrap();
    let service = service(&directory, &nowhere().await, NEVER);
    let (_, plain) =
        send(&service.router, with(post("/test/light", &json!(null)), "x-auth-mode", "service"))
            .await;
    assert_eq!(plain.as_object().unwrap().len(), 2);
    let (_, degraded) = send(
        &service.router,
        with(post("/test/light", &json!(null)), "x-auth-mode", "jwt-fallback"),
    )
    .await;
    assert_eq!(degraded["auth_mode"], "jwt-fallback");
}

#[tokio::test]
async fn unknown_sensors_and_unknown_tests_are_404() {
    let directory = TempDir::new().unwrap();
    let service = service(&directory, &nowhere().await, NEVER);
    let (status, body) = send(&service.router, post("/test/smell", &json!(null))).await;
    assert_eq!((status, &body["error"]), (404, &json!("Unknown sensor type")));
    for id in ["nonsense", "0190b7a0-0000-7000-8000-000000000000"] {
        assert_eq!(send(&service.router, get(&format!("/test/{id}"))).await.0, 404);
    }
}

#[tokio::test]
async fn a_full_queue_is_a_503_that_says_when_to_come_back() {
    let directory = TempDir::new().unwrap();
    let service = service(&directory, &nowhere().await, NEVER);
    // Sixteen are being measured for ever and eight wait; the workers may take their first jobs late.
    let refused = timeout(Duration::from_secs(20), async {
        loop {
            let answer = send_for_headers(&service.router, post("/test/light", &json!(null))).await;
            if answer.0 != 200 {
                return answer;
            }
        }
    });
    let (status, headers, body) = refused.await.unwrap();
    assert_eq!((status, body), (503, json!({ "error": "Too many tests are waiting" })));
    assert_eq!(headers["retry-after"], "1");
}

#[tokio::test]
async fn a_result_is_told_through_the_gateway_with_its_key_and_trace() {
    let directory = TempDir::new().unwrap();
    let (url, mut heard) = gateway(&[]).await;
    let service = service(&directory, &url, AT_ONCE);
    let id = begin_test(&service.router).await;
    let (headers, event) = timeout(Duration::from_secs(20), heard.recv()).await.unwrap().unwrap();
    assert_eq!(event["test_id"], id.as_str());
    assert_eq!(
        (&headers["idempotency-key"], &headers["traceparent"]),
        (&id.as_str().parse().unwrap(), &TRACEPARENT.parse().unwrap())
    );
    when(&service.router, "/health", |health| health["events_unsent"] == 0).await;
}

#[tokio::test]
async fn an_event_is_sent_again_until_it_is_safe() {
    let directory = TempDir::new().unwrap();
    let (url, mut heard) = gateway(&[(503, "refused"), (200, "queued"), (202, "queued")]).await;
    let service = service(&directory, &url, AT_ONCE);
    begin_test(&service.router).await;
    when(&service.router, "/health", |health| health["events_unsent"] == 1).await;
    when(&service.router, "/health", |health| health["events_unsent"] == 0).await;
    let mut times = 0;
    while heard.try_recv().is_ok() {
        times += 1;
    }
    assert_eq!(times, 3);
}

#[tokio::test]
async fn without_a_gateway_events_are_kept_over_a_restart() {
    let directory = TempDir::new().unwrap();
    let first = service(&directory, &nowhere().await, AT_ONCE);
    begin_test(&first.router).await;
    let health =
        when(&first.router, "/health", |health| health["dependencies"]["events"] == "down").await;
    assert_eq!((&health["status"], &health["events_unsent"]), (&json!("degraded"), &json!(1)));
    drop(first.router);
    first.background.end().await;
    let (url, mut heard) = gateway(&[]).await;
    let _second = service(&directory, &url, AT_ONCE);
    assert!(timeout(Duration::from_secs(20), heard.recv()).await.unwrap().is_some());
}

#[tokio::test]
async fn a_test_that_an_earlier_process_left_is_measured() {
    let directory = TempDir::new().unwrap();
    let first = service(&directory, &nowhere().await, NEVER);
    let id = begin_test(&first.router).await;
    // Dropped without an end, as SIGKILL would.
    drop(first);
    let second = service(&directory, &nowhere().await, AT_ONCE);
    when(&second.router, &format!("/test/{id}"), |test| test["status"] == "completed").await;
}

#[tokio::test]
async fn a_broken_database_is_said_and_recovers_by_itself() {
    let directory = TempDir::new().unwrap();
    let service = service(&directory, &nowhere().await, AT_ONCE);
    let (file, away) = (directory.path().join("sensor.db"), directory.path().join("away"));
    fs::rename(&file, &away).unwrap();
    let (status, body) = send(&service.router, post("/test/light", &json!(null))).await;
    assert_eq!((status, body), (503, json!({ "error": "Database unavailable" })));
    let (_, health) = send(&service.router, get("/health")).await;
    assert_eq!(health["dependencies"]["database"], "down");
    fs::rename(&away, &file).unwrap();
    when(&service.router, "/health", |health| health["dependencies"]["database"] == "up").await;
    begin_test(&service.router).await;
}

#[test]
fn a_gateway_url_that_cannot_work_is_refused() {
    for url in ["", "127.0.0.1:8000", "https://127.0.0.1:8000", "http://"] {
        assert!(GatewayClient::new(url).is_err(), "{url}");
    }
}
