//! The handle of a breaker: the pure core behind a lock, with a clock and listeners.
//!
//! Everyone who clones the handle shares one state. That is why a layer is given a handle and never makes one: axum calls
//! `Layer::layer` once per route and connection, and state made there would be forgotten with each connection.
//!
//! A closed breaker admits with one atomic load; the lock is taken once per call, to settle it.

use std::{
    fmt,
    hash::{BuildHasher, RandomState},
    mem,
    sync::Arc,
    task::Waker,
    time::{Duration, Instant, SystemTime},
};

use super::{
    core::{Changed, Core},
    evidence::{Delta, FleetVerdict},
    history::{Change, History},
    order::{Action, Order},
    permit::Permit,
    sample::Sample,
    settings::Settings,
    snapshot::Snapshot,
    state::State,
    ticket::{Admission, Refusal, Ticket},
    waiters::Waiters,
};
use crate::{
    outcome::Outcome,
    rejected::Rejected,
    sync::{AtomicBool, AtomicU64, Mutex, MutexGuard, Ordering, PoisonError},
};

/// A breaker. Cloning gives another handle of the same one.
#[derive(Clone)]
pub struct Breaker(Arc<Shared>);

struct Shared {
    name: Arc<str>,
    clock: fn() -> Instant,
    listeners: Vec<Listener>,
    /// The core's standing ticket, mirrored so that admission needs no lock; [`SHUT`] where there is none.
    gate: AtomicU64,
    /// Whether the time of an answer is of interest, mirrored for the same reason.
    times_answers: AtomicBool,
    locked: Mutex<Locked>,
}

type Listener = Box<dyn Fn(&Change) + Send + Sync>;

struct Locked {
    core: Core,
    since: SystemTime,
    history: History,
    telling: bool,
    waiters: Waiters,
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

impl Breaker {
    /// A breaker in its initial state: closed, unless the settings say otherwise.
    pub fn new(name: impl Into<Arc<str>>, settings: Settings) -> Self {
        let seed = RandomState::new().hash_one(0);
        Self::with_parts(name.into(), Core::new(settings, seed, Instant::now()))
    }

    fn with_parts(name: Arc<str>, core: Core) -> Self {
        Self(Arc::new(Shared {
            name,
            clock: Instant::now,
            listeners: Vec::new(),
            gate: AtomicU64::new(gate(&core)),
            times_answers: AtomicBool::new(core.settings().slow.is_some()),
            locked: Mutex::new(Locked {
                core,
                since: SystemTime::now(),
                history: History::default(),
                telling: false,
                waiters: Waiters::default(),
            }),
        }))
    }

    /// Takes the time from another clock, such as the paused one of a test.
    ///
    /// # Panics
    /// When the handle has been cloned already.
    #[must_use]
    pub fn with_clock(mut self, clock: fn() -> Instant) -> Self {
        self.unshared().clock = clock;
        self.begin_again(RandomState::new().hash_one(0))
    }

    /// Takes chance from a seed, so that what it does by chance can be repeated.
    ///
    /// # Panics
    /// When the handle has been cloned already.
    #[must_use]
    pub fn with_seed(mut self, seed: u64) -> Self {
        self.unshared();
        self.begin_again(seed)
    }

    fn begin_again(self, seed: u64) -> Self {
        let mut locked = self.lock();
        locked.core = Core::new(*locked.core.settings(), seed, self.now());
        self.0.gate.store(gate(&locked.core), Ordering::Release);
        drop(locked);
        self
    }

    /// Calls `listener` with each change of state, in order, and outside of the breaker's lock: it may ask the breaker, and
    /// even order it about. Several listeners are called one after the other. One that is slower than the breaker changes
    /// misses what [`CHANGES_KEPT`](super::CHANGES_KEPT) can't hold.
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
        self.admit_at(self.now())
    }

    /// Leave to make a call, at a time of the breaker's clock that is known already.
    ///
    /// # Errors
    /// [`Rejected::CircuitOpen`] while it refuses.
    pub fn admit_at(&self, now: Instant) -> Result<Permit, Rejected> {
        self.admit_of(None, now)
    }

    /// Leave to make a call that has a place on the recovery [`Ramp`](super::Ramp): see [`place_of`](super::place_of).
    ///
    /// # Errors
    /// [`Rejected::CircuitOpen`] while it refuses.
    #[inline]
    pub fn admit_of(&self, place: Option<u64>, now: Instant) -> Result<Permit, Rejected> {
        if let Some(ticket) = self.standing_ticket() {
            return Ok(Permit::new(self.clone(), ticket, now));
        }
        match self.with_core(|core| core.admit_of(place, now)) {
            Admission::Admitted(ticket) => Ok(Permit::new(self.clone(), ticket, now)),
            Admission::Refused(refusal) => Err(self.rejected(refusal)),
        }
    }

    /// What a call that asked now would hear; asking lets nothing through.
    #[inline]
    pub(super) fn refuses(&self) -> bool {
        self.standing_ticket().is_none() && self.with_core(|core| core.refuses(self.now()))
    }

    /// Turns away a call for which the service inside was never made ready.
    pub(super) fn turn_away(&self) -> Rejected {
        let now = self.now();
        self.rejected(self.with_core(|core| core.turn_away(now)))
    }

    /// The breaker as it is now.
    pub fn snapshot(&self) -> Snapshot {
        let now = self.now();
        self.tick();
        let mut locked = self.lock();
        let since = locked.since;
        let core = &mut locked.core;
        let totals = core.totals();
        Snapshot {
            name: self.0.name.clone(),
            state: core.state(),
            failure_count: core.run(),
            success_count: core.here().successes,
            calls_total: totals.answers.calls,
            failures_total: totals.answers.failures,
            rejected_total: totals.rejected,
            would_reject_total: totals.would_reject,
            totals,
            window: core.window(now),
            attempts: core.attempts(),
            probes: core.probes(),
            share: core.share(),
            since,
            retry_after: core.retry_after(now),
            why: core.why().map(ToString::to_string),
            order: core.standing_order().cloned(),
            order_expires_in: core.order_expires().map(|at| at.saturating_duration_since(now)),
        }
    }

    /// Its state.
    pub fn state(&self) -> State {
        self.tick();
        self.lock().core.state()
    }

    /// Whether it is open, by itself or by force.
    pub fn is_open(&self) -> bool {
        matches!(self.state(), State::Open | State::ForcedOpen)
    }

    /// Closes it and lets it act by itself again.
    pub fn reset(&self) {
        self.order(Order::new(Action::Reset));
    }

    /// Opens it until [`Breaker::reset`].
    pub fn force_open(&self) {
        self.order(Order::new(Action::ForceOpen));
    }

    /// Lets everything through until [`Breaker::reset`], counting.
    pub fn disable(&self) {
        self.order(Order::new(Action::Disable));
    }

    /// Lets everything through until [`Breaker::reset`], counting what it would have refused.
    pub fn shadow(&self) {
        self.order(Order::new(Action::Shadow));
    }

    /// Opens it for so long, after which it probes.
    pub fn open_for(&self, wait: Duration) {
        self.order(Order::new(Action::OpenFor(wait)));
    }

    /// Opens it until then, after which it probes.
    pub fn open_until(&self, until: Instant) {
        self.open_for(until.saturating_duration_since(self.now()));
    }

    /// Gives it an operator's order, which tells who gives it, why, and for how long.
    pub fn order(&self, order: Order) {
        let now = self.now();
        self.with_core(|core| core.order(order, now));
    }

    /// Takes other settings while it lives. Its state, its order, its run, its window and its totals stay; a wait that has
    /// begun ends as it was given.
    pub fn reconfigure(&self, settings: Settings) {
        let now = self.now();
        self.0.times_answers.store(settings.slow.is_some(), Ordering::Relaxed);
        self.with_core(|core| core.reconfigure(settings, now));
    }

    /// The settings in force.
    pub fn settings(&self) -> Settings {
        *self.lock().core.settings()
    }

    /// Does what is due by itself: an order that expires, a lost probe, and with
    /// [`Settings::automatic_half_open`] the end of the wait. Each call and each look does so too; call it at
    /// [`Breaker::due_in`] to hear of changes while there is no traffic.
    pub fn tick(&self) {
        if self.standing_ticket().is_none() {
            let now = self.now();
            self.with_core(|core| core.tick(now));
        }
    }

    /// How long until something is due by itself.
    pub fn due_in(&self) -> Option<Duration> {
        let due = self.lock().core.due_at();
        due.map(|at| at.saturating_duration_since(self.now()))
    }

    /// What was counted since this was asked last, for whoever sums up a fleet.
    pub fn delta(&self) -> Delta {
        self.lock().core.delta()
    }

    /// Takes into account what other instances have counted. It is not handed out by [`Breaker::delta`].
    pub fn witness(&self, calls: Sample) {
        let now = self.now();
        self.with_core(|core| core.witness(calls, now));
    }

    /// Follows what a fleet has decided. An operator's order stands above it.
    pub fn follow(&self, verdict: FleetVerdict) {
        let now = self.now();
        self.with_core(|core| core.follow(verdict, now));
    }

    /// The changes after the one with this number that are still kept, oldest first; all that are kept for 0.
    pub fn changes_since(&self, number: u64) -> Vec<Change> {
        self.lock().history.since(number)
    }

    pub(super) fn answered(&self, ticket: Ticket) {
        self.lock().core.answered(ticket);
    }

    /// Settles a call. The clock is looked at only where the time matters and isn't known. An ordinary success leads the way:
    /// it is counted, and changes nothing that anybody would have to hear of.
    #[inline]
    pub(super) fn settle(
        &self,
        ticket: Ticket,
        outcome: Outcome,
        at: Instant,
        took: Option<Duration>,
        now: Option<Instant>,
    ) {
        if outcome == Outcome::Success
            && took.is_none()
            && now.is_none()
            && self.lock().core.count_ordinary(ticket, at)
        {
            return;
        }
        self.settle_with_care(ticket, outcome, at, took, now);
    }

    /// Settles a call that may change something.
    #[inline(never)]
    fn settle_with_care(
        &self,
        ticket: Ticket,
        outcome: Outcome,
        at: Instant,
        took: Option<Duration>,
        now: Option<Instant>,
    ) {
        self.with_core(|core| {
            let now = now
                .unwrap_or_else(|| if core.is_timeless(ticket, outcome) { at } else { self.now() });
            core.settle(
                ticket,
                outcome,
                took.unwrap_or_else(|| now.saturating_duration_since(at)),
                now,
            );
        });
    }

    /// Puts an event to the core, and tells of the changes that it made once the lock is free again.
    fn with_core<T>(&self, event: impl FnOnce(&mut Core) -> T) -> T {
        let mut locked = self.lock();
        let (before, probes) = (locked.core.generation(), locked.core.probes());
        let answer = event(&mut locked.core);
        let has_moved = locked.core.generation() != before;
        if has_moved {
            self.0.gate.store(gate(&locked.core), Ordering::Release);
        }
        // Whoever waits can get in after a change, or when a probe has given its place back.
        let wakes = has_moved || locked.core.probes() < probes;
        let wakers = if wakes { locked.waiters.take_all() } else { Vec::new() };
        if !locked.core.has_changed() && wakers.is_empty() {
            return answer;
        }
        for changed in locked.core.take_changes() {
            locked.since = SystemTime::now();
            let since = locked.since;
            locked.history.add(|number| self.change(changed, number, since));
        }
        drop(locked);
        wakers.into_iter().for_each(Waker::wake);
        self.tell();
        answer
    }

    /// Tells the listeners what they haven't heard yet, one at a time and in order. Whoever finds another one telling, or is
    /// a listener itself, leaves its change to that one.
    fn tell(&self) {
        let mut locked = self.lock();
        if !locked.history.has_untold() || mem::replace(&mut locked.telling, true) {
            return;
        }
        drop(locked);
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
        let next = locked.history.next_untold();
        locked.telling = next.is_some();
        next
    }

    fn change(&self, changed: Changed, number: u64, at: SystemTime) -> Change {
        let Changed { from, to, why, counted } = changed;
        let (failures, calls) = (counted.failures, counted.calls);
        Change {
            number,
            at,
            breaker: self.0.name.clone(),
            from,
            to,
            reason: why.to_string(),
            why,
            failures,
            calls,
        }
    }

    /// Whether it admits every call at present.
    pub(super) fn stands(&self) -> bool {
        self.standing_ticket().is_some()
    }

    /// Leave to make a call, if there is one; nobody is refused.
    #[cfg(feature = "back-pressure")]
    pub(super) fn admit_quietly(&self) -> Option<Permit> {
        let now = self.now();
        let ticket = self.with_core(|core| match core.refuses(now) {
            true => None,
            false => match core.admit(now) {
                Admission::Admitted(ticket) => Some(ticket),
                Admission::Refused(_) => None,
            },
        })?;
        Some(Permit::new(self.clone(), ticket, now))
    }

    /// A place among those who wait until it may admit.
    #[cfg(feature = "back-pressure")]
    pub(super) fn waiting_place(&self) -> u64 {
        self.lock().waiters.place()
    }

    /// Wakes this one at the next event that may let it in. Tells how long that takes at most, if time alone does it.
    #[cfg(feature = "back-pressure")]
    pub(super) fn wait(&self, place: u64, waker: &Waker) -> Option<Duration> {
        self.lock().waiters.wait(place, waker);
        self.due_in()
    }

    #[cfg(feature = "back-pressure")]
    pub(super) fn leave(&self, place: u64) {
        self.lock().waiters.leave(place);
    }

    #[inline]
    fn standing_ticket(&self) -> Option<Ticket> {
        let generation = self.0.gate.load(Ordering::Acquire);
        (generation != SHUT).then(|| Ticket::of_generation(generation))
    }

    fn rejected(&self, Refusal { retry_after, forced }: Refusal) -> Rejected {
        Rejected::CircuitOpen { breaker: self.0.name.clone(), retry_after, forced }
    }

    #[inline]
    pub(super) fn times_answers(&self) -> bool {
        self.0.times_answers.load(Ordering::Relaxed)
    }

    pub(super) fn clock(&self) -> fn() -> Instant {
        self.0.clock
    }

    #[inline]
    pub(super) fn now(&self) -> Instant {
        (self.0.clock)()
    }

    /// A panic can't leave the core half-changed: it does arithmetic only.
    #[inline]
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
