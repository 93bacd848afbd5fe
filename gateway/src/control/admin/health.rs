//! The health paths on the admin listener: the same answers as on the data listener.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::Uri;
use serde_json::{Value, json};

use super::Admin;
use super::problem::Problem;

pub(super) async fn answer(State(admin): State<Arc<Admin>>, uri: Uri) -> Response {
    match admin.health.answer(uri.path()) {
        Some(answer) => answer.map(axum::body::Body::from),
        None => Problem::not_found("no_route", "there is nothing at this path").into_response(),
    }
}

pub(super) async fn dependencies(State(admin): State<Arc<Admin>>) -> Json<Value> {
    Json(json!({ "dependencies": admin.health.dependencies() }))
}
