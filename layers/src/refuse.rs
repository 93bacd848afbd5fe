//! How a refusal leaves a layer: as a response or as an error.
//!
//! A layer never changes the error type of the service that it wraps. It asks a [`Refuse`] to turn a [`Rejected`] into what
//! that service returns: [`AsResponse`] (the default) answers with problem details, so that `Infallible` routers such as
//! axum's need no error handler; [`AsError`] returns it typed, for stacks that turn errors into responses in one place. A
//! closure does for anything else.

use bytes::Bytes;
use http::{
    HeaderValue, Response,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER},
};

use crate::rejected::Rejected;

/// Turns a refusal into what the wrapped service returns.
pub trait Refuse<Res, Err> {
    /// The answer to the caller.
    ///
    /// # Errors
    /// Where refusals travel as errors, always.
    fn refuse(&self, rejected: Rejected) -> Result<Res, Err>;
}

impl<F, Res, Err> Refuse<Res, Err> for F
where
    F: Fn(Rejected) -> Result<Res, Err>,
{
    fn refuse(&self, rejected: Rejected) -> Result<Res, Err> {
        self(rejected)
    }
}

/// Refuses with a response: status, `Retry-After`, `Cache-Control: no-store` and a body of `application/problem+json`
/// (RFC 9457). The [`Rejected`] travels in the response's extensions, so that layers further out can tell it from an
/// answer of the upstream.
#[derive(Debug, Clone, Copy, Default)]
pub struct AsResponse;

impl<B: From<Bytes>, Err> Refuse<Response<B>, Err> for AsResponse {
    fn refuse(&self, rejected: Rejected) -> Result<Response<B>, Err> {
        let mut response = Response::new(B::from(problem(&rejected)));
        *response.status_mut() = rejected.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = rejected.retry_after_seconds() {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response.extensions_mut().insert(rejected);
        Ok(response)
    }
}

/// Refuses with an error: anything that can be made from a [`Rejected`], such as a boxed error or an enum of your own.
#[derive(Debug, Clone, Copy, Default)]
pub struct AsError;

impl<Res, Err: From<Rejected>> Refuse<Res, Err> for AsError {
    fn refuse(&self, rejected: Rejected) -> Result<Res, Err> {
        Err(rejected.into())
    }
}

/// Problem details from closed words and numbers only, so nothing in it needs escaping.
fn problem(rejected: &Rejected) -> Bytes {
    let (status, reason) = (rejected.status(), rejected.reason());
    let title = status.canonical_reason().unwrap_or_default();
    let wait = rejected
        .retry_after_seconds()
        .map(|s| format!(r#","retry_after":{s}"#))
        .unwrap_or_default();
    let code = status.as_u16();
    Bytes::from(format!(
        r#"{{"type":"about:blank","title":"{title}","status":{code},"reason":"{reason}"{wait}}}"#
    ))
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, time::Duration};

    use super::*;

    #[test]
    fn a_refusal_as_response_says_what_when_and_that_it_is_ours() {
        let rejected = Rejected::CircuitOpen {
            breaker: "payments".into(),
            retry_after: Duration::from_millis(1500),
            forced: false,
        };
        let response: Result<Response<Bytes>, Infallible> = AsResponse.refuse(rejected.clone());
        let response = response.unwrap();
        assert_eq!(response.status(), 503);
        assert_eq!(response.headers()[RETRY_AFTER], "2");
        assert_eq!(response.extensions().get::<Rejected>(), Some(&rejected));
        let body = r#"{"type":"about:blank","title":"Service Unavailable","status":503,"reason":"circuit_open","retry_after":2}"#;
        assert_eq!(response.body(), body);
    }
}
