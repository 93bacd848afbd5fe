//! Telling kafka-producer of each result, through the gateway, until it really has it.
//!
//! An event counts as delivered when the answer is `sent`, or a 202: then the gateway's spool has it on disk. A `queued`
//! of kafka-producer itself is only in its memory, so the event is sent again; its key keeps that from storing it twice.
//! While sending fails the pause grows up to a bound; it never gives up, as the database keeps what is unsent.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::body::Bytes;
use axum::http::{Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

use super::tests_table::{TestsTable, Unsent};
use crate::startup::{Background, Ending, OpenError};

const ANSWER_WITHIN: Duration = Duration::from_secs(5);
const ANSWER_BYTES_MAX: usize = 64 * 1024;
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// Short enough that everything recovers within ten seconds, the gateway's breaker included.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// Sent together, so that kafka-producer can store them together.
const AT_ONCE_MAX: u32 = 32;
/// How often to look for unsent events when nobody told us of one.
const LOOK_EVERY: Duration = Duration::from_secs(5);

pub(super) struct EventDelivery {
    delivering: Arc<AtomicBool>,
}

impl EventDelivery {
    pub(super) fn start(
        tests: TestsTable,
        gateway: GatewayClient,
        stored: Arc<Notify>,
        background: &mut Background,
    ) -> Self {
        let delivering = Arc::new(AtomicBool::new(true));
        let sender = Sender { tests, gateway, stored, delivering: delivering.clone() };
        background.spawn(|ending| sender.run(ending));
        EventDelivery { delivering }
    }

    /// Whether the last event got through (or none was tried yet).
    pub(super) fn is_delivering(&self) -> bool {
        self.delivering.load(Ordering::Relaxed)
    }
}

struct Sender {
    tests: TestsTable,
    gateway: GatewayClient,
    stored: Arc<Notify>,
    delivering: Arc<AtomicBool>,
}

impl Sender {
    async fn run(self, mut ending: Ending) {
        let mut pause = PAUSE_FIRST;
        // While sending fails one event at a time is enough to learn that it works again.
        let mut at_once = 1;
        while !ending.has_begun() {
            match self.send_some(at_once).await {
                Sent::Nothing => {
                    tokio::select! {
                        () = self.stored.notified() => {}
                        () = ending.sleep(LOOK_EVERY) => {}
                    }
                }
                Sent::All => (pause, at_once) = (PAUSE_FIRST, AT_ONCE_MAX),
                Sent::NotAll => {
                    ending.sleep(pause).await;
                    (pause, at_once) = ((pause * 2).min(PAUSE_MAX), 1);
                }
            }
        }
    }

    async fn send_some(&self, at_once: u32) -> Sent {
        let Ok(events) = self.tests.unsent(at_once).await else { return Sent::NotAll };
        if events.is_empty() {
            return Sent::Nothing;
        }
        let mut sending = JoinSet::new();
        for event in events {
            let gateway = self.gateway.clone();
            sending.spawn(async move {
                let sent = gateway.send(&event).await;
                (event.test_id, sent)
            });
        }
        let tried = sending.join_all().await;
        let failure = tried.iter().find_map(|(_, sent)| sent.as_ref().err());
        self.tell(failure);
        let all_sent = failure.is_none();
        let tried = tried.into_iter().map(|(test_id, sent)| (test_id, sent.is_ok())).collect();
        let noted = self.tests.note(tried).await;
        if all_sent && noted.is_ok() { Sent::All } else { Sent::NotAll }
    }

    fn tell(&self, failure: Option<&NotSent>) {
        let was_delivering = self.delivering.swap(failure.is_none(), Ordering::Relaxed);
        match failure {
            None if !was_delivering => info!("events are delivered again"),
            Some(reason) if was_delivering => {
                warn!(?reason, "an event could not be delivered; it is kept and sent later");
            }
            _ => {}
        }
    }
}

enum Sent {
    Nothing,
    All,
    NotAll,
}

/// Why an event must be sent again.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum NotSent {
    Unreachable,
    TooSlow,
    Answered(u16),
    OnlyInMemory,
}

#[derive(Clone)]
pub(super) struct GatewayClient {
    events: Uri,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl GatewayClient {
    /// A client of the gateway at `url`; refuses an address that could never work.
    pub(super) fn new(url: &str) -> Result<Self, OpenError> {
        let events = format!("{}/kafka/events", url.trim_end_matches('/'));
        let events: Uri =
            events.parse().map_err(|error| format!("GATEWAY_URL is {url:?}: {error}"))?;
        if events.scheme_str() != Some("http") || events.host().is_none() {
            return Err(format!("GATEWAY_URL is {url:?}, which is not http://HOST:PORT").into());
        }
        Ok(GatewayClient { events, client: Client::builder(TokioExecutor::new()).build_http() })
    }

    async fn send(&self, event: &Unsent) -> Result<(), NotSent> {
        timeout(ANSWER_WITHIN, self.post(event)).await.unwrap_or(Err(NotSent::TooSlow))
    }

    async fn post(&self, event: &Unsent) -> Result<(), NotSent> {
        let response =
            self.client.request(self.request(event)).await.map_err(|_| NotSent::Unreachable)?;
        match response.status() {
            StatusCode::ACCEPTED => Ok(()),
            StatusCode::OK => {
                let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX);
                let body = body.collect().await.map_err(|_| NotSent::Unreachable)?.to_bytes();
                let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
                if answer["status"] == "sent" { Ok(()) } else { Err(NotSent::OnlyInMemory) }
            }
            status => Err(NotSent::Answered(status.as_u16())),
        }
    }

    fn request(&self, event: &Unsent) -> Request<Full<Bytes>> {
        let mut request = Request::post(self.events.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header("idempotency-key", &event.test_id);
        if let Some(traceparent) = &event.traceparent {
            request = request.header("traceparent", traceparent);
        }
        request
            .body(Full::from(event.body.clone()))
            .expect("the id and the traceparent were checked when they came in")
    }
}
