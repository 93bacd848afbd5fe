//! The future of a call that is counted.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use super::service::{ResponseBody, Watch};
use crate::{guarded::Guarded, outcome::Classify};

pin_project! {
    /// The answer to a call that is counted, yet to come.
    #[derive(Debug)]
    pub struct ResponseFuture<F, C> {
        #[pin]
        inner: F,
        watch: Option<Watch<C>>,
    }
}

impl<F, C> ResponseFuture<F, C> {
    pub(super) const fn new(inner: F, watch: Option<Watch<C>>) -> Self {
        Self { inner, watch }
    }
}

impl<F, B, C, E> Future for ResponseFuture<F, C>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
    C: Classify<Response<B>, E>,
{
    type Output = Result<Response<ResponseBody<B, C>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answer = ready!(this.inner.poll(cx));
        let Some(mut watch) = this.watch.take() else {
            return Poll::Ready(answer.map(|response| response.map(Guarded::unguarded)));
        };
        Poll::Ready(match answer {
            Ok(response) => {
                if let Some(watched) = watch.books() {
                    watched.read(response.headers());
                }
                Ok(watch.at_head::<B, E>(response))
            }
            Err(error) => {
                watch.at_error::<Response<B>, E>(&error);
                Err(error)
            }
        })
    }
}
