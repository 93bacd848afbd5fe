//! The store that forgets: for tests, and for gateways that are told everything at start.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{AuditEntry, Hear, News, Saved, Store, StoreError};

/// Keeps everything for as long as it or a clone of it lives, and no longer. A clone is another handle of the same store, as
/// another process would have it.
#[derive(Debug, Default)]
pub struct MemoryStore {
    memory: Arc<Mutex<Memory>>,
    /// Which of the followers is this handle's own, and needs to hear nothing of what it does itself.
    own: Option<usize>,
}

#[derive(Default)]
struct Memory {
    saved: Option<Saved>,
    audit: Vec<AuditEntry>,
    followers: Vec<Hear>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Clone for MemoryStore {
    fn clone(&self) -> Self {
        Self { memory: self.memory.clone(), own: None }
    }
}

/// The most entries of the audit that are kept in memory; then the older half is forgotten.
const AUDIT_MAX: usize = 10_000;

impl Store for MemoryStore {
    fn load(&mut self) -> Result<Option<Saved>, StoreError> {
        Ok(self.memory().saved.clone())
    }

    fn save(&mut self, over: u64, saved: &Saved) -> Result<(), StoreError> {
        let mut memory = self.memory();
        follows(over, memory.saved.as_ref())?;
        memory.saved = Some(saved.clone());
        for (index, hear) in memory.followers.iter().enumerate() {
            if self.own != Some(index) {
                hear(News::Newer(saved.clone()));
            }
        }
        Ok(())
    }

    fn append_audit(&mut self, entry: &AuditEntry) -> Result<(), StoreError> {
        let audit = &mut self.memory().audit;
        if audit.len() == AUDIT_MAX {
            audit.drain(..AUDIT_MAX / 2);
        }
        audit.push(entry.clone());
        Ok(())
    }

    fn audit(&mut self, last: usize) -> Result<Vec<AuditEntry>, StoreError> {
        let audit = &self.memory().audit;
        Ok(audit[audit.len().saturating_sub(last)..].to_vec())
    }

    fn follow(&mut self, hear: Hear) {
        let mut memory = self.memory();
        memory.followers.push(hear);
        let own = memory.followers.len() - 1;
        drop(memory);
        self.own = Some(own);
    }
}

/// Whether a save over this revision follows what is kept.
pub(super) fn follows(over: u64, kept: Option<&Saved>) -> Result<(), StoreError> {
    match kept {
        Some(kept) if kept.revision != over => {
            Err(StoreError::Moved { newest: Box::new(kept.clone()) })
        }
        None if over != 0 => Err(StoreError::Moved { newest: Box::default() }),
        _ => Ok(()),
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { saved, audit, followers } = self;
        write!(f, "{saved:?}, {} audited, {} followers", audit.len(), followers.len())
    }
}
