//! Parts of all subjects: who is within 5 %, and who within 25 %.
//!
//! A subject's place among all others is a hash of it and of what the share is of, so it is the same on every gateway and for
//! ever. A share covers the places below it: whoever is within 5 % is within 25 %, too, and when it shrinks, those who came
//! last go first.

use super::flag::Rollout;

/// Where a subject stands among all others, below [`Rollout::ALL`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place(u32);

/// What the shares are of: places under two salts have nothing to do with each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Salt(u64);

impl Salt {
    pub(super) fn of(name: &str) -> Self {
        Self(hash(0, name.as_bytes()))
    }

    /// Half of it, where a short name is wanted.
    pub(super) const fn low(self) -> u32 {
        self.0 as u32
    }

    pub(super) fn place(self, subject: &[u8]) -> Place {
        let high = hash(self.0, subject) >> 32;
        Place(((high * u64::from(Rollout::TOTAL)) >> 32) as u32)
    }
}

impl Place {
    pub(super) const fn is_within(self, share: Rollout) -> bool {
        share.includes(self.0)
    }
}

/// Eight bytes at a time and murmur3's finish. It has to be quick, even and for ever the same; nobody gains by a collision.
fn hash(seed: u64, bytes: &[u8]) -> u64 {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    let mix = |hash: u64, word: u64| {
        let mixed = (hash ^ word).wrapping_mul(ODD);
        mixed ^ mixed >> 32
    };
    let (words, rest) = bytes.as_chunks::<8>();
    let hash = words
        .iter()
        .fold(seed ^ bytes.len() as u64, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    let last = rest.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte));
    let hash = mix(hash, last);
    let hash = (hash ^ hash >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let hash = (hash ^ hash >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ hash >> 33
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_of_a_subject_never_changes() {
        let places = ["", "ana", "customer-4711", "\u{65e5}\u{672c}\u{8a9e}"]
            .map(|subject| Salt::of("payment_processing").place(subject.as_bytes()).0);
        assert_eq!(places, [9_447, 4_789, 17_234, 9_993]);
    }

    #[test]
    fn subjects_spread_evenly_also_when_they_are_numbered() {
        let salt = Salt::of("payment_processing");
        let share = Rollout::percent(30.0).unwrap();
        let within = |names: &dyn Fn(u32) -> String| {
            (0..10_000).filter(|n| salt.place(names(*n).as_bytes()).is_within(share)).count()
        };
        for within in [within(&|n| n.to_string()), within(&|n| format!("customer-{n:08}"))] {
            assert!((2_850..3_150).contains(&within), "{within} of 10,000");
        }
    }

    #[test]
    fn the_shares_of_two_features_are_of_different_people() {
        let half = Rollout::percent(50.0).unwrap();
        let within =
            |feature: &str, n: u32| Salt::of(feature).place(&n.to_le_bytes()).is_within(half);
        let both = (0..10_000).filter(|n| within("a", *n) && within("b", *n)).count();
        assert!((2_300..2_700).contains(&both), "{both} of 10,000 are within both halves");
    }
}
