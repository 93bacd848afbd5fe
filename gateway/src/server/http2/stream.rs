//! One HTTP/2 stream: its task, which waits only so long for a client that doesn't take its answer, and its answer's body,
//! which is cut into pieces so that this can be seen.
//!
//! hyper asks a body for its next piece as soon as the window has room for the one before. Between a piece and the next
//! question it is therefore the client's turn, and when that takes too long the task ends: hyper resets the stream, and the
//! upstream connection and every permit that the answer holds are given back, whatever the other streams do. The last byte
//! of a larger answer is a piece of its own; else its task would be over while most of it still waits for the window.

use std::{
    cell::Cell,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::Response;
use http_body::{Body, Frame, SizeHint};
use hyper::rt::Executor;
use pin_project_lite::pin_project;
use tokio::time::{Instant, Sleep};

use super::pulse::{InFlight, Pulse};
use crate::limits::{H2_PIECE_BYTES_MAX, H2_WHOLE_BYTES_MAX};

tokio::task_local! {
    /// Since when it is the client's turn, on the task of a stream. Its body says so, its task looks.
    static CLIENTS_TURN: Cell<Option<Instant>>;
}

fn turn(since: Option<Instant>) {
    // A body that is polled elsewhere (in a test) has no task that would wait for it.
    let _ = CLIENTS_TURN.try_with(|turn| turn.set(since));
}

/// Runs the streams of a connection, each as a task of its own.
#[derive(Debug, Clone, Copy)]
pub(super) struct Streams {
    /// How long a client may take nothing.
    pub(super) patience: Duration,
}

impl<F> Executor<F> for Streams
where
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, stream: F) {
        let stream = Patient { stream, patience: self.patience, timer: None };
        tokio::spawn(CLIENTS_TURN.scope(Cell::new(None), stream));
    }
}

pin_project! {
    /// A stream that ends when its client takes nothing for too long.
    struct Patient<F> {
        #[pin]
        stream: F,
        patience: Duration,
        // Only made for a stream that has to wait.
        timer: Option<Pin<Box<Sleep>>>,
    }
}

impl<F: Future<Output = ()>> Future for Patient<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        if this.stream.poll(cx).is_ready() {
            return Poll::Ready(());
        }
        let Some(since) = CLIENTS_TURN.try_with(Cell::get).ok().flatten() else {
            return Poll::Pending;
        };
        let deadline = since + *this.patience;
        let timer = this.timer.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(deadline)));
        if timer.deadline() != deadline {
            timer.as_mut().reset(deadline);
        }
        timer.as_mut().poll(cx)
    }
}

/// An answer whose body comes in pieces.
pub(super) async fn in_pieces<B, E>(
    answer: impl Future<Output = Result<Response<B>, E>>,
    pulse: Arc<Pulse>,
) -> Result<Response<Pieces<B>>, E>
where
    B: Body<Data = Bytes>,
{
    let in_flight = pulse.begin();
    Ok(answer.await?.map(|body| Pieces::new(body, in_flight)))
}

pin_project! {
    /// A body of which each piece is small enough to be taken in time.
    #[derive(Debug)]
    pub(super) struct Pieces<B> {
        #[pin]
        body: B,
        // What was read of the body and not handed on.
        rest: Bytes,
        // Whether so much has come that its end has to wait for the client.
        large: bool,
        // Keeps the connection from counting as at rest while the client has not taken all.
        in_flight: InFlight,
    }
}

impl<B: Body<Data = Bytes>> Pieces<B> {
    fn new(body: B, in_flight: InFlight) -> Self {
        Self { body, rest: Bytes::new(), large: false, in_flight }
    }

    /// The next piece of what is at hand.
    fn piece(rest: &mut Bytes, is_last: bool, large: bool) -> Bytes {
        let whole = if is_last && large { rest.len().saturating_sub(1).max(1) } else { rest.len() };
        rest.split_to(whole.min(H2_PIECE_BYTES_MAX).min(rest.len()))
    }
}

impl<B: Body<Data = Bytes>> Body for Pieces<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut this = self.project();
        turn(None);
        if this.rest.is_empty() {
            match ready!(this.body.as_mut().poll_frame(cx)) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(data) => *this.rest = data,
                    Err(frame) => return Poll::Ready(Some(Ok(frame))),
                },
                end => return Poll::Ready(end),
            }
            *this.large |= this.rest.len() > H2_WHOLE_BYTES_MAX;
        }
        let piece = Self::piece(this.rest, this.body.is_end_stream(), *this.large);
        turn(Some(Instant::now()));
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let (body, rest) = (self.body.size_hint(), self.rest.len() as u64);
        let mut hint = SizeHint::new();
        if let Some(upper) = body.upper() {
            hint.set_upper(upper + rest);
        }
        hint.set_lower(body.lower() + rest);
        hint
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicBool, Ordering},
    };

    use http_body_util::{BodyExt, Full};

    use super::*;

    fn pieces(length: usize) -> Pieces<Full<Bytes>> {
        Pieces::new(Full::new(Bytes::from(vec![b'x'; length])), Pulse::new().begin())
    }

    async fn lengths(length: usize) -> Vec<usize> {
        let (mut body, mut lengths) = (pieces(length), Vec::new());
        assert_eq!(body.size_hint().exact(), Some(length as u64));
        while !body.is_end_stream() {
            let Ok(frame) = body.frame().await.expect("its end was not told");
            lengths.push(frame.into_data().unwrap().len());
            let left = length - lengths.iter().sum::<usize>();
            assert_eq!(body.size_hint().exact(), Some(left as u64));
        }
        lengths
    }

    #[tokio::test]
    async fn a_small_answer_is_one_piece_and_the_last_byte_of_a_large_one_comes_alone() {
        assert_eq!(lengths(1).await, [1]);
        assert_eq!(lengths(H2_WHOLE_BYTES_MAX).await, [H2_WHOLE_BYTES_MAX]);
        assert_eq!(lengths(H2_WHOLE_BYTES_MAX + 1).await, [H2_WHOLE_BYTES_MAX, 1]);
        let max = H2_PIECE_BYTES_MAX;
        assert_eq!(lengths(2 * max).await, [max, max - 1, 1]);
        assert_eq!(lengths(2 * max + 1).await, [max, max, 1]);
    }

    /// A stream that asks its body once, as hyper does while there is no room for more.
    struct AsksOnce(Pieces<Full<Bytes>>, bool, Arc<AtomicBool>);

    impl Future for AsksOnce {
        type Output = ();

        fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
            if !std::mem::replace(&mut self.1, true) {
                let _: Poll<Option<Result<_, Infallible>>> = Pin::new(&mut self.0).poll_frame(cx);
            }
            Poll::Pending
        }
    }

    impl Drop for AsksOnce {
        fn drop(&mut self) {
            self.2.store(true, Ordering::Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_ends_when_its_client_takes_nothing_and_waits_for_a_slow_upstream() {
        let streams = Streams { patience: Duration::from_secs(30) };
        let (ended, waits) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        streams.execute(AsksOnce(pieces(9), false, ended.clone()));
        streams.execute(AsksOnce(pieces(9), true, waits.clone()));
        tokio::time::sleep(Duration::from_secs(29)).await;
        assert!(!ended.load(Ordering::Relaxed));
        tokio::time::sleep(Duration::from_secs(2)).await;
        assert!(ended.load(Ordering::Relaxed));
        tokio::time::sleep(Duration::from_secs(600)).await;
        assert!(!waits.load(Ordering::Relaxed));
    }
}
