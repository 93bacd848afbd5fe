//! The store that forgets: for tests, and for gateways that are told everything at start.

use super::{AuditEntry, Saved, Store, StoreError};

/// Keeps everything for as long as it lives, and no longer.
#[derive(Debug, Default)]
pub struct MemoryStore {
    saved: Option<Saved>,
    audit: Vec<AuditEntry>,
}

impl MemoryStore {
    /// An empty store.
    pub const fn new() -> Self {
        Self { saved: None, audit: Vec::new() }
    }
}

/// The most entries of the audit that are kept in memory; then the older half is forgotten.
const AUDIT_MAX: usize = 10_000;

impl Store for MemoryStore {
    fn load(&mut self) -> Result<Option<Saved>, StoreError> {
        Ok(self.saved.clone())
    }

    fn save(&mut self, saved: &Saved) -> Result<(), StoreError> {
        self.saved = Some(saved.clone());
        Ok(())
    }

    fn append_audit(&mut self, entry: &AuditEntry) -> Result<(), StoreError> {
        if self.audit.len() == AUDIT_MAX {
            self.audit.drain(..AUDIT_MAX / 2);
        }
        self.audit.push(entry.clone());
        Ok(())
    }

    fn audit(&mut self, last: usize) -> Result<Vec<AuditEntry>, StoreError> {
        Ok(self.audit[self.audit.len().saturating_sub(last)..].to_vec())
    }
}
