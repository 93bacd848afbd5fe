//! One connection: hyper under our bounds, and a way to end it gracefully.

use std::{
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http_body::Body;
use hyper::{body::Incoming, server::conn::http1, service::Service};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::{
    drain::Drain,
    http2::Http2,
    preface::{self, Prefixed, Protocol},
    pulse::{Patience, Pulse, Watch},
};
use crate::limits;

/// The bounds of a connection.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// From accepting to the first byte (and to the end of an HTTP/2 preface).
    pub first_byte: Duration,
    /// Between two requests, and within a head.
    pub patience: Patience,
    /// Bytes of a head.
    pub head_bytes_max: usize,
    /// Fields of a head.
    pub headers_max: usize,
}

/// hyper's two protocols with our bounds, made once and shared by all connections of a worker.
#[derive(Debug, Clone)]
pub struct Protocols {
    http1: http1::Builder,
    http2: Http2,
    first_byte: Duration,
    patience: Patience,
}

impl Protocols {
    /// Protocols under these bounds.
    pub fn new(bounds: &Bounds) -> Self {
        let mut http1 = http1::Builder::new();
        // `pulse` has the time-outs of heads and rests; hyper's own costs a timer per request.
        http1.timer(TokioTimer::new()).header_read_timeout(None);
        http1.max_headers(bounds.headers_max).max_header_size(bounds.head_bytes_max);
        http1.max_buf_size(limits::H1_BUFFER_BYTES.max(bounds.head_bytes_max));
        // A client that closes has gone: its upstream call is cancelled. Half-closing clients are the rare case.
        http1.half_close(false);
        let http2 = Http2::new(bounds);
        Self { http1, http2, first_byte: bounds.first_byte, patience: bounds.patience }
    }

    /// Serves one connection to its end.
    pub async fn serve<S, B>(
        self: Arc<Self>,
        stream: TcpStream,
        pulse: Arc<Pulse>,
        service: S,
        mut drain: Drain,
    ) where
        S: Service<http::Request<Incoming>, Response = http::Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        B: Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let mut reading = pin!(preface::read(stream, self.first_byte, pulse.clone()));
        let preface = poll_fn(|cx| match reading.as_mut().poll(cx) {
            Poll::Pending if drain.poll_raised(cx) => Poll::Ready(None),
            preface => preface.map(Result::ok),
        });
        // Not one of these errors is ours or an upstream's: the client broke the protocol, was too slow, or went away.
        let Some((protocol, stream)) = preface.await else { return };
        match protocol {
            Protocol::Http1 => {
                let watch = Watch::new(pulse, self.patience);
                let io: TokioIo<Prefixed> = TokioIo::new(stream);
                let connection = pin!(self.http1.serve_connection(io, service));
                let tell = http1::Connection::graceful_shutdown;
                Served { connection, watch, drain, told: false, tell }.await;
            }
            Protocol::Http2 => self.http2.serve(stream, pulse, service, drain).await,
        }
    }
}

/// A connection that is told once to end gracefully, and closed when its client dawdles.
struct Served<'c, C> {
    connection: Pin<&'c mut C>,
    watch: Watch,
    drain: Drain,
    told: bool,
    tell: fn(Pin<&mut C>),
}

impl<C: Future> Future for Served<'_, C> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if !self.told && self.drain.poll_raised(cx) {
            self.told = true;
            let tell = self.tell;
            tell(self.connection.as_mut());
        }
        // The connection first: what can be answered in this very poll is answered.
        if self.connection.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        self.watch.poll_expired(cx)
    }
}
