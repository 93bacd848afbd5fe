//! What this process knows of the store, and what follows from what it finds there. Pure.
//!
//! Revisions are numbers, and a store that was emptied or restored counts them anew: so each has a [`Mark`]. A commit's name
//! tells two revisions of one number apart; a store's life tells a store that was filled anew from the one before; and the
//! lineage tells which lives it was filled from, and up to where. With these three, whoever comes back from a partition
//! knows whether what it finds *follows* what it knows (and is believed, enables and all) or not (and then nothing that is
//! known to be off is turned on).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    store::{Mark, Saved},
    switchboard::feature::{Source, State},
};

/// Lives that a store remembers it was filled from. Each stands for a loss; who was away for longer than sixteen of them
/// merges instead.
const LINEAGE_MAX: usize = 16;

/// A revision that cannot be one: beyond what Lua counts exactly.
const REVISION_MAX: u64 = 1 << 53;

/// A revision that the store's content goes back to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Ancestor {
    pub(super) revision: u64,
    #[serde(flatten)]
    pub(super) mark: Mark,
}

/// What this process knows to be committed.
#[derive(Debug, Clone, Default)]
pub(super) struct Known {
    pub(super) saved: Saved,
    pub(super) lineage: Vec<Ancestor>,
}

/// What stands in the store.
#[derive(Debug, Clone, Default)]
pub(super) struct Found {
    /// Changes with each change.
    pub(super) token: Vec<u8>,
    /// What is wrong with it as a whole.
    pub(super) fault: Option<String>,
    pub(super) mark: Mark,
    pub(super) revision: u64,
    pub(super) lineage: Vec<Ancestor>,
    /// The commit that the store's log has at the revision that we know.
    pub(super) commit_at_ours: Option<String>,
    /// The last revision of the log.
    pub(super) last: u64,
    /// Those that can't be read are there without a state.
    pub(super) states: BTreeMap<String, Option<State>>,
}

pub(super) const NOTHING: &[u8] = b"none";

/// How what is found relates to what is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Same,
    /// It follows what is known.
    Newer,
    /// It doesn't.
    Lost(String),
}

impl Known {
    pub(super) fn token(&self) -> Vec<u8> {
        let Saved { revision, mark: Mark { life, commit }, .. } = &self.saved;
        if life.is_empty() {
            return NOTHING.to_vec();
        }
        format!("{life}:{revision}:{commit}").into_bytes()
    }

    pub(super) fn judge(&self, found: &Found) -> Verdict {
        let unreadable = found.unreadable();
        let unreadable = unreadable.map(|names| format!("the state of {names} can't be read"));
        match (self.relation(found), unreadable) {
            (Verdict::Lost(what), Some(more)) => Verdict::Lost(format!("{what}, and {more}")),
            (_, Some(what)) => Verdict::Lost(what),
            (related, None) => related,
        }
    }

    fn relation(&self, found: &Found) -> Verdict {
        let ours = &self.saved;
        let lost = |what: String| Verdict::Lost(what);
        if found.token == NOTHING {
            return match ours.revision {
                0 => Verdict::Same,
                known => lost(format!("it is empty, and revision {known} was known")),
            };
        }
        if let Some(fault) = &found.fault {
            return lost(fault.clone());
        }
        if found.revision >= REVISION_MAX {
            return lost("its revision makes no sense".to_owned());
        }
        if ours.revision == 0 {
            return Verdict::Newer;
        }
        if found.mark.life != ours.mark.life {
            return if found.lineage.iter().any(|ancestor| ancestor.holds(ours)) {
                Verdict::Newer
            } else {
                lost("it was filled by somebody who didn't know what is known here".to_owned())
            };
        }
        if found.revision < ours.revision {
            return lost(format!(
                "it went back from revision {} to {}",
                ours.revision, found.revision
            ));
        }
        let commit = if found.revision == ours.revision {
            Some(&found.mark.commit)
        } else {
            found.commit_at_ours.as_ref()
        };
        match (commit == Some(&ours.mark.commit), found.revision == ours.revision) {
            (true, true) => Verdict::Same,
            (true, false) => Verdict::Newer,
            (false, _) => {
                lost(format!("its revision {} is not the one that was known", ours.revision))
            }
        }
    }

    /// What was found, taken over.
    pub(super) fn adopt(found: Found) -> Self {
        let states = found.states.into_iter().filter_map(|(name, state)| Some((name, state?)));
        Self {
            saved: Saved { revision: found.revision, states: states.collect(), mark: found.mark },
            lineage: found.lineage,
        }
    }

    /// What to put in the place of something lost: all that is known and all that is found, and what either has as off is off.
    /// Where what is found follows what is known, and only some of it can't be read, it is believed in the rest.
    pub(super) fn mend(&self, found: &Found, life: String, commit: String) -> Self {
        let follows = !matches!(self.relation(found), Verdict::Lost(_));
        let mut states = self.saved.states.clone();
        for (name, theirs) in &found.states {
            let state = match (states.remove(name), theirs) {
                (_, Some(theirs)) if follows => theirs.clone(),
                (Some(ours), Some(theirs)) => stricter(ours, theirs.clone()),
                (None, Some(theirs)) => theirs.clone(),
                (Some(ours), None) => ours,
                (None, None) => unreadable(),
            };
            states.insert(name.clone(), state);
        }
        let count = |revision: u64| if revision < REVISION_MAX { revision } else { 0 };
        let known = [self.saved.revision, count(found.revision), count(found.last)];
        let revision = known.into_iter().max().unwrap_or_default() + 1;
        Self {
            saved: Saved { revision, states, mark: Mark { life, commit } },
            lineage: self.lineage_of_a_mend(found),
        }
    }

    fn lineage_of_a_mend(&self, found: &Found) -> Vec<Ancestor> {
        let ours = Ancestor { revision: self.saved.revision, mark: self.saved.mark.clone() };
        let theirs = Ancestor { revision: found.revision, mark: found.mark.clone() };
        let mut lineage: Vec<Ancestor> = Vec::new();
        // What was lost of it is not in what takes its place: whoever knows it must not take this for what follows it.
        let is_whole = found.fault.is_none() && found.unreadable().is_none();
        let of_theirs = found.lineage.iter().chain([&theirs]).filter(|_| is_whole);
        let all = of_theirs.chain(&self.lineage).chain([&ours]);
        for ancestor in all.filter(|ancestor| !ancestor.mark.life.is_empty()) {
            if !lineage.contains(ancestor) {
                lineage.push(ancestor.clone());
            }
        }
        lineage.drain(..lineage.len().saturating_sub(LINEAGE_MAX));
        lineage
    }

    /// One commit more, if it is the one that follows.
    pub(super) fn step(
        &mut self,
        mark: Mark,
        revision: u64,
        before: &str,
        changed: BTreeMap<String, State>,
    ) -> bool {
        let ours = &mut self.saved;
        let first = ours.mark.life.is_empty() && ours.revision == 0 && before.is_empty();
        let follows = first || (mark.life == ours.mark.life && before == ours.mark.commit);
        if !follows || revision != ours.revision + 1 {
            return false;
        }
        ours.states.extend(changed);
        ours.revision = revision;
        ours.mark = mark;
        true
    }
}

impl Ancestor {
    fn holds(&self, ours: &Saved) -> bool {
        self.mark.life == ours.mark.life
            && (self.revision > ours.revision
                || (self.revision == ours.revision && self.mark.commit == ours.mark.commit))
    }
}

impl Found {
    fn unreadable(&self) -> Option<String> {
        let names = self.states.iter().filter(|(_, state)| state.is_none());
        let names: Vec<&str> = names.map(|(name, _)| name.as_str()).take(10).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }
}

/// Of two states the one that keeps more off, with the kills of both; of two kills the one that ends later.
fn stricter(ours: State, theirs: State) -> State {
    let is_ours = match (ours.enabled, theirs.enabled) {
        (false, true) => true,
        (false, false) => ours.ends() > theirs.ends(),
        _ => false,
    };
    if is_ours { ours.with_kills_of(&theirs) } else { theirs.with_kills_of(&ours) }
}

/// Somebody decided something, and nobody knows what any more.
fn unreadable() -> State {
    State {
        enabled: false,
        reason: "its state in the store can't be read, and nothing else is known of it".to_owned(),
        updated_by: "store".to_owned(),
        source: Source::Api,
        ..State::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(revision: u64, commit: &str, enabled: bool) -> Known {
        let mark = Mark { life: "first".to_owned(), commit: commit.to_owned() };
        let states = [("orders".to_owned(), State { enabled, ..State::default() })].into();
        Known { saved: Saved { revision, states, mark }, lineage: Vec::new() }
    }

    /// Found by the simulation of a fleet.
    #[test]
    fn of_two_kills_the_one_that_holds_ends_later_than_any_end() {
        use crate::switchboard::{UnixMillis, kill::OnExpiry};

        let kill = |end, on_expiry| State {
            enabled: false,
            expires_at: Some(UnixMillis(end)),
            on_expiry,
            ..State::default()
        };
        let (holds, ends) = (kill(5, OnExpiry::Hold), kill(10, OnExpiry::Restore));
        assert_eq!(stricter(holds.clone(), ends.clone()).on_expiry, OnExpiry::Hold);
        assert_eq!(stricter(ends, holds).on_expiry, OnExpiry::Hold);
    }

    #[test]
    fn who_fills_a_store_that_lost_a_kill_does_not_claim_to_have_known_it() {
        let (behind, ahead) = (known(1, "one", true), known(2, "two", false));
        let lost = Found {
            token: b"broken".to_vec(),
            fault: Some("its states are gone".to_owned()),
            mark: ahead.saved.mark.clone(),
            revision: 2,
            ..Found::default()
        };
        let filled = behind.mend(&lost, "second".to_owned(), "three".to_owned());
        let found = Found {
            token: filled.token(),
            mark: filled.saved.mark,
            revision: filled.saved.revision,
            lineage: filled.lineage,
            ..Found::default()
        };
        assert!(matches!(ahead.judge(&found), Verdict::Lost(_)), "the kill is put back");
    }
}
