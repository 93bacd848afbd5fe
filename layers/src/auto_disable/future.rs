//! The future of a call that is counted.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::Response;
use http_body::Body;
use pin_project_lite::pin_project;

use super::service::{ResponseBody, Watch};
use crate::outcome::Classify;

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
        Poll::Ready(match answer {
            Ok(response) => {
                if let Some(watched) = this.watch.as_mut().and_then(Watch::books) {
                    watched.read(response.headers());
                }
                Ok(Watch::at_head::<B, E>(this.watch, response))
            }
            Err(error) => {
                Watch::at_error::<Response<B>, E>(this.watch, &error);
                Err(error)
            }
        })
    }
}
