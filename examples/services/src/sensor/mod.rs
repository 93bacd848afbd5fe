//! The sensor service: takes a test, answers at once, measures in the background, and tells the world by an event.
//!
//! A test that was answered `processing` is a row in the database, so nothing that ends the process loses it: at the
//! next start it is measured. Its event stands in the same database until kafka-producer has it.

mod event;
mod kind;
mod measuring;
mod tests_table;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::sync::Notify;
use uuid::Uuid;

use crate::answer::{busy, refusal};
use crate::database::Limits;
use crate::startup::{Background, OpenError, Service, Settings};
use crate::trace::traceparent;
use event::{EventDelivery, GatewayClient};
use kind::Kind;
use measuring::{Measuring, Pace};
use tests_table::{NewTest, TestsTable};

struct Sensor {
    tests: TestsTable,
    measuring: Measuring,
    events: EventDelivery,
}

/// Opens the service; neither its database nor the gateway need be there yet.
pub async fn open(settings: Settings) -> Result<Service, OpenError> {
    let gateway = GatewayClient::new(&settings.gateway_url)?;
    let tests = TestsTable::open(&settings.data_dir, Limits::default());
    Ok(start(tests, gateway, Pace::default()))
}

fn start(tests: TestsTable, gateway: GatewayClient, pace: Pace) -> Service {
    let mut background = Background::default();
    let stored = Arc::new(Notify::new());
    let measuring = Measuring::start(tests.clone(), stored.clone(), pace, &mut background);
    let events = EventDelivery::start(tests.clone(), gateway, stored, &mut background);
    Service { router: router(Sensor { tests, measuring, events }), background }
}

fn router(sensor: Sensor) -> Router {
    Router::new()
        .route("/test/{name}", post(begin).get(look_up))
        .route("/health", get(health))
        .with_state(Arc::new(sensor))
}

async fn begin(
    State(sensor): State<Arc<Sensor>>,
    Path(kind): Path<String>,
    headers: HeaderMap,
) -> Response {
    let Some(kind) = Kind::named(&kind) else {
        let known: Vec<_> = Kind::names().collect();
        let body = json!({ "error": "Unknown sensor type", "known": known });
        return (StatusCode::NOT_FOUND, Json(body)).into_response();
    };
    let Some(place) = sensor.measuring.place() else {
        return busy("Too many tests are waiting", Duration::from_secs(1));
    };
    let test = NewTest {
        id: Uuid::now_v7(),
        kind,
        subject: header(&headers, "x-auth-subject"),
        auth_mode: header(&headers, "x-auth-mode"),
        traceparent: traceparent(&headers).map(str::to_owned),
    };
    let mut body = json!({ "test_id": test.id, "status": "processing" });
    // The common answer stays as small as promised; that authentication was degraded is worth a word.
    if let Some(mode) = test.auth_mode.as_deref().filter(|mode| *mode != "service") {
        body["auth_mode"] = json!(mode);
    }
    match sensor.tests.insert(test, place).await {
        Ok(()) => Json(body).into_response(),
        Err(unavailable) => unavailable.into_response(),
    }
}

async fn look_up(State(sensor): State<Arc<Sensor>>, Path(id): Path<String>) -> Response {
    let Ok(id) = Uuid::parse_str(&id) else { return unknown_test() };
    match sensor.tests.find(id).await {
        Ok(Some(test)) => Json(test).into_response(),
        Ok(None) => unknown_test(),
        Err(unavailable) => unavailable.into_response(),
    }
}

fn unknown_test() -> Response {
    refusal(StatusCode::NOT_FOUND, "Unknown test")
}

async fn health(State(sensor): State<Arc<Sensor>>) -> Json<Value> {
    let database = sensor.tests.health().await;
    let events = if sensor.events.is_delivering() { "up" } else { "down" };
    // An unknown number is null: the database that knows it is down.
    let unsent = sensor.tests.unsent_count().await.ok();
    let status = if (database, events) == ("up", "up") { "healthy" } else { "degraded" };
    let dependencies = json!({ "database": database, "events": events });
    let waiting = sensor.measuring.waiting();
    Json(
        json!({ "status": status, "dependencies": dependencies, "events_unsent": unsent, "tests_waiting": waiting }),
    )
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

#[cfg(test)]
mod tests;
