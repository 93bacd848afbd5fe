//! What goes back towards the client: an upstream's answer or our own, and until it is rendered, a refusal.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use crate::failure::Failure;

/// An answer, and the route that gave it.
#[derive(Debug)]
pub struct Routed<B> {
    /// The answer.
    pub response: Response<Reply<B>>,
    /// Its route; nothing for the gateway's own paths.
    pub route: Option<usize>,
}

/// No answer, and the route that should have given one.
#[derive(Debug)]
pub struct Refusal {
    /// Why.
    pub failure: Failure,
    /// The route, if one was found.
    pub route: Option<usize>,
}

/// An answer in any case, and why if it is ours.
#[derive(Debug)]
pub struct Answered<B> {
    /// The answer.
    pub response: Response<Reply<B>>,
    /// The route, if one was found.
    pub route: Option<usize>,
    /// Why the gateway answered instead of an upstream.
    pub refusal: Option<&'static str>,
}

impl From<Failure> for Refusal {
    fn from(failure: Failure) -> Self {
        Self { failure, route: None }
    }
}

pin_project! {
    /// The body of an answer.
    #[derive(Debug)]
    #[project = ReplyProjection]
    pub enum Reply<B> {
        /// It comes through a route's stack.
        OfRoute { #[pin] body: B },
        /// It is ours.
        Own { bytes: Option<Bytes> },
    }
}

impl<B> Reply<B> {
    /// A body of a route.
    pub const fn of_route(body: B) -> Self {
        Self::OfRoute { body }
    }

    /// The same body, with `f` done to what comes through a route's stack.
    pub fn map<C>(self, f: impl FnOnce(B) -> C) -> Reply<C> {
        match self {
            Self::OfRoute { body } => Reply::OfRoute { body: f(body) },
            Self::Own { bytes } => Reply::Own { bytes },
        }
    }

    /// A body of our own.
    pub fn own(bytes: Bytes) -> Self {
        Self::Own { bytes: Some(bytes).filter(|bytes| !bytes.is_empty()) }
    }
}

impl<B: Body<Data = Bytes, Error = Failure>> Body for Reply<B> {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        match self.project() {
            ReplyProjection::OfRoute { body } => body.poll_frame(cx),
            ReplyProjection::Own { bytes } => {
                Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::OfRoute { body } => body.is_end_stream(),
            Self::Own { bytes } => bytes.is_none(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::OfRoute { body } => body.size_hint(),
            Self::Own { bytes } => {
                SizeHint::with_exact(bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
        }
    }
}
