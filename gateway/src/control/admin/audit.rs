//! `/admin/audit`: who did what, when and why, the newest last.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use portcullis::store::{AuditEntry, Ordered};
use portcullis::switchboard::feature::State as Switch;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Admin;
use super::problem::Problem;
use crate::control::moment::rfc3339;

const LIMIT_DEFAULT: usize = 100;
/// The audit is read as a whole on the writer's thread; more would keep flips waiting.
const LIMIT_MAX: usize = 1_000;

#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    limit: Option<usize>,
}

pub(super) async fn list(
    State(admin): State<Arc<Admin>>,
    Query(asked): Query<Asked>,
) -> Result<Json<Value>, Problem> {
    let limit = asked.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Problem::bad_request(format_args!(
            "`limit` must be from 1 to {LIMIT_MAX}, not {limit}"
        )));
    }
    let entries = admin.writer.audit(limit).await?;
    Ok(Json(json!({ "entries": entries.iter().map(shown).collect::<Vec<_>>() })))
}

fn shown(entry: &AuditEntry) -> Value {
    let mut shown = json!({
        "at": rfc3339(entry.at),
        "actor": entry.actor,
        "action": entry.action,
        "feature": entry.feature,
        "reason": entry.reason,
        "source": entry.source.as_str(),
        "before": entry.before.as_ref().map(state),
        "after": state(&entry.after),
        "revision": entry.revision,
        "request_id": entry.request_id,
    });
    if let Some(Ordered { before, after, expires_at }) = &entry.breaker {
        shown["before"] = json!({ "state": before });
        shown["after"] = json!({ "state": after, "expires_at": expires_at.and_then(rfc3339) });
        shown["breaker"] = json!(entry.feature.strip_prefix("breaker:"));
    }
    shown
}

fn state(state: &Switch) -> Value {
    json!({
        "enabled": state.enabled,
        "reason": state.reason,
        "updated_by": state.updated_by,
        "updated_at": state.updated_at.and_then(rfc3339),
        "expires_at": state.expires_at.and_then(rfc3339),
        "source": state.source.as_str(),
    })
}
