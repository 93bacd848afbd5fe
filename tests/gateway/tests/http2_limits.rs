//! The promise: an HTTP/2 client that keeps still, takes nothing, leaves or only makes work costs nobody but itself.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use portcullis_tests::http2::{Came, Connection, Line, line};
use portcullis_tests::{Client, Gateway, Launch, PATIENCE, RawConnection, Script, Upstream};

/// Opens a connection with settings of its own and plays these lines.
async fn played(gateway: &Gateway, settings: &[(u16, u32)], lines: &[&str]) -> Connection {
    let mut connection = Connection::open(gateway.address(), Ipv4Addr::LOCALHOST).await;
    connection.greet(settings).await;
    perform(&mut connection, lines).await;
    connection
}

async fn perform(connection: &mut Connection, lines: &[&str]) {
    let lines: Vec<Line> = lines.iter().map(|text| line(text)).collect();
    connection.perform(&lines).await;
}

/// SETTINGS_INITIAL_WINDOW_SIZE.
const WINDOW: u16 = 4;

#[tokio::test]
async fn an_idle_connection_is_told_and_closed_however_often_it_pings() {
    let upstream = Upstream::always(Script::answer(200, "fine"));
    let gateway =
        Gateway::in_front_of(&upstream).keys("[server]", "idle_timeout_seconds = 1").start().await;
    let mut connection = played(&gateway, &[], &["HEADERS 1 end @get=/", "AWAIT end 1"]).await;
    let start = Instant::now();
    let told = loop {
        assert!(start.elapsed() < PATIENCE, "pings keep it alive");
        perform(&mut connection, &["PING"]).await;
        let told = |came: &Came| came.goaway.is_some();
        let came = connection.until_within(Duration::from_millis(100), told).await;
        if came.goaway.is_some() {
            break start.elapsed();
        }
    };
    assert!(told >= Duration::from_millis(900), "it was told after {told:?}");
    let came = connection.until(|came| came.closed).await;
    assert!(came.closed && came.goaway == Some(0), "{came:?}");
}

#[tokio::test]
async fn a_request_that_crosses_the_farewell_is_served() {
    let upstream = Upstream::always(Script::answer(200, "fine"));
    let gateway = Gateway::in_front_of(&upstream)
        .keys("[server]", "idle_timeout_seconds = 0.5")
        .start()
        .await;
    let mut connection = played(&gateway, &[], &[]).await;
    connection.until(|came| came.goaway.is_some()).await;
    perform(&mut connection, &["HEADERS 1 end @get=/"]).await;
    let came = connection.until(|came| came.on(1).ended).await;
    assert_eq!(came.on(1).status, Some(200), "{came:?}");
}

/// A gateway with one upstream for `/large/*` and one for the rest, which gives up clients that take nothing for a second.
fn with_two(large: &Upstream, small: &Upstream) -> Launch {
    Gateway::with_config(&format!(
        "[server]\nbody_idle_timeout_seconds = 1\n\n[upstreams.large]\nurl = \"{}\"\n\n[upstreams.small]\nurl = \"{}\"\n\n\
         [[routes]]\nname = \"large\"\npath = \"/large/{{*}}\"\nupstream = \"large\"\n\n\
         [[routes]]\nname = \"small\"\npath = \"/{{*}}\"\nupstream = \"small\"\n",
        large.url(),
        small.url()
    ))
}

/// What comes on a stream whose window is opened so far, while another stream is answered again and again.
async fn starved(bytes: usize, window: u32) -> (Came, Upstream) {
    let large = Upstream::always(Script::answer(200, vec![b'x'; bytes]));
    let small = Upstream::always(Script::answer(200, "fine"));
    let gateway = with_two(&large, &small).start().await;
    let mut connection =
        played(&gateway, &[(WINDOW, window)], &["HEADERS 1 end @get=/large/x", "AWAIT answer 1"])
            .await;
    let start = Instant::now();
    let mut other = 3;
    let came = loop {
        assert!(start.elapsed() < PATIENCE, "the stream is never given up");
        perform(
            &mut connection,
            &[
                &format!("HEADERS {other} end @get=/small"),
                &format!("WINDOW {other} 100"),
                &format!("AWAIT end {other}"),
            ],
        )
        .await;
        let over = |came: &Came| came.on(1).is_over();
        let came = connection.until_within(Duration::from_millis(50), over).await;
        assert_eq!(came.on(other).status, Some(200), "{came:?}");
        other += 2;
        if came.on(1).is_over() {
            break came;
        }
    };
    assert!(start.elapsed() >= Duration::from_millis(900), "given up after {:?}", start.elapsed());
    assert!(connection.is_alive().await);
    (came, large)
}

#[tokio::test]
async fn a_stream_whose_window_stays_shut_is_given_up_while_others_go_on() {
    let (came, upstream) = starved(1_000_000, 0).await;
    upstream.connections_gone().await;
    assert_eq!((came.on(1).reset, came.on(1).body), (Some(8), 0), "{came:?}");
}

#[tokio::test]
async fn a_stream_of_which_only_the_beginning_is_taken_is_given_up_too() {
    let (came, upstream) = starved(10_000_000, 60_000).await;
    upstream.connections_gone().await;
    assert_eq!((came.on(1).reset, came.on(1).body), (Some(8), 60_000), "{came:?}");
}

#[tokio::test]
async fn an_answer_that_is_all_at_hand_does_not_hide_that_it_is_not_taken() {
    let (came, _) = starved(6_000, 100).await;
    assert_eq!(came.on(1).reset, Some(8), "{came:?}");
    assert!(came.on(1).body <= 100, "{came:?}");
}

#[tokio::test]
async fn a_client_that_takes_a_little_now_and_then_gets_all_of_its_answer() {
    let large = Upstream::always(Script::answer(200, vec![b'x'; 90_000]));
    let small = Upstream::always(Script::answer(200, "fine"));
    let gateway = with_two(&large, &small).start().await;
    let mut connection =
        played(&gateway, &[(WINDOW, 0)], &["HEADERS 1 end @get=/large/x", "AWAIT answer 1"]).await;
    let start = Instant::now();
    // 20 kB in less than half a second is a client that takes something; all of it takes longer than the time-out.
    for taken in (0..90_000_usize).step_by(20_000) {
        perform(&mut connection, &["WINDOW 0 20000", "WINDOW 1 20000"]).await;
        connection.until(|came| came.on(1).body > taken).await;
        connection.until_within(Duration::from_millis(400), |came| came.on(1).is_over()).await;
    }
    let came = connection.until(|came| came.on(1).is_over()).await;
    assert!(start.elapsed() > Duration::from_secs(1));
    assert_eq!((came.on(1).body, came.on(1).ended), (90_000, true), "{came:?}");
}

#[tokio::test]
async fn a_body_that_stops_coming_is_given_up_while_other_streams_go_on() {
    let upstream = Upstream::always(Script::answer(200, "fine"));
    let gateway = Gateway::in_front_of(&upstream)
        .keys("[server]", "body_idle_timeout_seconds = 0.5")
        .start()
        .await;
    let mut connection = played(&gateway, &[], &["HEADERS 1 @post=/slow", "DATA 1 abc"]).await;
    let came = connection.until(|came| came.on(1).is_over()).await;
    assert_eq!(came.on(1).status, Some(408), "{came:?}");
    perform(&mut connection, &["HEADERS 3 end @get=/", "AWAIT end 3"]).await;
    assert!(connection.is_alive().await);
}

#[tokio::test]
async fn what_has_begun_and_does_not_go_on_is_gone_after_the_time_of_a_head() {
    let upstream = Upstream::always(Script::stall());
    let gateway = Gateway::in_front_of(&upstream)
        .keys("[server]", "header_timeout_seconds = 0.5\nfirst_byte_timeout_seconds = 0.5")
        .start()
        .await;
    let half = |lines: &'static [&'static str]| played(&gateway, &[], lines);
    for mut connection in [
        half(&["HEADERS 1 end open @get=/"]).await,
        half(&["HEADERS 1 end @get=/stalls", "HEADERS 3 end open @get=/"]).await,
        half(&["RAW \\0\\0\\x40"]).await,
        half(&["RAW \\0\\0\\x08\\x06\\0\\0\\0\\0\\0half"]).await,
    ] {
        let start = Instant::now();
        assert!(connection.until(|came| came.closed).await.closed);
        assert!(start.elapsed() < Duration::from_secs(4));
    }
    for bytes in [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], b"PRI * HTTP/2.0\r\n"] {
        let mut connection = RawConnection::open(gateway.address()).await;
        connection.write(bytes).await;
        connection.read_to_end().await;
    }
}

#[tokio::test]
async fn a_short_upload_never_passes_for_a_whole_one() {
    for head in ["HEADERS 1 @post=/short content-length=10", "HEADERS 1 @post=/short"] {
        let upstream = Upstream::always(Script::answer(200, "fine"));
        let gateway = Gateway::in_front_of(&upstream).start().await;
        let mut connection = played(&gateway, &[], &[head, "DATA 1 abc"]).await;
        upstream.body_until(3).await;
        // NO_ERROR, which hyper takes for the end of the body.
        perform(&mut connection, &["RST 1 0"]).await;
        upstream.connections_gone().await;
        let seen = upstream.requests();
        assert!(seen.len() == 1 && !seen[0].complete && seen[0].body == b"abc", "{head}: {seen:?}");
        assert!(connection.is_alive().await);
    }
}

#[tokio::test]
async fn a_cancelled_request_gives_back_its_upstream_and_its_permit_at_once() {
    let upstream = Upstream::always(Script::stall());
    let gateway = Gateway::in_front_of(&upstream)
        .keys("[upstreams.app]", "concurrency_max = 1")
        .start()
        .await;
    let mut connection = played(&gateway, &[], &["HEADERS 1 end @get=/stalls"]).await;
    upstream.requests_until(1).await;
    Client::new().get(gateway.url("/x")).await.refused(503, "overloaded");
    perform(&mut connection, &["RST 1 8"]).await;
    upstream.connections_gone().await;
    upstream.now_always(Script::answer(200, "fine"));
    assert_eq!(Client::new().get(gateway.url("/x")).await.text(), "fine");
    assert!(connection.is_alive().await);
}

#[tokio::test]
async fn a_flood_is_told_its_end_counted_and_said() {
    let upstream = Upstream::always(Script::answer(200, "fine"));
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let ping = line("PING");
    let mut connection = played(&gateway, &[], &[]).await;
    connection.perform(&[Line::Repeat(5_000, vec![ping])]).await;
    let came = connection.until(|came| came.closed).await;
    assert_eq!(came.goaway, Some(11), "{came:?}");
    let said = gateway.logged("only made work").await;
    assert!(said.contains("flood=\"ping\"") && said.contains("127.0.0.1"), "{said}");
    let metrics = Client::new().get(gateway.admin_url("/metrics")).await;
    assert!(metrics.text().contains("portcullis_http2_floods_total{flood=\"ping\"} 1"));
}
