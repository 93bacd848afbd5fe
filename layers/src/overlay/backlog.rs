//! What the audit is still owed: done, and not yet kept by the store.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    store::AuditEntry,
    switchboard::{
        UnixMillis,
        feature::{Source, State},
        flip::Flip,
    },
};

/// Entries that may wait for a store that fails: some minutes of a busy operator, and a few megabytes at most.
const ENTRIES_MAX: usize = 10_000;

#[derive(Debug, Default)]
pub(super) struct Backlog {
    entries: VecDeque<AuditEntry>,
    /// The newest revision that was ever queued.
    newest: u64,
    lost: u64,
}

impl Backlog {
    pub(super) fn queue(&mut self, entries: Vec<AuditEntry>) {
        self.newest = entries.iter().map(|entry| entry.revision).fold(self.newest, u64::max);
        self.entries.extend(entries);
        self.limit();
    }

    /// All that waits, to be written. What can't be is [put back](Self::put_back).
    pub(super) fn take(&mut self) -> VecDeque<AuditEntry> {
        std::mem::take(&mut self.entries)
    }

    /// What was taken and not written goes before what came meanwhile.
    pub(super) fn put_back(&mut self, mut unwritten: VecDeque<AuditEntry>) {
        unwritten.append(&mut self.entries);
        self.entries = unwritten;
        self.limit();
    }

    /// Gives what waits for a revision after `before` another one: somebody else took theirs.
    pub(super) fn renumber(&mut self, before: u64, revision: u64) {
        for entry in self.entries.iter_mut().filter(|entry| entry.revision > before) {
            entry.revision = revision;
            self.newest = self.newest.max(revision);
        }
    }

    pub(super) fn newest(&self) -> u64 {
        self.newest
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) const fn lost(&self) -> u64 {
        self.lost
    }

    fn limit(&mut self) {
        let surplus = self.entries.len().saturating_sub(ENTRIES_MAX);
        self.entries.drain(..surplus);
        self.lost += surplus as u64;
    }
}

/// What the audit says of one feature of a flip.
pub(super) fn entry(
    feature: &Arc<str>,
    before: State,
    after: State,
    revision: u64,
    request_id: Option<&str>,
    now: UnixMillis,
) -> AuditEntry {
    AuditEntry {
        at: now,
        actor: after.updated_by.clone(),
        action: action(&before, &after).to_owned(),
        feature: feature.to_string(),
        reason: after.reason.clone(),
        source: after.source.clone(),
        before: Some(before),
        after,
        revision,
        request_id: request_id.map(str::to_owned),
        breaker: None,
    }
}

/// The same where somebody asked for it. What stands beside a state that is off for everybody doesn't change that state's own
/// words, so they are taken from the flip.
pub(super) fn of_flip(entry: AuditEntry, flip: &Flip) -> AuditEntry {
    AuditEntry {
        actor: flip.actor.clone(),
        reason: flip.reason.clone(),
        source: flip.source.clone(),
        action: if flip.enabled { "restore" } else { "kill" }.to_owned(),
        ..entry
    }
}

fn action(before: &State, after: &State) -> &'static str {
    match (&after.source, after.enabled) {
        (Source::Expiry, false) if before.enabled => "begin",
        (Source::Expiry, _) => "expire",
        (_, true) => "restore",
        (_, false) => "kill",
    }
}
