//! The promise: whatever happens to Redis, requests are served, nothing is turned on, and it is said once.
//!
//! One test per fault of the matrix that the design calls "shared state"; the number of the row stands in the test.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use portcullis_tests::{
    Client, Detour, Gateway, Launch, PATIENCE, Redis, Script, Upstream, Way, eventually,
};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

/// After the end of a fault, however long it was.
const AGREE_WITHIN: Duration = Duration::from_secs(2);
const KILLED: &str = "order_creation";
const OTHER: &str = "payment_processing";

/// Two gateways on one Redis, the first of them over a way that can be made bad; one kill; and a client that never stops.
struct Scene {
    redis: Redis,
    detour: Detour,
    gateways: [Gateway; 2],
    traffic: Traffic,
    _orders: Upstream,
}

impl Scene {
    async fn set() -> Self {
        Self::with(&[]).await
    }

    async fn with(settings: &[&str]) -> Self {
        Self::where_second(settings, |second| second).await
    }

    /// The second gateway is started in a way of its own.
    async fn where_second(settings: &[&str], second: impl FnOnce(Launch) -> Launch) -> Self {
        let redis = Redis::with(settings).await;
        let detour = Detour::to(redis.address());
        let orders = Upstream::always(Script::answer(200, "{}"));
        let gateways = [
            Gateway::sharing(detour.port()).in_place_of("orders", &orders).start().await,
            second(Gateway::sharing(redis.port())).start().await,
        ];
        let killed = flip(&gateways[0], KILLED, false, "?wait=all").await;
        assert_eq!(killed["applied"], 2, "{killed}");
        let traffic = Traffic::through(&gateways[0]);
        Self { redis, detour, gateways, traffic, _orders: orders }
    }

    /// After the fault: the kill is still there, both agree soon, and all requests were served.
    async fn heals(self, why: &str) {
        let begun = Instant::now();
        // A flip that must reach the other shows that both share again.
        let url = |gateway: &Gateway| gateway.admin_url("/admin/killswitches");
        let [first, second] = &self.gateways;
        eventually(PATIENCE, "both have the same state", || async {
            let of = |gateway| async move { Client::new().get(url(gateway)).await.ok() };
            let (first, second) = (of(first).await, of(second).await);
            let is_settled = first["pending"] == json!([]) && second["pending"] == json!([]);
            is_settled && first == second
        })
        .await;
        let agreed = begun.elapsed();
        let flipped = eventually(PATIENCE, "a flip reaches both again", || async {
            let wish = json!({ "enabled": false, "reason": why, "updated_by": "ada" });
            let url =
                first.admin_url(&format!("/admin/killswitch/{OTHER}?wait=all&timeout_ms=500"));
            let answer = Client::new().post(url).json(&wish).await.ok();
            (answer["applied"] == json!(2)).then_some(answer)
        })
        .await;
        println!(
            "{why}: the same state {agreed:.0?} after the end of the fault, and a flip has reached both {:.0?} after it",
            begun.elapsed()
        );
        assert!(agreed <= AGREE_WITHIN, "{why}: the same state only {agreed:?} after its end");
        assert_eq!(flipped["of"], 2, "{flipped}");
        for gateway in &self.gateways {
            assert_eq!(state(gateway, KILLED).await["enabled"], false, "{why}");
            let lines = gateway.log().containing("KILLSWITCH ENABLED");
            assert!(lines.is_empty(), "{why}: {lines:?}");
            let said = gateway.log().containing("KILLSWITCH DISABLED: order_creation");
            assert_eq!(said.len(), 1, "one line per change: {said:?}");
        }
        let (served, failed) = self.traffic.end().await;
        println!("{why}: {served} requests served, {failed} failed");
        assert!(served > 0 && failed == 0, "{why}: {failed} of {served} requests failed");
    }
}

/// Requests without a pause, counted.
struct Traffic {
    stop: Arc<AtomicBool>,
    counts: Arc<[AtomicU64; 2]>,
    task: tokio::task::JoinHandle<()>,
}

impl Traffic {
    fn through(gateway: &Gateway) -> Self {
        let (stop, counts) = (Arc::new(AtomicBool::new(false)), Arc::<[AtomicU64; 2]>::default());
        let url = gateway.url("/api/orders/7");
        let task = tokio::spawn({
            let (stop, counts) = (stop.clone(), counts.clone());
            async move {
                let client = Client::kept_alive();
                while !stop.load(Relaxed) {
                    let answer = client.get(&url).attempt().await;
                    let failed = !answer.is_ok_and(|answer| answer.status == 200);
                    counts[usize::from(failed)].fetch_add(1, Relaxed);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        });
        Self { stop, counts, task }
    }

    async fn end(self) -> (u64, u64) {
        self.stop.store(true, Relaxed);
        self.task.await.expect("a client that only counts doesn't panic");
        (self.counts[0].load(Relaxed), self.counts[1].load(Relaxed))
    }
}

async fn flip(gateway: &Gateway, feature: &str, enabled: bool, query: &str) -> Value {
    let wish = json!({ "enabled": enabled, "reason": "a test", "updated_by": "ada" });
    let url = gateway.admin_url(&format!("/admin/killswitch/{feature}{query}"));
    Client::new().post(url).json(&wish).await.ok()
}

async fn state(gateway: &Gateway, feature: &str) -> Value {
    Client::new().get(gateway.admin_url(&format!("/admin/killswitch/{feature}"))).await.ok()
}

async fn says(gateway: &Gateway, text: &str) {
    gateway.logged(text).await;
}

#[tokio::test]
async fn row_1_down_at_the_start() {
    let mut redis = Redis::start().await;
    redis.kill_9();
    let gateway = Gateway::sharing(redis.port()).start().await;
    says(&gateway, "the store is away").await;
    redis.restart().await;
    says(&gateway, "the store is reached").await;
    assert_eq!(flip(&gateway, KILLED, false, "").await["saved"], true);
    assert_eq!(gateway.log().containing("the store is away").len(), 1);
}

#[tokio::test]
async fn row_2_killed_in_the_middle() {
    let mut scene = Scene::set().await;
    scene.redis.kill_9();
    says(&scene.gateways[0], "the store is away").await;
    scene.redis.restart().await;
    scene.heals("row 2, killed and back empty").await;
}

#[tokio::test]
async fn row_3_answers_that_take_five_seconds() {
    let scene = Scene::set().await;
    scene.detour.make(Way::Slow(Duration::from_secs(5)));
    says(&scene.gateways[0], "the store is away").await;
    let begun = Instant::now();
    let killed = flip(&scene.gateways[0], "email_notifications", false, "").await;
    assert_eq!(killed["saved"], false);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    scene.detour.make(Way::Open);
    scene.heals("row 3, slow").await;
}

#[tokio::test]
async fn row_4_silence() {
    let mut scene = Scene::set().await;
    scene.redis.pause();
    says(&scene.gateways[0], "the store is away").await;
    scene.redis.resume();
    scene.heals("row 4, stopped and continued").await;
}

#[tokio::test]
async fn row_5_a_half_open_connection() {
    let scene = Scene::set().await;
    scene.detour.make(Way::Silent);
    says(&scene.gateways[0], "the store is away").await;
    scene.detour.make(Way::Open);
    scene.heals("row 5, half open").await;
}

#[tokio::test]
async fn row_6_a_partition_between_two_gateways() {
    let scene = Scene::set().await;
    scene.detour.make(Way::Closed);
    says(&scene.gateways[0], "the store is away").await;
    // Both sides go on: a kill here, and another there.
    assert_eq!(flip(&scene.gateways[0], "email_notifications", false, "").await["saved"], false);
    assert_eq!(flip(&scene.gateways[1], "sms_notifications", false, "").await["saved"], true);
    scene.detour.make(Way::Open);
    for (gateway, feature) in
        [(&scene.gateways[0], "sms_notifications"), (&scene.gateways[1], "email_notifications")]
    {
        eventually(PATIENCE, "what the other side killed is off here", || async {
            state(gateway, feature).await["enabled"] == json!(false)
        })
        .await;
    }
    scene.heals("row 6, partition").await;
}

#[tokio::test]
async fn row_7_and_15_a_server_that_takes_no_writes() {
    for refusal in [
        "-READONLY You can't write against a read only replica.",
        "-LOADING Redis is loading the dataset in memory",
        "-MASTERDOWN Link with MASTER is down",
        "-MISCONF Redis is configured to save RDB snapshots, but it's unable to persist to disk",
    ] {
        let scene = Scene::set().await;
        scene.detour.make(Way::Answers(refusal));
        says(&scene.gateways[0], "the store is away").await;
        assert_eq!(
            flip(&scene.gateways[0], "email_notifications", false, "").await["saved"],
            false
        );
        scene.detour.make(Way::Open);
        scene.heals(&refusal[1..10]).await;
    }
}

#[tokio::test]
async fn row_8_keys_that_are_evicted() {
    let scene = Scene::with(&["--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru"]).await;
    says(&scene.gateways[0], "maxmemory-policy allkeys-lru").await;
    // Fill it until one of ours is gone.
    let value = "x".repeat(20_000);
    let count = AtomicU64::new(0);
    eventually(PATIENCE, "a key of ours is evicted", || async {
        for _ in 0..40 {
            let n = count.fetch_add(1, Relaxed);
            scene.redis.command(&format!("SET filler:{n} {value}")).await.unwrap();
        }
        let losses =
            scene.gateways.iter().map(|gateway| gateway.log().containing("lost something"));
        losses.flatten().next().is_some()
    })
    .await;
    scene.redis.command("CONFIG SET maxmemory 0").await.unwrap();
    let ours = "EXISTS {portcullis}:head {portcullis}:states {portcullis}:log";
    eventually(PATIENCE, "our keys are written again", || async {
        scene.redis.command(ours).await.unwrap() == ":3"
    })
    .await;
    scene.heals("row 8, evicted").await;
}

#[tokio::test]
async fn row_9_everything_is_flushed() {
    let scene = Scene::set().await;
    scene.redis.command("FLUSHALL").await.unwrap();
    eventually(PATIENCE, "it is filled again", || async {
        scene.redis.command("EXISTS {portcullis}:head").await.unwrap() == ":1"
    })
    .await;
    let losses: usize =
        scene.gateways.iter().map(|gateway| gateway.log().containing("lost something").len()).sum();
    assert_eq!(losses, 1, "one gateway fills it, the other finds it filled");
    scene.heals("row 9, flushed").await;
}

#[tokio::test]
async fn row_10_a_password_that_is_no_longer_right() {
    let scene = Scene::set().await;
    // One connection, because a second would have to know the password; the gateways' own are ended.
    let mut stream = tokio::net::TcpStream::connect(scene.redis.address()).await.unwrap();
    let lock_out = b"ACL SETUSER default resetpass >geheim\r\nCLIENT KILL TYPE normal\r\n";
    stream.write_all(lock_out).await.unwrap();
    for gateway in &scene.gateways {
        says(gateway, "the store is away").await;
    }
    stream.write_all(b"ACL SETUSER default nopass\r\n").await.unwrap();
    scene.heals("row 10, locked out").await;
}

#[tokio::test]
async fn row_11_values_that_make_no_sense() {
    for damage in [
        "SET {portcullis}:head nonsense",
        "HSET {portcullis}:head revision 18446744073709551999",
        "HSET {portcullis}:states order_creation nonsense",
        "DEL {portcullis}:states",
    ] {
        let scene = Scene::set().await;
        scene.redis.command(damage).await.unwrap();
        let said = |gateway: &Gateway| !gateway.log().containing("lost something").is_empty();
        eventually(PATIENCE, "the damage is said", || async { scene.gateways.iter().any(said) })
            .await;
        scene.heals(damage).await;
    }
}

/// Ends every connection that waits for commits, and no other; how many that were.
async fn cut_readers(redis: &Redis) -> usize {
    let clients = redis.text("CLIENT LIST TYPE normal").await.unwrap();
    let field = |client: &str, name: &str| {
        client.split(' ').find_map(|field| field.strip_prefix(name)).map(str::to_owned)
    };
    let readers = clients.lines().filter(|client| client.contains(" cmd=xread "));
    let ids: Vec<_> = readers.filter_map(|client| field(client, "id=")).collect();
    for id in &ids {
        redis.command(&format!("CLIENT KILL ID {id}")).await.unwrap();
    }
    ids.len()
}

#[tokio::test]
async fn row_12_what_listens_is_cut_again_and_again_while_others_flip() {
    let scene = Scene::set().await;
    let cuts = AtomicUsize::new(0);
    let features =
        ["email_notifications", "sms_notifications", "inventory_service", "third_party_apis"];
    for (round, feature) in features.into_iter().enumerate() {
        eventually(PATIENCE, "somebody listens", || async {
            cuts.fetch_add(cut_readers(&scene.redis).await, Relaxed);
            cuts.load(Relaxed) > round
        })
        .await;
        let flipped = flip(&scene.gateways[round % 2], feature, false, "").await;
        assert_eq!(flipped["saved"], true, "{flipped}");
    }
    println!("{} connections were cut", cuts.into_inner());
    scene.heals("row 12, missed messages").await;
}

/// User and system time of a process so far.
fn cpu(gateway: &Gateway) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", gateway.pid())).unwrap();
    let after_name = stat.rsplit_once(") ").unwrap().1;
    let ticks = after_name.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u32>().unwrap());
    ticks.sum::<u32>() * Duration::from_millis(10)
}

#[tokio::test]
async fn row_13_a_storm_of_messages_of_others() {
    const WINDOW: Duration = Duration::from_secs(3);
    const BATCH: usize = 500;
    let scene = Scene::set().await;
    // The second gateway serves nobody, so all that it uses is for the store.
    let quiet = &scene.gateways[1];
    let stop = Arc::new(AtomicBool::new(false));
    let sent = Arc::new(AtomicU64::new(0));
    let storm = tokio::spawn({
        let (stop, sent, address) = (stop.clone(), sent.clone(), scene.redis.address());
        async move {
            let stream = tokio::net::TcpStream::connect(address).await.unwrap();
            let (mut answers, mut commands) = stream.into_split();
            let drain = tokio::spawn(async move {
                let mut nowhere = tokio::io::sink();
                let _ = tokio::io::copy(&mut answers, &mut nowhere).await;
            });
            // A message, and an entry in the very log that the gateways read.
            let pair = "PUBLISH {portcullis}:log x\r\nXADD {portcullis}:log * junk x\r\n";
            let batch = pair.repeat(BATCH / 2);
            let mut pace = tokio::time::interval(Duration::from_millis(10));
            while !stop.load(Relaxed) {
                pace.tick().await;
                commands.write_all(batch.as_bytes()).await.unwrap();
                sent.fetch_add(BATCH as u64, Relaxed);
            }
            drop(commands);
            drain.await.unwrap();
        }
    });
    eventually(PATIENCE, "the storm is there", || async { sent.load(Relaxed) > 0 }).await;
    let (used, told, begun) = (cpu(quiet), sent.load(Relaxed), Instant::now());
    tokio::time::sleep(WINDOW).await;
    let used = (cpu(quiet) - used).div_duration_f64(begun.elapsed()) * 100.0;
    #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
    let rate = (sent.load(Relaxed) - told) as f64 / begun.elapsed().as_secs_f64();
    println!("row 13: at {rate:.0} messages a second a gateway used {used:.1} % of a core");
    stop.store(true, Relaxed);
    storm.await.unwrap();
    scene.heals("row 13, a storm").await;
    assert!(used <= 10.0, "{used:.1} % of a core");
}

/// A library that makes the wall clock of a process ten minutes fast.
const FAST: &str = "#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = (int)syscall(SYS_clock_gettime, clock, now);
    if (!failed && clock == CLOCK_REALTIME) now->tv_sec += 600;
    return failed;
}
";

fn fast_clock(home: &Path) -> PathBuf {
    let (source, library) = (home.join("fast.c"), home.join("fast.so"));
    std::fs::write(&source, FAST).unwrap();
    let mut cc = Command::new("cc");
    cc.args(["-shared", "-fPIC", "-o"]).args([&library, &source]);
    assert!(cc.status().unwrap().success());
    library
}

/// Of `2026-11-20T22:13:05…`.
fn second_of_the_day(time: &str) -> u32 {
    let of = |from: usize| time[from..from + 2].parse::<u32>().unwrap();
    of(11) * 3600 + of(14) * 60 + of(17)
}

#[tokio::test]
async fn row_14_a_clock_that_is_ten_minutes_fast() {
    let home = tempfile::tempdir().unwrap();
    let library = fast_clock(home.path());
    let scene =
        Scene::where_second(&[], |second| second.env("LD_PRELOAD", library.display())).await;
    let [right, fast] = &scene.gateways;
    // Each kills something for five minutes: by its own clock the fast one would lift the other's at once.
    let brief = |gateway: &Gateway, feature: &'static str| {
        let wish = json!({ "enabled": false, "reason": "a test", "updated_by": "ada", "duration_minutes": 5 });
        let url = gateway.admin_url(&format!("/admin/killswitch/{feature}?wait=all"));
        async move { Client::new().post(url).json(&wish).await.ok() }
    };
    for (gateway, feature) in [(right, "email_notifications"), (fast, "sms_notifications")] {
        let killed = brief(gateway, feature).await;
        assert_eq!((&killed["applied"], &killed["saved"]), (&json!(2), &json!(true)), "{killed}");
    }
    // Both end at the same time for both.
    let ends = |feature: &'static str| async move {
        let (here, there) = (state(right, feature).await, state(fast, feature).await);
        assert_eq!((&here["enabled"], &there["enabled"]), (&json!(false), &json!(false)));
        assert_eq!(here["expires_at"], there["expires_at"]);
        here["expires_at"].as_str().unwrap().to_owned()
    };
    let (email, sms) = (ends("email_notifications").await, ends("sms_notifications").await);
    let (email, sms) = (second_of_the_day(&email), second_of_the_day(&sms));
    let apart = email.abs_diff(sms).min(86_400 - email.abs_diff(sms));
    assert!(apart < 120, "{email} and {sms} are the same but for what the test took");
    let instances = Client::new().get(right.admin_url("/admin/instances")).await.ok();
    assert_eq!(instances["of"], 2, "{instances}");
    scene.heals("row 14, a fast clock").await;
}
