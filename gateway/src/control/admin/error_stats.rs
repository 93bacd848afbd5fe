//! `/admin/error-stats`: how near each feature is to turning itself off. And, on test set-ups only, a way to push it there.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use portcullis::auto_disable::Meter;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Admin;
use super::killswitches::unknown;
use super::problem::Problem;
use crate::control::moment::rfc3339_of;

/// Most errors simulated by one call: far beyond any sensible threshold, and soon done.
const COUNT_MAX: u32 = 10_000;

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct Simulated {
    count: Option<u32>,
}

pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Json<Value> {
    let view = admin.subscriber.pin();
    let entry = |meter: &Meter| {
        let mut stats = shown(meter);
        stats["enabled"] = view.is_enabled(meter.feature()).into();
        (meter.feature().to_string(), stats)
    };
    let features: BTreeMap<String, Value> = admin.meters.iter().map(entry).collect();
    Json(json!({ "revision": view.revision(), "features": features }))
}

pub(super) async fn simulate(
    State(admin): State<Arc<Admin>>,
    Path(name): Path<String>,
    Query(Simulated { count }): Query<Simulated>,
) -> Result<Json<Value>, Problem> {
    let count = count.unwrap_or(1);
    if !(1..=COUNT_MAX).contains(&count) {
        return Err(Problem::bad_request(format_args!(
            "`count` must be from 1 to {COUNT_MAX}, not {count}"
        )));
    }
    let Some(meter) = admin.meter(&name) else {
        let view = admin.subscriber.pin();
        return Err(match view.id(&name) {
            None => unknown(&view, &name),
            Some(_) => Problem::not_found(
                "no_auto_disable",
                format_args!("{name} has no auto-disable rule"),
            ),
        });
    };
    for _ in 0..count {
        meter.record_error("simulated");
    }
    // If the meter tripped, the answer tells what came of it.
    admin.writer.settled().await?;
    let mut answer = shown(meter);
    answer["feature"] = name.as_str().into();
    answer["simulated"] = count.into();
    answer["enabled"] = admin.subscriber.pin().is_enabled(&name).into();
    Ok(Json(answer))
}

fn shown(meter: &Meter) -> Value {
    let snapshot = meter.snapshot();
    json!({
        "errors": snapshot.errors,
        "calls": snapshot.calls,
        "threshold": snapshot.threshold,
        "window_seconds": snapshot.window.as_secs_f64(),
        "tripped": snapshot.tripped,
        "since": snapshot.since.and_then(rfc3339_of),
        "last_error": snapshot.last_error,
    })
}
