//! Opens a connection to an upstream, in time.

use std::{io, time::Duration};

use http::uri::Authority;
use tokio::net::TcpStream;

use super::lane::Lane;
use crate::failure::UpstreamFault;

/// A new connection, ready for its first request.
///
/// # Errors
/// Nobody listens there, or not in time.
pub async fn connect(address: &Authority, timeout: Duration) -> Result<Box<Lane>, UpstreamFault> {
    let opened = tokio::time::timeout(timeout, open(address)).await;
    let stream = opened.map_err(|_| UpstreamFault::ConnectTimeout)?;
    Ok(Box::new(Lane::new(stream.map_err(|_| UpstreamFault::Unreachable)?)))
}

async fn open(address: &Authority) -> io::Result<TcpStream> {
    let host = address.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, address.port_u16().unwrap_or(80))).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
