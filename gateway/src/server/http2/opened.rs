//! The socket of an HTTP/2 connection: what was read to tell its protocol comes first, and its writes tell the pulse whether
//! the client takes them.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    super::preface::{Preface, Seen},
    pulse::Pulse,
};

/// A connection of which some bytes were read before.
#[derive(Debug)]
pub(super) struct Opened<I> {
    io: I,
    seen: Seen,
    /// How many of them were handed on.
    handed_on: usize,
    pulse: Arc<Pulse>,
}

impl<I> Opened<I> {
    pub(super) fn new(preface: Preface<I>, pulse: Arc<Pulse>) -> Self {
        Self { io: preface.io, seen: preface.seen, handed_on: 0, pulse }
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Opened<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let waiting = &this.seen.bytes()[this.handed_on..];
        if waiting.is_empty() {
            return Pin::new(&mut this.io).poll_read(cx, buf);
        }
        let length = waiting.len().min(buf.remaining());
        buf.put_slice(&waiting[..length]);
        this.handed_on += length;
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Opened<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        self.pulse.wrote(written.is_ready());
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, slices);
        self.pulse.wrote(written.is_ready());
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}
