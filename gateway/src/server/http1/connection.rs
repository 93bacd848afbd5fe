//! The life of a connection: a head, a call, its answer, and again.
//!
//! What a client may do at each point, and for how long:
//!
//! | phase | ends when | and if not |
//! |---|---|---|
//! | rest | a first byte comes | the connection is closed after `idle` |
//! | head | the head is whole | it is answered with 408 after `head` |
//! | call | the service answers | the call has deadlines of its own; a client that leaves cancels it, at once or, where it may only have said that no more comes, after [`HALF_CLOSED`] |
//! | answer | all of it is written | a client that takes nothing of it for `write` is cut off |
//! | linger | the rest of an upload is read | after [`LINGER`] the connection is closed |
//! | farewell | the client closes too | after [`FAREWELL`] the connection is dropped |
//!
//! A connection carries on only while both sides agree where the next request begins: not after a head or a body that could
//! not be read, nor after a body that was announced and never asked for.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, BufMut, Bytes};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri};
use http_body::Body as _;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use super::{
    body::Body,
    line::{Line, Source, Upload},
    outgoing::Outgoing,
    timer::Timer,
};
use crate::{
    limits::{FAREWELL, FAREWELL_BYTES_MAX, HALF_CLOSED, LINGER, LINGER_BYTES_MAX},
    server::{drain::Drain, inbound::Inbound, patience::Patience},
    wire::{
        request::read::{self, Fault, Head, HeadBounds},
        response::write::{self, Framing, Persistence},
    },
};

/// The bounds of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// How large a head may be.
    pub head: HeadBounds,
    /// How long each phase may last.
    pub patience: Patience,
}

/// Serves one connection to its end. `seen` was read from it before.
pub async fn serve<I, A, F, B>(io: I, seen: &[u8], bounds: Bounds, drain: Drain, answer: A)
where
    I: AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug + 'static,
    A: Fn(Request<Inbound>) -> F,
    F: Future<Output = Result<Response<B>, Infallible>>,
    B: http_body::Body<Data = Bytes>,
{
    let mut connection = Connection::new(io, seen, bounds, drain);
    while let Some(head) = poll_fn(|cx| connection.poll_head(cx)).await {
        let request = connection.begin(head);
        let body = {
            let mut call = pin!(answer(request));
            poll_fn(|cx| connection.poll_call(call.as_mut(), cx)).await
        };
        let Some(body) = body else { return };
        let mut body = pin!(body);
        if poll_fn(|cx| connection.poll_answer(body.as_mut(), cx)).await.is_err() {
            return;
        }
        let lingered = poll_fn(|cx| connection.poll_linger(cx)).await;
        if lingered.is_err() || !connection.keeps {
            break;
        }
    }
    connection.farewell().await;
}

/// The client is gone, or too slow, or its answer broke: whatever it was, the connection ends here.
struct Over;

struct Connection<I> {
    line: Arc<Line<I>>,
    outgoing: Outgoing,
    timer: Timer,
    bounds: Bounds,
    drain: Drain,
    /// Of the request that is being served.
    method: Method,
    speaks_chunks: bool,
    /// Whether another request may follow.
    keeps: bool,
    /// Whether a part of a head has come.
    begun: bool,
    /// Whether the client has to be told farewell; one that left, or never came, hasn't.
    answered: bool,
    /// Bytes that were read for nothing.
    lingered: u64,
    /// When that ends, whatever comes.
    linger_end: Option<Instant>,
    /// Whether the client was told that it is too slow.
    too_slow: bool,
    /// When a client that says no more comes counts as gone, unless it takes something until then.
    gone_at: Option<Instant>,
}

impl<I: AsyncRead + AsyncWrite + Unpin + Send + std::fmt::Debug + 'static> Connection<I> {
    fn new(io: I, seen: &[u8], bounds: Bounds, drain: Drain) -> Self {
        Self {
            line: Arc::new(Line::new(io, seen)),
            outgoing: Outgoing::new(),
            timer: Timer::new(Instant::now() + bounds.patience.head),
            bounds,
            drain,
            method: Method::GET,
            speaks_chunks: true,
            keeps: true,
            begun: !seen.is_empty(),
            answered: false,
            lingered: 0,
            linger_end: None,
            too_slow: false,
            gone_at: None,
        }
    }

    /// The next head, or why there is none that could be read; nothing when there is no request any more.
    fn poll_head(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Head, Fault>>> {
        let mut line = self.line.lock();
        // What has come since the last look can only end a head if it ends a line.
        let mut may_end = true;
        loop {
            // Empty lines in front of a request line are nothing (RFC 9112, 2.2), and begin nothing.
            while line.ahead.starts_with(b"\r\n") {
                line.ahead.advance(2);
            }
            if !line.ahead.is_empty() && may_end {
                match read::head(&mut line.ahead, self.bounds.head) {
                    Ok(None) => {}
                    head => {
                        self.timer.clear();
                        return Poll::Ready(head.transpose());
                    }
                }
            }
            if line.ahead.is_empty() {
                line.rest();
                if self.drain.poll_raised(cx) {
                    self.answered = false;
                    return Poll::Ready(None);
                }
            } else if !self.begun {
                self.begun = true;
                self.timer.set(Instant::now() + self.bounds.patience.head);
            }
            let length = line.ahead.len();
            match line.poll_fill(cx) {
                Poll::Ready(Ok(1..)) => {}
                Poll::Ready(_) => return Poll::Ready(None),
                Poll::Pending => {
                    ready!(self.timer.poll(cx));
                    return Poll::Ready((!line.ahead.is_empty()).then_some(Err(Fault::SLOW)));
                }
            }
            may_end = line.ahead.len() > self.bounds.head.bytes_max
                || memchr::memchr(b'\n', &line.ahead[length..]).is_some();
        }
    }

    /// A head has come: its request, with its body on the line.
    fn begin(&mut self, head: Result<Head, Fault>) -> Request<Inbound> {
        (self.begun, self.answered) = (false, true);
        (self.lingered, self.linger_end) = (0, None);
        self.gone_at = None;
        let head = match head {
            Ok(head) => head,
            Err(fault) => return self.unreadable(fault),
        };
        self.keeps = head.keeps;
        self.method = head.parts.method.clone();
        self.speaks_chunks = head.parts.version == http::Version::HTTP_11;
        if head.body.is_over() {
            return Request::from_parts(head.parts, Inbound::Empty);
        }
        let mut line = self.line.lock();
        line.body = head.body;
        line.upload = Upload { held: true, waits: head.expects_continue, ..Upload::default() };
        drop(line);
        let line: Arc<dyn Source> = self.line.clone();
        Request::from_parts(head.parts, Inbound::Http1(Body::new(line)))
    }

    /// What can't be read has neither a method nor a target, and nothing behind it can be trusted.
    fn unreadable(&mut self, fault: Fault) -> Request<Inbound> {
        (self.keeps, self.speaks_chunks, self.method) = (false, true, Method::GET);
        let mut request = Request::new(Inbound::Unreadable(fault));
        *request.method_mut() = Method::from_bytes(b"-").unwrap_or(Method::GET);
        *request.uri_mut() = Uri::from_static("*");
        request
    }

    /// Waits for the service's answer, and puts its head on its way; nothing when the client is gone.
    fn poll_call<F, B>(&mut self, call: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<Option<B>>
    where
        F: Future<Output = Result<Response<B>, Infallible>>,
        B: http_body::Body,
    {
        if let Poll::Ready(Ok(response)) = call.poll(cx) {
            self.answer(response.status(), response.headers(), response.body());
            return Poll::Ready(Some(response.into_body()));
        }
        self.go_ahead();
        if self.poll_client(cx).is_ready() {
            return Poll::Ready(None);
        }
        let mut line = self.line.lock();
        while !self.outgoing.is_empty() {
            if ready!(self.outgoing.poll_write(&mut line.io, cx)).is_err() {
                return Poll::Ready(None);
            }
        }
        Poll::Pending
    }

    /// Tells a client that waits with its body to send it, once somebody has asked for it.
    fn go_ahead(&mut self) {
        let mut line = self.line.lock();
        if line.upload.waits && line.upload.asked && !line.body.is_over() {
            line.upload.waits = false;
            self.outgoing.head().put_slice(write::CONTINUE);
        }
    }

    /// Looks after the client while it waits: reads what nobody wants any more, and is ready when it is gone.
    fn poll_client(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut line = self.line.lock();
        let line = &mut *line;
        let to_come = !line.body.is_over() && !line.upload.broken;
        if to_come && line.upload.held {
            line.upload.driver = Some(cx.waker().clone());
            // Whoever waits for the body, maybe on another task, must not lose its place at the socket to us.
            if line.upload.awaited {
                return Poll::Pending;
            }
        } else if to_come && !line.upload.waits {
            self.lingered += line.discard(cx);
            line.upload.broken |= self.lingered > LINGER_BYTES_MAX;
        }
        if line.upload.broken {
            return Poll::Pending;
        }
        // Who has sent all of a request and says that no more comes may still listen, or be gone: that looks the same. An
        // answer that is as good as there still reaches it; a longer call is not finished for nobody.
        // A body that nobody has read yet may well be there as a whole; who reads it finds out.
        let may_be_whole = line.body.is_over() || line.upload.held;
        if ready!(line.poll_end(cx)).is_err() || !may_be_whole {
            return Poll::Ready(());
        }
        let gone_at = *self.gone_at.get_or_insert_with(|| Instant::now() + HALF_CLOSED);
        if !self.timer.is_set() {
            self.timer.set(gone_at);
        }
        self.timer.poll(cx)
    }

    /// Writes the head of an answer, and decides whether another may follow it.
    fn answer<B: http_body::Body>(&mut self, status: StatusCode, headers: &HeaderMap, body: &B) {
        let framing = self.framing(status, body);
        // What was due before it is not what its client has for taking it.
        self.timer.clear();
        self.gone_at = None;
        {
            let line = self.line.lock();
            let upload = &line.upload;
            // A client that was never told to go ahead may send its body or not: nobody can know.
            let unclear = !line.body.is_over() && upload.waits;
            self.keeps &= !upload.broken && !unclear && !self.drain.is_raised();
        }
        // Who was too slow for its request is not waited for any longer (RFC 9110, 15.5.9).
        self.too_slow = status == StatusCode::REQUEST_TIMEOUT;
        self.keeps &= framing != Framing::UntilClose && !self.too_slow;
        let persistence = match (self.keeps, self.speaks_chunks) {
            (false, _) => Persistence::Closes,
            (true, true) => Persistence::Implied,
            (true, false) => Persistence::Kept,
        };
        write::head(self.outgoing.head(), status, headers, framing, persistence);
        self.outgoing.begin(framing);
    }

    fn framing<B: http_body::Body>(&self, status: StatusCode, body: &B) -> Framing {
        if status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || self.method == Method::HEAD
        {
            return Framing::None;
        }
        match body.size_hint().exact() {
            Some(length) => Framing::Length(length),
            None if self.speaks_chunks => Framing::Chunked,
            None => Framing::UntilClose,
        }
    }

    /// Writes an answer to its end.
    fn poll_answer<B: http_body::Body<Data = Bytes>>(
        &mut self,
        mut body: Pin<&mut B>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Over>> {
        loop {
            while !self.outgoing.has_ended() && self.outgoing.has_room() {
                if !body.is_end_stream() {
                    let Poll::Ready(frame) = body.as_mut().poll_frame(cx) else { break };
                    match frame {
                        Some(Ok(frame)) => {
                            let pushed = match frame.into_data() {
                                Ok(data) => self.outgoing.push(data),
                                // Those that may not pass never got here.
                                Err(frame) => {
                                    let trailers = frame.into_trailers().unwrap_or_default();
                                    self.outgoing.end_with(&trailers)
                                }
                            };
                            pushed.map_err(|_| Over)?;
                            continue;
                        }
                        Some(Err(_)) => {
                            // What is there of the answer tells the client more than silence would.
                            let _ = self.outgoing.poll_write(&mut self.line.lock().io, cx);
                            return Poll::Ready(Err(Over));
                        }
                        None => {}
                    }
                }
                self.outgoing.end().map_err(|_| Over)?;
            }
            if self.outgoing.is_empty() {
                self.timer.clear();
                if self.outgoing.has_ended() {
                    return Poll::Ready(Ok(()));
                }
                // The service has nothing at the moment: the client isn't the one who is slow.
                return self.poll_client(cx).map(|()| Err(Over));
            }
            let mut line = self.line.lock();
            match self.outgoing.poll_write(&mut line.io, cx) {
                Poll::Ready(Ok(())) => {
                    self.timer.clear();
                    self.gone_at = None;
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Over)),
                Poll::Pending => {
                    drop(line);
                    return self.poll_stalled(cx).map(Err);
                }
            }
        }
    }

    /// The client doesn't take what is written. It may be waiting for us to take what it sends.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<Over> {
        if !self.timer.is_set() {
            self.timer.set(Instant::now() + self.bounds.patience.write);
        }
        if self.timer.poll(cx).is_ready() || self.poll_client(cx).is_ready() {
            return Poll::Ready(Over);
        }
        Poll::Pending
    }

    /// Whether the rest of an upload is to come. One that its client was not told to send may be.
    fn is_coming(&self) -> bool {
        let line = self.line.lock();
        !line.body.is_over() && !line.upload.broken && !line.upload.waits
    }

    /// Waits until the rest of an upload is read, after its answer. A connection that ends after it waits only as long as more
    /// of it comes, and not at all for a client whose answer was that it is too slow.
    fn poll_linger(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Over>> {
        if self.is_coming() && !self.too_slow {
            let before = self.lingered;
            let gone = self.poll_client(cx).is_ready();
            let line = self.line.lock();
            if gone || line.upload.broken {
                return Poll::Ready(Err(Over));
            }
            if !line.body.is_over() {
                drop(line);
                if !self.timer.is_set() || !self.keeps && self.lingered > before {
                    let now = Instant::now();
                    let end = *self.linger_end.get_or_insert(now + LINGER);
                    self.timer.set(if self.keeps { end } else { end.min(now + FAREWELL) });
                }
                return self.timer.poll(cx).map(|()| Err(Over));
            }
        }
        self.outgoing.rest();
        self.timer.set(Instant::now() + self.bounds.patience.idle);
        Poll::Ready(Ok(()))
    }

    /// Ends the connection so that the client gets to read its last answer: closing while bytes of the client are unread
    /// would reset it, and the reset would eat the answer.
    async fn farewell(mut self) {
        if !self.answered {
            return;
        }
        self.timer.set(Instant::now() + FAREWELL);
        let mut left = FAREWELL_BYTES_MAX;
        let mut told = false;
        poll_fn(|cx| {
            let mut line = self.line.lock();
            if !told {
                told = match Pin::new(&mut line.io).poll_shutdown(cx) {
                    Poll::Ready(Ok(())) => true,
                    Poll::Ready(Err(_)) => return Poll::Ready(()),
                    Poll::Pending => return self.timer.poll(cx),
                };
            }
            loop {
                line.ahead.clear();
                match line.poll_fill(cx) {
                    Poll::Ready(Ok(count @ 1..)) => match left.checked_sub(count) {
                        Some(rest) => left = rest,
                        None => return Poll::Ready(()),
                    },
                    Poll::Ready(_) => return Poll::Ready(()),
                    Poll::Pending => return self.timer.poll(cx),
                }
            }
        })
        .await;
    }
}

#[cfg(test)]
mod tests;
