//! The way from a request to the sink: a bounded queue, one worker, retries with growing pauses.
//!
//! The worker takes whatever waits as one batch, so that many events share one fsync. A failing sink is tried for
//! ever; meanwhile new events are answered `Waiting` at once, until the queue is full.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::ledger::{Counts, Entry, Ledger};
use super::sink::{Event, Sink};
use crate::startup::{Background, Ending};

const QUEUE_MAX: usize = 4096;
const BATCH_MAX: usize = 256;
/// How long an answer waits for the sink before it says `queued`.
const ANSWER_WAIT: Duration = Duration::from_secs(1);
const PAUSE_FIRST: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// A handle; clones feed the same worker.
#[derive(Clone)]
pub(super) struct Delivery {
    queue: mpsc::Sender<Queued>,
    ledger: Arc<Mutex<Ledger>>,
}

/// How far an event has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Stored,
    Waiting,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct QueueFull;

struct Queued {
    event: Event,
    /// Dropped without a word when the sink fails.
    stored: oneshot::Sender<()>,
}

impl Delivery {
    pub(super) fn start<S: Sink>(sink: S, ledger: Ledger, background: &mut Background) -> Self {
        let (queue, queued) = mpsc::channel(QUEUE_MAX);
        let ledger = Arc::new(Mutex::new(ledger));
        let worker = Worker { sink, queued, ledger: ledger.clone() };
        background.spawn(|ending| worker.run(ending));
        Delivery { queue, ledger }
    }

    /// Takes an event, or says how far the earlier one with its key has come.
    pub(super) async fn accept(&self, event: Event) -> Result<(Uuid, Progress), QueueFull> {
        let id = event.id;
        let (say_stored, stored) = oneshot::channel();
        // Nothing awaits between entering and queueing, so a caller that goes away leaves no half entry.
        let sink_available = {
            let mut ledger = lock(&self.ledger);
            match ledger.enter(&event) {
                Entry::Stored(id) => return Ok((id, Progress::Stored)),
                Entry::Waiting(id) => return Ok((id, Progress::Waiting)),
                Entry::New => {}
            }
            if let Err(refused) = self.queue.try_send(Queued { event, stored: say_stored }) {
                ledger.withdraw(&refused.into_inner().event);
                return Err(QueueFull);
            }
            ledger.counts().sink_available
        };
        if sink_available && matches!(timeout(ANSWER_WAIT, stored).await, Ok(Ok(()))) {
            return Ok((id, Progress::Stored));
        }
        Ok((id, Progress::Waiting))
    }

    pub(super) fn counts(&self) -> Counts {
        lock(&self.ledger).counts()
    }
}

struct Worker<S> {
    sink: S,
    queued: mpsc::Receiver<Queued>,
    ledger: Arc<Mutex<Ledger>>,
}

impl<S: Sink> Worker<S> {
    async fn run(mut self, mut ending: Ending) {
        loop {
            let mut batch = Vec::new();
            tokio::select! {
                taken = self.queued.recv_many(&mut batch, BATCH_MAX) => {
                    if taken == 0 {
                        return;
                    }
                }
                () = ending.begun() => return self.store_the_rest(ending).await,
            }
            self.store(batch, &mut ending).await;
        }
    }

    /// Tries until the sink has the batch, or, once the service ends, one last time.
    async fn store(&mut self, batch: Vec<Queued>, ending: &mut Ending) {
        let (events, mut waiting): (Vec<_>, Vec<_>) =
            batch.into_iter().map(|q| (q.event, q.stored)).unzip();
        let mut pause = PAUSE_FIRST;
        loop {
            let last_try = ending.has_begun();
            match self.sink.append(&events).await {
                Ok(()) => break,
                Err(error) if last_try => {
                    return error!(%error, events = events.len(), "events are lost: the service ends and the sink fails");
                }
                Err(error) => self.note_failure(&error),
            }
            waiting.clear();
            ending.sleep(pause).await;
            pause = (pause * 2).min(PAUSE_MAX);
        }
        self.note_stored(&events);
        for stored in waiting {
            // Who asked may be gone; the event is stored all the same.
            let _ = stored.send(());
        }
    }

    async fn store_the_rest(mut self, mut ending: Ending) {
        self.queued.close();
        let mut rest = Vec::new();
        while self.queued.recv_many(&mut rest, BATCH_MAX).await > 0 {
            self.store(std::mem::take(&mut rest), &mut ending).await;
        }
    }

    fn note_failure(&self, error: &std::io::Error) {
        let mut ledger = lock(&self.ledger);
        if ledger.counts().sink_available {
            warn!(%error, "the sink fails; events are queued");
        }
        ledger.sink_failed();
    }

    fn note_stored(&self, events: &[Event]) {
        let mut ledger = lock(&self.ledger);
        if !ledger.counts().sink_available {
            info!("the sink works again; queued events are being sent");
        }
        ledger.store(events);
    }
}

/// The ledger is whole between its methods, so a poisoned lock is still good.
fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use serde_json::Value;
    use std::io;

    /// A sink that refuses as often as it is told to, and keeps count.
    struct Scripted {
        failures: u32,
        stored: Arc<Mutex<Vec<Uuid>>>,
    }

    impl Sink for Scripted {
        async fn append(&mut self, batch: &[Event]) -> io::Result<()> {
            if self.failures > 0 {
                self.failures -= 1;
                return Err(io::Error::other("told to fail"));
            }
            self.stored.lock().unwrap().extend(batch.iter().map(|event| event.id));
            Ok(())
        }
    }

    fn start(failures: u32) -> (Delivery, Background, Arc<Mutex<Vec<Uuid>>>) {
        let (stored, mut background) = (Arc::default(), Background::default());
        let sink = Scripted { failures, stored: Arc::clone(&stored) };
        let delivery = Delivery::start(sink, Ledger::default(), &mut background);
        (delivery, background, stored)
    }

    fn event() -> Event {
        let at = Timestamp::UNIX_EPOCH;
        Event { id: Uuid::now_v7(), key: None, at, traceparent: None, payload: Value::Null }
    }

    #[tokio::test]
    async fn an_event_that_the_sink_has_is_stored() {
        let (delivery, _background, stored) = start(0);
        let (id, progress) = delivery.accept(event()).await.unwrap();
        assert_eq!(progress, Progress::Stored);
        assert_eq!(*stored.lock().unwrap(), [id]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_event_waits_and_is_stored_once_when_the_sink_is_back() {
        let (delivery, _background, stored) = start(3);
        let (id, progress) = delivery.accept(event()).await.unwrap();
        assert_eq!(progress, Progress::Waiting);
        while delivery.counts().queued > 0 {
            tokio::time::advance(PAUSE_FIRST).await;
        }
        assert_eq!(*stored.lock().unwrap(), [id]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_queue_refuses_and_counts_nothing() {
        let (delivery, _background, _stored) = start(u32::MAX);
        let mut accepted = 0_u64;
        while delivery.accept(event()).await.is_ok() {
            accepted += 1;
        }
        assert!(accepted >= QUEUE_MAX as u64);
        assert_eq!(delivery.counts().queued, accepted);
    }

    #[tokio::test(start_paused = true)]
    async fn the_end_stores_what_still_waits() {
        let (delivery, background, stored) = start(1);
        for _ in 0..3 {
            delivery.accept(event()).await.unwrap();
        }
        background.end().await;
        assert_eq!(stored.lock().unwrap().len(), 3);
    }
}
