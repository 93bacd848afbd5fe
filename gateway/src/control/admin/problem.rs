//! Every error of the admin API, as problem details (RFC 9457).

use std::fmt::Display;

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use portcullis::switchboard::flip::FlipError;
use serde_json::{Value, json};

use crate::config::fault::nearest;
use crate::control::writer::WriteError;

/// The longest name that is compared with all there are: far beyond any that somebody types, and soon compared. A path may
/// have some hundred thousand bytes.
const MISSPELT_BYTES_MAX: usize = 128;

/// An answer that is an error. The request's id is added on the way out, by `guard`.
#[derive(Debug)]
pub(super) struct Problem {
    status: StatusCode,
    /// A stable word for programs.
    reason: &'static str,
    /// A sentence for people.
    detail: String,
}

impl Problem {
    pub(super) fn new(status: StatusCode, reason: &'static str, detail: impl Display) -> Self {
        Self { status, reason, detail: detail.to_string() }
    }

    pub(super) fn bad_request(detail: impl Display) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    pub(super) fn not_found(reason: &'static str, detail: impl Display) -> Self {
        Self::new(StatusCode::NOT_FOUND, reason, detail)
    }

    /// That there is no such thing, and which there is that was probably meant.
    pub(super) fn unknown<'c>(
        reason: &'static str,
        kind: &str,
        name: &str,
        known: impl IntoIterator<Item = &'c str>,
    ) -> Self {
        let meant = if name.len() <= MISSPELT_BYTES_MAX { nearest(name, known) } else { None };
        let hint = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
        Self::not_found(reason, format_args!("there is no {kind} {name}{hint}"))
    }

    pub(super) fn forbidden(detail: impl Display) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    pub(super) fn unauthorized(detail: impl Display) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    fn body(&self) -> Value {
        json!({
            "type": "about:blank",
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "error": self.detail,
            "reason": self.reason,
        })
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status == StatusCode::REQUEST_TIMEOUT {
            // What is left of the request may still come, and nobody waits for it.
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(
                WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"portcullis admin\""),
            );
        }
        response
    }
}

impl From<WriteError> for Problem {
    fn from(error: WriteError) -> Self {
        let (status, reason) = match &error {
            WriteError::Refused(FlipError::UnknownFeature { .. }) => {
                (StatusCode::NOT_FOUND, "unknown_feature")
            }
            WriteError::Refused(FlipError::HeldByEnvironment { .. }) => {
                (StatusCode::CONFLICT, "held_by_environment")
            }
            WriteError::Refused(_) => (StatusCode::BAD_REQUEST, "bad_request"),
            WriteError::EndsSooner { .. } => (StatusCode::FORBIDDEN, "forbidden"),
            WriteError::Moved { .. } => (StatusCode::PRECONDITION_FAILED, "revision_moved"),
            WriteError::NotSaved { .. } | WriteError::Unreadable(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, "store_unavailable")
            }
            WriteError::Busy => (StatusCode::SERVICE_UNAVAILABLE, "overloaded"),
            WriteError::Closed => (StatusCode::SERVICE_UNAVAILABLE, "draining"),
        };
        Self::new(status, reason, error)
    }
}
