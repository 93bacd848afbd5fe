//! The writer's core: what happens to a flip, step by step, with the store, the publisher and `now` as arguments.
//!
//! - A **kill** is published first and kept second. Until the store has it, it is in force under the old revision (only a
//!   kept switchboard gets a new one), it is listed as pending, and it is tried again until it is kept.
//! - An **enable** is kept first and published second. When the store fails, nothing changes: a feature that was turned on
//!   only in memory would be off again after the next start, at a time that nobody chose.
//! - An **expiry** needs no store to be true (the kill itself said when it ends), so it takes the way of a kill.
//! - A **kill of what is off already** takes the place of the one before. Only who may turn a feature on may bring its end
//!   forward by that; for all others it would be a way to turn it on a minute later.
//! - What the **environment** holds off stays off. A flip of such a feature is remembered beneath the hold, and what is kept
//!   is what lies beneath: with the variable gone, the next start finds what operators last decided.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use portcullis::auto_disable::Meter;
use portcullis::store::{AuditEntry, Saved, Store, StoreError};
use portcullis::switchboard::feature::{Source, State};
use portcullis::switchboard::flip::Flip;
use portcullis::switchboard::{Switchboard, UnixMillis};
use portcullis::view::Publisher;

use super::{Board, Flipped, Origin, WriteError};
use crate::control::chain::Chain;
use crate::control::ledger::Ledger;

/// Audit entries that may wait for a store that fails: some minutes of a busy operator, and a few megabytes at most.
const AUDIT_BACKLOG_MAX: usize = 10_000;

pub(super) struct Desk {
    store: Box<dyn Store>,
    publisher: Publisher,
    meters: Vec<Meter>,
    ledger: Arc<Ledger>,
    /// What is in force, under the revision that is kept.
    board: Switchboard,
    /// The environment's holds.
    held: BTreeMap<Arc<str>, State>,
    /// What operators decided about features that the environment holds.
    beneath: BTreeMap<Arc<str>, State>,
    /// In force, not yet kept.
    pending: BTreeSet<Arc<str>>,
    /// Done, not yet in the audit.
    backlog: VecDeque<AuditEntry>,
    /// The newest revision in the audit, which a kill that isn't kept yet is ahead with. A store reads the audit backwards
    /// until it meets what it knows, so what is no flip must not seem older than the flips before it.
    revision_audited: u64,
}

impl Desk {
    pub(super) fn new(board: Board, ledger: Arc<Ledger>) -> Self {
        let Board { mut store, publisher, switchboard, meters } = board;
        let is_held = |state: &State| matches!(state.source, Source::Env { .. });
        let held: BTreeMap<Arc<str>, State> = switchboard
            .features()
            .filter(|(_, _, state)| is_held(state))
            .map(|(_, feature, state)| (feature.name.clone(), state.clone()))
            .collect();
        let beneath = if held.is_empty() { BTreeMap::new() } else { beneath(&mut *store, &held) };
        Self {
            store,
            publisher,
            meters,
            ledger,
            board: switchboard,
            held,
            beneath,
            pending: BTreeSet::new(),
            backlog: VecDeque::new(),
            revision_audited: 0,
        }
    }

    /// The revision under which something is audited that is no flip.
    pub(super) fn revision_audited(&self) -> u64 {
        self.revision_audited.max(self.board.revision())
    }

    pub(super) fn has_audit_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    pub(super) fn next_expiry(&self) -> Option<UnixMillis> {
        self.board.next_expiry()
    }

    /// Whether something waits to be kept.
    pub(super) fn needs_repair(&self) -> bool {
        !self.pending.is_empty() || !self.backlog.is_empty()
    }

    pub(super) fn audit(&mut self, last: usize) -> Result<Vec<AuditEntry>, StoreError> {
        self.store.audit(last)
    }

    pub(super) fn flip(
        &mut self,
        flip: &Flip,
        origin: &Origin,
        now: UnixMillis,
    ) -> Result<Flipped, WriteError> {
        if let Some(expected) =
            origin.expected_revision.filter(|expected| *expected != self.board.revision())
        {
            return Err(WriteError::Moved { expected, revision: self.board.revision() });
        }
        let next = self.board.apply(flip, now)?;
        if !origin.may_end_sooner {
            self.refuse_an_end_brought_forward(flip)?;
        }
        let features: BTreeSet<Arc<str>> = flip.features.iter().cloned().collect();
        let entries = self.entries(&features, &next, origin.request_id.as_deref(), now);
        self.remember_beneath(&features, &next);
        let next = self.with_holds(next);
        let saved = if flip.enabled {
            self.enable(next, features.clone(), entries)?
        } else {
            self.kill(next, &features, entries)
        };
        announce(flip, &features);
        Ok(Flipped {
            revision: self.board.revision(),
            saved,
            states: features.iter().map(|name| (name.clone(), self.state(name))).collect(),
            pending: self.pending.iter().cloned().collect(),
        })
    }

    /// A kill replaces the one before it, its end included: so one that ends sooner is an enable in disguise. What counts is
    /// what was decided last; of a feature that the environment holds, that is what lies beneath.
    fn refuse_an_end_brought_forward(&self, flip: &Flip) -> Result<(), WriteError> {
        let Some(end) = flip.expires_at.filter(|_| !flip.enabled) else { return Ok(()) };
        for feature in &flip.features {
            let decided = if self.held.contains_key(feature) {
                self.beneath.get(feature).cloned().unwrap_or_default()
            } else {
                self.state(feature)
            };
            if !decided.enabled && decided.expires_at.is_none_or(|ends| end < ends) {
                return Err(WriteError::EndsSooner {
                    feature: feature.clone(),
                    ends: decided.expires_at,
                });
            }
        }
        Ok(())
    }

    /// A meter's wish to turn its feature off. One that is off already stays as it is: who turned it off had a better reason.
    pub(super) fn propose(&mut self, flip: &Flip, now: UnixMillis) {
        let mut flip = flip.clone();
        flip.features.retain(|name| self.board.is_enabled(name));
        if flip.features.is_empty() {
            return;
        }
        if let Err(error) = self.flip(&flip, &Origin::default(), now) {
            tracing::error!(target: "portcullis::change", "auto-disable of {:?} failed: {error}", flip.features);
        }
    }

    /// Lifts the kills whose time is over.
    pub(super) fn expire(&mut self, now: UnixMillis) {
        let Some(next) = self.board.expire(now) else { return };
        let lifted: BTreeSet<Arc<str>> = next
            .features()
            .filter(|(id, _, state)| state.enabled && self.board.is_off(*id))
            .map(|(_, feature, _)| feature.name.clone())
            .collect();
        let entries = self.entries(&lifted, &next, None, now);
        self.reset_meters(&lifted);
        self.kill(next, &lifted, entries);
        for name in &lifted {
            let state = self.state(name);
            tracing::info!(target: "portcullis::change", "KILLSWITCH ENABLED: {name} by schedule - {}", state.reason);
        }
    }

    /// Tries again to keep what the store refused before.
    pub(super) fn repair(&mut self) {
        if !self.pending.is_empty() {
            let next = self.board.clone().at_revision(self.board.revision() + 1);
            if self.save(&next) {
                self.committed(next);
                tracing::info!(target: "portcullis::store", "the store works again: revision {} is kept", self.board.revision());
            }
        }
        if self.pending.is_empty() {
            self.write_audit();
        }
    }

    /// In force first, kept second. Until something is kept, every next switchboard would get the same revision, and the one
    /// that gets it holds all that waited: so the audit's entries bear the right one from the start.
    fn kill(
        &mut self,
        next: Switchboard,
        features: &BTreeSet<Arc<str>>,
        entries: Vec<AuditEntry>,
    ) -> bool {
        self.board = next.clone().at_revision(self.board.revision());
        self.publisher.publish(self.board.clone());
        self.queue_audit(entries);
        let saved = self.save(&next);
        if saved {
            self.committed(next);
            self.write_audit();
        } else {
            self.pending.extend(features.iter().cloned());
            self.tell_pending();
        }
        saved
    }

    /// Kept first, in force second.
    fn enable(
        &mut self,
        next: Switchboard,
        features: BTreeSet<Arc<str>>,
        entries: Vec<AuditEntry>,
    ) -> Result<bool, WriteError> {
        if !self.save(&next) {
            return Err(WriteError::NotSaved { features: features.into_iter().collect() });
        }
        self.reset_meters(&features);
        self.committed(next);
        self.queue_audit(entries);
        self.write_audit();
        Ok(true)
    }

    fn committed(&mut self, next: Switchboard) {
        self.board = next;
        self.publisher.publish(self.board.clone());
        self.pending.clear();
        self.tell_pending();
    }

    fn save(&mut self, next: &Switchboard) -> bool {
        let mut saved = Saved::of(next);
        saved
            .states
            .extend(self.beneath.iter().map(|(name, state)| (name.to_string(), state.clone())));
        match self.store.save(&saved) {
            Ok(()) => {
                self.ledger.saved();
                true
            }
            Err(error) => {
                self.ledger.save_failed();
                tracing::error!(target: "portcullis::store", "revision {} is not kept: {}", saved.revision, Chain(&error));
                false
            }
        }
    }

    fn remember_beneath(&mut self, features: &BTreeSet<Arc<str>>, next: &Switchboard) {
        for name in features.iter().filter(|name| self.held.contains_key(*name)) {
            self.beneath.insert(name.clone(), state_of(next, name));
        }
    }

    fn with_holds(&self, board: Switchboard) -> Switchboard {
        self.held.iter().fold(board, |board, (name, hold)| board.with_state(name, hold.clone()))
    }

    fn entries(
        &self,
        features: &BTreeSet<Arc<str>>,
        next: &Switchboard,
        request_id: Option<&str>,
        now: UnixMillis,
    ) -> Vec<AuditEntry> {
        let entry = |name: &Arc<str>| {
            let after = state_of(next, name);
            AuditEntry {
                at: now,
                actor: after.updated_by.clone(),
                action: action(&after).to_owned(),
                feature: name.to_string(),
                reason: after.reason.clone(),
                source: after.source.clone(),
                before: Some(self.state(name)),
                after,
                revision: next.revision(),
                request_id: request_id.map(str::to_owned),
                breaker: None,
            }
        };
        features.iter().map(entry).collect()
    }

    pub(super) fn queue_audit(&mut self, entries: Vec<AuditEntry>) {
        self.revision_audited =
            entries.iter().map(|entry| entry.revision).fold(self.revision_audited, u64::max);
        self.backlog.extend(entries);
        while self.backlog.len() > AUDIT_BACKLOG_MAX {
            self.backlog.pop_front();
            self.ledger.lost_audit();
        }
        self.ledger.set_audit_backlog(self.backlog.len());
    }

    /// Writes the audit in order, as far as the store takes it.
    pub(super) fn write_audit(&mut self) {
        while let Some(entry) = self.backlog.front() {
            if let Err(error) = self.store.append_audit(entry) {
                self.ledger.save_failed();
                tracing::error!(target: "portcullis::store", "an audit entry is not kept: {}", Chain(&error));
                break;
            }
            self.backlog.pop_front();
        }
        self.ledger.set_audit_backlog(self.backlog.len());
    }

    fn reset_meters(&self, features: &BTreeSet<Arc<str>>) {
        for meter in self.meters.iter().filter(|meter| features.contains(meter.feature())) {
            meter.reset();
        }
    }

    fn tell_pending(&self) {
        self.ledger.set_pending(self.pending.iter().cloned().collect());
    }

    fn state(&self, name: &str) -> State {
        state_of(&self.board, name)
    }
}

fn state_of(board: &Switchboard, name: &str) -> State {
    board.id(name).map_or_else(State::default, |id| board.state(id).clone())
}

const fn action(after: &State) -> &'static str {
    match (&after.source, after.enabled) {
        (Source::Expiry, _) => "expire",
        (_, true) => "restore",
        (_, false) => "kill",
    }
}

/// What is kept of the held features. A store that can't say (it could, a moment ago, when it was opened) makes them killed:
/// whoever takes the variable away has to turn them on, too.
fn beneath(store: &mut dyn Store, held: &BTreeMap<Arc<str>, State>) -> BTreeMap<Arc<str>, State> {
    match store.load() {
        Ok(Some(saved)) => {
            let states = saved.states.into_iter().map(|(name, state)| (Arc::from(name), state));
            states.filter(|(name, _)| held.contains_key(name)).collect()
        }
        Ok(None) => BTreeMap::new(),
        Err(error) => {
            tracing::error!(target: "portcullis::store", "the states beneath the environment's holds can't be read: {}", Chain(&error));
            let killed = |hold: &State| State { source: Source::Api, ..hold.clone() };
            held.iter().map(|(name, hold)| (name.clone(), killed(hold))).collect()
        }
    }
}

/// One line per feature, in the words that people grep for.
fn announce(flip: &Flip, features: &BTreeSet<Arc<str>>) {
    let Flip { actor, reason, .. } = flip;
    for feature in features {
        match (&flip.source, flip.enabled) {
            (Source::Auto, false) => {
                tracing::info!(target: "portcullis::change", "Auto-disabled: {feature} due to high error rate");
            }
            (_, false) => {
                tracing::info!(target: "portcullis::change", "KILLSWITCH DISABLED: {feature} by {actor} - {reason}");
            }
            (_, true) => {
                tracing::info!(target: "portcullis::change", "KILLSWITCH ENABLED: {feature} by {actor} - {reason}");
            }
        }
    }
}
