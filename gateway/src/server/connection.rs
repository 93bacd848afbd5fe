//! One connection: told apart by its first bytes, and served by its protocol under our bounds.

use std::{
    convert::Infallible, fmt, future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration,
};

use http::{Request, Response};
use http_body::Body;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{
    drain::Drain,
    http1,
    http2::{Floods, Http2},
    inbound::Inbound,
    patience::Patience,
    peer::Peer,
    preface::{self, Protocol},
};
use crate::wire::request::read::HeadBounds;

/// The bounds of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// From accepting to the first byte (and to the end of an HTTP/2 preface).
    pub first_byte: Duration,
    /// Between two requests, and within a head.
    pub patience: Patience,
    /// How large a head may be.
    pub head: HeadBounds,
}

/// Both protocols under our bounds, made once and shared by all connections of a worker.
#[derive(Debug, Clone)]
pub struct Protocols {
    bounds: Bounds,
    http2: Http2,
}

impl Protocols {
    /// Protocols under these bounds. Floods of HTTP/2 are counted where all workers count them.
    pub fn new(bounds: Bounds, floods: Arc<Floods>) -> Self {
        Self { bounds, http2: Http2::new(&bounds, floods) }
    }

    /// Serves one connection to its end. Its errors are not told: not one of them is ours or an upstream's. The client broke
    /// the protocol, was too slow, or went away.
    pub async fn serve<I, A, F, B>(
        self: Arc<Self>,
        io: I,
        peer: Arc<Peer>,
        answer: A,
        mut drain: Drain,
    ) where
        I: AsyncRead + AsyncWrite + Unpin + Send + fmt::Debug + 'static,
        A: Fn(Request<Inbound>) -> F + Send + 'static,
        F: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
        B: Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let preface = {
            let mut reading = pin!(preface::read(io, self.bounds.first_byte));
            let preface = poll_fn(|cx| match reading.as_mut().poll(cx) {
                Poll::Pending if drain.poll_raised(cx) => Poll::Ready(None),
                preface => preface.map(Result::ok),
            });
            preface.await
        };
        let Some(preface) = preface else { return };
        match preface.protocol {
            Protocol::Http1 => {
                let bounds =
                    http1::Bounds { head: self.bounds.head, patience: self.bounds.patience };
                http1::serve(preface.io, preface.seen.bytes(), bounds, drain, answer).await;
            }
            Protocol::Http2 => self.http2.serve(preface, &peer, answer, drain).await,
        }
    }
}
