//! The outermost layer: every request begins and ends here.
//!
//! It reads the clock once at the head, gives the request its id, decides on sampling before anything of a span is built,
//! and counts the answer, whoever gave it. What can only be known at the end of the body (that the request is no longer in
//! flight, and its log line) is told by the [`Recorded`] body, also when the client leaves early.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Instant,
};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::{Body, Frame, SizeHint};
use opentelemetry::trace::SpanContext;
use pin_project_lite::pin_project;
use tower_service::Service;
use tracing::Span;

use super::{
    access::Entry,
    ids::Ids,
    span,
    traffic::{Requests, method_index},
};
use crate::{
    exchange::Exchange,
    failure::Failure,
    reply::{Answered, Reply},
    server::{inbound::Inbound, peer::Peer},
    telemetry::lines::Lines,
    trailers::Allowed,
};

/// A request as it arrives.
#[derive(Debug)]
pub struct Arrival {
    /// Who sent it.
    pub peer: Arc<Peer>,
    /// The request.
    pub request: Request<Inbound>,
}

/// What is recorded, and where it goes.
#[derive(Debug)]
pub struct Settings {
    /// This worker's numbers.
    pub requests: Arc<Requests>,
    /// The routes' names, and whether they are counted.
    pub routes: Vec<(Arc<str>, bool)>,
    /// The part of requests without a sampling decision of their caller that are sampled; nothing is without a receiver.
    pub sample_ratio: Option<f64>,
    /// Where log lines of requests go, if they are written.
    pub access: Option<Lines>,
}

/// The status of a line for a request whose client left before it had an answer; nginx's word for it.
const UNANSWERED: u16 = 499;

/// Records for the service inside.
#[derive(Debug)]
pub struct Record<S> {
    inner: S,
    settings: Arc<Settings>,
    ids: Ids,
}

impl<S> Record<S> {
    /// Records for `inner`.
    pub fn new(inner: S, settings: Arc<Settings>) -> Self {
        Self { inner, settings, ids: Ids::new() }
    }
}

impl Settings {
    /// The request's span, if it is sampled; nothing is built for the others. A trace context that can't be read goes no
    /// further.
    fn sample(&self, request: &mut Request<Inbound>) -> Option<Span> {
        // A look at each name costs less than asking the map, which would have to hash the one that is asked for.
        let parent = if request.headers().keys().any(|name| name == span::TRACEPARENT) {
            span::parent(request.headers()).or_else(|| {
                span::forget(request.headers_mut());
                None
            })
        } else {
            None
        };
        let ratio = self.sample_ratio?;
        let sampled =
            parent.as_ref().map_or_else(|| fastrand::f64() < ratio, SpanContext::is_sampled);
        sampled.then(|| span::server(parent, request.method(), request.uri().path()))
    }
}

impl<S, B> Service<Arrival> for Record<S>
where
    S: Service<Request<Inbound>, Response = Answered<B>, Error = Infallible>,
    B: Body<Data = Bytes, Error = Failure>,
{
    type Response = Response<Recorded<B>>;
    type Error = Infallible;
    type Future = RecordFuture<S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, Arrival { peer, mut request }: Arrival) -> Self::Future {
        let span = self.settings.sample(&mut request);
        let id = self.ids.next();
        let started = Instant::now();
        let line = self.settings.access.as_ref().map(|lines| Entry {
            lines: lines.clone(),
            peer: peer.ip,
            method: request.method().clone(),
            path: request.uri().path().to_owned(),
            understood: Arc::default(),
            route: None,
            status: UNANSWERED.try_into().expect("a status has three digits"),
            refusal: None,
            request_id: id.clone(),
        });
        let method = request.method().clone();
        let understood = line.as_ref().map(|line| line.understood.clone());
        let exchange = Exchange {
            started,
            id,
            client: peer.ip,
            peer,
            trailers: Allowed::NONE,
            span: span.clone(),
            understood,
        };
        request.extensions_mut().insert(exchange);
        let running = Running::new(self.settings.clone(), started, line, span);
        RecordFuture { future: self.inner.call(request), running: Some(running), method }
    }
}

/// A request in flight. Dropping it ends it, however it ended.
#[derive(Debug)]
struct Running {
    settings: Arc<Settings>,
    started: Instant,
    line: Option<Box<Entry>>,
    span: Option<Span>,
    bytes: u64,
    complete: bool,
}

impl Running {
    fn new(
        settings: Arc<Settings>,
        started: Instant,
        line: Option<Entry>,
        span: Option<Span>,
    ) -> Self {
        settings.requests.begin();
        Self { settings, started, line: line.map(Box::new), span, bytes: 0, complete: false }
    }

    fn answered<B>(&mut self, method: &Method, answered: &Answered<B>) {
        let Answered { response, route, refusal } = answered;
        let name = route.map(|route| &self.settings.routes[route]);
        if name.is_none_or(|(_, counted)| *counted) {
            let took = self.started.elapsed();
            self.settings.requests.settle(
                *route,
                method_index(method),
                response.status(),
                took,
                *refusal,
            );
        }
        if let Some(span) = &self.span {
            span::answered(
                span,
                method,
                name.map(|(name, _)| &**name),
                response.status(),
                *refusal,
            );
        }
        if let Some(line) = &mut self.line {
            line.route = name.map(|(name, _)| name.clone());
            line.status = response.status();
            line.refusal = *refusal;
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.settings.requests.end();
        if let Some(line) = &self.line {
            line.write(self.bytes, self.started.elapsed(), self.complete);
        }
    }
}

pin_project! {
    /// A request whose answer will be recorded.
    pub struct RecordFuture<F> {
        #[pin]
        future: F,
        running: Option<Running>,
        method: Method,
    }
}

impl<F, B> Future for RecordFuture<F>
where
    F: Future<Output = Result<Answered<B>, Infallible>>,
    B: Body<Data = Bytes, Error = Failure>,
{
    type Output = Result<Response<Recorded<B>>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let Ok(answered) = ready!(this.future.poll(cx));
        let mut running = this.running.take().expect("polled once after it is done");
        running.answered(this.method, &answered);
        // A body that nobody will poll is over now.
        running.complete = *this.method == Method::HEAD || answered.response.body().is_end_stream();
        let running = Some(running).filter(|running| !running.complete);
        Poll::Ready(Ok(answered.response.map(|body| Recorded { body, running })))
    }
}

pin_project! {
    /// An answer's body, which ends the record of its request.
    #[derive(Debug)]
    pub struct Recorded<B> {
        #[pin]
        body: Reply<B>,
        running: Option<Running>,
    }
}

impl<B: Body<Data = Bytes, Error = Failure>> Body for Recorded<B> {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let mut this = self.project();
        let frame = ready!(this.body.as_mut().poll_frame(cx));
        if let Some(running) = this.running {
            let data =
                frame.as_ref().and_then(|frame| frame.as_ref().ok()).and_then(Frame::data_ref);
            running.bytes += data.map_or(0, |data| data.len() as u64);
            running.complete = !matches!(frame, Some(Err(_))) && this.body.is_end_stream();
            if running.complete {
                *this.running = None;
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
