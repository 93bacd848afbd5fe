//! One line of the audit.

use serde::{Deserialize, Serialize};

use crate::switchboard::{
    UnixMillis,
    feature::{Source, State},
};

/// Who did what to a feature or to a breaker, when, why, and what it was before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// When.
    pub at: UnixMillis,
    /// Who.
    pub actor: String,
    /// What was done: `kill`, `restore`, `expire`, …
    pub action: String,
    /// To which feature; `breaker:NAME` for an order to a breaker, which is no flip.
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
    /// What an order did to a breaker. The states of the feature say nothing then, and nothing is restored from the entry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub breaker: Option<Ordered>,
}

/// What an order did to a breaker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ordered {
    /// The word for its state before.
    pub before: String,
    /// The word for its state after.
    pub after: String,
    /// When the order ends by itself, if it does.
    pub expires_at: Option<UnixMillis>,
}
