//! The promise: whatever frames a client sends, an upstream receives unambiguous requests or nothing, and the next client is
//! served as if nothing had been.
//!
//! The cases lie in `corpora/http2`; what must come of each stands beside it.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use portcullis_tests::hostile::Recorder;
use portcullis_tests::http2::{cases, judge, play};
use portcullis_tests::{Client, Gateway};

/// The time in which a plain GET works after every case.
const PLAIN: Duration = Duration::from_millis(100);

/// A machine that is busy with something else may be slow once.
const TRIES: usize = 3;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_receives_unambiguous_requests_or_nothing() {
    let upstream = Recorder::start().await;
    let config = format!(
        "[upstreams.app]\nurl = \"{}\"\n\n[[routes]]\nname = \"app\"\npath = \"/{{*}}\"\nupstream = \"app\"\n",
        upstream.url()
    );
    let gateway = Gateway::with_config(&config)
        .keys("[server]", "header_timeout_seconds = 1\nworkers = 2")
        .start()
        .await;
    let only = std::env::var("PORTCULLIS_CASE").ok();
    let all: Vec<_> = cases()
        .into_iter()
        .filter(|case| only.as_ref().is_none_or(|only| case.name.contains(only.as_str())))
        .collect();

    let (mut outcomes, mut slowest) = (Vec::new(), Duration::ZERO);
    for (number, case) in all.iter().enumerate() {
        let number = u8::try_from(number / 250).ok().zip(u8::try_from(number % 250).ok());
        let (high, low) = number.expect("fewer cases than addresses");
        let from = Ipv4Addr::new(127, 1, high, low + 1);
        outcomes.push((from, play(case, gateway.address(), from).await));
        slowest = slowest.max(plain(&gateway).await);
    }
    let metrics = Client::new().get(gateway.admin_url("/metrics")).await;
    drop(gateway);
    upstream.quiet().await;

    let (mut dirty, mut wrong) = (Vec::new(), Vec::new());
    for (case, (from, came)) in all.iter().zip(&outcomes) {
        let seen = upstream.taken(*from);
        let (bytes, rest) = judge(case, *from, came, &seen);
        let told = |what: &String| {
            let seen: Vec<_> =
                seen.iter().map(|seen| (&seen.message.target, seen.message.complete)).collect();
            let shown = format!("{:?}", came.0);
            format!(
                "- {}: {what}\n    wanted {:?}, came {shown:.400}, upstream saw {seen:?}\n",
                case.name, case.want
            )
        };
        dirty.extend(bytes.iter().map(told));
        wrong.extend(rest.iter().map(told));
    }
    dirty.extend(upstream.unknown());
    println!(
        "hostile HTTP/2: {} streams, {} dirty bytes, slowest plain GET after one {} ms",
        all.len(),
        dirty.len(),
        slowest.as_millis()
    );
    assert!(
        dirty.is_empty() && wrong.is_empty(),
        "{} dirty:\n{}\n{} other than wanted:\n{}",
        dirty.len(),
        dirty.concat(),
        wrong.len(),
        wrong.concat()
    );
    assert!(slowest < PLAIN, "a plain GET after a case took {slowest:?}");
    assert!(only.is_some() || all.len() >= 60, "only {} cases", all.len());
    assert!(
        only.is_some()
            || metrics.text().contains("portcullis_http2_floods_total{flood=\"ping\"} 2"),
        "{}",
        metrics.text()
    );
}

async fn plain(gateway: &Gateway) -> Duration {
    let mut quickest = Duration::MAX;
    for _ in 0..TRIES {
        let start = Instant::now();
        assert_eq!(Client::new().get(gateway.url("/plain")).await.text(), "GET /plain");
        quickest = quickest.min(start.elapsed());
        if quickest < PLAIN {
            break;
        }
    }
    quickest
}
