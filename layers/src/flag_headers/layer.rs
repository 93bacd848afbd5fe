//! The layer: which flags it tells of.

use std::sync::Arc;

use tower_layer::Layer;

use super::{lines::Told, service::FlagHeaders};
use crate::view::Subscriber;

/// Tells the service below the flags of each request. See the [module](super).
#[derive(Debug, Clone)]
pub struct FlagHeadersLayer {
    subscriber: Subscriber,
    told: Arc<Told>,
}

impl FlagHeadersLayer {
    /// A layer that reads this switchboard. It tells of no flag yet, only of the revision.
    pub fn new(subscriber: Subscriber) -> Self {
        Self { subscriber, told: Arc::default() }
    }

    /// Tell of these flags, in this order. Called again, it adds to them.
    ///
    /// # Panics
    /// If a key can't be a key of an RFC 9651 dictionary, see [`dictionary::key`](crate::dictionary::key).
    #[must_use]
    pub fn flags<N: AsRef<str>>(self, keys: impl IntoIterator<Item = N>) -> Self {
        Self { told: Arc::new(self.told.and(keys)), ..self }
    }
}

impl<S> Layer<S> for FlagHeadersLayer {
    type Service = FlagHeaders<S>;

    fn layer(&self, inner: S) -> Self::Service {
        FlagHeaders { inner, subscriber: self.subscriber.clone(), told: self.told.clone() }
    }
}
