//! The half-open state: who probes, and what the probes have shown so far.
//!
//! A *lease* is what a probe holds. It has a number and a deadline. Only the ticket that holds a lease can decide; past its
//! deadline the lease is gone, and with it the ticket's say.

use std::num::NonZeroU64;
use std::time::Instant;

use super::{
    rules,
    sample::{Mark, Sample},
    settings::{Settings, Verdict},
    why::Why,
};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Probation {
    /// When it began, for as long as it may last.
    pub(super) since: Instant,
    leases: Vec<Lease>,
    results: Sample,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Lease {
    number: NonZeroU64,
    pub(super) deadline: Instant,
    /// The head of a good answer is here already, so the upstream isn't silent, however long the body takes.
    pub(super) answered: bool,
}

/// What the probes have shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shown {
    /// Too little yet.
    Nothing,
    /// The upstream is good: so many probes succeeded.
    Good(u64),
    /// The upstream is bad.
    Bad(Why),
}

impl Probation {
    pub(super) const fn begin(since: Instant) -> Self {
        Self { since, leases: Vec::new(), results: Sample { calls: 0, failed: 0, slow: 0 } }
    }

    /// Whether all places are taken.
    pub(super) fn is_full(&self, settings: &Settings, now: Instant) -> bool {
        self.places_taken(settings, self.live(now).count() as u64)
    }

    fn places_taken(&self, settings: &Settings, live: u64) -> bool {
        let at_once = live >= u64::from(settings.half_open_probes.get());
        match settings.verdict {
            Verdict::Run(_) => at_once,
            Verdict::Rate { calls, .. } => {
                at_once || live + self.results.calls >= u64::from(calls.get())
            }
        }
    }

    pub(super) fn lease(&mut self, number: NonZeroU64, deadline: Instant) {
        self.leases.push(Lease { number, deadline, answered: false });
    }

    pub(super) fn live(&self, now: Instant) -> impl Iterator<Item = &Lease> {
        self.leases.iter().filter(move |lease| now < lease.deadline)
    }

    /// Whether the lease was still held.
    pub(super) fn give_back(&mut self, number: NonZeroU64) -> bool {
        let held = self.leases.iter().position(|lease| lease.number == number);
        held.map(|place| self.leases.swap_remove(place)).is_some()
    }

    pub(super) fn answered(&mut self, number: NonZeroU64) {
        if let Some(lease) = self.leases.iter_mut().find(|lease| lease.number == number) {
            lease.answered = true;
        }
    }

    /// When the first of the leases runs out.
    pub(super) fn first_deadline(&self) -> Option<Instant> {
        self.leases.iter().map(|lease| lease.deadline).min()
    }

    /// Takes away the lease that ran out first, if one has.
    pub(super) fn reclaim(&mut self, now: Instant) -> Option<Lease> {
        let (place, first) =
            self.leases.iter().enumerate().min_by_key(|(_, lease)| lease.deadline)?;
        let has_run_out = now >= first.deadline;
        has_run_out.then(|| self.leases.swap_remove(place))
    }

    pub(super) fn probes(&self) -> usize {
        self.leases.len()
    }

    /// Takes a probe's result, whose lease is given back already. `failed` tells why, should this one decide.
    pub(super) fn result(&mut self, settings: &Settings, mark: Mark, failed: Why) -> Shown {
        self.results += mark.sample();
        let results = self.results;
        match settings.verdict {
            Verdict::Run(_) if mark.failed() > 0 => Shown::Bad(failed),
            Verdict::Run(_) if mark.is_slow() => Shown::Bad(Why::ProbeSlow),
            Verdict::Run(run) if results.calls < u64::from(run.get()) => Shown::Nothing,
            Verdict::Rate { calls, .. } if results.calls < u64::from(calls.get()) => Shown::Nothing,
            Verdict::Rate { failures, .. }
                if rules::fails(settings, failures, results)
                    || rules::is_slow(settings, results) =>
            {
                Shown::Bad(Why::ProbesFailed(results))
            }
            Verdict::Run(_) | Verdict::Rate { .. } => Shown::Good(results.calls),
        }
    }
}
