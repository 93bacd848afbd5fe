//! The promise: whatever clients do wrong, and however often, it is never held against an upstream or a feature.
//!
//! The breaker here opens and the feature turns itself off at the first failure, so a single fault that is taken for the
//! upstream's ends the test.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use portcullis_tests::http2::{Connection, Line, line};
use portcullis_tests::{
    Client, Gateway, PATIENCE, RawConnection, Recorded, Script, Upstream, eventually, in_full,
};
use serde_json::Value;
use tokio::task::JoinSet;

/// How many clients are at it at once.
const AT_ONCE: usize = 32;

/// How an HTTP/1 client ends what it began.
#[derive(Debug, Clone, Copy)]
enum End {
    /// It waits until the other side ends it.
    Listens,
    /// It goes once it has its answer.
    Hears,
    /// It says that no more will come, and listens.
    HalfCloses,
    Closes,
    Resets,
    /// It reads a part of the answer first.
    ClosesMidAnswer,
    ResetsMidAnswer,
}

/// What HTTP/1 clients do wrong: the target, the fields, what follows the head, the end.
const HTTP1: &[(&str, &str, &str, End)] = {
    use End::{Closes, ClosesMidAnswer, HalfCloses, Hears, Listens, Resets, ResetsMidAnswer};
    const CHUNKED: &str = "Transfer-Encoding: chunked\r\n";
    const TEN: &str = "Content-Length: 10\r\n";
    &[
        // Chunks that are none.
        ("/", CHUNKED, "zz\r\n", Listens),
        ("/", CHUNKED, "5\r\nhello\r\n-1\r\n", Listens),
        ("/", CHUNKED, "5\r\nhelloooo\r\n", Listens),
        ("/", CHUNKED, "5\nhello\n0\n\n", Listens),
        ("/early", CHUNKED, "5\r\nhello\r\nzz\r\n", Listens),
        ("/slow", CHUNKED, "5\r\nhello\r\n0\r\nbad trailer\r\n\r\n", Listens),
        // Ends in the middle of a body.
        ("/", TEN, "half", HalfCloses),
        ("/", CHUNKED, "5\r\nhello\r\n", HalfCloses),
        ("/early", TEN, "half", HalfCloses),
        ("/", TEN, "half", Closes),
        ("/", CHUNKED, "5\r\nhel", Closes),
        ("/", TEN, "half", Resets),
        ("/", CHUNKED, "5\r\nhello\r\n", Resets),
        ("/early", TEN, "half", Resets),
        ("/early-and-large", TEN, "half", ResetsMidAnswer),
        // Bodies that stop.
        ("/", TEN, "half", Listens),
        ("/", CHUNKED, "5\r\nhello\r\n", Listens),
        ("/early-and-large", TEN, "half", Hears),
        // Lengths that are not those of the body: what is left is no request.
        ("/", "Content-Length: 3\r\n", "hello", Listens),
        ("/", "Content-Length: 3, 3\r\n", "hel", Listens),
        ("/", "Content-Length: 3\r\nContent-Length: 4\r\n", "hell", Listens),
        ("/", "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "hello", Listens),
        // More than the route takes.
        ("/", "Content-Length: 65537\r\n", "hello", Hears),
        ("/", CHUNKED, LARGE_CHUNK, Listens),
        ("/", CHUNKED, LARGE_CHUNK, Resets),
        // Leaves before the answer, and in the middle of it.
        ("/slow", "", "", Closes),
        ("/slow", "", "", Resets),
        ("/slow", TEN, "0123456789", Resets),
        ("/slow", "", "", HalfCloses),
        ("/large", "", "", ClosesMidAnswer),
        ("/large", "", "", ResetsMidAnswer),
        ("/large", TEN, "0123456789", ResetsMidAnswer),
        // Promises that nobody keeps.
        ("/", "Expect: 100-continue\r\nContent-Length: 10\r\n", "", Resets),
        ("/", "Expect: 100-continue\r\nContent-Length: 10\r\n", "", Listens),
        // Heads that can't be read.
        ("/ /", "", "", Listens),
        ("/a%00", "", "", Listens),
        ("/", "No colon\r\n", "", Listens),
        ("/", "Space : before\r\n", "", Listens),
        ("/", "Bare: \r carriage return\r\n", "", Listens),
        ("/", "Host: two\r\n", "", Listens),
    ]
};

/// A chunk that says it is larger than the route's bodies, and begins.
const LARGE_CHUNK: &str = "20000\r\nhello";

/// What HTTP/2 clients do wrong, frame by frame.
const HTTP2: &[&[&str]] = &[
    // Resets in the middle of a body, before and in the middle of an answer.
    &["HEADERS 1 @post=/ content-length=10", "DATA 1 half", "RST 1 8"],
    &["HEADERS 1 @post=/", "DATA 1 half", "RST 1 8"],
    &["HEADERS 1 @post=/", "DATA 1 half", "RST 1 0"],
    &["HEADERS 1 @post=/early", "DATA 1 half", "AWAIT answer 1", "RST 1 8"],
    &["HEADERS 1 end @get=/slow", "RST 1 8"],
    &["HEADERS 1 end @get=/large", "AWAIT answer 1", "RST 1 8"],
    // Bodies that are shorter and longer than they say.
    &["HEADERS 1 @post=/ content-length=10", "DATA 1 end half", "AWAIT end 1"],
    &["HEADERS 1 @post=/ content-length=2", "DATA 1 end half", "AWAIT end 1"],
    // A body that stops.
    &["HEADERS 1 @post=/ content-length=10", "DATA 1 half", "AWAIT end 1"],
    // More than the route takes.
    &["HEADERS 1 @post=/ content-length=65537", "DATA 1 half", "AWAIT end 1"],
    // The connection goes in the middle of it all.
    &["HEADERS 1 @post=/", "DATA 1 half"],
    &["HEADERS 1 end @get=/large", "AWAIT answer 1"],
    &["HEADERS 1 @post=/", "DATA 1 half", "DATA 0 half", "AWAIT closed"],
    // Heads that can't be read.
    &["HEADERS 1 end @get=/ Upper=x", "AWAIT end 1"],
    &["HEADERS 1 end @get=/ connection=close", "AWAIT end 1"],
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_clients_do_wrong_is_held_against_no_upstream_and_no_feature() {
    let upstream = Upstream::scripted(played);
    let gateway = Gateway::in_front_of(&upstream)
        .keys("[upstreams.app]", "breaker = \"fragile\"")
        .keys("[breakers.fragile]", "consecutive_failures = 1\nopen_wait_seconds = 3600")
        .keys("[features.checkout]", "auto_disable = { errors = 1, window_seconds = 3600 }")
        .keys("[[routes]]", "rejects = [\"checkout\"]\nbody_bytes_max = 65536")
        .keys("[server]", "body_idle_timeout_seconds = 0.3\nheader_timeout_seconds = 1\nidle_timeout_seconds = 0.5")
        .keys("[log]", "level = \"warn\"\naccess = false")
        .start()
        .await;
    assert_eq!(Client::new().get(gateway.url("/")).await.status, 200);
    let before = Health::of(&gateway).await;

    let count = in_full(10_000, 500);
    let mut clients = JoinSet::new();
    for number in 0..count {
        if clients.len() == AT_ONCE {
            clients.join_next().await.expect("there are some").expect("no client panics");
        }
        clients.spawn(err(gateway.address(), number));
    }
    while let Some(client) = clients.join_next().await {
        client.expect("no client panics");
    }
    at_rest(&gateway).await;

    let after = Health::of(&gateway).await;
    let reached = upstream.request_count() - 1;
    println!(
        "client faults: {count} sent, {reached} reached the upstream, breaker {} calls, {} failures, meter {} errors",
        after.calls,
        after.failures(),
        after.errors(),
    );
    let moved: Vec<_> = after
        .figures
        .iter()
        .filter(|(series, value)| before.figures.get(*series) != Some(value))
        .collect();
    assert!(moved.is_empty(), "{moved:#?}");
    assert!(reached * 4 > count, "only {reached} of {count} came as far as the upstream");

    // What does count shows.
    Client::new().get(gateway.url("/fails")).await;
    let failed = Health::of(&gateway).await;
    assert_eq!((failed.failures(), failed.errors()), (1.0, 1.0));
    assert_ne!(after.figures, failed.figures);
}

/// What the upstream does with these faults' requests. It always does as it should.
fn played(request: &Recorded) -> Script {
    let large = || vec![b'x'; 4 << 20];
    match &*request.target {
        "/early" => Script::answer_early(200, "early"),
        "/early-and-large" => Script::answer_early(200, large()),
        "/large" => Script::answer(200, large()),
        "/slow" => Script::default()
            .read_body()
            .wait(Duration::from_millis(30))
            .head(200)
            .header("content-length", "0"),
        "/fails" => Script::answer(500, ""),
        _ => Script::answer(200, "fine"),
    }
}

/// One client, and what it does wrong.
async fn err(gateway: SocketAddr, number: usize) {
    match number % (HTTP1.len() + HTTP2.len()) {
        kind if kind < HTTP1.len() => http1(gateway, HTTP1[kind]).await,
        kind => http2(gateway, HTTP2[kind - HTTP1.len()]).await,
    }
}

async fn http1(gateway: SocketAddr, (target, fields, behind, end): (&str, &str, &str, End)) {
    let mut connection = RawConnection::open(gateway).await;
    let method = if behind.is_empty() && fields.is_empty() { "GET" } else { "POST" };
    let head = format!("{method} {target} HTTP/1.1\r\nHost: a\r\n{fields}\r\n");
    // It may be thrown out in the middle of it.
    let _ = connection.try_write([head.as_bytes(), behind.as_bytes()].concat()).await;
    match end {
        End::Listens => drop(connection.read_to_end().await),
        End::Hears => drop(connection.read_answer().await),
        End::HalfCloses => {
            connection.half_close().await;
            connection.read_to_end().await;
        }
        End::Closes => {}
        End::Resets => connection.reset(),
        End::ClosesMidAnswer => drop(connection.read_head().await),
        End::ResetsMidAnswer => {
            connection.read_head().await;
            connection.reset();
        }
    }
}

async fn http2(gateway: SocketAddr, lines: &[&str]) {
    let mut connection = Connection::open(gateway, Ipv4Addr::LOCALHOST).await;
    connection.greet(&[]).await;
    let lines: Vec<Line> = lines.iter().map(|text| line(text)).collect();
    connection.perform(&lines).await;
}

/// Waits until no request is in flight any more, so that each has been judged.
async fn at_rest(gateway: &Gateway) {
    eventually(PATIENCE, "no request is in flight", || async {
        let metrics = Client::new().get(gateway.admin_url("/metrics")).await;
        metrics.text().lines().any(|line| line == "http_server_active_requests 0")
    })
    .await;
}

/// What is known of the health of upstreams and features.
#[derive(Debug)]
struct Health {
    /// All that may only move with a failure, from `/metrics` and the admin API.
    figures: BTreeMap<String, String>,
    /// Calls that the breaker let through.
    calls: f64,
}

impl Health {
    async fn of(gateway: &Gateway) -> Self {
        let client = Client::new();
        let metrics = client.get(gateway.admin_url("/metrics")).await;
        let samples: BTreeMap<_, _> = metrics
            .text()
            .lines()
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(series, value)| (series.to_owned(), value.to_owned()))
            .collect();
        let calls = samples
            .iter()
            .filter(|(series, _)| series.starts_with("portcullis_circuit_breaker_calls_total"))
            .filter_map(|(_, value)| value.parse::<f64>().ok())
            .sum();
        let mut figures: BTreeMap<_, _> =
            samples.into_iter().filter(|(series, _)| tells_a_failure(series)).collect();
        for path in ["/admin/circuit-breakers", "/admin/error-stats"] {
            flatten(path, &client.get(gateway.admin_url(path)).await.ok(), &mut figures);
        }
        Self { figures, calls }
    }

    fn sum(&self, name: &str) -> f64 {
        let all = self.figures.iter().filter(|(series, _)| series.starts_with(name));
        all.filter_map(|(_, value)| value.parse::<f64>().ok()).sum()
    }

    fn failures(&self) -> f64 {
        self.sum("circuit_breaker_failures_total")
    }

    fn errors(&self) -> f64 {
        self.sum("portcullis_auto_disable_errors")
    }
}

/// Whether a series says that an upstream, a feature or the gateway failed.
fn tells_a_failure(series: &str) -> bool {
    let names = [
        "circuit_breaker_state",
        "circuit_breaker_failures_total",
        "portcullis_circuit_breaker_rejected_total",
        "portcullis_auto_disable_",
        "portcullis_killswitch_enabled",
        "portcullis_switchboard_revision",
        "portcullis_panics_total",
        "portcullis_store_",
    ];
    let classes = ["status_class=\"5xx\"", "status_class=\"failed\""];
    let reasons = ["killswitch", "circuit_open", "timeout", "upstream_unreachable", "internal"];
    names.iter().any(|name| series.starts_with(name))
        || classes.iter().any(|class| series.contains(class))
        || reasons.iter().any(|reason| series.contains(&format!("reason=\"{reason}\"")))
}

/// The leaves of an answer of the admin API, without those that tell how much traffic there was.
fn flatten(path: &str, value: &Value, out: &mut BTreeMap<String, String>) {
    match value {
        Value::Object(fields) => {
            let told = fields.iter().filter(|(name, _)| {
                !matches!(
                    &***name,
                    "calls" | "calls_total" | "success_count" | "successes_total" | "ignored_total"
                )
            });
            told.for_each(|(name, value)| flatten(&format!("{path}/{name}"), value, out));
        }
        Value::Array(items) => items
            .iter()
            .enumerate()
            .for_each(|(at, value)| flatten(&format!("{path}/{at}"), value, out)),
        leaf => {
            out.insert(path.to_owned(), leaf.to_string());
        }
    }
}
