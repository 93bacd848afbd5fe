//! The promise: every rule of the breaker can be written in TOML, an operator may take one in hand and is held to it, and
//! what was written for metrics and scripts of a breaker works.

use std::time::Duration;

use futures_util::future::join_all;
use http::Method;
use portcullis_tests::{
    Answer, Client, Gate, Gateway, Launch, PATIENCE, Recorded, Script, Upstream, eventually,
};
use serde_json::{Value, json};

/// A gateway in front of one upstream, whose breaker has these keys.
fn guarded(upstream: &Upstream, keys: &str) -> Launch {
    Gateway::in_front_of(upstream).keys("[upstreams.app.breaker]", keys)
}

async fn breaker(gateway: &Gateway, name: &str) -> Value {
    let all = Client::new().get(gateway.admin_url("/admin/circuit-breakers")).await.ok();
    all["circuit_breakers"][name].clone()
}

async fn told(gateway: &Gateway, name: &str, action: &str, body: &Value) -> Answer {
    let path = format!("/admin/circuit-breakers/{name}/{action}");
    Client::new().post(gateway.admin_url(&path)).json(body).await
}

async fn ask(gateway: &Gateway) -> Answer {
    Client::new().get(gateway.url("/x")).await
}

async fn becomes(gateway: &Gateway, name: &str, state: &str) -> Value {
    eventually(PATIENCE, state, async || {
        let breaker = breaker(gateway, name).await;
        (breaker["state"] == state).then_some(breaker)
    })
    .await
}

#[tokio::test]
async fn half_of_the_last_calls_failing_opens_it_and_it_says_so() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let gateway = guarded(
        &upstream,
        "consecutive_failures = false\nfailure_rate_percent = 50\nwindow = { calls = 10 }\nminimum_calls = 4",
    )
    .start()
    .await;
    for status in [200, 500, 200] {
        upstream.next(Script::answer(status, ""));
        assert_eq!(ask(&gateway).await.status, status);
    }
    assert_eq!(breaker(&gateway, "app").await["state"], "closed");
    upstream.next(Script::answer(500, ""));
    ask(&gateway).await;

    let breaker = becomes(&gateway, "app", "open").await;
    assert_eq!(breaker["why"], "2 of 4 calls failed, 50 % are too many", "{breaker}");
    let refusal = ask(&gateway).await;
    refusal.refused(503, "circuit_open");
    let left: u64 = refusal.header("retry-after").expect("it has one").parse().expect("seconds");
    assert!((50..=60).contains(&left), "what is left of the wait: {left}");
}

#[tokio::test]
async fn calls_that_are_too_slow_open_it() {
    let upstream =
        Upstream::always(Script::default().read_body().wait(Duration::from_millis(80)).head(204));
    let gateway = guarded(
        &upstream,
        "slow = { longer_than_seconds = 0.02, rate_percent = 100 }\nwindow = { calls = 3 }\nminimum_calls = 3",
    )
    .start()
    .await;
    for _ in 0..3 {
        assert_eq!(ask(&gateway).await.status, 204);
    }
    let breaker = becomes(&gateway, "app", "open").await;
    assert_eq!(breaker["why"], "3 of 3 calls took longer than 20ms, 100 % are too many");
    assert_eq!(breaker["window"]["slow"], 3, "{breaker}");
}

#[tokio::test]
async fn an_upstream_that_asks_for_peace_gets_it() {
    let upstream = Upstream::always(Script::answer(429, "").header("retry-after", "40"));
    let gateway = guarded(&upstream, "retry_after_max_seconds = 30").start().await;
    assert_eq!(ask(&gateway).await.status, 429);
    becomes(&gateway, "app", "open").await;
    let refusal = ask(&gateway).await;
    refusal.refused(503, "circuit_open");
    let left: u64 = refusal.header("retry-after").expect("it has one").parse().expect("seconds");
    assert!((20..=30).contains(&left), "no longer than the operator lets it: {left}");
}

#[tokio::test]
async fn a_hung_upstream_opens_it_by_the_time_that_its_calls_have() {
    let upstream = Upstream::always(Script::stall());
    let gateway =
        guarded(&upstream, "consecutive_failures = 2\ncall_timeout_seconds = 0.1").start().await;
    for _ in 0..2 {
        ask(&gateway).await.refused(504, "timeout");
    }
    becomes(&gateway, "app", "open").await;
    ask(&gateway).await.refused(503, "circuit_open");
    assert_eq!(upstream.request_count(), 2);
}

#[tokio::test]
async fn a_client_that_leaves_says_nothing_about_its_upstream() {
    let upstream = Upstream::always(Script::stall());
    let gateway = guarded(&upstream, "consecutive_failures = 1").start().await;
    for count in 1..=3 {
        let waiting = tokio::spawn(Client::new().get(gateway.url("/x")).attempt());
        upstream.requests_until(count).await;
        waiting.abort();
    }
    upstream.now_always(Script::answer(200, ""));
    assert_eq!(ask(&gateway).await.status, 200);
    let breaker = breaker(&gateway, "app").await;
    assert_eq!((&breaker["state"], &breaker["failures_total"]), (&"closed".into(), &0.into()));
}

#[tokio::test]
async fn half_open_lets_exactly_as_many_through_as_it_has_probes() {
    let gate = Gate::closed();
    let upstream = Upstream::always(Script::answer(500, ""));
    let gateway = guarded(
        &upstream,
        "consecutive_failures = 1\nopen_wait_seconds = 0.05\nhalf_open_probes = 3\nsuccesses_to_close = 3",
    )
    .start()
    .await;
    ask(&gateway).await;
    becomes(&gateway, "app", "open").await;
    upstream.now_always(Script::default().read_body().at(&gate).head(204));

    // Until the wait is over, calls are refused; the first after it is a probe, and hangs.
    let (client, url) = (Client::kept_alive(), gateway.url("/x"));
    let first = tokio::spawn({
        let (client, url) = (client.clone(), url.clone());
        async move {
            eventually(PATIENCE, "a probe goes through", async || {
                let status = client.get(&url).await.status;
                (status != 503).then_some(status)
            })
            .await
        }
    });
    upstream.requests_until(2).await;
    let crowd = (0..300).map(|_| tokio::spawn(client.get(&url).attempt()));
    let crowd: Vec<_> = crowd.collect();
    upstream.requests_until(4).await;
    eventually(PATIENCE, "all others are refused", async || {
        breaker(&gateway, "app").await["rejected_total"].as_u64() >= Some(298)
    })
    .await;
    assert_eq!(upstream.request_count(), 1 + 3, "one failure, three probes");

    gate.open();
    let statuses: Vec<u16> = join_all(crowd)
        .await
        .into_iter()
        .map(|answer| answer.expect("no panic").unwrap_or_else(|failed| panic!("{failed}")).status)
        .collect();
    assert_eq!(first.await.expect("no panic"), 204);
    assert_eq!(statuses.iter().filter(|status| **status == 204).count(), 2);
    assert_eq!(statuses.iter().filter(|status| **status == 503).count(), 298);
    becomes(&gateway, "app", "closed").await;
}

#[tokio::test]
async fn a_breaker_in_shadow_lets_all_through_and_counts_what_it_would_have_refused() {
    let upstream = Upstream::always(Script::answer(500, ""));
    let gateway =
        guarded(&upstream, "consecutive_failures = 2\ninitial_state = \"shadow\"").start().await;
    for _ in 0..5 {
        assert_eq!(ask(&gateway).await.status, 500);
    }
    let breaker = breaker(&gateway, "app").await;
    assert_eq!((&breaker["state"], &breaker["would_reject_total"]), (&"shadow".into(), &3.into()));
    assert_eq!(Client::new().get(gateway.url("/health")).await.ok()["status"], "healthy");
}

#[tokio::test]
async fn a_breaker_that_is_disabled_counts_and_never_opens() {
    let upstream = Upstream::always(Script::answer(500, ""));
    let gateway =
        guarded(&upstream, "consecutive_failures = 2\ninitial_state = \"disabled\"").start().await;
    for _ in 0..5 {
        assert_eq!(ask(&gateway).await.status, 500);
    }
    let breaker = breaker(&gateway, "app").await;
    assert_eq!((&breaker["state"], &breaker["failures_total"]), (&"disabled".into(), &5.into()));
}

#[tokio::test]
async fn a_route_may_have_a_breaker_of_its_own_over_what_its_upstream_has() {
    let upstream = Upstream::scripted(|request| {
        Script::answer(if request.target == "/own" { 500 } else { 200 }, "")
    });
    let gateway = guarded(&upstream, "consecutive_failures = 9\nopen_wait_seconds = 7")
        .keys(
            "[[routes]] # the second",
            "name = \"own\"\npath = \"/own\"\nupstream = \"app\"\nbreaker_name = \"Own\"\nbreaker = { consecutive_failures = 2 }",
        )
        .start()
        .await;
    let own = async || Client::new().get(gateway.url("/own")).await;
    for _ in 0..2 {
        assert_eq!(own().await.status, 500);
    }
    becomes(&gateway, "Own", "open").await;
    let refusal = own().await;
    refusal.refused(503, "circuit_open");
    let left: u64 = refusal.header("retry-after").expect("it has one").parse().expect("seconds");
    assert!(left <= 7, "the wait is the upstream's: {left}");
    assert_eq!(ask(&gateway).await.status, 200, "the other route has its upstream's breaker");
}

#[tokio::test]
async fn an_order_is_kept_with_who_why_until_when_before_and_after() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let mut gateway = guarded(&upstream, "").start().await;
    let body = json!({ "reason": "INC-42", "updated_by": "ana", "duration_minutes": 30 });
    let answer = told(&gateway, "app", "force-open", &body).await.ok();
    assert_eq!(answer["audited"], true, "{answer}");
    gateway.logged("Circuit breaker FORCED OPEN for app: forced open by ana: INC-42").await;
    ask(&gateway).await.refused(503, "circuit_open");
    told(&gateway, "app", "reset", &json!({ "reason": "over" })).await.ok();
    assert_eq!(ask(&gateway).await.status, 200);

    let audit = Client::new().get(gateway.admin_url("/admin/audit")).await.ok();
    let entry = &audit["entries"][0];
    for (member, value) in
        [("breaker", "app"), ("action", "force-open"), ("actor", "ana"), ("reason", "INC-42")]
    {
        assert_eq!(entry[member], value, "{entry}");
    }
    assert_eq!(entry["before"]["state"], "closed");
    assert_eq!(entry["after"]["state"], "forced_open");
    assert!(entry["after"]["expires_at"].is_string() && entry["request_id"].is_string(), "{entry}");

    // The chain holds over it, and no flip is made of it at the next start.
    gateway.restart().await;
    let audit = Client::new().get(gateway.admin_url("/admin/audit")).await.ok();
    assert_eq!(audit["entries"].as_array().map(Vec::len), Some(2), "{audit}");
    let list = Client::new().get(gateway.admin_url("/admin/killswitches")).await.ok();
    assert_eq!(list["killswitches"], json!({}), "{list}");
}

#[tokio::test]
async fn a_health_check_opens_and_closes_a_circuit_that_nobody_calls() {
    let upstream = Upstream::always(Script::answer(200, ""));
    upstream.aside("/healthz", Script::answer(503, ""));
    let keys = "consecutive_failures = 3\nopen_wait_seconds = 0.2\nsuccesses_to_close = 2\nhealth_check_seconds = 0.05";
    let gateway = guarded(&upstream, keys)
        .keys("[upstreams.app]", "health_path = \"/healthz\"")
        .start()
        .await;
    becomes(&gateway, "app", "open").await;
    ask(&gateway).await.refused(503, "circuit_open");
    upstream.aside("/healthz", Script::answer(200, ""));
    becomes(&gateway, "app", "closed").await;
    assert_eq!(upstream.request_count(), 0, "no client was needed for it");
    assert_eq!(ask(&gateway).await.status, 200);
}

#[tokio::test]
async fn a_health_path_that_answers_well_counts_no_failure_of_a_client_away() {
    let upstream = Upstream::scripted(|request: &Recorded| {
        Script::answer(if request.target == "/healthz" { 200 } else { 500 }, "")
    });
    let keys = "consecutive_failures = 3\nopen_wait_seconds = 60\nhealth_check_seconds = 0.05";
    let gateway = guarded(&upstream, keys)
        .keys("[upstreams.app]", "health_path = \"/healthz\"")
        .start()
        .await;
    for _ in 0..3 {
        assert_eq!(ask(&gateway).await.status, 500);
        upstream.requests_until(upstream.request_count() + 2).await;
    }
    ask(&gateway).await.refused(503, "circuit_open");
}

#[tokio::test]
async fn an_auth_service_that_asks_for_less_is_not_broken_where_that_is_known_to_be_meant() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let auth = Upstream::always(Script::answer(503, "").header("retry-after", "9"));
    for (busy_is_overload, state) in [(false, "open"), (true, "closed")] {
        let breaker_of_auth = format!(
            "url = \"{}\"\nbreaker = {{ consecutive_failures = 2, busy_is_overload = {busy_is_overload} }}",
            auth.url()
        );
        let gateway = Gateway::in_front_of(&upstream)
            .keys("[[routes]]", "authentication = \"required\"")
            .keys("[upstreams.auth]", &breaker_of_auth)
            .keys("[authentication]", "upstream = \"auth\"\nissuer = \"i\"\naudience = \"a\"")
            .start()
            .await;
        for _ in 0..2 {
            let asked = Client::new().bearer("x.y.z").get(gateway.url("/x"));
            assert_eq!(asked.await.status, 503);
        }
        assert_eq!(breaker(&gateway, "auth").await["state"], state);
    }
}

#[tokio::test]
async fn an_order_outlives_the_gateway_until_it_is_lifted() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let mut gateway = guarded(&upstream, "").start().await;
    let body = json!({ "reason": "INC-42", "updated_by": "ana", "duration_minutes": 30 });
    assert_eq!(told(&gateway, "app", "force-open", &body).await.ok()["kept"], true);
    gateway.kill_9();
    gateway.restart().await;
    ask(&gateway).await.refused(503, "circuit_open");
    let order = breaker(&gateway, "app").await["order"].clone();
    assert_eq!((&order["actor"], &order["reason"]), (&json!("ana"), &json!("INC-42")));
    assert!(order["expires_at"].is_string(), "for what is left of its time: {order}");

    assert_eq!(told(&gateway, "app", "reset", &json!({})).await.ok()["kept"], true);
    gateway.kill_9();
    gateway.restart().await;
    assert_eq!(ask(&gateway).await.status, 200);
}

#[tokio::test]
async fn who_was_ordered_about_and_why_is_for_operators_only() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let gateway = guarded(&upstream, "").start().await;
    let body = json!({ "reason": "CANARY-7", "updated_by": "canary-ana" });
    told(&gateway, "app", "force-open", &body).await.ok();
    let health = Client::new().get(gateway.url("/health")).await;
    assert_eq!(health.ok()["circuit_breakers"]["app"]["state"], "forced_open");
    for text in [health.text().to_owned(), ask(&gateway).await.to_string()] {
        assert!(!text.to_lowercase().contains("canary"), "{text}");
    }
    assert_eq!(breaker(&gateway, "app").await["order"]["reason"], "CANARY-7");
}

#[tokio::test]
async fn an_order_ends_when_it_said_it_would() {
    if std::env::var_os("PORTCULLIS_FULL").is_none() {
        // A minute is the shortest that can be ordered; the rest is shown with a clock of its own in the library.
        return;
    }
    let upstream = Upstream::always(Script::answer(200, ""));
    let gateway = guarded(&upstream, "").start().await;
    told(&gateway, "app", "force-open", &json!({ "duration_minutes": 1 })).await.ok();
    let closed = Duration::from_secs(70);
    eventually(closed, "the order is over", async || {
        gateway.log().containing("Circuit breaker CLOSED for app").pop()
    })
    .await;
    assert_eq!(ask(&gateway).await.status, 200);
}

#[tokio::test]
async fn a_typo_in_the_name_of_a_breaker_is_a_404_that_knows_better_and_changes_nothing() {
    let gateway = Gateway::demo().start().await;
    for action in ["force-open", "reset", "disable", "shadow"] {
        let answer = told(&gateway, "ContrlAPI", action, &json!({})).await;
        assert_eq!(answer.status, 404, "{answer}");
        assert!(answer.text().contains("did you mean ControlAPI?"), "{answer}");
    }
    assert_eq!(told(&gateway, "ControlAPI", "force-opne", &json!({})).await.status, 404);
    assert_eq!(breaker(&gateway, "ControlAPI").await["state"], "closed");
    assert_eq!(
        Client::new().get(gateway.admin_url("/admin/audit")).await.ok()["entries"],
        json!([])
    );
}

#[tokio::test]
async fn a_fallback_answers_for_an_upstream_that_is_away_and_for_an_open_circuit() {
    let upstream = Upstream::always(Script::answer(200, "live"));
    let gateway = guarded(&upstream, "consecutive_failures = 2")
        .keys(
            "[routes.fallback]",
            "body = '{\"stars\": 0, \"again\": {retry_after}}'\nheaders = { X-Served-By = \"fallback\" }",
        )
        .start()
        .await;
    assert_eq!(ask(&gateway).await.text(), "live");
    upstream.refuse().await;
    for again in [1, 1, 60] {
        let answer = ask(&gateway).await;
        assert_eq!(answer.status, 200, "{answer}");
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.header("x-served-by"), Some("fallback"));
        assert_eq!(answer.header("cache-control"), Some("no-store"));
        assert!(answer.header("proxy-status").is_some_and(|status| status.contains("fallback")));
        let body = answer.json();
        assert_eq!(body["stars"], 0);
        assert!(body["again"].as_u64() <= Some(again), "{answer}");
    }
    let breaker = becomes(&gateway, "app", "open").await;
    assert_eq!(breaker["failures_total"], 2, "the breaker has seen what the client has not");
    let metrics = Client::new().get(gateway.admin_url("/metrics")).await;
    assert!(metrics.text().contains("portcullis_fallbacks_total{route=\"app\"} 3"), "{metrics}");
}

#[tokio::test]
async fn a_fallback_knows_what_was_asked_for_whatever_its_upstream_is_asked() {
    let upstream = Upstream::always(Script::answer(200, ""));
    upstream.refuse().await;
    let gateway = Gateway::with_config(&format!(
        "[upstreams.app]\nurl = \"{}\"\n[[routes]]\nname = \"stars\"\npath = \"/stars/{{owner}}/{{*repo}}\"\n\
         upstream = \"app\"\nrewrite = \"/v1/count\"\n\
         fallback = {{ body = '{{\"of\": \"{{owner}} {{repo}}\", \"stars\": 0}}' }}\n",
        upstream.url()
    ))
    .start()
    .await;
    let stars = async |path: &str| Client::new().get(gateway.url(path)).await.ok();
    assert_eq!(
        stars("/stars/tower-rs/tower/http").await,
        json!({ "of": "tower-rs tower/http", "stars": 0 })
    );
    let sly = stars("/stars/%22,%20%22stars%22:9/x").await;
    assert_eq!(sly, json!({ "of": "\", \"stars\":9 x", "stars": 0 }), "it stays inside its string");
}

#[tokio::test]
async fn a_fallback_hides_no_kill_and_replaces_a_server_error_only_where_it_is_told_to() {
    let upstream = Upstream::always(Script::answer(500, "oops"));
    let plain = Gateway::in_front_of(&upstream).keys("[routes.fallback]", "body = 'kept'");
    let plain = plain.start().await;
    assert_eq!((ask(&plain).await.status, ask(&plain).await.text()), (500, "oops"));
    let kill = json!({ "enabled": false, "reason": "r" });
    let url = plain.admin_url("/admin/killswitch/route:app");
    Client::new().post(url).json(&kill).await.ok();
    ask(&plain).await.refused(503, "killswitch");

    let eager = Gateway::in_front_of(&upstream)
        .keys("[routes.fallback]", "body = 'kept'\nstatus = 203\non_server_errors = true");
    let eager = eager.start().await;
    let answer = ask(&eager).await;
    assert_eq!((answer.status, answer.text()), (203, "kept"));
    let head = Client::new().request(Method::HEAD, eager.url("/x")).await;
    assert_eq!((head.status, head.text()), (203, ""));
}

/// The queries of mission document 2, as they stand in it.
const QUERIES: [&str; 2] = [
    "circuit_breaker_state{service=\"ControlAPI\"} == 1",
    "rate(circuit_breaker_failures_total[5m]) > 0.1",
];

#[tokio::test]
async fn every_query_that_was_written_for_breakers_works_on_the_metrics() {
    let control = Upstream::always(Script::answer(500, ""));
    let gateway = Gateway::demo().in_place_of("control", &control).start().await;
    let metrics = async || Client::new().get(gateway.admin_url("/metrics")).await.text().to_owned();
    let before = metrics().await;
    for query in QUERIES.map(Query::parse) {
        assert!(!query.series(&before).is_empty(), "{query:?} finds no series");
        assert!(query.holds(&before, &before).is_empty(), "{query:?} alerts for nothing");
    }
    for _ in 0..40 {
        Client::new().get(gateway.url("/api/control/analytics")).await;
        if breaker(&gateway, "ControlAPI").await["state"] == "open" {
            break;
        }
    }
    let after = metrics().await;
    for query in QUERIES.map(Query::parse) {
        let found = query.holds(&before, &after);
        assert_eq!(found.len(), 1, "{query:?}: {found:?}");
        assert!(found[0].contains("service=\"ControlAPI\""), "{found:?}");
    }
}

/// As much of PromQL as those queries need: `metric{label="value"} == n` and `rate(metric[window]) > n`, over two looks that
/// are taken to lie one window's shortest useful part, ten seconds, apart.
#[derive(Debug)]
struct Query {
    metric: String,
    matchers: Vec<String>,
    is_rate: bool,
    operator: String,
    bound: f64,
}

impl Query {
    fn parse(text: &str) -> Self {
        let (left, bound) = text.rsplit_once(' ').expect("a bound");
        let (selector, operator) = left.rsplit_once(' ').expect("an operator");
        let rate = selector.strip_prefix("rate(").and_then(|rest| rest.split_once('['));
        let selector = rate.map_or(selector, |(selector, _)| selector);
        let (metric, labels) = selector.split_once('{').unwrap_or((selector, "}"));
        let labels = labels.strip_suffix('}').expect("labels end");
        Self {
            metric: metric.to_owned(),
            matchers: labels.split(',').filter(|l| !l.is_empty()).map(str::to_owned).collect(),
            is_rate: rate.is_some(),
            operator: operator.to_owned(),
            bound: bound.parse().expect("a number"),
        }
    }

    fn series(&self, metrics: &str) -> Vec<(String, f64)> {
        let own = |line: &&str| {
            line.strip_prefix(self.metric.as_str()).is_some_and(|rest| rest.starts_with('{'))
                && self.matchers.iter().all(|matcher| line.contains(matcher.as_str()))
        };
        let sample = |line: &str| {
            let (series, value) = line.rsplit_once(' ').expect("a sample");
            (series.to_owned(), value.parse().expect("a number"))
        };
        metrics.lines().filter(own).map(sample).collect()
    }

    fn holds(&self, before: &str, after: &str) -> Vec<String> {
        let old = self.series(before);
        let value = |(series, now): &(String, f64)| {
            let then = old.iter().find(|(name, _)| name == series).map_or(0.0, |(_, value)| *value);
            if self.is_rate { (now - then) / 10.0 } else { *now }
        };
        let holds = |sample: &(String, f64)| match self.operator.as_str() {
            "==" => (value(sample) - self.bound).abs() < f64::EPSILON,
            ">" => value(sample) > self.bound,
            other => panic!("no {other} in those queries"),
        };
        self.series(after).into_iter().filter(holds).map(|(series, _)| series).collect()
    }
}
