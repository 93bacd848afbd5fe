//! The promise: the admin API shows and turns every switch, in one form, and refuses what is unclear.

use http::Method;
use portcullis_tests::{Answer, Client, Fleet, Gateway, PATIENCE, Script, Upstream, eventually};
use serde_json::{Value, json};

#[tokio::test]
async fn every_declared_feature_is_listed_with_its_state() {
    let gateway = Gateway::demo().start().await;
    let list = get(&gateway, "/admin/killswitches").await.ok();
    assert!(list["revision"].is_u64(), "{list}");
    let features = list["killswitches"].as_object().expect("a table by feature");
    assert_eq!(features.len(), 9, "{list}");
    for (name, state) in features {
        assert_eq!(
            (&state["enabled"], &state["source"]),
            (&true.into(), &"default".into()),
            "{name}: {state}"
        );
        for field in ["reason", "updated_by", "updated_at", "expires_at"] {
            assert!(state.get(field).is_some(), "{name} lacks {field}: {state}");
        }
    }
}

#[tokio::test]
async fn a_flip_is_answered_with_the_state_the_revision_and_whether_it_is_saved() {
    let gateway = Gateway::demo().start().await;
    let before =
        get(&gateway, "/admin/killswitches").await.ok()["revision"].as_u64().expect("a number");
    let state = flip(
        &gateway,
        "sms_notifications",
        json!({ "enabled": false, "reason": "noise", "updated_by": "ann" }),
    )
    .await
    .ok();

    assert_eq!(
        (&state["enabled"], &state["reason"], &state["updated_by"]),
        (&false.into(), &"noise".into(), &"ann".into())
    );
    assert_eq!((&state["source"], &state["saved"]), (&"api".into(), &true.into()), "{state}");
    assert!(state["revision"].as_u64() > Some(before), "{state}");
    let read = get(&gateway, "/admin/killswitch/sms_notifications").await.ok();
    assert_eq!((&read["enabled"], &read["reason"]), (&state["enabled"], &state["reason"]));
    gateway.logged("KILLSWITCH DISABLED: sms_notifications by ann - noise").await;
}

#[tokio::test]
async fn who_gives_no_name_is_anonymous() {
    let gateway = Gateway::demo().start().await;
    let state = flip(&gateway, "sms_notifications", json!({ "enabled": false, "reason": "noise" }))
        .await
        .ok();
    assert_eq!(state["updated_by"], "anonymous");
}

#[tokio::test]
async fn an_unclear_flip_is_refused_and_changes_nothing() {
    let gateway = Gateway::demo().start().await;
    let before = get(&gateway, "/admin/killswitches").await.ok();
    for (feature, body, status) in [
        ("no_such_feature", json!({ "enabled": false, "reason": "r" }), 404),
        ("sms_notifications", json!({ "enabled": false }), 400),
        ("sms_notifications", json!({ "enabled": false, "reason": "" }), 400),
        ("sms_notifications", json!({ "reason": "r" }), 400),
        (
            "sms_notifications",
            json!({ "feature": "order_creation", "enabled": false, "reason": "r" }),
            400,
        ),
    ] {
        let answer = flip(&gateway, feature, body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {answer}");
        assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer}");
    }
    assert_eq!(get(&gateway, "/admin/killswitches").await.ok(), before);
}

#[tokio::test]
async fn a_kill_for_a_time_says_when_it_ends() {
    let gateway = Gateway::demo().start().await;
    let body = json!({ "enabled": false, "reason": "r", "duration_minutes": 30 });
    let state = flip(&gateway, "sms_notifications", body).await.ok();
    assert!(state["expires_at"].is_string(), "{state}");
}

#[tokio::test]
async fn an_emergency_turns_all_named_features_off_or_none() {
    let gateway = Gateway::demo().start().await;
    let disable = async |features: Value| {
        let body =
            json!({ "features": features, "reason": "security incident", "duration_minutes": 30 });
        Client::new().post(gateway.admin_url("/admin/emergency-disable")).json(&body).await
    };
    let off = async || {
        let list = get(&gateway, "/admin/killswitches").await.ok();
        let states = list["killswitches"].as_object().expect("a table by feature").clone();
        states
            .into_iter()
            .filter(|(_, state)| state["enabled"] == false)
            .map(|(name, _)| name)
            .collect::<Vec<_>>()
    };

    assert_eq!(disable(json!(["third_party_apis", "no_such_feature"])).await.status, 404);
    assert!(off().await.is_empty());
    disable(json!(["third_party_apis", "email_notifications"])).await.ok();
    assert_eq!(off().await, ["email_notifications", "third_party_apis"]);

    let body = json!({ "features": ["third_party_apis", "email_notifications"], "reason": "over" });
    Client::new().post(gateway.admin_url("/admin/bulk-enable")).json(&body).await.ok();
    assert!(off().await.is_empty());
}

#[tokio::test]
async fn error_stats_tell_errors_calls_and_the_threshold() {
    let orders = Upstream::always(Script::answer(200, "{}"));
    let gateway = Gateway::demo().in_place_of("orders", &orders).start().await;
    orders.next(Script::answer(500, "{}"));
    for _ in 0..3 {
        portcullis_tests::order(&gateway).await;
    }
    // An outcome settles after the last byte of its answer, so a client may ask a moment too early.
    eventually(PATIENCE, "one error in three calls", async || {
        let stats =
            get(&gateway, "/admin/error-stats").await.ok()["features"]["order_creation"].clone();
        stats["errors"] == 1
            && stats["calls"] == 3
            && stats["threshold"] == 10
            && stats["tripped"] == false
    })
    .await;
}

#[tokio::test]
async fn errors_are_simulated_only_where_the_config_allows_it() {
    let with = Gateway::demo().start().await;
    let simulate = async |gateway: &Gateway| {
        Client::new()
            .post(gateway.admin_url("/test/simulate-error/order_creation?count=1"))
            .await
            .status
    };
    assert_eq!(simulate(&with).await, 200);
    let without =
        Gateway::with_config("[features.order_creation]\nauto_disable = {}\n[admin]\nlisten = \"${PORTCULLIS_ADMIN_LISTEN}\"\n")
            .start()
            .await;
    assert_eq!(simulate(&without).await, 404);
}

#[tokio::test]
async fn a_breaker_is_forced_open_and_reset_by_hand() {
    let control = Upstream::always(Script::answer(200, "{}"));
    let gateway = Gateway::demo().in_place_of("control", &control).start().await;
    let turn = async |action: &str| {
        Client::new()
            .post(gateway.admin_url(&format!("/admin/circuit-breakers/ControlAPI/{action}")))
            .await
            .ok()
    };
    let ask = async || Client::new().get(gateway.url("/api/control/analytics")).await;

    assert_eq!(ask().await.status, 200);
    turn("force-open").await;
    ask().await.refused(503, "circuit_open");
    assert_eq!(breaker(&gateway, "ControlAPI").await["state"], "forced_open");
    turn("reset").await;
    assert_eq!(ask().await.status, 200);
    assert_eq!(breaker(&gateway, "ControlAPI").await["state"], "closed");
    for (action, state) in [("disable", "disabled"), ("shadow", "shadow"), ("reset", "closed")] {
        turn(action).await;
        assert_eq!(breaker(&gateway, "ControlAPI").await["state"], state);
    }
    let unknown =
        Client::new().post(gateway.admin_url("/admin/circuit-breakers/nobody/reset")).await;
    assert_eq!(unknown.status, 404, "{unknown}");
}

#[tokio::test]
async fn an_open_circuit_shows_everywhere_that_health_is_told() {
    let control = Upstream::always(Script::answer(500, "{}"));
    let gateway = Gateway::demo().in_place_of("control", &control).start().await;
    for _ in 0..5 {
        Client::new().get(gateway.url("/api/control/analytics")).await;
    }
    gateway.logged("Circuit breaker OPENED for ControlAPI").await;

    let circuits = get(&gateway, "/health/circuits").await.ok();
    assert_eq!(
        (&circuits["healthy"], &circuits["unhealthy_circuits"]),
        (&false.into(), &json!(["ControlAPI"])),
        "{circuits}"
    );
    let state = breaker(&gateway, "ControlAPI").await;
    assert_eq!((&state["state"], &state["failure_count"]), (&"open".into(), &5.into()), "{state}");
    let health = Client::new().get(gateway.url("/health")).await.ok();
    assert_eq!(health["status"], "degraded", "{health}");
    assert_eq!(health["circuit_breakers"]["ControlAPI"]["state"], "open", "{health}");
    let metrics = get(&gateway, "/metrics").await;
    let series = metrics
        .text()
        .lines()
        .find(|line| line.starts_with("circuit_breaker_state{") && line.contains("\"ControlAPI\""));
    assert!(series.is_some_and(|series| series.ends_with(" 1")), "{series:?}");
}

#[tokio::test]
async fn the_health_of_a_whole_fleet_is_healthy() {
    let fleet = Fleet::start().await;
    for url in [
        fleet.gateway.url("/health"),
        fleet.gateway.url("/api/health"),
        fleet.gateway.admin_url("/health"),
    ] {
        let health = Client::new().get(&url).await.ok();
        assert_eq!(health["status"], "healthy", "{url}: {health}");
        assert_eq!(health["redis_available"], Value::Null, "{url}: {health}");
        assert_eq!(health["total_features"], 9, "{url}: {health}");
        assert!(
            health["revision"].is_u64()
                && health["store"].is_object()
                && health["version"].is_string(),
            "{url}: {health}"
        );
    }
    assert_eq!(Client::new().get(fleet.gateway.url("/livez")).await.status, 200);
    assert_eq!(Client::new().get(fleet.gateway.url("/readyz")).await.status, 200);
    eventually(PATIENCE, "each service has told its health", async || {
        let dependencies = get(&fleet.gateway, "/health/dependencies").await.ok().to_string();
        ["auth", "sensor", "kafka-producer", "orders"]
            .iter()
            .all(|name| dependencies.contains(name))
    })
    .await;
}

#[tokio::test]
async fn metrics_grow_with_what_happens_and_not_with_what_is_asked_for() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let series = async || {
        get(&gateway, "/metrics").await.text().lines().filter(|line| !line.starts_with('#')).count()
    };
    Client::new().get(gateway.url("/a")).await;
    Client::new().request(Method::from_bytes(b"BREW").expect("a token"), gateway.url("/a")).await;
    let before = series().await;
    for number in 0..50 {
        let odd = Method::from_bytes(format!("BREW{number}").as_bytes()).expect("a token");
        Client::new()
            .request(odd, gateway.url(&format!("/{number}")))
            .header("host", &format!("h{number}"))
            .await;
    }
    assert_eq!(series().await, before);
}

#[tokio::test]
async fn from_the_first_key_on_a_write_needs_one() {
    let gateway = Gateway::demo().env("API_KEY", "open sesame").start().await;
    let url = gateway.admin_url("/admin/killswitch/sms_notifications");
    let body = json!({ "enabled": false, "reason": "r", "updated_by": "ann" });
    assert_eq!(Client::new().post(&url).json(&body).await.status, 401);
    assert_eq!(Client::new().with("x-api-key", "wrong").post(&url).json(&body).await.status, 401);

    let state = Client::new().with("x-api-key", "open sesame").post(&url).json(&body).await.ok();
    assert_eq!(state["enabled"], false, "{state}");
    Client::new().bearer("open sesame").get(gateway.admin_url("/admin/killswitches")).await.ok();
}

#[tokio::test]
async fn a_killswitch_from_the_environment_cannot_be_turned_on_by_the_api() {
    let gateway = Gateway::demo().env("KILLSWITCH_ORDER_CREATION", "false").start().await;
    portcullis_tests::order(&gateway).await.refused(503, "killswitch");
    let state = get(&gateway, "/admin/killswitch/order_creation").await.ok();
    assert_eq!((&state["enabled"], &state["source"]), (&false.into(), &"env".into()), "{state}");

    let refusal = flip(&gateway, "order_creation", json!({ "enabled": true, "reason": "r" })).await;
    assert_eq!(refusal.status, 409, "{refusal}");
    assert!(refusal.text().contains("KILLSWITCH_ORDER_CREATION"), "{refusal}");
}

#[tokio::test]
async fn a_page_of_another_origin_cannot_reach_the_admin_api_by_its_own_name() {
    let gateway = Gateway::demo().start().await;
    let mut connection = portcullis_tests::RawConnection::open(gateway.admin_address()).await;
    connection.write("GET /admin/killswitches HTTP/1.1\r\nHost: evil.example\r\n\r\n").await;
    assert_eq!(connection.read_answer().await.status, 421);
}

async fn get(gateway: &Gateway, path: &str) -> Answer {
    Client::new().get(gateway.admin_url(path)).await
}

async fn flip(gateway: &Gateway, feature: &str, body: Value) -> Answer {
    Client::new().post(gateway.admin_url(&format!("/admin/killswitch/{feature}"))).json(&body).await
}

async fn breaker(gateway: &Gateway, name: &str) -> Value {
    get(gateway, "/health/circuit-breakers").await.ok()["circuit_breakers"][name].clone()
}
