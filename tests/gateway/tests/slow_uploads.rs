//! The promise: time that a client takes for its upload, and a size that no route takes, are held against the client, whatever
//! its upstream makes of them, and an upstream that takes the time itself is still held to it.
//!
//! The breaker of each gateway here opens at one failure, so whether the next request is served tells who was blamed.

use std::time::Duration;

use portcullis_tests::{Client, Gateway, Launch, RawConnection, Recorded, Script, Upstream};

/// What an upload finds at the upstream, in front of which each plain GET is answered.
fn upstream(upload: Script) -> Upstream {
    Upstream::scripted(move |request: &Recorded| match &*request.method {
        "POST" => upload.clone(),
        _ => Script::answer(200, "fine"),
    })
}

fn guarded(upstream: &Upstream) -> Launch {
    Gateway::in_front_of(upstream)
        .keys("[upstreams.app]", "breaker = \"fragile\"")
        .keys("[breakers.fragile]", "consecutive_failures = 1\nopen_wait_seconds = 3600")
}

/// Uploads, whose length and first bytes are these.
async fn upload(gateway: &Gateway, length: usize, first: &str) -> RawConnection {
    let mut connection = RawConnection::open(gateway.address()).await;
    let head = format!("POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n{first}");
    connection.write(head).await;
    connection
}

async fn is_served(gateway: &Gateway) {
    let answer = Client::new().get(gateway.url("/x")).await;
    assert_eq!(answer.status, 200, "the upstream was blamed: {answer}");
}

#[tokio::test]
async fn an_upload_that_took_most_of_the_requests_time_is_what_was_slow() {
    let upstream = upstream(Script::default().read_body().wait(Duration::from_secs(30)));
    let gateway = guarded(&upstream).keys("[[routes]]", "timeout_seconds = 1").start().await;
    let mut connection = upload(&gateway, 5, "hell").await;
    upstream.body_until(4).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    connection.write("o").await;
    assert_eq!(connection.read_answer().await.status, 408);
    is_served(&gateway).await;
}

#[tokio::test]
async fn an_upstream_that_took_most_of_it_is_what_was_slow() {
    let upstream = upstream(Script::stall());
    let gateway = guarded(&upstream).keys("[[routes]]", "timeout_seconds = 0.5").start().await;
    upload(&gateway, 5, "hello").await.read_answer().await.refused(504, "timeout");
    Client::new().get(gateway.url("/x")).await.refused(503, "circuit_open");
}

#[tokio::test]
async fn an_upload_that_outgrows_its_bound_behind_an_early_answer_is_its_clients_fault() {
    let early = Script::default().head(200).header("transfer-encoding", "chunked").chunk("early");
    let upstream = upstream(early.read_body().last_chunk());
    let gateway = guarded(&upstream).keys("[[routes]]", "body_bytes_max = 1000").start().await;
    let mut connection = RawConnection::open(gateway.address()).await;
    connection.write("POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    connection.write_chunk("hello").await;
    connection.read_head().await;
    assert_eq!(connection.piece().await.as_deref(), Some(&b"early"[..]));
    connection.write_chunk("x".repeat(2000)).await;
    assert!(connection.try_piece().await.is_err(), "the answer can't be whole");
    is_served(&gateway).await;
}

#[tokio::test]
async fn an_upstream_that_is_silent_behind_an_early_answer_because_its_client_is_breaks_nothing() {
    let early = Script::default().head(200).header("transfer-encoding", "chunked").chunk("early");
    let upstream = upstream(early.read_body().last_chunk());
    let gateway =
        guarded(&upstream).keys("[upstreams.app]", "body_idle_timeout_seconds = 0.3").start().await;
    let mut connection = upload(&gateway, 100, "hello").await;
    connection.read_head().await;
    assert_eq!(connection.piece().await.as_deref(), Some(&b"early"[..]));
    assert!(connection.try_piece().await.is_err(), "nobody waits for ever");
    is_served(&gateway).await;
}

#[tokio::test]
async fn an_upstream_that_tires_of_waiting_for_an_upload_does_no_wrong() {
    let upstream = upstream(Script::close_after(2));
    let gateway = guarded(&upstream).start().await;
    let mut connection = upload(&gateway, 5, "he").await;
    assert_eq!(connection.read_answer().await.status, 408);
    is_served(&gateway).await;
}

#[tokio::test]
async fn a_probe_that_its_clients_upload_holds_up_says_nothing() {
    let upstream = Upstream::scripted(|request: &Recorded| match &*request.target {
        "/fails" => Script::answer(500, "no"),
        _ => Script::answer(200, "fine"),
    });
    let gateway = Gateway::in_front_of(&upstream)
        .keys("[upstreams.app]", "response_timeout_seconds = 0.2\nbreaker = \"fragile\"")
        .keys(
            "[breakers.fragile]",
            "consecutive_failures = 1\nopen_wait_seconds = 0.1\nhalf_open_probes = 1\nsuccesses_to_close = 1\nprobe_timeout_seconds = 0.2\ncall_timeout_seconds = 0.2",
        )
        .start()
        .await;
    assert_eq!(Client::new().get(gateway.url("/fails")).await.status, 500);
    tokio::time::sleep(Duration::from_millis(150)).await;
    // The probe: it has its lease, and its client takes its time.
    let _held = upload(&gateway, 5, "he").await;
    upstream.body_until(2).await;
    Client::new().get(gateway.url("/x")).await.refused(503, "circuit_open");
    tokio::time::sleep(Duration::from_millis(250)).await;
    is_served(&gateway).await;
}
