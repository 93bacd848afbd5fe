//! The writer's desk: one flip, expiry or piece of news after the other goes over it, with the store and `now` as arguments.
//!
//! What is in force and what is kept, and in which order a flip becomes the one and the other, is the
//! [overlay](portcullis::overlay)'s. Here is what a gateway has around it: who may, the meters that count anew, the lines of
//! the log (one per change, the store's health included), and the ledger that health and metrics read.
//!
//! A kill of what is off already takes the place of the one before. Only who may turn a feature on may bring its end forward
//! by that; for all others it would be a way to turn it on a minute later.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use portcullis::auto_disable::Meter;
use portcullis::overlay::{self, Overlay, States};
use portcullis::store::{AuditEntry, News, Store, StoreError};
use portcullis::switchboard::feature::{Source, State};
use portcullis::switchboard::flip::{Flip, FlipError};
use portcullis::switchboard::kill::{Mode, OnExpiry, Returning, Terms};
use portcullis::switchboard::{Switchboard, UnixMillis};

use super::{Board, Flipped, Origin, WriteError};
use crate::control::chain::Chain;
use crate::control::ledger::Ledger;
use crate::control::moment::rfc3339;

pub(super) struct Desk {
    store: Box<dyn Store>,
    overlay: Mutex<Overlay>,
    meters: Vec<Meter>,
    ledger: Arc<Ledger>,
}

impl Desk {
    pub(super) fn new(board: Board, ledger: Arc<Ledger>) -> Self {
        let Board { mut store, publisher, switchboard, meters } = board;
        store.serves(switchboard.revision());
        let unkept = store.unkept();
        let kept = kept(&mut *store, &switchboard, &unkept);
        let overlay = Mutex::new(Overlay::new(publisher, switchboard, &kept, &unkept));
        Self { store, overlay, meters, ledger }
    }

    pub(super) fn has_audit_backlog(&self) -> bool {
        self.overlay().audit_backlog() > 0
    }

    pub(super) fn next_expiry(&self) -> Option<UnixMillis> {
        self.overlay().board().next_expiry()
    }

    /// Whether something waits to be kept.
    pub(super) fn needs_repair(&self) -> bool {
        let overlay = self.overlay();
        !overlay.pending().is_empty() || overlay.audit_backlog() > 0
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
            self.kill(flip, origin, now)?
        };
        announce(flip, &features);
        let replicas = self.store.replicas().filter(|_| saved);
        let overlay = self.overlay();
        Ok(Flipped {
            revision: overlay.revision(),
            saved,
            replicas,
            states: features.iter().map(|name| (name.clone(), overlay.state(name))).collect(),
            pending: overlay.pending_names(),
        })
    }

    /// In force first, kept second. Answers whether it is kept.
    fn kill(&mut self, flip: &Flip, origin: &Origin, now: UnixMillis) -> Result<bool, WriteError> {
        let mut overlay = self.overlay();
        origin.allows(flip, &overlay, now)?;
        overlay.kill(flip, origin.request_id.as_deref(), now)?;
        drop(overlay);
        Ok(self.keep())
    }

    /// Kept first, in force second.
    fn enable(
        &mut self,
        flip: &Flip,
        features: &BTreeSet<Arc<str>>,
        origin: &Origin,
        now: UnixMillis,
    ) -> Result<(), WriteError> {
        let propose = |overlay: &Overlay| {
            origin.allows(flip, overlay, now)?;
            Ok(Some(overlay.proposal_of(flip, origin.request_id.as_deref(), now)?))
        };
        let heard = |changed| take_note(&self.meters, &changed);
        match overlay::commit(&self.overlay, &mut *self.store, propose, heard) {
            Ok(_) => {
                self.works();
                reset(&self.meters, features);
                self.tell_pending();
                self.write_audit();
                Ok(())
            }
            Err(Hindrance::Refused(error)) => Err(error),
            Err(Hindrance::Store(error)) => {
                self.failed(&error);
                self.tell_pending();
                Err(WriteError::NotSaved { features: features.iter().cloned().collect() })
            }
        }
    }

    /// A meter's wish to turn its feature off. One that is off already stays as it is: who turned it off had a better reason.
    pub(super) fn propose(&mut self, flip: &Flip, now: UnixMillis) {
        let mut flip = flip.clone();
        let overlay = self.overlay();
        flip.features.retain(|name| overlay.board().is_enabled(name));
        drop(overlay);
        if flip.features.is_empty() {
            return;
        }
        if let Err(error) = self.flip(&flip, &Origin::default(), now) {
            tracing::error!(target: "portcullis::change", "auto-disable of {:?} failed: {error}", flip.features);
        }
    }

    /// Does what time asks for: lifts, holds or takes back step by step the kills whose time is over, and begins those that
    /// were planned.
    pub(super) fn expire(&mut self, now: UnixMillis) {
        let changed = self.overlay().expire(now);
        if changed.is_empty() {
            return;
        }
        take_note(&self.meters, &changed);
        for (name, state) in changed.iter().filter(|(_, state)| is_held(state)) {
            let State { reason, .. } = state;
            tracing::warn!(target: "portcullis::change", "KILLSWITCH HELD: {name} stays off past its end, until somebody turns it on - {reason}");
        }
        self.keep();
    }

    /// The time by the store's clock, where it has one: gateways that share it agree by it when a kill ends, whatever their own
    /// clocks say.
    pub(super) fn store_clock(&self) -> Option<UnixMillis> {
        self.store.clock()
    }

    /// Tries again to keep what the store refused before.
    pub(super) fn repair(&mut self) {
        self.keep();
    }

    /// What a store tells by itself.
    pub(super) fn hear(&mut self, news: News) {
        match news {
            News::Newer(saved) => {
                let changed = self.overlay().adopt(&saved);
                let revision = self.overlay().revision();
                self.store.serves(revision);
                take_note(&self.meters, &changed);
                self.keep();
            }
            News::Reached => {
                self.ledger.reached();
                tracing::info!(target: "portcullis::store", "the store is reached");
                self.keep();
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

    /// Gets kept what is in force and isn't, and what the audit is owed. Answers whether nothing is pending any more.
    fn keep(&mut self) -> bool {
        // A store may take its time; what waits for it is known before.
        self.tell_pending();
        let heard = |changed| take_note(&self.meters, &changed);
        let kept = overlay::keep(&self.overlay, &mut *self.store, heard);
        self.tell_pending();
        match &kept {
            Ok(true) => self.works(),
            Ok(false) => {}
            Err(error) => self.failed(error),
        }
        if kept.is_ok() {
            self.write_audit();
        }
        kept.is_ok()
    }

    pub(super) fn queue_audit(&self, entry: AuditEntry) {
        self.overlay().queue_audit(entry);
    }

    /// Writes the audit in order, as far as the store takes it.
    pub(super) fn write_audit(&mut self) {
        match overlay::write_audit(&self.overlay, &mut *self.store) {
            Ok(()) if self.ledger.audit_works() => {
                tracing::info!(target: "portcullis::store", "the audit is kept again");
            }
            Ok(()) => {}
            Err(error) => {
                let error = Chain(&error).to_string();
                if self.ledger.audit_failed(&error) {
                    tracing::error!(target: "portcullis::store", "an audit entry is not kept: {error}");
                }
            }
        }
        let overlay = self.overlay();
        self.ledger.set_audit(overlay.audit_backlog(), overlay.audit_lost());
    }

    /// The store keeps what it is given. Said when it is news.
    fn works(&self) {
        if self.ledger.saved() {
            let revision = self.overlay().revision();
            tracing::info!(target: "portcullis::store", "the store works again: revision {revision} is kept");
        }
    }

    /// It doesn't. What is off stays off, and each attempt to repair that fails is no news.
    fn failed(&self, error: &StoreError) {
        let error = Chain(error).to_string();
        if self.ledger.save_failed(&error) {
            let revision = self.overlay().revision() + 1;
            tracing::error!(target: "portcullis::store", "revision {revision} is not kept: {error}");
        }
    }

    fn tell_pending(&self) {
        let overlay = self.overlay();
        self.ledger.set_pending(overlay.pending_names());
        self.ledger.set_audit(overlay.audit_backlog(), overlay.audit_lost());
    }

    fn overlay(&self) -> MutexGuard<'_, Overlay> {
        overlay::locked(&self.overlay)
    }
}

impl Origin {
    /// Whether the flip may be made over this: decided at its revision, and bringing no end forward without the right to.
    fn allows(&self, flip: &Flip, overlay: &Overlay, now: UnixMillis) -> Result<(), WriteError> {
        let revision = overlay.revision();
        if let Some(expected) = self.expected_revision.filter(|expected| *expected != revision) {
            return Err(WriteError::Moved { expected, revision });
        }
        if self.may_end_sooner {
            return Ok(());
        }
        refuse_an_end_brought_forward(flip, overlay, now)
    }
}

/// A kill replaces the one before it, its end included: so one that ends sooner is an enable in disguise. What counts is
/// what was decided last; of a feature that the environment holds, that is what lies beneath.
fn refuse_an_end_brought_forward(
    flip: &Flip,
    overlay: &Overlay,
    now: UnixMillis,
) -> Result<(), WriteError> {
    for feature in &flip.features {
        if let Some(ends) = overlay.decided(feature).would_end_sooner(flip, now) {
            return Err(WriteError::EndsSooner { feature: feature.clone(), ends });
        }
    }
    Ok(())
}

/// Why an enable has not come about.
enum Hindrance {
    Refused(WriteError),
    Store(StoreError),
}

impl From<StoreError> for Hindrance {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<WriteError> for Hindrance {
    fn from(error: WriteError) -> Self {
        Self::Refused(error)
    }
}

impl From<FlipError> for Hindrance {
    fn from(error: FlipError) -> Self {
        Self::Refused(error.into())
    }
}

fn reset(meters: &[Meter], features: &BTreeSet<Arc<str>>) {
    for meter in meters.iter().filter(|meter| features.contains(meter.feature())) {
        meter.reset();
    }
}

/// What follows from changes that nobody asked for here: meters of what is on again count anew, and each is logged.
fn take_note(meters: &[Meter], changed: &States) {
    // While a feature comes back step by step its errors count on, from the first step.
    let enabled = changed.iter().filter(|(_, state)| {
        state.enabled && state.returning().is_none_or(|percent| percent == Returning::FIRST)
    });
    reset(meters, &enabled.map(|(name, _)| name.clone()).collect());
    changed.iter().for_each(|(name, state)| announce_state(name, state));
}

/// What is kept of the features that have another state in force: the environment holds them, or a process before this one
/// couldn't get them kept. A store that can't say (it could, a moment ago, when it was opened) makes the held ones killed: whoever
/// takes the variable away has to turn them on, too.
fn kept(
    store: &mut dyn Store,
    board: &Switchboard,
    unkept: &BTreeMap<String, State>,
) -> BTreeMap<String, State> {
    let is_held = |state: &State| matches!(state.source, Source::Env { .. });
    let held: Vec<_> = board.features().filter(|(_, _, state)| is_held(state)).collect();
    if held.is_empty() && unkept.is_empty() {
        return BTreeMap::new();
    }
    match store.load() {
        Ok(saved) => saved.unwrap_or_default().states,
        Err(error) => {
            tracing::error!(target: "portcullis::store", "the states beneath the environment's holds can't be read: {}", Chain(&error));
            let killed = |hold: &State| State { source: Source::Api, ..hold.clone() };
            let killed = held.iter().map(|(_, held, hold)| (held.name.to_string(), killed(hold)));
            killed.collect()
        }
    }
}

/// One line per feature, in the words that people grep for.
fn announce(flip: &Flip, features: &BTreeSet<Arc<str>>) {
    let Flip { actor, reason, source, enabled, terms, .. } = flip;
    let of_some = of_some(terms);
    features.iter().for_each(|feature| {
        say(&format!("{feature}{of_some}"), *enabled, source, actor, reason);
    });
}

/// For whom, and how seriously, where it isn't for everybody and in earnest.
fn of_some(terms: &Terms) -> String {
    let scope = (!terms.scope.is_everything()).then(|| terms.scope.to_string());
    let mode = (terms.mode != Mode::Enforce).then(|| terms.mode.as_str().to_owned());
    let planned = terms.starts_at.and_then(rfc3339).map(|start| format!("from {start}"));
    let parts: Vec<String> = scope.into_iter().chain(mode).chain(planned).collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

/// Off past the end of its kill, because whoever made it wanted that.
fn is_held(state: &State) -> bool {
    !state.enabled && state.expires_at.is_none() && state.on_expiry == OnExpiry::Hold
}

/// The same of a change that another gateway or time made.
fn announce_state(feature: &str, state: &State) {
    let State { updated_by, reason, source, enabled, .. } = state;
    if let Some(percent) = state.returning() {
        tracing::info!(target: "portcullis::change", "KILLSWITCH RETURNING: {feature} is back for {percent} % - {reason}");
        return;
    }
    if *enabled && state.restricts() {
        // What is off for some stands in the audit; this line would say that it is on.
        return;
    }
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
