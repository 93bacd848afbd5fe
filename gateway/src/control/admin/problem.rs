//! Every error of the admin API, as problem details (RFC 9457).

use std::fmt::Display;
use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
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
    /// When to come again, if that helps.
    retry_after: Option<Duration>,
}

impl Problem {
    pub(super) fn new(status: StatusCode, reason: &'static str, detail: impl Display) -> Self {
        Self { status, reason, detail: detail.to_string(), retry_after: None }
    }

    pub(super) const fn retry_after(mut self, wait: Duration) -> Self {
        self.retry_after = Some(wait);
        self
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
        Self::not_found(reason, format_args!("there is no {kind} {name}{}", hint(name, known)))
    }

    /// That a query has a parameter that means nothing here.
    pub(super) fn unknown_parameter<'c>(
        name: &str,
        known: impl Iterator<Item = &'c str> + Clone,
    ) -> Self {
        let mut there: Vec<_> = known.clone().collect();
        there.sort_unstable();
        let there =
            if there.is_empty() { "none".to_owned() } else { format!("only {}", there.join(", ")) };
        let name: String = name.chars().take(MISSPELT_BYTES_MAX).collect();
        let hint = hint(&name, known);
        Self::bad_request(format_args!("there is no parameter {name}{hint}, but {there}"))
    }

    pub(super) fn forbidden(detail: impl Display) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", detail)
    }

    /// That what was to answer has come to grief, and has told the log of it.
    pub(super) fn failed() -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the request failed")
    }

    pub(super) fn unauthorized(detail: impl Display) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
    }

    fn body(&self) -> Value {
        let mut body = json!({
            "type": "about:blank",
            "title": self.status.canonical_reason(),
            "status": self.status.as_u16(),
            "detail": self.detail,
            "error": self.detail,
            "reason": self.reason,
        });
        if let Some(seconds) = self.retry_seconds() {
            body["retry_after"] = seconds.into();
        }
        body
    }

    /// Rounded up: who comes sooner comes in vain.
    fn retry_seconds(&self) -> Option<u64> {
        self.retry_after.map(|wait| wait.as_millis().div_ceil(1_000).try_into().unwrap_or(u64::MAX))
    }
}

/// Which of the known names was probably meant.
fn hint<'c>(name: &str, known: impl IntoIterator<Item = &'c str>) -> String {
    let meant = if name.len() <= MISSPELT_BYTES_MAX { nearest(name, known) } else { None };
    meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default()
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, self.body().to_string()).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_seconds() {
            headers.insert(RETRY_AFTER, seconds.into());
        }
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
