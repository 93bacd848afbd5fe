//! The layer: which features it rejects for and informs of.

use std::sync::Arc;

use tower_layer::Layer;

use super::service::{Informed, Killswitch, Switch};
use crate::{dictionary, refuse::AsResponse, view::Subscriber};

/// Refuses requests whose feature is off, and tells the service below of others. See the [module](super).
#[derive(Debug, Clone)]
pub struct KillswitchLayer<R = AsResponse> {
    subscriber: Subscriber,
    rejects: Arc<[Switch]>,
    informs: Arc<[Informed]>,
    refuse: R,
}

impl KillswitchLayer {
    /// A layer that obeys this switchboard. It rejects for nothing yet.
    pub fn new(subscriber: Subscriber) -> Self {
        Self { subscriber, rejects: Arc::default(), informs: Arc::default(), refuse: AsResponse }
    }
}

impl<R> KillswitchLayer<R> {
    /// Refuse requests while one of these features is off. Called again, it adds to them; the first that is off is the one
    /// that a refusal names.
    #[must_use]
    pub fn rejects<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let more = names.into_iter().map(|name| Switch::new(name.as_ref(), &self.subscriber));
        self.rejects = self.rejects.iter().cloned().chain(more).collect();
        self
    }

    /// Tell the service below which of these features are off. Called again, it adds to them.
    ///
    /// # Panics
    /// If a name can't be a key of an RFC 9651 dictionary, see [`dictionary::key`].
    #[must_use]
    pub fn informs<N: AsRef<str>>(mut self, names: impl IntoIterator<Item = N>) -> Self {
        let more = names.into_iter().map(|name| Informed {
            switch: Switch::new(name.as_ref(), &self.subscriber),
            member: format!("{}=?0", dictionary::key_or_panic(name.as_ref())).into(),
        });
        self.informs = self.informs.iter().cloned().chain(more).collect();
        self
    }

    /// How a refusal leaves the layer: [`AsResponse`] unless said otherwise.
    #[must_use]
    pub fn refuse<R2>(self, refuse: R2) -> KillswitchLayer<R2> {
        KillswitchLayer {
            subscriber: self.subscriber,
            rejects: self.rejects,
            informs: self.informs,
            refuse,
        }
    }
}

impl<S, R: Clone> Layer<S> for KillswitchLayer<R> {
    type Service = Killswitch<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        Killswitch {
            inner,
            subscriber: self.subscriber.clone(),
            rejects: self.rejects.clone(),
            informs: self.informs.clone(),
            refuse: self.refuse.clone(),
            held: None,
        }
    }
}
