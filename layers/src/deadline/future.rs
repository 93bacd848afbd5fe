//! The future of a call with a deadline.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use pin_project_lite::pin_project;
use tokio::time::{Sleep, sleep};

use crate::{refuse::Refuse, rejected::Rejected};

pin_project! {
    /// The answer to a call with a deadline, yet to come.
    #[derive(Debug)]
    pub struct ResponseFuture<F, R> {
        #[pin]
        inner: F,
        after: Option<Duration>,
        #[pin]
        timer: Option<Sleep>,
        refuse: R,
    }
}

impl<F, R> ResponseFuture<F, R> {
    pub(super) const fn new(inner: F, after: Option<Duration>, refuse: R) -> Self {
        Self { inner, after, timer: None, refuse }
    }
}

impl<F, R, Res, E> Future for ResponseFuture<F, R>
where
    F: Future<Output = Result<Res, E>>,
    R: Refuse<Res, E>,
{
    type Output = Result<Res, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        if let Poll::Ready(answer) = this.inner.poll(cx) {
            return Poll::Ready(answer);
        }
        let Some(after) = *this.after else { return Poll::Pending };
        if this.timer.is_none() {
            this.timer.set(Some(sleep(after)));
        }
        let timer = this.timer.as_pin_mut().expect("set just above");
        ready!(timer.poll(cx));
        Poll::Ready(this.refuse.refuse(Rejected::TimedOut { after }))
    }
}
