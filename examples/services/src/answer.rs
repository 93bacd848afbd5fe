//! How a service says no: one JSON shape, `{"error": …}`, for every refusal.
//!
//! The gateway in front speaks problem+json; a service behind it does not need to.

use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{FormRejection, JsonRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

/// A refusal with its reason.
pub fn refusal(status: StatusCode, error: &str) -> Response {
    (status, Json(json!({ "error": error }))).into_response()
}

/// A 503 that says when to come back.
pub fn busy(error: &str, retry_after: Duration) -> Response {
    let mut response = refusal(StatusCode::SERVICE_UNAVAILABLE, error);
    let seconds = retry_after.as_secs().max(1);
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// The refusal for a body that isn't the JSON we need, with axum's own explanation.
pub fn bad_json(rejection: &JsonRejection) -> Response {
    refusal(rejection.status(), &rejection.body_text())
}

/// The same for a form.
pub fn bad_form(rejection: &FormRejection) -> Response {
    refusal(rejection.status(), &rejection.body_text())
}

/// The answer for a path that the service doesn't have.
pub async fn not_found() -> Response {
    refusal(StatusCode::NOT_FOUND, "Not found")
}

/// The answer for a method that the path doesn't take.
pub async fn method_not_allowed() -> Response {
    refusal(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed")
}
