//! The promise: whatever a client sends, an upstream receives one unambiguous request or nothing.
//!
//! The cases lie in `corpora/requests`; what must come of each stands beside it. The mutants cross them with each other, and
//! all that is wanted of those is "refused or clean".

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use portcullis_tests::Gateway;
use portcullis_tests::hostile::{
    Came, Case, Mutator, Profile, Recorder, Seen, Then, Verdict, assault, corpus, judge, plain_get,
};
use tokio::task::JoinSet;

/// Cases that run at once.
const AT_ONCE: usize = 6;

/// The time in which a plain GET works after every case.
const PLAIN: Duration = Duration::from_millis(100);

/// Mutants whose outcome is looked at together.
const BATCH: usize = 2_000;

/// A plain GET follows one mutant in so many.
const PLAIN_EVERY: usize = 50;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upstream_receives_one_unambiguous_request_or_nothing() {
    let cases = corpus("requests");
    let scene = Scene::start().await;
    let (outcomes, slowest) = scene.run(&cases, 0, 1).await;
    scene.end().await;

    let (mut dirty, mut wrong, mut clean) = (Vec::new(), Vec::new(), 0);
    for (case, (from, came)) in cases.iter().zip(&outcomes) {
        let seen = scene.recorder.taken(*from);
        clean += usize::from(seen.iter().any(|seen| seen.message.complete));
        let (bytes, rest) = judge(case, *from, came, &seen);
        dirty.extend(bytes.iter().map(|what| told(case, came, what, &seen)));
        wrong.extend(rest.iter().map(|what| told(case, came, what, &seen)));
    }
    dirty.extend(scene.recorder.unknown());
    println!(
        "hostile requests: {} cases, {clean} passed clean, {} dirty bytes, slowest plain GET after a case {} ms",
        cases.len(),
        dirty.len(),
        slowest.as_millis()
    );
    assert!(
        dirty.is_empty() && wrong.is_empty(),
        "{} dirty:\n{}\n{} other than wanted:\n{}",
        dirty.len(),
        dirty.join("\n"),
        wrong.len(),
        wrong.join("\n")
    );
    assert!(slowest < PLAIN, "a plain GET after a case took {slowest:?}");
    assert!(cases.len() >= 500, "only {} cases", cases.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_crossed_out_of_hostile_requests_is_refused_or_clean() {
    let full = std::env::var_os("PORTCULLIS_FULL").is_some_and(|full| full == "1");
    let seed = std::env::var("PORTCULLIS_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    let count = if full { 1_000_000 } else { 2_000 };
    println!("mutants: seed {seed} (PORTCULLIS_SEED repeats it)");

    let corpus = corpus("requests");
    let parents =
        corpus.iter().filter(|case| case.on == Profile::Plain && case.bytes.len() < 9_000);
    let mut mutator = Mutator::new(seed, parents.map(|case| &case.bytes[..]).collect());
    let scene = Scene::start().await;
    let mut faults = Vec::new();
    let mut clean = 0;
    let mut judged = |cases: Vec<Case>, outcomes: Vec<(Ipv4Addr, Came)>| {
        for (case, (from, came)) in cases.iter().zip(&outcomes) {
            let seen = scene.recorder.taken(*from);
            clean += usize::from(seen.iter().any(|seen| seen.message.complete));
            let (bytes, rest) = judge(case, *from, came, &seen);
            faults.extend(bytes.iter().chain(&rest).map(|what| told(case, came, what, &seen)));
        }
    };
    // A batch is judged when the next is done: by then all that it caused has arrived.
    let mut last = None;
    for first in (0..count).step_by(BATCH) {
        let mut batch = Vec::new();
        for number in first..(first + BATCH).min(count) {
            batch.push(mutant(number, one_of_http1(&mut mutator)));
        }
        let (outcomes, _) = scene.run(&batch, first, PLAIN_EVERY).await;
        if let Some((batch, outcomes)) = last.replace((batch, outcomes)) {
            judged(batch, outcomes);
        }
        if full {
            // It takes long; who ends it before knows how far it came.
            println!("mutants: {} sent", (first + BATCH).min(count));
        }
    }
    scene.end().await;
    let (batch, outcomes) = last.expect("there was a batch");
    judged(batch, outcomes);
    faults.extend(scene.recorder.unknown());
    println!("mutants: {count} sent, {clean} passed clean, {} dirty or stuck", faults.len());
    faults.truncate(20);
    assert!(faults.is_empty(), "seed {seed}:\n{}", faults.join("\n"));
}

/// Bytes that aren't those with which HTTP/2 begins: what is answered to these is frames, and has a corpus of its own.
fn one_of_http1(mutator: &mut Mutator) -> Vec<u8> {
    loop {
        let bytes = mutator.breed();
        if !bytes.starts_with(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n") {
            return bytes;
        }
    }
}

fn mutant(number: usize, bytes: Vec<u8>) -> Case {
    let want = Verdict { words: vec!["either".to_owned()] };
    // Whoever stops in the middle says so, or each would wait for a time-out.
    let whole = portcullis_tests::hostile::messages(&bytes).1.is_none();
    let then = if whole { Then::Listen } else { Then::HalfClose };
    Case { name: format!("mutant {number}"), bytes, then, want, ..Case::default() }
}

/// What to read when a case fails.
fn told(case: &Case, came: &Came, what: &str, seen: &[Seen]) -> String {
    let mut sent = String::from_utf8_lossy(&case.bytes).into_owned();
    if sent.len() > 600 {
        sent.truncate(sent.char_indices().take(600).last().map_or(0, |(at, _)| at));
    }
    let statuses: Vec<_> = came.answers.iter().map(|answer| answer.status).collect();
    let seen: Vec<_> = seen.iter().map(|seen| seen.message.target.clone()).collect();
    format!(
        "- {}: {what}\n    wanted {:?}, answered {statuses:?}, closed {}, upstream saw {seen:?}, sent {sent:?}",
        case.name, case.want.words, came.closed
    )
}

/// One gateway per profile, before one recorder.
struct Scene {
    recorder: Recorder,
    gateways: std::sync::Mutex<Vec<Gateway>>,
    addresses: BTreeMap<Profile, SocketAddr>,
}

impl Scene {
    async fn start() -> Self {
        let recorder = Recorder::start().await;
        let config = format!(
            "[upstreams.app]\nurl = \"{}\"\n\n[[routes]]\nname = \"app\"\npath = \"/{{*}}\"\nupstream = \"app\"\n",
            recorder.url()
        );
        // Short time-outs, so that what stops in the middle is over soon.
        let short = "header_timeout_seconds = 1\nbody_idle_timeout_seconds = 1\nworkers = 2";
        let quiet = |keys: &str| {
            Gateway::with_config(&config)
                .keys("[log]", "level = \"warn\"\naccess = false")
                .keys("[server]", &format!("{short}\n{keys}"))
        };
        let (plain, trusted, kept, trailers) = tokio::join!(
            quiet("").start(),
            quiet("trusted_proxies = [\"127.0.0.0/8\"]").start(),
            quiet("double_slash = \"keep\"\nencoded_slash = \"keep\"").start(),
            quiet(
                "request_trailers = [\"x-sum\", \"grpc-status\"]\nresponse_trailers = [\"x-sum\"]"
            )
            .start()
        );
        let addresses = BTreeMap::from([
            (Profile::Plain, plain.address()),
            (Profile::Trusted, trusted.address()),
            (Profile::Kept, kept.address()),
            (Profile::Trailers, trailers.address()),
        ]);
        Self { recorder, gateways: vec![plain, trusted, kept, trailers].into(), addresses }
    }

    /// Sends all cases, some at once, each from an address of its own, with a plain GET behind one in so many. Answers what
    /// came, in order, and the slowest plain GET.
    async fn run(
        &self,
        cases: &[Case],
        first: usize,
        plain_every: usize,
    ) -> (Vec<(Ipv4Addr, Came)>, Duration) {
        let cases = Arc::new(cases.to_vec());
        let next = Arc::new(AtomicUsize::new(0));
        let mut runners = JoinSet::new();
        for _ in 0..AT_ONCE {
            let (cases, next, addresses) = (cases.clone(), next.clone(), self.addresses.clone());
            runners.spawn(async move {
                let (mut came, mut slowest) = (Vec::new(), Duration::ZERO);
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(case) = cases.get(index) else { return (came, slowest) };
                    let to = addresses[&case.on];
                    let from = address(first + index);
                    let mut outcome = assault(to, from, &case.bytes, case.then).await;
                    if index % plain_every == 0 {
                        match plain(to, index).await {
                            Ok(took) => slowest = slowest.max(took),
                            Err(what) => outcome.faults.push(what),
                        }
                    }
                    came.push((index, (from, outcome)));
                }
            });
        }
        let mut all = BTreeMap::new();
        let mut slowest = Duration::ZERO;
        while let Some(done) = runners.join_next().await {
            let (came, slow) = done.expect("a runner doesn't panic");
            all.extend(came);
            slowest = slowest.max(slow);
        }
        (all.into_values().collect(), slowest)
    }

    /// Ends the gateways, after which nothing more can arrive.
    async fn end(&self) {
        self.gateways.lock().expect("nothing panics under this lock").clear();
        self.recorder.quiet().await;
    }
}

/// A gateway that is stuck stays stuck; a machine that is busy elsewhere isn't the second time. So the better of two counts.
async fn plain(to: SocketAddr, number: usize) -> Result<Duration, String> {
    let took = plain_get(to, &format!("/plain/{number}")).await?;
    if took < PLAIN {
        return Ok(took);
    }
    plain_get(to, &format!("/plain/{number}/again")).await
}

/// 127.1.0.0 and on.
fn address(number: usize) -> Ipv4Addr {
    let number = u32::try_from(number).expect("fewer cases than addresses");
    Ipv4Addr::from(u32::from(Ipv4Addr::new(127, 1, 0, 0)) + number)
}
