//! The spans of a sampled request: one of kind server, and one of kind client per call of an upstream.
//!
//! Whether a request is sampled is decided before anything is built. An unsampled one passes its `traceparent` on as it
//! came and costs nothing here. W3C trace context comes in and goes out; the attribute names are OpenTelemetry's.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode};
use opentelemetry::{
    Context,
    trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState},
};
use portcullis::outcome::Outcome;
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

use crate::{failure::Failure, telemetry::names::SPANS};

/// The field with the caller's trace context.
pub const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// The caller's trace context, if it sent a valid one.
pub fn parent(headers: &HeaderMap) -> Option<SpanContext> {
    let mut values = headers.get_all(TRACEPARENT).iter();
    let text = values.next().filter(|_| values.next().is_none())?.to_str().ok()?;
    let mut parts = text.split('-');
    let (version, trace, span, flags) =
        (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let canonical =
        |part: &str, length| part.len() == length && !part.bytes().any(|b| b.is_ascii_uppercase());
    let lengths =
        canonical(version, 2) && canonical(trace, 32) && canonical(span, 16) && canonical(flags, 2);
    if !lengths || version == "ff" || version == "00" && parts.next().is_some() {
        return None;
    }
    let state = headers
        .get(TRACESTATE)
        .and_then(|state| state.to_str().ok())
        .and_then(|state| state.parse().ok());
    let context = SpanContext::new(
        TraceId::from_hex(trace).ok()?,
        SpanId::from_hex(span).ok()?,
        TraceFlags::new(u8::from_str_radix(flags, 16).ok()? & 1),
        true,
        state.unwrap_or_else(TraceState::default),
    );
    context.is_valid().then_some(context)
}

/// Takes away a trace context that can't be read.
pub fn forget(headers: &mut HeaderMap) {
    headers.remove(TRACEPARENT);
    headers.remove(TRACESTATE);
}

/// The span of a request as its server sees it.
pub fn server(parent: Option<SpanContext>, method: &Method, path: &str) -> Span {
    let span = tracing::info_span!(
        target: SPANS,
        "request",
        otel.name = method.as_str(),
        otel.kind = "server",
        otel.status_code = tracing::field::Empty,
        http.request.method = method.as_str(),
        url.path = path,
        http.route = tracing::field::Empty,
        http.response.status_code = tracing::field::Empty,
        error.type = tracing::field::Empty,
        portcullis.refusal = tracing::field::Empty,
    );
    if let Some(parent) = parent {
        // It fails where no exporter is set up, and then nobody reads the span.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }
    span
}

/// Ends what the server's span knows.
pub fn answered(
    span: &Span,
    method: &Method,
    route: Option<&str>,
    status: StatusCode,
    refusal: Option<&'static str>,
) {
    span.record("http.response.status_code", i64::from(status.as_u16()));
    if let Some(route) = route {
        span.record("http.route", route);
        span.record("otel.name", format!("{method} {route}"));
    }
    if let Some(refusal) = refusal {
        span.record("portcullis.refusal", refusal);
    }
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
        span.record("error.type", refusal.unwrap_or_else(|| error_word(status)));
    }
}

/// The span of a call to an upstream.
pub fn client(parent: &Span, upstream: &str, method: &Method) -> Span {
    tracing::info_span!(
        target: SPANS,
        parent: parent,
        "upstream",
        otel.name = format!("{method} {upstream}"),
        otel.kind = "client",
        otel.status_code = tracing::field::Empty,
        http.request.method = method.as_str(),
        server.address = upstream,
        http.response.status_code = tracing::field::Empty,
        error.type = tracing::field::Empty,
    )
}

/// Ends what the client's span knows.
pub fn settle<B>(span: &Span, result: &Result<Response<B>, Failure>) {
    match result {
        Ok(response) => {
            span.record("http.response.status_code", i64::from(response.status().as_u16()));
            if response.status().is_server_error() {
                span.record("otel.status_code", "ERROR");
            }
        }
        Err(failure) => {
            // A call that its client broke is no error of the upstream.
            if failure.outcome() != Outcome::Ignored {
                span.record("otel.status_code", "ERROR");
            }
            span.record("error.type", failure.reason());
        }
    }
}

/// Makes the upstream's span a child of this one.
pub fn inject(span: &Span, headers: &mut HeaderMap) {
    let context = span.context();
    let reference = context.span();
    let span = reference.span_context();
    if !span.is_valid() {
        return;
    }
    let flags = span.trace_flags().to_u8();
    let value = format!("00-{}-{}-{flags:02x}", span.trace_id(), span.span_id());
    if let Ok(value) = HeaderValue::try_from(value) {
        headers.insert(TRACEPARENT, value);
    }
}

/// A server's error as one of a closed set of words.
const fn error_word(status: StatusCode) -> &'static str {
    match status.as_u16() {
        500 => "500",
        501 => "501",
        502 => "502",
        503 => "503",
        504 => "504",
        _ => "5xx",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(value: &str) -> Option<SpanContext> {
        let mut headers = HeaderMap::new();
        headers.insert(TRACEPARENT, HeaderValue::from_str(value).unwrap());
        parent(&headers)
    }

    #[test]
    fn a_valid_traceparent_is_understood_with_its_sampling_decision() {
        let context = parsed("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").unwrap();
        assert!(context.is_sampled() && context.is_remote());
        assert!(
            !parsed("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00")
                .unwrap()
                .is_sampled()
        );
        assert!(parsed("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-later").is_some());
    }

    #[test]
    fn anything_else_is_as_if_it_were_not_there() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x",
        ] {
            assert!(parsed(bad).is_none(), "{bad}");
        }
    }
}
