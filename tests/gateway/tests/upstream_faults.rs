//! The promise: whatever an upstream does, the client gets an answer in time, and only the upstream's own doing is held
//! against it.

use std::time::{Duration, Instant};

use portcullis_tests::{Client, Gateway, Launch, RawConnection, Script, Upstream};

#[tokio::test]
async fn a_silent_upstream_is_given_up_after_its_timeout() {
    let upstream = Upstream::always(Script::stall());
    let gateway = Gateway::in_front_of(&upstream)
        .keys("[upstreams.app]", "response_timeout_seconds = 0.3")
        .start()
        .await;
    let start = Instant::now();
    Client::new().get(gateway.url("/x")).await.refused(504, "timeout");
    assert!(start.elapsed() < Duration::from_secs(5));
    upstream.connections_gone().await;
}

#[tokio::test]
async fn the_whole_request_has_a_deadline() {
    let upstream = Upstream::always(Script::stall());
    let gateway =
        Gateway::in_front_of(&upstream).keys("[[routes]]", "timeout_seconds = 0.3").start().await;
    Client::new().get(gateway.url("/x")).await.refused(504, "timeout");
}

#[tokio::test]
async fn a_body_that_stops_coming_is_cut_off_and_not_taken_for_whole() {
    let upstream = Upstream::always(Script::stall_after_head());
    let gateway = Gateway::in_front_of(&upstream)
        .keys("[upstreams.app]", "body_idle_timeout_seconds = 0.3")
        .start()
        .await;
    let failed =
        Client::new().get(gateway.url("/x")).within(Duration::from_secs(10)).attempt().await;
    assert!(failed.is_err_and(|failed| !failed.to_string().contains("no answer within")));
}

#[tokio::test]
async fn a_trickle_that_keeps_coming_is_let_through() {
    let upstream = Upstream::always(Script::trickle("0123456789", 1, Duration::from_millis(50)));
    let gateway = Gateway::in_front_of(&upstream)
        .keys("[upstreams.app]", "body_idle_timeout_seconds = 0.4")
        .start()
        .await;
    assert_eq!(Client::new().get(gateway.url("/x")).await.text(), "0123456789");
}

#[tokio::test]
async fn an_upstream_that_breaks_off_or_talks_nonsense_is_a_bad_gateway() {
    let upstream = Upstream::always(Script::answer(200, "fine"));
    let gateway = Gateway::in_front_of(&upstream).start().await;
    for script in [
        Script::reset(),
        Script::close(),
        Script::raw("\x00\x01 this is not HTTP\r\n\r\n"),
        Script::raw("HTTP/1.1 200 OK\r\ncontent-length: 3\r\ncontent-length: 5\r\n\r\nhello"),
        Script::raw(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        ),
    ] {
        let what = format!("{script:?}");
        upstream.next(script);
        let answer = Client::new().post(gateway.url("/x")).body("x").await;
        assert_eq!(answer.status, 502, "{what}: {answer}");
        answer.refused(502, "upstream_unreachable");
    }
    assert_eq!(Client::new().get(gateway.url("/x")).await.text(), "fine");
}

#[tokio::test]
async fn half_an_answer_is_not_passed_off_as_a_whole_one() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let gateway = Gateway::in_front_of(&upstream).start().await;
    for script in [
        Script::reset_mid_body("0123456789", 4),
        Script::close_mid_body("0123456789", 4),
        Script::default()
            .read_body()
            .head(200)
            .header("transfer-encoding", "chunked")
            .chunk("0123")
            .then_close(),
    ] {
        upstream.next(script);
        assert!(Client::new().get(gateway.url("/x")).attempt().await.is_err());
    }
}

#[tokio::test]
async fn an_upstream_that_answers_twice_does_not_poison_the_next_request() {
    let upstream = Upstream::always(Script::answer(200, "own"));
    upstream.next(Script::answer_twice("first", "poison"));
    let gateway = Gateway::in_front_of(&upstream).keys("[server]", "workers = 1").start().await;
    let client = Client::kept_alive();
    assert_eq!(client.get(gateway.url("/x")).await.text(), "first");
    assert_eq!(client.get(gateway.url("/x")).await.text(), "own");
}

#[tokio::test]
async fn upstream_connections_are_kept_and_used_again() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let gateway = Gateway::in_front_of(&upstream).keys("[server]", "workers = 1").start().await;
    for _ in 0..10 {
        Client::new().get(gateway.url("/x")).await;
    }
    assert_eq!((upstream.request_count(), upstream.connection_count()), (10, 1));
}

#[tokio::test]
async fn a_kept_connection_that_the_upstream_has_closed_is_not_noticed_by_the_client() {
    let upstream = Upstream::always(Script::answer(200, "").then_close());
    let gateway = Gateway::in_front_of(&upstream).keys("[server]", "workers = 1").start().await;
    for _ in 0..5 {
        assert_eq!(Client::new().post(gateway.url("/x")).body("x").await.status, 200);
        upstream.connections_gone().await;
    }
    assert_eq!(upstream.request_count(), 5);
}

#[tokio::test]
async fn a_request_that_can_be_repeated_survives_a_kept_connection_that_dies_under_it() {
    let (upstream, gateway) = dies_when_used_again().await;
    for _ in 0..2 {
        assert_eq!(Client::new().get(gateway.url("/x")).await.status, 200);
    }
    let came: Vec<_> = upstream
        .requests()
        .iter()
        .map(|request| (request.connection, request.nth_on_connection))
        .collect();
    assert_eq!(came, [(0, 0), (0, 1), (1, 0)]);
}

#[tokio::test]
async fn a_request_that_must_not_be_repeated_is_sent_once() {
    let (upstream, gateway) = dies_when_used_again().await;
    assert_eq!(Client::new().get(gateway.url("/x")).await.status, 200);
    Client::new().post(gateway.url("/x")).body("pay").await.refused(502, "upstream_unreachable");
    assert_eq!(upstream.request_count(), 2);
}

#[tokio::test]
async fn what_a_client_does_wrong_is_not_held_against_the_upstream() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let gateway = fragile(&upstream).start().await;
    for fault in ["zz\r\n", "0x5\r\nhello\r\n", "5\r\nhelloooo\r\n"] {
        let mut connection = RawConnection::open(gateway.address()).await;
        connection.write("POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        connection.write(fault).await;
        let answer = connection.read_to_end().await;
        assert!(
            answer.starts_with(b"HTTP/1.1 400 "),
            "{fault:?}: {}",
            String::from_utf8_lossy(&answer)
        );
    }
    assert_eq!(
        Client::new().get(gateway.url("/x")).await.status,
        200,
        "the circuit is still closed"
    );
}

#[tokio::test]
async fn a_client_that_goes_away_is_not_held_against_the_upstream() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let gateway = fragile(&upstream).start().await;
    let mut connection = RawConnection::open(gateway.address()).await;
    connection.write("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf").await;
    upstream.body_until(4).await;
    connection.reset();
    upstream.connections_gone().await;

    let mut connection = RawConnection::open(gateway.address()).await;
    connection.write("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf").await;
    connection.half_close().await;
    connection.read_to_end().await;
    assert_eq!(
        Client::new().get(gateway.url("/x")).await.status,
        200,
        "the circuit is still closed"
    );
}

#[tokio::test]
async fn a_client_that_does_not_read_is_given_up_and_not_held_against_the_upstream() {
    let upstream = Upstream::always(Script::answer(200, vec![b'x'; 32 << 20]));
    let gateway =
        fragile(&upstream).keys("[server]", "body_idle_timeout_seconds = 0.5").start().await;
    let mut connection = RawConnection::open(gateway.address()).await;
    connection.write("GET /x HTTP/1.1\r\nHost: x\r\n\r\n").await;
    upstream.requests_until(1).await;
    upstream.connections_gone().await;
    upstream.now_always(Script::answer(200, ""));
    assert_eq!(
        Client::new().get(gateway.url("/x")).await.status,
        200,
        "the circuit is still closed"
    );
}

#[tokio::test]
async fn an_upstreams_time_starts_when_it_has_the_whole_request() {
    let answer = Script::default().read_body().wait(Duration::from_millis(300)).head(200);
    let upstream = Upstream::always(answer.header("content-length", "0"));
    let gateway =
        fragile(&upstream).keys("[upstreams.app]", "response_timeout_seconds = 0.5").start().await;
    let mut connection = RawConnection::open(gateway.address()).await;
    connection.write("POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n1").await;
    upstream.body_until(1).await;
    // The upload takes nearly as long as the upstream may; together they take longer.
    tokio::time::sleep(Duration::from_millis(400)).await;
    connection.write("2").await;
    assert_eq!(connection.read_answer().await.status, 200);
}

#[tokio::test]
async fn an_upstream_of_an_older_version_does_not_make_the_answer_older() {
    let upstream = Upstream::always(Script::raw("HTTP/1.0 200 OK\r\n\r\nold").then_close());
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let mut connection = RawConnection::open(gateway.address()).await;
    for _ in 0..2 {
        connection.write("GET /x HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(connection.read_answer().await.text(), "old");
    }
}

#[tokio::test]
async fn what_an_upstream_does_wrong_is_held_against_it() {
    for script in
        [Script::reset(), Script::answer(500, ""), Script::close_mid_body("0123456789", 4)]
    {
        let upstream = Upstream::always(script);
        let gateway = fragile(&upstream).start().await;
        let _ = Client::new().get(gateway.url("/x")).attempt().await;
        gateway.logged("Circuit breaker OPENED for app").await;
        Client::new().get(gateway.url("/x")).await.refused(503, "circuit_open");
    }
}

/// A gateway whose circuit opens on the first failure.
fn fragile(upstream: &Upstream) -> Launch {
    Gateway::in_front_of(upstream)
        .keys("[upstreams.app]", "breaker = \"fragile\"")
        .keys("[breakers.fragile]", "consecutive_failures = 1\nopen_wait_seconds = 60")
}

async fn dies_when_used_again() -> (Upstream, Gateway) {
    let upstream = Upstream::scripted(|request| match request.nth_on_connection {
        0 => Script::answer(200, ""),
        _ => Script::close(),
    });
    let gateway = Gateway::in_front_of(&upstream).keys("[server]", "workers = 1").start().await;
    (upstream, gateway)
}
