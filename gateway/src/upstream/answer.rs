//! The body of an upstream's answer on its way to the client.
//!
//! Reading it drives its connection. When it ends, the connection goes back to its pool, at the very moment at which
//! `is_end_stream` turns true, because nobody polls a body after that. When it is dropped before, its connection is dropped
//! with it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::Instant;

use super::{
    lane::{Detached, Lane},
    pool::Pool,
};
use crate::{
    failure::{BodyFault, Failure, UpstreamFault},
    upload::Progress,
};

/// A response body, with the connection that it comes from.
#[derive(Debug)]
pub struct Answer {
    body: Incoming,
    lane: Option<Box<Lane>>,
    source: Source,
    /// The time between two pieces.
    idle: Duration,
    /// Whether the lane's timer stands for the piece that is waited for. It is only set once there is something to wait
    /// for, and most answers come whole.
    timed: bool,
}

/// What becomes of the connection at the end.
#[derive(Debug)]
enum Source {
    /// It is driven by this body and goes back to the pool.
    Pooled(Arc<Pool>),
    /// A task drives it, because the request's body was still on its way. It ends with the answer.
    Detached { upload: Progress, _task: Option<Detached> },
    /// It is back in the pool, or lost.
    Released,
}

impl Answer {
    /// A body that drives `lane` and gives it back to `pool`.
    pub fn pooled(body: Incoming, lane: Box<Lane>, pool: Arc<Pool>, idle: Duration) -> Self {
        let mut answer =
            Self { body, lane: Some(lane), source: Source::Pooled(pool), idle, timed: false };
        if answer.body.is_end_stream() {
            answer.release();
        }
        answer
    }

    /// A body whose connection is on a task, for an answer that came before the upload's end.
    pub fn detached(body: Incoming, mut lane: Box<Lane>, upload: Progress, idle: Duration) -> Self {
        let source = Source::Detached { upload, _task: lane.detach() };
        Self { body, lane: Some(lane), source, idle, timed: false }
    }

    /// The body is over: the connection is free, or its upload is no longer wanted.
    fn release(&mut self) {
        let lane = self.lane.take();
        if let (Source::Pooled(pool), Some(lane)) =
            (std::mem::replace(&mut self.source, Source::Released), lane)
        {
            pool.put(lane);
        }
    }

    fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { body, lane, source, .. } = self;
        match (lane, source) {
            (Some(lane), Source::Pooled(_)) => {
                // The first poll says that we want data, the second finds what the I/O between them brought.
                if let Poll::Ready(frame) =
                    lane.poll_without_io(cx, |cx| Pin::new(&mut *body).poll_frame(cx))
                {
                    return Poll::Ready(frame);
                }
                lane.poll_with_io(cx, |cx| Pin::new(&mut *body).poll_frame(cx))
            }
            _ => Pin::new(body).poll_frame(cx),
        }
    }

    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(lane) = &mut self.lane else { return Poll::Pending };
        if !self.timed {
            self.timed = true;
            lane.set_deadline(Instant::now() + self.idle);
        }
        lane.poll_deadline(cx)
    }

    /// Whose fault a broken body is. A client that breaks its own upload breaks the connection that carries it.
    fn blame(&self) -> Failure {
        match &self.source {
            Source::Detached { upload, .. } if upload.is_faulty() => {
                Failure::Body(BodyFault::Broken)
            }
            _ => Failure::Upstream(UpstreamFault::BodyCut),
        }
    }
}

impl Body for Answer {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let Poll::Ready(frame) = self.poll_body(cx) else {
            return self
                .poll_stalled(cx)
                .map(|()| Some(Err(Failure::Upstream(UpstreamFault::BodyTimeout))));
        };
        Poll::Ready(match frame {
            Some(Ok(frame)) => {
                self.timed = false;
                if self.body.is_end_stream() {
                    self.release();
                }
                Some(Ok(frame))
            }
            Some(Err(_)) => Some(Err(self.blame())),
            None => {
                self.release();
                None
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
