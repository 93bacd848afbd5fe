//! Stores: where the state of the killswitches outlives the process, and where several processes share it.
//!
//! A store keeps the newest [`Saved`] and an [audit](AuditEntry) of how it came to be. It decides nothing and
//! is never asked by a request: the one writer of the switchboard calls it, after a flip is applied. It is synchronous,
//! because a disk is; the writer runs it on a thread of its own.
//!
//! The promises that every store makes:
//!
//! - **Loss never un-kills.** What it can't read it reports, as a typed error, as a [notice](Store::notices) or as
//!   [news](News::Loss); it never answers "nothing is off" because it knows nothing.
//! - **Nobody is overwritten.** [`save`](Store::save) names the revision that it follows, and fails with what is there
//!   instead ([`StoreError::Moved`]) when somebody else was quicker.
//! - **Revisions only grow**, whatever happens to the store.
//!
//! | store | feature | keeps | is shared |
//! |---|---|---|---|
//! | [`MemoryStore`] | | nothing beyond the process | by its clones |
//! | `EmbeddedStore` | `embedded` | in one directory, needs no server | no: the directory is locked |
//! | `RedisStore` | `redis` | in Redis, and what it knew last in a directory | by all who name the same server and namespace |

mod audit;
#[cfg(feature = "embedded")]
pub mod embedded;
mod error;
mod memory;
mod news;
#[cfg(feature = "redis")]
pub mod redis;
mod saved;

pub use audit::{AuditEntry, Ordered};
#[cfg(feature = "embedded")]
pub use embedded::EmbeddedStore;
pub use error::StoreError;
pub use memory::MemoryStore;
pub use news::{Hear, Instance, Instances, News, Outlet};
#[cfg(feature = "redis")]
pub use redis::RedisStore;
pub use saved::{Mark, Saved};

use std::{collections::BTreeMap, sync::Arc};

use crate::switchboard::{UnixMillis, feature::State};

/// Keeps the state of the killswitches.
pub trait Store: Send {
    /// The newest state that was saved; nothing if none ever was.
    ///
    /// # Errors
    /// If there is something that can't be read. That is never the same as nothing.
    fn load(&mut self) -> Result<Option<Saved>, StoreError>;

    /// Replaces the state of the revision `over` (0: nothing was ever saved). Once it returns, the state survives a loss of
    /// power, as far as the store promises that.
    ///
    /// # Errors
    /// [`StoreError::Moved`] if the store is at another revision; any other if the state is not known to be kept. What was
    /// saved before is still there.
    fn save(&mut self, over: u64, saved: &Saved) -> Result<(), StoreError>;

    /// Adds to the audit.
    ///
    /// # Errors
    /// If the entry is not known to be kept.
    fn append_audit(&mut self, entry: &AuditEntry) -> Result<(), StoreError>;

    /// The last entries of the audit, the oldest of them first.
    ///
    /// # Errors
    /// If the audit can't be read.
    fn audit(&mut self, last: usize) -> Result<Vec<AuditEntry>, StoreError>;

    /// Kills that a process before this one had in force and couldn't get kept. They are to be in force again, and committed.
    fn unkept(&mut self) -> BTreeMap<String, State> {
        BTreeMap::new()
    }

    /// What the store found damaged and dealt with since it was last asked, for an operator to read.
    fn notices(&mut self) -> Vec<String> {
        Vec::new()
    }

    /// From now on `hear` is told what others do with the store, and how the store is. It is called from any thread, and
    /// must not wait. A store that nobody shares has no news.
    fn follow(&mut self, hear: Hear) {
        drop(hear);
    }

    /// The time by the clock that all who share the store go by, for ends that are kept in it; nothing where it isn't shared, or
    /// was never reached.
    fn clock(&self) -> Option<UnixMillis> {
        None
    }

    /// Tells the others which revision the requests of this process see. Best effort.
    fn serves(&mut self, revision: u64) {
        let _ = revision;
    }

    /// How many replicas had the last save when it was answered; nothing if there are none to have it.
    fn replicas(&self) -> Option<u32> {
        None
    }

    /// Who shares the store; nothing if it can't be shared between processes.
    fn instances(&self) -> Option<Arc<dyn Instances>> {
        None
    }

    /// A list of this name beside the state, of which about the newest `kept` entries are kept; nothing if nobody could
    /// read it.
    fn outlet(&self, name: &str, kept: usize) -> Option<Box<dyn Outlet>> {
        let _ = (name, kept);
        None
    }
}
