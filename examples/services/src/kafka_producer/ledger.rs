//! What is known of every event: how many wait, how many are stored, and which keys were seen.
//!
//! A pure core; the delivery holds the lock and the queue. Keys of stored events are remembered up to a bound, the
//! oldest forgotten first: a repeat comes soon or never.

use std::collections::{HashMap, VecDeque};

use uuid::Uuid;

use super::sink::Event;

const KEYS_MAX: usize = 100_000;

#[derive(Debug)]
pub(super) struct Ledger {
    counts: Counts,
    waiting: HashMap<String, Uuid>,
    stored: HashMap<String, Uuid>,
    oldest_first: VecDeque<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) queued: u64,
    pub(super) successful: u64,
    pub(super) sink_available: bool,
}

/// What the ledger says to an event that comes in.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Entry {
    New,
    Waiting(Uuid),
    Stored(Uuid),
}

impl Default for Ledger {
    fn default() -> Self {
        let counts = Counts { queued: 0, successful: 0, sink_available: true };
        Ledger {
            counts,
            waiting: HashMap::new(),
            stored: HashMap::new(),
            oldest_first: VecDeque::new(),
        }
    }
}

impl Ledger {
    pub(super) fn counts(&self) -> Counts {
        self.counts
    }

    /// Enters an event as waiting, unless its key is known.
    pub(super) fn enter(&mut self, event: &Event) -> Entry {
        if let Some(key) = &event.key {
            if let Some(id) = self.stored.get(key) {
                return Entry::Stored(*id);
            }
            if let Some(id) = self.waiting.get(key) {
                return Entry::Waiting(*id);
            }
            self.waiting.insert(key.clone(), event.id);
        }
        self.counts.queued += 1;
        Entry::New
    }

    /// Takes back an event that found no place in the queue.
    pub(super) fn withdraw(&mut self, event: &Event) {
        self.leave_queue(event);
    }

    /// Notes that the sink has the batch.
    pub(super) fn store(&mut self, batch: &[Event]) {
        self.counts.sink_available = true;
        for event in batch {
            self.leave_queue(event);
            self.remember(event.key.clone(), event.id);
        }
    }

    /// Notes an event that was stored in an earlier life of the process.
    pub(super) fn remember(&mut self, key: Option<String>, id: Uuid) {
        self.counts.successful += 1;
        let Some(key) = key else { return };
        if self.stored.insert(key.clone(), id).is_none() {
            self.oldest_first.push_back(key);
        }
        if self.oldest_first.len() > KEYS_MAX
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.stored.remove(&oldest);
        }
    }

    pub(super) fn sink_failed(&mut self) {
        self.counts.sink_available = false;
    }

    fn leave_queue(&mut self, event: &Event) {
        self.counts.queued = self.counts.queued.saturating_sub(1);
        if let Some(key) = &event.key {
            self.waiting.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use serde_json::Value;

    fn event(key: Option<&str>) -> Event {
        let (at, key) = (Timestamp::UNIX_EPOCH, key.map(str::to_owned));
        Event { id: Uuid::now_v7(), key, at, traceparent: None, payload: Value::Null }
    }

    #[test]
    fn an_event_waits_until_it_is_stored() {
        let mut ledger = Ledger::default();
        let event = event(Some("k"));
        assert_eq!(ledger.enter(&event), Entry::New);
        assert_eq!(ledger.enter(&event), Entry::Waiting(event.id));
        ledger.store(std::slice::from_ref(&event));
        assert_eq!(ledger.enter(&event), Entry::Stored(event.id));
        assert_eq!(ledger.counts(), Counts { queued: 0, successful: 1, sink_available: true });
    }

    #[test]
    fn a_withdrawn_event_may_come_again() {
        let mut ledger = Ledger::default();
        let event = event(Some("k"));
        ledger.enter(&event);
        ledger.withdraw(&event);
        assert_eq!(ledger.enter(&event), Entry::New);
    }

    #[test]
    fn events_without_a_key_are_all_new() {
        let mut ledger = Ledger::default();
        ledger.enter(&event(None));
        assert_eq!(ledger.enter(&event(None)), Entry::New);
        assert_eq!(ledger.counts().queued, 2);
    }

    #[test]
    fn the_oldest_key_is_forgotten_first() {
        let mut ledger = Ledger::default();
        for n in 0..=KEYS_MAX {
            ledger.remember(Some(n.to_string()), Uuid::nil());
        }
        assert_eq!(ledger.stored.len(), KEYS_MAX);
        assert!(!ledger.stored.contains_key("0") && ledger.stored.contains_key("1"));
    }
}
