//! The writer's core: what happens to a flip, step by step, with the store, the publisher and `now` as arguments.
//!
//! - A **kill** is published first and kept second. Until the store has it, it is in force under the old revision (only a
//!   kept switchboard gets a new one), it is listed as pending, and it is tried again until it is kept.
//! - An **enable** is kept first and published second. When the store fails, nothing changes: a feature that was turned on
//!   only in memory would be off again after the next start, at a time that nobody chose.
//! - An **expiry** needs no store to be true (the kill itself said when it ends), so it takes the way of a kill.
//! - A **kill of what is off already** takes the place of the one before. Only who may turn a feature on may bring its end
//!   forward by that; for all others it would be a way to turn it on a minute later.
//! - What **others** commit in a store that several gateways share is adopted whole, but for what is pending here: a kill that
//!   the store doesn't have yet stays in force, and is committed on top. When somebody else was quicker, a flip is applied
//!   anew to what they made. One gateway and many take the same way.
//! - What the **environment** holds off stays off. A flip of such a feature is remembered beneath the hold, and what is kept
//!   is what lies beneath: with the variable gone, the next start finds what operators last decided.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use portcullis::auto_disable::Meter;
use portcullis::store::{Adopted, AuditEntry, News, Saved, Store, StoreError};
use portcullis::switchboard::feature::{Source, State};
use portcullis::switchboard::flip::Flip;
use portcullis::switchboard::{Switchboard, UnixMillis};
use portcullis::view::Publisher;

use super::{Board, Flipped, Origin, WriteError};
use crate::control::chain::Chain;
use crate::control::ledger::Ledger;

/// Audit entries that may wait for a store that fails: some minutes of a busy operator, and a few megabytes at most.
const AUDIT_BACKLOG_MAX: usize = 10_000;

/// How often a flip is applied anew because another gateway was quicker. Each time one of them has got its flip through, so
/// only a fleet that flips without a pause gets here.
const RACES_MAX: usize = 32;

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
        store.serves(switchboard.revision());
        let unkept: Vec<Arc<str>> =
            store.unkept().keys().map(|name| name.as_str().into()).collect();
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
            held,
            beneath,
            pending: unkept.into_iter().filter(|name| !switchboard.is_enabled(name)).collect(),
            board: switchboard,
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
        let features: BTreeSet<Arc<str>> = flip.features.iter().cloned().collect();
        let saved = if flip.enabled {
            self.enable(flip, &features, origin, now)?;
            true
        } else {
            let (next, entries) = self.applied(flip, &features, origin, now)?;
            self.kill(&next, &features, entries)
        };
        announce(flip, &features);
        Ok(Flipped {
            revision: self.board.revision(),
            saved,
            replicas: self.store.replicas().filter(|_| saved),
            states: features.iter().map(|name| (name.clone(), self.state(name))).collect(),
            pending: self.pending.iter().cloned().collect(),
        })
    }

    /// The switchboard after a flip and what the audit will say of it; or why it may not be.
    fn applied(
        &mut self,
        flip: &Flip,
        features: &BTreeSet<Arc<str>>,
        origin: &Origin,
        now: UnixMillis,
    ) -> Result<(Switchboard, Vec<AuditEntry>), WriteError> {
        if let Some(expected) =
            origin.expected_revision.filter(|expected| *expected != self.board.revision())
        {
            return Err(WriteError::Moved { expected, revision: self.board.revision() });
        }
        let next = self.board.apply(flip, now)?;
        if !origin.may_end_sooner {
            self.refuse_an_end_brought_forward(flip)?;
        }
        let entries = self.entries(features, &next, origin.request_id.as_deref(), now);
        self.remember_beneath(features, &next);
        Ok((self.with_holds(next), entries))
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
        self.kill(&next, &lifted, entries);
        for name in &lifted {
            let state = self.state(name);
            tracing::info!(target: "portcullis::change", "KILLSWITCH ENABLED: {name} by schedule - {}", state.reason);
        }
    }

    /// Tries again to keep what the store refused before.
    pub(super) fn repair(&mut self) {
        if !self.pending.is_empty() && self.keep_pending() {
            tracing::info!(target: "portcullis::store", "the store works again: revision {} is kept", self.board.revision());
        }
        if self.pending.is_empty() {
            self.write_audit();
        }
    }

    /// What a store tells by itself.
    pub(super) fn hear(&mut self, news: News) {
        match news {
            News::Newer(saved) => {
                self.adopt(&saved);
                self.keep_pending();
            }
            News::Reached => {
                self.ledger.reached();
                tracing::info!(target: "portcullis::store", "the store is reached");
                self.keep_pending();
            }
            News::Away { why } => {
                self.ledger.lost_sight();
                tracing::error!(target: "portcullis::store", "the store is away, and what is known stays in force: {why}");
            }
            News::Loss { what } => {
                self.ledger.lost_state(&what);
                tracing::error!(target: "portcullis::store", "the store lost something, and nothing is turned on by that: {what}");
            }
            News::Warnings(warnings) => {
                for warning in &warnings {
                    tracing::warn!(target: "portcullis::store", "{warning}");
                }
                self.ledger.warned(warnings);
            }
            _ => {}
        }
    }

    /// Takes over what others committed. A kill that is in force here and that they don't know of stays.
    fn adopt(&mut self, newest: &Saved) {
        let before = self.board.revision();
        let is_held = |name: &str| self.held.contains_key(name);
        let Some(adopted) = newest.adopt(&self.board, &mut self.pending, is_held) else { return };
        let Adopted { board, changed, held } = adopted;
        self.beneath.extend(held);
        for entry in self.backlog.iter_mut().filter(|entry| entry.revision > before) {
            entry.revision = newest.revision + 1;
        }
        self.show(board);
        self.tell_pending();
        let enabled = changed.iter().filter(|(_, state)| state.enabled);
        self.reset_meters(&enabled.map(|(name, _)| name.clone()).collect());
        changed.iter().for_each(|(name, state)| announce_state(name, state));
    }

    /// In force first, kept second. Until something is kept, every next switchboard would get the same revision, and the one
    /// that gets it holds all that waited: so the audit's entries bear the right one from the start.
    fn kill(
        &mut self,
        next: &Switchboard,
        features: &BTreeSet<Arc<str>>,
        entries: Vec<AuditEntry>,
    ) -> bool {
        self.board = next.clone().at_revision(self.board.revision());
        self.publisher.publish(self.board.clone());
        self.pending.extend(features.iter().cloned());
        self.queue_audit(entries);
        self.keep_pending()
    }

    /// Commits what is in force and not yet kept, on top of whatever others made meanwhile.
    fn keep_pending(&mut self) -> bool {
        for _ in 0..RACES_MAX {
            if self.pending.is_empty() {
                self.write_audit();
                return true;
            }
            let next = self.board.clone().at_revision(self.board.revision() + 1);
            match self.save(&next) {
                Save::Kept => {
                    self.committed(next);
                    self.write_audit();
                    return true;
                }
                Save::Moved(newest) => self.adopt(&newest),
                Save::Failed => break,
            }
        }
        self.tell_pending();
        false
    }

    /// Kept first, in force second.
    fn enable(
        &mut self,
        flip: &Flip,
        features: &BTreeSet<Arc<str>>,
        origin: &Origin,
        now: UnixMillis,
    ) -> Result<(), WriteError> {
        for _ in 0..RACES_MAX {
            let (next, entries) = self.applied(flip, features, origin, now)?;
            match self.save(&next) {
                Save::Kept => {
                    self.reset_meters(features);
                    self.committed(next);
                    self.queue_audit(entries);
                    self.write_audit();
                    return Ok(());
                }
                Save::Moved(newest) => self.adopt(&newest),
                Save::Failed => break,
            }
        }
        Err(WriteError::NotSaved { features: features.iter().cloned().collect() })
    }

    fn committed(&mut self, next: Switchboard) {
        self.pending.clear();
        self.show(next);
        self.tell_pending();
    }

    /// From now on requests see this switchboard, and the other gateways are told that they do.
    fn show(&mut self, next: Switchboard) {
        self.board = next;
        self.publisher.publish(self.board.clone());
        self.store.serves(self.board.revision());
    }

    fn save(&mut self, next: &Switchboard) -> Save {
        let mut saved = Saved::of(next);
        saved
            .states
            .extend(self.beneath.iter().map(|(name, state)| (name.to_string(), state.clone())));
        match self.store.save(self.board.revision(), &saved) {
            Ok(()) => {
                self.ledger.saved();
                Save::Kept
            }
            Err(StoreError::Moved { newest }) if newest.revision > self.board.revision() => {
                Save::Moved(newest)
            }
            Err(error) => {
                self.ledger.save_failed();
                tracing::error!(target: "portcullis::store", "revision {} is not kept: {}", saved.revision, Chain(&error));
                Save::Failed
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

/// What became of an attempt to keep a switchboard.
enum Save {
    Kept,
    Moved(Box<Saved>),
    Failed,
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
    let Flip { actor, reason, source, enabled, .. } = flip;
    features.iter().for_each(|feature| say(feature, *enabled, source, actor, reason));
}

/// The same of a change that another gateway made.
fn announce_state(feature: &str, state: &State) {
    let State { updated_by, reason, source, enabled, .. } = state;
    say(feature, *enabled, source, updated_by, reason);
}

fn say(feature: &str, enabled: bool, source: &Source, actor: &str, reason: &str) {
    match (source, enabled) {
        (Source::Auto, false) => {
            tracing::info!(target: "portcullis::change", "Auto-disabled: {feature} due to high error rate");
        }
        (_, false) => {
            tracing::info!(target: "portcullis::change", "KILLSWITCH DISABLED: {feature} by {actor} - {reason}");
        }
        (Source::Expiry, true) => {
            tracing::info!(target: "portcullis::change", "KILLSWITCH ENABLED: {feature} by schedule - {reason}");
        }
        (_, true) => {
            tracing::info!(target: "portcullis::change", "KILLSWITCH ENABLED: {feature} by {actor} - {reason}");
        }
    }
}
