//! The promise: through one port a client logs in, tests a sensor, orders, and learns at once when a service is dead.

use std::time::Duration;

use portcullis_tests::{Client, Fleet, Gateway, PATIENCE, Script, Upstream, eventually};

#[tokio::test]
async fn a_sensor_test_goes_from_login_to_kafka() {
    let fleet = Fleet::start().await;
    let client = fleet.signed_in().await;

    let accepted = client.post(fleet.gateway.url("/test/sensor/temperature")).await.ok();
    assert_eq!(accepted["status"], "processing");
    let test = fleet
        .gateway
        .url(&format!("/test/{}", accepted["test_id"].as_str().expect("a test has an id")));
    let result = eventually(PATIENCE, "the test has a result", async || {
        let state = client.get(&test).await.ok();
        (state["status"] != "processing").then_some(state)
    })
    .await;
    assert_eq!(result["status"], "completed", "{result}");
    eventually(PATIENCE, "kafka has the event", async || {
        let stats = client.get(fleet.gateway.url("/kafka/stats")).await.ok();
        stats["successful"] == 1 && stats["queued"] == 0
    })
    .await;
}

#[tokio::test]
async fn a_sensor_test_needs_a_good_token() {
    let fleet = Fleet::start().await;
    let url = fleet.gateway.url("/test/sensor/temperature");

    Client::new().post(&url).await.refused(401, "unauthorized");
    Client::new().bearer("not.a.token").post(&url).await.refused(401, "unauthorized");
    let wrong = [("username", "admin"), ("password", "wrong")];
    assert_eq!(Client::new().post(fleet.gateway.url("/auth/token")).form(&wrong).await.status, 401);
}

#[tokio::test]
async fn an_order_is_created_and_found_again() {
    let fleet = Fleet::start().await;
    let order = fleet.order().await.ok();
    let id = order["order_id"].as_str().expect("an order has an id");

    let found = Client::new().get(fleet.gateway.url(&format!("/api/orders/{id}"))).await.ok();
    assert_eq!((&found["order_id"], &found["total_amount"]), (&order["order_id"], &999.99.into()));
    let of_user = Client::new().get(fleet.gateway.url("/api/orders?user_id=test_user")).await.ok();
    assert!(of_user.to_string().contains(id), "{of_user}");
}

#[tokio::test]
async fn a_dead_upstream_is_tried_five_times_and_then_left_alone() {
    let control = Upstream::always(Script::json(200, &serde_json::json!({ "analytics": [] })));
    control.refuse().await;
    let gateway = Gateway::demo().in_place_of("control", &control).start().await;
    let ask = async || Client::new().get(gateway.url("/api/control/analytics")).await;

    for _ in 0..5 {
        ask().await.refused(502, "upstream_unreachable");
    }
    gateway.logged("Circuit breaker OPENED for ControlAPI").await;
    control.accept().await;
    let refusal = ask().await;
    let problem = refusal.refused(503, "circuit_open");
    assert_eq!(problem["error"], "Service temporarily unavailable");
    let retry_after =
        problem["retry_after"].as_u64().expect("an open circuit says when to come back");
    assert!((1..=30).contains(&retry_after), "{problem}");
    assert_eq!(refusal.header("retry-after"), Some(retry_after.to_string().as_str()));
    assert_eq!(control.request_count(), 0, "the network was not touched");
}

#[tokio::test]
async fn an_open_circuit_closes_on_the_first_success_after_its_wait() {
    let upstream = Upstream::always(Script::answer(500, ""));
    let gateway = Gateway::in_front_of(&upstream)
        .keys("[upstreams.app]", "breaker = \"quick\"")
        .keys(
            "[breakers.quick]",
            "consecutive_failures = 2\nopen_wait_seconds = 0.2\nsuccesses_to_close = 1",
        )
        .start()
        .await;
    let client = Client::new();
    for _ in 0..2 {
        assert_eq!(client.get(gateway.url("/x")).await.status, 500);
    }
    client.get(gateway.url("/x")).await.refused(503, "circuit_open");

    upstream.now_always(Script::answer(200, "well again"));
    eventually(Duration::from_secs(5), "the circuit closes", async || {
        client.get(gateway.url("/x")).await.status == 200
    })
    .await;
    gateway.logged("Circuit breaker CLOSED for app").await;
}
