//! The stage of the stack that asks who calls.
//!
//! On a route that doesn't ask, it is one branch. On one that does, the service inside is called only once the identity is
//! known, so it waits behind a mutex which this worker's requests share and never contend for.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Instant,
};

use http::{HeaderName, HeaderValue, Request, Response, header::AUTHORIZATION};
use pin_project_lite::pin_project;
use portcullis::subject::Subject;
use tower_layer::Layer;
use tower_service::Service;

use super::{Mode, Verdict, keys::Keys, service::AuthService};
use crate::{exchange::Exchange, failure::Failure, upload::Upload};

const X_AUTH_SUBJECT: HeaderName = HeaderName::from_static("x-auth-subject");
const X_AUTH_MODE: HeaderName = HeaderName::from_static("x-auth-mode");

/// How a route finds out who calls.
#[derive(Debug, Clone)]
pub struct Authenticator {
    /// The service that decides.
    pub service: AuthService,
    /// The path at which it does.
    pub path: Arc<str>,
    /// Its keys.
    pub keys: Arc<Keys>,
    /// Bytes of a token.
    pub token_bytes_max: usize,
    /// Whether the keys may decide while the service is away.
    pub jwt_fallback: bool,
}

impl Authenticator {
    async fn authenticate(
        mut self,
        request: Request<Upload>,
    ) -> Result<(Request<Upload>, Mode), Failure> {
        let authorization = request.headers().get(AUTHORIZATION).cloned();
        let authorization =
            authorization.ok_or(Failure::Unauthorized("a Bearer token is required"))?;
        let token = bearer(&authorization, self.token_bytes_max)?;
        if request.headers().get_all(AUTHORIZATION).iter().count() > 1 {
            return Err(Failure::Unauthorized("more than one Authorization"));
        }
        let exchange = request.extensions().get::<Exchange>().expect("record puts it there");
        let said = self.service.verify(&self.path, authorization.clone(), exchange).await;
        match said {
            Verdict::Accepted(subject) => identified(request, &subject, Mode::Service),
            Verdict::Unavailable if self.jwt_fallback => {
                match self.keys.check(token, Instant::now()) {
                    Verdict::Accepted(subject) => identified(request, &subject, Mode::JwtFallback),
                    Verdict::Refused => Err(Failure::Unauthorized("the token is not accepted")),
                    Verdict::Unavailable => Err(Failure::AuthUnavailable),
                }
            }
            Verdict::Unavailable => Err(Failure::AuthUnavailable),
            Verdict::Refused => Err(Failure::Unauthorized("the token is not accepted")),
        }
    }
}

fn bearer(authorization: &HeaderValue, bytes_max: usize) -> Result<&str, Failure> {
    let text =
        authorization.to_str().map_err(|_| Failure::Unauthorized("the token can't be read"))?;
    let (scheme, token) =
        text.split_once(' ').ok_or(Failure::Unauthorized("a Bearer token is required"))?;
    let token = token.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || token.is_empty() {
        return Err(Failure::Unauthorized("a Bearer token is required"));
    }
    if token.len() > bytes_max {
        return Err(Failure::Unauthorized("the token is too long"));
    }
    Ok(token)
}

/// Tells the upstream and the layers inside who it is.
fn identified(
    mut request: Request<Upload>,
    subject: &Arc<str>,
    mode: Mode,
) -> Result<(Request<Upload>, Mode), Failure> {
    let value = HeaderValue::from_str(subject)
        .map_err(|_| Failure::Unauthorized("the subject can't be passed on"))?;
    request.headers_mut().insert(X_AUTH_SUBJECT, value);
    request.headers_mut().insert(X_AUTH_MODE, HeaderValue::from_static(mode.as_str()));
    request.extensions_mut().insert(Subject(subject.clone()));
    Ok((request, mode))
}

/// The layer; without an authenticator everybody passes.
#[derive(Debug, Clone)]
pub struct AuthenticationLayer(Option<Authenticator>);

impl AuthenticationLayer {
    /// Asks through this authenticator, if there is one.
    pub const fn optional(authenticator: Option<Authenticator>) -> Self {
        Self(authenticator)
    }
}

impl<S> Layer<S> for AuthenticationLayer {
    type Service = Authentication<S>;

    fn layer(&self, inner: S) -> Authentication<S> {
        match &self.0 {
            None => Authentication::Open { inner },
            Some(authenticator) => Authentication::Asking {
                authenticator: authenticator.clone(),
                inner: Arc::new(Mutex::new(inner)),
            },
        }
    }
}

/// The service that knows who calls.
#[derive(Debug)]
pub enum Authentication<S> {
    /// It doesn't ask.
    Open {
        /// What it protects not.
        inner: S,
    },
    /// It asks.
    Asking {
        /// Whom.
        authenticator: Authenticator,
        /// What it protects.
        inner: Arc<Mutex<S>>,
    },
}

impl<S, B> Service<Request<Upload>> for Authentication<S>
where
    S: Service<Request<Upload>, Response = Response<B>, Error = Failure>,
{
    type Response = Response<B>;
    type Error = Failure;
    type Future = AuthenticationFuture<S, S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        match self {
            Self::Open { inner } => inner.poll_ready(cx),
            // The service inside is asked right before it is called; in the gateway it is always ready.
            Self::Asking { .. } => Poll::Ready(Ok(())),
        }
    }

    fn call(&mut self, request: Request<Upload>) -> Self::Future {
        match self {
            Self::Open { inner } => {
                AuthenticationFuture::Calling { future: inner.call(request), mode: None }
            }
            Self::Asking { authenticator, inner } => AuthenticationFuture::Asking {
                asking: Box::pin(authenticator.clone().authenticate(request)),
                inner: inner.clone(),
            },
        }
    }
}

type Asking = Pin<Box<dyn Future<Output = Result<(Request<Upload>, Mode), Failure>> + Send>>;

pin_project! {
    /// A request whose identity is being found, or that is on its way.
    #[project = AuthenticationProjection]
    pub enum AuthenticationFuture<S, F> {
        /// Nobody knows yet.
        Asking { asking: Asking, inner: Arc<Mutex<S>> },
        /// On its way.
        Calling { #[pin] future: F, mode: Option<Mode> },
    }
}

impl<S, B> Future for AuthenticationFuture<S, S::Future>
where
    S: Service<Request<Upload>, Response = Response<B>, Error = Failure>,
{
    type Output = Result<Response<B>, Failure>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            let next = match self.as_mut().project() {
                AuthenticationProjection::Calling { future, mode } => {
                    let mut response = ready!(future.poll(cx))?;
                    if let Some(mode) = mode {
                        response
                            .headers_mut()
                            .insert(X_AUTH_MODE, HeaderValue::from_static(mode.as_str()));
                    }
                    return Poll::Ready(Ok(response));
                }
                AuthenticationProjection::Asking { asking, inner } => {
                    let (request, mode) = ready!(asking.as_mut().poll(cx))?;
                    let mut inner = inner.lock().unwrap_or_else(PoisonError::into_inner);
                    ready!(inner.poll_ready(cx))?;
                    Self::Calling { future: inner.call(request), mode: Some(mode) }
                }
            };
            self.set(next);
        }
    }
}
