//! HTTP/2 from clients (h2c with prior knowledge): hyper's server under our bounds.
//!
//! What hyper and h2 bound by themselves is stated here, setting by setting, with its reason, so that a new default changes
//! nothing. What they leave open has a file of its own:
//!
//! | what a client may do to hyper | what ends it |
//! |---|---|
//! | keep a connection without a stream | `connection`: a farewell after the idle time-out |
//! | keep a stream's window shut, or take nothing of its answer | `stream`: a time-out of the stream's own |
//! | send PING, SETTINGS and the like without end | `tap`, which counts them in `glitches` |
//! | begin a frame or a head and not end it | `tap`, which tells the pulse |
//! | spell fields as no HTTP/1 would, or send too many | `request` |

mod connection;
mod floods;
mod frames;
mod glitches;
mod opened;
pub mod pulse;
mod request;
mod stream;
mod tap;

use std::{convert::Infallible, pin::pin, sync::Arc};

use http::{Request, Response};
use http_body::Body;
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub use self::floods::Floods;
use self::{
    connection::Served,
    opened::Opened,
    pulse::Watch,
    stream::{Streams, in_pieces},
    tap::Tap,
};
use super::{
    connection::Bounds, drain::Drain, inbound::Inbound, patience::Patience, peer::Peer,
    preface::Preface,
};
use crate::limits;

/// hyper's HTTP/2 with our bounds, made once and shared by all connections of a worker.
#[derive(Debug, Clone)]
pub struct Http2 {
    builder: http2::Builder<Streams>,
    patience: Patience,
    headers_max: usize,
    floods: Arc<Floods>,
}

impl Http2 {
    /// HTTP/2 under these bounds, which counts floods there.
    pub fn new(bounds: &Bounds, floods: Arc<Floods>) -> Self {
        let mut builder = http2::Builder::new(Streams { patience: bounds.patience.write });
        // A peer that vanished without a word is asked for a sign of life; nothing else would notice it while a stream
        // waits for its upstream.
        builder.timer(TokioTimer::new()).keep_alive_interval(limits::H2_KEEP_ALIVE);
        builder.keep_alive_timeout(limits::H2_KEEP_ALIVE);
        // More are refused one by one (REFUSED_STREAM), which a client may repeat elsewhere.
        builder.max_concurrent_streams(limits::H2_STREAMS_MAX);
        // Fixed: a window that grows by itself is memory that a client decides on.
        builder.adaptive_window(false);
        builder.initial_stream_window_size(limits::H2_STREAM_WINDOW);
        builder.initial_connection_window_size(limits::H2_CONNECTION_WINDOW);
        // The smallest that RFC 9113 allows. A larger frame holds up the other streams, and has to be kept whole.
        builder.max_frame_size(limits::H2_FRAME_BYTES_MAX);
        builder.max_send_buf_size(limits::H2_SEND_BUFFER_BYTES);
        // A head that is larger, fields counted as RFC 9113 does (32 bytes more each), is a 431, and far beyond it the end.
        builder.max_header_list_size(u32::try_from(bounds.head.bytes_max).unwrap_or(u32::MAX));
        builder.header_table_size(limits::H2_HEADER_TABLE_BYTES);
        // Rapid reset in one burst, and streams that a client has us reset. Slower ones are counted in `glitches`.
        builder.max_pending_accept_reset_streams(limits::H2_PENDING_RESETS_MAX);
        builder.max_local_error_reset_streams(limits::H2_LOCAL_RESETS_MAX);
        // A recipient with a clock adds the field that an upstream left out (RFC 9110, 6.6.1).
        builder.auto_date_header(true);
        // `enable_connect_protocol` stays off: this gateway opens no tunnels, and a CONNECT with a protocol is malformed then.
        Self { builder, patience: bounds.patience, headers_max: bounds.head.headers_max, floods }
    }

    /// Serves one connection to its end. Its errors are not told: not one of them is ours or an upstream's.
    pub async fn serve<I, A, F, B>(&self, preface: Preface<I>, peer: &Peer, answer: A, drain: Drain)
    where
        I: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        A: Fn(Request<Inbound>) -> F + Send + 'static,
        F: Future<Output = Result<Response<B>, Infallible>> + Send + 'static,
        B: Body<Data = bytes::Bytes> + Send + 'static,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let pulse = &peer.pulse;
        pulse.rest();
        let watch = Watch::new(pulse.clone(), self.patience);
        let opened = Opened::new(preface, pulse.clone());
        let mut tap = Tap::new(opened, pulse.clone(), peer.ip, self.floods.clone());
        {
            let service = service_fn(|request: Request<Incoming>| {
                let request = request::inbound(request, self.headers_max);
                in_pieces(answer(request), pulse.clone())
            });
            let connection = self.builder.serve_connection(TokioIo::new(&mut tap), service);
            let tell = http2::Connection::graceful_shutdown;
            Served::new(pin!(connection), tell, watch, drain).await;
        }
        part(tap).await;
    }
}

/// Lets the client read what it was told last. A socket that is closed while bytes of the client are unread is reset, and
/// the reset overtakes the farewell.
async fn part<I: AsyncRead + AsyncWrite + Unpin>(tap: Tap<I>) {
    let mut opened = tap.into_inner();
    let mut unread = vec![0; 8 * 1024];
    let mut left = limits::FAREWELL_BYTES_MAX;
    let reading = async {
        // An error is a client that has gone already.
        let _ = opened.shutdown().await;
        while let Ok(count @ 1..) = opened.read(&mut unread).await
            && let Some(rest) = left.checked_sub(count)
        {
            left = rest;
        }
    };
    let _ = tokio::time::timeout(limits::FAREWELL, reading).await;
}
