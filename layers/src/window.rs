//! Counts over the recent past, in a ring of time buckets.
//!
//! The ring is cut into buckets of equal length. As time moves on, the oldest bucket leaves and takes its counts with it:
//! the window slides a bucket at a time, and is never emptied at once. So a count stays for at most the window's length,
//! and at least for that less one bucket. Adding and summing cost the same for ten calls as for ten million, because the
//! total is kept and a bucket that leaves is subtracted from it. The buckets keep to one beat from the first event on. `now` is an argument: there is no clock in here.

use std::{
    num::NonZeroU32,
    ops::{AddAssign, SubAssign},
    time::{Duration, Instant},
};

/// What is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Calls that said something about the upstream.
    pub calls: u64,
    /// Those among them that failed.
    pub failures: u64,
}

impl AddAssign for Counts {
    fn add_assign(&mut self, more: Self) {
        self.calls += more.calls;
        self.failures += more.failures;
    }
}

impl SubAssign for Counts {
    fn sub_assign(&mut self, less: Self) {
        self.calls -= less.calls;
        self.failures -= less.failures;
    }
}

/// Counts of the recent past, of any kind that can be added and taken away. See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window<C = Counts> {
    ring: Box<[C]>,
    bucket: Duration,
    total: C,
    /// Where the present bucket stands in the ring, and when it began. Nothing before the first call.
    present: usize,
    began: Option<Instant>,
}

impl<C: Copy + Default + AddAssign + SubAssign> Window<C> {
    /// An empty window of this length in this many buckets.
    pub fn new(length: Duration, buckets: NonZeroU32) -> Self {
        // A bucket without a length would never end, or end infinitely often.
        let bucket = (length / buckets.get()).max(Duration::from_nanos(1));
        let ring = vec![C::default(); buckets.get() as usize].into_boxed_slice();
        Self { ring, bucket, total: C::default(), present: 0, began: None }
    }

    /// Counts now. A `now` from before the present bucket counts in that bucket.
    pub fn add(&mut self, now: Instant, counts: C) {
        self.slide(now);
        self.ring[self.present] += counts;
        self.total += counts;
    }

    /// What was counted within the window's length before now.
    ///
    /// The beat begins with what is counted, and not with whoever asks.
    pub fn sum(&mut self, now: Instant) -> C {
        if self.began.is_some() {
            self.slide(now);
        }
        self.total
    }

    /// What was counted until the last addition or sum: an upper bound of what is in the window now.
    pub const fn total(&self) -> C {
        self.total
    }

    /// Forgets what was counted, but not when its buckets begin.
    pub fn clear(&mut self) {
        self.ring.fill(C::default());
        self.total = C::default();
    }

    fn slide(&mut self, now: Instant) {
        let began = *self.began.get_or_insert(now);
        let age = now.saturating_duration_since(began);
        if age < self.bucket {
            return;
        }
        let (steps, rest) =
            (age.as_nanos() / self.bucket.as_nanos(), age.as_nanos() % self.bucket.as_nanos());
        // The buckets keep to their beat over any pause. The rest is shorter than a bucket, and five centuries fit into a u64.
        self.began = now.checked_sub(Duration::from_nanos(rest as u64));
        if steps >= self.ring.len() as u128 {
            return self.clear();
        }
        for _ in 0..steps {
            self.present = (self.present + 1) % self.ring.len();
            self.total -= std::mem::take(&mut self.ring[self.present]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const ERROR: Counts = Counts { calls: 1, failures: 1 };

    fn ten_seconds() -> Window {
        Window::new(SECOND * 10, NonZeroU32::new(10).unwrap())
    }

    #[test]
    fn an_error_is_forgotten_after_the_window_and_not_before() {
        let (mut window, start) = (ten_seconds(), Instant::now());
        window.add(start, ERROR);
        assert_eq!(window.sum(start + SECOND * 10 - Duration::from_nanos(1)), ERROR);
        assert_eq!(window.sum(start + SECOND * 10), Counts::default());
    }

    #[test]
    fn only_the_oldest_bucket_leaves_at_an_edge() {
        let (mut window, start) = (ten_seconds(), Instant::now());
        for second in 0..10 {
            window.add(start + SECOND * second, ERROR);
        }
        assert_eq!(window.sum(start + SECOND * 10).failures, 9);
        assert_eq!(window.sum(start + SECOND * 14).failures, 5);
    }

    #[test]
    fn a_moment_from_before_counts_in_the_present_bucket() {
        let (mut window, start) = (ten_seconds(), Instant::now() + SECOND * 5);
        window.add(start, ERROR);
        window.add(start - SECOND * 5, ERROR);
        assert_eq!(window.sum(start).failures, 2);
    }

    #[test]
    fn the_buckets_keep_to_their_beat_over_a_pause_and_over_clearing() {
        let (mut window, start) = (ten_seconds(), Instant::now());
        window.add(start, ERROR);
        window.clear();
        window.add(start + SECOND * 100 + SECOND / 2, ERROR);
        assert_eq!(window.sum(start + SECOND * 110 - Duration::from_nanos(1)), ERROR);
        assert_eq!(window.sum(start + SECOND * 110), Counts::default());
    }

    #[test]
    fn asking_before_the_first_event_does_not_begin_the_beat() {
        let (mut window, start) = (ten_seconds(), Instant::now());
        assert_eq!(window.sum(start), Counts::default());
        window.add(start + SECOND / 2, ERROR);
        assert_eq!(window.sum(start + SECOND / 2 + SECOND * 10 - Duration::from_nanos(1)), ERROR);
        assert_eq!(window.sum(start + SECOND / 2 + SECOND * 10), Counts::default());
    }

    #[test]
    fn after_clearing_nothing_is_left() {
        let (mut window, start) = (ten_seconds(), Instant::now());
        window.add(start, ERROR);
        window.clear();
        assert_eq!(window.sum(start), Counts::default());
    }

    #[test]
    fn a_window_shorter_than_its_buckets_are_many_still_counts() {
        let mut window = Window::new(Duration::ZERO, NonZeroU32::new(10).unwrap());
        let now = Instant::now();
        window.add(now, ERROR);
        assert_eq!(window.sum(now), ERROR);
    }

    proptest! {
        #[test]
        fn it_counts_what_is_young_enough_and_nothing_that_is_too_old(
            pauses in prop::collection::vec(0..4_000_u64, 1..200),
            buckets in 1..12_u32,
        ) {
            let length = SECOND * 12;
            let mut window = Window::new(length, NonZeroU32::new(buckets).unwrap());
            let bucket = length / buckets;
            let (mut now, mut added) = (Instant::now(), Vec::new());
            for pause in pauses {
                now += Duration::from_millis(pause);
                window.add(now, ERROR);
                added.push(now);
                let within = |age| added.iter().filter(|at| now - **at < age).count() as u64;
                let sum = window.sum(now).failures;
                prop_assert!(sum >= within(length - bucket), "{sum} is too few");
                prop_assert!(sum <= within(length), "{sum} is too many");
            }
        }
    }
}
