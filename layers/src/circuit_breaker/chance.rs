//! Chance from a seed, so that what a breaker does by chance can be repeated. SplitMix64: it guards no secret.

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) const fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub(super) const fn lot(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        scatter(self.0)
    }

    /// A number from 0 to just below 1.
    pub(super) fn share(&mut self) -> f64 {
        (self.lot() >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// Spreads numbers that lie close together over all of `u64`; always to the same place.
pub(super) const fn scatter(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}
