//! The breaker's core by plain calls, and by random work with invariants after each step.

use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;

const WAIT: Duration = Duration::from_secs(30);
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
const OVERLOAD: Outcome = Outcome::Overload { retry_after: None };

fn settings(failures: u32, probes: u32, successes: u32) -> Settings {
    let some = |n| NonZeroU32::new(n).unwrap();
    Settings {
        consecutive_failures: some(failures),
        open_wait: WAIT,
        half_open_probes: some(probes),
        successes_to_close: some(successes),
        probe_timeout: PROBE_TIMEOUT,
    }
}

/// A core with a clock that only the test moves.
struct Rig {
    core: Core,
    now: Instant,
    changes: Vec<Changed>,
}

impl Rig {
    fn new(settings: Settings) -> Self {
        Self { core: Core::new(settings), now: Instant::now(), changes: Vec::new() }
    }

    fn open(settings: Settings) -> Self {
        let mut rig = Self::new(settings);
        for _ in 0..settings.consecutive_failures.get() {
            rig.call(Outcome::Failure);
        }
        assert_eq!(rig.core.state(), State::Open);
        rig
    }

    fn half_open(settings: Settings) -> Self {
        let mut rig = Self::open(settings);
        rig.now += WAIT;
        rig
    }

    fn admit(&mut self) -> Option<Ticket> {
        let (verdict, changed) = self.core.admit(self.now);
        self.changes.extend(changed);
        match verdict {
            Verdict::Admit(ticket) => Some(ticket),
            Verdict::Refuse(_) => None,
        }
    }

    fn retry_after(&mut self) -> Duration {
        match self.core.admit(self.now).0 {
            Verdict::Refuse(refusal) => refusal.retry_after,
            Verdict::Admit(_) => panic!("admitted"),
        }
    }

    fn settle(&mut self, ticket: Ticket, outcome: Outcome) {
        self.changes.extend(self.core.settle(ticket, outcome, self.now));
    }

    fn call(&mut self, outcome: Outcome) {
        let ticket = self.admit().expect("admitted");
        self.settle(ticket, outcome);
    }

    fn order(&mut self, order: Order) {
        self.changes.extend(self.core.order(order));
    }

    fn state(&self) -> State {
        self.core.state()
    }
}

#[test]
fn a_run_of_failures_opens_it() {
    let mut rig = Rig::new(settings(3, 1, 1));
    rig.call(Outcome::Failure);
    rig.call(Outcome::Failure);
    assert_eq!(rig.state(), State::Closed);
    rig.call(Outcome::Failure);
    assert_eq!(rig.state(), State::Open);
    assert_eq!(rig.changes[0].why.to_string(), "3 failures in a row");
}

#[test]
fn a_success_ends_the_run() {
    let mut rig = Rig::new(settings(2, 1, 1));
    for _ in 0..10 {
        rig.call(Outcome::Failure);
        rig.call(Outcome::Success);
    }
    assert_eq!(rig.state(), State::Closed);
}

#[test]
fn what_says_nothing_of_the_upstream_neither_lengthens_nor_ends_the_run() {
    let mut rig = Rig::new(settings(2, 1, 1));
    rig.call(Outcome::Failure);
    for _ in 0..10 {
        rig.call(Outcome::Ignored);
        rig.call(OVERLOAD);
    }
    assert_eq!(rig.state(), State::Closed);
    rig.call(Outcome::Failure);
    assert_eq!(rig.state(), State::Open);
}

#[test]
fn a_thousand_successes_buy_no_more_than_one_does() {
    let mut rig = Rig::new(settings(5, 1, 1));
    (0..1_000).for_each(|_| rig.call(Outcome::Success));
    (0..5).for_each(|_| rig.call(Outcome::Failure));
    assert_eq!(rig.state(), State::Open);
}

#[test]
fn while_open_it_refuses_and_says_what_is_left_of_the_wait() {
    let mut rig = Rig::open(settings(1, 1, 1));
    assert_eq!(rig.retry_after(), WAIT);
    rig.now += WAIT - Duration::from_millis(1);
    assert_eq!(rig.retry_after(), Duration::from_millis(1));
    assert_eq!(rig.core.totals().rejected, 2);
}

#[test]
fn the_first_call_after_the_wait_is_a_probe() {
    let mut rig = Rig::half_open(settings(1, 1, 1));
    assert_eq!(rig.state(), State::Open, "nobody has called yet");
    assert!(rig.admit().expect("admitted").is_probe());
    assert_eq!(rig.state(), State::HalfOpen);
}

#[test]
fn no_more_probes_are_under_way_than_allowed() {
    let mut rig = Rig::half_open(settings(1, 2, 5));
    let first = rig.admit().expect("a probe");
    let _second = rig.admit().expect("a probe");
    assert_eq!(rig.admit(), None);
    rig.settle(first, Outcome::Success);
    assert!(rig.admit().is_some(), "the first one's place is free again");
}

#[test]
fn as_many_successes_as_asked_for_close_it() {
    let mut rig = Rig::half_open(settings(1, 1, 3));
    rig.call(Outcome::Success);
    rig.call(Outcome::Success);
    assert_eq!(rig.state(), State::HalfOpen);
    rig.call(Outcome::Success);
    assert_eq!(rig.state(), State::Closed);
    assert_eq!(rig.core.run(), 0);
}

#[test]
fn one_failed_probe_opens_it_for_another_wait() {
    let mut rig = Rig::half_open(settings(3, 1, 2));
    rig.call(Outcome::Success);
    rig.call(Outcome::Failure);
    assert_eq!(rig.state(), State::Open);
    assert_eq!(rig.retry_after(), WAIT);
}

#[test]
fn a_probe_that_says_nothing_gives_its_lease_back() {
    let mut rig = Rig::half_open(settings(1, 1, 1));
    rig.call(Outcome::Ignored);
    rig.call(OVERLOAD);
    assert_eq!(rig.state(), State::HalfOpen);
    assert!(rig.admit().is_some());
}

#[test]
fn a_late_answer_does_not_count() {
    let mut rig = Rig::new(settings(1, 1, 1));
    let late = rig.admit().expect("closed");
    rig.call(Outcome::Failure);
    rig.now += WAIT;
    let probe = rig.admit().expect("a probe");
    rig.settle(late, Outcome::Success);
    assert_eq!(rig.state(), State::HalfOpen, "only the probe decides");
    rig.settle(probe, Outcome::Failure);
    assert_eq!(rig.state(), State::Open);
}

#[test]
fn late_failures_do_not_make_the_wait_longer() {
    let mut rig = Rig::new(settings(1, 1, 1));
    let late: Vec<_> = (0..5).map(|_| rig.admit().expect("closed")).collect();
    rig.call(Outcome::Failure);
    rig.now += WAIT / 2;
    late.into_iter().for_each(|ticket| rig.settle(ticket, Outcome::Failure));
    assert_eq!(rig.retry_after(), WAIT / 2);
    assert_eq!(rig.core.totals().answers.failures, 6, "the totals tell of all");
}

#[test]
fn late_failures_do_not_open_what_has_recovered() {
    let mut rig = Rig::new(settings(1, 1, 1));
    let late = rig.admit().expect("closed");
    rig.call(Outcome::Failure);
    rig.now += WAIT;
    rig.call(Outcome::Success);
    rig.settle(late, Outcome::Failure);
    assert_eq!(rig.state(), State::Closed);
}

#[test]
fn what_was_under_way_before_a_reset_does_not_count_after_it() {
    let mut rig = Rig::new(settings(1, 1, 1));
    let late = rig.admit().expect("closed");
    rig.order(Order::Reset);
    rig.settle(late, Outcome::Failure);
    assert_eq!(rig.state(), State::Closed);
}

#[test]
fn a_probe_that_never_comes_back_loses_its_lease() {
    let mut rig = Rig::half_open(settings(1, 1, 1));
    let lost = rig.admit().expect("a probe");
    assert_eq!(rig.retry_after(), PROBE_TIMEOUT);
    rig.now += PROBE_TIMEOUT;
    let next = rig.admit().expect("the lease ran out");
    rig.settle(lost, Outcome::Failure);
    assert_eq!(rig.state(), State::HalfOpen, "it has lost its say");
    rig.settle(next, Outcome::Success);
    assert_eq!(rig.state(), State::Closed);
}

#[test]
fn a_lease_of_an_older_probation_is_worth_nothing_in_a_newer_one() {
    let mut rig = Rig::half_open(settings(1, 2, 1));
    let old = rig.admit().expect("a probe");
    rig.call(Outcome::Failure);
    rig.now += WAIT;
    let _new = rig.admit().expect("a probe of the next probation");
    rig.settle(old, Outcome::Success);
    assert_eq!(rig.state(), State::HalfOpen);
}

#[test]
fn forced_open_stays_until_reset() {
    let mut rig = Rig::new(settings(1, 1, 1));
    rig.order(Order::ForceOpen);
    rig.now += WAIT * 100;
    assert_eq!(rig.admit(), None);
    assert_eq!(rig.core.retry_after(rig.now), None, "nobody knows");
    rig.order(Order::Reset);
    assert!(rig.admit().is_some());
}

#[test]
fn disabled_admits_and_counts_and_never_opens() {
    let mut rig = Rig::open(settings(1, 1, 1));
    rig.order(Order::Disable);
    (0..10).for_each(|_| rig.call(Outcome::Failure));
    assert_eq!(rig.state(), State::Disabled);
    assert_eq!((rig.core.run(), rig.core.totals().answers.failures), (10, 11));
}

#[test]
fn a_shadow_counts_what_it_would_have_refused_and_refuses_nobody() {
    let mut rig = Rig::new(settings(2, 1, 1));
    rig.order(Order::Shadow);
    (0..5).for_each(|_| rig.call(Outcome::Failure));
    assert_eq!(rig.state(), State::Shadow);
    assert_eq!((rig.core.totals().would_reject, rig.core.totals().rejected), (3, 0));
    rig.now += WAIT;
    rig.call(Outcome::Success);
    rig.call(Outcome::Failure);
    assert_eq!(rig.core.totals().would_reject, 3, "it recovered on paper too");
    assert_eq!(rig.changes.len(), 1, "the order is all that the world hears of");
}

#[test]
fn a_wait_beyond_the_end_of_time_is_long_but_no_panic() {
    let endless = Settings { open_wait: Duration::MAX, ..settings(1, 1, 1) };
    let mut rig = Rig::open(endless);
    assert!(rig.retry_after() > WAIT);
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Pass(u64),
    Admit,
    Settle(prop::sample::Index, Outcome),
    Order(Order),
}

fn outcome() -> impl Strategy<Value = Outcome> {
    prop_oneof![
        3 => Just(Outcome::Success),
        4 => Just(Outcome::Failure),
        1 => Just(Outcome::Ignored),
        1 => Just(OVERLOAD),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let order = prop_oneof![
        6 => Just(Order::Reset),
        1 => Just(Order::ForceOpen),
        1 => Just(Order::Disable),
        2 => Just(Order::Shadow),
    ];
    prop_oneof![
        20 => (0..20_000_u64).prop_map(Step::Pass),
        60 => Just(Step::Admit),
        50 => (any::<prop::sample::Index>(), outcome()).prop_map(|(i, o)| Step::Settle(i, o)),
        1 => order.prop_map(Step::Order),
    ]
}

fn any_settings() -> impl Strategy<Value = Settings> {
    (1..4_u32, 1..4_u32, 1..4_u32).prop_map(|(f, p, s)| settings(f, p, s))
}

/// The invariants of one admission.
fn check_admission(rig: &mut Rig) -> Option<Ticket> {
    let before = rig.core.clone();
    let predicted = before.refuses(rig.now);
    let ticket = rig.admit();
    assert_eq!(ticket.is_none(), predicted, "refuses() told the truth");
    if let Some(standing) = before.standing_ticket() {
        assert_eq!((ticket, &rig.core), (Some(standing), &before), "admission changed nothing");
    }
    assert_eq!(ticket.is_none(), rig.core.totals().rejected > before.totals().rejected);
    ticket
}

/// The invariants of one end of a call.
fn check_settlement(rig: &mut Rig, ticket: Ticket, outcome: Outcome) {
    let before = rig.core.clone();
    rig.settle(ticket, outcome);
    if ticket.generation != before.generation {
        let mut expected = before.clone();
        expected.totals = rig.core.totals;
        assert_eq!(rig.core, expected, "a late answer only shows in the totals");
    }
    if before.state() == State::HalfOpen && rig.state() != State::HalfOpen {
        assert!(ticket.is_probe(), "only probes decide");
    }
    let counts = u64::from(outcome != Outcome::Ignored);
    assert_eq!(rig.core.totals().answers.calls, before.totals().answers.calls + counts);
}

proptest! {
    #[test]
    fn whatever_happens_its_promises_hold(
        settings in any_settings(),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut rig = Rig::new(settings);
        let mut under_way = Vec::new();
        for step in steps {
            match step {
                Step::Pass(millis) => rig.now += Duration::from_millis(millis),
                Step::Admit => under_way.extend(check_admission(&mut rig)),
                Step::Settle(..) if under_way.is_empty() => {}
                Step::Settle(which, outcome) => {
                    let ticket = under_way.swap_remove(which.index(under_way.len()));
                    check_settlement(&mut rig, ticket, outcome);
                }
                Step::Order(order) => rig.order(order),
            }
            if let Phase::HalfOpen(probation) = &rig.core.phase {
                let most = settings.half_open_probes.get() as usize;
                prop_assert!(probation.leases.len() <= most, "no more leases than probes");
                prop_assert!(probation.successes < settings.successes_to_close.get());
            }
        }
        rig.now += WAIT.max(PROBE_TIMEOUT);
        let held = rig.state() == State::ForcedOpen;
        prop_assert_eq!(rig.admit().is_none(), held, "nothing but an order shuts it for good");
    }

    #[test]
    fn it_opens_exactly_when_the_last_answers_are_all_failures(
        failures in 1..6_u32,
        outcomes in prop::collection::vec(outcome(), 0..60),
    ) {
        let mut rig = Rig::new(settings(failures, 1, 1));
        let mut said = Vec::new();
        for outcome in outcomes {
            rig.call(outcome);
            if matches!(outcome, Outcome::Success | Outcome::Failure) {
                said.push(outcome);
            }
            let last = said.iter().rev().take_while(|said| **said == Outcome::Failure).count();
            let opens = last >= failures as usize;
            prop_assert_eq!(rig.state() == State::Open, opens);
            if opens {
                break;
            }
        }
    }
}
