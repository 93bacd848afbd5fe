//! A service with a rate limit.

use std::{
    hash::Hash,
    task::{Context, Poll},
};

use http::{Extensions, Request};
use tower_service::Service;

use super::{future::ResponseFuture, limiter::Limiter};
use crate::{
    refuse::{AsResponse, Refuse},
    rejected::Rejected,
};

/// A service with a [`Limiter`]. See the [module](super).
#[derive(Debug, Clone)]
pub struct RateLimit<S, K: Hash + Eq + Clone, F, R = AsResponse> {
    inner: S,
    limiter: Option<Limiter<K>>,
    key: F,
    refuse: R,
}

impl<S, K: Hash + Eq + Clone, F, R> RateLimit<S, K, F, R> {
    pub(super) const fn new(inner: S, limiter: Option<Limiter<K>>, key: F, refuse: R) -> Self {
        Self { inner, limiter, key, refuse }
    }
}

impl<S, K, F, R> RateLimit<S, K, F, R>
where
    K: Hash + Eq + Clone,
    F: Fn(&Extensions) -> Option<K>,
{
    fn check(&self, extensions: &Extensions) -> Result<(), Rejected> {
        let Some(limiter) = &self.limiter else { return Ok(()) };
        (self.key)(extensions).map_or(Ok(()), |key| limiter.check(&key))
    }
}

impl<S, K, F, R, B> Service<Request<B>> for RateLimit<S, K, F, R>
where
    S: Service<Request<B>>,
    K: Hash + Eq + Clone,
    F: Fn(&Extensions) -> Option<K>,
    R: Refuse<S::Response, S::Error>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        match self.check(request.extensions()) {
            Ok(()) => ResponseFuture::calling(self.inner.call(request)),
            Err(rejected) => ResponseFuture::refused(self.refuse.refuse(rejected)),
        }
    }
}
