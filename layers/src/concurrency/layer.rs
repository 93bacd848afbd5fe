//! Puts a limit of calls in flight around a service.

use tower_layer::Layer;

use super::{limit::Limit, service::Concurrency};
use crate::refuse::AsResponse;

/// A [`Layer`] that refuses what goes beyond a [`Limit`]. See the [module](super).
#[derive(Debug, Clone)]
pub struct ConcurrencyLayer<R = AsResponse> {
    limit: Option<Limit>,
    refuse: R,
}

impl ConcurrencyLayer {
    /// Calls are counted by this limit.
    pub const fn new(limit: Limit) -> Self {
        Self::optional(Some(limit))
    }

    /// Without a limit, calls go straight through; the type of the response is the same.
    pub const fn optional(limit: Option<Limit>) -> Self {
        Self { limit, refuse: AsResponse }
    }
}

impl<R> ConcurrencyLayer<R> {
    /// Refuses in another way.
    pub fn refuse<R2>(self, refuse: R2) -> ConcurrencyLayer<R2> {
        ConcurrencyLayer { limit: self.limit, refuse }
    }
}

impl<S, R: Clone> Layer<S> for ConcurrencyLayer<R> {
    type Service = Concurrency<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Concurrency::new(inner, self.limit.clone(), self.refuse.clone())
    }
}
