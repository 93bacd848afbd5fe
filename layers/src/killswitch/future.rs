//! The answer: a refusal that is there already, or whatever the inner service says.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;

pin_project! {
    /// The response of a [`Killswitch`](super::Killswitch).
    #[derive(Debug)]
    pub struct ResponseFuture<F, Res, Err> {
        #[pin]
        answer: Answer<F, Res, Err>,
    }
}

pin_project! {
    #[project = AnswerProj]
    #[derive(Debug)]
    enum Answer<F, Res, Err> {
        Passed { #[pin] inner: F },
        Refused { refusal: Option<Result<Res, Err>> },
    }
}

impl<F, Res, Err> ResponseFuture<F, Res, Err> {
    pub(super) const fn passed(inner: F) -> Self {
        Self { answer: Answer::Passed { inner } }
    }

    pub(super) const fn refused(refusal: Result<Res, Err>) -> Self {
        Self { answer: Answer::Refused { refusal: Some(refusal) } }
    }
}

impl<F, Res, Err> Future for ResponseFuture<F, Res, Err>
where
    F: Future<Output = Result<Res, Err>>,
{
    type Output = Result<Res, Err>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().answer.project() {
            AnswerProj::Passed { inner } => inner.poll(cx),
            AnswerProj::Refused { refusal } => {
                Poll::Ready(refusal.take().expect("a future is not polled past its end"))
            }
        }
    }
}
