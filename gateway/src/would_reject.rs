//! Whom kills would have refused that aren't meant in earnest: those in shadow, and drills.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use portcullis::rejected::Rejected;
use portcullis::switchboard::kill::Mode;

use crate::control::metrics::{Exposition, counter};

/// Counts them by feature. The lock is taken only while there is such a kill, for an addition.
#[derive(Debug, Default)]
pub struct WouldReject(Mutex<BTreeMap<(Arc<str>, &'static str), u64>>);

impl WouldReject {
    /// One more.
    pub fn count(&self, mode: Mode, rejected: &Rejected) {
        let Rejected::Killed { feature, .. } = rejected else { return };
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *counts.entry((feature.clone(), mode.as_str())).or_default() += 1;
    }
}

impl Exposition for WouldReject {
    fn write(&self, out: &mut String) {
        let family = counter(
            "portcullis_killswitch_would_reject_total",
            "Requests that a kill in shadow or a drill would have refused",
        );
        family.head(out);
        for ((feature, mode), count) in &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            family.sample(out, &[("feature", feature), ("mode", mode)], count);
        }
    }
}
