//! The admin API: what operators see and do.
//!
//! `guard` stands before everything; each resource has a file of its own; every error is a `problem`. Handlers only translate:
//! what a flip does is the writer's business, and what may be shown is read from the same view that requests pin.

mod audit;
mod body;
mod bulk;
mod circuit_breakers;
mod error_stats;
mod events;
mod guard;
mod health;
mod instances;
mod keys;
mod killswitches;
mod page;
mod problem;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::middleware;
use axum::response::IntoResponse;
use axum::routing::{get, post};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use portcullis::auto_disable::Meter;
use portcullis::view::Subscriber;

use self::keys::Keyring;
use self::problem::Problem;
use super::Parts;
use super::breakers::NamedBreaker;
use super::events::Events;
use super::fleet::Fleet;
use super::health::Health;
use super::metrics::{self, ControlFigures, Exposition};
use super::standing::Standing;
use super::writer::Writer;
use crate::config::config::Config;

/// What the handlers work with.
struct Admin {
    config: Arc<Config>,
    keyring: Keyring,
    subscriber: Subscriber,
    writer: Writer,
    fleet: Fleet,
    breakers: Vec<NamedBreaker>,
    standing: Standing,
    meters: Vec<Meter>,
    health: Health,
    events: Events,
    /// The places for those who read the events.
    seats: events::Seats,
    exposition: Vec<Arc<dyn Exposition>>,
}

/// The whole admin API as one service.
pub fn router(parts: Parts) -> Router {
    let test_endpoints = parts.config.admin.test_endpoints && !parts.config.admin.production;
    let admin = Arc::new(Admin::new(parts));
    let mut router = Router::new()
        .route("/", get(page::show))
        .route("/admin/killswitches", get(killswitches::list))
        .route("/admin/killswitch/{feature}", get(killswitches::show).post(killswitches::flip))
        .route("/admin/emergency-disable", post(bulk::emergency_disable))
        .route("/admin/bulk-enable", post(bulk::bulk_enable))
        .route("/admin/error-stats", get(error_stats::list))
        .route("/admin/circuit-breakers", get(circuit_breakers::list))
        .route("/admin/circuit-breakers/{name}/{action}", post(circuit_breakers::act))
        .route("/admin/audit", get(audit::list))
        .route("/admin/events", get(events::stream))
        .route("/admin/instances", get(instances::list))
        .route("/health/circuit-breakers", get(circuit_breakers::list))
        .route("/health/circuits", get(circuit_breakers::circuits))
        .route("/health/dependencies", get(health::dependencies))
        .route("/health", get(health::answer))
        .route("/api/health", get(health::answer))
        .route("/livez", get(health::answer))
        .route("/readyz", get(health::answer))
        .route("/metrics", get(expose));
    if test_endpoints {
        router = router.route("/test/simulate-error/{feature}", post(error_stats::simulate));
    }
    router
        .fallback(async || Problem::not_found("no_route", "there is nothing at this path"))
        .method_not_allowed_fallback(async || {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this path takes other methods",
            )
        })
        .layer(DefaultBodyLimit::max(body::BYTES_MAX))
        .layer(middleware::from_fn_with_state(admin.clone(), guard::stand))
        .with_state(admin)
}

impl Admin {
    fn new(parts: Parts) -> Self {
        let Parts {
            config,
            subscriber,
            writer,
            fleet,
            breakers,
            standing,
            meters,
            health,
            events,
            mut exposition,
            // Their tasks have them by now.
            outlet: _,
            courier: _,
        } = parts;
        let own = ControlFigures {
            subscriber: subscriber.clone(),
            breakers: breakers.clone(),
            meters: meters.clone(),
            ledger: writer.ledger().clone(),
            started: Instant::now(),
        };
        exposition.insert(0, Arc::new(own));
        let keyring = Keyring::new(&config.admin);
        let seats = events::Seats::default();
        Self {
            config,
            keyring,
            subscriber,
            writer,
            fleet,
            breakers,
            standing,
            meters,
            health,
            events,
            seats,
            exposition,
        }
    }

    fn meter(&self, feature: &str) -> Option<&Meter> {
        self.meters.iter().find(|meter| **meter.feature() == *feature)
    }
}

async fn expose(State(admin): State<Arc<Admin>>) -> impl IntoResponse {
    let mut out = String::new();
    admin.exposition.iter().for_each(|part| part.write(&mut out));
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], out)
}
