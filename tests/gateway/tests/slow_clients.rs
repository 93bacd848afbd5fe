//! The promise: clients that take their time cost themselves something, and nobody else. Each is gone in time, none is held
//! against the upstream, and who is quick doesn't notice them.

use std::time::{Duration, Instant};

use portcullis_tests::{
    Client, Crowd, Depot, Gateway, Launch, PATIENCE, RawConnection, Slow, allow_descriptors,
    eventually, in_full,
};
use tokio::task::JoinSet;

/// What a timer may be late on a machine that builds something else meanwhile.
const LATE: Duration = Duration::from_secs(3);

#[tokio::test]
async fn a_connection_that_says_nothing_is_gone_within_ten_seconds() {
    let depot = Depot::open();
    let gateway = Gateway::in_front_of_depot(&depot).start().await;
    let start = Instant::now();
    let mut silent = RawConnection::open(gateway.address()).await;
    let mut stuck_in_the_preface = RawConnection::open(gateway.address()).await;
    stuck_in_the_preface.write("PRI * HT").await;

    assert_eq!(silent.read_to_end().await, b"");
    assert_eq!(stuck_in_the_preface.read_to_end().await, b"");
    assert!(start.elapsed() < Duration::from_secs(10), "it took {:?}", start.elapsed());
}

#[tokio::test]
async fn half_a_head_is_answered_408_or_closed_in_time() {
    let depot = Depot::open();
    let gateway = impatient(&depot).start().await;
    for opening in ["G", "GET /x HTTP/1.1\r\nHo", "GET /x HTTP/1.1\r\nHost: x\r\n"] {
        let mut connection = RawConnection::open(gateway.address()).await;
        let start = Instant::now();
        connection.write(opening).await;
        let answer = connection.read_to_end().await;
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"), "{opening:?}");
        assert!(in_time(start), "{opening:?} took {:?}", start.elapsed());
    }
}

#[tokio::test]
async fn a_head_that_trickles_has_no_more_time_than_one_that_stops() {
    let depot = Depot::open();
    let gateway = impatient(&depot).start().await;
    let mut connection = RawConnection::open(gateway.address()).await;
    let start = Instant::now();
    connection.write("GET /x HTTP/1.1\r\nHost: x\r\nX-Slow: ").await;
    while connection.try_write("a").await.is_ok() {
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(in_time(start), "it goes on after {:?}", start.elapsed());
    }
}

#[tokio::test]
async fn a_connection_at_rest_is_closed_after_its_idle_time() {
    let depot = Depot::open();
    let gateway = impatient(&depot).start().await;
    let mut connection = RawConnection::open(gateway.address()).await;
    connection.write("GET /x/3 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(connection.read_answer().await.body.len(), 3);
    let start = Instant::now();
    assert_eq!(connection.read_to_end().await, b"");
    assert!(in_time(start), "it took {:?}", start.elapsed());
}

#[tokio::test]
async fn an_idle_http2_connection_is_closed_after_its_idle_time() {
    const PREFACE_AND_SETTINGS: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    let depot = Depot::open();
    let gateway = impatient(&depot).start().await;
    for opening in [PREFACE_AND_SETTINGS, &PREFACE_AND_SETTINGS[..24]] {
        let mut connection = RawConnection::open(gateway.address()).await;
        let start = Instant::now();
        connection.write(opening).await;
        connection.read_to_end().await;
        assert!(in_time(start), "it took {:?}", start.elapsed());
    }
}

#[tokio::test]
async fn a_body_that_stops_coming_is_answered_408_and_is_not_the_upstreams_fault() {
    let depot = Depot::open();
    let gateway = impatient(&depot).start().await;
    let length = "POST /x/3 HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n12345";
    let chunks = "POST /x/3 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n12";
    for request in [length, chunks] {
        let mut connection = RawConnection::open(gateway.address()).await;
        let start = Instant::now();
        connection.write(request).await;
        connection.read_answer().await.refused(408, "request_timeout");
        assert!(in_time(start), "it took {:?}", start.elapsed());
        connection.read_to_end().await;
    }
    assert_untouched(&gateway).await;
}

#[tokio::test]
async fn a_reader_that_stops_reading_is_cut_and_is_not_the_upstreams_fault() {
    let depot = Depot::open();
    let gateway = impatient(&depot).start().await;
    let start = Instant::now();
    let mut stalled = RawConnection::open(gateway.address()).await;
    stalled.write("GET /x/1000000000 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    stalled.read_head().await;

    depot.connections_at_most(0).await;
    assert!(in_time(start), "it took {:?}", start.elapsed());
    let rest = async { while let Ok(Some(_)) = stalled.try_piece().await {} };
    rest.await;
    assert!(depot.given() < 1_000_000_000, "the whole answer was taken from the upstream");
    assert_untouched(&gateway).await;
}

/// Without that, a crowd that takes them all would open the breakers of upstreams that are well.
#[tokio::test]
async fn clients_that_only_hold_on_never_take_the_descriptors_that_upstreams_need() {
    let depot = Depot::open();
    let patient = fragile(&depot).keys("[server]", "first_byte_timeout_seconds = 60");
    let gateway = patient.descriptors(192).start().await;
    gateway.logged("128 connections are taken at once instead of 10000").await;
    let mut quick = RawConnection::open(gateway.address()).await;
    let mut crowd = Vec::new();
    for _ in 0..300 {
        crowd.push(RawConnection::open(gateway.address()).await);
    }
    let last = crowd.last_mut().expect("there are some");
    assert_eq!(last.read_to_end().await, b"", "it is turned away at once");

    quick.write("GET /x/3 HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert_eq!(quick.read_answer().await.status, 200);
    assert_untouched(&gateway).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn whoever_is_quick_does_not_notice_a_crowd_of_the_slow() {
    let (kinds, pairs, quiet, crowded) = in_full(
        ([2_000, 500, 500], 5, Duration::from_secs(10), Duration::from_secs(30)),
        ([200, 50, 50], 1, Duration::from_secs(2), Duration::from_secs(6)),
    );
    let [heads, bodies, readers] = kinds;
    allow_descriptors(8_192);
    let depot = Depot::open();
    // In full the gateway's own time-outs hold; the short form wants to see one act within its few seconds.
    let hurried = fragile(&depot).keys("[server]", "header_timeout_seconds = 2");
    let gateway = in_full(fragile(&depot), hurried).start().await;
    answered(&gateway, Duration::from_millis(500)).await;

    let mut ratios = Vec::new();
    for _ in 0..pairs {
        let without = answered(&gateway, quiet).await;
        let crowd = Crowd::at(
            gateway.address(),
            &[(Slow::Head, heads), (Slow::Body, bodies), (Slow::Reader, readers)],
        );
        crowd.gathered().await;
        let with = answered(&gateway, crowded).await;
        let ratio = with.p99.as_secs_f64() / without.p99.as_secs_f64();
        println!(
            "{heads} slow heads, {bodies} slow bodies, {readers} slow readers, {} times cut: \
             p99 {:?} against {:?}, {ratio:.2} times; p50 {:?} against {:?}; {} answers, {} errors",
            crowd.cut(),
            with.p99,
            without.p99,
            with.p50,
            without.p50,
            with.answers,
            with.errors
        );
        assert_eq!((without.errors, with.errors), (0, 0), "a quick client was harmed");
        assert!(crowd.cut() as usize >= heads, "a head that takes its time is cut");
        ratios.push(ratio);
        drop(crowd);
        eventually(PATIENCE, "the crowd is gone", async || gateway.descriptors() < 200).await;
    }
    assert_untouched(&gateway).await;
    ratios.sort_by(f64::total_cmp);
    let median = ratios[ratios.len() / 2];
    println!("the median of {pairs} pairs is {median:.2}");
    // A debug build, or six seconds beside a compiler, says nothing about latency.
    let judged = in_full(!cfg!(debug_assertions), false);
    assert!(!judged || median <= 1.5, "the crowd slows others down {median:.2} times: {ratios:?}");
}

/// Clients that ask and wait, at a rate far below what the gateway can do.
async fn answered(gateway: &Gateway, time: Duration) -> Answers {
    const CLIENTS: usize = 16;
    const EVERY: Duration = Duration::from_millis(10);
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let url = gateway.url("/item/195");
        clients.spawn(async move {
            let (client, end) = (Client::kept_alive(), Instant::now() + time);
            let (mut took, mut errors) = (Vec::new(), 0_usize);
            while Instant::now() < end {
                let start = Instant::now();
                match client.get(&url).attempt().await {
                    Ok(answer) if answer.status == 200 => took.push(start.elapsed()),
                    _ => errors += 1,
                }
                tokio::time::sleep(EVERY.saturating_sub(start.elapsed())).await;
            }
            (took, errors)
        });
    }
    let all = clients.join_all().await;
    let errors = all.iter().map(|(_, errors)| errors).sum();
    let mut took: Vec<Duration> = all.into_iter().flat_map(|(took, _)| took).collect();
    took.sort_unstable();
    let at = |percent: usize| took[(took.len() * percent / 100).min(took.len() - 1)];
    Answers { answers: took.len(), errors, p50: at(50), p99: at(99) }
}

struct Answers {
    answers: usize,
    errors: usize,
    p50: Duration,
    p99: Duration,
}

/// A breaker that opens at the first failure, so that a single one shows.
fn fragile(depot: &Depot) -> Launch {
    Gateway::in_front_of_depot(depot)
        .keys("[upstreams.app]", "breaker = \"fragile\"")
        .keys("[breakers.fragile]", "consecutive_failures = 1")
}

/// And a second for everything that a client may be slow at.
fn impatient(depot: &Depot) -> Launch {
    fragile(depot).keys(
        "[server]",
        "first_byte_timeout_seconds = 1\nheader_timeout_seconds = 1\nidle_timeout_seconds = 1\nbody_idle_timeout_seconds = 1",
    )
}

fn in_time(start: Instant) -> bool {
    start.elapsed() < Duration::from_secs(1) + LATE
}

async fn assert_untouched(gateway: &Gateway) {
    let health = Client::new().get(gateway.admin_url("/health/circuit-breakers")).await.ok();
    let breaker = &health["circuit_breakers"]["app"];
    assert_eq!(breaker["state"], "closed", "{health}");
    assert_eq!(breaker["failure_count"], 0, "{health}");
}
