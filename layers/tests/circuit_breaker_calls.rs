//! What the guide to circuit breakers does with them (mission document 5), as it is done here: calls with fallbacks, a
//! registry, statistics, health, control by hand.

#![allow(clippy::unwrap_used, reason = "tests")]

mod rig;

use std::{
    cell::Cell,
    collections::HashMap,
    convert::Infallible,
    future::pending,
    num::NonZeroU32,
    sync::atomic::{AtomicU32, Ordering::SeqCst},
    time::Duration,
};

use portcullis::{
    circuit_breaker::{
        Breaker, CallError, Health, Registry, Settings, State, Verdict, check_every,
    },
    outcome::Outcome,
};
use rig::{advance, by_hand, clock};

#[derive(Debug, PartialEq)]
struct ServiceError;

async fn failing_service_call() -> Result<u32, ServiceError> {
    Err(ServiceError)
}

/// `CircuitBreakerConfig(failure_threshold, recovery_timeout, success_threshold)`.
fn config(failure_threshold: u32, recovery_timeout: u64, success_threshold: u32) -> Settings {
    Settings {
        consecutive_failures: NonZeroU32::new(failure_threshold),
        open_wait: Duration::from_secs(recovery_timeout),
        verdict: Verdict::Run(NonZeroU32::new(success_threshold).unwrap()),
        ..Settings::default()
    }
}

async fn open(breaker: &Breaker) {
    while !breaker.is_open() {
        assert_eq!(breaker.call(failing_service_call).await, Err(CallError::Failed(ServiceError)));
    }
}

#[tokio::test]
async fn test_circuit_breaker_opens() {
    let circuit = Breaker::new("test_service", config(5, 60, 3));
    for _ in 0..5 {
        assert!(matches!(circuit.call(failing_service_call).await, Err(CallError::Failed(_))));
    }
    assert!(circuit.is_open());
    let made = Cell::new(false);
    let refused = circuit
        .call(|| async {
            made.set(true);
            Ok::<_, ServiceError>(1)
        })
        .await;
    assert!(matches!(refused, Err(CallError::Rejected(_))));
    assert!(!made.get(), "it failed fast");
}

#[tokio::test]
async fn a_static_fallback_stands_in_for_what_fails_and_for_what_is_refused() {
    let weather = Breaker::new("weather_api", config(3, 30, 1));
    for _ in 0..10 {
        let answer =
            weather.call_or("unavailable", || async { Err::<&str, _>(ServiceError) }).await;
        assert_eq!(answer, "unavailable");
    }
    assert!(weather.is_open());
    assert_eq!(weather.snapshot().calls_total, 3);
}

#[tokio::test]
async fn a_computed_fallback_is_given_the_arguments_of_the_call() {
    let circuit = Breaker::new("product_recommendations", config(1, 60, 1));
    let cache = HashMap::from([(7_u32, vec!["a book"])]);
    let recommendations = async |user_id: u32| -> Vec<&str> {
        circuit
            .call_or_else(
                user_id,
                |_| async { Err::<Vec<&str>, _>(ServiceError) },
                |user_id| cache.get(&user_id).cloned().unwrap_or_else(|| vec!["what is popular"]),
            )
            .await
    };
    assert_eq!(recommendations(7).await, ["a book"]);
    assert_eq!(recommendations(8).await, ["what is popular"]);
}

#[tokio::test]
async fn a_batch_falls_back_to_a_report_of_what_was_not_done() {
    let circuit = Breaker::new("batch_processor", config(2, 60, 1));
    let items = vec![1, 2, 3];
    let report = circuit
        .call_or_else(
            items,
            |_| async { Err::<(usize, usize), _>(ServiceError) },
            |items| (0, items.len()),
        )
        .await;
    assert_eq!(report, (0, 3));
}

#[tokio::test]
async fn a_cache_falls_back_to_none() {
    let cache = Breaker::new("redis", config(5, 60, 1));
    assert_eq!(
        cache.call_or_none(|| async { Ok::<_, ServiceError>("cached") }).await,
        Some("cached")
    );
    assert_eq!(cache.call_or_none(|| async { Err::<&str, _>(ServiceError) }).await, None);
}

#[tokio::test]
async fn a_failure_of_one_service_does_not_cascade_into_the_next() {
    let (a, b) =
        (Breaker::new("service_a", config(5, 60, 1)), Breaker::new("service_b", config(5, 60, 1)));
    let orchestrate = async |a_works: bool| {
        let from_a = a
            .call_or_none(|| async move { if a_works { Ok(1) } else { Err(ServiceError) } })
            .await?;
        let from_b = b.call_or_none(|| async { Ok::<_, ServiceError>(2) }).await?;
        Some(from_a + from_b)
    };
    assert_eq!(orchestrate(true).await, Some(3));
    assert_eq!(orchestrate(false).await, None);
    assert_eq!(b.snapshot().calls_total, 1);
}

#[tokio::test]
async fn a_registry_finds_breakers_by_name_and_tells_of_all() {
    let registry = Registry::new();
    let payments = registry.register("payment_service", config(2, 60, 1));
    registry.register("email_service", config(3, 30, 1));
    assert!(registry.get("nobody").is_none());
    open(&payments).await;

    let again = registry.register("payment_service", config(99, 1, 1));
    assert!(again.is_open(), "one name is one breaker");
    let stats = registry.stats();
    let told: Vec<_> = stats
        .iter()
        .map(|(name, s)| (&**name, s.state.as_str(), s.failure_count, s.success_count))
        .collect();
    assert_eq!(told, [("email_service", "closed", 0, 0), ("payment_service", "open", 2, 0)]);
    let health: Vec<_> = registry.health().into_values().map(Health::as_str).collect();
    assert_eq!(health, ["healthy", "unhealthy"]);
    assert_eq!(*registry.unhealthy(), [std::sync::Arc::<str>::from("payment_service")]);
    registry.reset_all();
    assert!(registry.unhealthy().is_empty());
}

#[tokio::test]
async fn a_circuit_is_reset_by_hand_after_the_issue_is_fixed() {
    let registry = Registry::new();
    open(&registry.register("payment_service", config(5, 60, 3))).await;
    let circuit = registry.get("payment_service").unwrap();
    assert!(circuit.is_open());
    circuit.reset();
    assert!(!circuit.is_open());
    assert_eq!(circuit.call(|| async { Ok::<_, ServiceError>(1) }).await, Ok(1));
}

#[tokio::test(start_paused = true)]
async fn three_successes_close_it_from_half_open_as_the_default_profile_asks() {
    let circuit = Breaker::new("payment_gateway", config(5, 60, 3)).with_clock(clock);
    open(&circuit).await;
    advance(60).await;
    for state in [State::HalfOpen, State::HalfOpen, State::Closed] {
        circuit.call(|| async { Ok::<_, ServiceError>(1) }).await.unwrap();
        assert_eq!(circuit.state(), state);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_takes_longer_than_its_time_out_is_a_failure() {
    let circuit = Breaker::new("slow", config(1, 60, 1)).with_clock(clock);
    let bounded = || tokio::time::timeout(Duration::from_secs(30), pending::<()>());
    assert!(matches!(circuit.call(bounded).await, Err(CallError::Failed(_))));
    assert!(circuit.is_open());
}

#[tokio::test(start_paused = true)]
async fn a_call_that_an_outer_time_out_cuts_counts_by_its_age() {
    let circuit = Breaker::new("hung", config(1, 60, 1)).with_clock(clock);
    for (age, opens) in [(9, false), (10, true)] {
        let mut call = by_hand(circuit.call(pending::<Result<(), ServiceError>>));
        assert!(call.poll_once().await.is_pending());
        advance(age).await;
        drop(call);
        assert_eq!(circuit.is_open(), opens);
    }
}

#[tokio::test]
async fn what_is_expected_is_no_failure() {
    let circuit = Breaker::new("user_search", config(1, 60, 1));
    let judge = |found: &Result<(), &str>| match found {
        Ok(()) | Err("no such user") => Outcome::Success,
        Err(_) => Outcome::Failure,
    };
    let missing = circuit.call_judged(judge, || async { Err("no such user") }).await;
    assert_eq!((missing, circuit.is_open()), (Err(CallError::Failed("no such user")), false));
    let reset = circuit.call_judged(judge, || async { Err("connection reset") }).await;
    assert_eq!((reset.is_err(), circuit.is_open()), (true, true));
}

#[tokio::test(start_paused = true)]
async fn a_health_check_at_its_interval_opens_and_closes_a_breaker_without_any_traffic() {
    static FAILING: AtomicU32 = AtomicU32::new(2);
    let circuit = Breaker::new("stripe_api", config(2, 450, 1)).with_clock(clock);
    let checks = check_every(circuit.clone(), Duration::from_secs(300), || async {
        match FAILING.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) {
            Ok(_) => Err(ServiceError),
            Err(_) => Ok(()),
        }
    });
    let story = async {
        for (at, state) in
            [(1, State::Closed), (300, State::Open), (300, State::Open), (300, State::Closed)]
        {
            tokio::time::sleep(Duration::from_secs(at)).await;
            assert_eq!(circuit.state(), state);
        }
    };
    tokio::select! {
        _ = checks => unreachable!("it never ends"),
        () = story => {}
    }
}

#[test]
fn an_error_of_a_call_says_what_the_call_said() {
    let failed = CallError::Failed(std::io::Error::other("connection reset"));
    assert_eq!(failed.to_string(), "connection reset");
    let breaker = Breaker::new("database", Settings::default());
    breaker.force_open();
    let refused: CallError<Infallible> = CallError::Rejected(breaker.admit().unwrap_err());
    assert_eq!(refused.to_string(), "the circuit database is held open by an operator");
}
