//! The admin API row by row, without a socket: requests go straight into the router.

use std::future::ready;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use http::{Method, Request};
use http_body_util::BodyExt;
use portcullis::circuit_breaker::{Breaker, Settings};
use portcullis::outcome::Outcome;
use portcullis::store::MemoryStore;
use portcullis::switchboard::feature::State;
use portcullis::view;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tokio::time::timeout;
use tower::ServiceExt;

use super::*;
use crate::config;
use crate::config::config::{AdminKey, Role};
use crate::control::fleet::Fleet;
use crate::control::opening;
use crate::control::writer::{self, Board};

const CONFIG: &str = r#"
[admin]
test_endpoints = true
[store]
kind = "memory"
[features.order_creation]
critical = true
auto_disable = { errors = 10, window_seconds = 300 }
[features.payment_processing]
auto_disable = {}
[features.email_notifications]
[upstreams.control]
url = "http://127.0.0.1:9"
[[routes]]
name = "orders"
path = "/api/orders"
upstream = "control"
"#;

/// An admin API with a writer of its own; its thread is joined at the end.
struct Desk {
    router: Router,
    writer: Writer,
    health: Health,
    breaker: Breaker,
    meters: Vec<Meter>,
    thread: Option<JoinHandle<()>>,
}

impl Desk {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        Self::made(change).0
    }

    /// The desk, and the parts to serve it on a socket.
    fn made(change: impl FnOnce(&mut Config)) -> (Self, Parts) {
        let mut config = config::parse("test.toml", CONFIG, &|_| None).unwrap();
        change(&mut config);
        let config = Arc::new(config);
        let switchboard = opening::open(&config).unwrap().switchboard;
        let switchboard = switchboard.with_state("sms", State::held_off("KILLSWITCH_SMS"));
        let (publisher, subscriber) = view::channel(switchboard.clone());
        let (writer, inbox) = writer::channel();
        let meters = super::super::meters(&config, &writer);
        let board = Board {
            store: Box::new(MemoryStore::new()),
            publisher,
            switchboard,
            meters: meters.clone(),
        };
        let thread = thread::spawn(move || inbox.run(board));
        let breaker = Breaker::new("ControlAPI", Settings::default());
        let breakers = vec![NamedBreaker { breaker: breaker.clone(), upstream: "control".into() }];
        let health =
            Health::new(&config, subscriber.clone(), breakers.clone(), writer.ledger().clone());
        let parts = || Parts {
            config: config.clone(),
            subscriber: subscriber.clone(),
            writer: writer.clone(),
            fleet: Fleet::new(&config, None),
            breakers: breakers.clone(),
            meters: meters.clone(),
            health: health.clone(),
            events: Events::new("test"),
            exposition: vec![Arc::new(Elsewhere)],
        };
        let (router, spare) = (router(parts()), parts());
        (Self { router, writer, health, breaker, meters, thread: Some(thread) }, spare)
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        Answer::read(response).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(request(Method::GET, path, "")).await
    }

    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send(request(Method::POST, path, &body.to_string())).await
    }

    async fn kill(&self, feature: &str) -> Answer {
        let body = json!({ "enabled": false, "reason": "a test", "updated_by": "ada" });
        self.post(&format!("/admin/killswitch/{feature}"), body).await
    }

    async fn enabled(&self, feature: &str) -> bool {
        self.get(&format!("/admin/killswitch/{feature}")).await.json()["enabled"] == true
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        self.writer.close();
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the writer does not panic");
        }
    }
}

struct Elsewhere;

impl Exposition for Elsewhere {
    fn write(&self, out: &mut String) {
        out.push_str("traffic_total 7\n");
    }
}

fn request(method: Method, path: &str, body: &str) -> Request<Body> {
    let builder = Request::builder().method(method).uri(path).header("host", "127.0.0.1:8001");
    builder.body(Body::from(body.to_owned())).unwrap()
}

fn with(mut request: Request<Body>, name: &'static str, value: &str) -> Request<Body> {
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

struct Answer {
    status: u16,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Answer {
    async fn read(response: Response) -> Self {
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Self { status: parts.status.as_u16(), headers: parts.headers, body }
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    #[track_caller]
    fn ok(&self) -> Value {
        assert_eq!(self.status, 200, "{}", self.text());
        self.json()
    }

    #[track_caller]
    fn problem(&self, status: u16, reason: &str) -> String {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.headers["content-type"], "application/problem+json");
        assert_eq!(self.headers["cache-control"], "no-store");
        let problem = self.json();
        assert_eq!((&problem["reason"], &problem["status"]), (&reason.into(), &status.into()));
        for member in ["type", "title", "detail", "error", "request_id"] {
            assert!(problem[member].is_string(), "{member} is missing: {problem}");
        }
        problem["detail"].as_str().unwrap().to_owned()
    }
}

mod killswitches {
    use super::*;

    #[tokio::test]
    async fn a_flip_answers_with_the_state_and_is_audited() {
        let desk = Desk::new();
        let body = json!({
            "feature": "order_creation", "enabled": false, "reason": "stock is wrong",
            "updated_by": "ada", "duration_minutes": 30,
        });
        let answer =
            desk.post("/admin/killswitch/order_creation?wait=all&timeout_ms=2000", body).await.ok();
        assert_eq!((&answer["revision"], &answer["saved"]), (&1.into(), &true.into()));
        assert_eq!((&answer["applied"], &answer["of"]), (&1.into(), &1.into()));
        assert_eq!((&answer["updated_by"], &answer["source"]), (&"ada".into(), &"api".into()));
        let expires: jiff::Timestamp = answer["expires_at"].as_str().unwrap().parse().unwrap();
        let updated: jiff::Timestamp = answer["updated_at"].as_str().unwrap().parse().unwrap();
        // The writer stamps the flip a moment after the request came in, from which the kill lasts.
        assert!((1_790..=1_800).contains(&expires.duration_since(updated).as_secs()));

        assert!(!desk.enabled("order_creation").await);
        let audit = desk.get("/admin/audit?limit=5").await.ok();
        let entry = &audit["entries"][0];
        assert_eq!((&entry["actor"], &entry["reason"]), (&"ada".into(), &"stock is wrong".into()));
        assert_eq!(
            (&entry["before"]["enabled"], &entry["after"]["enabled"]),
            (&true.into(), &false.into())
        );
        assert!(entry["request_id"].is_string());
    }

    #[tokio::test]
    async fn all_declared_features_are_listed_and_a_route_once_it_was_flipped() {
        let desk = Desk::new();
        let names = async || {
            let list = desk.get("/admin/killswitches").await.ok();
            list["killswitches"].as_object().unwrap().keys().cloned().collect::<Vec<_>>()
        };
        assert_eq!(
            names().await,
            ["email_notifications", "order_creation", "payment_processing", "sms"]
        );
        desk.kill("route:orders").await.ok();
        assert!(names().await.contains(&"route:orders".to_owned()));
    }

    #[tokio::test]
    async fn an_unclear_wish_is_refused_and_says_what_is_wrong() {
        let desk = Desk::new();
        let refused = async |body: &str| {
            desk.send(request(Method::POST, "/admin/killswitch/order_creation", body))
                .await
                .problem(400, "bad_request")
        };
        assert!(refused("{").await.contains("line 1 column"));
        assert!(refused(r#"{"reason":"r"}"#).await.contains("`enabled`"));
        assert!(refused(r#"{"enabled":false}"#).await.contains("`reason`"));
        assert!(refused(r#"{"enabled":false,"reason":"  "}"#).await.contains("`reason`"));
        assert!(refused(r#"{"enabled":false,"reason":"a\nb"}"#).await.contains("one line"));
        assert!(
            refused(r#"{"enabled":false,"reason":"r","duration_minute":5}"#)
                .await
                .contains("duration_minute")
        );
        assert!(
            refused(r#"{"enabled":false,"reason":"r","duration_minutes":0}"#)
                .await
                .contains("duration_minutes")
        );
        assert!(
            refused(r#"{"enabled":false,"reason":"r","duration_minutes":525601}"#)
                .await
                .contains("525600")
        );
        assert!(
            refused(r#"{"feature":"other","enabled":false,"reason":"r"}"#).await.contains("other")
        );
        assert!(desk.enabled("order_creation").await);
    }

    #[tokio::test]
    async fn a_body_that_is_no_object_is_told_so_in_words_about_json() {
        let desk = Desk::new();
        for (body, kind) in [
            ("null", "null"),
            ("7", "a number"),
            (r#""off""#, "a string"),
            (r#"[null,false,"a list in the order of the members",null,null]"#, "a list"),
        ] {
            let answer =
                desk.send(request(Method::POST, "/admin/killswitch/order_creation", body)).await;
            let detail = answer.problem(400, "bad_request");
            assert_eq!(detail, format!("the body must be a JSON object, not {kind}"));
        }
        assert!(desk.enabled("order_creation").await);
    }

    #[tokio::test]
    async fn a_duration_goes_with_a_kill_only() {
        let desk = Desk::new();
        desk.kill("order_creation").await.ok();
        for wish in [
            json!({ "enabled": true, "duration_minutes": 5 }),
            json!({ "enabled": true, "reason": "for five minutes", "duration_minutes": 5 }),
        ] {
            let answer = desk.post("/admin/killswitch/order_creation", wish).await;
            assert!(answer.problem(400, "bad_request").contains("goes with a kill"));
        }
        assert!(!desk.enabled("order_creation").await);
    }

    #[tokio::test]
    async fn an_unknown_feature_is_not_found() {
        let desk = Desk::new();
        desk.kill("no_such_feature").await.problem(404, "unknown_feature");
        desk.get("/admin/killswitch/no_such_feature").await.problem(404, "unknown_feature");
    }

    #[tokio::test]
    async fn a_misspelt_feature_is_told_which_was_probably_meant() {
        let desk = Desk::new();
        let meant = "there is no feature order_craetion; did you mean order_creation?";
        let misspelt = "/admin/killswitch/order_craetion";
        assert_eq!(desk.kill("order_craetion").await.problem(404, "unknown_feature"), meant);
        assert_eq!(desk.get(misspelt).await.problem(404, "unknown_feature"), meant);
        let several = json!({ "features": ["order_craetion"], "reason": "r" });
        let answer = desk.post("/admin/emergency-disable", several).await;
        assert_eq!(answer.problem(404, "unknown_feature"), meant);

        let long = format!("order_creation{}", "n".repeat(1_000));
        let detail = desk.kill(&long).await.problem(404, "unknown_feature");
        assert!(!detail.contains("did you mean"), "{detail}");
    }

    #[tokio::test]
    async fn a_feature_held_by_the_environment_names_the_variable() {
        let desk = Desk::new();
        let answer =
            desk.post("/admin/killswitch/sms", json!({ "enabled": true, "reason": "r" })).await;
        assert!(answer.problem(409, "held_by_environment").contains("KILLSWITCH_SMS"));
    }

    #[tokio::test]
    async fn if_match_keeps_two_operators_from_overwriting_each_other() {
        let desk = Desk::new();
        desk.kill("email_notifications").await.ok();
        let body = r#"{"enabled":true,"reason":"r"}"#;
        let enable = || request(Method::POST, "/admin/killswitch/email_notifications", body);
        desk.send(with(enable(), "if-match", "\"0\"")).await.problem(412, "revision_moved");
        desk.send(with(enable(), "if-match", "\"1\"")).await.ok();
    }

    #[tokio::test]
    async fn a_body_without_end_is_cut() {
        let desk = Desk::new();
        let body = format!(r#"{{"enabled":false,"reason":"{}"}}"#, "r".repeat(body::BYTES_MAX));
        let answer =
            desk.send(request(Method::POST, "/admin/killswitch/order_creation", &body)).await;
        answer.problem(413, "too_large");
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stalls_is_given_up() {
        let desk = Desk::new();
        let flips =
            ["/admin/killswitch/order_creation", "/admin/emergency-disable", "/admin/bulk-enable"];
        for path in flips {
            let head = Ok::<_, std::io::Error>(Bytes::from_static(b"{"));
            let stalls = stream::once(ready(head)).chain(stream::pending());
            let stalled = Request::post(path).header("host", "127.0.0.1:8001");
            let answer = desk.send(stalled.body(Body::from_stream(stalls)).unwrap());
            let answer = timeout(Duration::from_secs(11), answer).await.expect("it ends by itself");
            answer.problem(408, "timeout");
            assert_eq!(answer.headers["connection"], "close");
        }
    }

    #[tokio::test]
    async fn the_command_line_is_told_from_the_api() {
        let desk = Desk::new();
        let body = r#"{"enabled":false,"reason":"r"}"#;
        let kill = request(Method::POST, "/admin/killswitch/order_creation", body);
        let answer = desk.send(with(kill, "user-agent", "portcullis-cli/1")).await.ok();
        assert_eq!(
            (&answer["source"], &answer["updated_by"]),
            (&"cli".into(), &"anonymous".into())
        );
    }

    #[tokio::test]
    async fn many_are_flipped_together_or_not_at_all() {
        let desk = Desk::new();
        let disable = async |features: Value| {
            desk.post(
                "/admin/emergency-disable",
                json!({ "features": features, "reason": "incident" }),
            )
            .await
        };
        disable(json!(["order_creation", "nothing"])).await.problem(404, "unknown_feature");
        assert!(desk.enabled("order_creation").await);
        disable(json!([])).await.problem(400, "bad_request");
        let answer = disable(json!(["order_creation", "payment_processing"])).await.ok();
        assert_eq!(answer["features"]["order_creation"]["enabled"], false);
        assert_eq!(answer["revision"], 1, "one flip, one revision");

        let both =
            json!({ "features": ["order_creation", "payment_processing"], "reason": "over" });
        desk.post("/admin/bulk-enable", both).await.ok();
        assert!(desk.enabled("order_creation").await && desk.enabled("payment_processing").await);
    }
}

mod error_stats {
    use super::*;

    #[tokio::test]
    async fn ten_simulated_errors_turn_the_feature_off_and_turning_it_on_counts_anew() {
        let desk = Desk::new();
        let simulate = "/test/simulate-error/order_creation?count=5";
        assert_eq!(desk.post(simulate, json!(null)).await.ok()["enabled"], true);
        let answer = desk.post(simulate, json!(null)).await.ok();
        assert_eq!((&answer["errors"], &answer["enabled"]), (&10.into(), &false.into()));

        let stats = async || {
            desk.get("/admin/error-stats").await.ok()["features"]["order_creation"].clone()
        };
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
        let simulate = async |rest: &str| {
            desk.post(&format!("/test/simulate-error/{rest}"), json!(null)).await
        };
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
}

mod circuit_breakers {
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
            desk.get("/health/circuit-breakers").await.ok()["circuit_breakers"]["ControlAPI"]
                .clone();
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
}

mod health {
    use super::*;

    #[tokio::test]
    async fn a_gateway_with_all_in_order_is_healthy() {
        let desk = Desk::new();
        for path in ["/health", "/api/health"] {
            let health = desk.get(path).await.ok();
            assert_eq!(
                (&health["status"], &health["total_features"]),
                (&"healthy".into(), &3.into())
            );
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
}

mod access {
    use super::*;

    fn key(secret: &str, role: Role) -> AdminKey {
        AdminKey { name: format!("{secret}s"), role, sha256: Sha256::digest(secret).into() }
    }

    fn guarded() -> Desk {
        let roles =
            [("viewer", Role::Viewer), ("killer", Role::Killer), ("operator", Role::Operator)];
        Desk::with(|config| config.admin.keys = roles.map(|(name, role)| key(name, role)).to_vec())
    }

    #[tokio::test]
    async fn each_role_may_do_its_part() {
        let desk = guarded();
        let flip = async |key: &str, enabled: bool| {
            let body =
                json!({ "enabled": enabled, "reason": "r", "updated_by": "ada" }).to_string();
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
        let desk =
            Desk::with(|config| config.admin.allowed_hosts = vec!["gate.example".to_owned()]);
        let ask = async |host: &str| {
            desk.send(with(request(Method::GET, "/health", ""), "host", host)).await
        };
        ask("evil.example").await.problem(421, "misdirected");
        ask("evil.example:8001").await.problem(421, "misdirected");
        for host in
            ["gate.example", "GATE.example:8001", "localhost:8001", "127.0.0.1", "[::1]:8001"]
        {
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
        desk.send(with(request(Method::GET, "/health", ""), "sec-fetch-site", "cross-site"))
            .await
            .ok();
    }
}

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
    let serving = super::super::server::serve(upstream, sensor, shutdown.clone());
    let sensor = tokio::spawn(serving);

    let (desk, parts) = Desk::made(|config| {
        config.upstreams[0].address = address.parse().unwrap();
        config.upstreams[0].health_path = Some("/health".to_owned());
    });
    let admin = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let admin = tokio::spawn(super::super::serve(parts, admin, shutdown));
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
