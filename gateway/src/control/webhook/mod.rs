//! The webhook: tells another program that a circuit opened, closed, or was taken in hand.
//!
//! Each event is one `POST` of JSON, signed with a secret that both sides have: whoever receives it can tell that it is ours,
//! unchanged and recent. It is tried again, later each time, until it is taken, or is given up and counted. The events' ring
//! is the queue: while a receiver is away it fills, and what falls out of it is counted as lost. Nothing of this is near a
//! request.
//!
//! *Where it may go.* A name is resolved, the addresses are looked at, and the connection goes to the very address that was
//! looked at (see `policy`). Redirects are not followed. Over https the name of the URL is what its certificate must have (see
//! `trust`).

mod delivery;
mod policy;
mod signature;
mod trust;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use portcullis::circuit_breaker::State;
use serde_json::{Value, json};
use tokio::time::sleep;

use self::delivery::{Delivery, Failed};
use super::events::{BreakerChanged, Events, Read, What};
use super::metrics::{Exposition, counter};
use crate::config::config::{Config, Webhook, WebhookEvent};

/// Between the first attempt and the second; then twice as long each time, up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// What became of the events that were to be told.
#[derive(Debug, Default)]
pub(super) struct Figures {
    delivered: AtomicU64,
    failed: AtomicU64,
    lost: AtomicU64,
    attempts: AtomicU64,
}

/// Whoever carries events to the webhook, ready to go.
pub struct Courier {
    webhook: Webhook,
    delivery: Delivery,
}

impl Courier {
    /// The courier of this configuration; nobody if it has no webhook.
    ///
    /// # Errors
    /// If the webhook can't be believed to be who it is: its authorities can't be read, or its host is no name for a
    /// certificate.
    pub fn new(config: &Config) -> Result<Option<Self>, String> {
        let Some(webhook) = &config.webhook else { return Ok(None) };
        let delivery = Delivery::new(webhook, config)?;
        Ok(Some(Self { webhook: webhook.clone(), delivery }))
    }
}

/// Tells events for as long as they come.
pub(super) async fn tell(courier: Courier, events: Events, figures: Arc<Figures>) {
    let Courier { webhook, delivery } = &courier;
    // From the first event of this process on, also those from before this task began.
    let mut reader = events.read_all();
    while let Some(read) = reader.next().await {
        match read {
            Read::Missed(missed) => {
                figures.lost.fetch_add(missed, Relaxed);
                tracing::warn!(
                    "{missed} events were lost to the webhook, which is too slow or away"
                );
            }
            Read::Event(event) => {
                let What::Breaker(changed) = &event.what else { continue };
                if let Some(kind) = kind(changed.to).filter(|kind| webhook.events.contains(kind)) {
                    let message = message(events.id(&event), changed, kind);
                    deliver(delivery, webhook, &figures, &message).await;
                }
            }
        }
    }
}

/// One event on its way.
struct Message {
    id: String,
    kind: &'static str,
    body: Bytes,
}

async fn deliver(delivery: &Delivery, webhook: &Webhook, figures: &Figures, message: &Message) {
    let mut pause = PAUSE;
    for attempt in 1..=webhook.attempts_max.get() {
        figures.attempts.fetch_add(1, Relaxed);
        // Signed anew each time, so that a receiver that looks at the age takes a late attempt too.
        match delivery.post(message, SystemTime::now()).await {
            Ok(()) => {
                figures.delivered.fetch_add(1, Relaxed);
                return;
            }
            Err(Failed { why, again }) => {
                if !again || attempt == webhook.attempts_max.get() {
                    tracing::warn!("the webhook didn't take {}: {why}", message.kind);
                    break;
                }
            }
        }
        sleep(pause.mul_f64(1.0 - fastrand::f64() / 5.0)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
    figures.failed.fetch_add(1, Relaxed);
}

/// Which of the events that can be asked for a new state is; a probe is none of them.
const fn kind(to: State) -> Option<WebhookEvent> {
    match to {
        State::Open => Some(WebhookEvent::Opened),
        State::Closed => Some(WebhookEvent::Closed),
        State::ForcedOpen | State::Disabled | State::Shadow => Some(WebhookEvent::Forced),
        State::HalfOpen => None,
    }
}

fn message(id: String, changed: &BreakerChanged, kind: WebhookEvent) -> Message {
    let word = match kind {
        WebhookEvent::Opened => "circuit_breaker.opened",
        WebhookEvent::Closed => "circuit_breaker.closed",
        WebhookEvent::Forced => "circuit_breaker.forced",
    };
    let body = Bytes::from(body(&id, word, changed).to_string());
    Message { id, kind: word, body }
}

fn body(id: &str, kind: &str, what: &BreakerChanged) -> Value {
    let mut body = what.json();
    body["id"] = json!(id);
    body["event"] = json!(kind);
    body
}

impl Exposition for Figures {
    fn write(&self, out: &mut String) {
        let all = [
            ("portcullis_webhook_delivered_total", "Events that the webhook took", &self.delivered),
            ("portcullis_webhook_failed_total", "Events that were given up", &self.failed),
            (
                "portcullis_webhook_lost_total",
                "Events that were lost because too many waited",
                &self.lost,
            ),
            ("portcullis_webhook_attempts_total", "Attempts to tell the webhook", &self.attempts),
        ];
        for (name, help, count) in all {
            counter(name, help).single(out, count.load(Relaxed));
        }
    }
}
