//! Classifiers of `tower_http::classify`, so that what one already has for tracing also judges for a breaker.

use std::{
    any::Any,
    fmt::{self, Display},
    time::Duration,
};

use http::{HeaderMap, Response};
use tower_http::classify::{ClassifiedResponse, ClassifyEos, ClassifyResponse};

use super::{Classify, HUNG_AFTER, Http, Outcome};
use crate::rejected::Rejected;

/// A classifier of `tower_http` as a [`Classify`]. It knows successes and failures only; what says nothing of the upstream
/// (our own refusals, calls given up early) is ignored all the same.
pub struct TowerHttp<C: ClassifyResponse> {
    classifier: C,
    http: Http,
    /// What this call's head left to be judged by its end.
    end: Option<C::ClassifyEos>,
}

impl<C: ClassifyResponse> TowerHttp<C> {
    /// Judges as this classifier does.
    pub const fn new(classifier: C) -> Self {
        Self { classifier, http: Http::new().hung_after(HUNG_AFTER), end: None }
    }

    /// Dropped calls of this age or older are failures, younger ones are ignored.
    #[must_use]
    pub fn hung_after(self, age: Duration) -> Self {
        Self { http: self.http.hung_after(age), ..self }
    }
}

/// A clone is for another call, and has seen no head.
impl<C: ClassifyResponse + Clone> Clone for TowerHttp<C> {
    fn clone(&self) -> Self {
        Self { classifier: self.classifier.clone(), http: self.http, end: None }
    }
}

impl<C: ClassifyResponse + fmt::Debug> fmt::Debug for TowerHttp<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TowerHttp")
            .field("classifier", &self.classifier)
            .field("http", &self.http)
            .finish_non_exhaustive()
    }
}

fn verdict<F>(judged: Result<(), F>) -> Outcome {
    judged.map_or(Outcome::Failure, |()| Outcome::Success)
}

impl<C, B, E> Classify<Response<B>, E> for TowerHttp<C>
where
    C: ClassifyResponse + Clone,
    E: Display + 'static,
{
    fn response(&mut self, response: &Response<B>) -> Outcome {
        if let Some(rejected) = response.extensions().get::<Rejected>() {
            return rejected.outcome();
        }
        match self.classifier.clone().classify_response(response) {
            ClassifiedResponse::Ready(judged) => verdict(judged),
            ClassifiedResponse::RequiresEos(end) => {
                self.end = Some(end);
                Outcome::Success
            }
        }
    }

    fn waits_for_end(&self, _: &Response<B>) -> bool {
        true
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) -> Outcome {
        self.end.take().map_or(Outcome::Success, |end| verdict(end.classify_eos(trailers)))
    }

    fn error(&self, error: &E) -> Outcome {
        match Rejected::within(error) {
            Some(rejected) => rejected.outcome(),
            None => {
                drop(self.classifier.clone().classify_error(error));
                Outcome::Failure
            }
        }
    }

    fn body_error(&self, _: &dyn Any) -> Outcome {
        Outcome::Failure
    }

    fn dropped(&self, age: Duration) -> Outcome {
        self.http.abandoned(age)
    }
}
