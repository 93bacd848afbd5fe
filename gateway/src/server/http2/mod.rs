//! HTTP/2 from clients (h2c with prior knowledge): hyper's server under our bounds.
//!
//! What hyper and h2 bound by themselves is stated here, setting by setting, with its reason, so that a new default changes
//! nothing; what they leave open has a file of its own beside this one.

mod connection;

use std::{pin::pin, sync::Arc};

use http_body::Body;
use hyper::{body::Incoming, server::conn::http2, service::Service};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};

use self::connection::Served;
use super::{
    connection::Bounds,
    drain::Drain,
    preface::Prefixed,
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
        builder.max_header_list_size(u32::try_from(bounds.head_bytes_max).unwrap_or(u32::MAX));
        Self { builder, patience: bounds.patience }
    }

    /// Serves one connection to its end. Its errors are not told: not one of them is ours or an upstream's.
    pub async fn serve<S, B>(&self, stream: Prefixed, pulse: Arc<Pulse>, service: S, drain: Drain)
    where
        S: Service<http::Request<Incoming>, Response = http::Response<B>> + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
        B: Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let watch = Watch::new(pulse, self.patience);
        let connection = pin!(self.builder.serve_connection(TokioIo::new(stream), service));
        Served::new(connection, http2::Connection::graceful_shutdown, watch, drain).await;
    }
}
