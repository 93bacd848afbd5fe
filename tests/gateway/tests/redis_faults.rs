//! The promise: whatever happens to Redis, requests are served, nothing is turned on, and it is said once.
//!
//! One test per fault of the matrix that the design calls "shared state"; the number of the row stands in the test.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use portcullis_tests::{
    Client, Detour, Gateway, PATIENCE, Redis, Script, Upstream, Way, eventually,
};
use serde_json::{Value, json};
use tokio::io::AsyncWriteExt;

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
        let redis = Redis::with(settings).await;
        let detour = Detour::to(redis.address());
        let orders = Upstream::always(Script::answer(200, "{}"));
        let gateways = [
            Gateway::sharing(detour.port()).in_place_of("orders", &orders).start().await,
            Gateway::sharing(redis.port()).start().await,
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
        let flipped = eventually(PATIENCE, "a flip reaches both again", || async {
            let wish = json!({ "enabled": false, "reason": why, "updated_by": "ada" });
            let url =
                first.admin_url(&format!("/admin/killswitch/{OTHER}?wait=all&timeout_ms=500"));
            let answer = Client::new().post(url).json(&wish).await.ok();
            (answer["applied"] == json!(2)).then_some(answer)
        })
        .await;
        println!("{why}: both agree {:?} after the end of the fault", begun.elapsed());
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
