//! The admin API: what operators see and do.
//!
//! `guard` stands before everything; each resource has a file of its own; every error is a `problem`. Handlers only translate:
//! what a flip does is the writer's business, and what may be shown is read from the same view that requests pin.

mod audit;
mod body;
mod bulk;
mod circuit_breakers;
mod endpoints;
mod error_stats;
mod events;
mod guard;
mod health;
mod instances;
mod keys;
mod killswitches;
mod openapi;
mod origins;
mod pace;
mod page;
mod problem;
mod repeat;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::middleware;
use axum::response::IntoResponse;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use portcullis::auto_disable::Meter;
use portcullis::view::Subscriber;
use tokio::sync::Semaphore;

use self::endpoints::Endpoint;
use self::keys::Keyring;
use self::pace::Pace;
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
    endpoints: Vec<Endpoint>,
    keyring: Keyring,
    pace: Pace,
    /// What was asked with an `Idempotency-Key`.
    repeated: repeat::Ledger,
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
    /// The turn of the one who searches the audit.
    searching: Arc<Semaphore>,
    exposition: Vec<Arc<dyn Exposition>>,
}

/// The whole admin API as one service.
pub fn router(parts: Parts) -> Router {
    let test_endpoints = parts.config.admin.test_endpoints && !parts.config.admin.production;
    let all = endpoints::all(test_endpoints);
    let endpoints = all.iter().map(|served| served.endpoint.clone()).collect();
    let admin = Arc::new(Admin::new(parts, endpoints));
    let router = all
        .into_iter()
        .fold(Router::new(), |router, served| router.route(served.endpoint.path, served.handler));
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
        .layer(middleware::from_fn_with_state(admin.clone(), repeat::once))
        .layer(middleware::from_fn_with_state(admin.clone(), guard::stand))
        .with_state(admin)
}

impl Admin {
    fn new(parts: Parts, endpoints: Vec<Endpoint>) -> Self {
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
        let pace = Pace::new(config.admin.requests_per_second);
        Self {
            config,
            endpoints,
            pace,
            repeated: repeat::Ledger::default(),
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
            searching: Arc::new(Semaphore::new(1)),
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
