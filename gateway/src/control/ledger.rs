//! What the writer knows about how well things are kept, for whoever asks without waiting.
//!
//! The writer's thread writes here; health, metrics and the admin API read. Numbers only ever come from one place: this one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use arc_swap::{ArcSwap, ArcSwapOption};

/// Counts and marks of the writer. All loads are relaxed: they are reports, nothing is decided by their order.
#[derive(Debug, Default)]
pub struct Ledger {
    saves: AtomicU64,
    save_failures: AtomicU64,
    audit_backlog: AtomicU64,
    audit_lost: AtomicU64,
    proposals_lost: AtomicU64,
    pending: ArcSwap<Vec<Arc<str>>>,
    /// Only a shared store can be away.
    away: AtomicBool,
    losses: AtomicU64,
    /// What the store lost last, in words.
    loss: ArcSwapOption<String>,
    /// How the store is set up so that it may lose something one day.
    warnings: ArcSwap<Vec<String>>,
    stopped: AtomicBool,
}

impl Ledger {
    /// Whether all that is in force is also kept, and somebody is there to keep what comes next.
    pub fn in_order(&self) -> bool {
        !self.has_stopped()
            && !self.is_away()
            && self.pending.load().is_empty()
            && self.audit_backlog() == 0
    }

    /// Whether a shared store doesn't answer.
    pub fn is_away(&self) -> bool {
        self.away.load(Relaxed)
    }

    /// How often the store lost something that had to be put back.
    pub fn losses(&self) -> u64 {
        self.losses.load(Relaxed)
    }

    /// What the store lost last.
    pub fn loss(&self) -> Option<Arc<String>> {
        self.loss.load_full()
    }

    /// How the store is set up so that it may lose something one day. Worth a mend, but nothing is out of order yet.
    pub fn warnings(&self) -> Arc<Vec<String>> {
        self.warnings.load_full()
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

    pub(super) fn reached(&self) {
        self.away.store(false, Relaxed);
    }

    pub(super) fn lost_sight(&self) {
        self.away.store(true, Relaxed);
    }

    pub(super) fn lost_state(&self, what: &str) {
        self.losses.fetch_add(1, Relaxed);
        self.loss.store(Some(Arc::new(what.to_owned())));
    }

    pub(super) fn warned(&self, warnings: Vec<String>) {
        self.warnings.store(Arc::new(warnings));
    }

    pub(super) fn stop(&self) {
        self.stopped.store(true, Relaxed);
    }
}
