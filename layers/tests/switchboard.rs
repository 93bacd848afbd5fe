//! The switchboard as a value: what a flip makes of it, what it refuses, and that time lifts kills.
#![allow(clippy::unwrap_used, reason = "in a test, also where a function helps it")]

use std::collections::BTreeMap;

use portcullis::switchboard::{
    Switchboard, UnixMillis,
    feature::{Feature, Source, State},
    flip::{Flip, FlipError},
    kill::Terms,
};
use proptest::prelude::*;

const NOW: UnixMillis = UnixMillis(1_000);

fn board() -> Switchboard {
    Switchboard::new(["orders", "reports", "search"].map(Feature::named), [])
}

fn kill(features: &[&str]) -> Flip {
    Flip {
        features: features.iter().map(|&name| name.into()).collect(),
        enabled: false,
        reason: "stock is wrong".to_owned(),
        actor: "ada".to_owned(),
        source: Source::Api,
        expires_at: None,
        terms: Terms::default(),
    }
}

fn restore(features: &[&str]) -> Flip {
    Flip { enabled: true, reason: "stock is right".to_owned(), ..kill(features) }
}

fn off(board: &Switchboard) -> Vec<&str> {
    board
        .features()
        .filter(|&(id, ..)| board.is_off(id))
        .map(|(_, feature, _)| &*feature.name)
        .collect()
}

#[test]
fn everything_is_on_at_first() {
    let board = board();
    assert_eq!(board.revision(), 0);
    assert_eq!(off(&board), [""; 0]);
}

#[test]
fn a_kill_makes_the_next_switchboard_and_leaves_this_one_alone() {
    let before = board();
    let after = before.apply(&kill(&["reports"]), NOW).unwrap();
    assert_eq!((before.revision(), off(&before)), (0, vec![]));
    assert_eq!((after.revision(), off(&after)), (1, vec!["reports"]));
}

#[test]
fn a_state_says_who_why_and_since_when() {
    let board = board().apply(&kill(&["reports"]), NOW).unwrap();
    let expected = State {
        enabled: false,
        reason: "stock is wrong".to_owned(),
        updated_by: "ada".to_owned(),
        updated_at: Some(NOW),
        expires_at: None,
        source: Source::Api,
        ..State::default()
    };
    assert_eq!(board.state(board.id("reports").unwrap()), &expected);
}

#[test]
fn a_restore_undoes_a_kill_and_has_no_expiry() {
    let killed = board().apply(&kill(&["reports"]), NOW).unwrap();
    let flip = Flip { expires_at: Some(UnixMillis(9_000)), ..restore(&["reports"]) };
    let restored = killed.apply(&flip, NOW).unwrap();
    assert_eq!(off(&restored), [""; 0]);
    assert_eq!(restored.next_expiry(), None);
    assert_eq!(restored.state(restored.id("reports").unwrap()).expires_at, None);
}

#[test]
fn what_is_on_does_not_expire() {
    let odd = State { expires_at: Some(UnixMillis(1)), ..State::default() };
    let board = board().with_state("orders", odd);
    assert_eq!(board.next_expiry(), None);
    assert!(board.expire(UnixMillis(2)).is_none());
}

#[test]
fn all_features_of_a_flip_are_flipped_or_none() {
    let before = board();
    let error = before.apply(&kill(&["orders", "nosuch", "reports"]), NOW).unwrap_err();
    assert_eq!(error, FlipError::UnknownFeature { feature: "nosuch".into() });
    assert_eq!(off(&before), [""; 0]);
    assert_eq!(
        off(&before.apply(&kill(&["orders", "reports"]), NOW).unwrap()),
        ["orders", "reports"]
    );
}

#[test]
fn a_flip_needs_a_reason() {
    let flip = Flip { reason: " \t".to_owned(), ..kill(&["orders"]) };
    assert_eq!(board().apply(&flip, NOW).unwrap_err(), FlipError::NoReason);
}

#[test]
fn what_the_environment_holds_off_can_be_killed_but_not_turned_on() {
    let held = board().with_state("orders", State::held_off("KILLSWITCH_ORDERS"));
    assert_eq!(off(&held), ["orders"]);
    let error = held.apply(&restore(&["reports", "orders"]), NOW).unwrap_err();
    assert_eq!(
        error,
        FlipError::HeldByEnvironment {
            feature: "orders".into(),
            variable: "KILLSWITCH_ORDERS".into()
        }
    );
    assert!(error.to_string().contains("KILLSWITCH_ORDERS"), "{error}");
    assert!(held.apply(&kill(&["orders"]), NOW).is_ok());
}

#[test]
fn a_kill_is_lifted_when_its_time_has_come_and_not_before() {
    let flip = Flip { expires_at: Some(UnixMillis(5_000)), ..kill(&["orders"]) };
    let killed = board().apply(&flip, NOW).unwrap();
    assert_eq!(killed.next_expiry(), Some(UnixMillis(5_000)));
    assert!(killed.expire(UnixMillis(4_999)).is_none());

    let lifted = killed.expire(UnixMillis(5_000)).unwrap();
    assert_eq!((lifted.revision(), off(&lifted)), (2, vec![]));
    let state = lifted.state(lifted.id("orders").unwrap());
    assert_eq!(state.source, Source::Expiry);
    assert_eq!(state.reason, "expired: stock is wrong");
    assert!(lifted.expire(UnixMillis(5_000)).is_none(), "it is lifted once");
}

#[test]
fn an_expiry_lifts_only_the_kills_that_are_due() {
    let until = |feature, at| Flip { expires_at: Some(UnixMillis(at)), ..kill(&[feature]) };
    let board = board().apply(&until("orders", 5_000), NOW).unwrap();
    let board =
        board.apply(&until("search", 6_000), NOW).unwrap().apply(&kill(&["reports"]), NOW).unwrap();
    let board = board.expire(UnixMillis(5_500)).unwrap();
    assert_eq!(off(&board), ["reports", "search"]);
    assert_eq!(board.next_expiry(), Some(UnixMillis(6_000)));
}

#[test]
fn a_feature_that_nobody_declared_can_still_be_known_to_be_off() {
    let board = board().with_state("learnt", State { enabled: false, ..State::default() });
    assert!(!board.is_enabled("learnt"));
    assert!(!board.feature(board.id("learnt").unwrap()).declared);
    assert!(board.is_enabled("never heard of"));
}

#[test]
fn an_index_holds_in_every_later_switchboard() {
    let first = board();
    let id = first.id("search").unwrap();
    let later =
        first.with_state("learnt", State::default()).apply(&kill(&["search"]), NOW).unwrap();
    assert_eq!(later.id("search"), Some(id));
    assert!(later.is_off(id));
}

#[test]
fn of_two_features_of_one_name_the_first_counts() {
    let critical = Feature { critical: true, ..Feature::named("orders") };
    let board = Switchboard::new([critical, Feature::named("orders")], []);
    assert_eq!(board.features().count(), 1);
    assert!(board.feature(board.id("orders").unwrap()).critical);
}

/// More than one word of the bit set.
const MANY: usize = 130;

#[derive(Debug, Clone)]
enum Step {
    Flip { features: Vec<usize>, enabled: bool, expires_in: Option<u64> },
    Wait { millis: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    // One index more than there are features, so that some flips name an unknown one.
    let features = prop::collection::vec(0..=MANY, 1..5);
    let flip = (features, any::<bool>(), prop::option::of(0_u64..2_000));
    prop_oneof![
        3 => flip.prop_map(|(features, enabled, expires_in)| Step::Flip { features, enabled, expires_in }),
        1 => (0_u64..1_500).prop_map(|millis| Step::Wait { millis }),
    ]
}

fn name(index: usize) -> String {
    format!("feature-{index}")
}

/// The switchboard as one would write it without a thought for speed: the kills by name, each with its expiry.
#[derive(Default)]
struct Model {
    kills: BTreeMap<usize, Option<u64>>,
    revision: u64,
}

impl Model {
    fn flip(&mut self, features: &[usize], enabled: bool, expires_at: Option<u64>) {
        if features.contains(&MANY) {
            return;
        }
        self.revision += 1;
        for &feature in features {
            if enabled {
                self.kills.remove(&feature);
            } else {
                self.kills.insert(feature, expires_at);
            }
        }
    }

    fn expire(&mut self, now: u64) {
        let before = self.kills.len();
        self.kills.retain(|_, expires_at| expires_at.is_none_or(|at| at > now));
        self.revision += u64::from(self.kills.len() < before);
    }
}

proptest! {
    #[test]
    fn apply_and_expire_do_what_a_naive_model_does(steps in prop::collection::vec(step(), 1..40)) {
        let mut board = Switchboard::new((0..MANY).map(|index| Feature::named(&name(index))), []);
        let (mut model, mut now) = (Model::default(), 1_000);
        for step in steps {
            match step {
                Step::Flip { features, enabled, expires_in } => {
                    let expires_at = expires_in.map(|wait| now + wait);
                    model.flip(&features, enabled, expires_at);
                    let flip = Flip {
                        features: features.iter().map(|&index| name(index).into()).collect(),
                        enabled,
                        expires_at: expires_at.map(UnixMillis),
                        ..kill(&[])
                    };
                    board = board.apply(&flip, UnixMillis(now)).unwrap_or(board);
                }
                Step::Wait { millis } => {
                    now += millis;
                    model.expire(now);
                    board = board.expire(UnixMillis(now)).unwrap_or(board);
                }
            }
            prop_assert_eq!(board.revision(), model.revision);
            prop_assert_eq!(board.next_expiry().map(|at| at.0), model.kills.values().copied().flatten().min());
            for (index, (id, feature, state)) in board.features().enumerate() {
                let killed = model.kills.contains_key(&index);
                prop_assert_eq!(board.is_off(id), killed, "the bit of {}", &feature.name);
                prop_assert_eq!(state.enabled, !killed, "the state of {}", &feature.name);
                prop_assert_eq!(board.is_enabled(&name(index)), !killed);
            }
        }
    }
}
