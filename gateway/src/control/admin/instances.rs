//! `/admin/instances`: the gateways that share the store, and which revision each of them serves.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::Value;

use super::Admin;

pub(super) async fn list(State(admin): State<Arc<Admin>>) -> Json<Value> {
    let revision = admin.subscriber.read(portcullis::switchboard::Switchboard::revision);
    Json(admin.fleet.shown(revision).await)
}
