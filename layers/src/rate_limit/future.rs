//! The future of a call that conforms, or of a refusal.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

pin_project! {
    /// The answer to a call under a rate limit, yet to come.
    #[derive(Debug)]
    pub struct ResponseFuture<F, A> {
        #[pin]
        progress: Progress<F, A>,
    }
}

pin_project! {
    #[project = Projected]
    #[derive(Debug)]
    enum Progress<F, A> {
        Calling { #[pin] inner: F },
        Refused { answer: Option<A> },
    }
}

impl<F, A> ResponseFuture<F, A> {
    pub(super) const fn calling(inner: F) -> Self {
        Self { progress: Progress::Calling { inner } }
    }

    pub(super) const fn refused(answer: A) -> Self {
        Self { progress: Progress::Refused { answer: Some(answer) } }
    }
}

impl<F: Future<Output = A>, A> Future for ResponseFuture<F, A> {
    type Output = A;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<A> {
        match self.project().progress.project() {
            Projected::Calling { inner } => inner.poll(cx),
            Projected::Refused { answer } => {
                Poll::Ready(answer.take().expect("not polled after it was ready"))
            }
        }
    }
}
