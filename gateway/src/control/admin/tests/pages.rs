//! Metrics, the operator's page, what is not there, and the listener itself.

use axum::routing::get;

use futures_util::FutureExt;

use super::*;

#[tokio::test]
async fn metrics_have_every_family_and_what_others_add() {
    let desk = Desk::new();
    desk.kill("order_creation").await.ok();
    desk.meters[0].record(Outcome::Failure);
    let metrics = desk.get("/metrics").await;
    assert_eq!(metrics.headers["content-type"], metrics::CONTENT_TYPE);
    for line in [
        r#"circuit_breaker_state{service="ControlAPI",upstream="control"} 0"#,
        r#"circuit_breaker_failures_total{service="ControlAPI",upstream="control"} 0"#,
        r#"portcullis_killswitch_enabled{feature="order_creation"} 0"#,
        r#"portcullis_killswitch_enabled{feature="route:orders"} 1"#,
        "portcullis_switchboard_revision 1",
        r#"portcullis_auto_disable_errors{feature="order_creation"} 1"#,
        "portcullis_store_saves_total 1",
        "portcullis_store_unsaved 0",
        "traffic_total 7",
    ] {
        assert!(
            metrics.text().lines().any(|found| found == line),
            "{line} is missing:\n{}",
            metrics.text()
        );
    }
    assert!(metrics.text().contains("portcullis_build_info{version=\""));
    assert!(metrics.text().contains("process_uptime_seconds "));
}

#[tokio::test]
async fn the_page_shows_what_is_off_and_lets_no_markup_in() {
    let desk = Desk::new();
    let body = json!({ "enabled": false, "reason": "<script>alert(1)</script>" });
    desk.post("/admin/killswitch/order_creation", body).await.ok();
    let page = desk.get("/").await;
    assert!(page.text().contains("order_creation") && page.text().contains("OFF"));
    assert!(page.text().contains("&lt;script&gt;") && !page.text().contains("<script"));
    assert!(
        page.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'")
    );
}

#[tokio::test]
async fn a_path_or_a_method_that_is_not_there_is_a_problem_too() {
    let desk = Desk::new();
    desk.get("/nothing").await.problem(404, "no_route");
    desk.post("/admin/killswitches", json!(null)).await.problem(405, "method_not_allowed");
    desk.get("/admin/audit?limit=0").await.problem(400, "bad_request");
}

#[tokio::test]
async fn an_upstreams_own_dependencies_are_heard_over_the_wire_and_the_listener_ends_when_told() {
    let sick = r#"{"status":"degraded","dependencies":{"database":"down"}}"#;
    let sensor = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = sensor.local_addr().unwrap().to_string();
    let upstream = Router::new().route("/health", get(async move || sick));
    let (stop, shutdown) = tokio::sync::watch::channel(false);
    let serving = crate::control::server::serve(upstream, sensor, shutdown.clone());
    let sensor = tokio::spawn(serving);

    let (desk, parts) = Desk::made(|config| {
        config.upstreams[0].address = address.parse().unwrap();
        config.upstreams[0].health_path = Some("/health".to_owned());
    });
    let admin = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = tokio::spawn(crate::control::serve(parts, admin, shutdown));
    while desk.health.dependencies()["control"]["status"] == "unknown" {
        tokio::task::yield_now().await;
    }
    let said = desk.health.dependencies()["control"].clone();
    assert_eq!((&said["status"], &said["database"]), (&"degraded".into(), &"down".into()));
    assert_eq!(desk.health.report().1["status"], "healthy", "what a service says degrades nothing");

    stop.send(true).unwrap();
    admin.await.unwrap().unwrap();
    sensor.await.unwrap();
}

#[tokio::test]
async fn the_audit_is_searched_for_one_at_a_time() {
    let desk = Desk::new();
    desk.kill("order_creation").await.ok();
    let search = || request(Method::GET, "/admin/audit?actor=ada", "");
    let mut first = Box::pin(desk.send(search()));
    assert!((&mut first).now_or_never().is_none(), "the writer is another thread");
    let second = desk.send(search()).now_or_never().expect("it doesn't wait");
    second.problem(503, "overloaded");
    assert_eq!(second.headers["retry-after"], "1");
    desk.get("/admin/audit?limit=1000").await.ok();
    assert_eq!(first.await.ok()["entries"].as_array().unwrap().len(), 1);
    desk.send(search()).await.ok();

    let mut left = Box::pin(desk.send(search()));
    assert!((&mut left).now_or_never().is_none(), "the writer is another thread");
    drop(left);
    let next = desk.send(search()).now_or_never().expect("it doesn't wait");
    next.problem(503, "overloaded");
}
