//! The body of a request as it arrives, whatever the protocol.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;

use super::http1;
use crate::wire::request::read::Fault;

/// A body from a client.
#[derive(Debug)]
pub enum Inbound {
    /// There is none.
    Empty,
    /// There is no request either: its head could not be read. It is answered, logged and counted like all others.
    Unreadable(Fault),
    /// HTTP/1.
    Http1(http1::Body),
    /// HTTP/2.
    Http2(Incoming),
}

/// The client broke its body, or is gone.
pub type Broken = http1::Broken;

impl Body for Inbound {
    type Data = Bytes;
    type Error = Broken;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        match &mut *self {
            Self::Empty | Self::Unreadable(_) => Poll::Ready(None),
            Self::Http1(body) => Pin::new(body).poll_frame(cx),
            Self::Http2(body) => Pin::new(body).poll_frame(cx).map_err(|_| http1::Broken),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty | Self::Unreadable(_) => true,
            Self::Http1(body) => body.is_end_stream(),
            Self::Http2(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty | Self::Unreadable(_) => SizeHint::with_exact(0),
            Self::Http1(body) => body.size_hint(),
            Self::Http2(body) => body.size_hint(),
        }
    }
}
