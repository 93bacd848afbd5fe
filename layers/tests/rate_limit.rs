//! The rate limit through its public API: who is refused, for how long, and what it costs to remember.

#![cfg(feature = "rate-limit")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod rig;

use std::{convert::Infallible, num::NonZeroU32, time::Duration};

use http::{Extensions, Request, StatusCode};
use portcullis::{
    rate_limit::{KEYS_MAX, Limiter, RateLimitLayer},
    refuse::AsError,
    rejected::Rejected,
};
use rig::{Script, advance, answer, clock};
use tower::{Layer, ServiceExt, service_fn};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// One call in two seconds, and three at once.
fn limiter() -> Limiter<u32> {
    let some = |n| NonZeroU32::new(n).unwrap();
    Limiter::new("address", some(30), Duration::from_secs(60), some(3)).with_clock(clock)
}

fn key(extensions: &Extensions) -> Option<u32> {
    extensions.get().copied()
}

fn request(key: Option<u32>) -> Request<()> {
    let mut request = Request::new(());
    key.map(|key| request.extensions_mut().insert(key));
    request
}

fn wait(limiter: &Limiter<u32>, key: u32) -> Option<Duration> {
    limiter.check(&key).err().and_then(|rejected| rejected.retry_after())
}

#[tokio::test(start_paused = true)]
async fn after_its_burst_a_key_waits_for_the_rate() {
    let limiter = limiter();
    for _ in 0..3 {
        assert_eq!(wait(&limiter, 1), None);
    }
    assert_eq!(wait(&limiter, 1), Some(Duration::from_secs(2)));
    advance(1).await;
    assert_eq!(wait(&limiter, 1), Some(Duration::from_secs(1)), "a refused call took nothing");
    advance(1).await;
    assert_eq!(wait(&limiter, 1), None);
}

#[tokio::test(start_paused = true)]
async fn one_key_does_not_use_up_another_s_calls() {
    let limiter = limiter();
    while limiter.check(&1).is_ok() {}
    assert!(limiter.check(&2).is_ok());
}

/// Sends one request through a fresh `layer()`, as axum does.
async fn send(limiter: &Limiter<u32>, key_of_request: Option<u32>) -> StatusCode {
    let layer = RateLimitLayer::new(limiter.clone(), key);
    let service = service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(answer(StatusCode::OK, Script::default()))
    });
    layer.layer(service).oneshot(request(key_of_request)).await.unwrap().status()
}

#[tokio::test(start_paused = true)]
async fn all_connections_share_the_limit() {
    let limiter = limiter();
    for _ in 0..3 {
        assert_eq!(send(&limiter, Some(1)).await, StatusCode::OK);
    }
    assert_eq!(send(&limiter, Some(1)).await, StatusCode::TOO_MANY_REQUESTS);
}

#[tokio::test(start_paused = true)]
async fn what_has_no_key_is_not_limited() {
    let limiter = limiter();
    for _ in 0..10 {
        assert_eq!(send(&limiter, None).await, StatusCode::OK);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_limiter_calls_go_straight_through() {
    let service = RateLimitLayer::optional(None::<Limiter<u32>>, key).layer(service_fn(
        async |_: Request<()>| Ok::<_, Infallible>(answer(StatusCode::OK, Script::default())),
    ));
    assert_eq!(service.oneshot(request(Some(1))).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn refusals_travel_as_errors_where_they_are_asked_to() {
    let limiter = limiter();
    while limiter.check(&1).is_ok() {}
    let service = RateLimitLayer::new(limiter, key).refuse(AsError).layer(service_fn(
        async |_: Request<()>| Ok::<_, BoxError>(answer(StatusCode::OK, Script::default())),
    ));
    let error = service.oneshot(request(Some(1))).await.unwrap_err();
    let expected =
        Rejected::RateLimited { limit: "address".into(), retry_after: Duration::from_secs(2) };
    assert_eq!(Rejected::find(error.as_ref()), Some(&expected));
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_keys_does_not_fill_the_memory() {
    let limiter = limiter();
    for key in 0..KEYS_MAX as u32 * 2 {
        let _ = limiter.check(&key);
    }
    assert!(limiter.keys() <= KEYS_MAX + 1024);
}

#[tokio::test(start_paused = true)]
async fn keys_that_have_their_burst_again_are_forgotten_before_those_that_have_not() {
    let limiter = limiter();
    for key in 0..KEYS_MAX as u32 - 1 {
        let _ = limiter.check(&key);
    }
    advance(60).await;
    let busy = u32::MAX;
    while limiter.check(&busy).is_ok() {}
    for key in 0..2048 {
        let _ = limiter.check(&(KEYS_MAX as u32 + key));
    }
    assert!(limiter.keys() < 5_000, "{} keys are left", limiter.keys());
    assert!(limiter.check(&busy).is_err(), "the busy one is still held to its rate");
}

#[test]
fn a_rate_beyond_counting_is_no_panic() {
    let most = NonZeroU32::MAX;
    let limiter = Limiter::<u32>::new("fast", most, Duration::from_nanos(1), most);
    assert!(limiter.check(&1).is_ok());
}
