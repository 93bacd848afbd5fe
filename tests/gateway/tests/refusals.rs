//! The promise: a request that the gateway does not pass on is answered in one form, and says nothing of the inside.

use http::Method;
use portcullis_tests::{Client, Gateway, RawConnection, Script, Upstream};
use serde_json::json;

#[tokio::test]
async fn a_path_without_a_route_is_not_found() {
    let gateway = Gateway::with_config("").start().await;
    let problem = Client::new().get(gateway.url("/nowhere")).await.refused(404, "no_route");
    assert!(problem.get("retry_after").is_none_or(serde_json::Value::is_null), "{problem}");
}

#[tokio::test]
async fn a_wrong_method_is_told_the_right_ones() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let gateway = Gateway::in_front_of(&upstream)
        .keys("[[routes]]", "methods = [\"GET\", \"PUT\"]")
        .start()
        .await;
    let answer = Client::new().request(Method::DELETE, gateway.url("/x")).await;
    answer.refused(405, "method_not_allowed");
    let allow = answer.header("allow").expect("a 405 has Allow");
    assert!(allow.contains("GET") && allow.contains("PUT") && !allow.contains("DELETE"), "{allow}");
    assert_eq!(upstream.request_count(), 0);
}

#[tokio::test]
async fn a_refusal_names_neither_address_nor_product_version() {
    let upstream = Upstream::always(Script::answer(200, ""));
    upstream.refuse().await;
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let answer = Client::new().get(gateway.url("/x")).await;
    answer.refused(502, "upstream_unreachable");
    let everything = format!("{answer}");
    for inside in [&upstream.port().to_string(), "os error", "hyper", "panicked"] {
        assert!(!everything.contains(inside), "{inside:?} shows in {everything}");
    }
}

#[tokio::test]
async fn an_upstream_may_have_a_status_of_its_own_for_when_it_is_away() {
    let away = Upstream::always(Script::answer(200, ""));
    away.refuse().await;
    let gateway = Gateway::demo()
        .in_place_of("kafka-producer", &away)
        .in_place_of("control", &away)
        .start()
        .await;
    let client = Client::new();

    let answer = client.get(gateway.url("/kafka/stats")).await;
    let problem = answer.refused(503, "upstream_unreachable");
    assert_eq!(
        (&problem["status"], &problem["title"], &problem["retry_after"]),
        (&503.into(), &"Service Unavailable".into(), &1.into())
    );
    assert_eq!(answer.header("retry-after"), Some("1"));

    let answer = client.get(gateway.url("/api/control/analytics")).await;
    let problem = answer.refused(502, "upstream_unreachable");
    assert_eq!((answer.header("retry-after"), problem.get("retry_after")), (None, None));
}

#[tokio::test]
async fn a_time_out_stays_one_whatever_status_its_upstream_has_for_being_away() {
    let upstream = Upstream::always(Script::stall());
    let gateway = Gateway::in_front_of(&upstream)
        .keys("[upstreams.app]", "response_timeout_seconds = 0.3\nunreachable_status = 503")
        .start()
        .await;
    let answer = Client::new().get(gateway.url("/x")).await;
    answer.refused(504, "timeout");
    assert_eq!(answer.header("retry-after"), None);
}

#[tokio::test]
async fn a_refusal_carries_the_id_under_which_it_was_logged() {
    let gateway = Gateway::with_config("").start().await;
    let problem = Client::new().get(gateway.url("/nowhere")).await.refused(404, "no_route");
    gateway.logged(problem["request_id"].as_str().expect("checked in `refused`")).await;
}

#[tokio::test]
async fn too_many_calls_are_told_when_to_come_back() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let gateway = Gateway::in_front_of(&upstream)
        .keys("[[routes]]", "rate_limit = { requests = 2, per_seconds = 60, burst = 2 }")
        .start()
        .await;
    let client = Client::new();
    for _ in 0..2 {
        assert_eq!(client.get(gateway.url("/x")).await.status, 200);
    }
    let answer = client.get(gateway.url("/x")).await;
    let problem = answer.refused(429, "rate_limited");
    assert_eq!(answer.header("retry-after"), Some(problem["retry_after"].to_string().as_str()));
    assert_eq!(upstream.request_count(), 2);
}

#[tokio::test]
async fn too_many_calls_at_once_are_refused_and_the_slot_comes_back() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let gate = portcullis_tests::Gate::closed();
    upstream.next(Script::default().at(&gate).head(200).header("content-length", "0"));
    let gateway =
        Gateway::in_front_of(&upstream).keys("[[routes]]", "in_flight_max = 1").start().await;

    let mut first = RawConnection::open(gateway.address()).await;
    first.write("GET /x HTTP/1.1\r\nHost: x\r\n\r\n").await;
    upstream.requests_until(1).await;
    Client::new().get(gateway.url("/x")).await.refused(503, "overloaded");
    gate.open();
    assert_eq!(first.read_answer().await.status, 200);
    assert_eq!(Client::new().get(gateway.url("/x")).await.status, 200);
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let gateway =
        Gateway::in_front_of(&upstream).keys("[[routes]]", "body_bytes_max = 10").start().await;
    Client::new()
        .post(gateway.url("/x"))
        .body("0123456789+")
        .await
        .refused(413, "payload_too_large");
    assert_eq!(Client::new().post(gateway.url("/x")).body("0123456789").await.status, 200);
}

#[tokio::test]
async fn an_ambiguous_request_is_refused_and_reaches_nobody() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let gateway = Gateway::in_front_of(&upstream).start().await;
    for head in [
        "GET /x HTTP/1.1\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /x HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET /%00 HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /a%2fb HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /../../etc HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    ] {
        let mut connection = RawConnection::open(gateway.address()).await;
        connection.write(head).await;
        let status = connection.read_answer().await.status;
        assert!(status == 400 || status == 501, "{head:?} was answered {status}");
    }
    assert_eq!(upstream.request_count(), 0);
}

#[tokio::test]
async fn a_killed_feature_tells_its_public_message() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let gateway = Gateway::in_front_of(&upstream)
        .keys("[[routes]]", "rejects = [\"shop\"]")
        .keys(
            "[features.shop]",
            "public_message = \"Back at noon.\"\nerror = \"The shop is closed\"",
        )
        .start()
        .await;
    let kill =
        json!({ "enabled": false, "reason": "the cashier ran away", "duration_minutes": 30 });
    Client::new().post(gateway.admin_url("/admin/killswitch/shop")).json(&kill).await.ok();

    let answer = Client::new().get(gateway.url("/x")).await;
    let problem = answer.refused(503, "killswitch");
    assert_eq!(
        (&problem["error"], &problem["feature"]),
        (&"The shop is closed".into(), &"shop".into())
    );
    assert!(
        answer.text().contains("Back at noon.") && !answer.text().contains("cashier"),
        "{answer}"
    );
}
