//! The future of a call that holds a slot.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use super::{limit::Slot, service::ResponseBody};
use crate::guarded::Guarded;

pin_project! {
    /// The answer to a call that holds a slot, yet to come.
    #[derive(Debug)]
    pub struct ResponseFuture<F, B, E> {
        #[pin]
        progress: Progress<F, B, E>,
    }
}

pin_project! {
    #[project = Projected]
    #[derive(Debug)]
    enum Progress<F, B, E> {
        Calling { #[pin] inner: F, slot: Option<Slot> },
        Refused { answer: Option<Answer<B, E>> },
    }
}

type Answer<B, E> = Result<Response<ResponseBody<B>>, E>;

impl<F, B, E> ResponseFuture<F, B, E> {
    pub(super) const fn calling(inner: F, slot: Option<Slot>) -> Self {
        Self { progress: Progress::Calling { inner, slot } }
    }

    pub(super) const fn refused(answer: Answer<B, E>) -> Self {
        Self { progress: Progress::Refused { answer: Some(answer) } }
    }
}

impl<F, B, E> Future for ResponseFuture<F, B, E>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Answer<B, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().progress.project() {
            Projected::Calling { inner, slot } => {
                let answer = ready!(inner.poll(cx));
                let slot = slot.take();
                Poll::Ready(answer.map(|response| response.map(|body| Guarded::new(body, slot))))
            }
            Projected::Refused { answer } => {
                Poll::Ready(answer.take().expect("not polled after it was ready"))
            }
        }
    }
}
