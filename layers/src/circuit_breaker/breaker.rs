//! The handle of a breaker: the pure core behind a lock, with a clock and listeners.
//!
//! Everyone who clones the handle shares one state. That is why a layer is given a handle and never makes one: axum calls
//! `Layer::layer` once per route and connection, and state made there would be forgotten with each connection.
//!
//! A closed breaker admits with one atomic load; the lock is taken once per call, to settle it.

use std::{
    collections::VecDeque,
    fmt, mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use super::{
    core::{Changed, Core, Order, Refusal, Ticket, Verdict},
    settings::Settings,
    state::State,
};
use crate::{ending::Settle, outcome::Outcome, rejected::Rejected};

/// A breaker. Cloning gives another handle of the same one.
#[derive(Clone)]
pub struct Breaker(Arc<Shared>);

struct Shared {
    name: Arc<str>,
    clock: fn() -> Instant,
    listeners: Vec<Listener>,
    /// The core's standing ticket, mirrored so that admission needs no lock; [`SHUT`] where there is none.
    gate: AtomicU64,
    locked: Mutex<Locked>,
}

type Listener = Box<dyn Fn(&Change) + Send + Sync>;

struct Locked {
    core: Core,
    since: SystemTime,
    untold: VecDeque<Change>,
    telling: bool,
}

/// Somebody's turn to tell; dropped only if a listener panics, and then the next one may.
struct Turn<'b>(&'b Breaker);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().telling = false;
    }
}

/// No generation reaches it.
const SHUT: u64 = u64::MAX;

/// A change of state, as listeners hear of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The breaker's name.
    pub breaker: Arc<str>,
    /// The state that ended.
    pub from: State,
    /// The state that began.
    pub to: State,
    /// Why, for people.
    pub reason: String,
    /// Failures in the state that ended.
    pub failures: u64,
    /// Calls in the state that ended.
    pub calls: u64,
}

/// A breaker at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its name.
    pub name: Arc<str>,
    /// Its state. Open stays open after the wait, until a call comes to probe.
    pub state: State,
    /// Failures in a row; while open, those that opened it.
    pub failure_count: u64,
    /// Successes in the present state.
    pub success_count: u64,
    /// Calls that were answered, in any state. Ignored ones aren't counted.
    pub calls_total: u64,
    /// Those among them that failed.
    pub failures_total: u64,
    /// Calls that were refused.
    pub rejected_total: u64,
    /// Calls that went through in shadow and would have been refused.
    pub would_reject_total: u64,
    /// When the present state began.
    pub since: SystemTime,
    /// How long until it probes, if it waits for that.
    pub retry_after: Option<Duration>,
    /// Why it is in this state; nothing if it always was.
    pub why: Option<String>,
}

/// The leave to make one call. Settle it with the call's outcome; dropped unsettled it is given back and says nothing.
#[derive(Debug)]
#[must_use = "a permit that is dropped says nothing about the upstream"]
pub struct Permit {
    breaker: Breaker,
    ticket: Option<Ticket>,
    at: Instant,
}

impl Breaker {
    /// A closed breaker.
    pub fn new(name: impl Into<Arc<str>>, settings: Settings) -> Self {
        let core = Core::new(settings);
        let gate = AtomicU64::new(gate(&core));
        let locked = Mutex::new(Locked {
            core,
            since: SystemTime::now(),
            untold: VecDeque::new(),
            telling: false,
        });
        Self(Arc::new(Shared {
            name: name.into(),
            clock: Instant::now,
            listeners: Vec::new(),
            gate,
            locked,
        }))
    }

    /// Takes the time from another clock, such as the paused one of a test.
    ///
    /// # Panics
    /// When the handle has been cloned already.
    #[must_use]
    pub fn with_clock(mut self, clock: fn() -> Instant) -> Self {
        self.unshared().clock = clock;
        self
    }

    /// Calls `listener` with each change of state, in order, and outside of the breaker's lock: it may ask the breaker, and
    /// even order it about. Several listeners are called one after the other.
    ///
    /// # Panics
    /// When the handle has been cloned already.
    #[must_use]
    pub fn on_change(mut self, listener: impl Fn(&Change) + Send + Sync + 'static) -> Self {
        self.unshared().listeners.push(Box::new(listener));
        self
    }

    fn unshared(&mut self) -> &mut Shared {
        Arc::get_mut(&mut self.0).expect("a breaker is set up before its handle is cloned")
    }

    /// Its name.
    pub fn name(&self) -> &Arc<str> {
        &self.0.name
    }

    /// Leave to make a call.
    ///
    /// # Errors
    /// [`Rejected::CircuitOpen`] while it refuses.
    pub fn admit(&self) -> Result<Permit, Rejected> {
        let now = self.now();
        if let Some(ticket) = self.standing_ticket() {
            return Ok(self.permit(ticket, now));
        }
        match self.with_core(|core| core.admit(now)) {
            Verdict::Admit(ticket) => Ok(self.permit(ticket, now)),
            Verdict::Refuse(refusal) => Err(self.rejected(refusal)),
        }
    }

    /// What a call that asked now would hear; asking changes nothing.
    pub(super) fn refuses(&self) -> bool {
        self.standing_ticket().is_none() && self.lock().core.refuses(self.now())
    }

    /// Turns away a call for which the service inside was never made ready.
    pub(super) fn turn_away(&self) -> Rejected {
        let now = self.now();
        self.rejected(self.with_core(|core| (core.turn_away(now), None)))
    }

    /// The breaker as it is now.
    pub fn snapshot(&self) -> Snapshot {
        let now = self.now();
        let locked = self.lock();
        let (core, totals) = (&locked.core, locked.core.totals());
        Snapshot {
            name: self.0.name.clone(),
            state: core.state(),
            failure_count: core.run(),
            success_count: core.here().successes,
            calls_total: totals.answers.calls,
            failures_total: totals.answers.failures,
            rejected_total: totals.rejected,
            would_reject_total: totals.would_reject,
            since: locked.since,
            retry_after: core.retry_after(now),
            why: core.why().map(|why| why.to_string()),
        }
    }

    /// Whether it is open, by itself or by force.
    pub fn is_open(&self) -> bool {
        matches!(self.lock().core.state(), State::Open | State::ForcedOpen)
    }

    /// Closes it and lets it act by itself again.
    pub fn reset(&self) {
        self.order(Order::Reset);
    }

    /// Opens it until [`Breaker::reset`].
    pub fn force_open(&self) {
        self.order(Order::ForceOpen);
    }

    /// Lets everything through until [`Breaker::reset`], counting.
    pub fn disable(&self) {
        self.order(Order::Disable);
    }

    /// Lets everything through until [`Breaker::reset`], counting what it would have refused.
    pub fn shadow(&self) {
        self.order(Order::Shadow);
    }

    fn order(&self, order: Order) {
        self.with_core(|core| ((), core.order(order)));
    }

    fn settle(&self, ticket: Ticket, outcome: Outcome, now: Instant) {
        self.with_core(|core| ((), core.settle(ticket, outcome, now)));
    }

    /// Puts an event to the core, and tells of the change that it made once the lock is free again.
    fn with_core<T>(&self, event: impl FnOnce(&mut Core) -> (T, Option<Changed>)) -> T {
        let mut locked = self.lock();
        let before = locked.core.standing_ticket();
        let (answer, changed) = event(&mut locked.core);
        if locked.core.standing_ticket() != before {
            self.0.gate.store(gate(&locked.core), Ordering::Release);
        }
        let Some(changed) = changed else { return answer };
        locked.since = SystemTime::now();
        locked.untold.push_back(self.change(changed));
        drop(locked);
        self.tell();
        answer
    }

    /// Tells the listeners what they haven't heard yet, one at a time and in order. Whoever finds another one telling, or is
    /// a listener itself, leaves its change to that one.
    fn tell(&self) {
        if mem::replace(&mut self.lock().telling, true) {
            return;
        }
        let turn = Turn(self);
        while let Some(change) = self.next_untold() {
            self.0.listeners.iter().for_each(|listener| listener(&change));
        }
        mem::forget(turn);
    }

    /// The next change to tell of. The turn ends under the very lock that found nothing left, so that no change is left
    /// lying between two who each think that the other one tells it.
    fn next_untold(&self) -> Option<Change> {
        let mut locked = self.lock();
        let next = locked.untold.pop_front();
        locked.telling = next.is_some();
        next
    }

    fn change(&self, Changed { from, to, why, counted }: Changed) -> Change {
        let (failures, calls) = (counted.failures, counted.calls);
        Change { breaker: self.0.name.clone(), from, to, reason: why.to_string(), failures, calls }
    }

    fn standing_ticket(&self) -> Option<Ticket> {
        let generation = self.0.gate.load(Ordering::Acquire);
        (generation != SHUT).then(|| Ticket::of_generation(generation))
    }

    fn permit(&self, ticket: Ticket, at: Instant) -> Permit {
        Permit { breaker: self.clone(), ticket: Some(ticket), at }
    }

    fn rejected(&self, Refusal { retry_after, forced }: Refusal) -> Rejected {
        Rejected::CircuitOpen { breaker: self.0.name.clone(), retry_after, forced }
    }

    fn now(&self) -> Instant {
        (self.0.clock)()
    }

    /// A panic can't leave the core half-changed: it does arithmetic only.
    fn lock(&self) -> MutexGuard<'_, Locked> {
        self.0.locked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn gate(core: &Core) -> u64 {
    core.standing_ticket().map_or(SHUT, Ticket::generation)
}

impl fmt::Debug for Breaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Breaker")
            .field("name", &self.0.name)
            .field("state", &self.lock().core.state())
            .finish()
    }
}

impl Permit {
    /// Tells the breaker how the call ended.
    pub fn settle(mut self, outcome: Outcome) {
        let Some(ticket) = self.ticket.take() else { return };
        // A success of an ordinary call depends on no time, so it spares the clock.
        let timeless = outcome == Outcome::Success && !ticket.is_probe();
        let now = if timeless { self.at } else { self.breaker.now() };
        self.breaker.settle(ticket, outcome, now);
    }

    /// When the call was admitted.
    pub(super) const fn at(&self) -> Instant {
        self.at
    }

    pub(super) fn clock(&self) -> fn() -> Instant {
        self.breaker.0.clock
    }
}

impl Settle for Permit {
    fn settle(self, outcome: Outcome) {
        Self::settle(self, outcome);
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take()
            && ticket.is_probe()
        {
            self.breaker.settle(ticket, Outcome::Ignored, self.breaker.now());
        }
    }
}
