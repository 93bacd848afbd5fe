//! Killswitches for a service of your own, in ten lines: a store, a switchboard, and whoever keeps the two together.
//!
//! ```
//! use portcullis::{store::MemoryStore, switches::Switches};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let switches = Switches::on(MemoryStore::new())?;
//! assert!(switches.is_enabled("payments"));
//! switches.set("payments", false, "the provider is down", "ada")?;
//! assert!(!switches.is_enabled("payments"));
//! assert_eq!(switches.states()["payments"].updated_by, "ada");
//! # Ok(()) }
//! ```
//!
//! With the feature `redis`, `Switches::connect("redis://localhost")` shares them with every gateway and service that names the
//! same server and namespace.
//!
//! It acts like the gateway's own writer, and stands on the same [core](crate::overlay): a kill is in force here before the
//! store answers, and stays in force when the store fails, until a later attempt succeeds (one a second); turning on needs the
//! store. Each flip is audited. What others flip is taken over as soon as it is heard of; a kill's end is kept by this process,
//! too. Asking takes a load and a look into a map; a [`KillswitchLayer`](crate::killswitch::KillswitchLayer) takes
//! [`subscriber`](Switches::subscriber).

use std::{
    collections::BTreeMap,
    error::Error,
    fmt,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Duration,
};

use crate::{
    overlay::{self, Overlay},
    store::{AuditEntry, News, Saved, Store, StoreError},
    switchboard::{
        Switchboard, UnixMillis,
        feature::{Source, State},
        flip::{Flip, FlipError},
        kill::Terms,
    },
    view::{self, Subscriber},
};

/// Between two looks at what has expired and what is not kept yet.
const KEEP_EVERY: Duration = Duration::from_secs(1);

/// Killswitches on a store. See the [module](self).
pub struct Switches {
    inner: Arc<Inner>,
    keeper: Option<JoinHandle<()>>,
}

struct Inner {
    /// Locked for as long as the store takes; never while `overlay` is.
    store: Mutex<Box<dyn Store>>,
    /// Locked for a few additions.
    overlay: Mutex<Overlay>,
    subscriber: Subscriber,
    stopping: Mutex<bool>,
    stopped: Condvar,
}

/// What a flip has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flipped {
    /// The revision that is kept.
    pub revision: u64,
    /// Whether the store has it. If not, it is in force in this process, and tried again.
    pub saved: bool,
}

/// Why nothing has changed.
#[derive(Debug)]
#[non_exhaustive]
pub enum SetError {
    /// The flip itself is at fault.
    Refused(FlipError),
    /// The store can't keep it, and turning on needs that.
    NotSaved(StoreError),
}

impl Switches {
    /// Killswitches in the Redis at this URL, shared with all who name it. A server that is away is no error: it is looked for
    /// in the background.
    ///
    /// # Errors
    /// If the URL makes no sense.
    #[cfg(feature = "redis")]
    pub fn connect(url: &str) -> Result<Self, StoreError> {
        Self::on(crate::store::RedisStore::open(crate::store::redis::Settings::new(url))?)
    }

    /// Killswitches on any store.
    ///
    /// # Errors
    /// If the store holds something that can't be read.
    pub fn on(mut store: impl Store + 'static) -> Result<Self, StoreError> {
        let saved = store.load()?.unwrap_or_default();
        let unkept = store.unkept();
        let board = unkept.iter().fold(saved.restore(Switchboard::new([], [])), |board, unkept| {
            board.with_state(unkept.0, unkept.1.clone())
        });
        store.serves(board.revision());
        let (publisher, subscriber) = view::channel(board.clone());
        let overlay = Overlay::new(publisher, board, &saved.states, &unkept);
        let inner = Arc::new(Inner {
            store: Mutex::new(Box::new(store)),
            overlay: Mutex::new(overlay),
            subscriber,
            stopping: Mutex::new(false),
            stopped: Condvar::new(),
        });
        // Weak, because the store is the inner's: else neither would ever end.
        let listens = Arc::downgrade(&inner);
        inner.store().follow(Arc::new(move |news| {
            if let (News::Newer(newest), Some(inner)) = (news, listens.upgrade()) {
                overlay::locked(&inner.overlay).adopt(&newest);
            }
        }));
        let keeper = thread::Builder::new().name("switches".to_owned()).spawn({
            let inner = inner.clone();
            move || inner.keep()
        });
        let keeper = keeper.map_err(|error| StoreError::Unavailable { what: error.to_string() })?;
        Ok(Self { inner, keeper: Some(keeper) })
    }

    /// Whether a feature is on. One that nobody ever turned off is.
    pub fn is_enabled(&self, feature: &str) -> bool {
        self.inner.subscriber.read(|board| board.is_enabled(feature))
    }

    /// Every state that somebody decided, by feature.
    pub fn states(&self) -> BTreeMap<String, State> {
        self.inner.subscriber.read(|board| Saved::of(board).states)
    }

    /// Who did what, the oldest of the last so many entries first. Waits for the store.
    ///
    /// # Errors
    /// If the store can't be read.
    pub fn audit(&self, last: usize) -> Result<Vec<AuditEntry>, StoreError> {
        self.inner.store().audit(last)
    }

    /// The reading end, for layers.
    pub fn subscriber(&self) -> Subscriber {
        self.inner.subscriber.clone()
    }

    /// Turns a feature off or on. Waits for the store: give it a thread that may.
    ///
    /// # Errors
    /// Whenever nothing has changed.
    pub fn set(
        &self,
        feature: &str,
        enabled: bool,
        reason: &str,
        actor: &str,
    ) -> Result<Flipped, SetError> {
        let flip = Flip {
            features: vec![feature.into()],
            enabled,
            reason: reason.to_owned(),
            actor: actor.to_owned(),
            source: Source::Api,
            expires_at: None,
            terms: Terms::default(),
        };
        if enabled { self.inner.enable(&flip) } else { self.inner.kill(&flip) }
    }
}

impl Inner {
    fn store(&self) -> MutexGuard<'_, Box<dyn Store>> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn overlay(&self) -> MutexGuard<'_, Overlay> {
        overlay::locked(&self.overlay)
    }

    /// In force first, kept second.
    fn kill(&self, flip: &Flip) -> Result<Flipped, SetError> {
        let mut overlay = self.overlay();
        // A service declares nothing: whatever it names is a feature.
        overlay.declare(&flip.features);
        overlay.kill(flip, None, UnixMillis::now())?;
        drop(overlay);
        let saved = self.settle(&mut **self.store()).is_ok();
        Ok(Flipped { revision: self.overlay().revision(), saved })
    }

    /// Kept first, in force second.
    fn enable(&self, flip: &Flip) -> Result<Flipped, SetError> {
        let mut store = self.store();
        self.overlay().declare(&flip.features);
        let propose = |overlay: &Overlay| {
            Ok::<_, SetError>(Some(overlay.proposal_of(flip, None, UnixMillis::now())?))
        };
        overlay::commit(&self.overlay, &mut **store, propose, |_| {})?;
        let revision = self.overlay().revision();
        // It stands; what the audit is owed of it is tried again.
        let _ = overlay::write_audit(&self.overlay, &mut **store);
        Ok(Flipped { revision, saved: true })
    }

    /// Gets kept what is in force and isn't, and what the audit is owed.
    fn settle(&self, store: &mut dyn Store) -> Result<(), StoreError> {
        overlay::keep(&self.overlay, store, |_| {})?;
        let _ = overlay::write_audit(&self.overlay, store);
        Ok(())
    }

    /// Until it is told to stop: lifts what has expired, and keeps what is not kept.
    fn keep(&self) {
        loop {
            let stopping = self.stopping.lock().unwrap_or_else(PoisonError::into_inner);
            let waited =
                self.stopped.wait_timeout_while(stopping, KEEP_EVERY, |stopping| !*stopping);
            if *waited.unwrap_or_else(PoisonError::into_inner).0 {
                return;
            }
            self.overlay().expire(UnixMillis::now());
            let mut store = self.store();
            // A failure is tried again in a second, and what is pending stays in force until then.
            let _ = self.settle(&mut **store);
            let revision = self.overlay().revision();
            store.serves(revision);
        }
    }
}

impl Drop for Switches {
    fn drop(&mut self) {
        *self.inner.stopping.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.inner.stopped.notify_all();
        if let Some(keeper) = self.keeper.take() {
            // A panic has been printed by its own thread.
            let _ = keeper.join();
        }
    }
}

impl fmt::Debug for Switches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Switches").field(&self.states()).finish()
    }
}

impl From<FlipError> for SetError {
    fn from(error: FlipError) -> Self {
        Self::Refused(error)
    }
}

impl From<StoreError> for SetError {
    fn from(error: StoreError) -> Self {
        Self::NotSaved(error)
    }
}

impl fmt::Display for SetError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(error) => error.fmt(f),
            Self::NotSaved(_) => f.write_str("the store can't keep it, so it stays as it was"),
        }
    }
}

impl Error for SetError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Refused(_) => None,
            Self::NotSaved(error) => Some(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::MemoryStore;

    #[test]
    fn a_flip_at_one_is_seen_by_all_who_share_the_store() {
        let store = MemoryStore::new();
        let (ours, theirs) = (Switches::on(store.clone()).unwrap(), Switches::on(store).unwrap());
        let flipped = ours.set("payments", false, "a test", "ada").unwrap();
        assert_eq!(flipped, Flipped { revision: 1, saved: true });
        assert!(!theirs.is_enabled("payments"));
        theirs.set("payments", true, "tested", "bob").unwrap();
        assert!(ours.is_enabled("payments"));
        assert_eq!(ours.states(), theirs.states());
    }

    #[test]
    fn a_flip_is_audited_with_what_it_changed() {
        let switches = Switches::on(MemoryStore::new()).unwrap();
        switches.set("payments", false, "a test", "ada").unwrap();
        switches.set("payments", true, "tested", "bob").unwrap();
        let audit = switches.audit(10).unwrap();
        let told = audit.iter().map(|entry| {
            let before = entry.before.as_ref().is_some_and(|before| before.enabled);
            (&*entry.action, &*entry.actor, before, entry.after.enabled, entry.revision)
        });
        let told: Vec<_> = told.collect();
        assert_eq!(told, [("kill", "ada", true, false, 1), ("restore", "bob", false, true, 2)]);
    }

    #[test]
    fn a_flip_needs_a_reason() {
        let switches = Switches::on(MemoryStore::new()).unwrap();
        assert!(matches!(switches.set("payments", false, " ", "ada"), Err(SetError::Refused(_))));
    }
}
