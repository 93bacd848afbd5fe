//! Puts a rate limit around a service.

use std::hash::Hash;

use tower_layer::Layer;

use super::{limiter::Limiter, service::RateLimit};
use crate::refuse::AsResponse;

/// A [`Layer`] that refuses what comes too fast. See the [module](super).
#[derive(Debug, Clone)]
pub struct RateLimitLayer<K: Hash + Eq + Clone, F, R = AsResponse> {
    limiter: Option<Limiter<K>>,
    key: F,
    refuse: R,
}

impl<K, F> RateLimitLayer<K, F>
where
    K: Hash + Eq + Clone,
    F: Fn(&http::Extensions) -> Option<K>,
{
    /// Calls take from the bucket of their key, which `key` finds in the request's extensions.
    pub const fn new(limiter: Limiter<K>, key: F) -> Self {
        Self::optional(Some(limiter), key)
    }

    /// Without a limiter, calls go straight through.
    pub const fn optional(limiter: Option<Limiter<K>>, key: F) -> Self {
        Self { limiter, key, refuse: AsResponse }
    }
}

impl<K: Hash + Eq + Clone, F, R> RateLimitLayer<K, F, R> {
    /// Refuses in another way.
    pub fn refuse<R2>(self, refuse: R2) -> RateLimitLayer<K, F, R2> {
        RateLimitLayer { limiter: self.limiter, key: self.key, refuse }
    }
}

impl<S, K: Hash + Eq + Clone, F: Clone, R: Clone> Layer<S> for RateLimitLayer<K, F, R> {
    type Service = RateLimit<S, K, F, R>;

    fn layer(&self, inner: S) -> Self::Service {
        RateLimit::new(inner, self.limiter.clone(), self.key.clone(), self.refuse.clone())
    }
}
