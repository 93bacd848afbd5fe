//! Flags: named values, evaluated for a request.
//!
//! The first form knows booleans and percentages. A percentage is decided by a hash of the flag's key and the request's
//! subject, so the same subject always gets the same answer, on every gateway, and a larger percentage only adds subjects.
//! The hash is flagd's second bucketing (`(murmur3_32(key ++ subject) * total) >> 32`), so that a flagd provider beside the
//! gateway decides alike.

use std::sync::Arc;

/// A flag's index in every switchboard of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlagId(pub(super) usize);

/// A part of all subjects, in steps of 0.001 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rollout(u32);

impl Rollout {
    /// Everybody.
    pub const ALL: Self = Self(Self::TOTAL);
    pub(super) const TOTAL: u32 = 100_000;

    /// A percentage; `None` outside 0 to 100.
    pub fn percent(percent: f64) -> Option<Self> {
        if !(0.0..=100.0).contains(&percent) {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100,000")]
        Some(Self((percent * f64::from(Self::TOTAL / 100)).round() as u32))
    }

    /// The same as a percentage.
    pub fn as_percent(self) -> f64 {
        f64::from(self.0) / f64::from(Self::TOTAL / 100)
    }

    /// So many percent of this part.
    pub(super) const fn of_it(self, percent: u32) -> Self {
        Self((self.0 as u64 * percent as u64 / 100) as u32)
    }

    pub(super) const fn includes(self, bucket: u32) -> bool {
        bucket < self.0
    }
}

/// A flag as it was declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// Its key.
    pub key: Arc<str>,
    /// Off for everybody when false.
    pub enabled: bool,
    /// For how many it is on.
    pub rollout: Rollout,
}

/// Why a flag has its value, in OpenFeature's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The same for everybody.
    Static,
    /// By the subject's bucket.
    Split,
    /// The flag is disabled.
    Disabled,
    /// A percentage, but no subject to take it of: the flag is off.
    Default,
}

impl Reason {
    /// The word of OpenFeature's semantic conventions.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Split => "split",
            Self::Disabled => "disabled",
            Self::Default => "default",
        }
    }
}

/// What a flag is for one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evaluation {
    /// Its value.
    pub on: bool,
    /// Why.
    pub reason: Reason,
}

impl Evaluation {
    /// The variant's name.
    pub const fn variant(self) -> &'static str {
        if self.on { "on" } else { "off" }
    }
}

impl Flag {
    /// Whether it is the same for everybody, so that its value needs no subject.
    pub fn is_static(&self) -> bool {
        !self.enabled || self.rollout == Rollout::ALL || self.rollout == Rollout(0)
    }

    /// The flag's value for a subject.
    pub fn evaluate(&self, subject: Option<&str>) -> Evaluation {
        let is = |on, reason| Evaluation { on, reason };
        if !self.enabled {
            return is(false, Reason::Disabled);
        }
        if self.rollout == Rollout::ALL || self.rollout == Rollout(0) {
            return is(self.rollout == Rollout::ALL, Reason::Static);
        }
        match subject {
            Some(subject) => is(self.rollout.includes(self.bucket(subject)), Reason::Split),
            None => is(false, Reason::Default),
        }
    }

    fn bucket(&self, subject: &str) -> u32 {
        let hash = murmur3_32(self.key.bytes().chain(subject.bytes()));
        ((u64::from(hash) * u64::from(Rollout::TOTAL)) >> 32) as u32
    }
}

/// MurmurHash3 x86 32-bit with seed 0, over an iterator so that key and subject need no buffer.
fn murmur3_32(bytes: impl Iterator<Item = u8>) -> u32 {
    let mix =
        |block: u32| block.wrapping_mul(0xcc9e_2d51).rotate_left(15).wrapping_mul(0x1b87_3593);
    let (mut hash, mut block, mut length) = (0_u32, 0_u32, 0_u32);
    for byte in bytes {
        block |= u32::from(byte) << (8 * (length % 4));
        length = length.wrapping_add(1);
        if length % 4 == 0 {
            hash = (hash ^ mix(block)).rotate_left(13).wrapping_mul(5).wrapping_add(0xe654_6b64);
            block = 0;
        }
    }
    hash ^= mix(block) ^ length;
    hash = (hash ^ hash >> 16).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ hash >> 13).wrapping_mul(0xc2b2_ae35);
    hash ^ hash >> 16
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flag(percent: f64) -> Flag {
        Flag {
            key: "new-checkout".into(),
            enabled: true,
            rollout: Rollout::percent(percent).unwrap(),
        }
    }

    #[test]
    fn the_hash_is_murmur3() {
        let hash = |text: &str| murmur3_32(text.bytes());
        assert_eq!(hash(""), 0);
        assert_eq!(hash("hello"), 0x248b_fa47);
        assert_eq!(hash("hello, world"), 0x149b_bb7f);
        assert_eq!(hash("The quick brown fox jumps over the lazy dog"), 0x2e4f_f723);
    }

    #[test]
    fn raising_a_percentage_only_adds_subjects() {
        for user in 0..2_000 {
            let user = format!("user-{user}");
            let on = |percent| flag(percent).evaluate(Some(&user)).on;
            assert!(!on(10.0) || on(25.0), "{user} left when the percentage grew");
        }
    }

    #[test]
    fn a_quarter_of_the_subjects_is_about_a_quarter() {
        let on = (0..10_000)
            .filter(|user| flag(25.0).evaluate(Some(&format!("user-{user}"))).on)
            .count();
        assert!((2_300..2_700).contains(&on), "{on} of 10,000");
    }

    #[test]
    fn everybody_and_nobody_need_no_subject() {
        assert_eq!(flag(100.0).evaluate(None), Evaluation { on: true, reason: Reason::Static });
        assert_eq!(flag(0.0).evaluate(None), Evaluation { on: false, reason: Reason::Static });
        assert_eq!(flag(50.0).evaluate(None), Evaluation { on: false, reason: Reason::Default });
    }

    #[test]
    fn a_disabled_flag_is_off_for_everybody() {
        let flag = Flag { enabled: false, ..flag(100.0) };
        assert_eq!(flag.evaluate(Some("u")), Evaluation { on: false, reason: Reason::Disabled });
    }

    #[test]
    fn percentages_outside_0_to_100_do_not_exist() {
        assert_eq!(Rollout::percent(-0.1), None);
        assert_eq!(Rollout::percent(100.1), None);
        assert_eq!(Rollout::percent(f64::NAN), None);
    }
}
