//! What the writer knows about how well things are kept, for whoever asks without waiting.
//!
//! The writer's thread writes here; health, metrics and the admin API read. Numbers only ever come from one place: this one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use arc_swap::ArcSwap;

/// Counts and marks of the writer. All loads are relaxed: they are reports, nothing is decided by their order.
#[derive(Debug, Default)]
pub struct Ledger {
    saves: AtomicU64,
    save_failures: AtomicU64,
    audit_backlog: AtomicU64,
    audit_lost: AtomicU64,
    proposals_lost: AtomicU64,
    pending: ArcSwap<Vec<Arc<str>>>,
    stopped: AtomicBool,
}

impl Ledger {
    /// Whether all that is in force is also kept, and somebody is there to keep what comes next.
    pub fn in_order(&self) -> bool {
        !self.has_stopped() && self.pending.load().is_empty() && self.audit_backlog() == 0
    }

    /// Whether the writer is gone. Nothing can be flipped any more.
    pub fn has_stopped(&self) -> bool {
        self.stopped.load(Relaxed)
    }

    /// Features whose state is in force here, but not yet kept.
    pub fn pending(&self) -> Arc<Vec<Arc<str>>> {
        self.pending.load_full()
    }

    /// Switchboards kept so far.
    pub fn saves(&self) -> u64 {
        self.saves.load(Relaxed)
    }

    /// Attempts to keep something that failed.
    pub fn save_failures(&self) -> u64 {
        self.save_failures.load(Relaxed)
    }

    /// Audit entries that wait for the store.
    pub fn audit_backlog(&self) -> u64 {
        self.audit_backlog.load(Relaxed)
    }

    /// Audit entries given up because too many waited.
    pub fn audit_lost(&self) -> u64 {
        self.audit_lost.load(Relaxed)
    }

    /// Auto-disable proposals given up because too many waited.
    pub fn proposals_lost(&self) -> u64 {
        self.proposals_lost.load(Relaxed)
    }

    pub(super) fn saved(&self) {
        self.saves.fetch_add(1, Relaxed);
    }

    pub(super) fn save_failed(&self) {
        self.save_failures.fetch_add(1, Relaxed);
    }

    pub(super) fn set_pending(&self, features: Vec<Arc<str>>) {
        self.pending.store(Arc::new(features));
    }

    pub(super) fn set_audit_backlog(&self, entries: usize) {
        self.audit_backlog.store(entries as u64, Relaxed);
    }

    pub(super) fn lost_audit(&self) {
        self.audit_lost.fetch_add(1, Relaxed);
    }

    pub(super) fn lost_proposal(&self) {
        self.proposals_lost.fetch_add(1, Relaxed);
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Relaxed);
    }
}
