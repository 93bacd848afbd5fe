//! The breaker as a pure state machine: events and `now` go in, decisions come out.
//!
//! No clock, no lock, no task, and chance comes from a seed: the same events at the same times always lead to the same states.
//! Three events move it: a call asks ([`Core::admit`]), a call ended ([`Core::settle`]), an operator orders ([`Core::order`]).
//! What is due by itself (a wait, a lease, an order that expires) is done by [`Core::tick`], which each of them begins with.
//!
//! [`Breaker`](super::Breaker) is this behind a lock, with a clock. Use the core itself to drive a breaker from a simulation,
//! or from a runtime that has no threads:
//!
//! ```
//! use std::time::{Duration, Instant};
//! use portcullis::{circuit_breaker::{Admission, State, core::Core, Settings}, outcome::Outcome};
//!
//! let mut now = Instant::now();
//! let mut core = Core::new(Settings::default(), 7, now);
//! for _ in 0..5 {
//!     let Admission::Admitted(ticket) = core.admit(now) else { unreachable!("it is closed") };
//!     core.settle(ticket, Outcome::Failure, Duration::ZERO, now);
//! }
//! assert_eq!(core.state(), State::Open);
//! now += Duration::from_secs(60);
//! let Admission::Admitted(probe) = core.admit(now) else { unreachable!("the wait is over") };
//! core.settle(probe, Outcome::Success, Duration::ZERO, now);
//! assert_eq!(core.state(), State::Closed);
//! ```

use std::{
    mem,
    num::NonZeroU64,
    time::{Duration, Instant},
};

use super::{
    chance::{Chance, scatter},
    evidence::{Delta, FleetVerdict},
    order::{Action, Order},
    probation::{Probation, Shown},
    profile::{Judges, Late},
    ramp::Climb,
    recent::Recent,
    rules,
    sample::{Mark, Sample},
    settings::{LostProbe, Settings, Then},
    state::State,
    ticket::{Admission, Refusal, Ticket},
    totals::{Tally, Totals},
    why::Why,
};
use crate::outcome::{Outcome, Weight};

/// See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Core {
    settings: Settings,
    glance: Glance,
    mode: Mode,
    /// The order that holds.
    order: Option<Order>,
    /// When it expires.
    expires: Option<Instant>,
    phase: Phase,
    generation: u64,
    leases_given: u64,
    /// How often in a row it has opened.
    attempts: u32,
    why: Option<Why>,
    /// Failures in a row, in hundredths; kept while open, as what opened it.
    run: u64,
    recent: Recent,
    /// Since the present state began.
    here: Tally,
    totals: Totals,
    /// Ordinary successes since the present state began, which neither of the two counts yet: nearly all calls are such, and
    /// one number is counted up faster than four.
    ordinary: u64,
    /// What was handed out as deltas.
    told: Delta,
    chance: Chance,
    changes: Vec<Changed>,
}

/// What an operator made of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Acting,
    ForcedOpen,
    Disabled,
    Shadow,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Phase {
    Closed,
    Open { until: Instant, wait: Duration },
    HalfOpen(Probation),
    Climbing(Climb),
}

/// A change of state that the world should hear of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The state that ended.
    pub from: State,
    /// The state that began.
    pub to: State,
    /// Why.
    pub why: Why,
    /// What was counted in the state that ended.
    pub counted: Tally,
}

/// What the settings say about a success, worked out beforehand because each one asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Glance {
    /// Its end has to be timed.
    needs_time: bool,
    /// It is judged by the rates, as a failure is.
    judges_successes: bool,
    /// It may open the breaker with nothing but successes in the window.
    opens_at_nothing: bool,
    /// With so many before it, it can't be the call from which on a rate is judged. It can raise none.
    judged_from: u64,
}

impl Glance {
    fn at(settings: &Settings) -> Self {
        let judges_successes =
            settings.has_rates() && settings.profile.judges == Judges::EachResult;
        Self {
            needs_time: settings.needs_time(),
            judges_successes,
            opens_at_nothing: rules::opens_at_nothing(settings),
            judged_from: if judges_successes { settings.minimum() + 1 } else { 0 },
        }
    }
}

/// So many waits that ended while nobody looked are lived through one by one; the next ends now. Without this the shortest ones
/// would take for ever.
const WAITS_MADE_UP_FOR: u32 = 100;

const WHOLE: u64 = Weight::ONE.in_hundredths() as u64;

impl Core {
    /// A breaker in its initial state. The seed is for what it does by chance.
    pub fn new(settings: Settings, seed: u64, now: Instant) -> Self {
        let mut core = Self {
            settings,
            glance: Glance::at(&settings),
            mode: Mode::Acting,
            order: None,
            expires: None,
            phase: Phase::Closed,
            generation: 0,
            leases_given: 0,
            attempts: 0,
            why: None,
            run: 0,
            recent: Recent::new(&settings),
            here: Tally::default(),
            totals: Totals::default(),
            ordinary: 0,
            told: Delta::default(),
            chance: Chance::seeded(seed),
            changes: Vec::new(),
        };
        core.begin(settings.initial, now);
        core
    }

    fn begin(&mut self, initial: State, now: Instant) {
        match initial {
            State::Closed => {}
            State::Open => self.phase = self.next_wait(now),
            State::HalfOpen => self.phase = Phase::HalfOpen(Probation::begin(now)),
            State::ForcedOpen => self.mode = Mode::ForcedOpen,
            State::Disabled => self.mode = Mode::Disabled,
            State::Shadow => self.mode = Mode::Shadow,
        }
    }

    /// A call asks to go through.
    #[inline]
    pub fn admit(&mut self, now: Instant) -> Admission {
        self.admit_of(None, now)
    }

    /// A call asks to go through that has a place on the ramp: see [`place_of`](super::place_of).
    #[inline]
    pub fn admit_of(&mut self, place: Option<u64>, now: Instant) -> Admission {
        if let Some(ticket) = self.standing_ticket() {
            return Admission::Admitted(ticket);
        }
        self.tick(now);
        match self.mode {
            Mode::ForcedOpen => self.refuse(now),
            Mode::Disabled => Admission::Admitted(self.ticket(None)),
            Mode::Acting | Mode::Shadow => self.admit_by_phase(place, now),
        }
    }

    fn admit_by_phase(&mut self, place: Option<u64>, now: Instant) -> Admission {
        match &self.phase {
            Phase::Closed => Admission::Admitted(self.ticket(None)),
            Phase::Open { until, .. } if now < *until => self.refuse(now),
            Phase::Open { .. } => {
                self.half_open(now);
                self.admit_probe(now)
            }
            Phase::HalfOpen(_) => self.admit_probe(now),
            Phase::Climbing(climb) => {
                let lot = place.map_or_else(|| self.chance.lot(), scatter);
                if climb.share.covers(lot) {
                    Admission::Admitted(self.ticket(None))
                } else {
                    self.refuse(now)
                }
            }
        }
    }

    fn admit_probe(&mut self, now: Instant) -> Admission {
        let Phase::HalfOpen(probation) = &mut self.phase else {
            unreachable!("only called half-open")
        };
        if probation.is_full(&self.settings, now) {
            return self.refuse(now);
        }
        let number = NonZeroU64::MIN.saturating_add(self.leases_given);
        self.leases_given += 1;
        probation.lease(number, later(now, self.settings.probe_timeout));
        Admission::Admitted(self.ticket(Some(number)))
    }

    /// Refuses a call; in shadow only on paper.
    fn refuse(&mut self, now: Instant) -> Admission {
        if self.mode == Mode::Shadow {
            self.totals.would_reject += 1;
            return Admission::Admitted(self.ticket(None));
        }
        Admission::Refused(self.turn_away(now))
    }

    /// A call has to be refused, whatever the state is by now. Says when to come back.
    pub fn turn_away(&mut self, now: Instant) -> Refusal {
        self.totals.rejected += 1;
        let forced = self.mode == Mode::ForcedOpen;
        let unknown = if forced { self.settings.open_wait } else { Duration::ZERO };
        Refusal { retry_after: self.retry_after(now).unwrap_or(unknown), forced }
    }

    /// The head of a good answer to a probe is here. Its body may well take longer than the probe may keep silent.
    pub fn answered(&mut self, ticket: Ticket) {
        if let (Phase::HalfOpen(probation), Some(lease)) = (&mut self.phase, ticket.lease) {
            probation.answered(lease);
        }
    }

    /// A call ended with this outcome, and took so long.
    #[inline]
    pub fn settle(&mut self, ticket: Ticket, outcome: Outcome, took: Duration, now: Instant) {
        self.tick(now);
        let slow = self.settings.is_slow(took);
        self.totals.count(outcome, slow);
        let is_late = ticket.generation != self.generation;
        self.totals.late += u64::from(is_late);
        match &mut self.phase {
            // What was asked for before the climb says nothing of it, so only the closed state may take a late answer.
            phase @ (Phase::Closed | Phase::Climbing(_)) => {
                let takes_late = || {
                    self.settings.profile.late == Late::Recorded && matches!(phase, Phase::Closed)
                };
                if !is_late || takes_late() {
                    self.settle_ordinary(outcome, slow, now);
                }
            }
            Phase::HalfOpen(probation) => {
                if !is_late && ticket.lease.is_some_and(|lease| probation.give_back(lease)) {
                    self.settle_probe(outcome, slow, now);
                }
            }
            Phase::Open { .. } => {}
        }
    }

    /// Whether the end of this call may be told with the time at which it was admitted, which spares a look at the clock: a
    /// success that neither slides a window of time nor can open anything.
    #[inline]
    pub fn is_timeless(&self, ticket: Ticket, outcome: Outcome) -> bool {
        outcome == Outcome::Success
            && ticket.lease.is_none()
            && self.expires.is_none()
            && matches!(self.phase, Phase::Closed)
            && !self.glance.needs_time
            && self.recent.seen() >= self.glance.judged_from
    }

    /// Counts a success that is ordinary: given and answered in the present state, timeless, and with nothing in the window to
    /// judge by. It does what [`Core::settle`] does of it, and nearly all calls are like this. Any other call is left alone, and
    /// this says no.
    #[inline]
    pub(super) fn count_ordinary(&mut self, ticket: Ticket, at: Instant) -> bool {
        let ordinary = ticket.generation == self.generation
            && self.is_timeless(ticket, Outcome::Success)
            && !self.may_open_by_a_success();
        if ordinary {
            self.ordinary += 1;
            self.run = 0;
            self.recent.record(Mark::EMPTY, at);
        }
        ordinary
    }

    #[inline]
    fn settle_ordinary(&mut self, outcome: Outcome, slow: bool, now: Instant) {
        self.here.count(outcome);
        let Some(mark) = Mark::of(outcome, slow) else { return };
        match outcome {
            Outcome::Success => self.run = 0,
            Outcome::Failure | Outcome::Weighed(_) => self.run += u64::from(mark.failed()),
            Outcome::Ignored | Outcome::Overload { .. } => {}
        }
        self.recent.record(mark, now);
        if self.is_held() {
            return;
        }
        if mark == Mark::EMPTY && !self.may_open_by_a_success() {
            if let Phase::Climbing(climb) = &mut self.phase {
                climb.proven = true;
            }
        } else if let Some(wait) = self.asked_wait(outcome) {
            self.open_for(wait, Why::UpstreamAsked(wait), now);
        } else if let Some(why) = self.reason_to_open(outcome, mark, now) {
            self.open(why, now);
        } else if let Phase::Climbing(climb) = &mut self.phase {
            climb.proven |= outcome == Outcome::Success && !slow;
        }
    }

    /// An order holds it open or out of the way: what is counted then moves nothing.
    #[inline]
    const fn is_held(&self) -> bool {
        matches!(self.mode, Mode::ForcedOpen | Mode::Disabled)
    }

    /// Only a success that is judged can, and only if there is something in the window to judge it by.
    #[inline]
    fn may_open_by_a_success(&self) -> bool {
        self.glance.judges_successes && (self.glance.opens_at_nothing || self.recent.is_tainted())
    }

    fn reason_to_open(&mut self, outcome: Outcome, mark: Mark, now: Instant) -> Option<Why> {
        if outcome.is_failure() && self.runs_out() {
            return Some(Why::Failures(self.run()));
        }
        let judged = self.settings.profile.judges == Judges::EachResult || mark != Mark::EMPTY;
        if judged { self.broken_rule(now) } else { None }
    }

    fn runs_out(&self) -> bool {
        let most = self.settings.consecutive_failures;
        most.is_some_and(|most| self.run >= u64::from(most.get()) * WHOLE)
    }

    fn broken_rule(&mut self, now: Instant) -> Option<Why> {
        if !self.settings.has_rates() {
            return None;
        }
        let (calls, seen) = self.recent.sum(now);
        rules::broken(&self.settings, calls, seen)
    }

    /// For how long the upstream asked to be left alone, where that is listened to.
    fn asked_wait(&self, outcome: Outcome) -> Option<Duration> {
        let Outcome::Overload { retry_after: Some(asked) } = outcome else { return None };
        let wait = asked.min(self.settings.retry_after_max?);
        (!wait.is_zero()).then_some(wait)
    }

    /// The lease is given back already; what the probe says decides, if it says anything.
    fn settle_probe(&mut self, outcome: Outcome, slow: bool, now: Instant) {
        self.here.count(outcome);
        if let Some(wait) = self.asked_wait(outcome) {
            return self.open_for(wait, Why::UpstreamAsked(wait), now);
        }
        let counts_in_the_rate_only = matches!(outcome, Outcome::Overload { .. });
        if counts_in_the_rate_only && !self.settings.verdict.is_rate() {
            return;
        }
        if let Some(mark) = Mark::of(outcome, slow) {
            self.judge_probe(mark, Why::ProbeFailed, now);
        }
    }

    fn judge_probe(&mut self, mark: Mark, failed: Why, now: Instant) {
        let Phase::HalfOpen(probation) = &mut self.phase else {
            unreachable!("only probes get here")
        };
        match probation.result(&self.settings, mark, failed) {
            Shown::Nothing => {}
            Shown::Good(probes) => self.recover(Why::ProbesSucceeded(probes), now),
            Shown::Bad(why) => {
                self.run += u64::from(mark.failed());
                self.open(why, now);
            }
        }
    }

    fn recover(&mut self, why: Why, now: Instant) {
        match self.settings.ramp {
            None => self.close(why),
            Some(ramp) => {
                let climb = Climb::begin(&ramp, later(now, ramp.step));
                self.forget();
                self.enter(Phase::Climbing(climb), why);
            }
        }
    }

    /// Does what is due by itself at this time.
    #[inline]
    pub fn tick(&mut self, now: Instant) {
        if self.expires.is_some() || !matches!(self.phase, Phase::Closed) {
            self.do_what_is_due(now);
        }
    }

    fn do_what_is_due(&mut self, now: Instant) {
        if self.expires.is_some_and(|expires| now >= expires) {
            self.expire();
        }
        let mut waits_left = WAITS_MADE_UP_FOR;
        // Each turn takes away a lease or leaves the state, and a state that begins now has nothing that is due now.
        while match self.phase {
            Phase::Closed => false,
            Phase::Open { until, .. } => self.tick_open(until, &mut waits_left, now),
            Phase::HalfOpen(_) => self.tick_half_open(now),
            Phase::Climbing(climb) => self.tick_climbing(climb, now),
        } {}
    }

    fn expire(&mut self) {
        let from = self.state();
        self.expires = None;
        self.mode = Mode::Acting;
        if let Some(order) = self.order.take() {
            self.forget();
            self.attempts = 0;
            self.change(from, Phase::Closed, Why::OrderExpired(order));
        }
    }

    /// A probation that comes by itself began when the wait was over, whenever somebody looks.
    fn tick_open(&mut self, until: Instant, waits_left: &mut u32, now: Instant) -> bool {
        let due = self.settings.automatic_half_open && now >= until;
        if due {
            let made_up_for = *waits_left > 0;
            *waits_left = waits_left.saturating_sub(1);
            self.half_open(if made_up_for { until } else { now });
        }
        due
    }

    /// Takes what is due first: a lost probe, or the end of the whole state. It is done as of the time at which it was due, so
    /// that it doesn't matter when somebody looks.
    fn tick_half_open(&mut self, now: Instant) -> bool {
        let Phase::HalfOpen(probation) = &mut self.phase else { return false };
        let longest = self.settings.half_open_max.map(|max| {
            let end = later(probation.since, max.after.max(Duration::from_nanos(1)));
            (end, max)
        });
        if let Some((end, max)) = longest
            && now >= end
            && probation.first_deadline().is_none_or(|deadline| end <= deadline)
        {
            let why = Why::HalfOpenTooLong(max.after);
            match max.then {
                Then::Opens => self.open(why, end),
                Then::Closes => self.close(why),
            }
            return true;
        }
        let Some(lost) = probation.reclaim(now) else { return false };
        if !lost.answered {
            self.totals.lost_probes += 1;
            if self.settings.lost_probe == LostProbe::Failure {
                self.judge_probe(
                    Mark::FAILURE,
                    Why::ProbeLost(self.settings.probe_timeout),
                    lost.deadline,
                );
            }
        }
        true
    }

    fn tick_climbing(&mut self, climb: Climb, now: Instant) -> bool {
        if now < climb.step_ends || !climb.proven {
            return false;
        }
        let next = self.settings.ramp.and_then(|ramp| climb.next(&ramp, later(now, ramp.step)));
        match next {
            Some(next) => self.phase = Phase::Climbing(next),
            None => self.close(Why::Climbed),
        }
        true
    }

    /// When [`Core::tick`] has something to do, or an open breaker begins to admit.
    pub fn due_at(&self) -> Option<Instant> {
        let by_phase = match &self.phase {
            Phase::Closed => None,
            Phase::Open { until, .. } => Some(*until),
            Phase::HalfOpen(probation) => {
                let end = self.settings.half_open_max.map(|max| later(probation.since, max.after));
                [end, probation.first_deadline()].into_iter().flatten().min()
            }
            Phase::Climbing(climb) => Some(climb.step_ends),
        };
        [by_phase, self.expires].into_iter().flatten().min()
    }

    /// An operator orders. Everything begins anew, so that nothing from before weighs on it.
    pub fn order(&mut self, order: Order, now: Instant) {
        self.tick(now);
        let from = self.state();
        self.mode = match order.action {
            Action::Reset | Action::OpenFor(_) => Mode::Acting,
            Action::ForceOpen => Mode::ForcedOpen,
            Action::Disable => Mode::Disabled,
            Action::Shadow => Mode::Shadow,
        };
        let holds = order.holds().then(|| order.clone());
        self.expires = holds.as_ref().and_then(|order| order.lasts).map(|lasts| later(now, lasts));
        self.order = holds;
        self.attempts = 0;
        self.forget();
        let phase = match order.action {
            Action::OpenFor(wait) => Phase::Open { until: later(now, wait), wait },
            _ => Phase::Closed,
        };
        self.change(from, phase, Why::Ordered(order));
    }

    /// Takes other settings, and keeps the state, the order, the run, the window and the totals. A wait and the leases that
    /// have begun end as they were given. [`Settings::initial`] says nothing to a breaker that lives.
    pub fn reconfigure(&mut self, settings: Settings, now: Instant) {
        self.tick(now);
        let same_window = self.settings.span() == settings.span()
            && self.settings.has_rates() == settings.has_rates();
        if !same_window {
            self.recent = self.recent.reshaped(&settings, now);
        }
        self.settings = settings;
        self.glance = Glance::at(&settings);
    }

    /// Takes what other instances counted into the window, and judges it.
    pub fn witness(&mut self, calls: Sample, now: Instant) {
        self.tick(now);
        self.recent.record_all(calls, now);
        let acts = matches!(self.phase, Phase::Closed | Phase::Climbing(_)) && !self.is_held();
        if acts && let Some(why) = self.broken_rule(now) {
            self.open(why, now);
        }
    }

    /// Follows what the fleet has decided. An operator's order stands above it.
    pub fn follow(&mut self, verdict: FleetVerdict, now: Instant) {
        self.tick(now);
        if self.is_held() {
            return;
        }
        match (verdict, &self.phase) {
            (FleetVerdict::Open(_), Phase::Open { .. }) | (FleetVerdict::Closed, Phase::Closed) => {
            }
            (FleetVerdict::Open(wait), _) => self.open_for(wait, Why::Fleet, now),
            (FleetVerdict::Closed, _) => self.close(Why::Fleet),
        }
    }

    /// What was counted here since this was asked last.
    pub fn delta(&mut self) -> Delta {
        let Totals { answers, slow, rejected, .. } = self.totals();
        let now = Delta { calls: answers.calls, failures: answers.failures, slow, rejected };
        let before = mem::replace(&mut self.told, now);
        Delta {
            calls: now.calls - before.calls,
            failures: now.failures - before.failures,
            slow: now.slow - before.slow,
            rejected: now.rejected - before.rejected,
        }
    }

    fn half_open(&mut self, since: Instant) {
        let wait = match self.phase {
            Phase::Open { wait, .. } => wait,
            _ => self.settings.open_wait,
        };
        self.enter(Phase::HalfOpen(Probation::begin(since)), Why::WaitOver(wait));
    }

    fn open(&mut self, why: Why, now: Instant) {
        let phase = self.next_wait(now);
        self.enter(phase, why);
    }

    fn next_wait(&mut self, now: Instant) -> Phase {
        self.attempts = self.attempts.saturating_add(1);
        let wait =
            self.settings.backoff.wait(self.settings.open_wait, self.attempts, &mut self.chance);
        Phase::Open { until: later(now, wait), wait }
    }

    fn open_for(&mut self, wait: Duration, why: Why, now: Instant) {
        self.attempts = self.attempts.saturating_add(1);
        self.enter(Phase::Open { until: later(now, wait), wait }, why);
    }

    fn close(&mut self, why: Why) {
        self.attempts = 0;
        self.forget();
        self.enter(Phase::Closed, why);
    }

    /// Begins a new run and an empty window.
    fn forget(&mut self) {
        self.run = 0;
        self.recent.clear();
    }

    fn enter(&mut self, phase: Phase, why: Why) {
        self.change(self.state(), phase, why);
    }

    fn change(&mut self, from: State, phase: Phase, why: Why) {
        self.phase = phase;
        self.generation += 1;
        self.why = Some(why.clone());
        let counted = self.here();
        self.totals = self.totals();
        (self.here, self.ordinary) = (Tally::default(), 0);
        let to = self.state();
        if from != to {
            self.changes.push(Changed { from, to, why, counted });
        }
    }

    /// The changes of state since this was asked last, in order.
    pub fn take_changes(&mut self) -> Vec<Changed> {
        mem::take(&mut self.changes)
    }

    pub(super) const fn has_changed(&self) -> bool {
        !self.changes.is_empty()
    }

    const fn ticket(&self, lease: Option<NonZeroU64>) -> Ticket {
        Ticket { generation: self.generation, lease }
    }

    /// The state. On the ramp it is half-open: it still tries whether the upstream is good.
    #[inline]
    pub const fn state(&self) -> State {
        match (self.mode, &self.phase) {
            (Mode::ForcedOpen, _) => State::ForcedOpen,
            (Mode::Disabled, _) => State::Disabled,
            (Mode::Shadow, _) => State::Shadow,
            (Mode::Acting, Phase::Closed) => State::Closed,
            (Mode::Acting, Phase::Open { .. }) => State::Open,
            (Mode::Acting, Phase::HalfOpen(_) | Phase::Climbing(_)) => State::HalfOpen,
        }
    }

    /// Counted up with each change of state and each order.
    pub const fn generation(&self) -> u64 {
        self.generation
    }

    /// The ticket of every call, for as long as admitting one changes nothing: what lets a shell do without its lock.
    #[inline]
    pub fn standing_ticket(&self) -> Option<Ticket> {
        let stands =
            matches!(self.state(), State::Closed | State::Disabled) && self.expires.is_none();
        stands.then(|| self.ticket(None))
    }

    /// Whether a call that asked now would be refused. On the ramp that depends on the call, and this says no.
    pub fn refuses(&mut self, now: Instant) -> bool {
        self.tick(now);
        match (self.mode, &self.phase) {
            (Mode::ForcedOpen, _) => true,
            (Mode::Acting, Phase::Open { until, .. }) => now < *until,
            (Mode::Acting, Phase::HalfOpen(probation)) => probation.is_full(&self.settings, now),
            _ => false,
        }
    }

    /// When a call might get through, where anything but an endless order stands in its way.
    pub fn retry_after(&self, now: Instant) -> Option<Duration> {
        let left = |until: Instant| until.saturating_duration_since(now);
        match (self.mode, &self.phase) {
            (Mode::ForcedOpen, _) => self.expires.map(left),
            (Mode::Acting, Phase::Open { until, .. }) => Some(left(*until)),
            // A probe most likely decides long before its lease runs out.
            (Mode::Acting, Phase::HalfOpen(probation)) => {
                let next = probation.live(now).map(|lease| left(lease.deadline)).min();
                Some(next.unwrap_or_default().min(self.settings.open_wait))
            }
            (Mode::Acting, Phase::Climbing(climb)) => Some(left(climb.step_ends)),
            _ => None,
        }
    }

    /// The share of calls that gets through while traffic comes back.
    pub const fn share(&self) -> Option<super::Ratio> {
        match &self.phase {
            Phase::Climbing(climb) => Some(climb.share),
            _ => None,
        }
    }

    /// How many probes are under way.
    pub fn probes(&self) -> usize {
        match &self.phase {
            Phase::HalfOpen(probation) => probation.probes(),
            _ => 0,
        }
    }

    /// What the window holds.
    pub fn window(&mut self, now: Instant) -> Sample {
        self.recent.sum(now).0
    }

    /// Why it is in its state; nothing if it always was.
    pub const fn why(&self) -> Option<&Why> {
        self.why.as_ref()
    }

    /// The order that holds.
    pub const fn standing_order(&self) -> Option<&Order> {
        self.order.as_ref()
    }

    /// When that order expires.
    pub const fn order_expires(&self) -> Option<Instant> {
        self.expires
    }

    /// Failures in a row, in whole ones; while open, those that opened it.
    pub const fn run(&self) -> u64 {
        self.run.div_ceil(WHOLE)
    }

    /// How often in a row it has opened.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }

    /// What was counted since the present state began.
    pub const fn here(&self) -> Tally {
        self.here.with_successes(self.ordinary)
    }

    /// What was counted since the breaker was made.
    pub const fn totals(&self) -> Totals {
        Totals { answers: self.totals.answers.with_successes(self.ordinary), ..self.totals }
    }

    /// The settings in force.
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }
}

/// A moment that may lie beyond what the clock can tell; then a century will do.
fn later(now: Instant, wait: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    now.checked_add(wait).unwrap_or_else(|| now + CENTURY)
}

#[cfg(test)]
mod tests;
