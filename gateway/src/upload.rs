//! The body of a request on its way from the client to the upstream.
//!
//! An [`Upload`] is the client's body under the gateway's bounds: a number of bytes, and a time between two pieces. Its
//! errors are always the client's fault and say so by type ([`BodyFault`]), because a fault that a client makes must never
//! look like one of an upstream.
//!
//! An upload that is dropped before its end, because the request was refused or the upstream answered early, is read to its
//! end and thrown away (bounded by `limits::LINGER`): that of HTTP/1 by its connection, that of HTTP/2 on a task of its own.
//! Without that the server would close a connection, or reset a stream, on which the client is still sending, and the answer
//! that the client has not read yet would be lost.

use std::{
    pin::Pin,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::{Instant, Sleep};

use crate::{
    failure::BodyFault,
    limits::{LINGER, LINGER_BYTES_MAX, WITHHELD},
    server::{
        http2::pulse::{InFlight, Pulse},
        inbound::Inbound,
    },
    trailers::Allowed,
};

/// A client's body under bounds.
#[derive(Debug)]
pub struct Upload(Option<Box<Inner>>);

#[derive(Debug)]
struct Inner {
    body: Inbound,
    bytes_left: u64,
    idle: Duration,
    timer: Option<Pin<Box<Sleep>>>,
    progress: Progress,
    /// Whether its client may send it only once it is told to, and this protocol has no way to tell it (HTTP/2).
    withheld: bool,
    /// Whether its protocol marks the end (HTTP/2), so that an end without a mark is a client that gave up.
    says_end: bool,
    /// Fields behind the body that its upstream may get.
    trailers: Allowed,
    /// Keeps the connection from counting as at rest, also while the upload is read for nothing.
    in_flight: Option<InFlight>,
}

/// What others may know of an upload that is on its way.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<State>);

#[derive(Debug, Default)]
struct State {
    over: OnceLock<Instant>,
    fault: OnceLock<BodyFault>,
    waiting: AtomicBool,
}

impl Progress {
    /// Whether nobody reads the upload any more: it was sent whole, or given up.
    pub fn is_over(&self) -> bool {
        self.0.over.get().is_some()
    }

    /// Since when nobody reads it any more.
    pub fn over_since(&self) -> Option<Instant> {
        self.0.over.get().copied()
    }

    /// Whether the next piece is the client's to send. Otherwise the upstream doesn't take the last one.
    pub fn waits_for_client(&self) -> bool {
        self.0.waiting.load(Ordering::Acquire)
    }

    /// What the client did wrong with it: broke it, let it stop, or made it too large.
    pub fn fault(&self) -> Option<BodyFault> {
        self.0.fault.get().copied()
    }

    /// What the client is to blame for, if it is the one who is waited for now: whoever else gave up waited for it, too.
    pub fn delay(&self) -> Option<BodyFault> {
        let waits = !self.is_over() && self.waits_for_client();
        self.fault().or(waits.then_some(BodyFault::Stalled))
    }
}

impl Upload {
    /// A body under these bounds. One that is empty costs nothing.
    ///
    /// # Errors
    /// A body that says beforehand that it is too large.
    pub fn new(
        body: Inbound,
        bytes_max: u64,
        idle: Duration,
        expects_continue: bool,
        says_end: bool,
        pulse: &Arc<Pulse>,
    ) -> Result<Self, BodyFault> {
        if body.is_end_stream() {
            return Ok(Self::empty());
        }
        let too_large = body.size_hint().lower() > bytes_max;
        let progress = Progress::default();
        let inner = Inner {
            body,
            bytes_left: bytes_max,
            idle,
            timer: None,
            progress,
            withheld: expects_continue && says_end,
            says_end,
            trailers: Allowed::NONE,
            in_flight: says_end.then(|| pulse.begin()),
        };
        let upload = Self(Some(Box::new(inner)));
        if too_large { Err(BodyFault::TooLarge) } else { Ok(upload) }
    }

    /// No body.
    pub const fn empty() -> Self {
        Self(None)
    }

    /// Lowers the bound, once it is known which route takes the body.
    ///
    /// # Errors
    /// A body that says beforehand that it is larger.
    pub fn limit(&mut self, bytes_max: u64) -> Result<(), BodyFault> {
        let Some(inner) = &mut self.0 else { return Ok(()) };
        inner.bytes_left = inner.bytes_left.min(bytes_max);
        if inner.body.size_hint().lower() > inner.bytes_left {
            Err(BodyFault::TooLarge)
        } else {
            Ok(())
        }
    }

    /// Lets these fields behind the body through. Without it none is.
    pub fn allow(&mut self, trailers: Allowed) {
        if let Some(inner) = &mut self.0 {
            inner.trailers = trailers;
        }
    }

    /// How far it is, for whoever answers while it is still coming. Nothing for a request without a body.
    pub fn progress(&self) -> Option<Progress> {
        self.0.as_ref().map(|inner| inner.progress.clone())
    }
}

impl Inner {
    fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        self.progress.0.waiting.store(frame.is_pending(), Ordering::Release);
        let Poll::Ready(frame) = frame else {
            return self.poll_stalled(cx).map(|fault| Some(Err(fault)));
        };
        self.timer = None;
        self.withheld = false;
        Poll::Ready(match frame {
            None if self.says_end && !self.body.is_end_stream() => Some(Err(BodyFault::Broken)),
            None => None,
            Some(Err(_)) => Some(Err(BodyFault::Broken)),
            Some(Ok(frame)) => match frame.into_trailers() {
                Err(frame) => Some(self.count(frame)),
                Ok(trailers) => match self.trailers.keep(&trailers) {
                    Ok(kept) => kept.map(|kept| Ok(Frame::trailers(kept))),
                    Err(_) => Some(Err(BodyFault::Broken)),
                },
            },
        })
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<BodyFault> {
        let (patience, fault) = if self.withheld && WITHHELD < self.idle {
            (WITHHELD, BodyFault::Withheld)
        } else {
            (self.idle, BodyFault::Stalled)
        };
        let timer = self.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        timer.as_mut().poll(cx).map(|()| fault)
    }

    fn count(&mut self, frame: Frame<Bytes>) -> Result<Frame<Bytes>, BodyFault> {
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        self.bytes_left = self.bytes_left.checked_sub(length).ok_or(BodyFault::TooLarge)?;
        Ok(frame)
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = BodyFault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyFault>>> {
        let Some(inner) = &mut self.0 else { return Poll::Ready(None) };
        let frame = ready!(inner.poll_frame(cx));
        if let Some(Err(fault)) = &frame {
            let _ = inner.progress.0.fault.set(*fault);
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_ref().is_none_or(|inner| inner.body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        self.0.as_ref().map_or_else(|| SizeHint::with_exact(0), |inner| inner.body.size_hint())
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        let Some(inner) = self.0.take() else { return };
        let _ = inner.progress.0.over.set(Instant::now());
        let done = inner.body.is_end_stream() || inner.progress.fault().is_some();
        // The connection of an HTTP/1 body reads the rest by itself.
        let by_itself = !matches!(inner.body, Inbound::Http2(_));
        if !done && !inner.withheld && !by_itself && tokio::runtime::Handle::try_current().is_ok() {
            tokio::spawn(linger(inner.body, inner.in_flight));
        }
    }
}

/// Reads the rest of a body for nothing, within bounds.
async fn linger(mut body: Inbound, _in_flight: Option<InFlight>) {
    let deadline = Instant::now() + LINGER;
    let mut left = LINGER_BYTES_MAX;
    while let Ok(Some(Ok(frame))) = tokio::time::timeout_at(deadline, body.frame()).await {
        let length = frame.data_ref().map_or(0, |data| data.len() as u64);
        let Some(rest) = left.checked_sub(length) else { return };
        left = rest;
    }
}

impl std::fmt::Display for BodyFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        crate::failure::Failure::Body(*self).fmt(f)
    }
}

impl std::error::Error for BodyFault {}
