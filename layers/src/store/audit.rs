//! One line of the audit.

use serde::{Deserialize, Serialize};

use crate::switchboard::{
    UnixMillis,
    feature::{Source, State},
};

/// Who did what to a feature, when, why, and what it was before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When.
    pub at: UnixMillis,
    /// Who.
    pub actor: String,
    /// What was done: `kill`, `restore`, `expire`, …
    pub action: String,
    /// To which feature.
    pub feature: String,
    /// Why.
    pub reason: String,
    /// By what way it came.
    pub source: Source,
    /// The state before. Nothing: the feature wasn't known.
    pub before: Option<State>,
    /// The state after.
    pub after: State,
    /// The revision of the switchboard that first had it.
    pub revision: u64,
    /// The request that asked for it.
    pub request_id: Option<String>,
}
