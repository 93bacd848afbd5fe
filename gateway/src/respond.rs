//! The one place where a failure becomes a response.
//!
//! From here outward a request always has an answer, and the error type ends. Refusals are problem details (RFC 9457) with
//! the members of the contract, `Retry-After` where it is known, and a `Proxy-Status` (RFC 9209). No address, version or
//! debug text of anything inside is ever in them, and no operator's reason either: clients see a feature's public message.

use std::{
    collections::HashMap,
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Request, Response, StatusCode,
    header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
};
use pin_project_lite::pin_project;
use portcullis::rejected::Rejected;
use serde::{Serialize, Serializer};
use tower_service::Service;

use crate::{
    config::config::{Config, UpstreamId},
    exchange::Exchange,
    failure::Failure,
    reply::{Answered, Refusal, Reply, Routed},
    sanitise::request::X_REQUEST_ID,
};

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// What refusals say, by route and by feature.
#[derive(Debug)]
pub struct Texts {
    routes: Vec<RouteTexts>,
    features: HashMap<Arc<str>, Option<Arc<str>>>,
}

#[derive(Debug)]
struct RouteTexts {
    upstream: Arc<str>,
    error: Option<Arc<str>>,
    unreachable_status: StatusCode,
    /// The service that authenticates everybody: without it nobody can log in, and that has a word of its own.
    is_authentication: bool,
}

impl Texts {
    /// The texts of a configuration.
    pub fn new(config: &Config) -> Self {
        let authentication: Option<UpstreamId> =
            config.authentication.as_ref().map(|settings| settings.upstream);
        let routes = config.routes.iter().map(|route| {
            let upstream = &config.upstreams[route.upstream.0];
            RouteTexts {
                upstream: upstream.name.clone(),
                error: upstream.error.clone(),
                unreachable_status: upstream.unreachable_status,
                is_authentication: authentication == Some(route.upstream),
            }
        });
        let features =
            config.features.iter().map(|feature| (feature.name.clone(), feature.error.clone()));
        Self { routes: routes.collect(), features: features.collect() }
    }

    fn problem(&self, refusal: Refusal, request_id: &HeaderValue) -> (Problem<'_>, Failure) {
        let Refusal { failure, route } = refusal;
        let texts = route.and_then(|route| self.routes.get(route));
        let failure = match failure {
            // The upstream that authenticates is away: that is what its clients have to know.
            Failure::Upstream(_) if texts.is_some_and(|texts| texts.is_authentication) => {
                Failure::AuthUnavailable
            }
            failure => failure,
        };
        let feature = match &failure {
            Failure::Rejected(Rejected::Killed { feature, .. }) => Some(feature.clone()),
            _ => None,
        };
        let of_upstream = matches!(
            failure,
            Failure::Upstream(_)
                | Failure::AuthUnavailable
                | Failure::Rejected(Rejected::CircuitOpen { .. } | Rejected::TimedOut { .. })
        );
        let own = match &feature {
            Some(feature) => self.features.get(feature).and_then(Option::as_deref),
            None => texts.filter(|_| of_upstream).and_then(|texts| texts.error.as_deref()),
        };
        let status = status(&failure, texts);
        let problem = Problem {
            kind: "about:blank",
            title: status.canonical_reason().unwrap_or("Refused"),
            status,
            detail: detail(&failure),
            error: own.unwrap_or_else(|| default_error(&failure)),
            reason: failure.reason(),
            retry_after: retry_after(&failure, status),
            feature,
            upstream: texts.filter(|_| of_upstream).map(|texts| &*texts.upstream),
            request_id: request_id.to_str().unwrap_or_default().to_owned(),
        };
        (problem, failure)
    }

    fn respond<B>(&self, refusal: Refusal, request_id: &HeaderValue) -> Answered<B> {
        let route = refusal.route;
        let (problem, failure) = self.problem(refusal, request_id);
        let body = serde_json::to_vec(&problem).expect("strings and numbers serialise");
        let mut response = Response::new(Reply::own(Bytes::from(body)));
        *response.status_mut() = problem.status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(X_REQUEST_ID, request_id.clone());
        if let Ok(status) = HeaderValue::try_from(proxy_status(&failure)) {
            headers.insert(PROXY_STATUS, status);
        }
        if let Some(seconds) = problem.retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        match &failure {
            Failure::MethodNotAllowed { allow } => drop(headers.insert(ALLOW, allow.clone())),
            Failure::Unauthorized(_) => {
                drop(headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer")));
            }
            _ => {}
        }
        if let Failure::Rejected(rejected) = &failure {
            response.extensions_mut().insert(rejected.clone());
        }
        Answered { response, route, refusal: Some(failure.reason()) }
    }
}

/// Problem details with our members.
#[derive(Serialize)]
struct Problem<'t> {
    #[serde(rename = "type")]
    kind: &'static str,
    title: &'static str,
    #[serde(serialize_with = "as_number")]
    status: StatusCode,
    detail: String,
    error: &'t str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    feature: Option<Arc<str>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    upstream: Option<&'t str>,
    request_id: String,
}

fn as_number<S: Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

/// An upstream may have a status of its own for when it can't be reached; a time-out stays what it is.
fn status(failure: &Failure, texts: Option<&RouteTexts>) -> StatusCode {
    match (failure, failure.status(), texts) {
        (Failure::Upstream(_), StatusCode::BAD_GATEWAY, Some(texts)) => texts.unreachable_status,
        (_, status, _) => status,
    }
}

/// A 503 says that coming back helps, so it says when, also where nobody can know.
fn retry_after(failure: &Failure, status: StatusCode) -> Option<u64> {
    match (failure, status) {
        (Failure::Upstream(_), StatusCode::SERVICE_UNAVAILABLE) => Some(1),
        _ => failure.retry_after(),
    }
}

fn detail(failure: &Failure) -> String {
    match failure {
        Failure::Rejected(Rejected::Killed { public_message: Some(message), .. }) => {
            message.to_string()
        }
        Failure::Rejected(Rejected::RateLimited { .. }) => {
            "more requests than this route allows one client".to_owned()
        }
        Failure::Rejected(Rejected::Overloaded { .. }) => {
            "more requests at once than this route takes".to_owned()
        }
        failure => failure.to_string(),
    }
}

/// The sentence for people, where nothing was configured.
fn default_error(failure: &Failure) -> &'static str {
    match failure {
        Failure::Rejected(Rejected::RateLimited { .. }) => "Too many requests",
        Failure::Rejected(Rejected::TimedOut { .. }) => "The service did not answer in time",
        Failure::Rejected(_) | Failure::AuthUnavailable => "Service temporarily unavailable",
        Failure::Upstream(_) if failure.status() == StatusCode::GATEWAY_TIMEOUT => {
            "The service did not answer in time"
        }
        Failure::Upstream(_) => "The service can't be reached",
        Failure::Unauthorized(_) => "Authentication required",
        Failure::Internal => "Internal error",
        Failure::NoRoute => "Not found",
        Failure::MethodNotAllowed { .. } => "Method not allowed",
        Failure::BadRequest(_) | Failure::Body(_) | Failure::Refused(..) => {
            "The request can't be served"
        }
    }
}

/// RFC 9209, with error types from its registry.
fn proxy_status(failure: &Failure) -> String {
    let error = match failure {
        Failure::Upstream(fault) => fault.proxy_status(),
        Failure::Rejected(Rejected::TimedOut { .. }) => "http_response_timeout",
        Failure::Rejected(Rejected::CircuitOpen { .. }) | Failure::AuthUnavailable => {
            "destination_unavailable"
        }
        Failure::Rejected(_) | Failure::Unauthorized(_) => "http_request_denied",
        Failure::Internal => "proxy_internal_error",
        Failure::NoRoute => "destination_not_found",
        _ => "http_request_error",
    };
    format!("portcullis; error={error}; details=\"{}\"", failure.reason())
}

/// Turns failures into answers.
#[derive(Debug, Clone)]
pub struct Respond<S> {
    inner: S,
    texts: Arc<Texts>,
}

impl<S> Respond<S> {
    /// Answers for `inner` in these texts.
    pub const fn new(inner: S, texts: Arc<Texts>) -> Self {
        Self { inner, texts }
    }
}

impl<S, R, B> Service<Request<R>> for Respond<S>
where
    S: Service<Request<R>, Response = Routed<B>, Error = Refusal>,
{
    type Response = Answered<B>;
    type Error = Infallible;
    type Future = RespondFuture<S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        let id = request.extensions().get::<Exchange>().map(|exchange| exchange.id.clone());
        let request_id = id.unwrap_or_else(|| HeaderValue::from_static("-"));
        RespondFuture { future: self.inner.call(request), texts: self.texts.clone(), request_id }
    }
}

pin_project! {
    /// A request that will have an answer.
    pub struct RespondFuture<F> {
        #[pin]
        future: F,
        texts: Arc<Texts>,
        request_id: HeaderValue,
    }
}

impl<F, B> Future for RespondFuture<F>
where
    F: Future<Output = Result<Routed<B>, Refusal>>,
{
    type Output = Result<Answered<B>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        Poll::Ready(Ok(match ready!(this.future.poll(cx)) {
            Ok(Routed { response, route }) => Answered { response, route, refusal: None },
            Err(refusal) => this.texts.respond(refusal, this.request_id),
        }))
    }
}
