//! Opens a connection to an upstream, in time.

use std::{io, time::Duration};

use http::uri::Authority;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::lane::Lane;
use crate::{
    failure::UpstreamFault,
    limits::{UPSTREAM_HEAD_BYTES_MAX, UPSTREAM_HEADERS_MAX},
};

/// A new connection, ready for its first request.
///
/// # Errors
/// Nobody listens there, or not in time.
pub async fn connect(address: &Authority, timeout: Duration) -> Result<Box<Lane>, UpstreamFault> {
    let stream = tokio::time::timeout(timeout, open(address))
        .await
        .map_err(|_| UpstreamFault::ConnectTimeout)?;
    let stream = stream.map_err(|_| UpstreamFault::Unreachable)?;
    let mut http1 = http1::Builder::new();
    http1.max_headers(UPSTREAM_HEADERS_MAX).max_buf_size(UPSTREAM_HEAD_BYTES_MAX);
    let (sender, connection) =
        http1.handshake(TokioIo::new(stream)).await.map_err(|_| UpstreamFault::Unreachable)?;
    Ok(Box::new(Lane::new(sender, connection)))
}

async fn open(address: &Authority) -> io::Result<TcpStream> {
    let host = address.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, address.port_u16().unwrap_or(80))).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
