//! The admin API row by row, without a socket: requests go straight into the router. One file per resource; here is the desk
//! that they all sit at.

mod access;
mod circuit_breakers;
mod error_stats;
mod health;
mod killswitches;
mod openapi;
mod pages;
mod timing;

use std::future::ready;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Method, Request};
use http_body_util::BodyExt;
use portcullis::circuit_breaker::{Breaker, Settings};
use portcullis::outcome::Outcome;
use portcullis::store::MemoryStore;
use portcullis::switchboard::feature::State;
use portcullis::view;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use tower::ServiceExt;

use super::*;
use crate::config;
use crate::config::config::{AdminKey, Role};
use crate::control::fleet::Fleet;
use crate::control::opening;
use crate::control::writer::{self, Board};

const CONFIG: &str = r#"
[admin]
test_endpoints = true
[store]
kind = "memory"
[features.order_creation]
critical = true
auto_disable = { errors = 10, window_seconds = 300 }
[features.payment_processing]
auto_disable = {}
[features.email_notifications]
[upstreams.control]
url = "http://127.0.0.1:9"
[[routes]]
name = "orders"
path = "/api/orders"
upstream = "control"
"#;

/// An admin API with a writer of its own; its thread is joined at the end.
struct Desk {
    router: Router,
    writer: Writer,
    health: Health,
    breaker: Breaker,
    meters: Vec<Meter>,
    thread: Option<JoinHandle<()>>,
}

impl Desk {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::made(change).0
    }

    /// The desk, and the parts to serve it on a socket.
    fn made(change: impl FnOnce(&mut Config)) -> (Self, Parts) {
        let mut config = config::parse("test.toml", CONFIG, &|_| None).unwrap();
        change(&mut config);
        let config = Arc::new(config);
        let switchboard = opening::open(&config).unwrap().switchboard;
        let switchboard = switchboard.with_state("sms", State::held_off("KILLSWITCH_SMS"));
        let (publisher, subscriber) = view::channel(switchboard.clone());
        let (writer, inbox) = writer::channel();
        let meters = crate::control::meters(&config, &writer);
        let board = Board {
            store: Box::new(MemoryStore::new()),
            publisher,
            switchboard,
            meters: meters.clone(),
        };
        let thread = thread::spawn(move || inbox.run(board));
        let breaker = Breaker::new("ControlAPI", Settings::default());
        let breakers = vec![NamedBreaker { breaker: breaker.clone(), upstream: "control".into() }];
        let health =
            Health::new(&config, subscriber.clone(), breakers.clone(), writer.ledger().clone());
        let parts = || Parts {
            config: config.clone(),
            subscriber: subscriber.clone(),
            writer: writer.clone(),
            fleet: Fleet::new(&config, None),
            breakers: breakers.clone(),
            standing: Standing::NOWHERE,
            meters: meters.clone(),
            health: health.clone(),
            events: Events::new("test"),
            outlet: None,
            courier: None,
            exposition: vec![Arc::new(Elsewhere)],
        };
        let (router, spare) = (router(parts()), parts());
        (Self { router, writer, health, breaker, meters, thread: Some(thread) }, spare)
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        Answer::read(response).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(request(Method::GET, path, "")).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(request(Method::POST, path, &body.to_string())).await
    }

    async fn kill(&self, feature: &str) -> Answer {
        let body = json!({ "enabled": false, "reason": "a test", "updated_by": "ada" });
        self.post(&format!("/admin/killswitch/{feature}"), body).await
    }

    async fn enabled(&self, feature: &str) -> bool {
        self.get(&format!("/admin/killswitch/{feature}")).await.json()["enabled"] == true
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.writer.close();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the writer does not panic");
        }
    }
}

struct Elsewhere;

impl Exposition for Elsewhere {
    fn write(&self, out: &mut String) {
        out.push_str("traffic_total 7\n");
    }
}

fn request(method: Method, path: &str, body: &str) -> Request<Body> {
    let builder = Request::builder().method(method).uri(path).header("host", "127.0.0.1:8001");
    builder.body(Body::from(body.to_owned())).unwrap()
}

fn with(mut request: Request<Body>, name: &'static str, value: &str) -> Request<Body> {
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Answer {
    async fn read(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Self { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }

    #[track_caller]
    fn problem(&self, status: u16, reason: &str) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.headers["cache-control"], "no-store");
        let problem = self.json();
        assert_eq!((&problem["reason"], &problem["status"]), (&reason.into(), &status.into()));
        for member in ["type", "title", "detail", "error", "request_id"] {
            assert!(problem[member].is_string(), "{member} is missing: {problem}");
        }
        problem["detail"].as_str().unwrap().to_owned()
    }
}
