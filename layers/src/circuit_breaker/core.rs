//! The breaker as a pure state machine: events and `now` go in, decisions come out.
//!
//! No clock, no lock, no task. Three events move it: a call asks ([`Core::admit`]), a call ended ([`Core::settle`]), an
//! operator orders ([`Core::order`]). Two ideas keep it honest:
//!
//! - A *generation* is counted up with each change of state. A [`Ticket`] carries the generation in which it was given, and
//!   an answer of another generation only shows in the totals.
//! - A *lease* is what a probe holds while the breaker is half-open. It has a number and a deadline. Only the ticket that
//!   holds a lease can decide; past its deadline the lease is gone, and with it the ticket's say.
//!
//! In shadow the machine runs through the very same phases, but a refusal is only counted.

use std::{
    fmt,
    time::{Duration, Instant},
};

use super::{settings::Settings, state::State};
use crate::outcome::Outcome;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Core {
    settings: Settings,
    mode: Mode,
    phase: Phase,
    generation: u64,
    leases_given: u64,
    why: Option<Why>,
    /// Failures in a row; kept while open, as what opened it.
    run: u64,
    /// Since the present state began.
    here: Tally,
    totals: Totals,
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
    Open { until: Instant },
    HalfOpen(Probation),
}

/// The half-open state: who probes, and with what success so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Probation {
    leases: Vec<Lease>,
    successes: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lease {
    number: u64,
    deadline: Instant,
}

/// What an admitted call holds until it is settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    generation: u64,
    /// The lease of a probe.
    lease: Option<u64>,
}

/// The answer to a call that asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Admit(Ticket),
    Refuse(Refusal),
}

/// What a call is told that doesn't get through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) retry_after: Duration,
    /// Whether an operator's order stands in the way. It has no end that we know of, so the wait stands in for it.
    pub(super) forced: bool,
}

/// An operator's order. It holds until the next one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Reset,
    ForceOpen,
    Disable,
    Shadow,
}

/// A change of state that the world should hear of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Changed {
    pub(super) from: State,
    pub(super) to: State,
    pub(super) why: Why,
    /// What was counted in the state that ended.
    pub(super) counted: Tally,
}

/// Why the state is what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    Failures(u64),
    WaitOver(Duration),
    ProbeFailed,
    ProbesSucceeded(u32),
    Ordered(Order),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Tally {
    pub(super) calls: u64,
    pub(super) successes: u64,
    pub(super) failures: u64,
}

/// Since the breaker was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Totals {
    pub(super) answers: Tally,
    pub(super) rejected: u64,
    pub(super) would_reject: u64,
}

impl Core {
    pub(super) fn new(settings: Settings) -> Self {
        Self {
            settings,
            mode: Mode::Acting,
            phase: Phase::Closed,
            generation: 0,
            leases_given: 0,
            why: None,
            run: 0,
            here: Tally::default(),
            totals: Totals::default(),
        }
    }

    /// A call asks to go through.
    pub(super) fn admit(&mut self, now: Instant) -> (Verdict, Option<Changed>) {
        match self.mode {
            Mode::ForcedOpen => (self.refuse(now), None),
            Mode::Disabled => (Verdict::Admit(self.ticket(None)), None),
            Mode::Acting | Mode::Shadow => self.admit_by_phase(now),
        }
    }

    fn admit_by_phase(&mut self, now: Instant) -> (Verdict, Option<Changed>) {
        match &self.phase {
            Phase::Closed => (Verdict::Admit(self.ticket(None)), None),
            Phase::Open { until } if now < *until => (self.refuse(now), None),
            Phase::Open { .. } => {
                let over = Why::WaitOver(self.settings.open_wait);
                let changed = self.enter(Phase::HalfOpen(Probation::default()), over);
                (self.admit_probe(now), changed)
            }
            Phase::HalfOpen(_) => (self.admit_probe(now), None),
        }
    }

    fn admit_probe(&mut self, now: Instant) -> Verdict {
        let Phase::HalfOpen(probation) = &mut self.phase else {
            unreachable!("only called half-open")
        };
        probation.reclaim(now);
        if probation.leases.len() >= self.settings.half_open_probes.get() as usize {
            return self.refuse(now);
        }
        self.leases_given += 1;
        let number = self.leases_given;
        probation.leases.push(Lease { number, deadline: later(now, self.settings.probe_timeout) });
        Verdict::Admit(self.ticket(Some(number)))
    }

    /// Refuses a call; in shadow only on paper.
    fn refuse(&mut self, now: Instant) -> Verdict {
        if self.mode == Mode::Shadow {
            self.totals.would_reject += 1;
            return Verdict::Admit(self.ticket(None));
        }
        Verdict::Refuse(self.turn_away(now))
    }

    /// A call has to be refused, whatever the state is by now. Says when to come back.
    pub(super) fn turn_away(&mut self, now: Instant) -> Refusal {
        self.totals.rejected += 1;
        let forced = self.mode == Mode::ForcedOpen;
        let retry_after = if forced {
            self.settings.open_wait
        } else {
            self.retry_after(now).unwrap_or_default()
        };
        Refusal { retry_after, forced }
    }

    /// A call ended.
    pub(super) fn settle(
        &mut self,
        ticket: Ticket,
        outcome: Outcome,
        now: Instant,
    ) -> Option<Changed> {
        self.totals.answers.count(outcome);
        if ticket.generation != self.generation {
            return None;
        }
        match &mut self.phase {
            Phase::Closed => self.settle_closed(outcome, now),
            Phase::HalfOpen(probation) => {
                let decides = probation.give_back(ticket, now);
                if decides { self.settle_probe(outcome, now) } else { None }
            }
            // Only in shadow is there a call under way that was admitted while open.
            Phase::Open { .. } => None,
        }
    }

    fn settle_closed(&mut self, outcome: Outcome, now: Instant) -> Option<Changed> {
        self.here.count(outcome);
        match outcome {
            Outcome::Success => self.run = 0,
            Outcome::Failure => self.run += 1,
            Outcome::Ignored | Outcome::Overload { .. } => {}
        }
        let trips = self.run >= u64::from(self.settings.consecutive_failures.get());
        if trips && self.mode != Mode::Disabled {
            self.open(now, Why::Failures(self.run))
        } else {
            None
        }
    }

    /// The lease is given back already; what the probe says decides, if it says anything.
    fn settle_probe(&mut self, outcome: Outcome, now: Instant) -> Option<Changed> {
        self.here.count(outcome);
        match outcome {
            Outcome::Success => self.probe_succeeded(),
            Outcome::Failure => {
                self.run += 1;
                self.open(now, Why::ProbeFailed)
            }
            Outcome::Ignored | Outcome::Overload { .. } => None,
        }
    }

    fn probe_succeeded(&mut self) -> Option<Changed> {
        let Phase::HalfOpen(probation) = &mut self.phase else {
            unreachable!("only probes get here")
        };
        probation.successes += 1;
        let successes = probation.successes;
        if successes < self.settings.successes_to_close.get() {
            return None;
        }
        self.run = 0;
        self.enter(Phase::Closed, Why::ProbesSucceeded(successes))
    }

    /// An operator orders. Everything begins anew, so that nothing from before weighs on it.
    pub(super) fn order(&mut self, order: Order) -> Option<Changed> {
        let from = self.state();
        self.mode = match order {
            Order::Reset => Mode::Acting,
            Order::ForceOpen => Mode::ForcedOpen,
            Order::Disable => Mode::Disabled,
            Order::Shadow => Mode::Shadow,
        };
        self.run = 0;
        self.change(from, Phase::Closed, Why::Ordered(order))
    }

    fn open(&mut self, now: Instant, why: Why) -> Option<Changed> {
        self.enter(Phase::Open { until: later(now, self.settings.open_wait) }, why)
    }

    fn enter(&mut self, phase: Phase, why: Why) -> Option<Changed> {
        self.change(self.state(), phase, why)
    }

    fn change(&mut self, from: State, phase: Phase, why: Why) -> Option<Changed> {
        self.phase = phase;
        self.generation += 1;
        self.why = Some(why);
        let counted = std::mem::take(&mut self.here);
        let to = self.state();
        (from != to).then_some(Changed { from, to, why, counted })
    }

    fn ticket(&self, lease: Option<u64>) -> Ticket {
        Ticket { generation: self.generation, lease }
    }

    pub(super) fn state(&self) -> State {
        match (self.mode, &self.phase) {
            (Mode::ForcedOpen, _) => State::ForcedOpen,
            (Mode::Disabled, _) => State::Disabled,
            (Mode::Shadow, _) => State::Shadow,
            (Mode::Acting, Phase::Closed) => State::Closed,
            (Mode::Acting, Phase::Open { .. }) => State::Open,
            (Mode::Acting, Phase::HalfOpen(_)) => State::HalfOpen,
        }
    }

    /// The ticket of every call, for as long as admitting one changes nothing: what lets the shell do without its lock.
    pub(super) fn standing_ticket(&self) -> Option<Ticket> {
        matches!(self.state(), State::Closed | State::Disabled).then(|| self.ticket(None))
    }

    /// Whether a call that asked now would be refused.
    pub(super) fn refuses(&self, now: Instant) -> bool {
        match (self.mode, &self.phase) {
            (Mode::ForcedOpen, _) => true,
            (Mode::Acting, Phase::Open { until }) => now < *until,
            (Mode::Acting, Phase::HalfOpen(probation)) => {
                probation.live(now).count() >= self.settings.half_open_probes.get() as usize
            }
            _ => false,
        }
    }

    /// When a call might get through, where anything but an order stands in its way.
    pub(super) fn retry_after(&self, now: Instant) -> Option<Duration> {
        match (self.mode, &self.phase) {
            (Mode::Acting, Phase::Open { until }) => Some(until.saturating_duration_since(now)),
            // A probe most likely decides long before its lease runs out.
            (Mode::Acting, Phase::HalfOpen(probation)) => {
                let next = probation.live(now).map(|lease| lease.deadline - now).min();
                Some(next.unwrap_or_default().min(self.settings.open_wait))
            }
            _ => None,
        }
    }

    pub(super) const fn why(&self) -> Option<Why> {
        self.why
    }

    pub(super) const fn run(&self) -> u64 {
        self.run
    }

    pub(super) const fn here(&self) -> Tally {
        self.here
    }

    pub(super) const fn totals(&self) -> Totals {
        self.totals
    }
}

impl Ticket {
    /// Whether its outcome decides over a half-open breaker.
    pub(super) const fn is_probe(self) -> bool {
        self.lease.is_some()
    }

    pub(super) const fn of_generation(generation: u64) -> Self {
        Self { generation, lease: None }
    }

    pub(super) const fn generation(self) -> u64 {
        self.generation
    }
}

impl Probation {
    fn live(&self, now: Instant) -> impl Iterator<Item = &Lease> {
        self.leases.iter().filter(move |lease| now < lease.deadline)
    }

    fn reclaim(&mut self, now: Instant) {
        self.leases.retain(|lease| now < lease.deadline);
    }

    /// Whether the ticket still held a lease.
    fn give_back(&mut self, ticket: Ticket, now: Instant) -> bool {
        self.reclaim(now);
        let held = self.leases.iter().position(|lease| Some(lease.number) == ticket.lease);
        held.map(|place| self.leases.swap_remove(place)).is_some()
    }
}

impl Tally {
    fn count(&mut self, outcome: Outcome) {
        match outcome {
            Outcome::Success => self.successes += 1,
            Outcome::Failure => self.failures += 1,
            Outcome::Overload { .. } => {}
            Outcome::Ignored => return,
        }
        self.calls += 1;
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failures(1) => f.write_str("1 failure"),
            Self::Failures(run) => write!(f, "{run} failures in a row"),
            Self::WaitOver(wait) => write!(f, "the wait of {wait:?} is over"),
            Self::ProbeFailed => f.write_str("a probe failed"),
            Self::ProbesSucceeded(1) => f.write_str("a probe succeeded"),
            Self::ProbesSucceeded(probes) => write!(f, "{probes} probes succeeded"),
            Self::Ordered(Order::Reset) => f.write_str("reset by an operator"),
            Self::Ordered(Order::ForceOpen) => f.write_str("forced open by an operator"),
            Self::Ordered(Order::Disable) => f.write_str("disabled by an operator"),
            Self::Ordered(Order::Shadow) => f.write_str("put into shadow by an operator"),
        }
    }
}

/// A moment that may lie beyond what the clock can tell; then a century will do.
fn later(now: Instant, wait: Duration) -> Instant {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);
    now.checked_add(wait).unwrap_or_else(|| now + CENTURY)
}

#[cfg(test)]
mod tests;
