//! What a route answers when its upstream can't: the answer that the operator wrote down, in the place of a refusal.
//!
//! *When it acts.* The breaker refuses, the upstream's slots are taken, or the call fails: no connection, no usable answer,
//! not in time; where it was asked to, also when the upstream answers with a 5xx. *When it keeps still.* A kill, a limit, a
//! missing login and a faulty request stay what they are: there a client has to know. The breaker and the meters below have
//! seen the failure all the same. `Proxy-Status` says that it was the gateway, and why.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Request, Response, StatusCode, Uri,
    header::{CACHE_CONTROL, RETRY_AFTER},
};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::{
    config::config::{BodyPart, Fallback as Written, PathPattern},
    control::metrics::{Exposition, counter},
    exchange::AsAsked,
    failure::Failure,
    reply::Reply,
};

const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");
/// What stands for the seconds to wait where nobody knows.
const RETRY_AFTER_UNKNOWN: u64 = 1;

/// The answer of one route, and how often it was given.
#[derive(Debug)]
pub struct Plan {
    route: Arc<str>,
    written: Written,
    /// The route's path, where the body has parameters of it.
    path: Option<matchit::Router<()>>,
    given: AtomicU64,
}

impl Plan {
    /// What a route answers.
    pub fn new(route: Arc<str>, path: &PathPattern, written: Written) -> Arc<Self> {
        let asks = written.body.iter().any(|part| matches!(part, BodyPart::Parameter(_)));
        let path = asks.then(|| {
            let mut tree = matchit::Router::new();
            tree.insert(path.0.as_str(), ()).expect("checked in config");
            tree
        });
        Arc::new(Self { route, written, path, given: AtomicU64::new(0) })
    }

    /// Whether this is a failure that the answer is for.
    fn covers(failure: &Failure) -> bool {
        matches!(failure, Failure::Rejected(_) | Failure::Upstream(_))
    }

    /// What the body needs to know of a request, kept only where it does.
    fn asked<R>(&self, request: &Request<R>) -> Option<Uri> {
        self.path.as_ref()?;
        let as_asked = request.extensions().get::<AsAsked>().map(|AsAsked(uri)| uri.clone());
        Some(as_asked.unwrap_or_else(|| request.uri().clone()))
    }

    fn answer<B>(
        &self,
        reason: &str,
        retry_after: Option<u64>,
        asked: Option<&Uri>,
    ) -> Response<Reply<B>> {
        self.given.fetch_add(1, Ordering::Relaxed);
        let mut response = Response::new(Reply::own(self.body(retry_after, asked)));
        *response.status_mut() = self.written.status;
        let headers = response.headers_mut();
        headers.clone_from(&self.written.headers);
        headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
        if let Some(seconds) = retry_after.filter(|_| self.asks_to_come_back()) {
            headers.entry(RETRY_AFTER).or_insert(HeaderValue::from(seconds));
        }
        let status = format!("portcullis; details=\"fallback for {reason}\"");
        if let Ok(status) = HeaderValue::try_from(status) {
            headers.insert(PROXY_STATUS, status);
        }
        response
    }

    fn asks_to_come_back(&self) -> bool {
        matches!(
            self.written.status,
            StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS
        )
    }

    fn body(&self, retry_after: Option<u64>, asked: Option<&Uri>) -> Bytes {
        let path = asked.map(Uri::path).unwrap_or_default();
        let matched = self.path.as_ref().and_then(|tree| tree.at(path).ok());
        let mut body = String::new();
        for part in &self.written.body {
            match part {
                BodyPart::Text(text) => body.push_str(text),
                BodyPart::RetryAfter => {
                    body.push_str(&retry_after.unwrap_or(RETRY_AFTER_UNKNOWN).to_string());
                }
                BodyPart::Parameter(name) => {
                    let value = matched.as_ref().and_then(|matched| matched.params.get(name));
                    body.push_str(&self.escaped(value.unwrap_or_default()));
                }
            }
        }
        Bytes::from(body)
    }

    /// A client wrote it, so in JSON it becomes the inside of a string, and elsewhere letters, digits and `%`: nothing that
    /// could be markup.
    fn escaped(&self, value: &str) -> String {
        let decoded = percent_decode_str(value).decode_utf8_lossy();
        if !self.written.is_json {
            return utf8_percent_encode(&decoded, NON_ALPHANUMERIC).to_string();
        }
        let quoted = serde_json::Value::from(decoded.as_ref()).to_string();
        quoted[1..quoted.len() - 1].to_owned()
    }
}

/// How often each route answered by itself, as Prometheus reads it.
#[derive(Debug)]
pub struct Figures(pub Vec<Arc<Plan>>);

impl Exposition for Figures {
    fn write(&self, out: &mut String) {
        let family =
            counter("portcullis_fallbacks_total", "Answers that a route gave for its upstream");
        family.head(out);
        for plan in &self.0 {
            family.sample(out, &[("route", &plan.route)], plan.given.load(Ordering::Relaxed));
        }
    }
}

/// Answers in the place of a refusal. Without a plan it costs nothing.
#[derive(Debug, Clone)]
pub struct FallbackLayer(Option<Arc<Plan>>);

impl FallbackLayer {
    /// This plan, if there is one.
    pub const fn optional(plan: Option<Arc<Plan>>) -> Self {
        Self(plan)
    }
}

impl<S> Layer<S> for FallbackLayer {
    type Service = Fallback<S>;

    fn layer(&self, inner: S) -> Fallback<S> {
        Fallback { inner, plan: self.0.clone() }
    }
}

/// A route that has an answer of its own.
#[derive(Debug, Clone)]
pub struct Fallback<S> {
    inner: S,
    plan: Option<Arc<Plan>>,
}

impl<S, R, B> Service<Request<R>> for Fallback<S>
where
    S: Service<Request<R>, Response = Response<B>, Error = Failure>,
{
    type Response = Response<Reply<B>>;
    type Error = Failure;
    type Future = FallbackFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        let asked = self.plan.as_ref().and_then(|plan| plan.asked(&request));
        FallbackFuture { future: self.inner.call(request), plan: self.plan.clone(), asked }
    }
}

pin_project! {
    /// A call whose failure may be answered.
    pub struct FallbackFuture<F> {
        #[pin]
        future: F,
        plan: Option<Arc<Plan>>,
        asked: Option<Uri>,
    }
}

impl<F, B> Future for FallbackFuture<F>
where
    F: Future<Output = Result<Response<B>, Failure>>,
{
    type Output = Result<Response<Reply<B>>, Failure>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let result = ready!(this.future.poll(cx));
        let Some(plan) = this.plan else {
            return Poll::Ready(result.map(|response| response.map(Reply::of_route)));
        };
        Poll::Ready(Ok(match result {
            Ok(response)
                if plan.written.on_server_errors && response.status().is_server_error() =>
            {
                plan.answer("server_error", None, this.asked.as_ref())
            }
            Ok(response) => response.map(Reply::of_route),
            Err(failure) if Plan::covers(&failure) => {
                plan.answer(failure.reason(), failure.retry_after(), this.asked.as_ref())
            }
            Err(failure) => return Poll::Ready(Err(failure)),
        }))
    }
}

#[cfg(test)]
mod tests {
    use std::{convert::Infallible, time::Duration};

    use http_body_util::{BodyExt, Empty};
    use portcullis::rejected::Rejected;
    use tower::{ServiceExt, service_fn};

    use super::*;
    use crate::failure::{BodyFault, UpstreamFault};

    fn plan(status: u16, body: Vec<BodyPart>, on_server_errors: bool) -> Arc<Plan> {
        let status = StatusCode::from_u16(status).expect("a status");
        let headers = http::HeaderMap::new();
        let written = Written { status, headers, body, is_json: true, on_server_errors };
        Plan::new("r".into(), &PathPattern("/stars/{repo}".to_owned()), written)
    }

    fn text(text: &str) -> BodyPart {
        BodyPart::Text(text.to_owned())
    }

    async fn through(
        plan: &Arc<Plan>,
        result: Result<u16, Failure>,
    ) -> Result<Response<Reply<Inner>>, Failure> {
        let service = service_fn(move |_: Request<()>| {
            let result = result.clone();
            async move {
                let status = StatusCode::from_u16(result?).expect("a status");
                let mut response = Response::new(Empty::new().map_err(never as fn(_) -> _).boxed());
                *response.status_mut() = status;
                Ok::<_, Failure>(response)
            }
        });
        FallbackLayer::optional(Some(plan.clone())).layer(service).oneshot(Request::new(())).await
    }

    type Inner = http_body_util::combinators::BoxBody<Bytes, Failure>;

    fn never(never: Infallible) -> Failure {
        match never {}
    }

    fn open() -> Failure {
        let retry_after = Duration::from_secs(30);
        Failure::Rejected(Rejected::CircuitOpen { breaker: "b".into(), retry_after, forced: false })
    }

    #[tokio::test]
    async fn an_open_circuit_is_answered_as_the_operator_wrote() {
        let plan = plan(503, vec![text(r#"{"again": "#), BodyPart::RetryAfter, text("}")], false);
        let response = through(&plan, Err(open())).await.expect("an answer");
        assert_eq!(
            (response.status(), &response.headers()[RETRY_AFTER]),
            (StatusCode::SERVICE_UNAVAILABLE, &"30".parse().expect("a value"))
        );
        assert_eq!(
            response.headers()["proxy-status"],
            "portcullis; details=\"fallback for circuit_open\""
        );
        let body = response.into_body().collect().await.expect("it is whole").to_bytes();
        assert_eq!(body, r#"{"again": 30}"#);
        assert_eq!(plan.given.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn what_the_client_did_stays_a_refusal() {
        let plan = plan(200, Vec::new(), false);
        for failure in
            [Failure::Body(BodyFault::TooLarge), Failure::BadRequest("x"), Failure::Internal]
        {
            assert!(through(&plan, Err(failure)).await.is_err());
        }
        let unreachable = Failure::Upstream(UpstreamFault::Unreachable);
        assert!(through(&plan, Err(unreachable)).await.is_ok());
    }

    #[tokio::test]
    async fn a_server_error_is_replaced_only_where_that_is_wished_for() {
        assert_eq!(
            through(&plan(200, Vec::new(), false), Ok(500)).await.expect("an answer").status(),
            500
        );
        assert_eq!(
            through(&plan(200, Vec::new(), true), Ok(500)).await.expect("an answer").status(),
            200
        );
        assert_eq!(
            through(&plan(200, Vec::new(), true), Ok(404)).await.expect("an answer").status(),
            404
        );
    }

    #[test]
    fn what_the_client_asked_for_is_told_and_can_be_nothing_else() {
        let body = vec![text("<"), BodyPart::Parameter("repo".to_owned()), text(">")];
        let plan = plan(200, body.clone(), false);
        let asked = |path: &str| path.parse::<Uri>().expect("a path");
        let told = |plan: &Plan, path: &str| plan.body(None, Some(&asked(path)));
        assert_eq!(told(&plan, "/stars/tower"), "<tower>");
        assert_eq!(told(&plan, "/stars/%22%0a%5C%C3%A9"), "<\\\"\\n\\\\é>", "JSON's own escapes");

        let written = Written { is_json: false, ..plan.written.clone() };
        let html = Plan::new("r".into(), &PathPattern("/stars/{repo}".to_owned()), written);
        assert_eq!(told(&html, "/stars/%3Cb%3E"), "<%3Cb%3E>");
    }
}
