//! The breaker again, as naively as it can be written: it keeps every call for ever and counts anew each time. Slow, and so
//! simple that it is right. Random work must lead both to the same states.
//!
//! It knows the rules, the windows, the wait, the leases and their verdicts, the orders and the profiles; chance (jitter, the
//! ramp) and the fleet it leaves out.

use std::num::NonZeroU32;

use proptest::{prelude::*, test_runner::TestRunner};

use super::super::*;
use crate::circuit_breaker::{
    Backoff, HalfOpenMax, Judges, Late, LostProbe, Minimum, Profile, Ratio, Slow, Span, Threshold,
    Verdict,
};

struct Reference {
    s: Settings,
    generation: u64,
    state: Naive,
    order: Option<(Action, Option<Instant>)>,
    /// Each call of the present closed state: when, its weight, whether it was slow.
    calls: Vec<(Instant, u64, bool)>,
    run: u64,
    opened_in_a_row: i32,
    leases: u64,
    /// The window's beat.
    first: Option<Instant>,
}

#[derive(Clone)]
enum Naive {
    Closed,
    Open(Instant),
    HalfOpen { since: Instant, leases: Vec<(u64, Instant)>, results: Vec<(u64, bool)> },
}

impl Reference {
    fn new(s: Settings) -> Self {
        Self {
            s,
            generation: 0,
            state: Naive::Closed,
            order: None,
            calls: Vec::new(),
            run: 0,
            opened_in_a_row: 0,
            leases: 0,
            first: None,
        }
    }

    fn go(&mut self, state: Naive) {
        self.generation += 1;
        if matches!(state, Naive::Closed) {
            (self.run, self.opened_in_a_row) = (0, 0);
            self.calls.clear();
        }
        self.state = state;
    }

    fn open(&mut self, now: Instant) {
        self.opened_in_a_row += 1;
        let growth = f64::from(self.s.backoff.growth_hundredths) / 100.0;
        let wait = self.s.open_wait.mul_f64(growth.powi(self.opened_in_a_row - 1));
        self.go(Naive::Open(now + wait.min(self.s.backoff.wait_max)));
    }

    fn tick(&mut self, now: Instant) {
        if let Some((_, Some(expires))) = self.order
            && now >= expires
        {
            self.order = None;
            self.go(Naive::Closed);
        }
        loop {
            match self.state.clone() {
                Naive::Closed => return,
                Naive::Open(until) => {
                    if !self.s.automatic_half_open || now < until {
                        return;
                    }
                    self.go(Naive::HalfOpen { since: until, leases: vec![], results: vec![] });
                }
                Naive::HalfOpen { since, mut leases, results } => {
                    leases.sort_by_key(|(_, deadline)| *deadline);
                    let end = self.s.half_open_max.map(|max| since + max.after);
                    let lost = leases.first().map(|(_, deadline)| *deadline);
                    if end.is_some_and(|end| now >= end && lost.is_none_or(|lost| end <= lost)) {
                        match self.s.half_open_max.unwrap().then {
                            Then::Opens => self.open(end.unwrap()),
                            Then::Closes => self.go(Naive::Closed),
                        }
                    } else if lost.is_some_and(|lost| now >= lost) {
                        leases.remove(0);
                        self.state = Naive::HalfOpen { since, leases, results };
                        if self.s.lost_probe == LostProbe::Failure {
                            self.probe(100, false, lost.unwrap());
                        }
                    } else {
                        return;
                    }
                }
            }
        }
    }

    fn word(&self) -> State {
        match (self.order, &self.state) {
            (Some((Action::ForceOpen, _)), _) => State::ForcedOpen,
            (Some((Action::Disable, _)), _) => State::Disabled,
            (Some(_), _) => State::Shadow,
            (None, Naive::Closed) => State::Closed,
            (None, Naive::Open(_)) => State::Open,
            (None, Naive::HalfOpen { .. }) => State::HalfOpen,
        }
    }

    fn admit(&mut self, now: Instant) -> Option<(u64, Option<u64>)> {
        self.tick(now);
        let shadow = match self.order {
            Some((Action::ForceOpen, _)) => return None,
            Some((Action::Disable, _)) => return Some((self.generation, None)),
            order => order.is_some(),
        };
        if let Naive::Open(until) = self.state
            && now >= until
        {
            self.go(Naive::HalfOpen { since: now, leases: vec![], results: vec![] });
        }
        let refused = shadow.then_some((self.generation, None));
        match &mut self.state {
            Naive::Closed => Some((self.generation, None)),
            Naive::Open(_) => refused,
            Naive::HalfOpen { leases, results, .. } => {
                let all = match self.s.verdict {
                    Verdict::Run(_) => usize::MAX,
                    Verdict::Rate { calls, .. } => calls.get() as usize,
                };
                let taken = leases.len();
                if taken >= self.s.half_open_probes.get() as usize || taken + results.len() >= all {
                    return refused;
                }
                self.leases += 1;
                leases.push((self.leases, now + self.s.probe_timeout));
                Some((self.generation, Some(self.leases)))
            }
        }
    }

    fn settle(
        &mut self,
        ticket: (u64, Option<u64>),
        outcome: Outcome,
        took: Duration,
        now: Instant,
    ) {
        self.tick(now);
        let late = ticket.0 != self.generation;
        let slow = self.s.slow.is_some_and(|slow| took > slow.longer_than);
        let weight = match outcome {
            Outcome::Success => 0,
            Outcome::Failure | Outcome::Overload { .. } => 100,
            Outcome::Weighed(weight) => u64::from(weight.in_hundredths()),
            Outcome::Ignored => u64::MAX,
        };
        let asked = match (outcome, self.s.retry_after_max) {
            (Outcome::Overload { retry_after: Some(asked) }, Some(max)) => Some(asked.min(max)),
            _ => None,
        };
        match &mut self.state {
            Naive::Closed if !late || self.s.profile.late == Late::Recorded => {
                self.closed(outcome, weight, slow, asked, now);
            }
            Naive::HalfOpen { leases, .. } if !late => {
                let Some(place) = leases.iter().position(|(number, _)| Some(*number) == ticket.1)
                else {
                    return;
                };
                leases.remove(place);
                if let Some(wait) = asked {
                    self.opened_in_a_row += 1;
                    return self.go(Naive::Open(now + wait));
                }
                let says_nothing = matches!(outcome, Outcome::Overload { .. })
                    && matches!(self.s.verdict, Verdict::Run(_));
                if outcome != Outcome::Ignored && !says_nothing {
                    self.probe(weight, slow, now);
                }
            }
            _ => {}
        }
    }

    fn closed(
        &mut self,
        outcome: Outcome,
        weight: u64,
        slow: bool,
        asked: Option<Duration>,
        now: Instant,
    ) {
        match outcome {
            Outcome::Ignored => return,
            Outcome::Success => self.run = 0,
            Outcome::Overload { .. } => {}
            _ => self.run += weight,
        }
        self.first.get_or_insert(now);
        self.calls.push((now, weight, slow));
        if matches!(self.order, Some((Action::ForceOpen | Action::Disable, _))) {
            return;
        }
        if let Some(wait) = asked {
            self.opened_in_a_row += 1;
            return self.go(Naive::Open(now + wait));
        }
        let run =
            self.s.consecutive_failures.is_some_and(|most| self.run >= u64::from(most.get()) * 100);
        let judged = self.s.profile.judges == Judges::EachResult || weight > 0 || slow;
        let failed = matches!(outcome, Outcome::Failure | Outcome::Weighed(_));
        if (failed && run) || (judged && self.rates(now)) {
            self.open(now);
        }
    }

    /// The window, counted anew.
    fn window(&self, now: Instant) -> Vec<(u64, bool)> {
        let young = |at: Instant| match self.s.span {
            Span::Calls(_) => true,
            Span::Time { length, buckets } => {
                let bucket = length / buckets.get();
                let first = self.first.unwrap();
                let number = |at: Instant| (at - first).as_nanos() / bucket.as_nanos();
                number(now) - number(at) < u128::from(buckets.get())
            }
        };
        let mut calls: Vec<_> =
            self.calls.iter().filter(|call| young(call.0)).map(|call| (call.1, call.2)).collect();
        if let Span::Calls(most) = self.s.span {
            calls = calls.split_off(calls.len().saturating_sub(most.get() as usize));
        }
        calls
    }

    fn rates(&self, now: Instant) -> bool {
        let window = self.window(now);
        let (minimum, seen) = match self.s.span {
            Span::Calls(calls) => (self.s.minimum_calls.min(calls), self.calls.len()),
            Span::Time { .. } => (self.s.minimum_calls, window.len()),
        };
        let enough = match self.s.profile.minimum {
            Minimum::Reached => seen >= minimum.get() as usize,
            Minimum::Passed => seen > minimum.get() as usize,
        };
        enough
            && (self.s.failure_rate.is_some_and(|most| self.fails(most, &window))
                || self.slows(&window))
    }

    fn fails(&self, most: Ratio, calls: &[(u64, bool)]) -> bool {
        let failed: u64 = calls.iter().map(|call| call.0).sum();
        self.meets(most, failed as f64 / 100.0, calls.len())
    }

    fn slows(&self, calls: &[(u64, bool)]) -> bool {
        let slow = calls.iter().filter(|call| call.1).count();
        self.s.slow.is_some_and(|rule| self.meets(rule.rate, slow as f64, calls.len()))
    }

    /// In whole percents and few calls, so that floating point has nothing to round.
    fn meets(&self, most: Ratio, part: f64, whole: usize) -> bool {
        let (part, threshold) = (part * 100.0, most.as_f64() * 100.0 * whole as f64);
        let equal = (part - threshold).abs() < 1e-6;
        match self.s.profile.threshold {
            Threshold::Reached => equal || part > threshold,
            Threshold::Passed => !equal && part > threshold || (equal && most == Ratio::ALL),
        }
    }

    fn probe(&mut self, weight: u64, slow: bool, now: Instant) {
        let Naive::HalfOpen { results, .. } = &mut self.state else { unreachable!("a probe") };
        results.push((weight, slow));
        let results = results.clone();
        let (all, bad) = match self.s.verdict {
            Verdict::Run(run) => (run, weight > 0 || slow),
            Verdict::Rate { calls, failures } => (
                calls,
                results.len() >= calls.get() as usize
                    && (self.fails(failures, &results) || self.slows(&results)),
            ),
        };
        if bad {
            self.run += weight;
            self.open(now);
        } else if results.len() >= all.get() as usize {
            self.go(Naive::Closed);
        }
    }

    fn order(&mut self, action: Action, lasts: Option<Duration>, now: Instant) {
        self.tick(now);
        self.go(Naive::Closed);
        self.order = match action {
            Action::Reset => None,
            Action::OpenFor(wait) => {
                self.state = Naive::Open(now + wait);
                None
            }
            _ => Some((action, lasts.map(|lasts| now + lasts))),
        };
    }
}

#[derive(Debug, Clone)]
enum Step {
    Pass(u64),
    Admit,
    Settle(prop::sample::Index, Outcome, u64),
    Order(Action, Option<Duration>),
    Tick,
}

const MILLI: Duration = Duration::from_millis(1);

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        6 => Just(Outcome::Success),
        6 => Just(Outcome::Failure),
        1 => Just(Outcome::Ignored),
        1 => Just(Outcome::Overload { retry_after: None }),
        1 => (1..20_000_u64).prop_map(|ms| Outcome::Overload { retry_after: Some(MILLI * ms as u32) }),
        1 => (1..4_u16).prop_map(|halves| Outcome::Weighed(Weight::hundredths(halves * 50))),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let action = prop_oneof![
        4 => Just(Action::Reset),
        1 => Just(Action::ForceOpen),
        1 => Just(Action::Disable),
        2 => Just(Action::Shadow),
        1 => (1..20_000_u32).prop_map(|ms| Action::OpenFor(MILLI * ms)),
    ];
    let lasts = prop::option::of((1..20_000_u32).prop_map(|ms| MILLI * ms));
    prop_oneof![
        15 => (0..4_000_u64).prop_map(Step::Pass),
        2 => (0..40_000_u64).prop_map(Step::Pass),
        60 => Just(Step::Admit),
        55 => (any::<prop::sample::Index>(), outcome(), 0..2_000_u64).prop_map(|(i, o, t)| Step::Settle(i, o, t)),
        1 => (action, lasts).prop_map(|(action, lasts)| Step::Order(action, lasts)),
        3 => Just(Step::Tick),
    ]
}

fn some(range: std::ops::Range<u32>) -> impl Strategy<Value = NonZeroU32> {
    range.prop_map(|n| NonZeroU32::new(n).unwrap())
}

fn percent() -> impl Strategy<Value = Ratio> {
    (1..=10_u32).prop_map(|tenths| Ratio::percent(tenths * 10))
}

prop_compose! {
    fn profile()(threshold in any::<bool>(), judges in any::<bool>(), minimum in any::<bool>(), late in any::<bool>()) -> Profile {
        Profile {
            threshold: if threshold { Threshold::Reached } else { Threshold::Passed },
            judges: if judges { Judges::EachResult } else { Judges::FailuresOnly },
            minimum: if minimum { Minimum::Reached } else { Minimum::Passed },
            late: if late { Late::Recorded } else { Late::Dropped },
        }
    }
}

fn rules() -> impl Strategy<Value = Settings> {
    let span = prop_oneof![
        some(1..12).prop_map(Span::Calls),
        (1..10_u32, some(1..8))
            .prop_map(|(length, buckets)| Span::Time { length: MILLI * 840 * length, buckets }),
    ];
    let slow = percent().prop_map(|rate| Slow { longer_than: MILLI * 1_000, rate });
    let (run, rate, slow) =
        (prop::option::of(some(1..6)), prop::option::of(percent()), prop::option::of(slow));
    (run, rate, slow, span, some(1..9), profile()).prop_map(
        |(run, rate, slow, span, minimum_calls, profile)| Settings {
            consecutive_failures: run,
            failure_rate: rate,
            slow,
            span,
            minimum_calls,
            profile,
            ..Settings::default()
        },
    )
}

fn any_settings() -> impl Strategy<Value = Settings> {
    let verdict = prop_oneof![
        some(1..4).prop_map(Verdict::Run),
        (some(1..5), percent()).prop_map(|(calls, failures)| Verdict::Rate { calls, failures }),
    ];
    let max = (1..20_000_u32, any::<bool>()).prop_map(|(ms, opens)| HalfOpenMax {
        after: MILLI * ms,
        then: if opens { Then::Opens } else { Then::Closes },
    });
    let asked = prop::option::of((1..20_000_u32).prop_map(|ms| MILLI * ms));
    (rules(), verdict, prop::option::of(max), asked, some(1..4), any::<[bool; 3]>()).prop_map(
        |(rules, verdict, half_open_max, retry_after_max, probes, [lost, automatic, grows])| {
            Settings {
                verdict,
                half_open_max,
                retry_after_max,
                half_open_probes: probes,
                open_wait: MILLI * 8_000,
                probe_timeout: MILLI * 3_000,
                lost_probe: if lost { LostProbe::Failure } else { LostProbe::Ignored },
                automatic_half_open: automatic,
                backoff: Backoff {
                    growth_hundredths: if grows { 200 } else { 100 },
                    wait_max: MILLI * 30_000,
                    jitter: Ratio::NONE,
                },
                ..rules
            }
        },
    )
}

fn both_do_the_same(settings: Settings, steps: Vec<Step>) {
    let start = Instant::now();
    let mut now = start;
    let (mut core, mut naive) = (Core::new(settings, 7, now), Reference::new(settings));
    let mut under_way = Vec::new();
    for (number, step) in steps.into_iter().enumerate() {
        match step.clone() {
            Step::Pass(millis) => now += Duration::from_millis(millis),
            Step::Admit => {
                let expected = naive.admit(now);
                match (core.admit(now), expected) {
                    (Admission::Admitted(ticket), Some(expected)) => {
                        under_way.push((ticket, expected));
                    }
                    (Admission::Refused(_), None) => {}
                    (answer, expected) => {
                        panic!("step {number}: {answer:?} instead of {expected:?}")
                    }
                }
            }
            Step::Settle(..) if under_way.is_empty() => {}
            Step::Settle(which, outcome, took) => {
                let (ticket, expected) = under_way.swap_remove(which.index(under_way.len()));
                let took = Duration::from_millis(took);
                core.settle(ticket, outcome, took, now);
                naive.settle(expected, outcome, took, now);
            }
            Step::Order(action, lasts) => {
                core.order(Order { lasts, ..Order::new(action) }, now);
                naive.order(action, lasts, now);
            }
            Step::Tick => {
                core.tick(now);
                // Whoever scrapes it moves nothing.
                core.window(now);
                naive.tick(now);
            }
        }
        assert_eq!(core.state(), naive.word(), "step {number}: {step:?} at {:?}", now - start);
        assert_eq!(
            core.generation(),
            naive.generation,
            "step {number}: {step:?} at {:?}",
            now - start
        );
    }
}

/// A tenth of a million random steps, and a million with `PORTCULLIS_FULL=1`.
#[test]
fn random_work_leads_the_breaker_where_the_naive_one_goes() {
    let steps = if std::env::var_os("PORTCULLIS_FULL").is_some() { 1_000_000 } else { 100_000 };
    const LENGTH: u32 = 250;
    let config = ProptestConfig {
        cases: steps / LENGTH,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let story = (any_settings(), prop::collection::vec(step(), LENGTH as usize));
    let shown = TestRunner::new(config).run(&story, |(settings, steps)| {
        both_do_the_same(settings, steps);
        Ok(())
    });
    shown.unwrap();
}
