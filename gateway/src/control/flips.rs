//! Tells of flips among the events: whatever turned a feature off or on, here or at another gateway of the fleet.
//!
//! The switchboard that requests see is compared with the one that was told of last, so that a kill, an auto-disable, an expiry
//! and another gateway's flip are all told alike, in the words of the state that holds. What is flipped and flipped back within
//! one look was never anybody's state for long, and isn't told; the audit has every step.

use std::time::Duration;

use portcullis::switchboard::{Switchboard, feature::State};
use portcullis::view::Subscriber;
use tokio::time::{MissedTickBehavior, interval};

use super::events::{Events, Flipped};

/// Between two looks, each of which is one atomic load. Short, because somebody watches an incident by it.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Tells flips for as long as it is polled.
pub(super) async fn watch(subscriber: Subscriber, events: Events) {
    let mut told = subscriber.pin();
    let mut looks = interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        if subscriber.read(|newest| std::ptr::eq(newest, &*told)) {
            continue;
        }
        let newest = subscriber.pin();
        flips(&told, &newest).into_iter().for_each(|flipped| events.flipped(flipped));
        told = newest;
    }
}

/// What differs, in the order of the features, kills for some included. A feature that is new is told of if it is off.
fn flips(before: &Switchboard, after: &Switchboard) -> Vec<Flipped> {
    let revision = after.revision();
    // What a feature itself is, not what follows for it from another one.
    let changed = |name: &str, state: &State| {
        let was = before.id(name).map(|id| before.state(id));
        let was = was.map_or((true, &[][..]), |was| (was.enabled, &was.kills[..]));
        was != (state.enabled, &state.kills[..])
    };
    after
        .features()
        .filter(|(_, feature, state)| changed(&feature.name, state))
        .map(|(_, feature, state)| Flipped {
            feature: feature.name.clone(),
            enabled: state.enabled,
            kills_for_some: state.kills.len(),
            reason: state.reason.clone(),
            updated_by: state.updated_by.clone(),
            source: state.source.as_str(),
            revision,
            expires_at: state.expires_at,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use portcullis::switchboard::feature::Feature;
    use portcullis::view;

    use super::*;
    use crate::control::events::{Read, Reader, What};

    async fn next(reader: &mut Reader) -> (String, bool) {
        match reader.next().await {
            Some(Read::Event(event)) => match &event.what {
                What::Flip(flip) => (flip.flipped.feature.to_string(), flip.flipped.enabled),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_turned_off_and_on_is_told_once_each_and_nothing_else() {
        let all_on = Switchboard::new(["orders", "reports"].map(Feature::named), []);
        let off = all_on.clone().with_state("reports", State::held_off("X")).at_revision(1);
        let (publisher, subscriber) = view::channel(all_on.clone());
        let events = Events::new("here");
        let mut reader = events.read();
        let watching = tokio::spawn(watch(subscriber, events.clone()));
        tokio::task::yield_now().await;
        publisher.publish(off.clone());
        assert_eq!(next(&mut reader).await, ("reports".to_owned(), false));
        // Another revision with the same features off is no flip.
        publisher.publish(off.at_revision(2));
        tokio::time::sleep(LOOK_EVERY * 2).await;
        publisher.publish(all_on.at_revision(3));
        assert_eq!(next(&mut reader).await, ("reports".to_owned(), true));
        watching.abort();
    }
}
