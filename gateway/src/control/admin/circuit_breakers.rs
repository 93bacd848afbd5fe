//! Circuit breakers: how each is, and taking one in hand.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use serde_json::{Value, json};

use super::Admin;
use super::keys::Caller;
use super::problem::Problem;
use crate::config::config::Role;
use crate::control::breakers;

pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Json<Value> {
    Json(json!({ "circuit_breakers": breakers::all(&admin.breakers) }))
}

pub(super) async fn circuits(State(admin): State<Arc<Admin>>) -> Json<Value> {
    let unhealthy: Vec<&Arc<str>> = admin
        .breakers
        .iter()
        .filter(|named| breakers::is_unhealthy(named.breaker.snapshot().state))
        .map(|named| named.breaker.name())
        .collect();
    Json(json!({
        "healthy": unhealthy.is_empty(),
        "circuits": breakers::all(&admin.breakers),
        "unhealthy_circuits": unhealthy,
    }))
}

/// `reset`, `force-open` (until it is reset), `disable` (every call passes) or `shadow` (it only says what it would do).
/// Forcing a circuit open turns something off, as a kill does; all else may let calls through.
pub(super) async fn act(
    State(admin): State<Arc<Admin>>,
    Path((name, action)): Path<(String, String)>,
    Extension(caller): Extension<Caller>,
) -> Result<Json<Value>, Problem> {
    let named = admin.breakers.iter().find(|named| **named.breaker.name() == *name);
    let named = named.ok_or_else(|| {
        let known = admin.breakers.iter().map(|named| &**named.breaker.name());
        Problem::unknown("unknown_breaker", "circuit breaker", &name, known)
    })?;
    caller.may(if action == "force-open" { Role::Killer } else { Role::Operator })?;
    let breaker = &named.breaker;
    match action.as_str() {
        "reset" => breaker.reset(),
        "force-open" => breaker.force_open(),
        "disable" => breaker.disable(),
        "shadow" => breaker.shadow(),
        _ => {
            let detail = format_args!(
                "a breaker can be told to reset, force-open, disable or shadow, not {action}"
            );
            return Err(Problem::not_found("unknown_action", detail));
        }
    }
    let actor = caller.actor(None);
    tracing::info!(target: "portcullis::change", "Circuit breaker {name}: {action} by {actor}");
    let mut answer = breakers::shown(named);
    answer["name"] = name.into();
    Ok(Json(answer))
}
