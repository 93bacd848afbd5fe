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
    /// Why the store doesn't keep what it is given, while it doesn't.
    failure: ArcSwapOption<String>,
    /// The same of the audit.
    audit_failure: ArcSwapOption<String>,
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

    /// Why something is not kept, in the words that came first.
    pub fn failure(&self) -> Option<Arc<String>> {
        self.failure.load_full().or_else(|| self.audit_failure.load_full())
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

    /// A switchboard is kept. Answers whether the attempt before had failed.
    pub(super) fn saved(&self) -> bool {
        self.saves.fetch_add(1, Relaxed);
        self.failure.swap(None).is_some()
    }

    /// One isn't. Answers whether the attempt before had not failed.
    pub(super) fn save_failed(&self, why: &str) -> bool {
        self.save_failures.fetch_add(1, Relaxed);
        begins(&self.failure, why)
    }

    /// The audit has all. Answers whether it refused something before.
    pub(super) fn audit_works(&self) -> bool {
        self.audit_failure.swap(None).is_some()
    }

    /// It refuses something. Answers whether it took everything before.
    pub(super) fn audit_failed(&self, why: &str) -> bool {
        self.save_failures.fetch_add(1, Relaxed);
        begins(&self.audit_failure, why)
    }

    pub(super) fn set_pending(&self, features: Vec<Arc<str>>) {
        self.pending.store(Arc::new(features));
    }

    pub(super) fn set_audit(&self, backlog: usize, lost: u64) {
        self.audit_backlog.store(backlog as u64, Relaxed);
        self.audit_lost.store(lost, Relaxed);
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

/// Notes a failure unless one is noted, whose first words are the ones to find in the log.
fn begins(failure: &ArcSwapOption<String>, why: &str) -> bool {
    let begins = failure.load().is_none();
    if begins {
        failure.store(Some(Arc::new(why.to_owned())));
    }
    begins
}
