//! The layer: which features it rejects for and informs of.

use std::{net::IpAddr, sync::Arc};

use http::Extensions;

use tower_layer::Layer;

use super::{
    asked::{Place, Stage},
    service::{Informed, Killswitch, Switch},
};
use crate::{
    dictionary, refuse::AsResponse, rejected::Rejected, switchboard::kill::Mode, view::Subscriber,
};

/// Refuses requests whose feature is off, and tells the service below of others. See the [module](super).
#[derive(Debug, Clone)]
pub struct KillswitchLayer<R = AsResponse> {
    subscriber: Subscriber,
    rejects: Arc<[Switch]>,
    informs: Arc<[Informed]>,
    place: Place,
    refuse: R,
}

impl KillswitchLayer {
    /// A layer that obeys this switchboard. It rejects for nothing yet.
    pub fn new(subscriber: Subscriber) -> Self {
        Self {
            subscriber,
            rejects: Arc::default(),
            informs: Arc::default(),
            place: Place::default(),
            refuse: AsResponse,
        }
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

    /// The name of the route that it stands in, for kills of routes.
    #[must_use]
    pub fn route(mut self, name: impl Into<Arc<str>>) -> Self {
        self.place.route = Some(name.into());
        self
    }

    /// Where it stands, for kills of regions.
    #[must_use]
    pub fn region(mut self, name: impl Into<Arc<str>>) -> Self {
        self.place.region = Some(name.into());
        self
    }

    /// How the client's address is found, for kills of addresses, and for shares of those who have no other name.
    #[must_use]
    pub fn address(mut self, address: fn(&Extensions) -> Option<IpAddr>) -> Self {
        self.place.address = address;
        self
    }

    /// Which kills it obeys where it stands twice: before and behind authentication. Unless said otherwise it stands once, and
    /// takes those for the subject and tenant that are in the request's extensions.
    #[must_use]
    pub const fn stage(mut self, stage: Stage) -> Self {
        self.place.stage = stage;
        self
    }

    /// Who is told of requests that would be refused if a kill were [meant in earnest](Mode). Called within the request, so it
    /// had better count and be gone.
    #[must_use]
    pub fn watch(mut self, watch: impl Fn(Mode, &Rejected) + Send + Sync + 'static) -> Self {
        self.place.watch = Some(Arc::new(watch));
        self
    }

    /// How a refusal leaves the layer: [`AsResponse`] unless said otherwise.
    #[must_use]
    pub fn refuse<R2>(self, refuse: R2) -> KillswitchLayer<R2> {
        KillswitchLayer {
            subscriber: self.subscriber,
            rejects: self.rejects,
            informs: self.informs,
            place: self.place,
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
            place: self.place.clone(),
            refuse: self.refuse.clone(),
            held: None,
        }
    }
}
