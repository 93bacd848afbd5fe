//! Killswitches: what a flip does, what it answers, and which wishes are refused.

use futures_util::FutureExt;

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
    assert!(refused(r#"{"feature":"other","enabled":false,"reason":"r"}"#).await.contains("other"));
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
    let answer = desk.send(request(Method::POST, "/admin/killswitch/order_creation", &body)).await;
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
    assert_eq!((&answer["source"], &answer["updated_by"]), (&"cli".into(), &"anonymous".into()));
}

#[tokio::test]
async fn many_are_flipped_together_or_not_at_all() {
    let desk = Desk::new();
    let disable = async |features: Value| {
        desk.post("/admin/emergency-disable", json!({ "features": features, "reason": "incident" }))
            .await
    };
    disable(json!(["order_creation", "nothing"])).await.problem(404, "unknown_feature");
    assert!(desk.enabled("order_creation").await);
    disable(json!([])).await.problem(400, "bad_request");
    let answer = disable(json!(["order_creation", "payment_processing"])).await.ok();
    assert_eq!(answer["features"]["order_creation"]["enabled"], false);
    assert_eq!(answer["revision"], 1, "one flip, one revision");

    let both = json!({ "features": ["order_creation", "payment_processing"], "reason": "over" });
    desk.post("/admin/bulk-enable", both).await.ok();
    assert!(desk.enabled("order_creation").await && desk.enabled("payment_processing").await);
}

#[tokio::test]
async fn what_is_shown_names_its_revision_for_the_next_write() {
    let desk = Desk::new();
    let etag = async |path: &str| desk.get(path).await.headers["etag"].to_str().unwrap().to_owned();
    assert_eq!(etag("/admin/killswitches").await, "\"0\"");
    let killed = desk.kill("order_creation").await;
    assert_eq!(killed.headers["etag"], "\"1\"");
    assert_eq!(etag("/admin/killswitch/order_creation").await, "\"1\"");

    let body = r#"{"enabled":true,"reason":"r"}"#;
    let enable = |tag: &str| {
        with(request(Method::POST, "/admin/killswitch/order_creation", body), "if-match", tag)
    };
    desk.send(enable("\"0\"")).await.problem(412, "revision_moved");
    desk.send(enable("soon")).await.problem(400, "bad_request");
    assert!(!desk.enabled("order_creation").await);
    desk.send(enable(&etag("/admin/killswitches").await)).await.ok();
    desk.send(enable("*")).await.ok();
}

#[tokio::test]
async fn a_misspelt_parameter_is_no_kill_and_is_told_which_was_probably_meant() {
    let desk = Desk::new();
    let kill = json!({ "enabled": false, "reason": "r" });
    let refused = async |query: &str| {
        desk.post(&format!("/admin/killswitch/order_creation?{query}"), kill.clone())
            .await
            .problem(400, "bad_request")
    };
    let detail = refused("wiat=all").await;
    assert!(detail.contains("there is no parameter wiat; did you mean wait?"), "{detail}");
    assert!(refused("wait=all&colour=blue").await.contains("timeout_ms, wait"));
    assert!(refused("wait").await.contains("`wait`"));
    assert!(desk.enabled("order_creation").await);
    let detail = desk.get("/admin/killswitches?feature=x").await.problem(400, "bad_request");
    assert!(detail.contains("there is no parameter feature, but none"), "{detail}");
}

#[tokio::test]
async fn a_write_that_is_sent_twice_is_done_once_and_answered_twice() {
    let desk = Desk::new();
    let send = async |key: &str, path: &str, reason: &str| {
        let body = json!({ "enabled": false, "reason": reason }).to_string();
        desk.send(with(request(Method::POST, path, &body), "idempotency-key", key)).await
    };
    let path = "/admin/killswitch/order_creation";
    let first = send("\"k-1\"", path, "r").await;
    let again = send("k-1", path, "r").await;
    assert_eq!(first.ok(), again.ok());
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!(first.headers["etag"], again.headers["etag"]);
    assert!(!first.headers.contains_key("idempotent-replayed"));
    assert_eq!(desk.get("/admin/audit").await.ok()["entries"].as_array().unwrap().len(), 1);

    send("k-1", path, "another").await.problem(422, "idempotency_key_reused");
    send("k-1", "/admin/killswitch/email_notifications", "r")
        .await
        .problem(422, "idempotency_key_reused");
    assert_eq!(send("k-2", path, "r").await.ok()["revision"], 2, "another key, another write");
    send(&"k".repeat(256), path, "r").await.problem(400, "bad_request");
    send("", path, "r").await.problem(400, "bad_request");
}

#[tokio::test]
async fn a_write_goes_on_when_its_caller_hangs_up_and_the_answer_is_there_for_the_next() {
    let desk = Desk::new();
    let body = r#"{"enabled":false,"reason":"r"}"#;
    let kill = || {
        let kill = request(Method::POST, "/admin/killswitch/order_creation", body);
        with(kill, "idempotency-key", "k")
    };
    let mut first = Box::pin(desk.router.clone().oneshot(kill()));
    assert!((&mut first).now_or_never().is_none(), "the writer is another thread");
    drop(first);
    let answer = loop {
        let answer = desk.send(kill()).await;
        if answer.status != 409 {
            break answer;
        }
        answer.problem(409, "still_running");
        tokio::task::yield_now().await;
    };
    assert_eq!(answer.ok()["revision"], 1, "done once");
    assert!(answer.headers.contains_key("idempotent-replayed"));
}

#[tokio::test]
async fn a_write_that_came_too_late_may_be_sent_again_over_another_revision() {
    let desk = Desk::new();
    let kill = async |revision: &str| {
        let body = r#"{"enabled":false,"reason":"r"}"#;
        let kill = request(Method::POST, "/admin/killswitch/order_creation", body);
        desk.send(with(with(kill, "if-match", revision), "idempotency-key", "k")).await
    };
    for revision in ["7", "8", "8"] {
        let late = kill(revision).await;
        assert!(late.problem(412, "revision_moved").contains(revision));
        assert!(!late.headers.contains_key("idempotent-replayed"));
    }
    assert_eq!(kill("0").await.ok(), kill("0").await.ok());
    kill("1").await.problem(422, "idempotency_key_reused");
}

#[tokio::test]
async fn what_may_be_otherwise_tomorrow_is_not_kept() {
    let desk = Desk::new();
    for (feature, status) in [("no_such_feature", 404), ("sms", 409)] {
        for _ in 0..2 {
            let path = format!("/admin/killswitch/{feature}");
            let enable = request(Method::POST, &path, r#"{"enabled":true,"reason":"r"}"#);
            let answer = desk.send(with(enable, "idempotency-key", feature)).await;
            assert_eq!(answer.status, status, "{}", answer.text());
            assert!(!answer.headers.contains_key("idempotent-replayed"), "{feature}");
        }
    }
}

#[tokio::test]
async fn nobody_waits_for_more_than_a_minute() {
    let desk = Desk::new();
    let kill = async |timeout: u64| {
        let path = format!("/admin/killswitch/order_creation?wait=all&timeout_ms={timeout}");
        desk.post(&path, json!({ "enabled": false, "reason": "r" })).await
    };
    let detail = kill(60_001).await.problem(400, "bad_request");
    assert_eq!(detail, "`timeout_ms` must be at most 60000, not 60001");
    assert!(desk.enabled("order_creation").await);
    kill(60_000).await.ok();
}
