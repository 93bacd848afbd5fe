//! Circuit breakers: how each is, and taking one in hand.

use std::sync::Arc;

use axum::extract::{Path, State};
use axum::{Extension, Json};
use http::HeaderMap;
use portcullis::circuit_breaker::{Action, Order};
use portcullis::switchboard::UnixMillis;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use super::Admin;
use super::body::{self, MaybeTold};
use super::guard::RequestId;
use super::keys::Caller;
use super::killswitches::source;
use super::problem::Problem;
use crate::config::config::Role;
use crate::control::breakers::{self, NamedBreaker};
use crate::control::writer::{BreakerOrder, WriteError};

/// What may be said with an order. All of it is optional: whoever resets a breaker at night with a bare `curl` is heard.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Wish {
    reason: Option<String>,
    updated_by: Option<String>,
    duration_minutes: Option<u32>,
}

pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Json<Value> {
    Json(json!({ "circuit_breakers": all(&admin) }))
}

pub(super) async fn circuits(State(admin): State<Arc<Admin>>) -> Json<Value> {
    let unhealthy: Vec<&Arc<str>> = admin
        .breakers
        .iter()
        .filter(|named| breakers::is_unhealthy(named.breaker.state()))
        .map(|named| named.breaker.name())
        .collect();
    Json(json!({
        "healthy": unhealthy.is_empty(),
        "circuits": all(&admin),
        "unhealthy_circuits": unhealthy,
    }))
}

fn all(admin: &Admin) -> serde_json::Map<String, Value> {
    breakers::all_with_orders(&admin.breakers, &admin.health.dependencies())
}

/// `reset`, `force-open` (until it is reset, or for a time), `disable` (every call passes) or `shadow` (it only says what it
/// would do). Forcing a circuit open turns something off, as a kill does; all else may let calls through.
pub(super) async fn act(
    State(admin): State<Arc<Admin>>,
    Path((name, action)): Path<(String, String)>,
    Extension(caller): Extension<Caller>,
    Extension(id): Extension<RequestId>,
    headers: HeaderMap,
    MaybeTold(wish): MaybeTold<Wish>,
) -> Result<Json<Value>, Problem> {
    let named = named(&admin, &name)?;
    let action = known(&action)?;
    caller.may(if action == Action::ForceOpen { Role::Killer } else { Role::Operator })?;
    let order = order(action, &caller, &wish)?;
    let order = BreakerOrder {
        breaker: named.breaker.clone(),
        order,
        action: breakers::word(action),
        source: source(&headers),
        request_id: Some(id.0.to_string()),
        may_end_sooner: caller.may(Role::Operator).is_ok(),
    };
    // It goes on when its caller hangs up: an order that is in force has to be kept, too.
    let done = tokio::spawn(done(admin.clone(), order));
    let (audited, kept) = done.await.map_err(|_| Problem::failed())??;
    let mut answer = breakers::with_order(named);
    answer["name"] = name.into();
    answer["audited"] = audited.into();
    answer["kept"] = kept.into();
    Ok(Json(answer))
}

/// Gives the order, and keeps it; whether it is in the audit, and whether it is kept.
async fn done(admin: Arc<Admin>, order: BreakerOrder) -> Result<(bool, bool), WriteError> {
    let said = format!("Circuit breaker {}: {}", order.breaker.name(), order.order);
    let audited = admin.writer.order(order).await?;
    tracing::info!(target: "portcullis::change", "{said}");
    Ok((audited, keep(&admin).await))
}

/// Whether the order will hold in the next life, too. A disk may take its time.
async fn keep(admin: &Admin) -> bool {
    let (standing, breakers) = (admin.standing.clone(), admin.breakers.clone());
    let keeping = spawn_blocking(move || standing.keep(&breakers, UnixMillis::now()));
    // A panic has been printed by its own thread.
    keeping.await.unwrap_or(false)
}

fn named<'a>(admin: &'a Admin, name: &str) -> Result<&'a NamedBreaker, Problem> {
    let named = admin.breakers.iter().find(|named| **named.breaker.name() == *name);
    named.ok_or_else(|| {
        let known = admin.breakers.iter().map(|named| &**named.breaker.name());
        Problem::unknown("unknown_breaker", "circuit breaker", name, known)
    })
}

fn known(action: &str) -> Result<Action, Problem> {
    let all = [Action::Reset, Action::ForceOpen, Action::Disable, Action::Shadow];
    all.into_iter().find(|known| breakers::word(*known) == action).ok_or_else(|| {
        let detail = format_args!(
            "a breaker can be told to reset, force-open, disable or shadow, not {action}"
        );
        Problem::not_found("unknown_action", detail)
    })
}

fn order(action: Action, caller: &Caller, wish: &Wish) -> Result<Order, Problem> {
    let lasts = body::duration(wish.duration_minutes)?;
    if lasts.is_some() && action == Action::Reset {
        return Err(Problem::bad_request(
            "`duration_minutes` goes with an order that holds: a reset is over at once",
        ));
    }
    let actor = caller.actor(body::updated_by(wish.updated_by.as_deref())?.as_deref());
    let reason = body::optional_reason(wish.reason.as_deref())?;
    Ok(Order { lasts, reason: reason.map(Arc::from), ..Order::new(action).by(actor) })
}
