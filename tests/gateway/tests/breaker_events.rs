//! The promise: what happens to a circuit is told as it happens, to whoever reads the stream of events and to the webhook,
//! and both can be trusted.

use std::time::Duration;

use portcullis_tests::{
    Client, Gateway, Launch, PATIENCE, RawConnection, Recorded, Redis, Script, TlsFront, Upstream,
    eventually,
};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

const SECRET: &str = "a secret of thirty-two bytes or so";

async fn told(gateway: &Gateway, action: &str) {
    let path = format!("/admin/circuit-breakers/app/{action}");
    let body = json!({ "reason": "INC-42", "updated_by": "ana" });
    Client::new().post(gateway.admin_url(&path)).json(&body).await.ok();
}

/// A reader of `/admin/events`.
struct Reader {
    connection: RawConnection,
    text: String,
}

impl Reader {
    async fn open(gateway: &Gateway, last: Option<&str>) -> Self {
        let mut connection = RawConnection::open(gateway.admin_address()).await;
        let last = last.map(|id| format!("Last-Event-ID: {id}\r\n")).unwrap_or_default();
        connection
            .write(format!("GET /admin/events HTTP/1.1\r\nHost: localhost\r\n{last}\r\n"))
            .await;
        let head = connection.read_head().await;
        assert_eq!(head.header("content-type"), Some("text/event-stream"));
        Self { connection, text: String::new() }
    }

    /// The next event: its id, its name, its data.
    async fn next(&mut self) -> (String, String, Value) {
        loop {
            if let Some((event, rest)) = self.text.split_once("\n\n") {
                let (event, rest) = (event.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    let mut lines = event.lines();
                    lines.find_map(|line| line.strip_prefix(name)).unwrap_or_default().to_owned()
                };
                if event.starts_with(':') {
                    continue;
                }
                let data = serde_json::from_str(&field("data: ")).expect("JSON");
                return (field("id: "), field("event: "), data);
            }
            let piece = self.connection.piece().await.expect("the stream goes on");
            self.text.push_str(std::str::from_utf8(&piece).expect("text"));
        }
    }
}

#[tokio::test]
async fn a_change_is_told_as_it_happens_and_who_comes_back_misses_none() {
    let upstream = Upstream::always(Script::answer(500, ""));
    let gateway = Gateway::in_front_of(&upstream)
        .keys("[upstreams.app]", "breaker = { consecutive_failures = 2 }")
        .start()
        .await;
    let mut reader = Reader::open(&gateway, None).await;
    for _ in 0..2 {
        Client::new().get(gateway.url("/x")).await;
    }
    let (id, name, opened) = reader.next().await;
    assert_eq!(name, "circuit_breaker");
    for (member, value) in [
        ("breaker", json!("app")),
        ("upstream", json!("app")),
        ("from", json!("closed")),
        ("to", json!("open")),
        ("reason", json!("2 failures in a row")),
        ("failures", json!(2)),
        ("calls", json!(2)),
    ] {
        assert_eq!(opened[member], value, "{opened}");
    }
    assert!(opened["at"].is_string() && opened["instance"].is_string(), "{opened}");

    drop(reader);
    told(&gateway, "force-open").await;
    told(&gateway, "reset").await;
    let mut reader = Reader::open(&gateway, Some(&id)).await;
    assert_eq!(reader.next().await.2["to"], "forced_open");
    assert_eq!(reader.next().await.2["to"], "closed");
}

#[tokio::test]
async fn a_flip_is_told_beside_the_circuits() {
    let gateway = Gateway::demo().start().await;
    let mut reader = Reader::open(&gateway, None).await;
    let url = gateway.admin_url("/admin/killswitch/order_creation");
    let wish = json!({ "enabled": false, "reason": "stock count", "updated_by": "ana" });
    Client::new().post(url).json(&wish).await.ok();
    let (_, name, flip) = reader.next().await;
    assert_eq!(name, "killswitch");
    for (member, value) in [
        ("feature", json!("order_creation")),
        ("enabled", json!(false)),
        ("reason", json!("stock count")),
        ("updated_by", json!("ana")),
        ("source", json!("api")),
    ] {
        assert_eq!(flip[member], value, "{flip}");
    }
    assert!(flip["revision"].is_u64() && flip["at"].is_string(), "{flip}");
}

#[tokio::test]
async fn a_stream_of_events_holds_up_no_end() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let mut gateway = Gateway::in_front_of(&upstream).start().await;
    let mut reader = Reader::open(&gateway, None).await;
    gateway.ask_to_end();
    assert_eq!(reader.connection.piece().await, None, "the stream ends properly");
    assert!(gateway.exited().await.success());
}

fn hooked(upstream: &Upstream, receiver: &Upstream) -> Launch {
    Gateway::in_front_of(upstream)
        .keys(
            "[upstreams.app]",
            "breaker = { consecutive_failures = 2, open_wait_seconds = 0.05, successes_to_close = 1 }",
        )
        .keys(
            "[webhook]",
            &format!("url = \"{}/hook?a=b\"\nsecret = \"${{HOOK}}\"", receiver.url()),
        )
        .env("HOOK", SECRET)
}

/// HMAC as RFC 2104 writes it, so that this side shares no code with the other.
fn hmac(secret: &str, message: &[u8]) -> String {
    let mut key = [0_u8; 64];
    key[..secret.len()].copy_from_slice(secret.as_bytes());
    let pad = |with: u8| key.map(|byte| byte ^ with);
    let inner = Sha256::digest([&pad(0x36)[..], message].concat());
    hex::encode(Sha256::digest([&pad(0x5c)[..], &inner].concat()))
}

fn is_signed(request: &Recorded) -> bool {
    let timestamp = request.header("portcullis-timestamp").expect("it has a time");
    let signed = [timestamp.as_bytes(), b".", &request.body[..]].concat();
    request.header("portcullis-signature") == Some(&format!("v1={}", hmac(SECRET, &signed)))
}

#[tokio::test]
async fn the_webhook_is_told_what_opened_what_was_forced_and_what_closed() {
    let upstream = Upstream::always(Script::answer(500, ""));
    let receiver = Upstream::always(Script::answer(204, "").read_body());
    receiver.now_always(Script::answer(200, ""));
    let gateway = hooked(&upstream, &receiver).start().await;
    for _ in 0..2 {
        Client::new().get(gateway.url("/x")).await;
    }
    receiver.requests_until(1).await;
    upstream.now_always(Script::answer(200, ""));
    eventually(PATIENCE, "the circuit closes", async || {
        Client::new().get(gateway.url("/x")).await.status == 200
    })
    .await;
    receiver.requests_until(2).await;
    told(&gateway, "force-open").await;
    receiver.requests_until(3).await;
    let requests = eventually(PATIENCE, "all bodies are whole", async || {
        let requests = receiver.requests();
        requests.iter().all(|request| request.complete).then_some(requests)
    })
    .await;

    let events: Vec<_> =
        requests.iter().map(|request| request.header("portcullis-event").unwrap_or("")).collect();
    assert_eq!(
        events,
        ["circuit_breaker.opened", "circuit_breaker.closed", "circuit_breaker.forced"]
    );
    for request in &requests {
        assert_eq!((request.method.as_str(), request.target.as_str()), ("POST", "/hook?a=b"));
        assert!(is_signed(request), "{request:?}");
        let body = request.json();
        assert_eq!(body["breaker"], "app", "{body}");
        assert_eq!(body["event"].as_str(), request.header("portcullis-event"));
        assert_eq!(body["id"].as_str(), request.header("portcullis-event-id"));
    }
    assert_eq!(requests[2].json()["reason"], "forced open by ana: INC-42");
    let mut forged = requests[0].clone();
    forged.body = requests[1].body.clone();
    assert!(!is_signed(&forged), "a body under another's signature");
}

#[tokio::test]
async fn the_webhook_is_told_again_until_it_takes_it() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let receiver = Upstream::always(Script::answer(200, ""));
    receiver.next(Script::answer(500, ""));
    receiver.next(Script::reset());
    let gateway = hooked(&upstream, &receiver).start().await;
    told(&gateway, "force-open").await;
    let requests = receiver.requests_until(3).await;
    let ids: Vec<_> = requests
        .iter()
        .map(|request| request.header("portcullis-event-id").unwrap_or(""))
        .collect();
    assert!(!ids[0].is_empty() && ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    eventually(PATIENCE, "it was taken once", async || {
        let metrics = Client::new().get(gateway.admin_url("/metrics")).await;
        let has = |line: &str| metrics.text().lines().any(|other| other == line);
        has("portcullis_webhook_delivered_total 1") && has("portcullis_webhook_attempts_total 3")
    })
    .await;
}

#[tokio::test]
async fn the_webhook_goes_nowhere_that_nobody_means() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let receiver = Upstream::always(Script::answer(302, "").header("location", "/elsewhere"));
    for (url, why) in [
        ("http://169.254.169.254/latest", "link-local"),
        ("http://[::ffff:169.254.169.254]/latest", "link-local"),
        ("http://0.0.0.0:9/", "no host"),
        ("http://${PORTCULLIS_ADMIN_LISTEN}/admin/events", "this gateway itself"),
        (&format!("{}/moved", receiver.url()), "it answered 302"),
    ] {
        let gateway = Gateway::in_front_of(&upstream)
            .keys("[upstreams.app]", "breaker = \"default\"")
            .keys("[webhook]", &format!("url = \"{url}\"\nsecret = \"${{HOOK}}\""))
            .env("HOOK", SECRET)
            .start()
            .await;
        told(&gateway, "force-open").await;
        let line = gateway.logged("the webhook didn't take circuit_breaker.forced").await;
        assert!(line.contains(why), "{url}: {line}");
        assert!(!gateway.log().lines().iter().any(|line| line.contains(SECRET)));
    }
    assert_eq!(
        receiver.request_count(),
        1,
        "a redirect isn't followed, and a no is not asked again"
    );
}

#[tokio::test]
async fn a_webhook_that_is_away_costs_no_request_anything() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let receiver = Upstream::always(Script::stall());
    let gateway = hooked(&upstream, &receiver).start().await;
    told(&gateway, "force-open").await;
    receiver.requests_until(1).await;
    for _ in 0..3 {
        Client::new()
            .get(gateway.url("/x"))
            .within(Duration::from_secs(5))
            .await
            .refused(503, "circuit_open");
    }
    told(&gateway, "reset").await;
    assert_eq!(Client::new().get(gateway.url("/x")).await.status, 200);
}

/// A gateway whose webhook is at this URL over https, with one attempt per event.
fn hooked_over_tls(upstream: &Upstream, url: &str, more: &str) -> Launch {
    let keys = format!("url = \"{url}\"\nsecret = \"${{HOOK}}\"\nattempts_max = 1\n{more}");
    Gateway::in_front_of(upstream)
        .keys("[upstreams.app]", "breaker = \"default\"")
        .keys("[webhook]", &keys)
        .env("HOOK", SECRET)
}

#[tokio::test]
async fn a_webhook_over_https_is_told_if_a_believed_authority_vouches_for_it() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let receiver = Upstream::always(Script::answer(200, ""));
    let front = TlsFront::before(receiver.address()).await;
    let believed = format!("ca_file = {:?}", front.ca_file());
    let url = format!("{}/hook", front.url());
    let gateway = hooked_over_tls(&upstream, &url, &believed).start().await;
    told(&gateway, "force-open").await;
    let requests = receiver.requests_until(1).await;
    assert_eq!(requests[0].target, "/hook");
    assert_eq!(requests[0].header("host"), Some(&*format!("localhost:{}", front.port())));
}

#[tokio::test]
async fn a_webhook_over_https_that_isnt_who_it_says_is_told_nothing() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let receiver = Upstream::always(Script::answer(200, ""));
    let front = TlsFront::before(receiver.address()).await;
    let stranger = TlsFront::before(receiver.address()).await;
    let by_number = format!("https://127.0.0.1:{}", front.port());
    for (url, ca_file, why) in [
        // An authority of the same name, with another key.
        (front.url(), stranger.ca_file(), "BadSignature"),
        (by_number, front.ca_file(), "not valid for name"),
    ] {
        let believed = format!("ca_file = {ca_file:?}");
        let gateway = hooked_over_tls(&upstream, &url, &believed).start().await;
        told(&gateway, "force-open").await;
        let line = gateway.logged("the webhook didn't take circuit_breaker.forced").await;
        assert!(line.contains(why), "{url}: {line}");
    }
    assert_eq!(receiver.request_count(), 0);

    let missing = hooked_over_tls(&upstream, &front.url(), "ca_file = \"none.pem\"").ended().await;
    assert_eq!(missing.code, Some(1));
    missing.one_line("webhook.ca_file none.pem: ");
}

/// The entries of a fleet's list of breaker events, each as its fields and values in turn.
fn published(redis: &Redis) -> Vec<Vec<String>> {
    let port = redis.port().to_string();
    let asked = ["-p", &port, "--json", "XRANGE", "{portcullis}:breaker-events", "-", "+"];
    let said = std::process::Command::new("redis-cli").args(asked).output().expect("redis-cli");
    let entries: Vec<(String, Vec<String>)> =
        serde_json::from_slice(&said.stdout).expect("a list of entries");
    entries.into_iter().map(|(_, fields)| fields).collect()
}

fn value<'e>(entry: &'e [String], field: &str) -> &'e str {
    let mut pairs = entry.chunks(2);
    pairs.find_map(|pair| (pair[0] == field).then_some(&*pair[1])).unwrap_or("")
}

async fn ordered(gateway: &Gateway, action: &str) {
    let path = format!("/admin/circuit-breakers/ControlAPI/{action}");
    let body = json!({ "reason": "INC-42", "updated_by": "ana" });
    Client::new().post(gateway.admin_url(&path)).json(&body).await.ok();
}

#[tokio::test]
async fn a_fleet_reads_in_redis_what_happened_at_which_gateway() {
    let redis = Redis::start().await;
    let (first, second) = tokio::join!(
        Gateway::sharing(redis.port()).start(),
        Gateway::sharing(redis.port()).start()
    );
    ordered(&first, "force-open").await;
    let one = || async { Some(published(&redis)).filter(|entries| entries.len() == 1) };
    eventually(PATIENCE, "the first gateway has told", one).await;
    ordered(&second, "shadow").await;
    let two = || async { Some(published(&redis)).filter(|entries| entries.len() == 2) };
    let entries = eventually(PATIENCE, "the second gateway has told", two).await;

    let names: Vec<_> = entries[0].iter().step_by(2).map(String::as_str).collect();
    assert_eq!(names, ["instance", "breaker", "from", "to", "reason", "failures", "calls", "at"]);
    assert_eq!(value(&entries[0], "breaker"), "ControlAPI");
    assert_eq!((value(&entries[0], "from"), value(&entries[0], "to")), ("closed", "forced_open"));
    assert_eq!(value(&entries[0], "reason"), "forced open by ana: INC-42");
    assert_eq!(value(&entries[1], "to"), "shadow");
    for (entry, gateway) in entries.iter().zip([&first, &second]) {
        let port = format!(":{}", gateway.address().port());
        assert!(value(entry, "instance").ends_with(&port), "{entry:?}");
    }
}

#[tokio::test]
async fn what_happens_while_redis_is_away_is_told_when_it_is_back() {
    let mut redis = Redis::start().await;
    let gateway = Gateway::sharing(redis.port()).start().await;
    redis.kill_9();
    for action in ["force-open", "disable", "reset"] {
        ordered(&gateway, action).await;
    }
    gateway.logged("breaker events wait for the fleet").await;
    redis.restart().await;
    gateway.logged("breaker events reach the fleet again").await;
    let three = || async { Some(published(&redis)).filter(|entries| entries.len() == 3) };
    let entries = eventually(PATIENCE, "all are told", three).await;
    let states: Vec<_> = entries.iter().map(|entry| value(entry, "to")).collect();
    assert_eq!(states, ["forced_open", "disabled", "closed"]);
    let said = gateway.log().lines();
    let waits = said.iter().filter(|line| line.contains("wait for the fleet")).count();
    assert_eq!(waits, 1, "that Redis is away is said once");
}
