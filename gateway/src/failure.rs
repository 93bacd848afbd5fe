//! Why a request got no answer from its upstream, in one enum.
//!
//! Every layer of the gateway's stack fails with a [`Failure`]; `respond` is the one place that turns it into a response.
//! A failure knows whose fault it was ([`Failure::outcome`]), because only what the upstream did may move an upstream's
//! health. It imports nothing else of the gateway.

use std::{any::Any, fmt, time::Duration};

use http::{HeaderValue, StatusCode};
use portcullis::{
    outcome::{Classify, Http, Outcome},
    rejected::Rejected,
};

/// Why there is no answer of the upstream.
#[derive(Debug, Clone)]
pub enum Failure {
    /// A layer of the library refused.
    Rejected(Rejected),
    /// The request is not one unambiguous request.
    BadRequest(&'static str),
    /// The request is fine, but asks for something that this gateway doesn't do.
    Refused(StatusCode, &'static str),
    /// No route matches.
    NoRoute,
    /// A route matches, but not with this method.
    MethodNotAllowed {
        /// The methods that it has.
        allow: HeaderValue,
    },
    /// No token, or none that is accepted.
    Unauthorized(&'static str),
    /// Nobody could say whether the token is good.
    AuthUnavailable,
    /// The client's body: too large, too slow, or broken.
    Body(BodyFault),
    /// The upstream's doing.
    Upstream(UpstreamFault),
    /// Ours: a bug.
    Internal,
}

/// What was wrong with a request's body. Always the client's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFault {
    /// More bytes than the route takes.
    TooLarge,
    /// No byte for too long.
    Stalled,
    /// No byte at all, because its client expects to be told to go ahead, and can't be.
    Withheld,
    /// Broken framing, or the client is gone.
    Broken,
}

/// What an upstream did wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpstreamFault {
    /// No connection.
    Unreachable,
    /// No connection in time.
    ConnectTimeout,
    /// The connection broke before a whole head came.
    Closed,
    /// Not HTTP, or HTTP that could be read in two ways.
    Protocol,
    /// No head in time.
    HeadTimeout,
    /// No piece of the body in time.
    BodyTimeout,
    /// The body ended early.
    BodyCut,
}

impl UpstreamFault {
    /// The closed word for labels, and RFC 9209's error type where it has one.
    pub const fn proxy_status(self) -> &'static str {
        match self {
            Self::Unreachable => "connection_refused",
            Self::ConnectTimeout => "connection_timeout",
            Self::Closed => "connection_terminated",
            Self::Protocol => "http_protocol_error",
            Self::HeadTimeout | Self::BodyTimeout => "connection_read_timeout",
            Self::BodyCut => "http_response_incomplete",
        }
    }

    const fn timed_out(self) -> bool {
        matches!(self, Self::ConnectTimeout | Self::HeadTimeout | Self::BodyTimeout)
    }
}

impl Failure {
    /// The stable word that clients and metrics see.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Rejected(rejected) => rejected.reason(),
            Self::BadRequest(_) | Self::Body(BodyFault::Broken | BodyFault::Withheld) => {
                "bad_request"
            }
            Self::Refused(status, _) => match status.as_u16() {
                400 => "bad_request",
                405 => "method_not_allowed",
                408 => "request_timeout",
                413 => "payload_too_large",
                414 => "uri_too_long",
                417 => "expectation_failed",
                421 => "misdirected",
                431 => "headers_too_large",
                501 | 505 => "not_implemented",
                _ => "refused",
            },
            Self::NoRoute => "no_route",
            Self::MethodNotAllowed { .. } => "method_not_allowed",
            Self::Unauthorized(_) => "unauthorized",
            Self::AuthUnavailable => "auth_unavailable",
            Self::Body(BodyFault::TooLarge) => "payload_too_large",
            Self::Body(BodyFault::Stalled) => "request_timeout",
            Self::Upstream(fault) if fault.timed_out() => "timeout",
            Self::Upstream(_) => "upstream_unreachable",
            Self::Internal => "internal",
        }
    }

    /// The status of the answer.
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Rejected(rejected) => rejected.status(),
            Self::BadRequest(_) | Self::Body(BodyFault::Broken) => StatusCode::BAD_REQUEST,
            Self::Refused(status, _) => *status,
            Self::NoRoute => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::AuthUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            Self::Body(BodyFault::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
            Self::Body(BodyFault::Stalled) => StatusCode::REQUEST_TIMEOUT,
            Self::Body(BodyFault::Withheld) => StatusCode::EXPECTATION_FAILED,
            Self::Upstream(fault) if fault.timed_out() => StatusCode::GATEWAY_TIMEOUT,
            Self::Upstream(_) => StatusCode::BAD_GATEWAY,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// What it says about the upstream.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Rejected(rejected) => rejected.outcome(),
            Self::Upstream(_) => Outcome::Failure,
            _ => Outcome::Ignored,
        }
    }

    /// When to come back, where that is known.
    pub fn retry_after(&self) -> Option<u64> {
        match self {
            Self::Rejected(rejected) => rejected.retry_after_seconds(),
            Self::AuthUnavailable => Some(1),
            _ => None,
        }
    }
}

impl From<Rejected> for Failure {
    fn from(rejected: Rejected) -> Self {
        Self::Rejected(rejected)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected(rejected) => rejected.fmt(f),
            Self::BadRequest(what) | Self::Refused(_, what) | Self::Unauthorized(what) => {
                f.write_str(what)
            }
            Self::NoRoute => f.write_str("no route for this host and path"),
            Self::MethodNotAllowed { .. } => f.write_str("this path doesn't take this method"),
            Self::AuthUnavailable => f.write_str("the auth service can't be asked at the moment"),
            Self::Body(BodyFault::TooLarge) => {
                f.write_str("the body is larger than this route takes")
            }
            Self::Body(BodyFault::Stalled) => f.write_str("the body stopped coming"),
            Self::Body(BodyFault::Withheld) => {
                f.write_str("the body was kept back, and over HTTP/2 nobody is told to send it")
            }
            Self::Body(BodyFault::Broken) => f.write_str("the body is broken"),
            Self::Upstream(fault) if fault.timed_out() => {
                f.write_str("the upstream did not answer in time")
            }
            Self::Upstream(_) => {
                f.write_str("the upstream can't be reached or gave no usable answer")
            }
            Self::Internal => f.write_str("the gateway has failed at this request"),
        }
    }
}

impl std::error::Error for Failure {}

/// The gateway's classifier: the library's, which in addition knows whose fault a [`Failure`] was.
///
/// A call that is dropped before its end says nothing here, however old it is: `upstream::forward` keeps all deadlines, so
/// whoever drops a call is the client, who left or did not read.
#[derive(Debug, Clone, Copy)]
pub struct Blame {
    /// Whether an upstream that isn't there counts.
    absence: bool,
    http: Http,
}

impl Blame {
    /// For breakers.
    pub const UPSTREAM: Self = Self { absence: true, http: Http::new() };

    /// For auto-disable, which judges what a feature *answers*. That its service is away is the breaker's business, which
    /// comes back by itself; a feature that was turned off waits for a person.
    pub const FEATURE: Self = Self { absence: false, http: Http::new() };

    /// A 503 with `Retry-After` asks for less, as a 429 does, and is no failure.
    #[must_use]
    pub const fn busy_is_overload(self) -> Self {
        Self { http: self.http.busy_is_overload(), ..self }
    }
}

impl UpstreamFault {
    /// The upstream isn't there: nobody took the request, or whoever took it died.
    const fn is_absence(self) -> bool {
        matches!(self, Self::Unreachable | Self::ConnectTimeout | Self::Closed)
    }
}

impl<B> Classify<http::Response<B>, Failure> for Blame {
    fn response(&mut self, response: &http::Response<B>) -> Outcome {
        Classify::<_, Failure>::response(&mut self.http, response)
    }

    fn error(&self, error: &Failure) -> Outcome {
        match error {
            Failure::Upstream(fault) if fault.is_absence() && !self.absence => Outcome::Ignored,
            error => error.outcome(),
        }
    }

    fn body_error(&self, error: &dyn Any) -> Outcome {
        error.downcast_ref::<Failure>().map_or(Outcome::Failure, Failure::outcome)
    }

    fn dropped(&self, _: Duration) -> Outcome {
        Outcome::Ignored
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(blame: Blame, failure: &Failure) -> Outcome {
        Classify::<http::Response<()>, _>::error(&blame, failure)
    }

    #[test]
    fn an_upstream_that_is_away_counts_for_its_breaker_and_for_no_feature() {
        for fault in
            [UpstreamFault::Unreachable, UpstreamFault::ConnectTimeout, UpstreamFault::Closed]
        {
            assert_eq!(outcome(Blame::UPSTREAM, &Failure::Upstream(fault)), Outcome::Failure);
            assert_eq!(outcome(Blame::FEATURE, &Failure::Upstream(fault)), Outcome::Ignored);
        }
        let slow = Failure::Upstream(UpstreamFault::HeadTimeout);
        assert_eq!(outcome(Blame::FEATURE, &slow), Outcome::Failure);
    }

    #[test]
    fn an_upstream_that_says_when_to_come_back_fails_unless_it_is_known_to_mean_it() {
        let busy = http::Response::builder().status(503).header("retry-after", "9").body(());
        let busy = busy.expect("it is a response");
        let verdict = |mut blame: Blame| Classify::<_, Failure>::response(&mut blame, &busy);
        assert_eq!(verdict(Blame::UPSTREAM), Outcome::Failure);
        let nine = Outcome::Overload { retry_after: Some(Duration::from_secs(9)) };
        assert_eq!(verdict(Blame::UPSTREAM.busy_is_overload()), nine);
    }

    #[test]
    fn what_a_client_did_counts_for_nobody() {
        for fault in
            [BodyFault::Broken, BodyFault::Stalled, BodyFault::Withheld, BodyFault::TooLarge]
        {
            assert_eq!(outcome(Blame::UPSTREAM, &Failure::Body(fault)), Outcome::Ignored);
        }
    }
}
