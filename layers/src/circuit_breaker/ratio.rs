//! A share of a whole, exact: thresholds are compared in integers, so that 5 of 10 is 50 % and never 49.999.

use std::fmt;

/// A share between nothing and all, in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ratio(u32);

impl Ratio {
    /// Nothing.
    pub const NONE: Self = Self(0);
    /// All of it.
    pub const ALL: Self = Self(1_000_000);

    /// So many hundredths; more than a hundred are [`Ratio::ALL`].
    pub const fn percent(percent: u32) -> Self {
        Self::per_million(percent.saturating_mul(10_000))
    }

    /// So many millionths; more than a million are [`Ratio::ALL`].
    pub const fn per_million(millionths: u32) -> Self {
        if millionths > Self::ALL.0 { Self::ALL } else { Self(millionths) }
    }

    /// In millionths.
    pub const fn in_millionths(self) -> u32 {
        self.0
    }

    /// The share as a number between 0 and 1.
    pub fn as_f64(self) -> f64 {
        f64::from(self.0) / f64::from(Self::ALL.0)
    }

    /// How a part of a whole compares to this share, without rounding.
    pub(super) fn compare(self, part: u64, whole: u64) -> std::cmp::Ordering {
        let part = u128::from(part) * u128::from(Self::ALL.0);
        part.cmp(&(u128::from(self.0) * u128::from(whole)))
    }

    /// Whether a number drawn evenly from all of `u64` falls within the share.
    pub(super) const fn covers(self, lot: u64) -> bool {
        ((lot >> 32) * Self::ALL.0 as u64) >> 32 < self.0 as u64
    }

    /// The share, so many hundredths as large.
    pub(super) fn times(self, hundredths: u32) -> Self {
        let product = u64::from(self.0) * u64::from(hundredths) / 100;
        Self::per_million(u32::try_from(product).unwrap_or(u32::MAX))
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} %", f64::from(self.0) / 10_000.0)
    }
}

#[cfg(test)]
mod tests {
    use std::cmp::Ordering;

    use super::*;

    #[test]
    fn a_share_is_compared_without_rounding() {
        assert_eq!(Ratio::percent(50).compare(5, 10), Ordering::Equal);
        assert_eq!(Ratio::per_million(333_333).compare(1, 3), Ordering::Greater);
        assert_eq!(Ratio::per_million(333_334).compare(1, 3), Ordering::Less);
    }

    #[test]
    fn there_is_no_more_than_all() {
        assert_eq!(Ratio::percent(5_000_000), Ratio::ALL);
        assert_eq!(Ratio::percent(50).times(1_000), Ratio::ALL);
    }

    #[test]
    fn a_share_covers_as_many_lots_as_it_says() {
        let covered =
            |share: Ratio| (0..1_000_u64).filter(|n| share.covers(n * (u64::MAX / 1_000))).count();
        assert_eq!(covered(Ratio::NONE), 0);
        assert_eq!(covered(Ratio::ALL), 1_000);
        assert!((249..=251).contains(&covered(Ratio::percent(25))));
    }

    #[test]
    fn a_share_reads_as_people_write_it() {
        assert_eq!(Ratio::percent(50).to_string(), "50 %");
        assert_eq!(Ratio::per_million(2_500).to_string(), "0.25 %");
    }
}
