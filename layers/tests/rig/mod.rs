//! What the tests of several layers share: a clock under tokio's control, and bodies that do as they are told.

#![allow(dead_code, reason = "each test file uses its own part")]

use std::{
    collections::VecDeque,
    future::poll_fn,
    pin::Pin,
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode};
use http_body::{Body, Frame};
use http_body_util::BodyExt;
use tower::Service;

/// The time of tokio, which stands still until a test advances it.
pub(crate) fn clock() -> Instant {
    tokio::time::Instant::now().into_std()
}

pub(crate) async fn advance(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

/// A body that follows a script, and then hangs or ends.
#[derive(Debug, Default)]
pub(crate) struct Script {
    frames: VecDeque<Result<Bytes, Broken>>,
    trailers: Option<HeaderMap>,
    hangs: bool,
}

/// A body broke off.
#[derive(Debug)]
pub(crate) struct Broken;

impl Script {
    pub(crate) fn frames<const N: usize>(frames: [&'static str; N]) -> Self {
        Self { frames: frames.map(|frame| Ok(frame.into())).into(), ..Self::default() }
    }

    pub(crate) fn then_breaks(mut self) -> Self {
        self.frames.push_back(Err(Broken));
        self
    }

    pub(crate) fn then_trailer(mut self, name: &'static str, value: &'static str) -> Self {
        let (name, value) = (HeaderName::from_static(name), HeaderValue::from_static(value));
        self.trailers.get_or_insert_default().insert(name, value);
        self
    }

    pub(crate) fn then_hangs(self) -> Self {
        Self { hangs: true, ..self }
    }
}

impl From<Bytes> for Script {
    fn from(bytes: Bytes) -> Self {
        Self { frames: [Ok(bytes)].into(), ..Self::default() }
    }
}

impl Body for Script {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match self.frames.pop_front() {
            Some(frame) => Poll::Ready(Some(frame.map(Frame::data))),
            None if self.hangs => Poll::Pending,
            None => Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && self.trailers.is_none() && !self.hangs
    }
}

pub(crate) fn request() -> Request<()> {
    Request::new(())
}

pub(crate) fn answer(status: StatusCode, body: Script) -> Response<Script> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

/// Reads as hyper does: never a body that says it is at its end, nor past the frame that makes it say so.
pub(crate) async fn read<B: Body + Unpin>(body: &mut B) -> Result<(), B::Error> {
    while !body.is_end_stream() {
        match body.frame().await {
            Some(frame) => drop(frame?),
            None => return Ok(()),
        }
    }
    Ok(())
}

/// A future that a test polls by hand.
pub(crate) struct ByHand<F>(Pin<Box<F>>);

pub(crate) fn by_hand<F: Future>(future: F) -> ByHand<F> {
    ByHand(Box::pin(future))
}

impl<F: Future> ByHand<F> {
    pub(crate) async fn poll_once(&mut self) -> Poll<F::Output> {
        poll_fn(|cx| Poll::Ready(self.0.as_mut().poll(cx))).await
    }
}

pub(crate) async fn poll_ready<S: Service<Request<()>>>(
    service: &mut S,
) -> Poll<Result<(), S::Error>> {
    poll_fn(|cx| Poll::Ready(service.poll_ready(cx))).await
}
