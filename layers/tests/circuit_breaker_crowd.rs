//! The circuit breaker in a crowd: many calls at once, many that are given up, many keys, many who wait.

#![allow(clippy::unwrap_used, reason = "tests")]

mod rig;

use std::{
    convert::Infallible,
    future::pending,
    num::{NonZeroU32, NonZeroUsize},
    sync::{
        Arc, Barrier,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::Poll,
    thread,
    time::Duration,
};

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use portcullis::{
    circuit_breaker::{
        Breaker, CircuitBreakerLayer, Keyed, KeyedCircuitBreakerLayer, Ramp, Ratio, Settings,
        State, Verdict, place_of,
    },
    outcome::{Grpc, Outcome},
};
use rig::{Script, advance, answer, by_hand, clock, poll_ready, read, request};
use tower::{Layer, Service, ServiceExt, service_fn};

const OK: StatusCode = StatusCode::OK;
const BROKEN: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
const REFUSED: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

fn settings() -> Settings {
    Settings {
        consecutive_failures: NonZeroU32::new(2),
        open_wait: Duration::from_secs(30),
        probe_timeout: Duration::from_secs(10),
        ..Settings::default()
    }
}

fn open_breaker(settings: Settings) -> Breaker {
    let breaker = Breaker::new("payments", settings).with_clock(clock);
    (0..2).for_each(|_| breaker.admit().unwrap().settle(Outcome::Failure));
    assert!(breaker.is_open());
    breaker
}

#[tokio::test(start_paused = true)]
async fn half_open_under_a_thousand_requests_with_a_hanging_upstream_lets_exactly_so_many_through()
{
    for probes in [1, 3, 17] {
        let breaker = open_breaker(Settings {
            half_open_probes: NonZeroU32::new(probes).unwrap(),
            ..settings()
        });
        advance(30).await;
        let reached = Arc::new(AtomicUsize::new(0));
        let (layer, counter) = (CircuitBreakerLayer::new(breaker.clone()), reached.clone());
        let upstream = service_fn(move |_: Request<()>| {
            counter.fetch_add(1, SeqCst);
            pending::<Result<Response<Script>, Infallible>>()
        });
        let mut calls: Vec<_> =
            (0..1_000).map(|_| by_hand(layer.layer(upstream.clone()).oneshot(request()))).collect();
        let mut refused = 0;
        for call in &mut calls {
            if let Poll::Ready(response) = call.poll_once().await {
                assert_eq!(response.unwrap().status(), REFUSED);
                refused += 1;
            }
        }
        assert_eq!((reached.load(SeqCst), refused), (probes as usize, 1_000 - probes as usize));
    }
}

#[test]
fn half_open_under_many_threads_lets_exactly_so_many_through() {
    for _ in 0..50 {
        let breaker = Breaker::new(
            "payments",
            Settings {
                initial: State::HalfOpen,
                half_open_probes: NonZeroU32::new(3).unwrap(),
                ..settings()
            },
        );
        let start = Barrier::new(8);
        let permits: Vec<_> = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        (0..125).filter_map(|_| breaker.admit().ok()).collect::<Vec<_>>()
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!((permits.len(), breaker.snapshot().probes), (3, 3));
        assert_eq!(breaker.snapshot().rejected_total, 997);
        drop(permits);
        assert_eq!(breaker.snapshot().probes, 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_hundred_thousand_calls_that_are_given_up_hold_nothing() {
    let half_open = Settings { initial: State::HalfOpen, ..settings() };
    for settings in [settings(), half_open] {
        let breaker = Breaker::new("payments", settings).with_clock(clock);
        let layer = CircuitBreakerLayer::new(breaker.clone());
        for _ in 0..50_000 {
            let service = layer.layer(service_fn(|_: Request<()>| {
                pending::<Result<Response<Script>, Infallible>>()
            }));
            let mut call = by_hand(service.oneshot(request()));
            assert!(call.poll_once().await.is_pending());
        }
        let snapshot = breaker.snapshot();
        assert_eq!((snapshot.probes, snapshot.calls_total, snapshot.rejected_total), (0, 0, 0));
        assert!(breaker.admit().is_ok());
    }
}

/// Sends one gRPC call whose answer ends with these trailers.
async fn call_grpc(breaker: &Breaker, status: &'static str) {
    let layer = CircuitBreakerLayer::new(breaker.clone()).classify(Grpc::new());
    let service = service_fn(move |_: Request<()>| async move {
        let body = Script::frames(["message"]).then_trailer("grpc-status", status);
        Ok::<_, Infallible>(answer(OK, body))
    });
    let response = layer.layer(service).oneshot(request()).await.unwrap();
    assert_eq!(response.status(), OK);
    let collected = response.into_body().collect().await.unwrap();
    assert_eq!(collected.trailers().unwrap()["grpc-status"], status);
}

#[tokio::test(start_paused = true)]
async fn a_grpc_error_in_the_trailers_counts_though_the_status_is_200() {
    let breaker = Breaker::new("payments", settings()).with_clock(clock);
    call_grpc(&breaker, "14").await;
    call_grpc(&breaker, "5").await;
    assert_eq!((breaker.snapshot().success_count, breaker.snapshot().failures_total), (1, 1));
    call_grpc(&breaker, "14").await;
    call_grpc(&breaker, "13").await;
    assert!(breaker.is_open());
}

#[tokio::test(start_paused = true)]
async fn what_judges_for_tracing_judges_for_a_breaker_too() {
    use portcullis::outcome::TowerHttp;
    use tower_http::classify::{GrpcErrorsAsFailures, ServerErrorsAsFailures};

    let breaker = Breaker::new("payments", settings()).with_clock(clock);
    let layer = CircuitBreakerLayer::new(breaker.clone())
        .classify(TowerHttp::new(ServerErrorsAsFailures::new()));
    for _ in 0..2 {
        let service = service_fn(async |_: Request<()>| {
            Ok::<_, Infallible>(answer(BROKEN, Script::default()))
        });
        layer.layer(service).oneshot(request()).await.unwrap();
    }
    assert!(breaker.is_open());

    let breaker = Breaker::new("payments", settings()).with_clock(clock);
    let layer = CircuitBreakerLayer::new(breaker.clone())
        .classify(TowerHttp::new(GrpcErrorsAsFailures::new()));
    for _ in 0..2 {
        let service = service_fn(async |_: Request<()>| {
            Ok::<_, Infallible>(answer(OK, Script::default().then_trailer("grpc-status", "13")))
        });
        let mut response = layer.layer(service).oneshot(request()).await.unwrap();
        read(response.body_mut()).await.unwrap();
    }
    assert!(breaker.is_open());
}

#[tokio::test(start_paused = true)]
async fn each_key_has_a_breaker_of_its_own() {
    let breakers = Keyed::new(NonZeroUsize::new(100).unwrap(), |tenant: &String| {
        Breaker::new(tenant.as_str(), settings()).with_clock(clock)
    });
    let tenant =
        |request: &Request<()>| Some(request.headers().get("tenant")?.to_str().ok()?.to_owned());
    let layer = KeyedCircuitBreakerLayer::new(breakers.clone(), tenant);
    let send = async |tenant: Option<&str>| {
        let status = if tenant == Some("good") { OK } else { BROKEN };
        let service = service_fn(move |_: Request<()>| async move {
            Ok::<_, Infallible>(answer(status, Script::default()))
        });
        let mut request = request();
        if let Some(tenant) = tenant {
            request.headers_mut().insert("tenant", tenant.parse().unwrap());
        }
        layer.layer(service).oneshot(request).await.unwrap().status()
    };
    for expected in [BROKEN, BROKEN, REFUSED] {
        assert_eq!(send(Some("bad")).await, expected);
    }
    assert_eq!(send(Some("good")).await, OK);
    for _ in 0..5 {
        assert_eq!(send(None).await, BROKEN, "without a key it goes straight through");
    }
    assert_eq!(breakers.breakers().len(), 2);
}

#[test]
fn a_flood_of_keys_is_bounded_and_forgets_neither_what_is_used_nor_what_is_open() {
    let breakers = Keyed::new(NonZeroUsize::new(10).unwrap(), |key: &u32| {
        Breaker::new(key.to_string(), settings())
    });
    let open = breakers.breaker(&0);
    (0..2).for_each(|_| open.admit().unwrap().settle(Outcome::Failure));
    let used = breakers.breaker(&1);
    used.admit().unwrap().settle(Outcome::Success);
    for key in 100..200 {
        let _ = breakers.breaker(&1);
        let _ = breakers.breaker(&key);
        assert!(breakers.breakers().len() <= 10);
    }
    assert!(breakers.breaker(&0).is_open());
    assert_eq!(breakers.breaker(&1).snapshot().calls_total, 1);
}

#[test]
fn when_all_are_open_a_new_key_still_finds_a_place() {
    let breakers = Keyed::new(NonZeroUsize::new(3).unwrap(), |key: &u32| {
        Breaker::new(key.to_string(), settings())
    });
    for key in 0..20 {
        breakers.breaker(&key).force_open();
        assert!(breakers.breakers().len() <= 3);
    }
}

#[tokio::test(start_paused = true)]
async fn while_traffic_comes_back_the_same_users_stay_in() {
    let ramp =
        Ramp { from: Ratio::percent(20), growth_hundredths: 300, step: Duration::from_secs(10) };
    let breaker = open_breaker(Settings { ramp: Some(ramp), ..settings() });
    advance(30).await;
    breaker.admit().unwrap().settle(Outcome::Success);
    let user = |request: &Request<()>| Some(place_of(request.headers().get("user")?.as_bytes()));
    let layer = CircuitBreakerLayer::new(breaker.clone()).place(user);
    let send = async |user: u32| {
        let service =
            service_fn(async |_: Request<()>| Ok::<_, Infallible>(answer(OK, Script::default())));
        let mut request = request();
        request.headers_mut().insert("user", user.into());
        layer.layer(service).oneshot(request).await.unwrap().status() == OK
    };
    let mut let_in = Vec::new();
    for percent in [20_usize, 60] {
        let mut now_in = Vec::new();
        for user in 0..500 {
            if send(user).await {
                now_in.push(user);
            }
        }
        assert!(now_in.len().abs_diff(percent * 5) < 40, "{} of 500 are {percent} %", now_in.len());
        assert!(let_in.iter().all(|user| now_in.contains(user)));
        let_in = now_in;
        advance(10).await;
    }
    assert_eq!(breaker.state(), State::Closed);
}

type Waiting = portcullis::circuit_breaker::CircuitBreaker<Nobody>;

/// Answers at once.
#[derive(Clone)]
struct Nobody;

impl Service<Request<()>> for Nobody {
    type Response = Response<Script>;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response<Script>, Infallible>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        std::future::ready(Ok(answer(OK, Script::default())))
    }
}

fn waiting(breaker: &Breaker) -> Waiting {
    CircuitBreakerLayer::new(breaker.clone()).waits().layer(Nobody)
}

#[tokio::test(start_paused = true)]
async fn with_back_pressure_an_open_breaker_is_not_ready_until_its_wait_is_over() {
    let breaker = open_breaker(settings());
    let mut service = waiting(&breaker);
    assert!(poll_ready(&mut service).await.is_pending());
    let began = tokio::time::Instant::now();
    service.ready().await.unwrap();
    assert_eq!(began.elapsed(), Duration::from_secs(30));
    assert_eq!(service.call(request()).await.unwrap().status(), OK);
    assert_eq!((breaker.state(), breaker.snapshot().rejected_total), (State::Closed, 0));
}

#[tokio::test(start_paused = true)]
async fn with_back_pressure_only_as_many_are_ready_as_may_probe() {
    let breaker =
        open_breaker(Settings { verdict: Verdict::Run(NonZeroU32::new(2).unwrap()), ..settings() });
    advance(30).await;
    let (mut first, mut second) = (waiting(&breaker), waiting(&breaker));
    assert!(poll_ready(&mut first).await.is_ready());
    assert!(poll_ready(&mut second).await.is_pending());
    let ready = tokio::spawn(async move {
        second.ready().await.unwrap().call(request()).await.unwrap().status()
    });
    tokio::task::yield_now().await;
    assert!(!ready.is_finished());
    drop(first);
    assert_eq!(ready.await.unwrap(), OK, "the place was given back, and whoever waited was woken");
}

#[tokio::test(start_paused = true)]
async fn with_back_pressure_whoever_waits_is_woken_by_a_reset() {
    let breaker = Breaker::new("payments", settings()).with_clock(clock);
    breaker.force_open();
    let mut service = waiting(&breaker);
    let ready = tokio::spawn(async move { service.ready().await.map(|_| ()) });
    tokio::task::yield_now().await;
    assert!(!ready.is_finished());
    breaker.reset();
    assert!(ready.await.unwrap().is_ok());
}
