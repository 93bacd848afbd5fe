//! The overlay: what is in force here over what is kept. The core that every writer of a switchboard stands on.
//!
//! Two things are known of each feature: what the store has of it (the *base*, at a revision that only the store gives), and
//! what this process has decided and the store doesn't have yet (*pending*). What requests see is the base, over it what is
//! pending, and over both what the environment holds off; whatever changes one of the three is published in the same step.
//!
//! - A **kill** is in force first and kept second. Until the store has it, it is pending, under the revision of the base.
//! - An **enable** is kept first and in force second. When the store fails, nothing changes: a feature that was turned on
//!   only in memory would be off again after the next start, at a time that nobody chose.
//! - An **expiry** needs no store to be true (the kill itself said when it ends), so it takes the way of a kill.
//! - What **others** commit becomes the base, whole. A kill that is pending here and that they don't know of stays in force, and is
//!   committed on top; but where they have the feature off for longer, theirs stands. Of two processes at one revision the bases
//!   are the same, bit for bit.
//! - What the **environment** holds off stays off. A kill of such a feature goes beneath the hold, and what is kept is what lies
//!   beneath: with the variable gone, the next start finds what operators last decided.
//!
//! `now` and the store are arguments. [`commit`] makes the steps in their order with the store in between, and holds the
//! overlay's lock only for the steps: a kill is in force while another thread waits for a disk.

mod backlog;
mod commit;

pub use commit::{commit, keep, locked, write_audit};

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use self::backlog::Backlog;
use crate::{
    store::{AuditEntry, Saved},
    switchboard::{
        Switchboard, UnixMillis,
        feature::{Source, State},
        flip::{Flip, FlipError},
    },
    view::Publisher,
};

/// States of features by their names.
pub type States = BTreeMap<Arc<str>, State>;

/// What is in force over what is kept. See the [module](self).
#[derive(Debug)]
pub struct Overlay {
    publisher: Publisher,
    /// What the store has. Every feature is declared in it, so that no index ever moves.
    base: Switchboard,
    pending: States,
    held: States,
    /// All three together: what requests see.
    board: Switchboard,
    backlog: Backlog,
}

/// What a store is to keep, and what has changed by it since the base.
#[derive(Debug, Clone)]
pub struct Proposal {
    /// The revision that it follows.
    pub over: u64,
    /// All of it.
    pub saved: Saved,
    changed: States,
    /// What the audit says of those changes that are in force only when they are kept.
    entries: Vec<AuditEntry>,
}

impl Overlay {
    /// The overlay over what a store had. The `board` has what the environment holds off in it; of that, and of what is
    /// `unkept` (a process before this one had it in force and couldn't get it kept), `kept` has what the store knows.
    pub fn new(
        publisher: Publisher,
        board: Switchboard,
        kept: &BTreeMap<String, State>,
        unkept: &BTreeMap<String, State>,
    ) -> Self {
        let is_held = |state: &State| matches!(state.source, Source::Env { .. });
        let held: States = states(&board).filter(|(_, state)| is_held(state)).collect();
        let unkept = unkept.iter().map(|(name, state)| (Arc::from(name.as_str()), state.clone()));
        let pending: States = unkept.filter(|(_, state)| state.restricts()).collect();
        let beneath = |base: Switchboard, name: &Arc<str>| {
            let state = kept.get(&**name).cloned().unwrap_or_else(|| unknown(&base, name));
            base.with_state(name, state)
        };
        let base = held.keys().chain(pending.keys()).fold(board.clone(), beneath);
        let mut overlay =
            Self { publisher, base, pending, held, board, backlog: Backlog::default() };
        overlay.refresh();
        overlay
    }

    /// What is in force, under the revision that is kept.
    pub const fn board(&self) -> &Switchboard {
        &self.board
    }

    /// What is kept.
    pub const fn base(&self) -> &Switchboard {
        &self.base
    }

    /// The revision that is kept.
    pub const fn revision(&self) -> u64 {
        self.base.revision()
    }

    /// What is in force, and not kept.
    pub const fn pending(&self) -> &States {
        &self.pending
    }

    /// The names of what is in force, and not kept.
    pub fn pending_names(&self) -> Vec<Arc<str>> {
        self.pending.keys().cloned().collect()
    }

    /// What was last decided about a feature; of one that is held, what lies beneath.
    pub fn decided(&self, name: &str) -> State {
        match self.pending.get(name) {
            Some(pending) => pending.clone(),
            None => state_of(&self.base, name),
        }
    }

    /// The state of a feature that is in force.
    pub fn state(&self, name: &str) -> State {
        state_of(&self.board, name)
    }

    /// Declares features that nobody declared yet.
    pub fn declare<'n>(&mut self, names: impl IntoIterator<Item = &'n Arc<str>>) {
        for name in names {
            if self.base.id(name).is_none() {
                self.change_base(name, State::default());
                self.board = self.board.clone().with_state(name, State::default());
            }
        }
    }

    /// Puts a kill in force. It is pending from now on.
    ///
    /// # Errors
    /// If the flip itself is at fault; then nothing has changed.
    pub fn kill(
        &mut self,
        flip: &Flip,
        request_id: Option<&str>,
        now: UnixMillis,
    ) -> Result<(), FlipError> {
        let states = self.after(flip, now)?;
        self.put_in_force(states, Some(flip), request_id, now);
        Ok(())
    }

    /// Does what time asks for, and says what has changed.
    pub fn expire(&mut self, now: UnixMillis) -> States {
        let Some(next) = self.board.expire(now) else { return States::new() };
        let changed: States = differences(&self.board, &next);
        self.put_in_force(changed.clone(), None, None, now);
        changed
    }

    /// What is to be kept so that nothing is pending; nothing if nothing is.
    pub fn proposal(&self) -> Option<Proposal> {
        (!self.pending.is_empty()).then(|| self.propose(States::new(), Vec::new()))
    }

    /// What is to be kept before this flip can be in force, all that is pending with it.
    ///
    /// # Errors
    /// If the flip itself is at fault.
    pub fn proposal_of(
        &self,
        flip: &Flip,
        request_id: Option<&str>,
        now: UnixMillis,
    ) -> Result<Proposal, FlipError> {
        let states = self.after(flip, now)?;
        let entries = self.entries(&states, Some(flip), request_id, now);
        Ok(self.propose(states, entries))
    }

    /// The store has it. What was decided while it was being kept is still pending, and stands over it.
    pub fn kept(&mut self, proposal: Proposal) {
        let Proposal { saved, changed, entries, .. } = proposal;
        self.pending.retain(|name, state| changed.get(name) != Some(state));
        // Others may have gone on from there already, and been adopted.
        if saved.revision > self.base.revision() {
            for (name, state) in changed {
                self.change_base(&name, state);
            }
            self.base = self.base.clone().at_revision(saved.revision);
        }
        self.backlog.queue(entries);
        self.refresh();
    }

    /// Takes over what others committed, if it is newer, and says what is different in what is in force.
    pub fn adopt(&mut self, newest: &Saved) -> States {
        let before = self.base.revision();
        if newest.revision <= before {
            return States::new();
        }
        let known = self.base.features().map(|(_, feature, _)| feature.name.clone());
        let told = newest.states.keys().map(|name| Arc::from(name.as_str()));
        for name in known.chain(told).collect::<BTreeSet<Arc<str>>>() {
            let theirs = newest.states.get(&*name).cloned();
            let theirs = theirs.unwrap_or_else(|| unknown(&self.base, &name));
            let ours = self.pending.remove(&name);
            if let Some(ours) = ours.and_then(|ours| over(&ours, &theirs)) {
                self.pending.insert(name.clone(), ours);
            }
            self.change_base(&name, theirs);
        }
        self.base = self.base.clone().at_revision(newest.revision);
        self.backlog.renumber(before, newest.revision + 1);
        let before = self.board.clone();
        self.refresh();
        differences(&before, &self.board)
    }

    /// Adds to the audit something that is no flip, under the revision of what was audited last.
    pub fn queue_audit(&mut self, mut entry: AuditEntry) {
        // A store may read its audit backwards until it meets what it knows, so this must not seem older than a flip before it.
        entry.revision = self.backlog.newest().max(self.revision());
        self.backlog.queue(vec![entry]);
    }

    /// How many entries the audit doesn't have yet.
    pub fn audit_backlog(&self) -> usize {
        self.backlog.len()
    }

    /// How many entries were given up because too many waited.
    pub const fn audit_lost(&self) -> u64 {
        self.backlog.lost()
    }

    /// The states of a flip's features after it.
    fn after(&self, flip: &Flip, now: UnixMillis) -> Result<States, FlipError> {
        let mut next = self.board.apply(flip, now)?;
        // What may be done is decided by what is in force; what becomes of it, by what lies beneath the holds.
        if flip.features.iter().any(|name| self.held.contains_key(name)) {
            let decided =
                |board: Switchboard, name: &Arc<str>| board.with_state(name, self.decided(name));
            next = self.held.keys().fold(self.board.clone(), decided).apply(flip, now)?;
        }
        Ok(flip.features.iter().map(|name| (name.clone(), state_of(&next, name))).collect())
    }

    fn put_in_force(
        &mut self,
        states: States,
        flip: Option<&Flip>,
        request_id: Option<&str>,
        now: UnixMillis,
    ) {
        let entries = self.entries(&states, flip, request_id, now);
        self.pending.extend(states);
        self.refresh();
        self.backlog.queue(entries);
    }

    fn propose(&self, states: States, entries: Vec<AuditEntry>) -> Proposal {
        let mut changed = self.pending.clone();
        changed.extend(states);
        let over = self.base.revision();
        let next = changed
            .iter()
            .fold(self.base.clone(), |base, (name, state)| base.with_state(name, state.clone()));
        Proposal { over, saved: Saved::of(&next.at_revision(over + 1)), changed, entries }
    }

    /// Until something is kept, every next switchboard would get the same revision, and the one that gets it holds all that
    /// waited: so the entries bear the right one from the start.
    fn entries(
        &self,
        states: &States,
        flip: Option<&Flip>,
        request_id: Option<&str>,
        now: UnixMillis,
    ) -> Vec<AuditEntry> {
        let revision = self.base.revision() + 1;
        let entry = |(name, after): (&Arc<str>, &State)| {
            let before = self.state(name);
            let entry = backlog::entry(name, before, after.clone(), revision, request_id, now);
            match flip {
                Some(flip) => backlog::of_flip(entry, flip),
                None => entry,
            }
        };
        states.iter().map(entry).collect()
    }

    fn change_base(&mut self, name: &Arc<str>, state: State) {
        if self.base.id(name).is_some_and(|id| *self.base.state(id) == state) {
            return;
        }
        let base = std::mem::replace(&mut self.base, Switchboard::new([], []));
        self.base = base.with_state(name, state);
    }

    /// Everything that changes ends here.
    fn refresh(&mut self) {
        let over = |board: Switchboard, (name, state): (&Arc<str>, &State)| {
            board.with_state(name, state.clone())
        };
        self.board = self.pending.iter().chain(&self.held).fold(self.base.clone(), over);
        self.publisher.publish(self.board.clone());
    }
}

/// What of a pending state stays over what others committed without knowing it; nothing if nothing does. Only kills do, and each
/// does: what others committed may have been lifted already, by somebody who knew as little of ours. Of two for everybody the
/// later end counts, whoever made it.
fn over(ours: &State, theirs: &State) -> Option<State> {
    if ours == theirs {
        return None;
    }
    if !ours.enabled {
        let mut both = ours.clone().with_kills_of(theirs);
        if !theirs.enabled && theirs.ends() > ours.ends() {
            (both.expires_at, both.on_expiry) = (theirs.expires_at, theirs.on_expiry);
        }
        return Some(both);
    }
    let both = theirs.clone().with_kills_of(ours);
    (both != *theirs).then_some(both)
}

/// What holds of a feature about which nobody decided anything.
fn unknown(board: &Switchboard, name: &str) -> State {
    board.id(name).map_or_else(State::default, |id| board.feature(id).unknown())
}

fn states(board: &Switchboard) -> impl Iterator<Item = (Arc<str>, State)> {
    board.features().map(|(_, feature, state)| (feature.name.clone(), state.clone()))
}

fn state_of(board: &Switchboard, name: &str) -> State {
    board.id(name).map_or_else(State::default, |id| board.state(id).clone())
}

/// The states in the later switchboard that are different in the earlier one.
fn differences(earlier: &Switchboard, later: &Switchboard) -> States {
    let is_new = |name: &str, state: &State| {
        earlier.id(name).map_or(*state != State::default(), |id| earlier.state(id) != state)
    };
    let new = later.features().filter(|(_, feature, state)| is_new(&feature.name, state));
    new.map(|(_, feature, state)| (feature.name.clone(), state.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        switchboard::{feature::Feature, flag::Rollout, kill::Terms, scope::Scope},
        view,
    };

    const NOW: UnixMillis = UnixMillis(1_000);

    fn overlay() -> (Overlay, view::Subscriber) {
        let board = Switchboard::new(["a", "b"].map(Feature::named), []);
        let (publisher, subscriber) = view::channel(board.clone());
        (Overlay::new(publisher, board, &BTreeMap::new(), &BTreeMap::new()), subscriber)
    }

    fn flip(feature: &str, enabled: bool, expires_at: Option<u64>) -> Flip {
        Flip {
            features: vec![feature.into()],
            enabled,
            reason: "a test".to_owned(),
            actor: "ada".to_owned(),
            source: Source::Api,
            expires_at: expires_at.map(UnixMillis),
            terms: Terms::default(),
        }
    }

    fn pending(overlay: &Overlay) -> Vec<String> {
        overlay.pending().keys().map(ToString::to_string).collect()
    }

    fn kill(overlay: &mut Overlay, feature: &str, expires_at: Option<u64>) {
        overlay.kill(&flip(feature, false, expires_at), None, NOW).unwrap();
    }

    #[test]
    fn a_kill_made_while_another_is_being_kept_is_not_lost() {
        let (mut overlay, subscriber) = overlay();
        kill(&mut overlay, "a", None);
        let being_kept = overlay.proposal().unwrap();
        kill(&mut overlay, "b", None);
        overlay.kept(being_kept);
        assert!(!subscriber.pin().is_enabled("a") && !subscriber.pin().is_enabled("b"));
        assert_eq!((overlay.revision(), pending(&overlay)), (1, vec!["b".to_owned()]));
    }

    #[test]
    fn a_kill_made_while_the_same_feature_is_being_turned_on_wins() {
        let (mut overlay, subscriber) = overlay();
        let being_kept = overlay.proposal_of(&flip("a", true, None), None, NOW).unwrap();
        kill(&mut overlay, "a", None);
        overlay.kept(being_kept);
        assert!(!subscriber.pin().is_enabled("a"), "it came last");
        assert_eq!(pending(&overlay), ["a"]);
    }

    #[test]
    fn what_others_committed_after_ours_stands_over_ours() {
        let (mut overlay, subscriber) = overlay();
        kill(&mut overlay, "a", None);
        let ours = overlay.proposal().unwrap();
        // They enable what we killed, having seen it; their news is heard before our store's answer.
        let theirs = Saved { revision: 2, ..Saved::default() };
        overlay.adopt(&theirs);
        assert!(!subscriber.pin().is_enabled("a"), "nobody knows yet whether they have seen it");
        overlay.kept(ours);
        assert!(subscriber.pin().is_enabled("a"), "they have: ours was kept before theirs");
        assert!(overlay.pending().is_empty());
    }

    #[test]
    fn a_pending_kill_shortens_none_that_others_made() {
        let (mut overlay, _) = overlay();
        kill(&mut overlay, "a", Some(5_000));
        let (mut others, _) = self::overlay();
        kill(&mut others, "a", None);
        overlay.adopt(&others.proposal().unwrap().saved);
        assert_eq!(overlay.state("a").expires_at, None);
        // Theirs was lifted already, by somebody who knew as little of ours.
        overlay.adopt(&Saved { revision: 2, ..Saved::default() });
        assert!(!overlay.state("a").enabled, "ours was never lifted");
    }

    #[test]
    fn a_kill_of_some_that_isnt_kept_yet_stands_beside_what_others_commit() {
        let some = |percent| {
            let share = Some(Rollout::percent(percent).unwrap());
            let terms = Terms { scope: Scope { share, ..Scope::default() }, ..Terms::default() };
            Flip { terms, ..flip("a", false, None) }
        };
        let (mut overlay, _) = overlay();
        overlay.kill(&some(10.0), None, NOW).unwrap();
        let (mut others, _) = self::overlay();
        others.kill(&some(20.0), None, NOW).unwrap();
        overlay.adopt(&others.proposal().unwrap().saved);
        assert_eq!(overlay.state("a").kills.len(), 2);
        assert_eq!(pending(&overlay), ["a"], "it has still to be kept");
    }

    #[test]
    fn a_features_index_stays_whoever_names_it_first() {
        let (mut overlay, subscriber) = overlay();
        overlay.declare(&["mine".into()]);
        kill(&mut overlay, "mine", None);
        let id = subscriber.pin().id("mine").unwrap();
        let states = [("yours".to_owned(), State { enabled: false, ..State::default() })];
        overlay.adopt(&Saved { revision: 4, states: states.into(), ..Saved::default() });
        let view = subscriber.pin();
        assert_eq!(view.id("mine"), Some(id));
        assert!(view.is_off(id) && !view.is_enabled("yours"));
    }
}
