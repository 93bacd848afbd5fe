//! Puts meters around a service.

use std::sync::Arc;

use tower_layer::Layer;

use super::{meter::Meter, service::AutoDisable};
use crate::outcome::Http;

/// A [`Layer`] that counts the errors of features. See the [module](super).
#[derive(Debug, Clone)]
pub struct AutoDisableLayer<C = Http> {
    meters: Arc<[Meter]>,
    classify: C,
}

impl AutoDisableLayer {
    /// Counts calls with each of these meters; without any, calls go straight through.
    pub fn new(meters: impl IntoIterator<Item = Meter>) -> Self {
        Self { meters: meters.into_iter().collect(), classify: Http::new() }
    }
}

impl<C> AutoDisableLayer<C> {
    /// Judges calls by another classifier.
    pub fn classify<C2>(self, classify: C2) -> AutoDisableLayer<C2> {
        AutoDisableLayer { meters: self.meters, classify }
    }
}

impl<S, C: Clone> Layer<S> for AutoDisableLayer<C> {
    type Service = AutoDisable<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        AutoDisable::new(inner, self.meters.clone(), self.classify.clone())
    }
}
