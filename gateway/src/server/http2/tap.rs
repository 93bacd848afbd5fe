//! Sees every frame that passes between a client and hyper, in both directions, and ends the connection of a client that
//! only makes work, or that begins with anything but its settings.
//!
//! hyper answers PING and SETTINGS without a bound and tells nobody of them, so they are looked at before it reads them. The
//! farewell (GOAWAY) is written here too, because hyper can't be asked for it: between two frames of ours it is a frame like
//! any other; within one, the client isn't reading, and is cut off.

use std::{
    io,
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    floods::Floods,
    frames::{Frame, Frames, kind},
    glitches::Glitches,
    opened::Opened,
    pulse::Pulse,
};
use crate::limits::H2_PREFACE;

const PROTOCOL_ERROR: u8 = 1;
const ENHANCE_YOUR_CALM: u8 = 11;

/// A connection whose frames are looked at.
#[derive(Debug)]
pub(super) struct Tap<I> {
    opened: Opened<I>,
    pulse: Arc<Pulse>,
    client: IpAddr,
    floods: Arc<Floods>,
    received: Frames,
    sent: Frames,
    glitches: Glitches,
    /// The last stream that the client opened.
    last_stream: u32,
    begins: Begins,
    ended: bool,
}

/// How a client's frames begin (RFC 9113, 3.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begins {
    Unknown,
    WithSettings,
    Otherwise,
}

impl<I> Tap<I> {
    /// Looks at the frames of a connection of which nothing was read but the preface.
    pub(super) fn new(
        opened: Opened<I>,
        pulse: Arc<Pulse>,
        client: IpAddr,
        floods: Arc<Floods>,
    ) -> Self {
        // From here to the end of its first frame, a client has the time of a head.
        pulse.unfinished(true);
        Self {
            opened,
            pulse,
            client,
            floods,
            received: Frames::behind(H2_PREFACE.len()),
            sent: Frames::default(),
            glitches: Glitches::default(),
            last_stream: 0,
            begins: Begins::Unknown,
            ended: false,
        }
    }

    /// The connection, for what comes after HTTP/2.
    pub(super) fn into_inner(self) -> Opened<I> {
        self.opened
    }

    fn receive(&mut self, bytes: &[u8]) {
        let now = self.pulse.age_millis();
        self.received.pass(bytes, |frame| {
            if self.begins == Begins::Unknown {
                let settings = frame.kind == kind::SETTINGS && !frame.is_ack();
                self.begins = if settings { Begins::WithSettings } else { Begins::Otherwise };
            }
            if frame.kind == kind::HEADERS {
                self.last_stream = self.last_stream.max(frame.stream);
            }
            self.glitches.received(frame, now);
        });
        let silent = self.begins == Begins::Unknown;
        self.pulse.unfinished(silent || self.received.is_unfinished());
    }

    fn send(&mut self, bytes: &[u8]) {
        let glitches = &mut self.glitches;
        let pulse = &self.pulse;
        self.sent.pass(bytes, |frame: &Frame| {
            if matches!(frame.kind, kind::DATA | kind::RST_STREAM) {
                glitches.sent(frame, pulse.age_millis());
            }
        });
    }
}

impl<I: AsyncWrite + Unpin> Tap<I> {
    /// Ends the connection if there is a reason to.
    fn judge(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let code = match (self.glitches.flood(), self.begins) {
            (Some(_), _) => ENHANCE_YOUR_CALM,
            (None, Begins::Otherwise) => PROTOCOL_ERROR,
            (None, _) => return Ok(()),
        };
        if !self.ended {
            self.ended = true;
            self.say_farewell(code, cx);
            if let Some(flood) = self.glitches.flood() {
                self.floods.count(flood, self.client);
            }
        }
        Err(io::ErrorKind::ConnectionAborted.into())
    }

    fn say_farewell(&mut self, code: u8, cx: &mut Context<'_>) {
        if !self.sent.is_between() {
            return;
        }
        let [s0, s1, s2, s3] = self.last_stream.to_be_bytes();
        let farewell = [0, 0, 8, kind::GOAWAY, 0, 0, 0, 0, 0, s0, s1, s2, s3, 0, 0, 0, code];
        // What does not go out at once is for a client that isn't reading.
        let _ = Pin::new(&mut self.opened).poll_write(cx, &farewell);
    }
}

impl<I: AsyncRead + AsyncWrite + Unpin> AsyncRead for Tap<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buf.filled().len();
        ready!(Pin::new(&mut this.opened).poll_read(cx, buf))?;
        this.receive(&buf.filled()[before..]);
        Poll::Ready(this.judge(cx))
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Tap<I> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.opened).poll_write(cx, bytes))?;
        self.send(&bytes[..written]);
        Poll::Ready(Ok(written))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(Pin::new(&mut self.opened).poll_write_vectored(cx, slices))?;
        let mut left = written;
        for slice in slices {
            let passed = slice.len().min(left);
            self.send(&slice[..passed]);
            left -= passed;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.opened.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // What was just written may have been the last straw, and nothing more need come.
        self.judge(cx)?;
        Pin::new(&mut self.opened).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.opened).poll_shutdown(cx)
    }
}
