//! Stores: where the state of the killswitches outlives the process.
//!
//! A store keeps the newest [`Saved`] and an [audit](AuditEntry) of how it came to be. It decides nothing, merges nothing and
//! is never asked by a request: the one writer of the switchboard calls it, after a flip is applied. It is synchronous,
//! because a disk is; the writer runs it on a thread of its own.
//!
//! The promise that every store makes: **loss never un-kills**. What it can't read it reports, as a typed error or as a
//! [notice](Store::notices); it never answers "nothing is off" because it knows nothing.
//!
//! [`MemoryStore`] forgets everything with the process. `EmbeddedStore` (feature `embedded`) is one directory, and needs no
//! server.

mod audit;
#[cfg(feature = "embedded")]
pub mod embedded;
mod error;
mod memory;
mod saved;

pub use audit::{AuditEntry, Ordered};
#[cfg(feature = "embedded")]
pub use embedded::EmbeddedStore;
pub use error::StoreError;
pub use memory::MemoryStore;
pub use saved::Saved;

/// Keeps the state of the killswitches.
pub trait Store: Send {
    /// The newest state that was saved; nothing if none ever was.
    ///
    /// # Errors
    /// If there is something that can't be read. That is never the same as nothing.
    fn load(&mut self) -> Result<Option<Saved>, StoreError>;

    /// Replaces the saved state. Once it returns, the state survives a loss of power, as far as the store promises that.
    ///
    /// # Errors
    /// If it is not known to be kept. What was saved before is still there.
    fn save(&mut self, saved: &Saved) -> Result<(), StoreError>;

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

    /// What the store found damaged and dealt with since it was last asked, for an operator to read.
    fn notices(&mut self) -> Vec<String> {
        Vec::new()
    }
}
