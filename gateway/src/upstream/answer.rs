//! The body of an upstream's answer on its way to the client.
//!
//! Reading it drives its connection. When it ends, the connection goes back to its pool, at the very moment at which
//! `is_end_stream` turns true, because nobody polls a body after that. When it is dropped before, its connection is dropped
//! with it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use super::{
    lane::{Detached, Lane},
    pool::Pool,
};
use crate::{
    failure::{Failure, UpstreamFault},
    trailers::Allowed,
    upload::Progress,
};

/// A response body, with the connection that it comes from.
#[derive(Debug)]
pub struct Answer {
    /// Gone when the body is over.
    lane: Option<Box<Lane>>,
    end: End,
    /// The request's body, which a client may have broken.
    upload: Option<Progress>,
    /// Fields behind the body that its client may get.
    trailers: Allowed,
    /// The time between two pieces.
    idle: Duration,
    /// Whether the lane's timer stands for the piece that is waited for. It is only set once there is something to wait
    /// for, and most answers come whole.
    timed: bool,
}

/// What becomes of the connection at the end.
#[derive(Debug)]
enum End {
    /// It goes back to the pool.
    Pooled(Arc<Pool>),
    /// It ends, and with it the upload that a task was still sending.
    Early(Option<Detached>),
}

impl Answer {
    /// A body whose lane goes back to `pool`.
    pub fn pooled(
        lane: Box<Lane>,
        upload: Option<Progress>,
        pool: Arc<Pool>,
        idle: Duration,
    ) -> Self {
        Self::new(lane, End::Pooled(pool), upload, idle)
    }

    /// A body that came before the request's end, which a task goes on sending.
    pub fn early(mut lane: Box<Lane>, upload: Option<Progress>, idle: Duration) -> Self {
        let end = End::Early(lane.detach());
        Self::new(lane, end, upload, idle)
    }

    fn new(lane: Box<Lane>, end: End, upload: Option<Progress>, idle: Duration) -> Self {
        let trailers = Allowed::NONE;
        let mut answer = Self { lane: Some(lane), end, upload, trailers, idle, timed: false };
        answer.release_if_over();
        answer
    }

    /// Lets these fields behind the body through. Without it none is.
    pub fn with_trailers(mut self, allowed: Allowed) -> Self {
        self.trailers = allowed;
        self
    }

    /// What of a frame the client gets; nothing when it is over with that.
    fn pass(&self, frame: Frame<Bytes>) -> Option<Result<Frame<Bytes>, Failure>> {
        match frame.into_trailers() {
            Err(frame) => Some(Ok(frame)),
            Ok(trailers) => match self.trailers.keep(&trailers) {
                Ok(kept) => kept.map(|kept| Ok(Frame::trailers(kept))),
                Err(_) => Some(Err(Failure::Upstream(UpstreamFault::BodyCut))),
            },
        }
    }

    /// Lets go of the connection when the body is over.
    fn release_if_over(&mut self) {
        if !self.lane.as_ref().is_some_and(|lane| lane.body_is_over()) {
            return;
        }
        let lane = self.lane.take();
        match &mut self.end {
            End::Pooled(pool) => lane.into_iter().for_each(|lane| pool.put(lane)),
            End::Early(sending) => *sending = None,
        }
    }

    /// Whose fault a broken or silent body is. A client that breaks its own upload breaks the connection that carries it, and
    /// an upstream that echoes what it gets is as slow as its client.
    fn blame(&self, fault: UpstreamFault) -> Failure {
        let of_client = self.upload.as_ref().and_then(Progress::delay);
        of_client.map_or(Failure::Upstream(fault), Failure::Body)
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let this = &mut *self;
        let Some(lane) = &mut this.lane else { return Poll::Ready(None) };
        let Poll::Ready(piece) = lane.poll_body(cx) else {
            if !this.timed {
                this.timed = true;
                lane.set_deadline(Instant::now() + this.idle);
            }
            ready!(lane.poll_deadline(cx));
            return Poll::Ready(Some(Err(this.blame(UpstreamFault::BodyTimeout))));
        };
        this.timed = false;
        Poll::Ready(match piece {
            Some(Err(fault)) => {
                this.lane = None;
                Some(Err(this.blame(fault)))
            }
            Some(Ok(frame)) => {
                let passed = this.pass(frame);
                match passed {
                    // Who says more than it may behind one answer isn't asked for another.
                    Some(Err(_)) => this.lane = None,
                    _ => this.release_if_over(),
                }
                passed
            }
            None => {
                this.release_if_over();
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.lane.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let Some(lane) = &self.lane else { return SizeHint::with_exact(0) };
        lane.body_length().map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}
