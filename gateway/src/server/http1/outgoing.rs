//! An answer on its way to the socket: its head and its body, framed, in as few writes as possible.
//!
//! Head and first piece go together; small pieces are copied behind what waits already, large ones are written from where
//! they are.

use std::{
    io,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::HeaderMap;
use tokio::io::AsyncWrite;
use tokio_util::io::poll_write_buf;

use crate::wire::{
    response::write::{self, Framing},
    trailers,
};

/// Pieces up to this size are copied: it costs less than a second slice for the kernel.
const COPIED_MAX: usize = 8 * 1024;
/// What waits to be written before more of the body is asked for.
const WAITING_MAX: usize = 16 * 1024;

/// What is to be written, and what is still to come.
#[derive(Debug)]
pub(super) struct Outgoing {
    out: BytesMut,
    piece: Bytes,
    behind: &'static [u8],
    /// Nothing once the body has ended.
    framing: Option<Framing>,
    /// Bytes of the body that were promised and haven't come.
    promised: u64,
}

/// A body that is not what its head promised.
#[derive(Debug)]
pub(super) struct NotAsPromised;

impl Outgoing {
    pub(super) fn new() -> Self {
        Self { out: BytesMut::new(), piece: Bytes::new(), behind: b"", framing: None, promised: 0 }
    }

    /// Where a head is to be written.
    pub(super) const fn head(&mut self) -> &mut BytesMut {
        &mut self.out
    }

    /// The body that follows the head. Where there may be none, it has ended already.
    pub(super) const fn begin(&mut self, framing: Framing) {
        self.promised = if let Framing::Length(length) = framing { length } else { 0 };
        self.framing = if matches!(framing, Framing::None) { None } else { Some(framing) };
    }

    /// Whether no more of the body is to come.
    pub(super) const fn has_ended(&self) -> bool {
        self.framing.is_none()
    }

    /// Whether more of the body may be asked for.
    pub(super) fn has_room(&self) -> bool {
        self.piece.is_empty() && self.out.len() < WAITING_MAX
    }

    /// Whether all that is there was written.
    pub(super) fn is_empty(&self) -> bool {
        self.out.is_empty() && self.piece.is_empty() && self.behind.is_empty()
    }

    /// A piece of the body; only while there [is room](Self::has_room).
    pub(super) fn push(&mut self, data: Bytes) -> Result<(), NotAsPromised> {
        if data.is_empty() {
            return Ok(());
        }
        match self.framing {
            Some(Framing::Length(_)) => {
                self.promised =
                    self.promised.checked_sub(data.len() as u64).ok_or(NotAsPromised)?;
            }
            Some(Framing::Chunked) => write::chunk_size(&mut self.out, data.len()),
            Some(Framing::UntilClose) => {}
            Some(Framing::None) | None => return Err(NotAsPromised),
        }
        let behind: &[u8] = if self.framing == Some(Framing::Chunked) { b"\r\n" } else { b"" };
        if data.len() <= COPIED_MAX {
            self.out.reserve(data.len() + behind.len() + write::LAST_CHUNK.len());
            self.out.put_slice(&data);
            self.out.put_slice(behind);
        } else {
            self.piece = data;
            self.behind = behind;
        }
        Ok(())
    }

    /// The body is over.
    pub(super) fn end(&mut self) -> Result<(), NotAsPromised> {
        match self.framing.take() {
            Some(Framing::Chunked) if self.piece.is_empty() => {
                self.out.put_slice(write::LAST_CHUNK);
            }
            Some(Framing::Chunked) => self.behind = b"\r\n0\r\n\r\n",
            Some(Framing::Length(_)) if self.promised > 0 => return Err(NotAsPromised),
            _ => {}
        }
        Ok(())
    }

    /// The body is over, with fields behind it; only while there [is room](Self::has_room). They go nowhere where its framing
    /// has no place for them.
    pub(super) fn end_with(&mut self, trailers: &HeaderMap) -> Result<(), NotAsPromised> {
        if self.framing != Some(Framing::Chunked) {
            return self.end();
        }
        self.framing = None;
        trailers::write(&mut self.out, trailers);
        Ok(())
    }

    /// Writes what is there. Ready when something was written, or there is nothing.
    pub(super) fn poll_write<I: AsyncWrite + Unpin>(
        &mut self,
        io: &mut I,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        let written = if self.piece.is_empty() && self.behind.is_empty() {
            if self.out.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let written = ready!(Pin::new(io).poll_write(cx, &self.out))?;
            self.out.advance(written);
            written
        } else {
            let mut all = (&mut self.out).chain(&mut self.piece).chain(&mut self.behind);
            ready!(poll_write_buf(Pin::new(io), cx, &mut all))?
        };
        Poll::Ready(if written == 0 { Err(io::ErrorKind::WriteZero.into()) } else { Ok(()) })
    }

    /// The connection is at rest: keeps only as much room as the next answer is likely to take.
    pub(super) fn rest(&mut self) {
        if self.out.capacity() > WAITING_MAX {
            self.out = BytesMut::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    async fn written(outgoing: &mut Outgoing) -> String {
        let mut out = io::Cursor::new(Vec::new());
        while !outgoing.is_empty() {
            poll_fn(|cx| outgoing.poll_write(&mut out, cx)).await.unwrap();
        }
        String::from_utf8(out.into_inner()).unwrap()
    }

    #[tokio::test]
    async fn chunks_small_and_large_are_framed_and_ended() {
        for length in [3, COPIED_MAX + 1] {
            let mut outgoing = Outgoing::new();
            outgoing.begin(Framing::Chunked);
            outgoing.push(Bytes::from(vec![b'x'; length])).unwrap();
            outgoing.end().unwrap();
            let text = written(&mut outgoing).await;
            assert_eq!(text, format!("{length:x}\r\n{}\r\n0\r\n\r\n", "x".repeat(length)));
        }
    }

    #[tokio::test]
    async fn a_body_is_as_long_as_its_head_says_or_it_is_an_error() {
        let mut outgoing = Outgoing::new();
        outgoing.begin(Framing::Length(3));
        outgoing.push(Bytes::from_static(b"ab")).unwrap();
        assert!(outgoing.push(Bytes::from_static(b"cd")).is_err());
        outgoing.push(Bytes::from_static(b"c")).unwrap();
        outgoing.end().unwrap();
        assert_eq!(written(&mut outgoing).await, "abc");
        outgoing.begin(Framing::Length(3));
        outgoing.push(Bytes::from_static(b"ab")).unwrap();
        assert!(outgoing.end().is_err());
    }

    #[tokio::test]
    async fn fields_stand_behind_the_last_chunk_and_nowhere_else() {
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "7".parse().unwrap());
        let mut outgoing = Outgoing::new();
        outgoing.begin(Framing::Chunked);
        outgoing.push(Bytes::from_static(b"abc")).unwrap();
        outgoing.end_with(&trailers).unwrap();
        assert_eq!(written(&mut outgoing).await, "3\r\nabc\r\n0\r\nx-sum: 7\r\n\r\n");
        for framing in [Framing::UntilClose, Framing::Length(3), Framing::None] {
            outgoing.begin(framing);
            let _ = outgoing.push(Bytes::from_static(b"abc"));
            outgoing.end_with(&trailers).unwrap();
            assert!(!written(&mut outgoing).await.contains("x-sum"), "{framing:?}");
        }
    }

    #[test]
    fn where_no_body_may_be_it_has_ended_before_it_began() {
        let mut outgoing = Outgoing::new();
        outgoing.begin(Framing::None);
        assert!(outgoing.has_ended());
        assert!(outgoing.push(Bytes::from_static(b"abc")).is_err());
    }
}
