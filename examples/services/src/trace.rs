//! Which trace a request belongs to: one debug line per request with its trace id, and the header to hand on.
//!
//! The services record no spans of their own; they pass the gateway's context through unchanged.

use axum::extract::Request;
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use tracing::debug;

/// Logs each request's trace id once its answer is known.
pub async fn log(request: Request, next: Next) -> Response {
    let method = request.method().clone();
    let path = request.uri().path().to_owned();
    let trace_id = traceparent(request.headers()).map(trace_id).unwrap_or("none").to_owned();
    let response = next.run(request).await;
    debug!(trace_id, %method, path, status = response.status().as_u16(), "request answered");
    response
}

/// The request's `traceparent`, when it is well formed (version 00 of W3C Trace Context).
pub fn traceparent(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all("traceparent").iter();
    let value = values.next()?.to_str().ok()?;
    // Two headers contradict each other, so neither can be believed.
    (values.next().is_none() && is_well_formed(value)).then_some(value)
}

fn trace_id(traceparent: &str) -> &str {
    traceparent.split('-').nth(1).unwrap_or_default()
}

fn is_well_formed(value: &str) -> bool {
    let parts: Vec<&str> = value.split('-').collect();
    let [version, trace, parent, flags] = parts[..] else { return false };
    version == "00" && is_id(trace, 32) && is_id(parent, 16) && is_hex(flags, 2)
}

fn is_id(part: &str, length: usize) -> bool {
    is_hex(part, length) && part.bytes().any(|digit| digit != b'0')
}

fn is_hex(part: &str, length: usize) -> bool {
    part.len() == length && part.bytes().all(|c| c.is_ascii_digit() || (b'a'..=b'f').contains(&c))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_well_formed_header_gives_its_trace_id() {
        let headers =
            HeaderMap::from_iter([("traceparent".parse().unwrap(), GOOD.parse().unwrap())]);
        assert_eq!(traceparent(&headers).map(trace_id), Some("4bf92f3577b34da6a3ce929d0e0e4736"));
    }

    #[test]
    fn a_malformed_header_is_ignored() {
        for bad in [
            "",
            "00-xyz",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            &GOOD.to_uppercase(),
        ] {
            assert!(!is_well_formed(bad), "{bad}");
        }
    }

    #[test]
    fn two_headers_are_none() {
        let mut headers = HeaderMap::new();
        headers.append("traceparent", GOOD.parse().unwrap());
        headers.append("traceparent", GOOD.parse().unwrap());
        assert_eq!(traceparent(&headers), None);
    }
}
