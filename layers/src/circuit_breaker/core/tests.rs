//! The breaker's core by plain calls, and by random work with invariants after each step.

mod reference;

use std::num::NonZeroU32;

use proptest::prelude::*;

use super::*;
use crate::circuit_breaker::{
    Backoff, HalfOpenMax, Late, Objective, Profile, Ramp, Ratio, Slow, Span, Verdict,
};

const WAIT: Duration = Duration::from_secs(30);
const PROBE_TIMEOUT: Duration = Duration::from_secs(10);
const OVERLOAD: Outcome = Outcome::Overload { retry_after: None };

fn settings(failures: u32, probes: u32, successes: u32) -> Settings {
    let some = |n| NonZeroU32::new(n).unwrap();
    Settings {
        consecutive_failures: Some(some(failures)),
        open_wait: WAIT,
        half_open_probes: some(probes),
        verdict: Verdict::Run(some(successes)),
        probe_timeout: PROBE_TIMEOUT,
        profile: Profile { late: Late::Dropped, ..Profile::default() },
        ..Settings::default()
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
        let now = Instant::now();
        Self { core: Core::new(settings, 7, now), now, changes: Vec::new() }
    }

    fn open(settings: Settings) -> Self {
        let mut rig = Self::new(settings);
        for _ in 0..settings.consecutive_failures.unwrap().get() {
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
        let answer = self.core.admit(self.now);
        self.changes.extend(self.core.take_changes());
        match answer {
            Admission::Admitted(ticket) => Some(ticket),
            Admission::Refused(_) => None,
        }
    }

    fn retry_after(&mut self) -> Duration {
        match self.core.admit(self.now) {
            Admission::Refused(refusal) => refusal.retry_after,
            Admission::Admitted(_) => panic!("admitted"),
        }
    }

    fn settle(&mut self, ticket: Ticket, outcome: Outcome) {
        self.settle_after(ticket, outcome, Duration::ZERO);
    }

    fn settle_after(&mut self, ticket: Ticket, outcome: Outcome, took: Duration) {
        self.core.settle(ticket, outcome, took, self.now);
        self.changes.extend(self.core.take_changes());
    }

    fn call(&mut self, outcome: Outcome) {
        let ticket = self.admit().expect("admitted");
        self.settle(ticket, outcome);
    }

    fn order(&mut self, action: Action) {
        self.give(Order::new(action));
    }

    fn give(&mut self, order: Order) {
        self.core.order(order, self.now);
        self.changes.extend(self.core.take_changes());
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
    rig.order(Action::Reset);
    rig.settle(late, Outcome::Failure);
    assert_eq!(rig.state(), State::Closed);
}

#[test]
fn a_probe_that_never_comes_back_loses_its_lease() {
    let mut rig = Rig::half_open(Settings { lost_probe: LostProbe::Ignored, ..settings(1, 1, 1) });
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
    rig.order(Action::ForceOpen);
    rig.now += WAIT * 100;
    assert_eq!(rig.admit(), None);
    assert_eq!(rig.core.retry_after(rig.now), None, "nobody knows");
    rig.order(Action::Reset);
    assert!(rig.admit().is_some());
}

#[test]
fn what_ends_or_is_witnessed_under_forced_open_moves_nothing() {
    let profile = Profile { late: Late::Recorded, ..Profile::default() };
    let mut rig =
        Rig::new(Settings { profile, consecutive_failures: NonZeroU32::new(5), ..rates() });
    let late: Vec<_> = (0..5).map(|_| rig.admit().expect("closed")).collect();
    rig.order(Action::ForceOpen);
    let (generation, why) = (rig.core.generation(), rig.core.why().cloned());
    late.into_iter().for_each(|ticket| rig.settle(ticket, Outcome::Failure));
    rig.core.witness(Sample { calls: 9, failed: 900, slow: 0 }, rig.now);
    assert_eq!((rig.core.generation(), rig.core.why().cloned()), (generation, why));
    assert_eq!((rig.core.attempts(), rig.core.here().failures), (0, 5));
    rig.order(Action::Reset);
    assert_eq!(rig.state(), State::Closed);
}

#[test]
fn disabled_admits_and_counts_and_never_opens() {
    let mut rig = Rig::open(settings(1, 1, 1));
    rig.order(Action::Disable);
    (0..10).for_each(|_| rig.call(Outcome::Failure));
    assert_eq!(rig.state(), State::Disabled);
    assert_eq!((rig.core.run(), rig.core.totals().answers.failures), (10, 11));
}

#[test]
fn a_shadow_counts_what_it_would_have_refused_and_refuses_nobody() {
    let mut rig = Rig::new(settings(2, 1, 1));
    rig.order(Action::Shadow);
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

#[test]
fn a_lost_probe_opens_it_as_of_the_moment_in_which_it_was_lost() {
    let mut rig = Rig::half_open(settings(1, 1, 1));
    let lost = rig.admit().expect("a probe");
    rig.now += PROBE_TIMEOUT + WAIT - Duration::from_secs(1);
    assert_eq!(rig.retry_after(), Duration::from_secs(1));
    assert_eq!(rig.core.totals().lost_probes, 1);
    rig.settle(lost, Outcome::Success);
    assert_eq!(rig.state(), State::Open, "too late");
    assert_eq!(rig.changes.last().unwrap().why.to_string(), "a probe had no answer within 10s");
}

#[test]
fn a_probe_whose_head_was_good_is_not_lost_however_long_its_body_takes() {
    let mut rig = Rig::half_open(settings(1, 1, 1));
    let download = rig.admit().expect("a probe");
    rig.core.answered(download);
    rig.now += PROBE_TIMEOUT;
    assert!(rig.admit().is_some(), "another one takes its place");
    assert_eq!((rig.state(), rig.core.totals().lost_probes), (State::HalfOpen, 0));
}

#[test]
fn a_late_answer_is_recorded_in_the_closed_state_that_it_meets_if_the_profile_says_so() {
    let mut rig = Rig::new(Settings { profile: Profile::RESILIENCE4J, ..settings(1, 1, 1) });
    let late = rig.admit().expect("closed");
    rig.call(Outcome::Failure);
    rig.now += WAIT;
    rig.call(Outcome::Success);
    rig.settle(late, Outcome::Failure);
    assert_eq!(rig.state(), State::Open);
}

/// Rates only, over the last ten calls, from four calls on.
fn rates() -> Settings {
    Settings {
        consecutive_failures: None,
        failure_rate: Some(Ratio::percent(50)),
        span: Span::Calls(NonZeroU32::new(10).unwrap()),
        minimum_calls: NonZeroU32::new(4).unwrap(),
        ..settings(1, 1, 1)
    }
}

#[test]
fn a_rate_opens_at_its_threshold_once_there_are_enough_calls() {
    let mut rig = Rig::new(rates());
    rig.call(Outcome::Failure);
    rig.call(Outcome::Failure);
    rig.call(Outcome::Success);
    assert_eq!(rig.state(), State::Closed);
    rig.call(Outcome::Success);
    assert_eq!(rig.state(), State::Open, "a success may be the call that is enough");
    assert_eq!(rig.changes[0].why.to_string(), "2 of 4 calls failed, 50 % are too many");
}

#[test]
fn with_polly_s_profile_only_a_failure_opens() {
    let mut rig = Rig::new(Settings { profile: Profile::POLLY, ..rates() });
    for outcome in [Outcome::Failure, Outcome::Failure, Outcome::Success, Outcome::Success] {
        rig.call(outcome);
    }
    assert_eq!(rig.state(), State::Closed);
    rig.call(Outcome::Failure);
    assert_eq!(rig.state(), State::Open);
}

#[test]
fn with_sentinel_s_profile_a_rate_must_pass_its_threshold() {
    let mut rig = Rig::new(Settings { profile: Profile::SENTINEL, ..rates() });
    for outcome in [Outcome::Success, Outcome::Success, Outcome::Failure, Outcome::Failure] {
        rig.call(outcome);
    }
    assert_eq!(rig.state(), State::Closed);
    rig.call(Outcome::Failure);
    assert_eq!(rig.state(), State::Open);
}

#[test]
fn with_recloser_s_profile_a_rate_is_judged_one_call_later() {
    let mut rig = Rig::new(Settings { profile: Profile::RECLOSER, ..rates() });
    (0..4).for_each(|_| rig.call(Outcome::Failure));
    assert_eq!(rig.state(), State::Closed);
    rig.call(Outcome::Failure);
    assert_eq!(rig.state(), State::Open);
}

#[test]
fn an_overload_counts_in_the_rate_and_not_in_the_run() {
    let mut rig = Rig::new(Settings { consecutive_failures: NonZeroU32::new(2), ..rates() });
    (0..3).for_each(|_| rig.call(OVERLOAD));
    assert_eq!(rig.state(), State::Closed);
    rig.call(OVERLOAD);
    assert_eq!(rig.changes[0].why.to_string(), "4 of 4 calls failed, 50 % are too many");
}

#[test]
fn an_upstream_that_asks_to_be_left_alone_is_within_bounds() {
    let asks = |seconds| Outcome::Overload { retry_after: Some(Duration::from_secs(seconds)) };
    let listens = Settings { retry_after_max: Some(WAIT), ..settings(5, 1, 1) };
    for (asked, waits) in [(7, 7), (3_600, 30)] {
        let mut rig = Rig::new(listens);
        rig.call(asks(asked));
        assert_eq!(rig.retry_after(), Duration::from_secs(waits));
    }
    let mut deaf = Rig::new(settings(5, 1, 1));
    deaf.call(asks(7));
    assert_eq!(deaf.state(), State::Closed);
}

#[test]
fn half_a_failure_is_half_as_bad() {
    let half = Outcome::Weighed(Weight::hundredths(50));
    let mut rig = Rig::new(settings(2, 1, 1));
    (0..3).for_each(|_| rig.call(half));
    assert_eq!(rig.state(), State::Closed);
    rig.call(half);
    assert_eq!(rig.state(), State::Open);
    let mut rig = Rig::new(rates());
    (0..3).for_each(|_| rig.call(half));
    rig.call(Outcome::Success);
    assert_eq!(rig.state(), State::Closed, "37.5 %");
    rig.call(Outcome::Failure);
    assert_eq!(rig.state(), State::Open, "50 %");
}

/// What takes longer than a second is slow.
fn slow_rate() -> Settings {
    let slow = Slow { longer_than: Duration::from_secs(1), rate: Ratio::percent(50) };
    Settings { failure_rate: None, slow: Some(slow), ..rates() }
}

#[test]
fn slow_calls_open_it_though_they_went_well() {
    let mut rig = Rig::new(slow_rate());
    for millis in [1_000, 1_000, 1_001, 1_001] {
        let ticket = rig.admit().expect("closed");
        rig.settle_after(ticket, Outcome::Success, Duration::from_millis(millis));
    }
    assert_eq!(
        rig.changes[0].why.to_string(),
        "2 of 4 calls took longer than 1s, 50 % are too many"
    );
}

#[test]
fn a_slow_probe_does_not_close_it() {
    let mut rig = Rig::new(slow_rate());
    rig.order(Action::OpenFor(WAIT));
    rig.now += WAIT;
    let probe = rig.admit().expect("a probe");
    rig.settle_after(probe, Outcome::Success, Duration::from_secs(2));
    assert_eq!(rig.state(), State::Open);
}

#[test]
fn the_objective_is_judged_by_what_is_sure() {
    let objective = Objective { failures: Ratio::percent(5), z_hundredths: 300 };
    let mut rig = Rig::new(Settings {
        failure_rate: None,
        objective: Some(objective),
        span: Span::Calls(NonZeroU32::new(100).unwrap()),
        minimum_calls: NonZeroU32::new(10).unwrap(),
        ..rates()
    });
    (0..100).for_each(|_| rig.call(Outcome::Success));
    let mut failures = 0;
    while rig.state() == State::Closed {
        rig.call(Outcome::Failure);
        failures += 1;
    }
    assert_eq!(failures, 12, "a black-out after a hundred good calls");
    let why = rig.changes[0].why.to_string();
    assert!(why.starts_with("12 of 100 calls failed: surely more than 5."), "{why}");
}

#[test]
fn a_verdict_by_rate_lets_so_many_through_and_no_more() {
    let verdict =
        Verdict::Rate { calls: NonZeroU32::new(4).unwrap(), failures: Ratio::percent(50) };
    for (failures, state) in [(1, State::Closed), (2, State::Open)] {
        let mut rig = Rig::half_open(Settings { verdict, ..settings(1, 10, 1) });
        let probes: Vec<_> = (0..4).map(|_| rig.admit().expect("a probe")).collect();
        assert_eq!(rig.admit(), None);
        for (place, probe) in probes.into_iter().enumerate() {
            assert_eq!((rig.state(), rig.admit()), (State::HalfOpen, None));
            rig.settle(probe, if place < failures { Outcome::Failure } else { Outcome::Success });
        }
        assert_eq!(rig.state(), state);
    }
}

#[test]
fn half_open_ends_when_it_lasted_for_too_long() {
    for (then, state) in [(Then::Opens, State::Open), (Then::Closes, State::Closed)] {
        let max = HalfOpenMax { after: Duration::from_secs(5), then };
        let mut rig = Rig::half_open(Settings { half_open_max: Some(max), ..settings(1, 1, 1) });
        let _probe = rig.admit();
        rig.now += Duration::from_secs(5);
        rig.core.tick(rig.now);
        assert_eq!(rig.state(), state);
    }
}

#[test]
fn half_open_comes_by_itself_if_it_is_told_to() {
    let mut rig = Rig::half_open(Settings { automatic_half_open: true, ..settings(1, 1, 1) });
    assert_eq!(rig.core.due_at(), Some(rig.now));
    rig.core.tick(rig.now);
    assert_eq!(rig.state(), State::HalfOpen);
}

#[test]
fn half_open_that_comes_by_itself_lasts_from_the_end_of_the_wait_whenever_somebody_looks() {
    let max = HalfOpenMax { after: Duration::from_secs(5), then: Then::Opens };
    let mut rig = Rig::open(Settings {
        automatic_half_open: true,
        half_open_max: Some(max),
        open_wait: Duration::from_secs(10),
        ..settings(1, 1, 1)
    });
    rig.now += Duration::from_secs(16);
    assert_eq!(rig.retry_after(), Duration::from_secs(9), "it is open again since 15 s");
    assert_eq!((rig.state(), rig.core.attempts()), (State::Open, 2));
}

#[test]
fn the_shortest_waits_are_made_up_for_within_bounds() {
    let max = HalfOpenMax { after: Duration::ZERO, then: Then::Opens };
    let mut rig = Rig::open(Settings {
        automatic_half_open: true,
        half_open_max: Some(max),
        open_wait: Duration::ZERO,
        ..settings(1, 1, 1)
    });
    rig.now += WAIT * 100_000;
    assert!(rig.admit().expect("half-open").is_probe());
    assert_eq!(rig.core.attempts(), 1 + WAITS_MADE_UP_FOR);
}

#[test]
fn waits_grow_while_it_stays_bad_and_begin_anew_once_it_was_good() {
    let backoff = Backoff { jitter: Ratio::NONE, ..Backoff::DOUBLING };
    let mut rig = Rig::open(Settings { backoff, ..settings(1, 1, 1) });
    for factor in [2, 4, 8] {
        let wait = rig.retry_after();
        rig.now += wait;
        rig.call(Outcome::Failure);
        assert_eq!(rig.retry_after(), WAIT * factor);
    }
    rig.now += WAIT * 8;
    rig.call(Outcome::Success);
    rig.call(Outcome::Failure);
    assert_eq!(rig.retry_after(), WAIT);
}

#[test]
fn traffic_comes_back_step_by_step_and_the_same_keys_stay_in() {
    let ramp =
        Ramp { from: Ratio::percent(10), growth_hundredths: 300, step: Duration::from_secs(5) };
    let mut rig = Rig::half_open(Settings { ramp: Some(ramp), ..settings(1, 1, 1) });
    rig.call(Outcome::Success);
    let mut let_in: Vec<u64> = Vec::new();
    for percent in [10_usize, 30, 90] {
        assert_eq!(
            (rig.state(), rig.core.share()),
            (State::HalfOpen, Some(Ratio::percent(percent as u32)))
        );
        let now_in: Vec<u64> = (0..1_000)
            .filter(|key| {
                let answer = rig.core.admit_of(Some(*key), rig.now);
                if let Admission::Admitted(ticket) = answer {
                    rig.core.settle(ticket, Outcome::Success, Duration::ZERO, rig.now);
                }
                matches!(answer, Admission::Admitted(_))
            })
            .collect();
        assert!(now_in.len().abs_diff(percent * 10) < 60, "{} of {percent} %", now_in.len());
        assert!(let_in.iter().all(|key| now_in.contains(key)));
        let_in = now_in;
        rig.now += Duration::from_secs(5);
        rig.core.tick(rig.now);
    }
    assert_eq!(rig.state(), State::Closed);
}

#[test]
fn a_step_of_the_ramp_lasts_until_a_call_went_well_and_a_failure_ends_the_climb() {
    let ramp = Ramp { from: Ratio::ALL, growth_hundredths: 200, step: Duration::from_secs(5) };
    let mut rig = Rig::half_open(Settings { ramp: Some(ramp), ..settings(1, 1, 1) });
    rig.call(Outcome::Success);
    rig.now += Duration::from_secs(500);
    rig.core.tick(rig.now);
    assert_eq!(rig.state(), State::HalfOpen);
    rig.call(Outcome::Failure);
    assert_eq!(rig.state(), State::Open);
}

#[test]
fn what_was_asked_for_before_a_climb_neither_proves_nor_ends_it() {
    let ramp = Ramp { from: Ratio::ALL, growth_hundredths: 200, step: Duration::from_secs(5) };
    let profile = Profile { late: Late::Recorded, ..Profile::default() };
    let mut rig = Rig::new(Settings { ramp: Some(ramp), profile, ..settings(1, 1, 1) });
    let [good, bad] = [(); 2].map(|()| rig.admit().expect("closed"));
    rig.call(Outcome::Failure);
    rig.now += WAIT;
    rig.call(Outcome::Success);
    rig.settle(good, Outcome::Success);
    rig.settle(bad, Outcome::Failure);
    rig.now += Duration::from_secs(5);
    rig.core.tick(rig.now);
    assert_eq!((rig.state(), rig.core.totals().late), (State::HalfOpen, 2));
    rig.call(Outcome::Success);
    rig.core.tick(rig.now);
    assert_eq!(rig.state(), State::Closed);
}

#[test]
fn an_order_tells_who_and_why_and_ends_when_it_expires() {
    let mut rig = Rig::new(settings(1, 1, 1));
    let order = Order::new(Action::ForceOpen).by("ana").because("INC-42").lasting(WAIT);
    rig.give(order.clone());
    assert_eq!(rig.changes[0].why.to_string(), "forced open by ana: INC-42");
    assert_eq!(rig.core.standing_order(), Some(&order));
    rig.now += WAIT - Duration::from_nanos(1);
    assert_eq!(rig.retry_after(), Duration::from_nanos(1), "here it is known");
    rig.now += Duration::from_nanos(1);
    assert!(rig.admit().is_some());
    assert_eq!((rig.state(), rig.core.standing_order()), (State::Closed, None));
    assert_eq!(rig.changes[1].why.to_string(), "an order has expired: forced open by ana: INC-42");
}

#[test]
fn a_disabled_breaker_has_no_standing_ticket_while_its_order_may_expire() {
    let mut rig = Rig::new(settings(1, 1, 1));
    rig.give(Order::new(Action::Disable).lasting(WAIT));
    assert_eq!(rig.core.standing_ticket(), None);
    rig.now += WAIT;
    rig.call(Outcome::Failure);
    assert_eq!(rig.state(), State::Open);
}

#[test]
fn it_begins_in_the_state_that_it_is_told_to() {
    for initial in [
        State::Closed,
        State::Open,
        State::HalfOpen,
        State::ForcedOpen,
        State::Disabled,
        State::Shadow,
    ] {
        let rig = Rig::new(Settings { initial, ..settings(1, 1, 1) });
        assert_eq!(rig.state(), initial);
    }
}

#[test]
fn other_settings_keep_what_was_counted_and_what_was_ordered() {
    let mut rig = Rig::new(settings(5, 1, 1));
    (0..3).for_each(|_| rig.call(Outcome::Failure));
    let before = rig.core.totals();
    rig.core.reconfigure(settings(4, 1, 1), rig.now);
    assert_eq!((rig.core.totals(), rig.core.run()), (before, 3));
    rig.call(Outcome::Failure);
    assert_eq!(rig.state(), State::Open);
    rig.core.reconfigure(Settings { open_wait: WAIT * 2, ..settings(4, 1, 1) }, rig.now);
    assert_eq!(rig.retry_after(), WAIT, "the wait that has begun ends as it was given");
    rig.order(Action::ForceOpen);
    rig.core.reconfigure(settings(1, 1, 1), rig.now);
    assert_eq!(rig.state(), State::ForcedOpen);
}

#[test]
fn a_window_keeps_its_calls_when_it_changes_its_size() {
    let mut rig = Rig::new(rates());
    (0..3).for_each(|_| rig.call(Outcome::Failure));
    rig.core.reconfigure(
        Settings { span: Span::Calls(NonZeroU32::new(20).unwrap()), ..rates() },
        rig.now,
    );
    rig.call(Outcome::Success);
    assert_eq!(rig.changes[0].why.to_string(), "3 of 4 calls failed, 50 % are too many");
}

#[test]
fn calls_that_no_window_kept_do_not_count_towards_a_minimum() {
    let mut rig = Rig::new(settings(5, 1, 1));
    (0..200).for_each(|_| rig.call(Outcome::Success));
    rig.core.reconfigure(rates(), rig.now);
    (0..3).for_each(|_| rig.call(Outcome::Failure));
    assert_eq!(rig.state(), State::Closed, "three are too few");
    rig.call(Outcome::Failure);
    assert_eq!(rig.changes[0].why.to_string(), "4 of 4 calls failed, 50 % are too many");
}

#[test]
fn what_others_saw_opens_it_and_is_not_told_on() {
    let mut rig = Rig::new(rates());
    rig.call(Outcome::Success);
    rig.core.witness(Sample { calls: 9, failed: 900, slow: 0 }, rig.now);
    assert_eq!(rig.state(), State::Open);
    assert_eq!(rig.core.delta(), Delta { calls: 1, ..Delta::default() });
    assert!(rig.core.delta().is_empty());
}

#[test]
fn the_fleet_opens_and_closes_it_but_an_operator_stands_above_the_fleet() {
    let mut rig = Rig::new(settings(5, 1, 1));
    rig.core.follow(FleetVerdict::Open(WAIT), rig.now);
    assert_eq!((rig.state(), rig.core.retry_after(rig.now)), (State::Open, Some(WAIT)));
    rig.core.follow(FleetVerdict::Closed, rig.now);
    assert_eq!(rig.state(), State::Closed);
    rig.order(Action::ForceOpen);
    rig.core.follow(FleetVerdict::Closed, rig.now);
    assert_eq!(rig.state(), State::ForcedOpen);
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Pass(u64),
    Admit,
    Settle(prop::sample::Index, Outcome),
    Order(Action),
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
        6 => Just(Action::Reset),
        1 => Just(Action::ForceOpen),
        1 => Just(Action::Disable),
        2 => Just(Action::Shadow),
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
    let predicted = rig.core.refuses(rig.now);
    let before = rig.core.clone();
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
    rig.core.tick(rig.now);
    rig.changes.extend(rig.core.take_changes());
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
                Step::Order(action) => rig.order(action),
            }
            let most = settings.half_open_probes.get() as usize;
            prop_assert!(rig.core.probes() <= most, "no more leases than probes");
        }
        rig.now += WAIT + PROBE_TIMEOUT;
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
