//! Puts meters around a service.

use std::sync::Arc;

use tower_layer::Layer;

use super::{meter::Meter, service::AutoDisable};
use crate::outcome::Http;

/// A [`Layer`] that counts the errors of features. See the [module](super).
#[derive(Debug, Clone)]
pub struct AutoDisableLayer<C = Http> {
    meters: Arc<[Meter]>,
    /// How many of them, from the first, count every call's outcome.
    judged: usize,
    classify: C,
}

impl AutoDisableLayer {
    /// Counts calls with each of these meters; without any, calls go straight through.
    pub fn new(meters: impl IntoIterator<Item = Meter>) -> Self {
        let meters: Arc<[Meter]> = meters.into_iter().collect();
        Self { judged: meters.len(), meters, classify: Http::new() }
    }
}

impl<C> AutoDisableLayer<C> {
    /// Counts an error with these meters too, but only where the upstream names their feature in `Feature-Errors`: the
    /// service below uses the feature, and goes on without it, so that no status tells.
    pub fn named(self, meters: impl IntoIterator<Item = Meter>) -> Self {
        Self { meters: self.meters.iter().cloned().chain(meters).collect(), ..self }
    }

    /// Judges calls by another classifier.
    pub fn classify<C2>(self, classify: C2) -> AutoDisableLayer<C2> {
        AutoDisableLayer { meters: self.meters, judged: self.judged, classify }
    }
}

impl<S, C: Clone> Layer<S> for AutoDisableLayer<C> {
    type Service = AutoDisable<S, C>;

    fn layer(&self, inner: S) -> Self::Service {
        AutoDisable::new(inner, self.meters.clone(), self.judged, self.classify.clone())
    }
}
