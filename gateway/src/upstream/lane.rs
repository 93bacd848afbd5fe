//! One connection to an upstream, and the one request that it carries.
//!
//! hyper splits a client connection into a sender and a future that does the I/O. Usually that future is spawned, and each
//! request crosses from its own task to the connection's and back. A [`Lane`] keeps both: whoever waits for the response
//! polls the I/O itself. A dropped request drops its lane, and so its connection; that is what cancelling should do.
//!
//! Because all progress comes from the I/O that is polled right here, the channels between hyper's two halves never need to
//! wake anyone. They are polled with a waker that does nothing, which saves a wake-up of the whole task per frame.
//!
//! The one case in which a lane must not be driven by its response is an early answer: while the request body still has
//! bytes to send, a client that reads nothing before it has sent everything would stop both. Then [`Lane::detach`] moves the
//! I/O to a task.

use std::{
    pin::Pin,
    task::{Context, Poll, Waker},
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
}

impl Lane {
    /// A lane over both halves of a connection.
    pub fn new(sender: SendRequest<Upload>, io: Connection<TokioIo<TcpStream>, Upload>) -> Self {
        let timer =
            Box::pin(tokio::time::sleep_until(Instant::now() + std::time::Duration::from_secs(30)));
        Self { sender, io: Some(io), timer }
    }

    /// Sends a request. The future waits for the response's head; it must be polled through [`Lane::poll_with_io`].
    pub fn send(
        &mut self,
        request: Request<Upload>,
    ) -> impl Future<Output = Result<Response<Incoming>, Unsent>> + use<> {
        self.sender.try_send_request(request)
    }

    /// Does the connection's I/O, then polls what waits for it.
    pub fn poll_with_io<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut waiting: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        if self.io.is_none() {
            // The channel is all that is left, and it has its last word already.
            return waiting(cx);
        }
        self.poll_io(cx);
        waiting(&mut Context::from_waker(Waker::noop()))
    }

    /// Reads and writes what can be read and written now.
    fn poll_io(&mut self, cx: &mut Context<'_>) {
        if let Some(io) = &mut self.io
            && Pin::new(io).poll(cx).is_ready()
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
        self.poll_io(&mut Context::from_waker(Waker::noop()));
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
