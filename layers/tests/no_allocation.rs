//! A call that goes well costs no allocation in any of the layers that stand around every call.

#![cfg(all(feature = "deadline", feature = "rate-limit"))]
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    convert::Infallible,
    future::ready,
    num::{NonZeroU32, NonZeroUsize},
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use allocation_counter::measure;
use bytes::Bytes;
use http::{Extensions, Request, Response};
use http_body::Body;
use http_body_util::Full;
use portcullis::{
    auto_disable::{AutoDisableLayer, Meter, Settings as MeterSettings},
    circuit_breaker::{Breaker, CircuitBreakerLayer, Objective, Ratio, Settings, Slow, Span},
    concurrency::{ConcurrencyLayer, Limit},
    deadline::DeadlineLayer,
    outcome::Outcome,
    rate_limit::{Limiter, RateLimitLayer},
};
use tower::{Layer, Service, ServiceBuilder, service_fn};

fn allocations(work: impl FnOnce()) -> u64 {
    measure(work).count_total
}

fn upstream(_: Request<()>) -> impl Future<Output = Result<Response<Full<Bytes>>, Infallible>> {
    ready(Ok(Response::new(Full::new(Bytes::from_static(b"well")))))
}

/// One call from readiness to the end of the body, polled by hand.
fn call<S, B>(service: &mut S)
where
    S: Service<Request<()>, Response = Response<B>, Error = Infallible>,
    B: Body<Error = Infallible>,
{
    let mut cx = Context::from_waker(Waker::noop());
    assert!(service.poll_ready(&mut cx).is_ready());
    let future = pin!(service.call(Request::new(())));
    let Poll::Ready(Ok(response)) = future.poll(&mut cx) else { panic!("it answers at once") };
    let body = pin!(response.into_body());
    assert!(body.poll_frame(&mut cx).is_ready());
}

#[test]
fn a_closed_breaker_allocates_nothing_however_long_it_runs() {
    let breaker = Breaker::new("payments", Settings::default());
    let mut service = CircuitBreakerLayer::new(breaker.clone()).layer(service_fn(upstream));
    let all = allocations(|| (0..1_000).for_each(|_| call(&mut service)));
    assert_eq!((all, breaker.snapshot().calls_total), (0, 1_000));
}

#[test]
fn a_breaker_with_every_rule_allocates_nothing_whatever_its_window() {
    let some = |n| NonZeroU32::new(n).unwrap();
    let time = Span::Time { length: Duration::from_secs(10), buckets: some(100) };
    for span in [Span::Calls(some(100)), Span::Calls(some(100_000)), time] {
        let settings = Settings {
            failure_rate: Some(Ratio::percent(50)),
            slow: Some(Slow { longer_than: Duration::from_secs(1), rate: Ratio::percent(50) }),
            objective: Some(Objective { failures: Ratio::percent(5), z_hundredths: 300 }),
            span,
            ..Settings::default()
        };
        let breaker = Breaker::new("payments", settings);
        let mut service = CircuitBreakerLayer::new(breaker).layer(service_fn(upstream));
        assert_eq!(allocations(|| (0..1_000).for_each(|_| call(&mut service))), 0);
    }
}

#[test]
fn an_open_breaker_refuses_without_an_allocation() {
    let breaker = Breaker::new("payments", Settings::default());
    (0..5).for_each(|_| breaker.admit().unwrap().settle(Outcome::Failure));
    let all = allocations(|| assert!((0..1_000).all(|_| breaker.admit().is_err())));
    assert_eq!(all, 0);
}

#[test]
fn the_layers_around_every_call_allocate_nothing() {
    let one = NonZeroU32::MIN;
    let some = |n| NonZeroU32::new(n).unwrap();
    let limiter = Limiter::new("address", some(1_000_000), Duration::from_secs(1), some(1_000_000));
    let settings = MeterSettings { errors: one, ..MeterSettings::default() };
    let mut service = ServiceBuilder::new()
        .layer(RateLimitLayer::new(limiter, |_: &Extensions| Some(7_u32)))
        .layer(CircuitBreakerLayer::new(Breaker::new("payments", Settings::default())))
        .layer(AutoDisableLayer::new([Meter::new("orders", settings, |_| {})]))
        .layer(ConcurrencyLayer::new(Limit::new("orders", NonZeroUsize::MIN)))
        .layer(DeadlineLayer::new(Duration::from_secs(1)))
        .service(service_fn(upstream));
    call(&mut service); // the limiter makes the key's bucket once
    assert_eq!(allocations(|| (0..1_000).for_each(|_| call(&mut service))), 0);
}
