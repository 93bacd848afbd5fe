//! The future of a call through a breaker.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use super::service::{Call, ResponseBody};
use crate::outcome::Classify;

pin_project! {
    /// The answer to a call through a breaker, yet to come.
    #[derive(Debug)]
    pub struct ResponseFuture<F, B, C, E> {
        #[pin]
        progress: Progress<F, B, C, E>,
    }
}

pin_project! {
    #[project = Projected]
    #[derive(Debug)]
    enum Progress<F, B, C, E> {
        Calling { #[pin] inner: F, call: Option<Call<C>> },
        Refused { answer: Option<Answer<B, C, E>> },
    }
}

type Answer<B, C, E> = Result<Response<ResponseBody<B, C>>, E>;

impl<F, B, C, E> ResponseFuture<F, B, C, E> {
    #[inline]
    pub(super) const fn calling(inner: F, call: Option<Call<C>>) -> Self {
        Self { progress: Progress::Calling { inner, call } }
    }

    pub(super) const fn refused(answer: Answer<B, C, E>) -> Self {
        Self { progress: Progress::Refused { answer: Some(answer) } }
    }
}

impl<F, B, C, E> Future for ResponseFuture<F, B, C, E>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
    C: Classify<Response<B>, E>,
{
    type Output = Answer<B, C, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let (inner, call) = match self.project().progress.project() {
            Projected::Calling { inner, call } => (inner, call),
            Projected::Refused { answer } => {
                return Poll::Ready(answer.take().expect("not polled after it was ready"));
            }
        };
        let answer = ready!(inner.poll(cx));
        Poll::Ready(match answer {
            Ok(response) => Ok(Call::at_head::<B, E>(call, response)),
            Err(error) => {
                Call::at_error::<Response<B>, E>(call, &error);
                Err(error)
            }
        })
    }
}
