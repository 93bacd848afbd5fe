//! The promise: what happens to a request can be read as a tree of spans, across the gateway and into the upstream.

use portcullis_tests::{Client, Gateway, Launch, OtlpReceiver, Recorded, Script, Upstream};
use serde_json::json;

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

#[tokio::test]
async fn the_upstreams_traceparent_is_a_child_of_the_server_span() {
    let (upstream, receiver) = (Upstream::always(Script::answer(200, "")), OtlpReceiver::start());
    let gateway = traced(Gateway::in_front_of(&upstream), &receiver).start().await;
    Client::new()
        .get(gateway.url("/a"))
        .header("traceparent", &format!("00-{TRACE}-{CALLER}-01"))
        .await;

    let spans = receiver
        .spans_until("the call to the upstream", |spans| {
            spans.of_trace(TRACE).of_kind("client").is_some()
        })
        .await;
    let spans = receiver
        .spans_until("the request", |_| spans.of_trace(TRACE).of_kind("server").is_some())
        .await
        .of_trace(TRACE);
    let server = spans.of_kind("server").expect("just seen");
    assert_eq!(server.parent_id.as_deref(), Some(CALLER), "\n{spans}");
    let (trace, span, sampled) = traceparent(&upstream.requests()[0]);
    assert_eq!((trace.as_str(), sampled.as_str()), (TRACE, "01"));
    let call = spans
        .by_id(&span)
        .unwrap_or_else(|| panic!("the upstream was given the id of a span {span} among\n{spans}"));
    let mut above = spans.parent_of(call);
    while above.is_some_and(|span| span != server) {
        above = above.and_then(|span| spans.parent_of(span));
    }
    assert_eq!(above, Some(server), "\n{spans}");
}

#[tokio::test]
async fn a_request_without_a_trace_begins_one() {
    let (upstream, receiver) = (Upstream::always(Script::answer(200, "")), OtlpReceiver::start());
    let gateway = traced(Gateway::in_front_of(&upstream), &receiver).start().await;
    Client::new().get(gateway.url("/a")).await;

    let (trace, _, _) = traceparent(&upstream.requests()[0]);
    let spans = receiver
        .spans_until("the request", |spans| spans.of_trace(&trace).of_kind("server").is_some())
        .await;
    let server = spans.of_trace(&trace).of_kind("server").cloned().expect("just seen");
    assert_eq!((server.parent_id.as_deref(), server.service.as_str()), (None, "portcullis"));
}

#[tokio::test]
async fn a_refusal_is_in_the_tree_and_calls_nobody() {
    let (upstream, receiver) = (Upstream::always(Script::answer(200, "")), OtlpReceiver::start());
    let gateway = traced(Gateway::in_front_of(&upstream), &receiver).start().await;
    let kill = json!({ "enabled": false, "reason": "testing" });
    Client::new().post(gateway.admin_url("/admin/killswitch/route:app")).json(&kill).await.ok();
    let traceparent = format!("00-{TRACE}-{CALLER}-01");
    Client::new()
        .get(gateway.url("/a"))
        .header("traceparent", &traceparent)
        .await
        .refused(503, "killswitch");

    let spans = receiver
        .spans_until("the refusal", |spans| spans.of_trace(TRACE).of_kind("server").is_some())
        .await
        .of_trace(TRACE);
    assert!(
        spans.0.iter().any(|span| span.attributes.values().any(|value| value == "killswitch")),
        "\n{spans}"
    );
    assert!(spans.of_kind("client").is_none(), "\n{spans}");
}

#[tokio::test]
async fn an_unsampled_request_passes_its_trace_on_and_exports_nothing() {
    let (upstream, receiver) = (Upstream::always(Script::answer(200, "")), OtlpReceiver::start());
    let mut gateway = traced(Gateway::in_front_of(&upstream), &receiver).start().await;
    Client::new()
        .get(gateway.url("/a"))
        .header("traceparent", &format!("00-{TRACE}-{CALLER}-00"))
        .await;

    let (trace, _, sampled) = traceparent(&upstream.requests()[0]);
    assert_eq!((trace.as_str(), sampled.as_str()), (TRACE, "00"));
    // A gateway that ends sends what it still holds, so after its end nothing more can come.
    gateway.terminate().await;
    assert!(receiver.spans().of_trace(TRACE).0.is_empty(), "\n{}", receiver.spans());
}

#[tokio::test]
async fn a_receiver_that_is_away_costs_no_request() {
    let (upstream, receiver) = (Upstream::always(Script::answer(200, "")), OtlpReceiver::start());
    receiver.upstream().refuse().await;
    let gateway = traced(Gateway::in_front_of(&upstream), &receiver).start().await;
    for _ in 0..50 {
        assert_eq!(Client::new().get(gateway.url("/a")).await.status, 200);
    }
}

fn traced(launch: Launch, receiver: &OtlpReceiver) -> Launch {
    launch
        .keys("[telemetry]", &format!("otlp_endpoint = \"{}\"", receiver.endpoint()))
        .env("OTEL_BSP_SCHEDULE_DELAY", "100")
}

/// Trace, span and flags of the `traceparent` that an upstream was given.
fn traceparent(request: &Recorded) -> (String, String, String) {
    let header =
        request.header("traceparent").expect("every request to an upstream carries its trace");
    let parts: Vec<_> = header.split('-').map(ToOwned::to_owned).collect();
    let [version, trace, span, flags] =
        <[String; 4]>::try_from(parts).expect("a traceparent has four parts");
    assert_eq!(version, "00");
    (trace, span, flags)
}
