//! The classifier for gRPC, where the status of the call stands in the trailers and the status of HTTP is always 200.

use std::time::Duration;

use http::{HeaderMap, Response, StatusCode};

use super::{Classify, HUNG_AFTER, Http, Outcome};
use crate::rejected::Rejected;

/// Judges calls by `grpc-status`, in the head (an answer of trailers only) or in the trailers.
///
/// A failure is what the server did not manage: DEADLINE_EXCEEDED, ABORTED, INTERNAL, UNAVAILABLE, DATA_LOSS. All other codes
/// tell of the request, and UNKNOWN of the application, so they are successes of the upstream (this is Envoy's choice, too).
/// RESOURCE_EXHAUSTED is overload, and so is any failure with `grpc-retry-pushback-ms`, which says when to come back. A body
/// that ends without a status was cut off.
#[derive(Debug, Clone, Copy)]
pub struct Grpc {
    http: Http,
}

impl Grpc {
    /// A classifier that takes dropped calls older than [`HUNG_AFTER`] as failures.
    pub const fn new() -> Self {
        Self { http: Http::new().hung_after(HUNG_AFTER) }
    }

    /// Dropped calls of this age or older are failures, younger ones are ignored.
    pub const fn hung_after(self, age: Duration) -> Self {
        Self { http: self.http.hung_after(age) }
    }

    fn by_status(headers: &HeaderMap) -> Option<Outcome> {
        let status = headers.get("grpc-status")?;
        let pushback = pushback(headers);
        Some(match status.as_bytes() {
            b"8" => Outcome::Overload { retry_after: pushback },
            b"4" | b"10" | b"13" | b"14" | b"15" => match pushback {
                None => Outcome::Failure,
                some => Outcome::Overload { retry_after: some },
            },
            _ => Outcome::Success,
        })
    }
}

/// When to come back; a negative number says "never", and tells nothing of when.
fn pushback(headers: &HeaderMap) -> Option<Duration> {
    let millis = headers.get("grpc-retry-pushback-ms")?.to_str().ok()?;
    millis.trim().parse().ok().map(Duration::from_millis)
}

impl Default for Grpc {
    fn default() -> Self {
        Self::new()
    }
}

impl<B, E: 'static> Classify<Response<B>, E> for Grpc {
    fn response(&mut self, response: &Response<B>) -> Outcome {
        if let Some(rejected) = response.extensions().get::<Rejected>() {
            return rejected.outcome();
        }
        match response.status() {
            StatusCode::OK => Self::by_status(response.headers()).unwrap_or(Outcome::Success),
            status => Http::head(status, response.headers()),
        }
    }

    fn waits_for_end(&self, response: &Response<B>) -> bool {
        !response.headers().contains_key("grpc-status") && response.status() == StatusCode::OK
    }

    fn error(&self, error: &E) -> Outcome {
        Classify::<Response<B>, E>::error(&self.http, error)
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) -> Outcome {
        trailers.and_then(Self::by_status).unwrap_or(Outcome::Failure)
    }

    fn dropped(&self, age: Duration) -> Outcome {
        self.http.abandoned(age)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;

    fn headers(status: &'static str, pushback: Option<&'static str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert("grpc-status", status.parse().unwrap());
        if let Some(pushback) = pushback {
            headers.insert("grpc-retry-pushback-ms", pushback.parse().unwrap());
        }
        headers
    }

    fn end(trailers: Option<&HeaderMap>) -> Outcome {
        Classify::<Response<()>, Infallible>::end(&mut Grpc::new(), trailers)
    }

    #[test]
    fn the_status_in_the_trailers_decides() {
        for good in ["0", "1", "2", "3", "5", "7", "12", "16"] {
            assert_eq!(end(Some(&headers(good, None))), Outcome::Success, "{good}");
        }
        for bad in ["4", "10", "13", "14", "15"] {
            assert_eq!(end(Some(&headers(bad, None))), Outcome::Failure, "{bad}");
        }
    }

    #[test]
    fn exhaustion_and_pushback_are_overload() {
        let overload = |millis: Option<u64>| Outcome::Overload {
            retry_after: millis.map(Duration::from_millis),
        };
        assert_eq!(end(Some(&headers("8", None))), overload(None));
        assert_eq!(end(Some(&headers("14", Some("250")))), overload(Some(250)));
        assert_eq!(end(Some(&headers("14", Some("-1")))), Outcome::Failure);
    }

    #[test]
    fn a_body_without_a_status_was_cut_off() {
        assert_eq!(end(None), Outcome::Failure);
        assert_eq!(end(Some(&HeaderMap::new())), Outcome::Failure);
    }

    #[test]
    fn an_answer_of_trailers_only_is_judged_at_its_head() {
        let mut response = Response::new(());
        *response.headers_mut() = headers("0", None);
        let mut grpc = Grpc::new();
        assert_eq!(Classify::<_, Infallible>::response(&mut grpc, &response), Outcome::Success);
        assert!(!Classify::<_, Infallible>::waits_for_end(&grpc, &response));
    }
}
