//! Circuit breakers around what isn't a tower service: a database, a cache and a queue, by name in a registry, with a fallback
//! each.

use std::{cell::Cell, num::NonZeroU32, time::Duration};

use portcullis::circuit_breaker::{Breaker, CallError, Health, Registry, Settings, Verdict};
use portcullis_layer_examples::{clock, skip};

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let registry = Registry::new();
    let add = |name, settings| registry.add(Breaker::new(name, settings).with_clock(clock));
    let (database, cache, queue) =
        (add("user_search", failures(5)), add("redis", failures(2)), add("rabbitmq", failures(5)));

    // A database: what went wrong, until it isn't even asked.
    let asked = Cell::new(0);
    let search = || async {
        asked.set(asked.get() + 1);
        Err::<Vec<&str>, _>("connection reset")
    };
    for _ in 0..5 {
        assert_eq!(database.call(search).await, Err(CallError::Failed("connection reset")));
    }
    let refused = database.call(search).await.expect_err("it is open");
    println!("{refused}");
    assert!(matches!(refused, CallError::Rejected(_)) && asked.get() == 5);

    // A cache: none is as good as a miss.
    assert_eq!(cache.call_or_none(|| async { Ok::<_, &str>("hit") }).await, Some("hit"));
    assert_eq!(cache.call_or_none(|| async { Err::<&str, _>("timeout") }).await, None);

    // A queue: what can't be sent is kept, for which the arguments are needed.
    let kept = Cell::new(None);
    let sent = queue.call_or_else(
        "order 7 shipped",
        |_event| async { Err::<bool, _>("broker unavailable") },
        |event| {
            kept.set(Some(event));
            false
        },
    );
    assert!(!sent.await);
    assert_eq!(kept.get(), Some("order 7 shipped"));

    for (name, snapshot) in registry.stats() {
        println!(
            "{name}: {} - failures: {}, successes: {}",
            snapshot.state.as_str(),
            snapshot.failure_count,
            snapshot.success_count
        );
    }
    assert_eq!(registry.health()["user_search"], Health::Unhealthy);
    assert_eq!(*registry.unhealthy(), [std::sync::Arc::<str>::from("user_search")]);

    // The database is back: three good answers close it.
    skip(Duration::from_secs(60));
    for _ in 0..3 {
        assert_eq!(database.call(|| async { Ok::<_, &str>(vec!["ana"]) }).await, Ok(vec!["ana"]));
    }
    assert_eq!(registry.health()["user_search"], Health::Healthy);
}

/// Opens after so many failures in a row, waits a minute, and closes after three successes.
fn failures(most: u32) -> Settings {
    Settings {
        consecutive_failures: NonZeroU32::new(most),
        open_wait: Duration::from_secs(60),
        verdict: Verdict::Run(NonZeroU32::MIN.saturating_add(2)),
        ..Settings::default()
    }
}
