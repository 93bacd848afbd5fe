//! The promise: gateways that share a Redis agree within milliseconds on what is off, and say which of them do.

use std::time::Instant;

use portcullis_tests::{Answer, Client, Gateway, PATIENCE, Redis, Script, Upstream, eventually};
use serde_json::{Value, json};

const FEATURE: &str = "order_creation";

/// The long forms run with this.
fn full() -> bool {
    std::env::var_os("PORTCULLIS_FULL").is_some_and(|value| value == "1")
}

async fn fleet(count: usize, redis: &Redis) -> Vec<Gateway> {
    let mut gateways = Vec::new();
    for _ in 0..count {
        gateways.push(Gateway::sharing(redis.port()).start().await);
    }
    gateways
}

async fn flip(gateway: &Gateway, enabled: bool, query: &str) -> Answer {
    let url = gateway.admin_url(&format!("/admin/killswitch/{FEATURE}{query}"));
    let wish = json!({ "enabled": enabled, "reason": "a test", "updated_by": "ada" });
    Client::new().post(url).json(&wish).await
}

async fn state(gateway: &Gateway) -> Value {
    Client::new().get(gateway.admin_url(&format!("/admin/killswitch/{FEATURE}"))).await.ok()
}

async fn health(gateway: &Gateway) -> Value {
    Client::new().get(gateway.admin_url("/health")).await.ok()
}

async fn is_off_at(gateway: &Gateway) {
    eventually(PATIENCE, "the feature is off here too", || async {
        state(gateway).await["enabled"] == json!(false)
    })
    .await;
}

#[tokio::test]
async fn a_flip_at_one_gateway_is_in_force_at_the_other_and_said_there() {
    let redis = Redis::start().await;
    let orders = Upstream::always(Script::answer(200, "{}"));
    let first = Gateway::sharing(redis.port()).start().await;
    let second = Gateway::sharing(redis.port()).in_place_of("orders", &orders).start().await;

    let killed = flip(&first, false, "?wait=all").await.ok();
    assert_eq!((&killed["applied"], &killed["of"]), (&json!(2), &json!(2)), "{killed}");
    assert_eq!(killed["saved"], true);
    let order = Client::new().post(second.url("/api/orders")).json(&json!({})).await;
    order.refused(503, "killswitch");
    second.logged("KILLSWITCH DISABLED: order_creation by ada - a test").await;

    let restored = flip(&second, true, "?wait=all").await.ok();
    assert_eq!((&restored["applied"], &restored["laggards"]), (&json!(2), &json!([])));
    assert_eq!(state(&first).await["enabled"], true);
    assert_eq!(state(&first).await["revision"], state(&second).await["revision"]);
    assert_eq!(health(&first).await["redis_available"], true);

    let copy = redis.command("GET killswitch:order_creation").await.unwrap();
    assert!(copy.starts_with('$'), "people with redis-cli find a copy: {copy}");
}

#[tokio::test]
async fn a_gateway_that_stands_still_is_named_and_one_that_ended_is_not() {
    let redis = Redis::start().await;
    let count = if full() { 10 } else { 4 };
    let mut gateways = fleet(count, &redis).await;
    let mut waits = Vec::new();
    for round in 0..if full() { 200 } else { 20 } {
        let begun = Instant::now();
        let flipped = flip(&gateways[round % count], round % 2 == 1, "?wait=all").await.ok();
        waits.push(begun.elapsed());
        assert_eq!(
            (&flipped["applied"], &flipped["of"]),
            (&json!(count), &json!(count)),
            "{flipped}"
        );
    }
    waits.sort();
    println!(
        "{} flips on {count} gateways, from the call to all of them: p50 {:?}, p99 {:?}",
        waits.len(),
        waits[waits.len() / 2],
        waits[waits.len() * 99 / 100],
    );

    gateways[1].pause();
    let name = format!(":{}", gateways[1].address().port());
    let flipped = flip(&gateways[0], false, "?wait=all&timeout_ms=1000").await.ok();
    assert_eq!((&flipped["applied"], &flipped["of"]), (&json!(count - 1), &json!(count)));
    let laggards = flipped["laggards"].as_array().unwrap();
    assert!(laggards.len() == 1 && laggards[0].as_str().unwrap().ends_with(&name), "{flipped}");
    gateways[1].resume();
    is_off_at(&gateways[1]).await;

    gateways[2].terminate().await;
    let flipped = flip(&gateways[0], true, "?wait=all").await.ok();
    assert_eq!((&flipped["applied"], &flipped["of"]), (&json!(count - 1), &json!(count - 1)));
    let instances = Client::new().get(gateways[0].admin_url("/admin/instances")).await.ok();
    assert_eq!(instances["instances"].as_array().unwrap().len(), count - 1, "{instances}");
}

#[tokio::test]
async fn a_kill_while_redis_is_away_is_in_force_here_and_kept_later() {
    let mut redis = Redis::start().await;
    let mut gateways = fleet(2, &redis).await;
    redis.kill_9();
    gateways[0].logged("the store is away").await;

    let killed = flip(&gateways[0], false, "").await.ok();
    assert_eq!((&killed["saved"], &killed["pending"]), (&json!(false), &json!([FEATURE])));
    assert_eq!(state(&gateways[0]).await["enabled"], false);
    let health = health(&gateways[0]).await;
    assert_eq!(
        (&health["redis_available"], &health["status"]),
        (&json!(false), &json!("degraded"))
    );
    assert_eq!(flip(&gateways[1], true, "").await.status, 503, "nothing is turned on unkept");

    gateways[0].kill_9();
    gateways[0].restart().await;
    let again = state(&gateways[0]).await;
    assert_eq!((&again["enabled"], &again["pending"]), (&json!(false), &json!([FEATURE])));

    redis.restart().await;
    is_off_at(&gateways[1]).await;
    eventually(PATIENCE, "nothing is pending", || async {
        state(&gateways[0]).await["pending"] == json!([])
    })
    .await;
}

#[tokio::test]
async fn a_start_without_redis_keeps_what_was_off() {
    let mut redis = Redis::start().await;
    let mut gateway = Gateway::sharing(redis.port()).start().await;
    flip(&gateway, false, "").await.ok();
    eventually(PATIENCE, "the mirror is written", || async {
        mirrored(&gateway).contains("a test")
    })
    .await;
    gateway.kill_9();
    redis.kill_9();
    gateway.restart().await;
    assert_eq!(state(&gateway).await["enabled"], false);
    assert_eq!(health(&gateway).await["redis_available"], false);
    // Redis comes back empty, and is told.
    redis.restart().await;
    gateway.logged("the store lost something").await;
    assert_eq!(state(&gateway).await["enabled"], false);
}

fn mirrored(gateway: &Gateway) -> String {
    let name = format!("redis-mirror-{}/switchboard.json", gateway.address().port());
    std::fs::read_to_string(gateway.data_directory().join(name)).unwrap_or_default()
}

#[tokio::test]
async fn the_file_for_a_fleet_is_the_demo_but_for_its_store() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config");
    let after_the_store = |name: &str| {
        let text = std::fs::read_to_string(folder.join(name)).unwrap();
        let (_, rest) = text.split_once("\n[authentication]").unwrap();
        rest.to_owned()
    };
    assert_eq!(after_the_store("redis.toml"), after_the_store("demo.toml"));
}
