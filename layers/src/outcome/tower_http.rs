//! Classifiers of `tower_http::classify`, so that what one already has for tracing also judges for a breaker.

use std::{any::Any, fmt::Display, time::Duration};

use http::{HeaderMap, Response};
use tower_http::classify::{ClassifiedResponse, ClassifyEos, ClassifyResponse};

use super::{Classify, HUNG_AFTER, Http, Outcome};
use crate::rejected::Rejected;

/// A classifier of `tower_http` as a [`Classify`]. It knows successes and failures only; what says nothing of the upstream
/// (our own refusals, calls given up early) is ignored all the same.
#[derive(Debug, Clone)]
pub struct TowerHttp<C> {
    classifier: C,
    http: Http,
}

impl<C> TowerHttp<C> {
    /// Judges as this classifier does.
    pub const fn new(classifier: C) -> Self {
        Self { classifier, http: Http::new().hung_after(HUNG_AFTER) }
    }

    /// Dropped calls of this age or older are failures, younger ones are ignored.
    #[must_use]
    pub fn hung_after(self, age: Duration) -> Self {
        Self { http: self.http.hung_after(age), ..self }
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
    fn response(&self, response: &Response<B>) -> Outcome {
        if let Some(rejected) = response.extensions().get::<Rejected>() {
            return rejected.outcome();
        }
        match self.classifier.clone().classify_response(response) {
            ClassifiedResponse::Ready(judged) => verdict(judged),
            // Its end is judged by `end`, without what the classifier keeps of the head.
            ClassifiedResponse::RequiresEos(_) => Outcome::Success,
        }
    }

    fn waits_for_end(&self, _: &Response<B>) -> bool {
        true
    }

    fn end(&self, trailers: Option<&HeaderMap>) -> Outcome {
        // What reads the end is made from a head; an empty one will do for every classifier that looks at the trailers.
        match self.classifier.clone().classify_response(&Response::new(())) {
            ClassifiedResponse::Ready(_) => Outcome::Success,
            ClassifiedResponse::RequiresEos(end) => verdict(end.classify_eos(trailers)),
        }
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
