//! What has happened, for whoever watches: the newest events in a ring, each with a number, read by as many as like.
//!
//! Nobody has a queue of their own. A reader knows the number that it wants next and takes it from the ring when it is woken; so
//! a reader that is slow costs nothing, and what it didn't read in time is gone for it: it is told how much it missed, and
//! decides. Whoever was away comes back with the number of the last event that it saw, and gets what the ring still has.
//!
//! The stream of server-sent events, the webhook, and whoever publishes to a fleet read here.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use portcullis::circuit_breaker::{Change, State};
use portcullis::switchboard::UnixMillis;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::moment::{rfc3339, rfc3339_of};
use crate::limits::EVENTS_KEPT;

/// The events of this process. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Events(Arc<Board>);

#[derive(Debug)]
struct Board {
    /// The name of this gateway among others.
    instance: Arc<str>,
    /// What tells the numbers of this process from those of the one before it.
    life: String,
    /// Held for a push or a copy, never over an await.
    ring: Mutex<VecDeque<Arc<Event>>>,
    news: watch::Sender<News>,
}

#[derive(Debug, Clone, Copy, Default)]
struct News {
    /// The number of the newest event.
    newest: u64,
    /// There will be no more.
    over: bool,
}

/// Something that has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Counted up by one from 1.
    pub number: u64,
    pub what: What,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Breaker(BreakerChanged),
    Flip(Flip),
}

/// A breaker has changed its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BreakerChanged {
    pub instance: Arc<str>,
    pub breaker: Arc<str>,
    pub upstream: Arc<str>,
    pub from: State,
    pub to: State,
    pub reason: String,
    /// Failures and calls in the state that ended.
    pub failures: u64,
    pub calls: u64,
    pub at: SystemTime,
}

/// A feature was turned off or on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flip {
    pub instance: Arc<str>,
    pub at: SystemTime,
    pub flipped: Flipped,
}

/// The feature's state, since the flip.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flipped {
    pub feature: Arc<str>,
    pub enabled: bool,
    /// Kills that are for some only, not in earnest, or yet to begin.
    pub kills_for_some: usize,
    pub reason: String,
    pub updated_by: String,
    /// The word for the way by which it came.
    pub source: &'static str,
    pub revision: u64,
    pub expires_at: Option<UnixMillis>,
}

/// What a reader gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read {
    Event(Arc<Event>),
    /// So many events are gone that the reader was too slow for, or away for too long.
    Missed(u64),
}

/// Someone who reads, from a number on.
#[derive(Debug)]
pub struct Reader {
    board: Arc<Board>,
    news: watch::Receiver<News>,
    next: u64,
}

impl Events {
    /// No events so far, of the gateway with this name.
    pub fn new(instance: impl Into<Arc<str>>) -> Self {
        let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(Arc::new(Board {
            instance: instance.into(),
            life: format!("{:x}", started.as_millis()),
            ring: Mutex::default(),
            news: watch::Sender::default(),
        }))
    }

    /// Tells that a breaker has changed. Called by whoever made the call that changed it, so it does little.
    pub fn breaker_changed(&self, change: &Change, upstream: &Arc<str>) {
        self.add(What::Breaker(BreakerChanged {
            instance: self.0.instance.clone(),
            breaker: change.breaker.clone(),
            upstream: upstream.clone(),
            from: change.from,
            to: change.to,
            reason: change.reason.clone(),
            failures: change.failures,
            calls: change.calls,
            at: change.at,
        }));
    }

    /// Tells that a feature was turned off or on.
    pub fn flipped(&self, flipped: Flipped) {
        let (instance, at) = (self.0.instance.clone(), SystemTime::now());
        self.add(What::Flip(Flip { instance, at, flipped }));
    }

    fn add(&self, what: What) {
        let mut ring = self.0.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let number = self.0.news.borrow().newest + 1;
        if ring.len() == EVENTS_KEPT {
            ring.pop_front();
        }
        ring.push_back(Arc::new(Event { number, what }));
        self.0.news.send_modify(|news| news.newest = number);
    }

    /// Reads what happens from now on.
    pub fn read(&self) -> Reader {
        let news = self.0.news.subscribe();
        let next = news.borrow().newest + 1;
        Reader { board: self.0.clone(), news, next }
    }

    /// Reads all that is kept, and what happens from now on.
    pub fn read_all(&self) -> Reader {
        Reader { next: 1, ..self.read() }
    }

    /// Reads from behind the event with this id, as [`Events::id`] makes them. An id of another life, or one that means
    /// nothing, reads all that is kept.
    pub fn read_after(&self, id: &str) -> Reader {
        let own = id.split_once('-').filter(|(life, _)| *life == self.0.life);
        let last = own.and_then(|(_, number)| number.parse::<u64>().ok());
        Reader { next: last.map_or(1, |last| last.saturating_add(1)), ..self.read() }
    }

    /// The id under which a reader may come back.
    pub fn id(&self, event: &Event) -> String {
        format!("{}-{}", self.0.life, event.number)
    }

    /// Tells readers that nothing more will come.
    pub fn close(&self) {
        self.0.news.send_modify(|news| news.over = true);
    }
}

impl Reader {
    /// The next one; nothing when there will be none.
    pub async fn next(&mut self) -> Option<Read> {
        loop {
            let news = *self.news.borrow_and_update();
            if self.next <= news.newest {
                return self.take();
            }
            if news.over || self.news.changed().await.is_err() {
                return None;
            }
        }
    }

    fn take(&mut self) -> Option<Read> {
        let ring = self.board.ring.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = ring.front()?.number;
        if self.next < oldest {
            let missed = oldest - self.next;
            self.next = oldest;
            return Some(Read::Missed(missed));
        }
        let place = usize::try_from(self.next - oldest).ok()?;
        self.next += 1;
        ring.get(place).cloned().map(Read::Event)
    }
}

impl What {
    /// The word for its kind.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Breaker(_) => "circuit_breaker",
            Self::Flip(_) => "killswitch",
        }
    }

    /// As programs read it.
    pub fn json(&self) -> Value {
        match self {
            Self::Breaker(changed) => changed.json(),
            Self::Flip(flip) => flip.json(),
        }
    }
}

impl Flip {
    /// As programs read it.
    pub fn json(&self) -> Value {
        let Flipped {
            feature,
            enabled,
            kills_for_some,
            reason,
            updated_by,
            source,
            revision,
            expires_at,
        } = &self.flipped;
        json!({
            "instance": &*self.instance,
            "feature": &**feature,
            "enabled": enabled,
            "kills_for_some": kills_for_some,
            "reason": reason,
            "updated_by": updated_by,
            "source": source,
            "revision": revision,
            "expires_at": expires_at.and_then(rfc3339),
            "at": rfc3339_of(self.at),
        })
    }
}

impl BreakerChanged {
    /// As programs read it.
    pub fn json(&self) -> Value {
        json!({
            "instance": &*self.instance,
            "breaker": &*self.breaker,
            "upstream": &*self.upstream,
            "from": self.from.as_str(),
            "to": self.to.as_str(),
            "reason": self.reason,
            "failures": self.failures,
            "calls": self.calls,
            "at": rfc3339_of(self.at),
        })
    }

    /// The fields of the fleet's stream of breaker events in Redis, in its order.
    pub fn fields(&self) -> [(&'static str, String); 8] {
        [
            ("instance", self.instance.to_string()),
            ("breaker", self.breaker.to_string()),
            ("from", self.from.as_str().to_owned()),
            ("to", self.to.as_str().to_owned()),
            ("reason", self.reason.clone()),
            ("failures", self.failures.to_string()),
            ("calls", self.calls.to_string()),
            ("at", rfc3339_of(self.at).unwrap_or_default()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(calls: u64) -> What {
        What::Breaker(BreakerChanged {
            instance: "here".into(),
            breaker: "b".into(),
            upstream: "u".into(),
            from: State::Closed,
            to: State::Open,
            reason: "5 failures in a row".to_owned(),
            failures: 5,
            calls,
            at: SystemTime::UNIX_EPOCH,
        })
    }

    async fn number(reader: &mut Reader) -> u64 {
        match reader.next().await {
            Some(Read::Event(event)) => event.number,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn who_reads_from_now_on_gets_what_comes_in_order() {
        let events = Events::new("here");
        events.add(change(1));
        let mut reader = events.read();
        events.add(change(2));
        events.add(change(3));
        assert_eq!((number(&mut reader).await, number(&mut reader).await), (2, 3));
        events.close();
        assert_eq!(reader.next().await, None);
    }

    #[tokio::test]
    async fn who_comes_back_gets_what_it_missed() {
        let events = Events::new("here");
        let mut reader = events.read();
        events.add(change(1));
        let Some(Read::Event(last)) = reader.next().await else { panic!("it has just come") };
        let id = events.id(&last);
        events.add(change(2));
        assert_eq!(number(&mut events.read_after(&id)).await, 2);
        assert_eq!(number(&mut events.read_after("another-1")).await, 1, "of another life");
        assert_eq!(number(&mut events.read_after("nonsense")).await, 1);
    }

    #[tokio::test]
    async fn who_is_too_slow_is_told_how_much_is_gone() {
        let events = Events::new("here");
        let mut reader = events.read();
        for calls in 0..EVENTS_KEPT as u64 + 7 {
            events.add(change(calls));
        }
        assert_eq!(reader.next().await, Some(Read::Missed(7)));
        assert_eq!(number(&mut reader).await, 8);
    }

    #[tokio::test]
    async fn a_reader_that_waits_is_woken_by_an_event_and_by_the_end() {
        let events = Events::new("here");
        let mut reader = events.read();
        let waiting = tokio::spawn(async move { (number(&mut reader).await, reader.next().await) });
        tokio::task::yield_now().await;
        events.add(change(1));
        events.close();
        assert_eq!(waiting.await.expect("it doesn't panic"), (1, None));
    }
}
