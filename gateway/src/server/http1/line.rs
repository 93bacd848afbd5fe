//! A connection's socket, and what was read from it ahead.
//!
//! The connection and the body of the request that it serves both read from it, one after the other; a body may do so from
//! another task, when its upstream answers early. The lock is never contended for longer than a poll: what is behind it are
//! moves of bytes, and nothing awaits under it.

use std::{
    io,
    pin::Pin,
    sync::{Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use bytes::{Bytes, BytesMut};
use http_body::Frame;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::poll_read_buf;

use super::body::Broken;
use crate::wire::body::{Body, Found};

/// What is read at once: heads and small bodies fit, and uploads grow it.
const READ_BYTES: usize = 4 * 1024;
/// What an upload grows it to.
const READ_BYTES_MAX: usize = 64 * 1024;

/// The socket with the state of reading. See the [module](self).
#[derive(Debug)]
pub(super) struct Line<I>(Mutex<Reading<I>>);

#[derive(Debug)]
pub(super) struct Reading<I> {
    pub(super) io: I,
    pub(super) ahead: BytesMut,
    read_bytes: usize,
    pub(super) body: Body,
    pub(super) upload: Upload,
}

/// The body that is being read, as its connection sees it.
#[derive(Debug, Default)]
pub(super) struct Upload {
    /// Whether someone holds it.
    pub(super) held: bool,
    /// Whether whoever holds it waits for a piece of it.
    pub(super) awaited: bool,
    /// Whether the client waits for the go-ahead.
    pub(super) waits: bool,
    /// Whether someone asked for it, so that the client is to be told to go ahead.
    pub(super) asked: bool,
    /// Whether the client broke it, or is gone.
    pub(super) broken: bool,
    /// Who drives the connection, and waits for the body to be over or asked for.
    pub(super) driver: Option<Waker>,
}

impl<I> Line<I> {
    /// A line of which some bytes were read before.
    pub(super) fn new(io: I, seen: &[u8]) -> Self {
        let ahead = BytesMut::from(seen);
        Self(Mutex::new(Reading {
            io,
            ahead,
            read_bytes: READ_BYTES,
            body: Body::NONE,
            upload: Upload::default(),
        }))
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Reading<I>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<I: AsyncRead + Unpin> Reading<I> {
    /// Reads what has come. 0 is the end.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.ahead.reserve(self.read_bytes);
        let room = self.ahead.capacity() - self.ahead.len();
        let count = ready!(poll_read_buf(Pin::new(&mut self.io), cx, &mut self.ahead))?;
        if count == room {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        }
        Poll::Ready(Ok(count))
    }

    /// The connection is at rest: gives back the room that an upload took.
    pub(super) fn rest(&mut self) {
        if self.read_bytes > READ_BYTES && self.ahead.is_empty() {
            (self.ahead, self.read_bytes) = (BytesMut::new(), READ_BYTES);
        }
    }

    /// The next piece of the body, or the fields behind it.
    pub(super) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        if self.upload.broken {
            return Poll::Ready(Some(Err(Broken)));
        }
        loop {
            match self.body.read(&mut self.ahead) {
                Ok(Found::Piece(piece)) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                Ok(Found::Trailers(fields)) => {
                    return Poll::Ready(Some(Ok(Frame::trailers(*fields))));
                }
                Ok(Found::End) => return Poll::Ready(None),
                Ok(Found::More) => match ready!(self.poll_fill(cx)) {
                    Ok(1..) => {}
                    Ok(0) | Err(_) => break,
                },
                Err(_) => break,
            }
        }
        self.upload.broken = true;
        Poll::Ready(Some(Err(Broken)))
    }

    /// Ready when nothing more comes: by its end, or by an error with a client that is gone for certain. What comes instead, the
    /// next request or a body that nobody has asked for yet, waits: so much of it is read as fits where a head would.
    pub(super) fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while self.ahead.len() < READ_BYTES {
            if ready!(self.poll_fill(cx))? == 0 {
                return Poll::Ready(Ok(()));
            }
        }
        Poll::Pending
    }

    /// Reads for nothing what of the body has come, and says how much it was.
    pub(super) fn discard(&mut self, cx: &mut Context<'_>) -> u64 {
        let mut length = 0;
        while let Poll::Ready(Some(Ok(frame))) = self.poll_frame(cx) {
            length += frame.data_ref().map_or(0, |piece| piece.len() as u64);
        }
        length
    }
}

/// A line as a body sees it, whatever the socket is.
pub(super) trait Source: Send + Sync + std::fmt::Debug {
    /// The next piece, or the fields behind the last, for whoever holds the body.
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>>;
    /// What is left of the body.
    fn left(&self) -> Body;
    /// Nobody holds the body any longer.
    fn let_go(&self);
}

impl<I: AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug> Source for Line<I> {
    fn poll_frame(&self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Broken>>> {
        let mut reading = self.lock();
        if reading.upload.waits && !reading.upload.asked {
            reading.upload.asked = true;
            reading.upload.wake();
        }
        let frame = reading.poll_frame(cx);
        reading.upload.awaited = frame.is_pending();
        if reading.body.is_over() || reading.upload.broken {
            reading.upload.wake();
        }
        frame
    }

    fn left(&self) -> Body {
        self.lock().body
    }

    fn let_go(&self) {
        let mut reading = self.lock();
        reading.upload.held = false;
        reading.upload.wake();
    }
}

impl Upload {
    fn wake(&mut self) {
        if let Some(driver) = self.driver.take() {
            driver.wake();
        }
    }
}
