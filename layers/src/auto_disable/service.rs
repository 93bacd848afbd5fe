//! A service whose errors are counted.

use std::{
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use http::{HeaderMap, HeaderName, Response};
use http_body::Body;
use tower_service::Service;

use super::{future::ResponseFuture, meter::Meter};
use crate::{
    ending::{Ending, Settle},
    guarded::Guarded,
    outcome::{Classify, Http, Outcome},
};

/// The response header in which an upstream names features that failed: `Feature-Errors: a, b`.
pub const FEATURE_ERRORS: HeaderName = HeaderName::from_static("feature-errors");

/// A call under way, to be counted at its end.
pub type Watch<C> = Ending<C, Watched>;

/// The body of a response whose call is counted.
pub type ResponseBody<B, C> = Guarded<B, Watch<C>>;

/// The meters of one call.
#[derive(Debug)]
pub struct Watched {
    meters: Arc<[Meter]>,
    /// How many of them, from the first, count the outcome; the others only what is named.
    judged: usize,
    clock: fn() -> Instant,
    /// The meters that have counted this call already, because the upstream named their features.
    named: Vec<usize>,
}

/// A service whose errors are counted. See the [module](super).
#[derive(Debug, Clone)]
pub struct AutoDisable<S, C = Http> {
    inner: S,
    meters: Arc<[Meter]>,
    judged: usize,
    classify: C,
}

impl<S, C> AutoDisable<S, C> {
    pub(super) const fn new(inner: S, meters: Arc<[Meter]>, judged: usize, classify: C) -> Self {
        Self { inner, meters, judged, classify }
    }
}

impl<S, C, Req, B> Service<Req> for AutoDisable<S, C>
where
    S: Service<Req, Response = Response<B>>,
    B: Body,
    C: Classify<Response<B>, S::Error> + Clone,
{
    type Response = Response<ResponseBody<B, C>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, C>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let watch = self.meters.first().map(|first| {
            let clock = first.clock();
            let (meters, judged) = (self.meters.clone(), self.judged);
            let watched = Watched { meters, judged, clock, named: Vec::new() };
            Ending::new::<Response<B>, S::Error>(watched, self.classify.clone(), clock())
        });
        ResponseFuture::new(self.inner.call(request), watch)
    }
}

impl Watched {
    /// Counts an error for each feature that the upstream names. A name of which no meter knows is none of ours.
    pub(super) fn read(&mut self, headers: &HeaderMap) {
        let lines =
            headers.get_all(FEATURE_ERRORS).into_iter().filter_map(|line| line.to_str().ok());
        for name in lines.flat_map(|line| line.split(',')).map(str::trim) {
            let place = self.meters.iter().position(|meter| &**meter.feature() == name);
            if let Some(place) = place.filter(|place| !self.named.contains(place)) {
                self.named.push(place);
                self.meters[place].record_error("the upstream named it in Feature-Errors");
            }
        }
    }
}

impl Settle for Watched {
    fn clock(&self) -> fn() -> Instant {
        self.clock
    }

    fn settle(&mut self, outcome: Outcome) {
        if outcome == Outcome::Ignored {
            return;
        }
        let now = (self.clock)();
        for (place, meter) in self.meters[..self.judged].iter().enumerate() {
            if !self.named.contains(&place) {
                meter.record_at(now, outcome);
            }
        }
    }
}
