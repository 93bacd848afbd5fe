//! What a call through a breaker costs, ours and its peers', in one run: only the ratios mean something.
//!
//! `cargo bench -p portcullis-breakers` (build it with `--profile dist` for the figures of the README).

use std::{
    convert::Infallible,
    future::{Ready, ready},
    hint::black_box,
    num::NonZeroU32,
    pin::pin,
    sync::{Arc, Barrier},
    task::{Context, Waker},
    thread,
    time::{Duration, Instant},
};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use failsafe::CircuitBreaker as _;
use http::{Request, Response};
use http_body_util::Full;
use portcullis::{
    circuit_breaker::{Admission, Breaker, CircuitBreakerLayer, Ratio, Settings, Span, core::Core},
    outcome::Outcome,
};
use tower::{Layer, Service, service_fn};
use tower_resilience_circuitbreaker::CircuitBreakerLayer as TheirLayer;

type Body = Full<bytes::Bytes>;

/// A rate over the last so many calls: what all of these breakers have.
fn rate(calls: u32) -> Settings {
    let calls = NonZeroU32::new(calls).expect("more than none");
    Settings {
        consecutive_failures: None,
        failure_rate: Some(Ratio::percent(50)),
        span: Span::Calls(calls),
        minimum_calls: calls,
        ..Settings::default()
    }
}

fn time(buckets: u32) -> Settings {
    let buckets = NonZeroU32::new(buckets).expect("more than none");
    Settings { span: Span::Time { length: Duration::from_secs(10), buckets }, ..rate(100) }
}

/// One success through the core.
fn through(core: &mut Core, now: Instant) {
    if let Admission::Admitted(ticket) = core.admit(now) {
        core.settle(ticket, Outcome::Success, Duration::ZERO, now);
    }
}

fn one_call(c: &mut Criterion) {
    let mut group = c.benchmark_group("one call");
    let now = Instant::now();
    let mut core = Core::new(rate(100), 7, now);
    group.bench_function("ours, core", |b| b.iter(|| through(&mut core, black_box(now))));
    let handle = Breaker::new("ours", rate(100));
    group.bench_function("ours, handle with now passed in", |b| {
        b.iter(|| {
            if let Ok(permit) = handle.admit_at(black_box(now)) {
                permit.settle_at(Outcome::Success, now);
            }
        });
    });
    group.bench_function("ours, handle with its clock", |b| {
        b.iter(|| {
            if let Ok(permit) = handle.admit() {
                permit.settle(Outcome::Success);
            }
        });
    });
    let recloser = recloser::Recloser::custom().closed_len(100).error_rate(0.5).build();
    group.bench_function("recloser", |b| b.iter(|| recloser.call(|| black_box(Ok::<_, ()>(1)))));
    let policy = failsafe::failure_policy::consecutive_failures(
        5,
        failsafe::backoff::constant(Duration::from_secs(60)),
    );
    let failsafe = failsafe::Config::new().failure_policy(policy).build();
    group.bench_function("failsafe", |b| b.iter(|| failsafe.call(|| black_box(Ok::<_, ()>(1)))));
    group.finish();
}

/// The cost must not depend on what the window holds.
fn windows(c: &mut Criterion) {
    let mut group = c.benchmark_group("core by window");
    for (name, settings) in [
        ("100 calls", rate(100)),
        ("10,000 calls", rate(10_000)),
        ("100,000 calls", rate(100_000)),
        ("10 s in 10", time(10)),
        ("10 s in 1,000", time(1_000)),
    ] {
        let mut now = Instant::now();
        let mut core = Core::new(settings, 7, now);
        (0..200_000).for_each(|_| through(&mut core, now));
        group.bench_function(BenchmarkId::from_parameter(name), |b| {
            b.iter(|| {
                now += Duration::from_nanos(100);
                through(&mut core, now);
            });
        });
    }
    group.finish();
}

fn upstream(_: Request<()>) -> Ready<Result<Response<Body>, Infallible>> {
    ready(Ok(Response::new(Body::default())))
}

/// One call from readiness to the end, polled by hand.
fn drive<S: Service<Request<()>>>(service: &mut S) {
    let mut cx = Context::from_waker(Waker::noop());
    while service.poll_ready(&mut cx).is_pending() {}
    let mut call = pin!(service.call(Request::new(())));
    while call.as_mut().poll(&mut cx).is_pending() {}
}

/// So many threads, each with a service of its own around one breaker; the time of a call on each.
fn threads<S>(c: &mut Criterion, name: &str, make: impl Fn() -> S)
where
    S: Service<Request<()>> + Send,
{
    let mut group = c.benchmark_group("layer");
    for count in [1_usize, 2] {
        group.bench_function(BenchmarkId::new(name, count), |b| {
            b.iter_custom(|calls| {
                let start = Arc::new(Barrier::new(count));
                let services: Vec<S> = (0..count).map(|_| make()).collect();
                thread::scope(|scope| {
                    let running: Vec<_> = services
                        .into_iter()
                        .map(|mut service| {
                            let start = start.clone();
                            scope.spawn(move || {
                                start.wait();
                                let began = Instant::now();
                                (0..calls).for_each(|_| drive(&mut service));
                                began.elapsed()
                            })
                        })
                        .collect();
                    running
                        .into_iter()
                        .map(|thread| thread.join().expect("it ends"))
                        .max()
                        .unwrap_or_default()
                })
            });
        });
    }
    group.finish();
}

fn layers(c: &mut Criterion) {
    threads(c, "bare", || service_fn(upstream));
    let run = CircuitBreakerLayer::new(Breaker::new("run", Settings::default()));
    threads(c, "ours, a run", || run.layer(service_fn(upstream)));
    let ours = CircuitBreakerLayer::new(Breaker::new("ours", rate(100)));
    threads(c, "ours", || ours.layer(service_fn(upstream)));
    let (theirs, _handle) = TheirLayer::builder()
        .sliding_window_size(100)
        .minimum_number_of_calls(100)
        .failure_rate_threshold(0.5)
        .build_with_handle()
        .expect("plain settings");
    threads(c, "tower-resilience-circuitbreaker", || theirs.layer(service_fn(upstream)));
    let open = Breaker::new("open", Settings::default());
    open.force_open();
    let open = CircuitBreakerLayer::new(open).refuse(|_| Err::<Response<_>, _>(())).layer(
        service_fn(async |_: Request<()>| Ok::<Response<Body>, ()>(Response::new(Body::default()))),
    );
    threads(c, "ours, open", || open.clone());
}

criterion_group! {
    name = breakers;
    config = Criterion::default().sample_size(30).warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(1));
    targets = one_call, windows, layers
}
criterion_main!(breakers);
