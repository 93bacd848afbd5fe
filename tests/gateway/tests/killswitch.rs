//! The promise: an operator turns a feature off, at once and lastingly, and too many errors do the same.

use portcullis_tests::{
    Answer, Client, Fleet, Gateway, PATIENCE, Script, Service, Upstream, eventually, order,
    orders_behind,
};
use serde_json::{Value, json};

#[tokio::test]
async fn the_order_of_a_killed_feature_is_refused_until_it_is_restored() {
    let fleet = Fleet::start().await;
    let health = Client::new().get(fleet.gateway.url("/api/health")).await.ok();
    assert_eq!(
        (&health["status"], &health["total_features"]),
        (&"healthy".into(), &9.into()),
        "{health}"
    );
    fleet.order().await.ok();

    flip(&fleet.gateway, "order_creation", false, "a fire in the warehouse").await.ok();
    let refusal = fleet.order().await;
    let problem = refusal.refused(503, "killswitch");
    assert_eq!(problem["error"], "Order creation temporarily disabled");
    assert_eq!(problem["feature"], "order_creation");
    assert!(
        !refusal.text().contains("warehouse"),
        "an operator's reason is not for clients: {refusal}"
    );
    let health = Client::new().get(fleet.gateway.url("/api/health")).await.ok();
    assert_eq!(
        (&health["status"], &health["critical_features_disabled"]),
        (&"degraded".into(), &json!(["order_creation"]))
    );

    flip(&fleet.gateway, "order_creation", true, "the fire is out").await.ok();
    fleet.order().await.ok();
}

#[tokio::test]
async fn without_payment_processing_an_order_is_created_as_pending_payment() {
    let (_orders, gateway) = shop().await;
    flip(&gateway, "payment_processing", false, "the payment provider is down").await.ok();

    let order = order(&gateway).await.ok();
    assert_eq!(order["status"], "pending payment", "{order}");
    let payment = gateway.url(&format!(
        "/api/orders/{}/payment",
        order["order_id"].as_str().expect("an order has an id")
    ));
    Client::new().post(&payment).await.refused(503, "killswitch");

    flip(&gateway, "payment_processing", true, "it is back").await.ok();
    Client::new().post(&payment).await.ok();
}

#[tokio::test]
async fn an_upstream_is_told_which_features_are_off() {
    let orders = Upstream::always(Script::answer(200, "{}"));
    let gateway = orders_behind(&orders).await;
    flip(&gateway, "email_notifications", false, "the mail server is full").await.ok();
    order(&gateway).await;

    assert_eq!(orders.requests()[0].header("killswitches"), Some("email_notifications=?0"));
}

#[tokio::test]
async fn a_kill_survives_the_sudden_death_of_the_gateway() {
    let (_orders, mut gateway) = shop().await;
    flip(&gateway, "order_creation", false, "testing").await.ok();

    gateway.kill_9();
    gateway.restart().await;
    order(&gateway).await.refused(503, "killswitch");
    let state = state(&gateway, "order_creation").await;
    assert_eq!(
        (&state["enabled"], &state["reason"], &state["updated_by"]),
        (&false.into(), &"testing".into(), &"test_script".into())
    );
}

#[tokio::test]
async fn ten_simulated_errors_turn_a_feature_off() {
    let (_orders, gateway) = shop().await;
    simulate(&gateway, "payment_processing", 9).await;
    assert_eq!(state(&gateway, "payment_processing").await["enabled"], true);

    simulate(&gateway, "payment_processing", 1).await;
    gateway.logged("Auto-disabled: payment_processing due to high error rate").await;
    let state = turned_off(&gateway, "payment_processing").await;
    assert_eq!(
        (&state["updated_by"], &state["source"]),
        (&"auto".into(), &"auto".into()),
        "{state}"
    );
    let stats = stats(&gateway, "payment_processing").await;
    assert_eq!(
        (&stats["errors"], &stats["threshold"], &stats["tripped"]),
        (&10.into(), &10.into(), &true.into()),
        "{stats}"
    );
    assert_eq!(order(&gateway).await.ok()["status"], "pending payment");
}

#[tokio::test]
async fn ten_real_errors_turn_a_feature_off_just_as_simulated_ones_do() {
    let (orders, gateway) = shop().await;
    let fault = json!({ "status": 500, "count": 10 });
    Client::new().post(orders.url("/fault")).json(&fault).await.ok();
    for _ in 0..10 {
        assert_eq!(order(&gateway).await.status, 500);
    }

    gateway.logged("Auto-disabled: order_creation due to high error rate").await;
    let state = turned_off(&gateway, "order_creation").await;
    assert_eq!(state["updated_by"], "auto", "{state}");
    assert_eq!(stats(&gateway, "order_creation").await["tripped"], true);
    order(&gateway).await.refused(503, "killswitch");
}

#[tokio::test]
async fn errors_that_no_status_shows_count_for_the_feature_that_the_service_names() {
    let (orders, gateway) = shop().await;
    let fault = json!({ "feature_errors": "payment_processing", "count": 10 });
    Client::new().post(orders.url("/fault")).json(&fault).await.ok();
    for _ in 0..10 {
        let answer = order(&gateway).await;
        assert_eq!(answer.status, 200, "the order itself is fine");
        assert!(!answer.headers.contains_key("feature-errors"), "that is for the gateway alone");
    }

    gateway.logged("Auto-disabled: payment_processing due to high error rate").await;
    assert_eq!(turned_off(&gateway, "payment_processing").await["updated_by"], "auto");
    assert_eq!(order(&gateway).await.ok()["status"], "pending payment");
}

#[tokio::test]
async fn a_service_that_is_away_turns_no_feature_off() {
    let (orders, gateway) = shop().await;
    let address = orders.url("");
    drop(orders);
    for _ in 0..15 {
        let answer = order(&gateway).await;
        assert!(matches!(answer.status, 502 | 503), "{} from {address}", answer.status);
    }
    assert_eq!(state(&gateway, "order_creation").await["enabled"], true);
    assert_eq!(stats(&gateway, "order_creation").await["errors"], 0);
}

#[tokio::test]
async fn a_killed_features_upstream_is_left_alone() {
    let orders = Upstream::always(Script::answer(200, "{}"));
    let gateway = orders_behind(&orders).await;
    flip(&gateway, "order_creation", false, "testing").await.ok();
    order(&gateway).await.refused(503, "killswitch");
    assert_eq!(orders.request_count(), 0);
}

#[tokio::test]
async fn any_route_can_be_killed_by_its_own_name() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let gateway = Gateway::in_front_of(&upstream).start().await;
    flip(&gateway, "route:app", false, "testing").await.ok();
    Client::new().get(gateway.url("/x")).await.refused(503, "killswitch");
    assert_eq!(upstream.request_count(), 0);
}

async fn shop() -> (Service, Gateway) {
    let orders = Service::named("orders").start().await;
    let gateway = Gateway::demo().service(&orders).start().await;
    (orders, gateway)
}

async fn flip(gateway: &Gateway, feature: &str, enabled: bool, reason: &str) -> Answer {
    let body = json!({ "feature": feature, "enabled": enabled, "reason": reason, "updated_by": "test_script" });
    Client::new().post(gateway.admin_url(&format!("/admin/killswitch/{feature}"))).json(&body).await
}

async fn state(gateway: &Gateway, feature: &str) -> Value {
    Client::new().get(gateway.admin_url(&format!("/admin/killswitch/{feature}"))).await.ok()
}

async fn turned_off(gateway: &Gateway, feature: &str) -> Value {
    eventually(PATIENCE, &format!("{feature} is off"), async || {
        let state = state(gateway, feature).await;
        (state["enabled"] == false).then_some(state)
    })
    .await
}

async fn simulate(gateway: &Gateway, feature: &str, count: u32) {
    Client::new()
        .post(gateway.admin_url(&format!("/test/simulate-error/{feature}?count={count}")))
        .await
        .ok();
}

async fn stats(gateway: &Gateway, feature: &str) -> Value {
    Client::new().get(gateway.admin_url("/admin/error-stats")).await.ok()["features"][feature]
        .clone()
}
