//! One connection to an upstream, and the one request that it carries.
//!
//! hyper splits a client connection into a sender and a future that does the I/O. Usually that future is spawned, and each
//! request crosses from its own task to the connection's and back. A [`Lane`] keeps both: whoever waits for the response
//! polls the I/O itself. A dropped request drops its lane, and so its connection; that is what cancelling should do.
//!
//! Because all progress comes from the I/O that is polled right here, the channels between hyper's two halves never need to
//! wake anyone: they are polled with a waker that does nothing, and what the I/O wakes while it is being polled is looked at
//! right away instead of by one more poll of the whole task. [`Quiet`] is the waker that makes the difference.
//!
//! The one case in which a lane must not be driven by its response is an early answer: while the request body still has
//! bytes to send, a client that reads nothing before it has sent everything would stop both. Then [`Lane::detach`] moves the
//! I/O to a task.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
};

use http::{Request, Response};
use hyper::{
    body::Incoming,
    client::conn::{
        TrySendError,
        http1::{Connection, SendRequest},
    },
};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpStream,
    task::AbortHandle,
    time::{Instant, Sleep},
};

use crate::upload::Upload;

/// What hyper gives back when it could not send a request.
pub type Unsent = TrySendError<Request<Upload>>;

/// A connection that is driven by its user.
pub struct Lane {
    sender: SendRequest<Upload>,
    /// Gone when the connection is closed or detached.
    io: Option<Connection<TokioIo<TcpStream>, Upload>>,
    /// The lane's one timer. It is moved, not made, per request: pushing a registered timer back costs one atomic write.
    timer: Pin<Box<Sleep>>,
    quiet: Arc<Quiet>,
    /// `quiet` as a waker, made once.
    waker: Waker,
}

/// How often the I/O is polled again for a wake-up that came while it was polled, before the task is woken for it.
const AGAIN_MAX: usize = 3;

impl Lane {
    /// A lane over both halves of a connection.
    pub fn new(sender: SendRequest<Upload>, io: Connection<TokioIo<TcpStream>, Upload>) -> Self {
        let timer =
            Box::pin(tokio::time::sleep_until(Instant::now() + std::time::Duration::from_secs(30)));
        let quiet = Arc::new(Quiet::default());
        let waker = Waker::from(quiet.clone());
        Self { sender, io: Some(io), timer, quiet, waker }
    }

    /// Sends a request. The future waits for the response's head; it must be polled through [`Lane::poll_with_io`].
    pub fn send(
        &mut self,
        request: Request<Upload>,
    ) -> impl Future<Output = Result<Response<Incoming>, Unsent>> + use<> {
        self.sender.try_send_request(request)
    }

    /// Polls what waits for the I/O without doing any, to say that something is waited for.
    pub fn poll_without_io<T>(
        &mut self,
        cx: &mut Context<'_>,
        waiting: impl FnOnce(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.quiet.begin(cx.waker());
        waiting(&mut Context::from_waker(Waker::noop()))
    }

    /// Does the connection's I/O, then polls what waits for it.
    pub fn poll_with_io<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut waiting: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.quiet.begin(cx.waker());
        for _ in 0..AGAIN_MAX {
            if self.io.is_none() {
                // The channel is all that is left, and it has its last word already.
                return waiting(cx);
            }
            self.quiet.woken.store(false, Ordering::Relaxed);
            self.poll_io();
            let answer = waiting(&mut Context::from_waker(Waker::noop()));
            if answer.is_ready() {
                return answer;
            }
            if !self.quiet.woken.load(Ordering::Relaxed) {
                self.quiet.end();
                return Poll::Pending;
            }
        }
        self.quiet.end();
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Reads and writes what can be read and written now.
    fn poll_io(&mut self) {
        if let Some(io) = &mut self.io
            && Pin::new(io).poll(&mut Context::from_waker(&self.waker)).is_ready()
        {
            // Dropping it resolves what waits on it: with an answer, with an error, or with the request unsent.
            self.io = None;
        }
    }

    /// Sets the lane's timer.
    pub fn set_deadline(&mut self, at: Instant) {
        self.timer.as_mut().reset(at);
    }

    /// Whether the deadline has passed.
    pub fn poll_deadline(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.timer.as_mut().poll(cx)
    }

    /// Whether the lane can carry one more request: the last one's answer was read to its end and nothing else came.
    pub fn is_reusable(&mut self) -> bool {
        self.quiet.begin(Waker::noop());
        self.poll_io();
        self.io.is_some() && self.sender.is_ready()
    }

    /// Lets a task do the I/O from now on.
    pub fn detach(&mut self) -> Option<Detached> {
        let io = self.io.take()?;
        let task = tokio::spawn(async move {
            // Its error reaches whoever waits for the response.
            let _ = io.await;
        });
        Some(Detached(task.abort_handle()))
    }
}

/// The waker of a lane's I/O. While the lane is being polled it only remembers that it was woken, because whoever polls the
/// lane looks at that before it returns; at any other time it wakes the task that polled last.
#[derive(Debug, Default)]
struct Quiet {
    /// Whether the lane is being polled right now, or lies in its pool.
    polling: AtomicBool,
    woken: AtomicBool,
    task: Mutex<Option<Waker>>,
}

impl Quiet {
    /// From here on wake-ups are only remembered.
    fn begin(&self, task: &Waker) {
        self.polling.store(true, Ordering::Relaxed);
        let mut last = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        if !last.as_ref().is_some_and(|last| last.will_wake(task)) {
            *last = Some(task.clone());
        }
    }

    /// From here on wake-ups wake the task.
    fn end(&self) {
        self.polling.store(false, Ordering::Release);
    }
}

impl Wake for Quiet {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.polling.load(Ordering::Acquire) {
            self.woken.store(true, Ordering::Relaxed);
            return;
        }
        if let Some(task) = &*self.task.lock().unwrap_or_else(PoisonError::into_inner) {
            task.wake_by_ref();
        }
    }
}

/// A connection on a task of its own, which ends with its owner.
#[derive(Debug)]
pub struct Detached(AbortHandle);

impl Drop for Detached {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl std::fmt::Debug for Lane {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lane").field("open", &self.io.is_some()).finish_non_exhaustive()
    }
}
