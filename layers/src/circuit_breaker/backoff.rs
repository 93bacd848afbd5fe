//! How long an open breaker waits: longer each time in a row, a little by chance, and never longer than a cap.

use std::time::Duration;

use super::{chance::Chance, ratio::Ratio};

/// How the wait grows. The first one is [`Settings::open_wait`](super::Settings::open_wait); a breaker that has closed
/// begins with it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Each wait is so many hundredths of the one before. By default 100: all are equal. 200 doubles them.
    pub growth_hundredths: u32,
    /// No wait is longer than this, chance included. By default 5 minutes where waits grow.
    pub wait_max: Duration,
    /// Each wait is up to this share longer or shorter, by chance, so that a fleet doesn't probe all at once. By default
    /// nothing.
    pub jitter: Ratio,
}

impl Backoff {
    /// All waits are equal.
    pub const NONE: Self =
        Self { growth_hundredths: 100, wait_max: Duration::MAX, jitter: Ratio::NONE };
    /// Each wait is twice the last one, up to five minutes, give or take a fifth.
    pub const DOUBLING: Self = Self {
        growth_hundredths: 200,
        wait_max: Duration::from_secs(300),
        jitter: Ratio::percent(20),
    };

    /// The wait when it opens for the `attempt`-th time in a row, the first being 1.
    pub(super) fn wait(&self, first: Duration, attempt: u32, chance: &mut Chance) -> Duration {
        let grown = self.grown(first, attempt);
        self.jittered(grown, chance).min(self.wait_max)
    }

    fn grown(&self, first: Duration, attempt: u32) -> Duration {
        if self.growth_hundredths == 100 || attempt <= 1 {
            return first.min(self.wait_max);
        }
        let exponent = i32::try_from(attempt - 1).unwrap_or(i32::MAX);
        let growth = (f64::from(self.growth_hundredths) / 100.0).powi(exponent);
        let wait = Duration::try_from_secs_f64(first.as_secs_f64() * growth);
        wait.unwrap_or(self.wait_max).min(self.wait_max)
    }

    fn jittered(&self, wait: Duration, chance: &mut Chance) -> Duration {
        if self.jitter == Ratio::NONE {
            return wait;
        }
        let share = self.jitter.as_f64() * (chance.share() * 2.0 - 1.0);
        Duration::try_from_secs_f64(wait.as_secs_f64() * (1.0 + share)).unwrap_or(self.wait_max)
    }
}

impl Default for Backoff {
    fn default() -> Self {
        Self::NONE
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn waits(backoff: Backoff) -> Vec<u64> {
        let mut chance = Chance::seeded(1);
        (1..=6).map(|attempt| backoff.wait(SECOND * 10, attempt, &mut chance).as_secs()).collect()
    }

    #[test]
    fn without_backoff_all_waits_are_equal() {
        assert_eq!(waits(Backoff::NONE), [10; 6]);
    }

    #[test]
    fn waits_double_up_to_their_cap() {
        let plain = Backoff { jitter: Ratio::NONE, wait_max: SECOND * 100, ..Backoff::DOUBLING };
        assert_eq!(waits(plain), [10, 20, 40, 80, 100, 100]);
    }

    #[test]
    fn the_same_seed_gives_the_same_waits() {
        assert_eq!(waits(Backoff::DOUBLING), waits(Backoff::DOUBLING));
    }

    proptest! {
        #[test]
        fn no_wait_is_further_off_than_chance_may_take_it(attempt in 1..100_u32, seed: u64, percent in 0..=100_u32) {
            let backoff = Backoff { jitter: Ratio::percent(percent), ..Backoff::DOUBLING };
            let wait = backoff.wait(SECOND * 10, attempt, &mut Chance::seeded(seed)).as_secs_f64();
            let plain = (10.0 * 2_f64.powi(attempt as i32 - 1)).min(300.0);
            let off = plain * f64::from(percent) / 100.0;
            prop_assert!(wait <= 300.0 && wait >= plain - off - 1e-6 && wait <= plain + off + 1e-6);
        }

        #[test]
        fn nothing_makes_it_panic(growth: u32, attempt: u32, first: u64, seed: u64) {
            let backoff = Backoff { growth_hundredths: growth, wait_max: Duration::MAX, jitter: Ratio::ALL };
            backoff.wait(Duration::from_secs(first), attempt, &mut Chance::seeded(seed));
        }
    }
}
