//! The newest known state on a disk of this machine, for a start without Redis.
//!
//! It is the embedded store's snapshot, generations, seal and all, in a directory that one process has locked. A mirror that
//! can't be kept costs nothing but the start without Redis, so its faults are notices.

use std::{
    collections::BTreeMap,
    fs::{self, File, TryLockError},
    io,
    path::Path,
    sync::{Mutex, PoisonError},
};

use crate::{
    store::{Saved, embedded::snapshot::Snapshots},
    switchboard::feature::State,
};

const UNKEPT: &str = "unkept";

pub(super) struct Mirror {
    snapshots: Snapshots,
    /// Kills that are in force and that Redis doesn't have.
    unkept: Snapshots,
    /// Writer and reader both keep what they learn, and a snapshot has one writer at a time.
    turn: Mutex<()>,
    _lock: File,
}

impl Mirror {
    pub(super) fn open(directory: &Path) -> Result<Self, String> {
        let fault = |error: &dyn std::fmt::Display| {
            format!(
                "there is no mirror in {}, so a start without Redis knows nothing: {error}",
                directory.display()
            )
        };
        let locked = fs::create_dir_all(directory.join(UNKEPT))
            .and_then(|()| {
                let lock = File::options()
                    .create(true)
                    .truncate(false)
                    .write(true)
                    .open(directory.join("lock"))?;
                match lock.try_lock() {
                    Ok(()) => Ok(lock),
                    Err(TryLockError::WouldBlock) => {
                        Err(io::Error::other("another process has it open"))
                    }
                    Err(TryLockError::Error(error)) => Err(error),
                }
            })
            .map_err(|error| fault(&error))?;
        let unkept = Snapshots::new(&directory.join(UNKEPT));
        Ok(Self {
            snapshots: Snapshots::new(directory),
            unkept,
            turn: Mutex::default(),
            _lock: locked,
        })
    }

    pub(super) fn load(&self, notices: &mut Vec<String>) -> Option<Saved> {
        self.snapshots.load(notices).unwrap_or_else(|error| {
            notices.push(format!("the mirror is of no use: {error}"));
            None
        })
    }

    pub(super) fn load_unkept(&self, notices: &mut Vec<String>) -> BTreeMap<String, State> {
        let loaded = self.unkept.load(notices).unwrap_or_else(|error| {
            notices.push(format!("which kills weren't kept can't be read: {error}"));
            None
        });
        loaded.unwrap_or_default().states
    }

    pub(super) fn keep_unkept(&self, states: BTreeMap<String, State>) -> Result<(), String> {
        let saved = Saved { states, ..Saved::default() };
        self.unkept.save(&saved).map_err(|error| format!("the mirror can't be kept: {error}"))
    }

    /// Keeps what is the newest once its turn has come, so that nothing older ever replaces it.
    pub(super) fn keep(&self, newest: impl FnOnce() -> Saved) -> Result<(), String> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        self.snapshots.save(&newest()).map_err(|error| format!("the mirror can't be kept: {error}"))
    }
}
