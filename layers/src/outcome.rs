//! What one call says about its upstream.
//!
//! An [`Outcome`] is the only thing that a breaker or an auto-disable meter ever learns of a call. A [`Classify`] makes it,
//! from the head of the response, from an error, from a body that broke, or from the age of a call that nobody waits for
//! any more. It is a *superset* of the question that `tower_http::classify` answers: success and failure are not enough,
//! because what the client did wrong and what we refused ourselves must never move an upstream's health.

use std::{
    any::Any,
    error::Error,
    time::{Duration, SystemTime},
};

use http::{HeaderMap, StatusCode, header::RETRY_AFTER};

use crate::rejected::Rejected;

/// The verdict on one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The upstream did its work (a 4xx is the client's fault, so it is a success of the upstream).
    Success,
    /// The upstream failed: a 5xx, a broken connection, a time-out, a body cut short.
    Failure,
    /// The upstream failed, and that says more or less than an ordinary failure does.
    Weighed(Weight),
    /// Says nothing about the upstream: our own refusal, the client's fault, a call given up early.
    Ignored,
    /// The upstream asks for less (429). It counts as neither a success nor a failure of a run; a rate weighs it as a failure.
    Overload {
        /// What the upstream asked to wait.
        retry_after: Option<Duration>,
    },
}

/// How much a failure says, in hundredths of an ordinary one: half a failure is 50, and two of those are as bad as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Weight(u16);

impl Weight {
    /// An ordinary failure.
    pub const ONE: Self = Self(100);
    /// A hundred ordinary failures. More would let a single call outvote every other one in a window.
    pub const MAX: Self = Self(10_000);

    /// So many hundredths of an ordinary failure, at most [`Weight::MAX`].
    pub const fn hundredths(weight: u16) -> Self {
        if weight > Self::MAX.0 { Self::MAX } else { Self(weight) }
    }

    /// In hundredths of an ordinary failure.
    pub const fn in_hundredths(self) -> u16 {
        self.0
    }
}

impl Outcome {
    /// Whether the upstream failed, with whatever weight.
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::Failure | Self::Weighed(_))
    }
}

/// Turns what happened to a call into an [`Outcome`].
///
/// `Res` is the whole response, `Err` the service's error. Implement it for your own types where [`Http`] is too coarse.
///
/// Each call has a clone of its own, so what was seen at the head can be kept for the end.
pub trait Classify<Res, Err> {
    /// The verdict at the response head. A body that breaks later can still worsen it.
    fn response(&mut self, response: &Res) -> Outcome;

    /// Whether a response that is a success by its head has to wait for the end of its body. By default it does. Say no where
    /// bodies never end, such as event streams.
    fn waits_for_end(&self, response: &Res) -> bool {
        let _ = response;
        true
    }

    /// The verdict at the end of a complete body whose head was a success, with its trailers if it had any.
    fn end(&mut self, trailers: Option<&HeaderMap>) -> Outcome {
        let _ = trailers;
        Outcome::Success
    }

    /// The verdict on an error of the service itself.
    fn error(&self, error: &Err) -> Outcome;

    /// The verdict on a body that broke after its head. The error comes as [`Any`], because a boxed error is no `Error`.
    fn body_error(&self, error: &dyn Any) -> Outcome {
        let _ = error;
        Outcome::Failure
    }

    /// The verdict on a call that its caller dropped at this age, before its end.
    fn dropped(&self, age: Duration) -> Outcome;
}

mod grpc;
#[cfg(feature = "tower-http")]
mod tower_http;

pub use grpc::Grpc;
#[cfg(feature = "tower-http")]
pub use tower_http::TowerHttp;

/// The age from which a dropped call counts as hung rather than as given up by a client: 10 s.
///
/// A client that walks away does so at any time, most often early. A call that an *outer* time-out cut has by then lived
/// for as long as that time-out. Set it just below the time-out that surrounds the layer.
pub const HUNG_AFTER: Duration = Duration::from_secs(10);

/// The classifier for HTTP: 5xx and errors are failures, 429 is overload, our own [`Rejected`] is ignored.
#[derive(Debug, Clone, Copy)]
pub struct Http {
    /// In milliseconds: each call carries this along, so it is kept small.
    hung_after: u32,
    busy_is_overload: bool,
}

impl Http {
    /// A classifier that takes dropped calls older than [`HUNG_AFTER`] as failures.
    pub const fn new() -> Self {
        Self { hung_after: milliseconds(HUNG_AFTER), busy_is_overload: false }
    }

    /// Dropped calls of this age or older are failures, younger ones are ignored. It is taken in whole milliseconds, and 49 days
    /// at most.
    pub const fn hung_after(self, age: Duration) -> Self {
        Self { hung_after: milliseconds(age), ..self }
    }

    /// A 503 with `Retry-After` is an upstream that asks for less, as a 429 is, rather than one that fails. For upstreams of
    /// which you know that they mean it so: many put the header on every 503.
    #[must_use]
    pub const fn busy_is_overload(self) -> Self {
        Self { busy_is_overload: true, ..self }
    }

    /// The verdict on a status line and its headers alone.
    #[inline]
    pub fn head(status: StatusCode, headers: &HeaderMap) -> Outcome {
        match status {
            StatusCode::TOO_MANY_REQUESTS => {
                Outcome::Overload { retry_after: retry_after(headers) }
            }
            status if status.is_server_error() => Outcome::Failure,
            _ => Outcome::Success,
        }
    }

    /// The verdict on a call dropped at this age.
    pub fn abandoned(&self, age: Duration) -> Outcome {
        if age < Duration::from_millis(self.hung_after.into()) {
            Outcome::Ignored
        } else {
            Outcome::Failure
        }
    }
}

const fn milliseconds(age: Duration) -> u32 {
    let milliseconds = age.as_millis();
    if milliseconds > u32::MAX as u128 { u32::MAX } else { milliseconds as u32 }
}

impl Default for Http {
    fn default() -> Self {
        Self::new()
    }
}

impl<B, E: 'static> Classify<http::Response<B>, E> for Http {
    #[inline]
    fn response(&mut self, response: &http::Response<B>) -> Outcome {
        match response.extensions().get::<Rejected>() {
            Some(rejected) => rejected.outcome(),
            None if self.busy_is_overload
                && response.status() == StatusCode::SERVICE_UNAVAILABLE =>
            {
                match retry_after(response.headers()) {
                    None => Outcome::Failure,
                    some => Outcome::Overload { retry_after: some },
                }
            }
            None => Self::head(response.status(), response.headers()),
        }
    }

    fn error(&self, error: &E) -> Outcome {
        Rejected::within(error).map_or(Outcome::Failure, Rejected::outcome)
    }

    fn dropped(&self, age: Duration) -> Outcome {
        self.abandoned(age)
    }
}

impl Rejected {
    /// What the refusal says about the upstream: nothing, but for a time-out.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::TimedOut { .. } => Outcome::Failure,
            _ => Outcome::Ignored,
        }
    }

    /// The refusal inside an error of any type: the error itself, or one that it boxes or was caused by.
    fn within<E: 'static>(error: &E) -> Option<&Self> {
        let error: &dyn Any = error;
        if let Some(rejected) = error.downcast_ref::<Self>() {
            return Some(rejected);
        }
        let boxed = error.downcast_ref::<Box<dyn Error + Send + Sync>>()?;
        Self::find(boxed.as_ref())
    }
}

/// `Retry-After` in seconds or as a date; a date in the past is zero, nonsense is nothing.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?.to_str().ok()?;
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    Some(at.duration_since(SystemTime::now()).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    type BoxError = Box<dyn Error + Send + Sync>;

    fn verdict(status: u16) -> Outcome {
        let response = http::Response::builder().status(status).body(()).unwrap();
        Classify::<_, BoxError>::response(&mut Http::new(), &response)
    }

    fn refusal() -> Rejected {
        Rejected::Overloaded { limit: "orders".into() }
    }

    #[test]
    fn server_errors_are_failures_and_client_errors_are_not() {
        assert_eq!(verdict(200), Outcome::Success);
        assert_eq!(verdict(404), Outcome::Success);
        assert_eq!(verdict(500), Outcome::Failure);
        assert_eq!(verdict(503), Outcome::Failure);
    }

    #[test]
    fn too_many_requests_is_overload_with_the_wait_that_the_upstream_asked_for() {
        let response =
            http::Response::builder().status(429).header("retry-after", "7").body(()).unwrap();
        let outcome = Classify::<_, BoxError>::response(&mut Http::new(), &response);
        assert_eq!(outcome, Outcome::Overload { retry_after: Some(Duration::from_secs(7)) });
    }

    #[test]
    fn a_503_that_says_when_to_come_back_is_overload_where_that_is_known_to_be_meant() {
        let verdict = |mut http: Http, header: bool| {
            let mut response = http::Response::builder().status(503).body(()).unwrap();
            if header {
                response.headers_mut().insert(RETRY_AFTER, 9.into());
            }
            Classify::<_, BoxError>::response(&mut http, &response)
        };
        let nine = Outcome::Overload { retry_after: Some(Duration::from_secs(9)) };
        assert_eq!(verdict(Http::new(), true), Outcome::Failure);
        assert_eq!(verdict(Http::new().busy_is_overload(), true), nine);
        assert_eq!(verdict(Http::new().busy_is_overload(), false), Outcome::Failure);
    }

    #[test]
    fn our_own_refusal_is_ignored_as_a_response_and_as_a_boxed_error() {
        let mut response = http::Response::builder().status(503).body(()).unwrap();
        response.extensions_mut().insert(refusal());
        assert_eq!(
            Classify::<_, BoxError>::response(&mut Http::new(), &response),
            Outcome::Ignored
        );

        let boxed: BoxError = refusal().into();
        assert_eq!(
            Classify::<http::Response<()>, _>::error(&Http::new(), &boxed),
            Outcome::Ignored
        );
    }

    #[test]
    fn a_dropped_call_counts_from_the_age_at_which_it_is_hung() {
        let http = Http::new().hung_after(Duration::from_secs(1));
        assert_eq!(http.abandoned(Duration::from_millis(999)), Outcome::Ignored);
        assert_eq!(http.abandoned(Duration::from_secs(1)), Outcome::Failure);
    }
}
