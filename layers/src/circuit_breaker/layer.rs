//! Puts a breaker around a service.

use tower_layer::Layer;

use super::{
    breaker::Breaker,
    ramp::Unplaced,
    service::{CircuitBreaker, Manner},
};
use crate::{outcome::Http, refuse::AsResponse};

/// A [`Layer`] that asks a [`Breaker`] before each call. See the [module](super).
#[derive(Debug, Clone)]
pub struct CircuitBreakerLayer<C = Http, R = AsResponse, P = Unplaced> {
    breaker: Option<Breaker>,
    manner: Manner<C, R, P>,
}

impl CircuitBreakerLayer {
    /// Calls go through this breaker.
    pub const fn new(breaker: Breaker) -> Self {
        Self::optional(Some(breaker))
    }

    /// Without a breaker, calls go straight through; the type of the response is the same.
    pub const fn optional(breaker: Option<Breaker>) -> Self {
        Self { breaker, manner: Manner::ORDINARY }
    }
}

impl<C, R, P> CircuitBreakerLayer<C, R, P> {
    /// Judges calls by another classifier.
    pub fn classify<C2>(self, classify: C2) -> CircuitBreakerLayer<C2, R, P> {
        let Manner { refuse, place, waits, .. } = self.manner;
        CircuitBreakerLayer {
            breaker: self.breaker,
            manner: Manner { classify, refuse, place, waits },
        }
    }

    /// Refuses in another way.
    pub fn refuse<R2>(self, refuse: R2) -> CircuitBreakerLayer<C, R2, P> {
        let Manner { classify, place, waits, .. } = self.manner;
        CircuitBreakerLayer {
            breaker: self.breaker,
            manner: Manner { classify, refuse, place, waits },
        }
    }

    /// Gives each request its place on the recovery [`Ramp`](super::Ramp): by its user, for instance, with
    /// [`place_of`](super::place_of). Without one, chance decides.
    pub fn place<P2>(self, place: P2) -> CircuitBreakerLayer<C, R, P2> {
        let Manner { classify, refuse, waits, .. } = self.manner;
        CircuitBreakerLayer {
            breaker: self.breaker,
            manner: Manner { classify, refuse, place, waits },
        }
    }

    /// Back-pressure: while the breaker refuses, the service isn't ready, rather than refusing. For a balancer, which then
    /// takes another endpoint. The place of a probe is kept from the moment that the service is ready.
    #[cfg(feature = "back-pressure")]
    #[must_use]
    pub fn waits(mut self) -> Self {
        self.manner.waits = true;
        self
    }
}

impl<S, C: Clone, R: Clone, P: Clone> Layer<S> for CircuitBreakerLayer<C, R, P> {
    type Service = CircuitBreaker<S, C, R, P>;

    fn layer(&self, inner: S) -> Self::Service {
        CircuitBreaker::new(inner, self.breaker.clone(), self.manner.clone())
    }
}
