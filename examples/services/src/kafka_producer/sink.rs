//! The seam between taking events and keeping them: what a sink promises.

use std::future::Future;
use std::io;

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

/// One event, as it is kept.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Event {
    pub(super) id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) key: Option<String>,
    pub(super) at: Timestamp,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) traceparent: Option<String>,
    pub(super) payload: Value,
}

/// Where events end up.
pub(super) trait Sink: Send + 'static {
    /// Keeps the whole batch durably. After an error the same batch comes again, so a sink that kept a part of it
    /// must not keep that part twice.
    fn append(&mut self, batch: &[Event]) -> impl Future<Output = io::Result<()>> + Send;
}
