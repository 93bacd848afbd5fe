//! The control service: the upstream that the demo leaves dead, so that its breaker has something to open for.
//!
//! It answers one small request when it is started by hand; that is how the breaker's recovery is seen.

use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::startup::{Background, OpenError, Service, Settings};

/// Opens the service; it keeps nothing.
pub async fn open(_settings: Settings) -> Result<Service, OpenError> {
    Ok(Service { router: router(), background: Background::default() })
}

fn router() -> Router {
    Router::new().route("/analytics", get(analytics)).route("/health", get(health))
}

async fn analytics() -> Json<Value> {
    let visitors = fastrand::u32(900..1100);
    Json(json!({ "service": "control", "visitors_today": visitors, "orders_today": visitors / 20 }))
}

async fn health() -> Json<Value> {
    Json(json!({ "status": "healthy", "dependencies": {} }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_test::{get, send};

    #[tokio::test]
    async fn analytics_is_a_small_json_object() {
        let (status, body) = send(&router(), get("/analytics")).await;
        assert_eq!(status, 200);
        assert_eq!(body["service"], "control");
        assert!(body["visitors_today"].is_number());
    }
}
