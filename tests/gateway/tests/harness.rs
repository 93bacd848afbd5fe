//! The harness itself: what its pieces promise to the other tests, shown without a gateway.

use std::process::Command;
use std::time::{Duration, Instant};

use http::Method;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, span::SpanKind};
use portcullis_tests::{
    Client, Gate, OtlpReceiver, PATIENCE, Process, RawConnection, Recorded, Redis, Script,
    Upstream, eventually, free_port, within,
};
use prost::Message;

#[tokio::test]
async fn an_upstream_answers_and_remembers_the_request_byte_for_byte() {
    let upstream = Upstream::always(Script::answer(201, "made").header("X-Made", "yes"));

    let mut connection = RawConnection::open(upstream.address()).await;
    connection.write("POST /a?b=%2f HTTP/1.1\r\nHost:x\r\nX-ODD:  two  words \r\nContent-Length: 3\r\n\r\nabc").await;
    let answer = connection.read_answer().await;

    assert_eq!((answer.status, answer.text(), answer.header("x-made")), (201, "made", Some("yes")));
    let request = &upstream.requests()[0];
    assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/a?b=%2f"));
    assert!(
        request
            .head
            .raw
            .starts_with(b"POST /a?b=%2f HTTP/1.1\r\nHost:x\r\nX-ODD:  two  words \r\n")
    );
    assert_eq!(
        (request.header("x-odd"), &request.body[..], request.complete),
        (Some("two  words"), &b"abc"[..], true)
    );
}

#[tokio::test]
async fn an_upstream_counts_connections_and_requests_apart() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let client = Client::kept_alive();
    client.get(upstream.url()).await;
    client.get(upstream.url()).await;
    Client::new().get(upstream.url()).await;

    assert_eq!((upstream.connection_count(), upstream.request_count()), (2, 3));
    assert_eq!(upstream.requests()[1].nth_on_connection, 1);
}

#[tokio::test]
async fn queued_scripts_come_first_and_a_choice_sees_the_request() {
    let upstream = Upstream::scripted(|request| {
        Script::answer(if request.target == "/bad" { 500 } else { 200 }, "")
    });
    upstream.next(Script::answer(418, ""));
    let status = async |path: &str| Client::new().get(upstream.url() + path).await.status;

    assert_eq!(status("/").await, 418);
    assert_eq!(status("/bad").await, 500);
    upstream.now_always(Script::answer(204, ""));
    assert_eq!(status("/bad").await, 204);
}

#[tokio::test]
async fn what_is_answered_aside_takes_no_script_and_leaves_no_trace() {
    let upstream = Upstream::always(Script::answer(200, ""));
    upstream.aside("/health", Script::answer(204, ""));
    upstream.next(Script::answer(418, ""));

    assert_eq!(Client::new().get(upstream.url() + "/health").await.status, 204);
    assert_eq!(Client::new().get(upstream.url() + "/").await.status, 418);
    assert_eq!(upstream.request_count(), 1);
}

#[tokio::test]
async fn an_echo_tells_what_arrived() {
    let upstream = Upstream::always(Script::echo());
    let echo = Client::new()
        .request(Method::PUT, upstream.url() + "/x")
        .header("a", "b")
        .body("12345")
        .await
        .ok();

    assert_eq!(
        (&echo["method"], &echo["target"], &echo["body_length"]),
        (&"PUT".into(), &"/x".into(), &5.into())
    );
    assert!(
        echo["headers"]
            .as_array()
            .is_some_and(|headers| headers.contains(&serde_json::json!(["a", "b"])))
    );
}

#[tokio::test]
async fn a_chunked_body_is_recorded_without_its_framing_and_with_its_trailers() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let mut connection = RawConnection::open(upstream.address()).await;
    connection.write("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    connection.write_chunk("first ").await;
    assert_eq!(upstream.body_until(6).await.body, b"first ");
    connection.write_chunk("second").await;
    connection.write("0\r\nX-Sum: 12\r\n\r\n").await;
    connection.read_answer().await;

    let Recorded { body, trailers, complete, .. } = &upstream.requests()[0];
    assert_eq!((&body[..], *complete), (&b"first second"[..], true));
    assert_eq!(trailers, &[("X-Sum".to_owned(), "12".to_owned())]);
}

#[tokio::test]
async fn each_fault_looks_like_a_fault_to_the_client() {
    let whole = "0123456789";
    for (name, script) in [
        ("reset", Script::reset()),
        ("close", Script::close()),
        ("close after three bytes", Script::close_after(3)),
        ("reset in the body", Script::reset_mid_body(whole, 4)),
        ("close in the body", Script::close_mid_body(whole, 4)),
        ("a length too long", Script::lie_about_length(99, whole)),
        ("garbage", Script::raw("\x00\x01 this is not HTTP\r\n\r\n")),
    ] {
        let upstream = Upstream::always(script);
        let answer = Client::new().post(upstream.url()).body("hello").attempt().await;
        assert!(answer.is_err(), "{name}: {answer:?}");
        assert_eq!(upstream.request_count(), 1, "{name}");
    }
}

#[tokio::test]
async fn a_stall_says_nothing_and_sees_the_client_go() {
    for script in [Script::stall(), Script::stall_after_head(), Script::freeze()] {
        let freezes = format!("{script:?}").contains("Freeze");
        let upstream = Upstream::always(script);
        let answer =
            Client::new().get(upstream.url()).within(Duration::from_millis(100)).attempt().await;
        assert!(answer.is_err_and(|failed| failed.to_string().contains("no answer within")));
        if !freezes {
            upstream.connections_gone().await;
        }
    }
}

#[tokio::test]
async fn a_trickle_takes_its_time() {
    let upstream = Upstream::always(Script::trickle("abcdef", 2, Duration::from_millis(30)));
    let start = Instant::now();
    assert_eq!(Client::new().get(upstream.url()).await.text(), "abcdef");
    assert!(start.elapsed() >= Duration::from_millis(60));
}

#[tokio::test]
async fn a_gate_puts_an_answer_after_what_the_test_saw() {
    let gate = Gate::closed();
    let script = Script::default()
        .head(200)
        .header("transfer-encoding", "chunked")
        .chunk("one")
        .at(&gate)
        .chunk("two")
        .last_chunk();
    let upstream = Upstream::always(script);
    let mut connection = RawConnection::open(upstream.address()).await;
    connection.write("GET / HTTP/1.1\r\n\r\n").await;

    connection.read_head().await;
    assert_eq!(connection.piece().await.as_deref(), Some(&b"one"[..]));
    gate.open();
    assert_eq!(connection.rest().await, b"two");
}

#[tokio::test]
async fn an_early_answer_is_there_before_the_body_is() {
    let upstream = Upstream::always(Script::answer_early(413, "too much"));
    let mut connection = RawConnection::open(upstream.address()).await;
    connection.write("POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n").await;
    assert_eq!(connection.read_answer().await.text(), "too much");

    assert!(!upstream.requests()[0].complete);
    connection.write("0123456789").await;
    assert!(upstream.body_until(10).await.body_length == 10);
}

#[tokio::test]
async fn an_answer_can_come_twice() {
    let upstream = Upstream::always(Script::answer_twice("one", "two"));
    let mut connection = RawConnection::open(upstream.address()).await;
    connection.write("GET / HTTP/1.1\r\n\r\n").await;
    assert_eq!(connection.read_answer().await.text(), "one");
    assert_eq!(connection.read_answer().await.text(), "two");
}

#[tokio::test]
async fn an_upstream_that_refuses_comes_back_on_the_same_port() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let client = Client::kept_alive();
    client.get(upstream.url()).await;

    upstream.refuse().await;
    assert!(client.get(upstream.url()).attempt().await.is_err());
    upstream.accept().await;
    assert_eq!(client.get(upstream.url()).await.status, 200);
}

#[tokio::test]
async fn a_half_closed_connection_still_hears_the_answer() {
    let upstream = Upstream::always(Script::answer(200, "still here").then_close());
    let mut connection = RawConnection::open(upstream.address()).await;
    connection.write("GET / HTTP/1.1\r\n\r\n").await;
    connection.half_close().await;
    assert!(connection.read_to_end().await.ends_with(b"still here"));
}

#[tokio::test]
async fn spans_given_by_hand_form_a_tree() {
    let span = |id: u8, parent: &[u8], name: &str, kind: SpanKind| Span {
        trace_id: vec![7; 16],
        span_id: vec![id; 8],
        parent_span_id: parent.to_vec(),
        name: name.to_owned(),
        kind: kind.into(),
        ..Span::default()
    };
    let spans =
        vec![span(1, &[], "GET /", SpanKind::Server), span(2, &[1; 8], "GET", SpanKind::Client)];
    let group = ResourceSpans {
        scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    };
    let export = ExportTraceServiceRequest { resource_spans: vec![group] };

    let receiver = OtlpReceiver::start();
    Client::new().post(receiver.endpoint() + "/v1/traces").body(export.encode_to_vec()).await;

    let spans = receiver
        .spans_until("two spans", |spans| spans.0.len() == 2)
        .await
        .of_trace(&"07".repeat(16));
    let server = spans.of_kind("server").expect("it was posted");
    assert_eq!(spans.children_of(server)[0].name, "GET");
    assert_eq!(spans.parent_of(spans.of_kind("client").expect("it was posted")), Some(server));
}

#[tokio::test]
async fn what_a_process_says_can_be_waited_for() {
    let process = shell("echo one; echo two >&2; sleep 60");
    assert_eq!(process.logged("two").await, "two");
    assert_eq!(process.logged("on").await, "one");
}

#[tokio::test]
async fn a_process_can_be_asked_to_end() {
    let mut process =
        shell("trap 'echo bye; exit 7' TERM; echo ready; while :; do sleep 0.01; done");
    process.logged("ready").await;
    assert_eq!(process.terminate().await.code(), Some(7));
    assert_eq!(process.log().containing("bye"), ["bye"]);
}

#[tokio::test]
async fn a_killed_process_is_gone() {
    let mut process = shell("echo ready; exec sleep 60");
    process.logged("ready").await;
    process.kill_9();
    assert!(!process.is_running());
}

#[tokio::test]
#[should_panic(expected = "ended without saying \"never\"")]
async fn a_line_that_cannot_come_any_more_fails_at_once() {
    shell("echo something else").logged("never").await;
}

#[tokio::test]
async fn a_redis_can_be_lost_and_found() {
    let mut redis = Redis::start().await;
    assert_eq!(redis.command("SET key value").await.expect("it runs"), "+OK");

    redis.kill_9();
    assert!(redis.command("PING").await.is_err());
    redis.restart().await;
    assert_eq!(redis.command("EXISTS key").await.expect("it runs again"), ":0");
}

#[tokio::test]
async fn a_paused_redis_keeps_silent_until_it_resumes() {
    let mut redis = Redis::start().await;
    redis.pause();
    assert!(tokio::time::timeout(Duration::from_millis(100), redis.command("PING")).await.is_err());

    let mut connection = RawConnection::open(redis.address()).await;
    connection.write("PING\r\nQUIT\r\n").await;
    redis.resume();
    assert!(connection.read_to_end().await.starts_with(b"+PONG\r\n"));
}

#[tokio::test]
async fn free_ports_differ_and_are_free() {
    let (one, two) = (free_port(), free_port());
    assert_ne!(one, two);
    assert!(std::net::TcpListener::bind(("127.0.0.1", one)).is_ok());
}

#[tokio::test]
async fn waiting_ends_with_the_value_that_was_waited_for() {
    let mut looks = 0..;
    let third = eventually(PATIENCE, "the third look", || {
        let look = looks.next();
        async move { look.filter(|look| *look >= 2) }
    })
    .await;
    assert_eq!(third, 2);
}

#[tokio::test]
#[should_panic(expected = "gave up after 50ms waiting until pigs fly")]
async fn waiting_for_what_never_comes_ends() {
    eventually(Duration::from_millis(50), "pigs fly", || async { false }).await;
}

#[tokio::test]
#[should_panic(expected = "gave up after 50ms waiting for nothing")]
async fn waiting_for_a_future_that_hangs_ends() {
    within(Duration::from_millis(50), "nothing", std::future::pending::<()>()).await;
}

fn shell(script: &str) -> Process {
    let mut command = Command::new("sh");
    command.args(["-c", script]);
    Process::spawn("a shell", command)
}
