//! Puts a breaker around a service.

use tower_layer::Layer;

use super::{breaker::Breaker, service::CircuitBreaker};
use crate::{outcome::Http, refuse::AsResponse};

/// A [`Layer`] that asks a [`Breaker`] before each call. See the [module](super).
#[derive(Debug, Clone)]
pub struct CircuitBreakerLayer<C = Http, R = AsResponse> {
    breaker: Option<Breaker>,
    classify: C,
    refuse: R,
}

impl CircuitBreakerLayer {
    /// Calls go through this breaker.
    pub const fn new(breaker: Breaker) -> Self {
        Self::optional(Some(breaker))
    }

    /// Without a breaker, calls go straight through; the type of the response is the same.
    pub const fn optional(breaker: Option<Breaker>) -> Self {
        Self { breaker, classify: Http::new(), refuse: AsResponse }
    }
}

impl<C, R> CircuitBreakerLayer<C, R> {
    /// Judges calls by another classifier.
    pub fn classify<C2>(self, classify: C2) -> CircuitBreakerLayer<C2, R> {
        CircuitBreakerLayer { breaker: self.breaker, classify, refuse: self.refuse }
    }

    /// Refuses in another way.
    pub fn refuse<R2>(self, refuse: R2) -> CircuitBreakerLayer<C, R2> {
        CircuitBreakerLayer { breaker: self.breaker, classify: self.classify, refuse }
    }
}

impl<S, C: Clone, R: Clone> Layer<S> for CircuitBreakerLayer<C, R> {
    type Service = CircuitBreaker<S, C, R>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBreaker::new(inner, self.breaker.clone(), self.classify.clone(), self.refuse.clone())
    }
}
