//! One switchboard per request.
//!
//! A [`Publisher`] (there is one, the writer's) puts the newest switchboard up; a [`Subscriber`] pins it: exactly one load
//! per unit of work, so that all layers of a request agree. "Newest wins" is the whole semantics: nobody needs to see each
//! switchboard, and nobody can lose one.
//!
//! Whoever stands outermost puts the pinned [`View`] into the request's extensions; the layers below find it there, and pin
//! for themselves only where nobody did.

use std::{ops::Deref, sync::Arc};

use arc_swap::ArcSwap;
use http::Extensions;

use crate::switchboard::Switchboard;

/// The writing end. It can't be cloned: one writer.
#[derive(Debug)]
pub struct Publisher(Arc<ArcSwap<Switchboard>>);

/// The reading end, cheap to clone.
#[derive(Debug, Clone)]
pub struct Subscriber(Arc<ArcSwap<Switchboard>>);

/// The switchboard as one request sees it.
#[derive(Debug, Clone)]
pub struct View(Arc<Switchboard>);

/// A publisher and its first subscriber.
pub fn channel(first: Switchboard) -> (Publisher, Subscriber) {
    let cell = Arc::new(ArcSwap::from_pointee(first));
    (Publisher(cell.clone()), Subscriber(cell))
}

impl Publisher {
    /// Puts up the next switchboard. Every pin from now on sees it.
    pub fn publish(&self, next: Switchboard) {
        self.0.store(Arc::new(next));
    }

    /// One more reading end.
    pub fn subscribe(&self) -> Subscriber {
        Subscriber(self.0.clone())
    }
}

impl Subscriber {
    /// The newest switchboard, held for as long as the view lives.
    #[inline]
    pub fn pin(&self) -> View {
        View(self.0.load_full())
    }

    /// A look at the newest switchboard for the length of a closure: cheaper than [`pin`](Self::pin), for questions outside a
    /// request.
    #[inline]
    pub fn read<T>(&self, look: impl FnOnce(&Switchboard) -> T) -> T {
        look(&self.0.load())
    }

    /// A look at the switchboard that a request sees: the one pinned in its extensions, or the newest. Unlike
    /// [`pinned_in`](Self::pinned_in) it touches no count that other cores touch, too.
    #[inline]
    pub fn read_in<T>(&self, extensions: &Extensions, look: impl FnOnce(&Switchboard) -> T) -> T {
        match extensions.get::<View>() {
            Some(view) => look(view),
            None => self.read(look),
        }
    }

    /// The view that stands in a request's extensions, or the newest one.
    #[inline]
    pub fn pinned_in(&self, extensions: &Extensions) -> View {
        extensions.get::<View>().cloned().unwrap_or_else(|| self.pin())
    }
}

impl Deref for View {
    type Target = Switchboard;

    fn deref(&self) -> &Switchboard {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pinned_view_stays_while_newer_ones_are_published() {
        let (publisher, subscriber) = channel(Switchboard::new([], []));
        let pinned = subscriber.pin();
        publisher.publish(Switchboard::new([], []).at_revision(7));
        assert_eq!(pinned.revision(), 0);
        assert_eq!(subscriber.pin().revision(), 7);
    }
}
