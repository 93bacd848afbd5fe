//! The circuit breaker through its public API: what it lets through, what it counts, and when.

#![allow(clippy::unwrap_used, reason = "tests")]

mod rig;

use std::{
    convert::Infallible,
    future::pending,
    num::NonZeroU32,
    rc::Rc,
    sync::{Arc, OnceLock, mpsc},
    task::Poll,
    thread,
    time::Duration,
};

use http::{Request, Response, StatusCode};
use portcullis::{
    circuit_breaker::{Breaker, Change, CircuitBreakerLayer, LostProbe, Permit, Settings, State},
    outcome::{Http, Outcome},
    refuse::AsError,
    rejected::Rejected,
};
use rig::{Script, advance, answer, by_hand, clock, poll_ready, read, request};
use tower::{Layer, Service, ServiceExt, service_fn};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

const OK: StatusCode = StatusCode::OK;
const BROKEN: StatusCode = StatusCode::INTERNAL_SERVER_ERROR;
const REFUSED: StatusCode = StatusCode::SERVICE_UNAVAILABLE;

/// Opens at two failures, waits 30 s, and probes with one call of at most 10 s.
fn breaker() -> Breaker {
    let settings = Settings {
        consecutive_failures: NonZeroU32::new(2),
        open_wait: Duration::from_secs(30),
        probe_timeout: Duration::from_secs(10),
        ..Settings::default()
    };
    Breaker::new("payments", settings).with_clock(clock)
}

fn open_breaker() -> Breaker {
    let breaker = breaker();
    (0..2).for_each(|_| breaker.admit().unwrap().settle(Outcome::Failure));
    assert!(breaker.is_open());
    breaker
}

/// Sends one request through a fresh `layer()`, as axum does, to a service that answers with this.
async fn send(breaker: &Breaker, status: StatusCode, body: Script) -> StatusCode {
    let layer = CircuitBreakerLayer::new(breaker.clone());
    let mut script = Some(answer(status, body));
    let service = service_fn(move |_: Request<()>| {
        let answer = script.take().unwrap();
        async move { Ok::<_, Infallible>(answer) }
    });
    let mut response = layer.layer(service).oneshot(request()).await.unwrap();
    let _ = read(response.body_mut()).await;
    response.status()
}

#[tokio::test(start_paused = true)]
async fn it_opens_refuses_probes_and_closes() {
    let breaker = breaker();
    assert_eq!(send(&breaker, BROKEN, Script::default()).await, BROKEN);
    assert_eq!(send(&breaker, BROKEN, Script::default()).await, BROKEN);
    assert_eq!(send(&breaker, OK, Script::default()).await, REFUSED);
    advance(30).await;
    assert_eq!(send(&breaker, BROKEN, Script::default()).await, BROKEN);
    assert_eq!(send(&breaker, OK, Script::default()).await, REFUSED);
    advance(30).await;
    assert_eq!(send(&breaker, OK, Script::frames(["well"])).await, OK);
    assert_eq!(breaker.snapshot().state, State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_says_what_and_when_and_that_it_is_ours() {
    let layer = CircuitBreakerLayer::new(open_breaker());
    let service = layer.layer(service_fn(async |_: Request<()>| {
        Err::<Response<Script>, _>("the service was called")
    }));
    let refusal = service.oneshot(request()).await.unwrap();
    assert_eq!(refusal.headers()["retry-after"], "30");
    assert_eq!(refusal.headers()["content-type"], "application/problem+json");
    let retry_after = Duration::from_secs(30);
    let rejected = Rejected::CircuitOpen { breaker: "payments".into(), retry_after, forced: false };
    assert_eq!(refusal.extensions().get(), Some(&rejected));
}

#[tokio::test(start_paused = true)]
async fn a_circuit_that_an_operator_holds_open_promises_no_end() {
    let breaker = breaker();
    breaker.force_open();
    let refused = breaker.admit().unwrap_err();
    assert!(matches!(refused, Rejected::CircuitOpen { forced: true, .. }));
    assert_eq!(refused.to_string(), "the circuit payments is held open by an operator");
    let refused = open_breaker().admit().unwrap_err();
    assert_eq!(refused.to_string(), "the circuit payments is open for another 30.0s");
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_tells_the_whole_story() {
    let breaker = open_breaker();
    send(&breaker, OK, Script::default()).await;
    let snapshot = breaker.snapshot();
    assert_eq!((snapshot.state, snapshot.failure_count), (State::Open, 2));
    assert_eq!((snapshot.calls_total, snapshot.failures_total), (2, 2));
    assert_eq!(snapshot.rejected_total, 1);
    assert_eq!(snapshot.retry_after, Some(Duration::from_secs(30)));
    assert_eq!(snapshot.why.as_deref(), Some("2 failures in a row"));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_makes_a_failure_of_a_good_head() {
    let breaker = breaker();
    for _ in 0..2 {
        assert_eq!(send(&breaker, OK, Script::frames(["half"]).then_breaks()).await, OK);
    }
    assert!(breaker.is_open());
}

#[tokio::test(start_paused = true)]
async fn a_good_body_counts_without_being_polled_past_its_end() {
    let breaker = breaker();
    send(&breaker, OK, Script::frames(["one", "two"])).await;
    send(&breaker, OK, Script::default()).await;
    assert_eq!((breaker.snapshot().calls_total, breaker.snapshot().success_count), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_failure_counts_at_its_head_though_nobody_reads_its_body() {
    let breaker = breaker();
    let layer = CircuitBreakerLayer::new(breaker.clone());
    let service = service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(answer(BROKEN, Script::frames(["sorry"]).then_hangs()))
    });
    for _ in 0..2 {
        drop(layer.layer(service).oneshot(request()).await.unwrap());
    }
    assert!(breaker.is_open());
}

/// Two calls that never get an answer, dropped by their caller at this age.
async fn abandon_two_calls(breaker: &Breaker, age: u64) {
    for _ in 0..2 {
        let service = CircuitBreakerLayer::new(breaker.clone())
            .layer(service_fn(|_: Request<()>| pending::<Result<Response<Script>, Infallible>>()));
        let mut call = by_hand(service.oneshot(request()));
        assert!(call.poll_once().await.is_pending());
        advance(age).await;
        drop(call);
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_given_up_early_says_nothing() {
    let breaker = breaker();
    abandon_two_calls(&breaker, 9).await;
    assert_eq!((breaker.is_open(), breaker.snapshot().calls_total), (false, 0));
}

#[tokio::test(start_paused = true)]
async fn calls_that_hang_until_an_outer_time_out_drops_them_open_it() {
    let breaker = breaker();
    abandon_two_calls(&breaker, 10).await;
    assert!(breaker.is_open());
}

#[tokio::test(start_paused = true)]
async fn a_download_that_the_client_ends_is_not_hung_however_long_it_took() {
    let breaker = breaker();
    let layer = CircuitBreakerLayer::new(breaker.clone());
    for _ in 0..2 {
        let service = service_fn(async |_: Request<()>| {
            Ok::<_, Infallible>(answer(OK, Script::frames(["a", "b"]).then_hangs()))
        });
        let mut response = layer.layer(service).oneshot(request()).await.unwrap();
        for _ in 0..2 {
            advance(60).await;
            http_body_util::BodyExt::frame(response.body_mut()).await.unwrap().unwrap();
        }
    }
    assert_eq!(breaker.snapshot().failures_total, 0);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_falls_silent_is_a_failure_once_its_caller_gives_up() {
    let breaker = breaker();
    let layer = CircuitBreakerLayer::new(breaker.clone());
    let service = service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(answer(OK, Script::frames(["a"]).then_hangs()))
    });
    let mut response = layer.layer(service).oneshot(request()).await.unwrap();
    http_body_util::BodyExt::frame(response.body_mut()).await.unwrap().unwrap();
    advance(10).await;
    drop(response);
    assert_eq!(breaker.snapshot().failures_total, 1);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_dropped_gives_its_lease_back() {
    let breaker = open_breaker();
    advance(30).await;
    let probe = breaker.admit().unwrap();
    assert!(breaker.admit().is_err());
    drop(probe);
    assert!(breaker.admit().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_hangs_loses_its_lease_and_opens_it_for_another_wait() {
    let breaker = open_breaker();
    advance(30).await;
    let hung = breaker.admit().unwrap();
    advance(10).await;
    assert_eq!(breaker.state(), State::Open);
    assert_eq!(breaker.snapshot().why.as_deref(), Some("a probe had no answer within 10s"));
    hung.settle(Outcome::Success);
    assert_eq!(breaker.state(), State::Open, "it has lost its say");
    advance(30).await;
    breaker.admit().unwrap().settle(Outcome::Success);
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_hangs_makes_room_for_another_one_where_silence_says_nothing() {
    let breaker = open_breaker();
    breaker.reconfigure(Settings { lost_probe: LostProbe::Ignored, ..breaker.settings() });
    advance(30).await;
    let hung = breaker.admit().unwrap();
    advance(10).await;
    let next = breaker.admit().unwrap();
    hung.settle(Outcome::Success);
    assert_eq!(breaker.state(), State::HalfOpen);
    next.settle(Outcome::Success);
    assert_eq!(breaker.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_success_from_before_the_outage_does_not_close_it() {
    let breaker = breaker();
    let late: Permit = breaker.admit().unwrap();
    (0..2).for_each(|_| breaker.admit().unwrap().settle(Outcome::Failure));
    advance(30).await;
    let probe = breaker.admit().unwrap();
    late.settle(Outcome::Success);
    assert_eq!(breaker.snapshot().state, State::HalfOpen);
    probe.settle(Outcome::Failure);
    assert!(breaker.is_open());
}

#[tokio::test(start_paused = true)]
async fn our_own_refusal_further_in_says_nothing() {
    let breaker = breaker();
    let layer = CircuitBreakerLayer::new(breaker.clone());
    for _ in 0..2 {
        let service = service_fn(async |_: Request<()>| {
            let mut refusal = answer(REFUSED, Script::default());
            refusal.extensions_mut().insert(Rejected::Overloaded { limit: "orders".into() });
            Ok::<_, Infallible>(refusal)
        });
        layer.layer(service).oneshot(request()).await.unwrap();
    }
    assert_eq!(breaker.snapshot().calls_total, 0);
}

#[tokio::test(start_paused = true)]
async fn while_it_refuses_the_inner_service_is_not_asked() {
    let breaker = open_breaker();
    let (inner, mut handle) = tower_test::mock::pair::<Request<()>, Response<Script>>();
    handle.allow(0);
    let mut service = CircuitBreakerLayer::new(breaker).layer(inner);
    assert!(poll_ready(&mut service).await.is_ready());
    assert_eq!(service.call(request()).await.unwrap().status(), REFUSED);
}

#[tokio::test(start_paused = true)]
async fn while_it_admits_readiness_is_that_of_the_inner_service() {
    let (inner, mut handle) = tower_test::mock::pair::<Request<()>, Response<Script>>();
    handle.allow(0);
    let mut service = CircuitBreakerLayer::new(breaker()).layer(inner);
    assert!(poll_ready(&mut service).await.is_pending());
    handle.allow(1);
    assert!(poll_ready(&mut service).await.is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_was_not_made_ready_is_not_called_though_the_wait_has_ended() {
    let (inner, mut handle) = tower_test::mock::pair::<Request<()>, Response<Script>>();
    handle.allow(0);
    let mut service = CircuitBreakerLayer::new(open_breaker()).layer(inner);
    assert!(poll_ready(&mut service).await.is_ready());
    advance(30).await;
    let refusal = service.call(request()).await.unwrap();
    assert_eq!(refusal.status(), REFUSED);
    assert!(poll_ready(&mut service).await.is_pending(), "now the probe waits for the service");
}

#[tokio::test(start_paused = true)]
async fn a_refused_call_does_not_take_the_probe_away_from_the_next_one() {
    let breaker = open_breaker();
    let (inner, _handle) = tower_test::mock::pair::<Request<()>, Response<Script>>();
    let mut service = CircuitBreakerLayer::new(breaker.clone()).layer(inner);
    assert!(poll_ready(&mut service).await.is_ready());
    advance(30).await;
    drop(service.call(request()));
    assert!(breaker.admit().is_ok());
}

#[tokio::test(start_paused = true)]
async fn shadow_and_disabled_let_everything_through() {
    let breaker = breaker();
    breaker.shadow();
    for _ in 0..4 {
        assert_eq!(send(&breaker, BROKEN, Script::default()).await, BROKEN);
    }
    let snapshot = breaker.snapshot();
    assert_eq!((snapshot.state, snapshot.would_reject_total), (State::Shadow, 2));
    breaker.disable();
    for _ in 0..4 {
        assert_eq!(send(&breaker, BROKEN, Script::default()).await, BROKEN);
    }
    assert_eq!(breaker.snapshot().failures_total, 8);
}

#[tokio::test(start_paused = true)]
async fn without_a_breaker_calls_go_straight_through() {
    let layer = CircuitBreakerLayer::optional(None);
    let service = service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(answer(BROKEN, Script::frames(["x"])))
    });
    let mut response = layer.layer(service).oneshot(request()).await.unwrap();
    assert_eq!(response.status(), BROKEN);
    assert!(read(response.body_mut()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn refusals_travel_as_errors_where_they_are_asked_to() {
    let layer = CircuitBreakerLayer::new(open_breaker()).refuse(AsError);
    let service = layer
        .layer(service_fn(async |_: Request<()>| Ok::<_, BoxError>(answer(OK, Script::default()))));
    let error = service.oneshot(request()).await.unwrap_err();
    assert_eq!(Rejected::find(error.as_ref()).unwrap().reason(), "circuit_open");
}

#[tokio::test(start_paused = true)]
async fn errors_of_the_service_pass_unchanged_and_count() {
    let breaker = breaker();
    let layer = CircuitBreakerLayer::new(breaker.clone());
    for _ in 0..2 {
        let service = layer.layer(service_fn(async |_: Request<()>| {
            Err::<Response<Script>, _>("connection reset")
        }));
        assert_eq!(service.oneshot(request()).await.unwrap_err(), "connection reset");
    }
    assert!(breaker.is_open());
}

#[tokio::test(start_paused = true)]
async fn another_classifier_judges_in_its_own_way() {
    let breaker = breaker();
    let layer = CircuitBreakerLayer::new(breaker.clone())
        .classify(Http::new().hung_after(Duration::from_secs(1)));
    let service =
        layer.layer(service_fn(|_: Request<()>| pending::<Result<Response<Script>, Infallible>>()));
    let mut call = by_hand(service.oneshot(request()));
    assert!(call.poll_once().await.is_pending());
    advance(1).await;
    drop(call);
    assert_eq!(breaker.snapshot().failures_total, 1);
}

/// Neither `Clone` nor `Send`, and its future isn't either.
struct Homebody(Rc<()>);

impl Service<Request<()>> for Homebody {
    type Response = Response<Script>;
    type Error = Infallible;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<Response<Script>, Infallible>>>>;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<()>) -> Self::Future {
        let stays = self.0.clone();
        Box::pin(async move {
            drop(stays);
            Ok(answer(OK, Script::default()))
        })
    }
}

#[tokio::test(start_paused = true)]
async fn the_inner_service_needs_neither_clone_nor_send() {
    let mut service = CircuitBreakerLayer::new(breaker()).layer(Homebody(Rc::new(())));
    let response = service.ready().await.unwrap().call(request()).await.unwrap();
    assert_eq!(response.status(), OK);
}

/// Collects what a breaker tells.
fn listen(breaker: Breaker) -> (Breaker, mpsc::Receiver<Change>) {
    let (tell, told) = mpsc::channel();
    (breaker.on_change(move |change| tell.send(change.clone()).unwrap()), told)
}

#[tokio::test(start_paused = true)]
async fn each_change_is_told_with_its_reason_and_its_numbers() {
    let (breaker, told) = listen(breaker());
    breaker.admit().unwrap().settle(Outcome::Success);
    (0..2).for_each(|_| breaker.admit().unwrap().settle(Outcome::Failure));
    advance(30).await;
    breaker.admit().unwrap().settle(Outcome::Success);
    let story: Vec<_> =
        told.try_iter().map(|c| (c.from, c.to, c.reason, c.failures, c.calls)).collect();
    let expected = [
        (State::Closed, State::Open, "2 failures in a row".to_owned(), 2, 3),
        (State::Open, State::HalfOpen, "the wait of 30s is over".to_owned(), 0, 0),
        (State::HalfOpen, State::Closed, "a probe succeeded".to_owned(), 0, 1),
    ];
    assert_eq!(story, expected);
}

#[tokio::test(start_paused = true)]
async fn a_listener_may_order_the_breaker_about_and_the_next_one_still_hears_all_in_order() {
    let breaker = Arc::new(OnceLock::<Breaker>::new());
    let orders = breaker.clone();
    let ordering = self::breaker().on_change(move |change| {
        if change.to == State::Open {
            orders.get().unwrap().reset();
        }
    });
    let (listening, told) = listen(ordering);
    breaker.set(listening.clone()).unwrap();
    (0..2).for_each(|_| listening.admit().unwrap().settle(Outcome::Failure));
    let story: Vec<_> = told.try_iter().map(|change| (change.from, change.to)).collect();
    assert_eq!(story, [(State::Closed, State::Open), (State::Open, State::Closed)]);
}

#[test]
fn changes_made_by_many_threads_are_told_one_at_a_time_and_in_order() {
    let (breaker, told) = listen(Breaker::new("payments", Settings::default()));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    breaker.force_open();
                    breaker.reset();
                }
            });
        }
    });
    let story: Vec<_> = told.try_iter().collect();
    assert_eq!(story[0].from, State::Closed);
    assert!(story.windows(2).all(|pair| pair[0].to == pair[1].from), "each begins where one ended");
    assert_eq!(story.last().unwrap().to, breaker.snapshot().state, "and none is missing");
}

#[test]
fn a_listener_that_panics_does_not_silence_the_next_change() {
    let (tell, told) = mpsc::channel();
    let breaker = Breaker::new("payments", Settings::default()).on_change(move |change| {
        tell.send(change.to).unwrap();
        assert!(change.to != State::ForcedOpen, "as a careless listener does");
    });
    let careless = breaker.clone();
    assert!(thread::spawn(move || careless.force_open()).join().is_err());
    breaker.reset();
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [State::ForcedOpen, State::Closed]);
}

#[test]
fn states_have_stable_words_and_numbers() {
    use State::{Closed, Disabled, ForcedOpen, HalfOpen, Open, Shadow};
    let states = [Closed, Open, HalfOpen, ForcedOpen, Disabled, Shadow];
    let words = ["closed", "open", "half_open", "forced_open", "disabled", "shadow"];
    assert_eq!(states.map(State::as_str), words);
    assert_eq!(states.map(State::code), [0, 1, 2, 3, 4, 5]);
}
