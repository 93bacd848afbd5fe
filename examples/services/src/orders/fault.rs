//! Faults on demand, for tests that need real error answers: the next N order requests fail as told.
//!
//! There only with `TEST_ENDPOINTS=1`.

use std::sync::{Mutex, PoisonError};

use axum::http::StatusCode;
use serde::{Deserialize, Deserializer};

/// What the next `count` requests answer.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Fault {
    /// The status to answer instead of doing anything; without it requests are served.
    #[serde(default, deserialize_with = "status")]
    pub(super) status: Option<StatusCode>,
    /// Sent as `Feature-Errors`: features that went wrong behind an answer that looks right.
    #[serde(default)]
    pub(super) feature_errors: String,
    pub(super) count: u32,
}

#[derive(Default)]
pub(super) struct Faults(Mutex<Option<Fault>>);

impl Faults {
    /// Replaces whatever was injected before.
    pub(super) fn inject(&self, fault: Fault) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    /// The fault of the request that comes now.
    pub(super) fn next(&self) -> Option<Fault> {
        let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = slot.as_mut().filter(|fault| fault.count > 0)?;
        fault.count -= 1;
        Some(fault.clone())
    }
}

fn status<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<StatusCode>, D::Error> {
    let Some(code) = Option::<u16>::deserialize(deserializer)? else { return Ok(None) };
    if !(200..=599).contains(&code) {
        return Err(serde::de::Error::custom("a status lies between 200 and 599"));
    }
    StatusCode::from_u16(code).map(Some).map_err(serde::de::Error::custom)
}
