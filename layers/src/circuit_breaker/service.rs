//! A service behind a breaker.
//!
//! While the breaker refuses, the service inside isn't asked whether it is ready, and the refusal is ready at once: a
//! caller shouldn't wait for the readiness of something that it won't get. That promise is kept in the call that follows,
//! even if the breaker's wait ends in between: a service that wasn't made ready must not be called.

use std::task::{Context, Poll};

use http::Response;
use http_body::Body;
use tower_service::Service;

#[cfg(feature = "back-pressure")]
use super::patience::Patience;
use super::{
    breaker::Breaker,
    future::ResponseFuture,
    permit::Permit,
    ramp::{Place, Unplaced},
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

/// How calls are judged, refused and placed.
#[derive(Debug, Clone)]
pub(super) struct Manner<C, R, P> {
    pub(super) classify: C,
    pub(super) refuse: R,
    pub(super) place: P,
    /// Whether it isn't ready while the breaker refuses.
    pub(super) waits: bool,
}

impl Manner<Http, AsResponse, Unplaced> {
    pub(super) const ORDINARY: Self =
        Self { classify: Http::new(), refuse: AsResponse, place: Unplaced, waits: false };
}

/// A service behind a [`Breaker`]. See the [module](super).
#[derive(Debug)]
pub struct CircuitBreaker<S, C = Http, R = AsResponse, P = Unplaced> {
    inner: S,
    breaker: Option<Breaker>,
    manner: Manner<C, R, P>,
    /// The next call is refused, because `inner` wasn't asked whether it is ready.
    skips: bool,
    #[cfg(feature = "back-pressure")]
    patience: Option<Patience>,
}

impl<S, C, R, P> CircuitBreaker<S, C, R, P> {
    pub(super) fn new(inner: S, breaker: Option<Breaker>, manner: Manner<C, R, P>) -> Self {
        #[cfg(feature = "back-pressure")]
        let patience = breaker.clone().filter(|_| manner.waits).map(Patience::new);
        Self {
            inner,
            breaker,
            manner,
            skips: false,
            #[cfg(feature = "back-pressure")]
            patience,
        }
    }

    /// Whether the service inside is to be asked, or nobody, or the caller has to wait.
    #[inline]
    fn poll_breaker(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        #[cfg(feature = "back-pressure")]
        if let Some(patience) = &mut self.patience {
            return patience.poll(cx);
        }
        let _ = cx;
        self.skips = self.breaker.as_ref().is_some_and(Breaker::refuses);
        Poll::Ready(())
    }

    #[inline]
    fn admit<Req>(&mut self, request: &Req) -> Result<Option<Permit>, Rejected>
    where
        P: Place<Req>,
    {
        #[cfg(feature = "back-pressure")]
        if let Some(permit) = self.patience.as_mut().and_then(Patience::take) {
            return Ok(Some(permit));
        }
        let Some(breaker) = &self.breaker else { return Ok(None) };
        if std::mem::take(&mut self.skips) {
            Err(breaker.turn_away())
        } else {
            breaker.admit_of(self.manner.place.place(request), breaker.now()).map(Some)
        }
    }
}

/// A clone starts unready, as its inner service does.
impl<S: Clone, C: Clone, R: Clone, P: Clone> Clone for CircuitBreaker<S, C, R, P> {
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.breaker.clone(), self.manner.clone())
    }
}

impl<S, C, R, P, Req, B> Service<Req> for CircuitBreaker<S, C, R, P>
where
    S: Service<Req, Response = Response<B>>,
    B: Body,
    C: Classify<Response<B>, S::Error> + Clone,
    R: Refuse<Response<ResponseBody<B, C>>, S::Error>,
    P: Place<Req>,
{
    type Response = Response<ResponseBody<B, C>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, B, C, S::Error>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        std::task::ready!(self.poll_breaker(cx));
        if self.skips { Poll::Ready(Ok(())) } else { self.inner.poll_ready(cx) }
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        match self.admit(&request) {
            Ok(permit) => {
                let inner = self.inner.call(request);
                ResponseFuture::calling(
                    inner,
                    permit.map(|permit| {
                        begin::<C, Response<B>, S::Error>(permit, self.manner.classify.clone())
                    }),
                )
            }
            Err(rejected) => ResponseFuture::refused(self.manner.refuse.refuse(rejected)),
        }
    }
}

/// A call that begins with this permit.
#[inline]
pub(super) fn begin<C, Res, Err>(permit: Permit, classify: C) -> Call<C>
where
    C: Classify<Res, Err>,
{
    let at = permit.at();
    Ending::new::<Res, Err>(permit, classify, at)
}
