//! One connection to an upstream, and the one request that it carries.
//!
//! A lane is driven by whoever waits for it: the request's own future, then the body of its answer. There is no task behind
//! it and no channel, so nothing is woken but the request's task, and only by the socket. A dropped request drops its lane,
//! and so its connection; that is what cancelling should do.
//!
//! The one case in which the answer must not drive the rest is an early one: while the request body still has bytes to send,
//! a client that reads nothing before it has sent everything would stop both. Then [`Lane::detach`] gives the sending half
//! to a task.

use std::{
    io,
    mem::MaybeUninit,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes, BytesMut};
use http::{Method, Request};
use http_body::{Body as _, Frame};
use socket2::SockRef;
use tokio::{
    io::AsyncWrite,
    net::{
        TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    task::{AbortHandle, unconstrained},
    time::{Instant, Sleep},
};
use tokio_util::io::{poll_read_buf, poll_write_buf};

use crate::{
    failure::{BodyFault, UpstreamFault},
    limits::INFORMATIONAL_MAX,
    upload::Upload,
    wire::{
        body::{Body, Found},
        request::write::{self, Framing},
        response::read::{self, Head},
        trailers,
    },
};

/// What is read at once: small answers fit, and large ones grow it.
const READ_BYTES: usize = 8 * 1024;
/// What a large answer grows it to.
const READ_BYTES_MAX: usize = 64 * 1024;

/// A connection that is driven by its user.
#[derive(Debug)]
pub struct Lane {
    socket: Socket,
    read: BytesMut,
    read_bytes: usize,
    sending: Sending,
    receiving: Receiving,
    /// The lane's one timer. It is moved, not made, per request: pushing a registered timer back costs one atomic write.
    timer: Pin<Box<Sleep>>,
}

#[derive(Debug)]
enum Socket {
    Whole(TcpStream),
    /// The other half is with a task.
    Reading(OwnedReadHalf),
    /// Between two states.
    Gone,
}

/// The request on its way out.
#[derive(Debug, Default)]
struct Sending {
    /// Bytes of the head, or in front of a piece.
    before: BytesMut,
    piece: Bytes,
    behind: &'static [u8],
    upload: Option<(Upload, Framing)>,
    /// What the head promised of a body with a length, and was not sent yet.
    promised: u64,
    /// Whether a byte of the request was written.
    begun: bool,
    /// Whether the connection took no more.
    failed: bool,
}

/// The answer on its way in.
#[derive(Debug)]
struct Receiving {
    method: Method,
    body: Body,
    /// Whether the connection can carry one more request after this answer.
    keeps: bool,
    /// Whether a byte of the answer was read.
    begun: bool,
    informational: usize,
}

/// Why a lane brought no answer.
#[derive(Debug)]
pub enum Broken {
    /// The connection was closed before an answer began; whether anything of the request was written.
    Closed {
        /// Whether the upstream may have seen the request.
        sent: bool,
    },
    /// The request's body broke.
    Upload(BodyFault),
    /// The upstream broke the answer.
    Upstream(UpstreamFault),
}

impl Lane {
    /// A lane over a new connection.
    pub fn new(stream: TcpStream) -> Self {
        Self {
            socket: Socket::Whole(stream),
            read: BytesMut::new(),
            read_bytes: READ_BYTES,
            sending: Sending::default(),
            receiving: Receiving {
                method: Method::GET,
                body: Body::NONE,
                keeps: true,
                begun: false,
                informational: 0,
            },
            timer: Box::pin(tokio::time::sleep_until(
                Instant::now() + std::time::Duration::from_secs(30),
            )),
        }
    }

    /// Puts a request on the lane. Its body is taken, its head is copied onto the wire, so it can be sent again elsewhere.
    pub fn begin(&mut self, request: &mut Request<Upload>) {
        let mut before = std::mem::take(&mut self.sending.before);
        before.clear();
        write::head(&mut before, request.method(), request.uri(), request.headers());
        let upload = (!request.body().is_end_stream()).then(|| {
            let upload = std::mem::replace(request.body_mut(), Upload::empty());
            (upload, Framing::of(request.headers()))
        });
        let promised =
            upload.as_ref().and_then(|(upload, _)| upload.size_hint().exact()).unwrap_or(0);
        self.sending = Sending { before, upload, promised, ..Sending::default() };
        let method = request.method().clone();
        self.receiving =
            Receiving { method, body: Body::NONE, keeps: false, begun: false, informational: 0 };
    }

    /// Takes the request's body back, if nothing was sent.
    pub fn take_back(&mut self) -> Option<Upload> {
        let sending = std::mem::take(&mut self.sending);
        sending.upload.filter(|_| !sending.begun).map(|(upload, _)| upload)
    }

    /// Sends what can be sent, and is ready when the answer's head has come.
    pub fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Broken>> {
        if let Socket::Whole(stream) = &mut self.socket
            && !self.sending.failed
            && let Poll::Ready(Err(broken)) = self.sending.poll(stream, cx)
        {
            match broken {
                // The upstream may have answered before it closed.
                Broken::Closed { .. } => self.sending.fail(),
                broken => return Poll::Ready(Err(broken)),
            }
        }
        loop {
            if let Some(head) = self.take_head()? {
                return Poll::Ready(Ok(head));
            }
            match ready!(self.poll_read(cx)) {
                Ok(0) | Err(_) if self.receiving.begun => {
                    return Poll::Ready(Err(Broken::Upstream(UpstreamFault::Closed)));
                }
                Ok(0) | Err(_) => {
                    return Poll::Ready(Err(Broken::Closed { sent: self.sending.begun }));
                }
                Ok(_) => self.receiving.begun = true,
            }
        }
    }

    fn take_head(&mut self) -> Result<Option<Head>, Broken> {
        let malformed = |_| Broken::Upstream(UpstreamFault::Protocol);
        while let Some(head) =
            read::head(&mut self.read, &self.receiving.method).map_err(malformed)?
        {
            if !head.parts.status.is_informational() {
                (self.receiving.body, self.receiving.keeps) = (head.body, head.keeps);
                return Ok(Some(head));
            }
            self.receiving.informational += 1;
            if self.receiving.informational > INFORMATIONAL_MAX {
                return Err(Broken::Upstream(UpstreamFault::Protocol));
            }
        }
        Ok(None)
    }

    /// The next piece of the answer's body, or the fields behind it.
    pub fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UpstreamFault>>> {
        loop {
            match self.receiving.body.read(&mut self.read) {
                Ok(Found::Piece(piece)) => return Poll::Ready(Some(Ok(Frame::data(piece)))),
                Ok(Found::Trailers(fields)) => {
                    return Poll::Ready(Some(Ok(Frame::trailers(*fields))));
                }
                Ok(Found::End) => return Poll::Ready(None),
                Err(_) => return Poll::Ready(Some(Err(UpstreamFault::BodyCut))),
                Ok(Found::More) => match ready!(self.poll_read(cx)) {
                    Ok(0) if self.receiving.body == Body::UntilClose => {
                        self.receiving.body = Body::NONE;
                        return Poll::Ready(None);
                    }
                    Ok(0) | Err(_) => return Poll::Ready(Some(Err(UpstreamFault::BodyCut))),
                    Ok(_) => {}
                },
            }
        }
    }

    /// Whether the answer's body is over.
    pub const fn body_is_over(&self) -> bool {
        self.receiving.body.is_over()
    }

    /// How many bytes of the body are left, where that is known.
    pub const fn body_length(&self) -> Option<u64> {
        self.receiving.body.length()
    }

    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.read.reserve(self.read_bytes);
        let room = self.read.capacity() - self.read.len();
        let count = match &mut self.socket {
            Socket::Whole(stream) => ready!(poll_read_buf(Pin::new(stream), cx, &mut self.read))?,
            Socket::Reading(half) => ready!(poll_read_buf(Pin::new(half), cx, &mut self.read))?,
            Socket::Gone => 0,
        };
        if count == room {
            self.read_bytes = (self.read_bytes * 2).min(READ_BYTES_MAX);
        }
        Poll::Ready(Ok(count))
    }

    /// Sets the lane's timer.
    pub fn set_deadline(&mut self, at: Instant) {
        self.timer.as_mut().reset(at);
    }

    /// Whether the deadline has passed.
    pub fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Not under the task's budget: an upstream that keeps the task busy must not keep its own time-out from firing.
        Pin::new(&mut unconstrained(self.timer.as_mut())).poll(cx)
    }

    /// Whether a part of the request is still to be sent.
    pub fn is_sending(&self) -> bool {
        !self.sending.failed && !self.sending.is_over()
    }

    /// Makes the lane ready for another request, if the last answer left it as a new one: all was sent, all was read,
    /// nothing came behind it, and the upstream keeps the connection.
    pub fn rest(&mut self) -> bool {
        let answered =
            self.receiving.keeps && self.receiving.body.is_over() && self.read.is_empty();
        let free = answered && self.sending.is_over() && matches!(self.socket, Socket::Whole(_));
        if free && self.read_bytes > READ_BYTES {
            // Room that a large answer took.
            (self.read, self.read_bytes) = (BytesMut::new(), READ_BYTES);
        }
        free
    }

    /// Whether a lane at rest is still open. Anything that can be read says that it isn't: its end, or what nobody asked
    /// for.
    pub fn is_open(&self) -> bool {
        let Socket::Whole(stream) = &self.socket else { return false };
        // Not by asking for readiness first: that takes from the task's budget, and says nothing when it is spent.
        stream.try_read(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
    }

    /// Whether bytes have come on a new lane, on which nothing was asked yet. An end shows later, with what was said before.
    pub fn is_spoken_to(&self) -> bool {
        let Socket::Whole(stream) = &self.socket else { return false };
        // The kernel is asked: the runtime knows of a new socket only that it is connected, until it looks again.
        SockRef::from(stream).peek(&mut [MaybeUninit::uninit()]).is_ok_and(|count| count > 0)
    }

    /// Lets a task send the rest of the request. The lane can't be used again.
    pub fn detach(&mut self) -> Option<Detached> {
        let Socket::Whole(stream) = std::mem::replace(&mut self.socket, Socket::Gone) else {
            return None;
        };
        let (reading, writing) = stream.into_split();
        self.socket = Socket::Reading(reading);
        self.receiving.keeps = false;
        let sending = std::mem::take(&mut self.sending);
        Some(Detached(tokio::spawn(send(sending, writing)).abort_handle()))
    }
}

async fn send(mut sending: Sending, mut writing: OwnedWriteHalf) {
    // Its errors show in the answer, where somebody waits.
    let _ = std::future::poll_fn(|cx| sending.poll(&mut writing, cx)).await;
}

impl Sending {
    /// Whether the whole request was sent.
    fn is_over(&self) -> bool {
        let at_hand = self.before.has_remaining()
            || self.piece.has_remaining()
            || self.behind.has_remaining();
        self.upload.is_none() && !at_hand && !self.failed
    }

    /// Sends until all is sent.
    fn poll<W: AsyncWrite + Unpin>(
        &mut self,
        out: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        loop {
            ready!(self.poll_write(out, cx))?;
            let Some((upload, framing)) = &mut self.upload else { return Poll::Ready(Ok(())) };
            match ready!(Pin::new(upload).poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(piece) if piece.is_empty() => {}
                    Ok(piece) => {
                        if *framing == Framing::Length {
                            let left = self.promised.checked_sub(piece.len() as u64);
                            self.promised = left.ok_or(Broken::Upload(BodyFault::Broken))?;
                        }
                        self.behind = write::piece(*framing, &piece, &mut self.before);
                        self.piece = piece;
                    }
                    // Behind a body with a length there is no place for them.
                    Err(frame) if *framing == Framing::Chunked => {
                        trailers::write(
                            &mut self.before,
                            &frame.into_trailers().unwrap_or_default(),
                        );
                        self.upload = None;
                    }
                    Err(_) => {}
                },
                Some(Err(fault)) => return Poll::Ready(Err(Broken::Upload(fault))),
                // A body that ends short would have the upstream read the next request as its rest.
                None if self.promised > 0 => {
                    return Poll::Ready(Err(Broken::Upload(BodyFault::Broken)));
                }
                None => {
                    self.behind = write::end(*framing);
                    self.upload = None;
                }
            }
        }
    }

    /// Writes what is at hand.
    fn poll_write<W: AsyncWrite + Unpin>(
        &mut self,
        out: &mut W,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        loop {
            let written = if self.piece.is_empty() && self.behind.is_empty() {
                if self.before.is_empty() {
                    return Poll::Ready(Ok(()));
                }
                // Nearly always a head alone, for which one slice costs the kernel less than a list of them.
                let written = ready!(Pin::new(&mut *out).poll_write(cx, &self.before));
                written.inspect(|&written| self.before.advance(written))
            } else {
                let mut all = (&mut self.before).chain(&mut self.piece).chain(&mut self.behind);
                ready!(poll_write_buf(Pin::new(&mut *out), cx, &mut all))
            };
            match written {
                Ok(1..) => self.begun = true,
                Ok(0) | Err(_) => return Poll::Ready(Err(Broken::Closed { sent: self.begun })),
            }
        }
    }

    /// Nothing more can be sent. What nobody has seen can still be sent elsewhere.
    fn fail(&mut self) {
        self.failed = true;
        if self.begun {
            self.upload = None;
        }
    }
}

/// The sending half on a task of its own, which ends with its owner.
#[derive(Debug)]
pub struct Detached(AbortHandle);

impl Drop for Detached {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        net::TcpListener,
    };

    use super::*;

    async fn connected() -> (Lane, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Lane::new(stream), listener.accept().await.unwrap().0)
    }

    /// Sends a GET, and reads what the upstream answers with these bytes.
    async fn exchange(lane: &mut Lane, upstream: &mut TcpStream, answer: &str) -> Vec<u8> {
        let mut request = Request::get("/x").header("host", "u").body(Upload::empty()).unwrap();
        lane.begin(&mut request);
        upstream.write_all(answer.as_bytes()).await.unwrap();
        poll_fn(|cx| lane.poll_head(cx)).await.unwrap();
        let mut body = Vec::new();
        while let Some(piece) = poll_fn(|cx| lane.poll_body(cx)).await {
            body.extend_from_slice(piece.unwrap().data_ref().unwrap());
        }
        body
    }

    #[tokio::test]
    async fn a_lane_carries_one_request_after_the_other() {
        let (mut lane, mut upstream) = connected().await;
        for _ in 0..3 {
            let body = exchange(
                &mut lane,
                &mut upstream,
                "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            )
            .await;
            assert_eq!(body, b"ok");
            let mut sent = [0; 64];
            let length = upstream.read(&mut sent).await.unwrap();
            assert_eq!(&sent[..length], b"GET /x HTTP/1.1\r\nhost: u\r\n\r\n");
            assert!(lane.rest() && lane.is_open());
        }
    }

    #[tokio::test]
    async fn a_lane_with_something_behind_its_answer_is_not_used_again() {
        let (mut lane, mut upstream) = connected().await;
        exchange(
            &mut lane,
            &mut upstream,
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n",
        )
        .await;
        assert!(!lane.rest());
    }

    #[tokio::test]
    async fn a_lane_at_rest_notices_that_it_was_closed_or_spoken_to() {
        let answer = "HTTP/1.1 204 No Content\r\n\r\n";
        let (mut lane, mut upstream) = connected().await;
        exchange(&mut lane, &mut upstream, answer).await;
        assert!(lane.rest() && lane.is_open());
        drop(upstream);
        poll_fn(|cx| {
            if lane.is_open() {
                cx.waker().wake_by_ref();
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;

        let (mut lane, mut upstream) = connected().await;
        exchange(&mut lane, &mut upstream, answer).await;
        upstream.write_all(b"HTTP/1.1 408 Request Timeout\r\n\r\n").await.unwrap();
        poll_fn(|cx| {
            if lane.is_open() {
                cx.waker().wake_by_ref();
                Poll::Pending
            } else {
                Poll::Ready(())
            }
        })
        .await;
    }

    #[tokio::test]
    async fn a_flood_of_informational_answers_is_the_upstreams_fault() {
        let (mut lane, mut upstream) = connected().await;
        lane.begin(&mut Request::get("/x").body(Upload::empty()).unwrap());
        let flood = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(INFORMATIONAL_MAX + 1);
        upstream.write_all(flood.as_bytes()).await.unwrap();
        let broken = poll_fn(|cx| lane.poll_head(cx)).await.unwrap_err();
        assert!(matches!(broken, Broken::Upstream(UpstreamFault::Protocol)));
    }

    #[tokio::test]
    async fn a_body_that_ends_short_of_what_its_head_promised_breaks_the_request() {
        for (promised, breaks) in [(0, false), (1, true)] {
            let upload = Some((Upload::empty(), Framing::Length));
            let mut sending = Sending { upload, promised, ..Sending::default() };
            let mut out = Vec::new();
            let sent = poll_fn(|cx| sending.poll(&mut out, cx)).await;
            assert_eq!(matches!(sent, Err(Broken::Upload(BodyFault::Broken))), breaks, "{sent:?}");
        }
    }

    #[tokio::test]
    async fn a_connection_closed_before_the_answer_says_whether_anything_was_sent() {
        let (mut lane, upstream) = connected().await;
        lane.begin(&mut Request::get("/x").body(Upload::empty()).unwrap());
        drop(upstream);
        let broken = poll_fn(|cx| lane.poll_head(cx)).await.unwrap_err();
        assert!(matches!(broken, Broken::Closed { sent: true }));
    }
}
