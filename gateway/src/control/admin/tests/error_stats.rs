//! How near features are to turning themselves off, and the errors that are simulated.

use super::*;

#[tokio::test]
async fn ten_simulated_errors_turn_the_feature_off_and_turning_it_on_counts_anew() {
    let desk = Desk::new();
    let simulate = "/test/simulate-error/order_creation?count=5";
    assert_eq!(desk.post(simulate, json!(null)).await.ok()["enabled"], true);
    let answer = desk.post(simulate, json!(null)).await.ok();
    assert_eq!((&answer["errors"], &answer["enabled"]), (&10.into(), &false.into()));

    let stats =
        async || desk.get("/admin/error-stats").await.ok()["features"]["order_creation"].clone();
    let tripped = stats().await;
    assert_eq!((&tripped["tripped"], &tripped["threshold"]), (&true.into(), &10.into()));
    assert_eq!(tripped["window_seconds"], 300.0);
    assert!(tripped["since"].is_string());
    let state = desk.get("/admin/killswitch/order_creation").await.ok();
    assert_eq!((&state["updated_by"], &state["source"]), (&"auto".into(), &"auto".into()));

    let enable = json!({ "enabled": true, "reason": "fixed" });
    desk.post("/admin/killswitch/order_creation", enable).await.ok();
    assert_eq!(stats().await["errors"], 0);
}

#[tokio::test]
async fn what_cant_be_simulated_is_refused() {
    let desk = Desk::new();
    let simulate =
        async |rest: &str| desk.post(&format!("/test/simulate-error/{rest}"), json!(null)).await;
    simulate("nothing").await.problem(404, "unknown_feature");
    simulate("email_notifications").await.problem(404, "no_auto_disable");
    simulate("order_creation?count=0").await.problem(400, "bad_request");
    simulate("order_creation?count=many").await.problem(400, "bad_request");
}

#[tokio::test]
async fn test_endpoints_are_gone_where_they_are_not_wanted() {
    let path = "/test/simulate-error/order_creation";
    let off = Desk::with(|config| config.admin.test_endpoints = false);
    off.post(path, json!(null)).await.problem(404, "no_route");
    let production = Desk::with(|config| config.admin.production = true);
    production.post(path, json!(null)).await.problem(404, "no_route");
}
