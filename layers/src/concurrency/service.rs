//! A service with a limit of calls in flight.

use std::task::{Context, Poll};

use http::Response;
use http_body::Body;
use tower_service::Service;

use super::{
    future::ResponseFuture,
    limit::{Limit, Slot},
};
use crate::{
    guarded::Guarded,
    refuse::{AsResponse, Refuse},
};

/// The body of a response that holds a slot until its end.
pub type ResponseBody<B> = Guarded<B, Slot>;

/// A service with a [`Limit`]. See the [module](super).
#[derive(Debug, Clone)]
pub struct Concurrency<S, R = AsResponse> {
    inner: S,
    limit: Option<Limit>,
    refuse: R,
}

impl<S, R> Concurrency<S, R> {
    pub(super) const fn new(inner: S, limit: Option<Limit>, refuse: R) -> Self {
        Self { inner, limit, refuse }
    }
}

impl<S, R, Req, B> Service<Req> for Concurrency<S, R>
where
    S: Service<Req, Response = Response<B>>,
    B: Body,
    R: Refuse<Response<ResponseBody<B>>, S::Error>,
{
    type Response = Response<ResponseBody<B>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, B, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        match self.limit.as_ref().map(Limit::admit).transpose() {
            Ok(slot) => ResponseFuture::calling(self.inner.call(request), slot),
            Err(rejected) => ResponseFuture::refused(self.refuse.refuse(rejected)),
        }
    }
}
