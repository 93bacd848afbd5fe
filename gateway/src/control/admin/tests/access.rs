//! Who gets in, from where, and what their role lets them do.

use super::*;

fn key(secret: &str, role: Role) -> AdminKey {
    AdminKey { name: format!("{secret}s"), role, sha256: Sha256::digest(secret).into() }
}

fn guarded() -> Desk {
    let roles = [("viewer", Role::Viewer), ("killer", Role::Killer), ("operator", Role::Operator)];
    Desk::with(|config| config.admin.keys = roles.map(|(name, role)| key(name, role)).to_vec())
}

#[tokio::test]
async fn each_role_may_do_its_part() {
    let desk = guarded();
    let flip = async |key: &str, enabled: bool| {
        let body = json!({ "enabled": enabled, "reason": "r", "updated_by": "ada" }).to_string();
        let request = request(Method::POST, "/admin/killswitch/order_creation", &body);
        desk.send(with(request, "x-api-key", key)).await
    };
    flip("viewer", false).await.problem(403, "forbidden");
    assert_eq!(flip("killer", false).await.ok()["updated_by"], "killers (ada)");
    flip("killer", true).await.problem(403, "forbidden");
    flip("operator", true).await.ok();
    flip("unknown", true).await.problem(401, "unauthorized");

    let act = async |key: &str, action: &str| {
        let request =
            request(Method::POST, &format!("/admin/circuit-breakers/ControlAPI/{action}"), "");
        desk.send(with(request, "authorization", &format!("Bearer {key}"))).await
    };
    act("killer", "force-open").await.ok();
    act("killer", "reset").await.problem(403, "forbidden");
    let sooner = request(
        Method::POST,
        "/admin/circuit-breakers/ControlAPI/force-open",
        r#"{"duration_minutes": 1}"#,
    );
    desk.send(with(sooner, "x-api-key", "killer")).await.problem(403, "forbidden");
    act("operator", "reset").await.ok();
}

#[tokio::test]
async fn a_killer_cant_turn_on_by_a_kill_that_ends_sooner() {
    let desk = guarded();
    let post = async |key: &str, path: &str, body: Value| {
        let request = request(Method::POST, path, &body.to_string());
        desk.send(with(request, "x-api-key", key)).await
    };
    let one = "/admin/killswitch/order_creation";
    let shorter = json!({ "enabled": false, "reason": "shorter", "duration_minutes": 1 });
    post("operator", one, json!({ "enabled": false, "reason": "r" })).await.ok();
    let detail = post("killer", one, shorter.clone()).await.problem(403, "forbidden");
    assert!(detail.contains("order_creation is off until somebody turns it on"), "{detail}");

    let all = "/admin/emergency-disable";
    let several = json!({
        "features": ["payment_processing", "order_creation"],
        "reason": "shorter", "duration_minutes": 1,
    });
    post("killer", all, several.clone()).await.problem(403, "forbidden");
    assert!(desk.enabled("payment_processing").await, "all or none");
    assert_eq!(desk.get(one).await.json()["expires_at"], Value::Null);

    post("operator", one, shorter).await.ok();
    assert!(desk.get(one).await.json()["expires_at"].is_string());
    post("operator", all, several).await.ok();
}

#[tokio::test]
async fn no_key_reads_on_loopback_and_writes_nowhere() {
    let desk = guarded();
    desk.get("/admin/killswitches").await.ok();
    let refused = desk.kill("order_creation").await;
    refused.problem(401, "unauthorized");
    assert!(refused.headers.contains_key("www-authenticate"));
}

#[tokio::test]
async fn a_page_that_came_by_another_name_is_misdirected() {
    let desk = Desk::with(|config| config.admin.allowed_hosts = vec!["gate.example".to_owned()]);
    let ask =
        async |host: &str| desk.send(with(request(Method::GET, "/health", ""), "host", host)).await;
    ask("evil.example").await.problem(421, "misdirected");
    ask("evil.example:8001").await.problem(421, "misdirected");
    for host in ["gate.example", "GATE.example:8001", "localhost:8001", "127.0.0.1", "[::1]:8001"] {
        ask(host).await.ok();
    }
}

#[tokio::test]
async fn a_write_of_another_site_is_refused_and_a_read_is_not() {
    let desk = Desk::new();
    let write = || {
        request(
            Method::POST,
            "/admin/bulk-enable",
            r#"{"features":["order_creation"],"reason":"r"}"#,
        )
    };
    for (name, value) in [
        ("sec-fetch-site", "cross-site"),
        ("sec-fetch-site", "same-site"),
        ("origin", "https://evil.example"),
        ("origin", "null"),
    ] {
        desk.send(with(write(), name, value)).await.problem(403, "cross_site");
    }
    desk.send(with(write(), "sec-fetch-site", "same-origin")).await.ok();
    desk.send(with(write(), "origin", "http://127.0.0.1:8001")).await.ok();
    desk.send(with(request(Method::GET, "/health", ""), "sec-fetch-site", "cross-site")).await.ok();
}
