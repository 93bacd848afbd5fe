//! Who gets in, from where, and what their role lets them do.

use super::*;
use crate::control::admin::endpoints;
use crate::control::server::Peer;

fn key(secret: &str, role: Role) -> AdminKey {
    let sha256 = Sha256::digest(secret).into();
    AdminKey { name: format!("{secret}s"), role, sha256, expires: None }
}

fn guarded() -> Desk {
    let roles = [
        ("viewer", Role::Viewer),
        ("killer", Role::Killer),
        ("operator", Role::Operator),
        ("admin", Role::Admin),
    ];
    Desk::with(|config| config.admin.keys = roles.map(|(name, role)| key(name, role)).to_vec())
}

/// The rows of the table: a method, a target, a body, and what each caller gets.
fn rows() -> impl Iterator<Item = (Method, &'static str, &'static str, Vec<u16>)> {
    let rows = include_str!("roles.txt").lines();
    rows.filter(|row| !row.is_empty() && !row.starts_with('#')).map(|row| {
        let (request, statuses) = row.split_once('|').unwrap();
        let mut words = request.trim().splitn(3, ' ').map(str::trim);
        let method = words.next().unwrap().parse().unwrap();
        let (target, body) = (words.next().unwrap(), words.next().unwrap_or_default());
        let statuses = statuses.split_whitespace().map(|status| status.parse().unwrap());
        (method, target, body, statuses.collect())
    })
}

#[tokio::test]
async fn each_role_may_do_what_the_table_says_of_each_endpoint() {
    for (method, target, body, statuses) in rows() {
        let callers = [None, Some("viewer"), Some("killer"), Some("operator"), Some("admin")];
        assert_eq!(statuses.len(), callers.len(), "{method} {target}");
        for (caller, expected) in callers.into_iter().zip(statuses) {
            let desk = guarded();
            let mut request = request(method.clone(), target, body);
            if let Some(caller) = caller {
                request = with(request, "x-api-key", caller);
            }
            // Only the head: a stream of events has no end.
            let status = desk.router.clone().oneshot(request).await.unwrap().status();
            let caller = caller.unwrap_or("nobody");
            assert_eq!(status.as_u16(), expected, "{method} {target} {body} as {caller}");
        }
    }
}

#[test]
fn each_endpoint_has_a_row_in_the_table() {
    let fits = |template: &str, target: &str| {
        let path = target.split('?').next().unwrap();
        let (template, path): (Vec<_>, Vec<_>) =
            (template.split('/').collect(), path.split('/').collect());
        let same = |(ours, theirs): (&&str, &&str)| ours.starts_with('{') || ours == theirs;
        template.len() == path.len() && template.iter().zip(&path).all(same)
    };
    for served in endpoints::all(true) {
        let Endpoint { method, path, .. } = served.endpoint;
        let rows = rows().filter(|(of, target, ..)| *of == method && fits(path, target)).count();
        assert!(rows > 0, "{method} {path} has no row in roles.txt");
    }
}

#[tokio::test]
async fn what_a_killer_may_not_do_is_not_done() {
    let desk = guarded();
    let path = "/admin/killswitch/order_creation";
    let off = request(Method::POST, path, r#"{"enabled":false,"reason":"r"}"#);
    desk.send(with(off, "x-api-key", "killer")).await.ok();
    for (path, body) in [
        (path, r#"{"enabled":true,"reason":"r"}"#),
        ("/admin/bulk-enable", r#"{"features":["order_creation"],"reason":"r"}"#),
    ] {
        let on = with(request(Method::POST, path, body), "x-api-key", "killer");
        desk.send(on).await.problem(403, "forbidden");
    }
    assert!(!desk.enabled("order_creation").await);
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

#[tokio::test]
async fn a_form_is_refused_because_any_page_could_have_posted_it() {
    let desk = Desk::new();
    let body = r#"{"enabled":false,"reason":"r"}"#;
    let kill = || request(Method::POST, "/admin/killswitch/order_creation", body);
    for kind in [
        "text/plain",
        "Text/Plain; charset=utf-8",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
    ] {
        desk.send(with(kill(), "content-type", kind)).await.problem(403, "cross_site");
    }
    assert!(desk.enabled("order_creation").await);
    desk.send(with(kill(), "content-type", "application/json")).await.ok();
}

#[tokio::test]
async fn no_page_is_told_that_it_may_read_unless_it_is_named() {
    let ask = async |desk: &Desk, method: Method, origin: &str| {
        let ask = with(request(method, "/admin/killswitches", ""), "origin", origin);
        desk.send(with(ask, "access-control-request-method", "POST")).await
    };
    let closed = Desk::new();
    for method in [Method::GET, Method::OPTIONS] {
        let answer = ask(&closed, method, "https://ops.example.com").await;
        let cors = |name: &http::HeaderName| name.as_str().starts_with("access-control-");
        assert!(!answer.headers.keys().any(cors), "{:?}", answer.headers);
    }

    let named = "https://ops.example.com";
    let open = Desk::with(|config| config.admin.allowed_origins = vec![named.to_owned()]);
    for (method, status) in [(Method::GET, 200), (Method::OPTIONS, 204)] {
        let answer = ask(&open, method, named).await;
        assert_eq!(answer.status, status);
        assert_eq!(answer.headers["access-control-allow-origin"], named);
        assert_eq!(answer.headers["vary"], "origin");
    }
    let other = ask(&open, Method::OPTIONS, "https://evil.example").await;
    assert!(!other.headers.contains_key("access-control-allow-origin"));

    let write = |origin: &str| {
        let body = r#"{"enabled":false,"reason":"r"}"#;
        let write = request(Method::POST, "/admin/killswitch/order_creation", body);
        with(with(write, "sec-fetch-site", "cross-site"), "origin", origin)
    };
    open.send(write("https://evil.example")).await.problem(403, "cross_site");
    open.send(write(named)).await.ok();
}

#[tokio::test]
async fn who_asks_too_fast_is_told_when_to_come_again() {
    let desk = Desk::with(|config| config.admin.requests_per_second = 3.try_into().unwrap());
    let ask = async |path: &str, address: &str| {
        let mut request = request(Method::GET, path, "");
        request.extensions_mut().insert(Peer(address.parse().unwrap()));
        desk.send(request).await
    };
    for _ in 0..3 {
        ask("/admin/killswitches", "10.0.0.1").await.ok();
    }
    let refused = ask("/admin/killswitches", "10.0.0.1").await;
    refused.problem(429, "rate_limited");
    assert_eq!(refused.headers["retry-after"], "1");
    assert_eq!(refused.json()["retry_after"], 1);
    ask("/admin/killswitches", "10.0.0.2").await.ok();
    assert_eq!(ask("/readyz", "10.0.0.1").await.status, 200, "probes are never held back");
}

#[tokio::test]
async fn a_key_has_its_pace_wherever_it_is_used() {
    let desk = Desk::with(|config| {
        config.admin.keys = vec![key("ops", Role::Operator), key("bot", Role::Killer)];
        config.admin.requests_per_second = 2.try_into().unwrap();
    });
    let ask = async |key: &str, address: &str| {
        let mut request = with(request(Method::GET, "/health", ""), "x-api-key", key);
        request.extensions_mut().insert(Peer(address.parse().unwrap()));
        desk.send(request).await
    };
    ask("bot", "10.0.0.1").await.ok();
    ask("bot", "10.0.0.2").await.ok();
    ask("bot", "10.0.0.3").await.problem(429, "rate_limited");
    ask("ops", "10.0.0.4").await.ok();
}

#[tokio::test]
async fn an_expired_key_is_refused() {
    let desk = Desk::with(|config| {
        let expires = Some(std::time::SystemTime::UNIX_EPOCH);
        config.admin.keys = vec![AdminKey { expires, ..key("old", Role::Admin) }];
    });
    let read = with(request(Method::GET, "/health", ""), "x-api-key", "old");
    assert!(desk.send(read).await.problem(401, "unauthorized").contains("expired"));
}

#[tokio::test]
async fn who_was_not_asked_for_a_key_leaves_nothing_in_the_ledger() {
    let desk = guarded();
    for _ in 0..2 {
        let probe = with(request(Method::POST, "/livez", ""), "idempotency-key", "k");
        let answer = desk.send(probe).await;
        answer.problem(405, "method_not_allowed");
        assert!(!answer.headers.contains_key("idempotent-replayed"));
    }
}

#[tokio::test]
async fn a_flood_from_its_own_machine_does_not_hold_back_a_key() {
    let desk = Desk::with(|config| {
        config.admin.keys = vec![key("ops", Role::Operator)];
        config.admin.requests_per_second = 2.try_into().unwrap();
    });
    let kill = async |key: &str| {
        let body = r#"{"enabled":false,"reason":"r"}"#;
        let mut kill = request(Method::POST, "/admin/killswitch/order_creation", body);
        kill.extensions_mut().insert(Peer("127.0.0.1".parse().unwrap()));
        desk.send(with(kill, "x-api-key", key)).await
    };
    for _ in 0..2 {
        kill("guess").await.problem(401, "unauthorized");
    }
    kill("guess").await.problem(429, "rate_limited");
    kill("ops").await.ok();
    kill("ops").await.ok();
    kill("ops").await.problem(429, "rate_limited");
}
