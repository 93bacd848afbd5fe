//! How the gateway is, for probes, dashboards and people; asked on both listeners.
//!
//! Answering takes no I/O: breakers, switchboard and ledger are in memory, and what the upstreams say of themselves is what
//! `probe` heard last. So a worker's thread may answer, and a health check can't hang on a dependency.
//!
//! *Healthy* means every breaker closed or in shadow, no critical feature off, all kept that is in force. *Unhealthy* means that
//! the gateway can't serve, and is the only answer with 503. *Degraded* is all between. What an upstream says of its own
//! dependencies is shown and changes nothing: whether it hurts, its breaker knows.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response, StatusCode};
use portcullis::view::{Subscriber, View};
use serde_json::{Map, Value, json};

use super::breakers::{self, NamedBreaker};
use super::ledger::Ledger;
use crate::config::config::{self, Config};

/// The health of this process. Cheap to clone.
#[derive(Clone)]
pub struct Health(Arc<Ward>);

struct Ward {
    subscriber: Subscriber,
    breakers: Vec<NamedBreaker>,
    ledger: Arc<Ledger>,
    store: &'static str,
    draining: AtomicBool,
    /// The word that the configuration has for an upstream.
    kinds: BTreeMap<Arc<str>, String>,
    /// What each upstream said last. Held for an insertion or a copy, never over an await.
    dependencies: Mutex<BTreeMap<Arc<str>, Value>>,
}

impl Health {
    pub fn new(
        config: &Config,
        subscriber: Subscriber,
        breakers: Vec<NamedBreaker>,
        ledger: Arc<Ledger>,
    ) -> Self {
        let unasked =
            |upstream: &config::Upstream| (upstream.name.clone(), json!({ "status": "unknown" }));
        Self(Arc::new(Ward {
            subscriber,
            breakers,
            ledger,
            store: match config.store {
                config::Store::Embedded { .. } => "embedded",
                config::Store::Memory => "memory",
                config::Store::Redis(_) => "redis",
            },
            draining: AtomicBool::new(false),
            kinds: config
                .upstreams
                .iter()
                .filter_map(|upstream| Some((upstream.name.clone(), upstream.kind.clone()?)))
                .collect(),
            dependencies: Mutex::new(config.upstreams.iter().map(unasked).collect()),
        }))
    }

    /// From now on the gateway takes nothing new, and says so.
    pub fn drain(&self) {
        self.0.draining.store(true, Relaxed);
    }

    pub fn is_draining(&self) -> bool {
        self.0.draining.load(Relaxed)
    }

    /// The answer to a health path; nothing for any other path.
    pub fn answer(&self, path: &str) -> Option<Response<Bytes>> {
        let (status, body) = match path {
            "/health" | "/api/health" => self.report(),
            "/livez" => self.livez(),
            "/readyz" => self.readyz(),
            _ => return None,
        };
        let mut response = Response::new(Bytes::from(body.to_string()));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Some(response)
    }

    /// The whole report.
    pub fn report(&self) -> (StatusCode, Value) {
        let view = self.0.subscriber.pin();
        let critical = critical_features_disabled(&view);
        let breakers = breakers::all(&self.0.breakers);
        let dependencies = self.dependencies();
        let status = self.status(&critical);
        let report = json!({
            "status": status,
            "redis_available": self.redis_available(),
            "store": self.store(),
            "critical_features_disabled": critical,
            "total_features": view.features().filter(|(_, feature, _)| feature.declared).count(),
            "circuit_breakers": breakers,
            "circuits": breakers,
            "dependencies": dependencies,
            "services": dependencies,
            "spool": null,
            "revision": view.revision(),
            "version": env!("CARGO_PKG_VERSION"),
        });
        (
            if status == "unhealthy" { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK },
            report,
        )
    }

    /// Whether the process is alive: whoever can answer is.
    pub fn livez(&self) -> (StatusCode, Value) {
        (StatusCode::OK, json!({ "status": "alive" }))
    }

    /// Whether to send traffic here.
    pub fn readyz(&self) -> (StatusCode, Value) {
        if self.is_draining() {
            (StatusCode::SERVICE_UNAVAILABLE, json!({ "status": "draining" }))
        } else {
            (StatusCode::OK, json!({ "status": "ready" }))
        }
    }

    /// What each upstream said last, by name.
    pub fn dependencies(&self) -> Map<String, Value> {
        let dependencies = self.0.dependencies.lock().unwrap_or_else(PoisonError::into_inner);
        let shown = |(name, said): (&Arc<str>, &Value)| {
            let mut said = said.clone();
            if let (Some(kind), Some(members)) = (self.0.kinds.get(name), said.as_object_mut()) {
                members.insert("kind".to_owned(), json!(kind));
            }
            (name.to_string(), said)
        };
        dependencies.iter().map(shown).collect()
    }

    pub(super) fn heard(&self, upstream: &Arc<str>, said: Value) {
        let mut dependencies = self.0.dependencies.lock().unwrap_or_else(PoisonError::into_inner);
        dependencies.insert(upstream.clone(), said);
    }

    fn status(&self, critical: &[Arc<str>]) -> &'static str {
        let in_order = |named: &NamedBreaker| breakers::is_in_order(named.breaker.snapshot().state);
        if self.is_draining() {
            "unhealthy"
        } else if critical.is_empty()
            && self.0.ledger.in_order()
            && self.0.breakers.iter().all(in_order)
        {
            "healthy"
        } else {
            "degraded"
        }
    }

    /// Nothing without Redis.
    fn redis_available(&self) -> Option<bool> {
        (self.0.store == "redis").then(|| !self.0.ledger.is_away())
    }

    fn store(&self) -> Value {
        let ledger = &self.0.ledger;
        let status = match (ledger.has_stopped(), ledger.is_away(), ledger.in_order()) {
            (true, ..) => "stopped",
            (false, true, _) => "away",
            (false, false, true) => "ok",
            (false, false, false) => "unsaved",
        };
        json!({
            "kind": self.0.store,
            "status": status,
            "pending": *ledger.pending(),
            "audit_backlog": ledger.audit_backlog(),
            "failure": ledger.failure(),
            "losses": ledger.losses(),
            "last_loss": ledger.loss(),
            "warnings": *ledger.warnings(),
        })
    }
}

fn critical_features_disabled(view: &View) -> Vec<Arc<str>> {
    let off = view.features().filter(|(id, feature, _)| feature.critical && view.is_off(*id));
    off.map(|(_, feature, _)| feature.name.clone()).collect()
}
