//! What an HTTP/2 connection is doing, and since when: the one place from which its time-outs are judged.
//!
//! Requests run on tasks of their own, so what they do is told by stores that cost nothing, and the connection's one timer is
//! looked at when it fires and put where the present phase ends. (An HTTP/1 connection is one future, which knows by itself.)

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    task::unconstrained,
    time::{Instant, Sleep},
};

use super::super::patience::Patience;

/// A connection's phase. All of its users are on one thread; the atomics are for `Send`.
#[derive(Debug)]
pub struct Pulse {
    born: Instant,
    in_flight: AtomicU32,
    /// Milliseconds since birth at which the last request ended.
    rests: AtomicU64,
    /// One more than the milliseconds since birth at which a write first found no room; 0 while there is room.
    stalled: AtomicU64,
    /// One more than the milliseconds since birth at which something of HTTP/2 began that must go on soon; 0 when nothing has.
    unfinished: AtomicU64,
}

impl Pulse {
    /// A connection that nothing has come from.
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            born: Instant::now(),
            in_flight: AtomicU32::new(0),
            rests: AtomicU64::new(0),
            stalled: AtomicU64::new(0),
            unfinished: AtomicU64::new(0),
        })
    }

    /// Bytes were to be written, and found room or not.
    pub fn wrote(&self, room: bool) {
        let stalled = self.stalled.load(Relaxed);
        if room && stalled != 0 {
            self.stalled.store(0, Relaxed);
        } else if !room && stalled == 0 {
            self.stalled.store(self.age_millis() + 1, Relaxed);
        }
    }

    /// A frame or a head of HTTP/2 has begun and is not whole yet, or nothing has. It has the time of a head, also while
    /// requests are in flight, because it holds up all of them.
    pub fn unfinished(&self, is: bool) {
        match (is, self.unfinished.load(Relaxed)) {
            (true, 0) => self.unfinished.store(self.age_millis() + 1, Relaxed),
            (false, 1..) => self.unfinished.store(0, Relaxed),
            _ => {}
        }
    }

    /// Milliseconds since birth.
    pub fn age_millis(&self) -> u64 {
        self.born.elapsed().as_millis() as u64
    }

    /// The connection is at rest from now on.
    pub fn rest(&self) {
        self.rests.store(self.age_millis(), Relaxed);
    }

    /// A request begins. It is over when the guard is dropped.
    pub fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Relaxed);
        InFlight(self.clone())
    }

    fn seen(&self) -> (u64, u64, u64) {
        let [rests, stalled, unfinished] =
            [&self.rests, &self.stalled, &self.unfinished].map(|millis| millis.load(Relaxed));
        (rests, stalled, unfinished)
    }

    /// When the present phase has lasted too long; nothing while requests are in flight, which have deadlines of their own
    /// as long as the client takes what is written.
    fn deadline(&self, patience: &Patience) -> Option<Instant> {
        let since = |millis| self.born + Duration::from_millis(millis);
        let stalled = self.stalled.load(Relaxed);
        if stalled != 0 {
            return Some(since(stalled - 1) + patience.write);
        }
        let unfinished = self.unfinished.load(Relaxed);
        if unfinished != 0 {
            return Some(since(unfinished - 1) + patience.head);
        }
        if self.in_flight.load(Relaxed) > 0 {
            return None;
        }
        Some(since(self.rests.load(Relaxed)) + patience.idle)
    }
}

/// A request in flight.
#[derive(Debug)]
pub struct InFlight(Arc<Pulse>);

impl Drop for InFlight {
    fn drop(&mut self) {
        if self.0.in_flight.fetch_sub(1, Relaxed) == 1 {
            self.0.rest();
        }
    }
}

/// The timer of a connection.
#[derive(Debug)]
pub struct Watch {
    pulse: Arc<Pulse>,
    patience: Patience,
    timer: Pin<Box<Sleep>>,
    /// The rest, the stall and what is unfinished, for which the timer stands.
    seen: (u64, u64, u64),
}

impl Watch {
    /// Watches a connection.
    pub fn new(pulse: Arc<Pulse>, patience: Patience) -> Self {
        let seen = pulse.seen();
        let first = pulse.deadline(&patience).unwrap_or_else(|| Instant::now() + patience.head);
        Self { pulse, patience, timer: Box::pin(tokio::time::sleep_until(first)), seen }
    }

    /// From now on a rest may only be this long.
    pub fn hurry(&mut self, idle: Duration) {
        self.patience.idle = self.patience.idle.min(idle);
        if self.pulse.in_flight.load(Relaxed) == 0 {
            self.pulse.rest();
            self.timer.as_mut().reset(Instant::now() + idle);
        }
    }

    /// Whether the client takes nothing of what is written to it.
    pub fn is_stalled(&self) -> bool {
        self.pulse.stalled.load(Relaxed) != 0
    }

    /// Ready when the connection has been in its phase for too long.
    pub fn poll_expired(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let now = self.pulse.seen();
        if now != self.seen {
            self.seen = now;
            // A stall or a head ends sooner than what was before it, and so does a rest after a farewell. Later deadlines
            // wait until the timer fires.
            let hurried = self.patience.idle < self.patience.head;
            if (now.1 != 0 || now.2 != 0 || hurried)
                && let Some(deadline) = self.pulse.deadline(&self.patience)
            {
                self.timer.as_mut().reset(deadline);
            }
        }
        loop {
            // Not under the task's budget: a connection that keeps its task busy has time-outs too.
            ready!(Pin::new(&mut unconstrained(self.timer.as_mut())).poll(cx));
            let now = Instant::now();
            match self.pulse.deadline(&self.patience) {
                Some(deadline) if deadline <= now => return Poll::Ready(()),
                Some(deadline) => self.timer.as_mut().reset(deadline),
                None => self.timer.as_mut().reset(now + self.patience.head),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const PATIENCE: Patience = Patience {
        idle: Duration::from_secs(60),
        head: Duration::from_secs(10),
        write: Duration::from_secs(30),
    };

    async fn lives_for(watch: &mut Watch) -> Duration {
        let start = Instant::now();
        poll_fn(|cx| watch.poll_expired(cx)).await;
        start.elapsed()
    }

    fn about(duration: Duration, seconds: u64) -> bool {
        duration.abs_diff(Duration::from_secs(seconds)) < Duration::from_millis(10)
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_in_flight_keeps_the_connection_and_its_end_starts_the_rest() {
        let pulse = Pulse::new();
        let mut watch = Watch::new(pulse.clone(), PATIENCE);
        let request = pulse.begin();
        tokio::select! {
            _ = lives_for(&mut watch) => panic!("a request is in flight"),
            () = tokio::time::sleep(Duration::from_secs(300)) => {}
        }
        drop(request);
        assert!(about(lives_for(&mut watch).await, 60));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_of_its_answer_is_given_up_and_one_that_takes_a_little_is_not()
     {
        let pulse = Pulse::new();
        let mut watch = Watch::new(pulse.clone(), PATIENCE);
        let _request = pulse.begin();
        pulse.wrote(false);
        tokio::select! {
            _ = lives_for(&mut watch) => panic!("it may take its time"),
            () = tokio::time::sleep(Duration::from_secs(29)) => {}
        }
        pulse.wrote(true);
        pulse.wrote(false);
        assert!(about(lives_for(&mut watch).await, 30));
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_unfinished_ends_a_connection_even_while_requests_are_in_flight() {
        let pulse = Pulse::new();
        let mut watch = Watch::new(pulse.clone(), PATIENCE);
        let _request = pulse.begin();
        pulse.unfinished(true);
        tokio::select! {
            _ = lives_for(&mut watch) => panic!("it may take its time"),
            () = tokio::time::sleep(Duration::from_secs(9)) => {}
        }
        pulse.unfinished(false);
        tokio::select! {
            _ = lives_for(&mut watch) => panic!("nothing is unfinished"),
            () = tokio::time::sleep(Duration::from_secs(300)) => {}
        }
        pulse.unfinished(true);
        pulse.unfinished(true);
        assert!(about(lives_for(&mut watch).await, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_that_was_told_to_end_rests_only_for_a_moment() {
        let pulse = Pulse::new();
        let mut watch = Watch::new(pulse.clone(), PATIENCE);
        assert!(about(lives_for(&mut watch).await, 60));
        watch.hurry(Duration::from_secs(2));
        assert!(about(lives_for(&mut watch).await, 2));
        let request = pulse.begin();
        tokio::select! {
            _ = lives_for(&mut watch) => panic!("a request is in flight"),
            () = tokio::time::sleep(Duration::from_secs(300)) => {}
        }
        drop(request);
        assert!(about(lives_for(&mut watch).await, 2));
    }
}
