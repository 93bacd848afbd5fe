//! What is saved: the states of the killswitches at a revision.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::switchboard::{Switchboard, feature::State};

/// The states of the killswitches at a revision.
///
/// Its JSON form is `{"version":1,"revision":7,"states":{"order_creation":{"enabled":false, …}}}`. The order of the states is
/// that of their names, so that equal states have equal bytes. Where several processes share the store, a `mark` stands
/// beside them.
///
/// The version is as old as what is said permits: whoever reads only version 1 can work beside whoever writes this, until
/// somebody makes a kill that he wouldn't understand. He refuses it then, rather than turn on what he can't see.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Saved {
    /// The number of the last flip in it.
    pub revision: u64,
    /// The state of each feature.
    pub states: BTreeMap<String, State>,
    /// What tells this revision from another of the same number. Stores fill it in; whoever saves leaves it empty.
    pub mark: Mark,
}

/// What tells a revision from another of the same number: a store that was emptied, or went back to an older copy of itself,
/// counts its revisions anew. Both are empty in a store that can't be shared.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Mark {
    /// The life of the store that gave the revision: it begins when a store is filled, and ends when its content is lost.
    pub life: String,
    /// The name of the one commit that made the revision.
    pub commit: String,
}

impl Mark {
    fn is_empty(&self) -> bool {
        self.life.is_empty() && self.commit.is_empty()
    }
}

/// The version of the JSON form in which a feature is on or off for everybody.
const FIRST: u32 = 1;
/// The version in which kills stand beside that.
const WITH_KILLS: u32 = 2;

#[derive(Serialize)]
struct Written<'s> {
    version: u32,
    revision: u64,
    states: &'s BTreeMap<String, State>,
    #[serde(skip_serializing_if = "Mark::is_empty")]
    mark: &'s Mark,
}

#[derive(Deserialize)]
struct Read {
    version: u32,
    revision: u64,
    states: BTreeMap<String, State>,
    #[serde(default)]
    mark: Mark,
}

impl Saved {
    /// What is to be saved of a switchboard: every state that somebody decided. A feature that is on because nobody ever
    /// said otherwise is left out, and so is what the environment holds: it is asked anew at each start.
    pub fn of(board: &Switchboard) -> Self {
        use crate::switchboard::feature::Source::{Default, Env};
        let decided =
            board.features().filter(|(_, _, state)| !matches!(state.source, Default | Env { .. }));
        let states =
            decided.map(|(_, feature, state)| (feature.name.to_string(), state.clone())).collect();
        Self { revision: board.revision(), states, mark: Mark::default() }
    }

    /// The switchboard with these states taken over, at their revision.
    #[must_use]
    pub fn restore(&self, board: Switchboard) -> Switchboard {
        let take_over = |board: Switchboard, (name, state): (&String, &State)| {
            board.with_state(name, state.clone())
        };
        self.states.iter().fold(board, take_over).at_revision(self.revision)
    }
}

impl Serialize for Saved {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { revision, states, mark } = self;
        let beyond = states.values().any(State::is_beyond_first_form);
        let version = if beyond { WITH_KILLS } else { FIRST };
        Written { version, revision: *revision, states, mark }.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Saved {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Read { version, revision, states, mark } = Read::deserialize(deserializer)?;
        if !(FIRST..=WITH_KILLS).contains(&version) {
            let wanted =
                format_args!("version {version}, but only up to {WITH_KILLS} is known here")
                    .to_string();
            return Err(serde::de::Error::custom(wanted));
        }
        Ok(Self { revision, states, mark })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::switchboard::{
        UnixMillis,
        feature::{Feature, Source},
    };

    fn killed() -> State {
        State {
            enabled: false,
            reason: "stock is wrong".to_owned(),
            updated_by: "ada".to_owned(),
            updated_at: Some(UnixMillis(1_000)),
            expires_at: Some(UnixMillis(61_000)),
            source: Source::Api,
            ..State::default()
        }
    }

    #[test]
    fn the_json_form_is_stable() {
        let saved = Saved {
            revision: 7,
            states: [("order_creation".to_owned(), killed())].into(),
            ..Saved::default()
        };
        let json = concat!(
            r#"{"version":1,"revision":7,"states":{"order_creation":{"enabled":false,"reason":"stock is wrong","#,
            r#""updated_by":"ada","updated_at":1000,"expires_at":61000,"source":"api"}}}"#
        );
        assert_eq!(serde_json::to_string(&saved).unwrap(), json);
        assert_eq!(serde_json::from_str::<Saved>(json).unwrap(), saved);
    }

    #[test]
    fn a_newer_form_is_refused_rather_than_guessed() {
        let error =
            serde_json::from_str::<Saved>(r#"{"version":3,"revision":7,"states":{}}"#).unwrap_err();
        assert!(error.to_string().contains("version 3"), "{error}");
    }

    #[test]
    fn a_switchboard_comes_back_as_it_was_saved() {
        let board = || Switchboard::new(["order_creation", "reports"].map(Feature::named), []);
        let before = board().with_state("order_creation", killed()).at_revision(7);
        let after = Saved::of(&before).restore(board());
        assert_eq!(after.revision(), 7);
        assert!(!after.is_enabled("order_creation"));
        assert!(after.is_enabled("reports"));
        assert_eq!(Saved::of(&after), Saved::of(&before));
    }

    #[test]
    fn a_kill_of_a_feature_that_is_no_longer_declared_is_kept() {
        let saved = Saved {
            revision: 7,
            states: [("gone".to_owned(), killed())].into(),
            ..Saved::default()
        };
        let board = saved.restore(Switchboard::new([], []));
        assert!(!board.is_enabled("gone"));
        assert_eq!(Saved::of(&board), saved);
    }

    #[test]
    fn what_nobody_decided_and_what_the_environment_holds_is_not_saved() {
        let board = Switchboard::new(["reports"].map(Feature::named), []);
        let board =
            board.with_state("order_creation", State::held_off("KILLSWITCH_ORDER_CREATION"));
        assert_eq!(Saved::of(&board), Saved::default());
    }
}
