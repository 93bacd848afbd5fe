//! The stage at which an arrived request becomes the gateway's.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Version, header::EXPECT};
use http_body::Body;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::{path::PathRules, request};
use crate::{
    exchange::{Exchange, Understood},
    failure::Failure,
    reply::{Refusal, Routed},
    server::inbound::Inbound,
    trailers::{self, Passing},
    upload::Upload,
};

/// Bounds and rules for what clients send.
#[derive(Debug, Clone)]
pub struct Rules {
    /// Where servers read paths differently.
    pub path: PathRules,
    /// Bytes of a body; a route may take fewer or more, so this is the most that any takes.
    pub body_bytes_max: u64,
    /// The time between two pieces of a body.
    pub body_idle: Duration,
    /// Fields behind a body that may pass.
    pub trailers: trailers::Rules,
}

/// Lets through only requests that can be read in one way.
#[derive(Debug, Clone)]
pub struct Sanitise<S> {
    inner: S,
    rules: Rules,
}

impl<S> Sanitise<S> {
    /// Sanitises for `inner`.
    pub const fn new(inner: S, rules: Rules) -> Self {
        Self { inner, rules }
    }

    fn sanitised(&self, request: Request<Inbound>) -> Result<Request<Upload>, Failure> {
        let (mut parts, body) = request.into_parts();
        if let Inbound::Unreadable(fault) = body {
            return Err(Failure::Refused(fault.status, fault.what));
        }
        let exchange = parts.extensions.get::<Exchange>().expect("record puts it there");
        let (peer, id) = (exchange.peer.clone(), exchange.id.clone());
        let understood = exchange.understood.clone();
        let length = body.size_hint().exact();
        // First of all, because only an upload that is one is read to its end when the request is refused.
        let says_end = parts.version == Version::HTTP_2;
        let waits = !body.is_end_stream() && parts.headers.contains_key(EXPECT);
        let Rules { body_bytes_max, body_idle, path, ref trailers } = self.rules;
        let mut passing = Passing::of(&parts.headers, parts.version, trailers);
        let upload = Upload::new(body, body_bytes_max, body_idle, waits, says_end, &peer.pulse);
        let client = request::request(&mut parts, &peer, path, length)?;
        // What a client put there is gone by now.
        parts.headers.append(request::X_REQUEST_ID, id);
        passing.tell(&mut parts.headers);
        if !passing.response.is_none()
            && let Some(exchange) = parts.extensions.get_mut::<Exchange>()
        {
            exchange.trailers = passing.response;
        }
        if client != peer.ip
            && let Some(exchange) = parts.extensions.get_mut::<Exchange>()
        {
            exchange.client = client;
        }
        if let Some(understood) = understood {
            // It is empty: each request is understood once.
            let _ = understood.set(Understood { client, path: parts.uri.path().to_owned() });
        }
        let mut upload = upload.map_err(Failure::Body)?;
        upload.allow(passing.request);
        Ok(Request::from_parts(parts, upload))
    }
}

impl<S, B> Service<Request<Inbound>> for Sanitise<S>
where
    S: Service<Request<Upload>, Response = Routed<B>, Error = Refusal>,
{
    type Response = Routed<B>;
    type Error = Refusal;
    type Future = SanitiseFuture<S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Inbound>) -> Self::Future {
        match self.sanitised(request) {
            Ok(request) => SanitiseFuture::Running { future: self.inner.call(request) },
            Err(failure) => SanitiseFuture::Refused { failure: Some(failure) },
        }
    }
}

pin_project! {
    /// A request that was let through, or was not.
    #[project = SanitiseProjection]
    pub enum SanitiseFuture<F> {
        /// On its way.
        Running { #[pin] future: F },
        /// Refused.
        Refused { failure: Option<Failure> },
    }
}

impl<F, B> Future for SanitiseFuture<F>
where
    F: Future<Output = Result<Routed<B>, Refusal>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            SanitiseProjection::Running { future } => future.poll(cx),
            SanitiseProjection::Refused { failure } => {
                Poll::Ready(Err(failure.take().expect("polled once after it is done").into()))
            }
        }
    }
}
