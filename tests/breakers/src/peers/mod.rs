//! The peers, as the vectors see them: one way to call each, and real time.

mod failsafe;
mod recloser;
mod tower_resilience;

use std::{
    collections::HashMap,
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use crate::vectors::{Ending, Event, Subject, UNKNOWN, Vector, Verdict, Word, duration};

#[derive(Debug, Clone, Copy)]
pub(crate) enum Kind {
    TowerResilience,
    Failsafe,
    Recloser,
}

/// Whether a call got an answer, or was refused.
pub(crate) enum Answer {
    Given,
    Refused,
}

/// A call through the breaker, whose operation waits to hear how it ends.
pub(crate) type Call = Pin<Box<dyn Future<Output = Answer>>>;

/// What the breaker guards: waits to hear whether it went well.
pub(crate) type Operation = oneshot::Receiver<Result<(), ()>>;

pub(crate) async fn operate(operation: Operation) -> Result<(), ()> {
    operation.await.unwrap_or(Err(()))
}

/// A breaker of somebody else's.
pub(crate) trait Breaker {
    fn call(&self, operation: Operation) -> Call;
    fn state(&self) -> &'static str;
    fn order(&self, word: &str) -> Result<(), String>;
}

pub(crate) struct Peer {
    breaker: Box<dyn Breaker>,
    under_way: HashMap<String, (Call, oneshot::Sender<Result<(), ()>>)>,
    began: Instant,
}

/// One second of a vector, for a breaker that reads the clock of the machine.
const SECOND: Duration = Duration::from_millis(50);

pub(crate) fn scaled(time: Duration) -> Duration {
    SECOND.mul_f64(time.as_secs_f64())
}

/// The settings of a vector, as far as a peer can have them.
pub(crate) struct Wanted {
    pub(crate) run: Option<usize>,
    pub(crate) rate: Option<f64>,
    pub(crate) calls: usize,
    pub(crate) minimum: usize,
    pub(crate) time: Option<Duration>,
    pub(crate) slow: Option<(Duration, f64)>,
    pub(crate) open_wait: Duration,
    pub(crate) grows_to: Option<Duration>,
    pub(crate) probes: usize,
    pub(crate) successes: usize,
    pub(crate) verdict_by_rate: Option<(usize, f64)>,
}

impl Wanted {
    fn of(vector: &Vector) -> Result<Self, String> {
        let mut wanted = Self {
            run: Some(5),
            rate: None,
            calls: 100,
            minimum: 100,
            time: None,
            slow: None,
            open_wait: scaled(Duration::from_secs(60)),
            grows_to: None,
            probes: 1,
            successes: 1,
            verdict_by_rate: None,
        };
        for (key, value) in &vector.with {
            wanted.take(key, value)?;
        }
        Ok(wanted)
    }

    fn take(&mut self, key: &str, value: &str) -> Result<(), String> {
        let percent =
            |text: &str| text.trim_end_matches('%').parse::<f64>().expect("a percentage") / 100.0;
        let count = |text: &str| text.parse::<usize>().expect("a number");
        match (key, value.split('/').collect::<Vec<_>>().as_slice()) {
            ("run", ["off"]) => self.run = None,
            ("run", [n]) => self.run = Some(count(n)),
            ("rate", [rate]) => self.rate = Some(percent(rate)),
            ("calls", [n]) => self.calls = count(n),
            ("minimum", [n]) => self.minimum = count(n),
            ("time", [length, _]) => self.time = Some(scaled(duration(length))),
            ("slow", [longer, rate]) => self.slow = Some((scaled(duration(longer)), percent(rate))),
            ("open_wait", [wait]) => self.open_wait = scaled(duration(wait)),
            ("growth", ["200"]) => self.grows_to = Some(scaled(Duration::from_secs(300))),
            ("wait_max", [wait]) => self.grows_to = Some(scaled(duration(wait))),
            ("probes", [n]) => self.probes = count(n),
            ("verdict", ["run", n]) => self.successes = count(n),
            ("verdict", ["rate", n, rate]) => {
                self.verdict_by_rate = Some((count(n), percent(rate)));
            }
            // What all of them do anyway, or what a vector names to be plain.
            ("threshold" | "minimum_at", ["reached"]) | ("judges", ["each"]) => {}
            _ => return Err(format!("no setting {key}={value}")),
        }
        Ok(())
    }

    /// One rule at a time is all that peers have.
    pub(crate) fn is_one_rule(&self) -> Result<(), String> {
        match (self.run, self.rate) {
            (Some(_), Some(_)) => Err("no two rules at once".to_owned()),
            (None, None) if self.slow.is_none() => Err("not without a rule".to_owned()),
            _ => Ok(()),
        }
    }
}

impl Peer {
    pub(crate) fn new(kind: Kind, vector: &Vector) -> Result<Self, String> {
        let wanted = Wanted::of(vector)?;
        let breaker: Box<dyn Breaker> = match kind {
            Kind::TowerResilience => Box::new(tower_resilience::Theirs::new(&wanted)?),
            Kind::Failsafe => Box::new(failsafe::Theirs::new(&wanted)?),
            Kind::Recloser => Box::new(recloser::Theirs::new(&wanted)?),
        };
        Ok(Self { breaker, under_way: HashMap::new(), began: Instant::now() })
    }

    /// Whoever doesn't tell its state is asked, last of all, whether it lets a call through.
    pub(crate) fn last_word(&mut self, vector: &Vector) -> Verdict {
        if self.breaker.state() != UNKNOWN {
            return Verdict::Passed;
        }
        let state = &vector.steps.last().expect("it has steps").state;
        let lets_through = self.start("last").unwrap_or_default();
        if lets_through == (state != "open") {
            Verdict::Passed
        } else {
            Verdict::Failed(format!("it should be {state}"))
        }
    }
}

fn poll(call: &mut Call) -> Poll<Answer> {
    call.as_mut().poll(&mut Context::from_waker(Waker::noop()))
}

impl Subject for Peer {
    /// A little after, so that what is due is due; half a second before, where the vector means just before.
    fn at(&mut self, now: Duration) {
        let just_before = now.subsec_millis() == 999;
        let now = now.min(Duration::from_secs(300));
        let now = if just_before {
            now - Duration::from_millis(499)
        } else {
            now + Duration::from_millis(300)
        };
        let due = if now < Duration::from_secs(1) && !just_before {
            self.began
        } else {
            self.began + scaled(now)
        };
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }

    fn start(&mut self, name: &str) -> Result<bool, String> {
        let (tell, operation) = oneshot::channel();
        let mut call = self.breaker.call(operation);
        match poll(&mut call) {
            Poll::Ready(Answer::Refused) => Ok(false),
            Poll::Ready(Answer::Given) => Err("it answered before it was told to".to_owned()),
            Poll::Pending => {
                self.under_way.insert(name.to_owned(), (call, tell));
                Ok(true)
            }
        }
    }

    fn end(&mut self, name: &str, ending: Ending) -> Result<(), String> {
        let result = match ending.word {
            Word::Ok => Ok(()),
            Word::Fail => Err(()),
            Word::Ignored => return Err("no outcome that says nothing".to_owned()),
            Word::Overload(_) => return Err("no outcome for overload".to_owned()),
            Word::Weighed(_) => return Err("no weights".to_owned()),
        };
        let (mut call, tell) = self.under_way.remove(name).ok_or("it was never started")?;
        // A sleep is always a little longer than it was told to be.
        thread::sleep(scaled(ending.took).mul_f64(0.8));
        tell.send(result).expect("the call waits for it");
        match poll(&mut call) {
            Poll::Ready(_) => Ok(()),
            Poll::Pending => Err("it doesn't end".to_owned()),
        }
    }

    fn drop_call(&mut self, name: &str) -> Result<(), String> {
        self.under_way.remove(name).map(drop).ok_or_else(|| "it was never started".to_owned())
    }

    fn event(&mut self, event: &Event) -> Result<(), String> {
        match event {
            Event::Tick => Ok(()),
            Event::Order { word, lasts: None } => self.breaker.order(word),
            _ => Err("no such event".to_owned()),
        }
    }

    fn state(&mut self) -> Result<String, String> {
        Ok(self.breaker.state().to_owned())
    }

    fn check(&mut self, _: &str) -> Result<String, String> {
        Ok(UNKNOWN.to_owned())
    }
}
