//! Breakers in an operator's hand.

use futures_util::FutureExt;

use super::*;

#[tokio::test]
async fn each_can_be_taken_in_hand() {
    let desk = Desk::new();
    for (action, state) in [
        ("force-open", "forced_open"),
        ("disable", "disabled"),
        ("shadow", "shadow"),
        ("reset", "closed"),
    ] {
        let answer = desk
            .post(&format!("/admin/circuit-breakers/ControlAPI/{action}"), json!({}))
            .await
            .ok();
        assert_eq!(answer["state"], state);
        let list = desk.get("/admin/circuit-breakers").await.ok();
        assert_eq!(list["circuit_breakers"]["ControlAPI"]["state"], state);
    }
    desk.post("/admin/circuit-breakers/nobody/reset", json!({}))
        .await
        .problem(404, "unknown_breaker");
    let misspelt = desk.post("/admin/circuit-breakers/ControlApi/reset", json!({})).await;
    assert_eq!(
        misspelt.problem(404, "unknown_breaker"),
        "there is no circuit breaker ControlApi; did you mean ControlAPI?"
    );
    desk.post("/admin/circuit-breakers/ControlAPI/dance", json!({}))
        .await
        .problem(404, "unknown_action");
}

#[tokio::test]
async fn an_open_circuit_is_unhealthy_and_says_when_it_tries_again() {
    let desk = Desk::new();
    assert_eq!(desk.get("/health/circuits").await.ok()["healthy"], true);
    for _ in 0..5 {
        desk.breaker.admit().unwrap().settle(Outcome::Failure);
    }
    let circuits = desk.get("/health/circuits").await.ok();
    assert_eq!(circuits["unhealthy_circuits"], json!(["ControlAPI"]));
    assert_eq!(circuits["healthy"], false);
    let breaker =
        desk.get("/health/circuit-breakers").await.ok()["circuit_breakers"]["ControlAPI"].clone();
    assert_eq!((&breaker["state"], &breaker["failure_count"]), (&"open".into(), &5.into()));
    assert!(breaker["closes_at"].is_string() && breaker["why"].is_string(), "{breaker}");
    assert_eq!(desk.health.report().1["status"], "degraded");
}

#[tokio::test]
async fn an_order_says_who_why_and_until_when_and_stands_in_the_audit() {
    let desk = Desk::new();
    let body = json!({ "reason": "INC-42", "updated_by": "ana", "duration_minutes": 30 });
    let answer = desk.post("/admin/circuit-breakers/ControlAPI/force-open", body).await.ok();
    assert_eq!(answer["audited"], true, "{answer}");
    let order = &answer["order"];
    assert_eq!(
        (&order["action"], &order["actor"], &order["reason"]),
        (&"force-open".into(), &"ana".into(), &"INC-42".into())
    );
    assert!(order["expires_at"].is_string(), "{answer}");

    let audit = desk.get("/admin/audit?limit=1").await.ok();
    let entry = &audit["entries"][0];
    assert_eq!(
        (&entry["breaker"], &entry["action"], &entry["actor"], &entry["reason"]),
        (&"ControlAPI".into(), &"force-open".into(), &"ana".into(), &"INC-42".into())
    );
    assert_eq!(
        (&entry["before"]["state"], &entry["after"]["state"]),
        (&"closed".into(), &"forced_open".into())
    );
    assert_eq!(
        entry["after"]["expires_at"].as_str().map(|at| &at[..16]),
        order["expires_at"].as_str().map(|at| &at[..16])
    );
    assert!(entry["request_id"].is_string(), "{entry}");
}

#[tokio::test]
async fn an_order_may_be_bare_but_not_unclear() {
    let desk = Desk::new();
    let post = |action: &str, body: &str| {
        let path = format!("/admin/circuit-breakers/ControlAPI/{action}");
        desk.send(request(Method::POST, &path, body))
    };
    post("shadow", "").await.ok();
    assert_eq!(desk.breaker.snapshot().order.unwrap().actor.as_deref(), Some("anonymous"));
    post("reset", r#"{"duration_minutes": 5}"#).await.problem(400, "bad_request");
    post("force-open", r#"{"duration_minutes": 0}"#).await.problem(400, "bad_request");
    post("force-open", r#"{"minutes": 5}"#).await.problem(400, "bad_request");
    post("force-open", r#"{"reason": "a\nb"}"#).await.problem(400, "bad_request");
    assert_eq!(desk.breaker.snapshot().state.as_str(), "shadow");
}

#[tokio::test]
async fn an_order_is_kept_even_if_its_caller_hangs_up() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config::parse("test.toml", CONFIG, &|_| None).unwrap();
    config.store = config::config::Store::Embedded { directory: directory.path().to_owned() };
    let (_desk, mut parts) = Desk::made(|_| {});
    parts.standing = Standing::of(&config);
    let order = request(Method::POST, "/admin/circuit-breakers/ControlAPI/force-open", "");
    let mut asking = Box::pin(router(parts).oneshot(order));
    assert!((&mut asking).now_or_never().is_none(), "the writer is another thread");
    drop(asking);
    let file = directory.path().join("breaker-orders.json");
    let kept = async {
        while !file.exists() {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(10), kept).await.expect("it is kept");
    assert!(std::fs::read_to_string(file).unwrap().contains("force-open"));
}
