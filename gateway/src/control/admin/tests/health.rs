//! What health says, and to whom.

use super::*;

#[tokio::test]
async fn a_gateway_with_all_in_order_is_healthy() {
    let desk = Desk::new();
    for path in ["/health", "/api/health"] {
        let health = desk.get(path).await.ok();
        assert_eq!((&health["status"], &health["total_features"]), (&"healthy".into(), &3.into()));
        assert_eq!(health["redis_available"], Value::Null);
        assert_eq!(health["store"]["kind"], "memory");
        assert_eq!(health["circuit_breakers"], health["circuits"]);
        assert_eq!(health["dependencies"], health["services"]);
        assert!(health["version"].is_string() && health["revision"].is_u64());
    }
}

#[tokio::test]
async fn only_a_critical_feature_that_is_off_degrades() {
    let desk = Desk::new();
    desk.kill("payment_processing").await.ok();
    assert_eq!(desk.get("/health").await.ok()["status"], "healthy");
    desk.kill("order_creation").await.ok();
    let health = desk.get("/health").await.ok();
    assert_eq!(health["status"], "degraded");
    assert_eq!(health["critical_features_disabled"], json!(["order_creation"]));
}

#[tokio::test]
async fn a_shadowed_breaker_degrades_nothing_and_a_disabled_one_does() {
    let desk = Desk::new();
    desk.breaker.shadow();
    assert_eq!(desk.get("/health").await.ok()["status"], "healthy");
    desk.breaker.disable();
    assert_eq!(desk.get("/health").await.ok()["status"], "degraded");
}

#[tokio::test]
async fn while_draining_the_gateway_lives_but_is_not_ready() {
    let desk = Desk::new();
    assert_eq!(desk.get("/readyz").await.status, 200);
    desk.health.drain();
    assert_eq!(desk.get("/readyz").await.status, 503);
    assert_eq!(desk.get("/livez").await.status, 200);
    let health = desk.get("/health").await;
    assert_eq!((health.status, &health.json()["status"]), (503, &"unhealthy".into()));
}

#[tokio::test]
async fn a_writer_that_is_gone_degrades() {
    let mut desk = Desk::new();
    desk.writer.close();
    desk.thread.take().unwrap().join().unwrap();
    assert_eq!(desk.get("/health").await.ok()["store"]["status"], "stopped");
    desk.kill("order_creation").await.problem(503, "draining");
}

#[tokio::test]
async fn an_upstream_that_nobody_asked_is_unknown() {
    let dependencies = Desk::new().get("/health/dependencies").await.ok();
    assert_eq!(dependencies["dependencies"]["control"], json!({ "status": "unknown" }));
}
