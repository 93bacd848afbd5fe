//! The store in a directory: the default, which needs no server.
//!
//! | file | is |
//! |---|---|
//! | `switchboard.json` | the newest [`Saved`], sealed |
//! | `switchboard.previous.json` | the one before it |
//! | `switchboard.damaged.json` | a `switchboard.json` that couldn't be read, kept for whoever wants to know why |
//! | `audit.jsonl` | the audit, a sealed line per entry, each with the seal of the line before it |
//! | `audit.cut` | a last line of the audit that was never finished |
//! | `lock` | locked for as long as a process has the store open |
//!
//! Every file is JSON that a person can read, and every object is *sealed*: its last member is the SHA-256 of the bytes
//! before it. See `seal.rs`.
//!
//! **Saving** writes a new file, syncs it, keeps the present one as the previous, renames, and syncs the directory. At each
//! moment in between there is a complete generation under one of the names.
//!
//! **Loading** takes the newest generation that is whole, and then every flip of the audit that is newer than it. So a
//! damaged, missing or rolled-back snapshot loses no kill that was audited, and what was done about it is a
//! [notice](Store::notices). If there is no whole generation beside a damaged one, or a line of the audit that is needed can't
//! be read, loading fails rather than turns something on.
//!
//! ```
//! use portcullis::store::{EmbeddedStore, Saved, Store};
//!
//! # fn main() -> Result<(), portcullis::store::StoreError> {
//! let directory = tempfile::tempdir().unwrap();
//! let mut store = EmbeddedStore::open(directory.path())?;
//! assert_eq!(store.load()?, None);
//! store.save(0, &Saved { revision: 1, ..Saved::default() })?;
//! drop(store);
//! assert_eq!(EmbeddedStore::open(directory.path())?.load()?.unwrap().revision, 1);
//! # Ok(()) }
//! ```

pub(in crate::store) mod audit_log;
mod disk;
pub(in crate::store) mod seal;
pub(in crate::store) mod snapshot;

use std::{
    fs::{File, TryLockError},
    io::ErrorKind,
    path::Path,
};

use self::{
    audit_log::AuditLog,
    snapshot::{Generation, Snapshots},
};
use super::{AuditEntry, Saved, Store, StoreError};

/// A store in one directory. See the [module](self).
#[derive(Debug)]
pub struct EmbeddedStore {
    snapshots: Snapshots,
    audit: AuditLog,
    notices: Vec<String>,
    /// The revision that is kept. Known from the first load or save on: nobody else writes here.
    revision: Option<u64>,
    _lock: File,
}

impl EmbeddedStore {
    /// Opens the store in this directory, which is made if it doesn't exist. No other process can open it meanwhile.
    ///
    /// # Errors
    /// If the path is a file, another process has the store open, or the directory can't be written to.
    pub fn open(directory: &Path) -> Result<Self, StoreError> {
        if directory.exists() && !directory.is_dir() {
            return Err(StoreError::NotADirectory { path: directory.to_owned() });
        }
        disk::make_directory(directory)?;
        let lock = lock(directory)?;
        let mut notices = Vec::new();
        let audit = AuditLog::open(directory, &mut notices)?;
        Ok(Self {
            snapshots: Snapshots::new(directory),
            audit,
            notices,
            revision: None,
            _lock: lock,
        })
    }

    /// Checks the seal of every line of the audit and that each follows the one before it.
    ///
    /// # Errors
    /// With the first line at fault, or if the audit can't be read.
    pub fn verify_audit(&mut self) -> Result<u64, StoreError> {
        self.audit.verify()
    }

    /// The same of any directory, also of one that a process has open: nothing is locked, and nothing changed. With the hash
    /// of a line that was the last one once, that line has to be there still.
    ///
    /// # Errors
    /// With the first line at fault, or if the audit can't be read.
    pub fn verify_audit_in(directory: &Path, seen: Option<&str>) -> Result<Verified, StoreError> {
        audit_log::verify(directory, seen)
    }
}

/// An audit whose lines are all whole and in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// How many there are.
    pub lines: u64,
    /// The hash of the last one. Whoever keeps it elsewhere can tell later whether lines were cut off at the end, which the
    /// chain alone can't say.
    pub last: String,
}

fn lock(directory: &Path) -> Result<File, StoreError> {
    let path = directory.join("lock");
    let lock = disk::open_to_write(&path)?;
    match lock.try_lock() {
        Ok(()) => Ok(lock),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked { path: directory.to_owned() }),
        // Some network file systems have no locks. Two writers would tear each other's audit, so that is no place for it.
        Err(TryLockError::Error(source)) => Err(StoreError::Io { doing: "lock", path, source }),
    }
}

impl Store for EmbeddedStore {
    fn load(&mut self) -> Result<Option<Saved>, StoreError> {
        let newest = self.snapshots.newest(&mut self.notices)?;
        let (snapshot, generation) = newest.unzip();
        let revision = snapshot.as_ref().map_or(0, |saved| saved.revision);
        let (newer, has_gap) = self.audit.since(revision, &mut self.notices)?;
        // Where the present snapshot is whole and the newest, a damaged line is only a damaged line.
        if has_gap && (!newer.is_empty() || generation != Some(Generation::Present)) {
            return Err(self.audit.gap(revision));
        }
        self.revision = Some(revision);
        if newer.is_empty() {
            return Ok(snapshot);
        }
        self.notices.push(format!(
            "took {} flips newer than revision {revision} over from the audit",
            newer.len()
        ));
        let mut saved = snapshot.unwrap_or_default();
        for entry in newer {
            saved.revision = saved.revision.max(entry.revision);
            saved.states.insert(entry.feature, entry.after);
        }
        self.revision = Some(saved.revision);
        Ok(Some(saved))
    }

    fn save(&mut self, over: u64, saved: &Saved) -> Result<(), StoreError> {
        if self.revision != Some(over) {
            let newest = self.load()?.unwrap_or_default();
            if newest.revision != over {
                return Err(StoreError::Moved { newest: Box::new(newest) });
            }
        }
        self.snapshots.save(saved)?;
        self.revision = Some(saved.revision);
        Ok(())
    }

    fn append_audit(&mut self, entry: &AuditEntry) -> Result<(), StoreError> {
        self.audit.append(entry)
    }

    fn audit(&mut self, last: usize) -> Result<Vec<AuditEntry>, StoreError> {
        self.audit.last(last, &mut self.notices)
    }

    fn notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.notices)
    }
}

/// Whether there is no such file, as an answer rather than a fault.
fn or_missing<T>(result: Result<T, StoreError>) -> Result<Option<T>, StoreError> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(StoreError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
