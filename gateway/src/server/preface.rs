//! Tells HTTP/2 from HTTP/1 by the first bytes, under a time-out.
//!
//! A client that sends nothing, or only a part of the HTTP/2 preface, is gone after the time-out. What was read to find out
//! is handed on by [`Prefixed`].

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use super::pulse::Pulse;
use crate::limits::H2_PREFACE;

/// Which protocol a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge (h2c).
    Http2,
}

/// Reads until it is clear which protocol the client speaks.
///
/// # Errors
/// The client is gone, or silent for too long.
pub async fn read(
    mut stream: TcpStream,
    timeout: Duration,
    pulse: Arc<Pulse>,
) -> io::Result<(Protocol, Prefixed)> {
    let mut seen = [0; H2_PREFACE.len()];
    let mut length = 0;
    let protocol = tokio::time::timeout(timeout, async {
        loop {
            let more = stream.read(&mut seen[length..]).await?;
            if more == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            length += more;
            if seen[..length] != H2_PREFACE[..length] {
                return Ok(Protocol::Http1);
            }
            if length == H2_PREFACE.len() {
                return Ok(Protocol::Http2);
            }
        }
    });
    let protocol = protocol.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    pulse.start(protocol == Protocol::Http1);
    Ok((protocol, Prefixed { stream, seen, unread: 0..length, protocol, pulse }))
}

/// A connection of which some bytes were read before.
#[derive(Debug)]
pub struct Prefixed {
    stream: TcpStream,
    seen: [u8; H2_PREFACE.len()],
    unread: std::ops::Range<usize>,
    protocol: Protocol,
    pulse: Arc<Pulse>,
}

impl AsyncRead for Prefixed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            let read = Pin::new(&mut self.stream).poll_read(cx, buf);
            // In HTTP/2 any bytes may come at any time, and begin no head.
            if read.is_ready() && self.protocol == Protocol::Http1 {
                self.pulse.bytes();
            }
            return read;
        }
        let length = self.unread.len().min(buf.remaining());
        let start = self.unread.start;
        buf.put_slice(&self.seen[start..start + length]);
        self.unread.start += length;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Prefixed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.pulse.wrote(written.is_ready());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, slices);
        self.pulse.wrote(written.is_ready());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    async fn told(bytes: &[u8]) -> io::Result<(Protocol, Vec<u8>)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let mut client = TcpStream::connect(listener.local_addr()?).await?;
        let (server, _) = listener.accept().await?;
        client.write_all(bytes).await?;
        let (protocol, mut prefixed) =
            read(server, Duration::from_millis(200), Pulse::new()).await?;
        drop(client);
        let mut all = Vec::new();
        prefixed.read_to_end(&mut all).await?;
        Ok((protocol, all))
    }

    #[tokio::test]
    async fn protocols_are_told_apart_and_no_byte_is_lost() {
        let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(told(get).await.unwrap(), (Protocol::Http1, get.to_vec()));
        let post = b"POST / HTTP/1.1\r\n";
        assert_eq!(told(post).await.unwrap(), (Protocol::Http1, post.to_vec()));
        let h2 = [&H2_PREFACE[..], b"\0\0\0\x04\0"].concat();
        assert_eq!(told(&h2).await.unwrap(), (Protocol::Http2, h2));
    }

    #[tokio::test]
    async fn a_client_that_is_silent_or_stops_in_the_preface_is_given_up() {
        assert_eq!(told(b"").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
        assert_eq!(told(b"PRI * HT").await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    }
}
