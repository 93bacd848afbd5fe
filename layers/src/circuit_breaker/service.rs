//! A service behind a breaker.
//!
//! While the breaker refuses, the service inside isn't asked whether it is ready, and the refusal is ready at once: a
//! caller shouldn't wait for the readiness of something that it won't get. That promise is kept in the call that follows,
//! even if the breaker's wait ends in between: a service that wasn't made ready must not be called.

use std::task::{Context, Poll};

use http::Response;
use http_body::Body;
use tower_service::Service;

use super::{
    breaker::{Breaker, Permit},
    future::ResponseFuture,
};
use crate::{
    ending::Ending,
    guarded::Guarded,
    outcome::{Classify, Http},
    refuse::{AsResponse, Refuse},
    rejected::Rejected,
};

/// A call under way: its permit, to be settled at its end.
pub type Call<C> = Ending<C, Permit>;

/// The body of a response that came through a breaker.
pub type ResponseBody<B, C> = Guarded<B, Call<C>>;

/// A service behind a [`Breaker`]. See the [module](super).
#[derive(Debug)]
pub struct CircuitBreaker<S, C = Http, R = AsResponse> {
    inner: S,
    breaker: Option<Breaker>,
    classify: C,
    refuse: R,
    /// The next call is refused, because `inner` wasn't asked whether it is ready.
    skips: bool,
}

impl<S, C, R> CircuitBreaker<S, C, R> {
    pub(super) const fn new(inner: S, breaker: Option<Breaker>, classify: C, refuse: R) -> Self {
        Self { inner, breaker, classify, refuse, skips: false }
    }

    fn admit(&mut self) -> Result<Option<Permit>, Rejected> {
        let Some(breaker) = &self.breaker else { return Ok(None) };
        if std::mem::take(&mut self.skips) {
            Err(breaker.turn_away())
        } else {
            breaker.admit().map(Some)
        }
    }
}

/// A clone starts unready, as its inner service does.
impl<S: Clone, C: Clone, R: Clone> Clone for CircuitBreaker<S, C, R> {
    fn clone(&self) -> Self {
        Self::new(
            self.inner.clone(),
            self.breaker.clone(),
            self.classify.clone(),
            self.refuse.clone(),
        )
    }
}

impl<S, C, R, Req, B> Service<Req> for CircuitBreaker<S, C, R>
where
    S: Service<Req, Response = Response<B>>,
    B: Body,
    C: Classify<Response<B>, S::Error> + Clone,
    R: Refuse<Response<ResponseBody<B, C>>, S::Error>,
{
    type Response = Response<ResponseBody<B, C>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, B, C, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.skips = self.breaker.as_ref().is_some_and(Breaker::refuses);
        if self.skips { Poll::Ready(Ok(())) } else { self.inner.poll_ready(cx) }
    }

    fn call(&mut self, request: Req) -> Self::Future {
        match self.admit() {
            Ok(permit) => {
                let call = permit.map(|permit| {
                    let (at, clock) = (permit.at(), permit.clock());
                    Ending::new::<Response<B>, S::Error>(permit, self.classify.clone(), clock, at)
                });
                ResponseFuture::calling(self.inner.call(request), call)
            }
            Err(rejected) => ResponseFuture::refused(self.refuse.refuse(rejected)),
        }
    }
}
