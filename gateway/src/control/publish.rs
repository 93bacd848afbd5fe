//! Tells a fleet what happens to the circuits of this gateway: each event becomes an entry of a list in the shared store.
//!
//! The events' ring is the queue. While the store is away it fills, and what falls out of it is counted as lost; that the
//! store is away is said once, and so is how it ended. An entry is tried until the store is known to have it, so one whose
//! answer got lost may stand there twice. The store is asked on a thread that may wait, and nothing of this is near a request.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use portcullis::store::Outlet;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use super::events::{BreakerChanged, Events, Read, What};
use super::metrics::{Exposition, counter};

/// Between the first attempt and the second; then twice as long each time, up to [`PAUSE_MAX`]. Not longer than that: whoever
/// mended the store wants to see that it is well again.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// What became of the events.
#[derive(Debug, Default)]
pub(super) struct Figures {
    published: AtomicU64,
    lost: AtomicU64,
}

/// Publishes events for as long as they come.
pub(super) async fn publish(mut outlet: Box<dyn Outlet>, events: Events, figures: Arc<Figures>) {
    // From the first event of this process on, also those from before this task began.
    let mut reader = events.read_all();
    while let Some(read) = reader.next().await {
        match read {
            Read::Missed(missed) => {
                figures.lost.fetch_add(missed, Relaxed);
                tracing::warn!(
                    "{missed} breaker events were lost to the fleet: the store was away too long"
                );
            }
            Read::Event(event) => {
                let What::Breaker(changed) = &event.what else { continue };
                let Some(again) = until_told(outlet, changed).await else { return };
                outlet = again;
                figures.published.fetch_add(1, Relaxed);
            }
        }
    }
}

/// Hands the outlet back when it has told the event; nothing when it panicked.
async fn until_told(
    mut outlet: Box<dyn Outlet>,
    changed: &BreakerChanged,
) -> Option<Box<dyn Outlet>> {
    let (mut pause, mut is_away) = (PAUSE, false);
    loop {
        let (fields, mut asked) = (changed.fields(), outlet);
        let told = spawn_blocking(move || (asked.tell(&fields), asked)).await;
        // A panic has been printed by its own thread.
        let (told, given_back) = told.ok()?;
        outlet = given_back;
        let Err(why) = told else { break };
        if !is_away {
            tracing::warn!("breaker events wait for the fleet: {why}");
            is_away = true;
        }
        sleep(pause.mul_f64(1.0 - fastrand::f64() / 5.0)).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
    if is_away {
        tracing::info!("breaker events reach the fleet again");
    }
    Some(outlet)
}

impl Exposition for Figures {
    fn write(&self, out: &mut String) {
        let all = [
            (
                "portcullis_breaker_events_published_total",
                "Breaker events that the fleet's store has",
                &self.published,
            ),
            (
                "portcullis_breaker_events_lost_total",
                "Breaker events that were lost because the fleet's store was away too long",
                &self.lost,
            ),
        ];
        for (name, help, count) in all {
            counter(name, help).single(out, count.load(Relaxed));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::time::SystemTime;

    use portcullis::circuit_breaker::{Action, Breaker, Change, Order, Settings};
    use portcullis::store::StoreError;

    use super::*;
    use crate::limits::EVENTS_KEPT;

    /// A list that is away for so many attempts.
    #[derive(Clone, Default)]
    struct List {
        away: Arc<AtomicU64>,
        told: Arc<Mutex<Vec<String>>>,
    }

    impl Outlet for List {
        fn tell(&mut self, fields: &[(&'static str, String)]) -> Result<(), StoreError> {
            if self.away.fetch_update(Relaxed, Relaxed, |away| away.checked_sub(1)).is_ok() {
                return Err(StoreError::Unavailable { what: "connection refused".to_owned() });
            }
            let to = fields.iter().find(|(name, _)| *name == "to").expect("it says what it is now");
            self.told.lock().expect("nobody panics").push(to.1.clone());
            Ok(())
        }
    }

    fn change() -> Change {
        let breaker = Breaker::new("b", Settings::default());
        breaker.order(Order::new(Action::ForceOpen));
        breaker.changes_since(0).remove(0)
    }

    /// What the list has, and what was counted, when `events` have all been told.
    async fn published(list: &List, events: Events) -> (Vec<String>, u64, u64) {
        let figures = Arc::<Figures>::default();
        events.close();
        publish(Box::new(list.clone()), events, figures.clone()).await;
        let told = list.told.lock().expect("nobody panics").clone();
        (told, figures.published.load(Relaxed), figures.lost.load(Relaxed))
    }

    #[tokio::test(start_paused = true)]
    async fn an_event_waits_until_the_store_has_it() {
        let list = List { away: Arc::new(5.into()), ..List::default() };
        let events = Events::new("here");
        events.breaker_changed(&change(), &"u".into());
        assert_eq!(published(&list, events).await, (vec!["forced_open".to_owned()], 1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_queue_cant_hold_is_counted_and_the_rest_is_told() {
        let list = List::default();
        let events = Events::new("here");
        let change = Change { at: SystemTime::UNIX_EPOCH, ..change() };
        (0..EVENTS_KEPT + 7).for_each(|_| events.breaker_changed(&change, &"u".into()));
        let (told, published, lost) = published(&list, events).await;
        assert_eq!((told.len(), published, lost), (EVENTS_KEPT, EVENTS_KEPT as u64, 7));
    }
}
