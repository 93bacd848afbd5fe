//! The rules about rates: whether what the window holds opens a breaker, and with which numbers.

use std::cmp::Ordering;

use super::{
    profile::{Minimum, Threshold},
    ratio::Ratio,
    sample::Sample,
    settings::{Objective, Settings},
    why::Why,
};
use crate::outcome::Weight;

/// The rule that the calls break, if they break one. `seen` is what the minimum is measured against.
pub(super) fn broken(settings: &Settings, calls: Sample, seen: u64) -> Option<Why> {
    let enough = match settings.profile.minimum {
        Minimum::Reached => seen >= settings.minimum(),
        Minimum::Passed => seen > settings.minimum(),
    };
    if !enough || (calls.failed == 0 && calls.slow == 0 && !opens_at_nothing(settings)) {
        return None;
    }
    failure_rate(settings, calls)
        .or_else(|| slow_rate(settings, calls))
        .or_else(|| objective(settings, calls))
}

/// A threshold of 0 % is met by any calls at all.
#[inline]
pub(super) fn opens_at_nothing(settings: &Settings) -> bool {
    let slow = settings.slow.map(|slow| slow.rate);
    settings.failure_rate == Some(Ratio::NONE) || slow == Some(Ratio::NONE)
}

fn failure_rate(settings: &Settings, calls: Sample) -> Option<Why> {
    let threshold = settings.failure_rate?;
    fails(settings, threshold, calls).then_some(Why::FailureRate { calls, threshold })
}

fn slow_rate(settings: &Settings, calls: Sample) -> Option<Why> {
    let slow = settings.slow?;
    is_slow(settings, calls).then_some(Why::SlowRate { calls, slow })
}

/// Whether the failures reach a threshold.
pub(super) fn fails(settings: &Settings, threshold: Ratio, calls: Sample) -> bool {
    meets(settings, threshold, calls.failed, calls.calls * u64::from(Weight::ONE.in_hundredths()))
}

/// Whether the slow calls reach their threshold.
pub(super) fn is_slow(settings: &Settings, calls: Sample) -> bool {
    settings.slow.is_some_and(|slow| meets(settings, slow.rate, calls.slow, calls.calls))
}

/// Nothing lies above all, so a threshold of 100 % is met by reaching it.
fn meets(settings: &Settings, threshold: Ratio, part: u64, whole: u64) -> bool {
    match threshold.compare(part, whole) {
        Ordering::Less => false,
        Ordering::Equal => {
            settings.profile.threshold == Threshold::Reached || threshold == Ratio::ALL
        }
        Ordering::Greater => true,
    }
}

fn objective(settings: &Settings, calls: Sample) -> Option<Why> {
    let objective = settings.objective?;
    let at_least = lower_bound(calls, objective);
    (at_least > objective.failures).then_some(Why::Objective { calls, at_least, objective })
}

/// Wilson's lower bound of the true rate of failures, rounded down.
fn lower_bound(calls: Sample, Objective { z_hundredths, .. }: Objective) -> Ratio {
    if calls.calls == 0 {
        return Ratio::NONE;
    }
    let (n, z) = (calls.calls as f64, f64::from(z_hundredths) / 100.0);
    let rate = (calls.failed as f64 / 100.0 / n).min(1.0);
    let centre = rate + z * z / (2.0 * n);
    let margin = z * (rate * (1.0 - rate) / n + z * z / (4.0 * n * n)).sqrt();
    let bound = ((centre - margin) / (1.0 + z * z / n)).clamp(0.0, 1.0);
    // Between nothing and a million, so the cast only cuts off what is finer than a millionth.
    Ratio::per_million((bound * 1e6) as u32)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SURE: Objective = Objective { failures: Ratio::percent(5), z_hundredths: 300 };

    fn calls(calls: u64, failures: u64) -> Sample {
        Sample { calls, failed: failures * 100, slow: 0 }
    }

    fn percent(calls: Sample) -> f64 {
        lower_bound(calls, SURE).as_f64() * 100.0
    }

    #[test]
    fn the_bound_is_wilson_s() {
        // By hand, n = 100 and p = 0.2: (0.2 + 9/200 - 3 * sqrt(0.16/100 + 9/40,000)) / 1.09.
        assert!((percent(calls(100, 20)) - 10.72).abs() < 0.01);
        assert!((percent(calls(11, 11)) - 55.0).abs() < 0.01);
        assert_eq!(lower_bound(calls(0, 0), SURE), Ratio::NONE);
    }

    #[test]
    fn a_black_out_is_sure_at_once_and_a_bad_moment_is_not() {
        let settings = Settings { objective: Some(SURE), ..Settings::default() };
        assert!(broken(&settings, calls(100, 100), 100).is_some());
        assert!(broken(&settings, calls(100, 9), 100).is_none(), "nine of a hundred may be chance");
        assert!(
            broken(&settings, calls(1_000, 90), 1_000).is_some(),
            "ninety of a thousand are not"
        );
    }

    #[test]
    fn all_is_met_by_reaching_it_even_where_a_rate_must_pass_its_threshold() {
        let settings = Settings {
            failure_rate: Some(Ratio::ALL),
            profile: super::super::Profile::SENTINEL,
            ..Settings::default()
        };
        assert!(broken(&settings, calls(100, 100), 100).is_some());
    }

    proptest! {
        #[test]
        fn more_failures_never_make_it_less_sure(n in 1..2_000_u64, failures in 0..2_000_u64) {
            let failures = failures.min(n);
            prop_assert!(percent(calls(n, failures)) <= percent(calls(n, (failures + 1).min(n))));
            prop_assert!(percent(calls(n, failures)) <= failures as f64 / n as f64 * 100.0 + 1e-9);
        }
    }
}
