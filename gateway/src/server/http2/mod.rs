//! HTTP/2 from clients (h2c with prior knowledge): hyper's server under our bounds.
//!
//! What hyper and h2 bound by themselves is stated here, setting by setting, with its reason, so that a new default changes
//! nothing; what they leave open has a file of its own beside this one.

mod connection;
mod opened;

use std::{convert::Infallible, pin::pin, sync::Arc};

use http::{Request, Response};
use http_body::Body;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use self::{connection::Served, opened::Opened};
use super::{
    connection::Bounds,
    drain::Drain,
    inbound::Inbound,
    preface::Preface,
    pulse::{Patience, Pulse, Watch},
};
use crate::limits;

/// hyper's HTTP/2 with our bounds, made once and shared by all connections of a worker.
#[derive(Debug, Clone)]
pub struct Http2 {
    builder: http2::Builder<TokioExecutor>,
    patience: Patience,
}

impl Http2 {
    /// HTTP/2 under these bounds.
    pub fn new(bounds: &Bounds) -> Self {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder.timer(TokioTimer::new()).keep_alive_interval(limits::H2_KEEP_ALIVE);
        builder.keep_alive_timeout(limits::H2_KEEP_ALIVE);
        builder.max_concurrent_streams(limits::H2_STREAMS_MAX);
        builder.initial_stream_window_size(limits::H2_STREAM_WINDOW);
        builder.initial_connection_window_size(limits::H2_CONNECTION_WINDOW);
        builder.max_pending_accept_reset_streams(limits::H2_PENDING_RESETS_MAX);
        builder.max_header_list_size(u32::try_from(bounds.head.bytes_max).unwrap_or(u32::MAX));
        Self { builder, patience: bounds.patience }
    }

    /// Serves one connection to its end. Its errors are not told: not one of them is ours or an upstream's.
    pub async fn serve<I, A, F, B>(
        &self,
        preface: Preface<I>,
        pulse: Arc<Pulse>,
        answer: A,
        drain: Drain,
    ) where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        A: Fn(Request<Inbound>) -> F + Send + 'static,
        F: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
        B: Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        pulse.start(false);
        let watch = Watch::new(pulse.clone(), self.patience);
        let io = TokioIo::new(Opened::new(preface, pulse));
        let service = service_fn(move |request: Request<Incoming>| {
            answer(request.map(|body| match body.is_end_stream() {
                true => Inbound::Empty,
                false => Inbound::Http2(body),
            }))
        });
        let connection = pin!(self.builder.serve_connection(io, service));
        Served::new(connection, http2::Connection::graceful_shutdown, watch, drain).await;
    }
}
