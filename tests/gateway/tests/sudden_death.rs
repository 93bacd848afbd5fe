//! The promise: `kill -9` in the middle of a thousand flips loses none that was answered, and halves none.
//!
//! The gateway keeps its state in a directory and is driven over HTTP. Its death comes at a moment of its own, within or between
//! two flips; the last flip may so be lost or kept, but only whole, and everything before it is there.

use std::collections::BTreeMap;
use std::time::Duration;

use portcullis::store::EmbeddedStore;
use portcullis_tests::{Client, Gateway, Script, Upstream, in_full};
use serde_json::{Value, json};

const FEATURES: [&str; 8] = ["a", "b", "c", "d", "e", "f", "g", "h"];
/// In all of them together.
const FLIPS: usize = 1_000;

/// Whether each feature is on, and why.
type States = BTreeMap<String, (bool, String)>;

struct Flip {
    features: Vec<&'static str>,
    enabled: bool,
    reason: String,
}

impl Flip {
    /// One to three features, off more often than on.
    fn of(number: usize, dice: &mut fastrand::Rng) -> Self {
        let mut features = FEATURES.to_vec();
        dice.shuffle(&mut features);
        features.truncate(dice.usize(1..=3));
        Self { features, enabled: dice.u8(..3) == 0, reason: format!("flip {number}") }
    }

    /// Whether it was answered; and then it must have been kept.
    async fn is_answered(&self, admin: &str) -> bool {
        let Self { features, enabled, reason } = self;
        let path = if *enabled { "bulk-enable" } else { "emergency-disable" };
        let body = json!({ "features": features, "reason": reason, "updated_by": "ada" });
        let asked = Client::new().post(format!("{admin}/admin/{path}")).json(&body);
        let Ok(answer) = asked.attempt().await else { return false };
        assert_eq!((answer.status, &answer.json()["saved"]), (200, &json!(true)), "{answer}");
        true
    }

    fn apply(&self, states: &mut States) {
        for feature in &self.features {
            states.insert((*feature).to_owned(), (self.enabled, self.reason.clone()));
        }
    }
}

#[tokio::test]
async fn every_answered_flip_survives_a_kill_9_at_any_moment() {
    let seed = std::env::var("PORTCULLIS_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("seed {seed} (PORTCULLIS_SEED repeats it)");
    let mut dice = fastrand::Rng::with_seed(seed);
    let kills = in_full(200, 10);
    let upstream = Upstream::always(Script::answer(200, ""));
    let launch = FEATURES.into_iter().fold(Gateway::in_front_of(&upstream), |launch, name| {
        launch.keys(&format!("[features.{name}]"), "")
    });
    let mut gateway = launch.start().await;
    let (mut kept, mut answered, mut unanswered_kept) = (States::new(), 0, 0);

    for kill in 1..=kills {
        let admin = gateway.admin_url("");
        let before = answered;
        while answered < FLIPS * kill / kills {
            let flip = Flip::of(answered, &mut dice);
            assert!(flip.is_answered(&admin).await, "nobody has killed it yet");
            flip.apply(&mut kept);
            answered += 1;
        }
        // A flip takes some milliseconds, so this is before, within or after it.
        let (last, delay) = (Flip::of(FLIPS + kill, &mut dice), dice.u64(0..8_000));
        let (was_answered, ()) = tokio::join!(last.is_answered(&admin), async {
            tokio::time::sleep(Duration::from_micros(delay)).await;
            gateway.kill_9();
        });
        let mut with_last = kept.clone();
        last.apply(&mut with_last);

        gateway.restart().await;
        let found = states(&gateway).await;
        assert!(
            found == with_last || !was_answered && found == kept,
            "kill {kill}: {found:#?}\nis neither all that was answered, {kept:#?}\nnor that and the last flip"
        );
        unanswered_kept += usize::from(!was_answered && found == with_last);
        let audited = audited(&gateway).await;
        for number in before..answered {
            assert!(
                audited.contains(&json!(format!("flip {number}"))),
                "flip {number}: {audited:?}"
            );
        }
        kept = found;
    }
    gateway.terminate().await;
    let lines = EmbeddedStore::open(&gateway.data_directory()).unwrap().verify_audit().unwrap();
    println!(
        "kill -9, embedded: {answered} flips answered, {kills} kills, 0 flips lost, 0 halved, {unanswered_kept} kept but never answered; {lines} lines of the audit in order"
    );
}

/// What the gateway says of the features that somebody decided.
async fn states(gateway: &Gateway) -> States {
    let all = Client::new().get(gateway.admin_url("/admin/killswitches")).await.ok();
    let all = all["killswitches"].as_object().expect("an object").clone();
    let decided = all.into_iter().filter(|(_, state)| state["source"] != "default");
    let shown = |state: &Value| {
        (state["enabled"] == true, state["reason"].as_str().unwrap_or_default().to_owned())
    };
    decided.map(|(name, state)| (name, shown(&state))).collect()
}

async fn audited(gateway: &Gateway) -> Vec<Value> {
    let audit = Client::new().get(gateway.admin_url("/admin/audit?limit=1000")).await.ok();
    let entries = audit["entries"].as_array().expect("an array");
    entries.iter().map(|entry| entry["reason"].clone()).collect()
}
