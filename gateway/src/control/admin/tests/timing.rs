//! That the time of an answer tells nothing of a key: wrong in its first byte, or in its last, takes equally long.
//!
//! Samples of both kinds are taken in a random order, and Welch's t says whether their means differ: beyond 4.5 they do. The
//! slowest tenth of all samples, whichever kind they are of, is left out: what was interrupted tells only of the machine, and
//! would hide a difference. The short form takes 50,000 samples in all, the long one (`PORTCULLIS_FULL=1`) a million.

use std::hint::black_box;
use std::time::Instant;

use super::*;
use crate::control::admin::keys::Keyring;

const SECRET: &[u8] = b"pck_a-key-of-the-length-that-portcullis-keygen-makes";
const T_MAX: f64 = 4.5;

/// Welford's running mean and variance.
#[derive(Default)]
struct Samples {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Samples {
    fn add(&mut self, value: f64) {
        self.count += 1.0;
        let off = value - self.mean;
        self.mean += off / self.count;
        self.squares += off * (value - self.mean);
    }

    fn error(&self) -> f64 {
        self.squares / (self.count - 1.0) / self.count
    }
}

fn welch(one: &Samples, other: &Samples) -> f64 {
    (one.mean - other.mean) / (one.error() + other.error()).sqrt()
}

fn count() -> usize {
    let full = std::env::var("PORTCULLIS_FULL").is_ok_and(|full| full == "1");
    if full { 1_000_000 } else { 50_000 }
}

/// The t of a check over secrets that are wrong in their first byte and in their last.
fn t_of(count: usize, mut check: impl FnMut(&[u8]) -> bool) -> f64 {
    // One secret, in which both bytes are written each time: two places in memory, and two ways to get there, needn't be
    // equally quick, and that would tell of them instead of the check.
    let mut secret = SECRET.to_vec();
    let end = secret.len() - 1;
    let mut sample = || {
        let kind = fastrand::usize(..2);
        let wrong_at_end = u8::from(kind == 1);
        secret[0] = SECRET[0] ^ (1 - wrong_at_end);
        secret[end] = SECRET[end] ^ wrong_at_end;
        let secret = black_box(secret.as_slice());
        let start = Instant::now();
        let found = black_box(check(secret));
        let taken = start.elapsed();
        assert!(!found);
        (taken, kind)
    };
    let mut samples: Vec<_> = (0..count).map(|_| sample()).collect();
    samples.sort_unstable();
    // All that took this long go, not some of them: of those that took equally long one kind stands in front.
    let (longest, _) = samples[count / 10 * 9];
    samples.retain(|(taken, _)| *taken < longest);
    let mut kinds = [Samples::default(), Samples::default()];
    samples.iter().for_each(|(taken, kind)| kinds[*kind].add(taken.as_secs_f64()));
    welch(&kinds[0], &kinds[1])
}

#[test]
fn a_key_that_is_wrong_at_its_end_takes_as_long_as_one_that_is_wrong_at_once() {
    let mut config = config::parse("test.toml", CONFIG, &|_| None).unwrap();
    config.admin.keys = vec![AdminKey {
        name: "ops".to_owned(),
        role: Role::Admin,
        sha256: Sha256::digest(SECRET).into(),
        expires: None,
    }];
    let keyring = Keyring::new(&config.admin);
    assert!(keyring.owner(SECRET).is_some());
    let t = t_of(count(), |secret| keyring.owner(secret).is_some());
    println!("Welch's t over {} samples: {t:.2}", count());
    assert!(t.abs() < T_MAX, "t is {t}");
}

#[test]
fn the_same_measurement_finds_a_check_that_stops_at_the_first_difference() {
    let leaks = |secret: &[u8]| {
        for (one, other) in secret.iter().zip(SECRET) {
            if black_box(one) != other {
                return false;
            }
        }
        true
    };
    let t = t_of(50_000, leaks);
    assert!(t < -T_MAX, "t is {t}, and nothing was found");
}
