//! A service whose calls have a deadline.

use std::{
    task::{Context, Poll},
    time::Duration,
};

use tower_service::Service;

use super::future::ResponseFuture;
use crate::refuse::{AsResponse, Refuse};

/// A service whose calls have a deadline. See the [module](super).
#[derive(Debug, Clone, Copy)]
pub struct Deadline<S, R = AsResponse> {
    inner: S,
    after: Option<Duration>,
    refuse: R,
}

impl<S, R> Deadline<S, R> {
    pub(super) const fn new(inner: S, after: Option<Duration>, refuse: R) -> Self {
        Self { inner, after, refuse }
    }
}

impl<S, R, Req> Service<Req> for Deadline<S, R>
where
    S: Service<Req>,
    R: Refuse<S::Response, S::Error> + Clone,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        ResponseFuture::new(self.inner.call(request), self.after, self.refuse.clone())
    }
}
