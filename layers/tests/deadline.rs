//! The deadline through its public API: what it cuts off, and what it lets be.

#![cfg(feature = "deadline")]
#![allow(clippy::unwrap_used, reason = "tests")]

mod rig;

use std::{
    convert::Infallible,
    future::{pending, ready},
    rc::Rc,
    time::Duration,
};

use http::{Request, Response, StatusCode};
use portcullis::{
    circuit_breaker::{Breaker, CircuitBreakerLayer, Settings},
    deadline::DeadlineLayer,
    refuse::AsError,
    rejected::Rejected,
};
use rig::{Script, advance, answer, by_hand, clock, request};
use tower::{Layer, ServiceBuilder, ServiceExt, service_fn};

type BoxError = Box<dyn std::error::Error + Send + Sync>;
type Never = Result<Response<Script>, Infallible>;

const TWO_SECONDS: Duration = Duration::from_secs(2);

#[tokio::test(start_paused = true)]
async fn a_call_without_an_answer_is_cut_off_in_time() {
    let service =
        DeadlineLayer::new(TWO_SECONDS).layer(service_fn(|_: Request<()>| pending::<Never>()));
    let began = tokio::time::Instant::now();
    let refusal = service.oneshot(request()).await.unwrap();
    assert_eq!(refusal.status(), StatusCode::GATEWAY_TIMEOUT);
    let rejected = Rejected::TimedOut { after: TWO_SECONDS };
    assert_eq!(refusal.extensions().get(), Some(&rejected));
    assert!(began.elapsed() < TWO_SECONDS + Duration::from_millis(5));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_there_wins_over_a_deadline_that_has_passed() {
    let service = DeadlineLayer::new(TWO_SECONDS).layer(service_fn(async |_: Request<()>| {
        tokio::time::sleep(TWO_SECONDS).await;
        Ok::<_, Infallible>(answer(StatusCode::OK, Script::default()))
    }));
    let mut call = by_hand(service.oneshot(request()));
    assert!(call.poll_once().await.is_pending());
    advance(10).await;
    let std::task::Poll::Ready(answer) = call.poll_once().await else { panic!("both are due") };
    assert_eq!(answer.unwrap().status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn the_body_may_take_longer() {
    let service = DeadlineLayer::new(TWO_SECONDS).layer(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(answer(StatusCode::OK, Script::frames(["a"]).then_hangs()))
    }));
    let mut response = service.oneshot(request()).await.unwrap();
    advance(60).await;
    assert!(http_body_util::BodyExt::frame(response.body_mut()).await.unwrap().is_ok());
}

#[test]
fn an_answer_at_the_first_poll_needs_no_timer_and_so_no_runtime() {
    let service = DeadlineLayer::new(TWO_SECONDS).layer(service_fn(|_: Request<()>| {
        ready(Ok::<_, Infallible>(answer(StatusCode::OK, Script::default())))
    }));
    let call = std::pin::pin!(service.oneshot(request()));
    let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(call.poll(&mut cx).is_ready());
}

#[tokio::test(start_paused = true)]
async fn without_a_deadline_a_call_may_take_for_ever() {
    let service =
        DeadlineLayer::optional(None).layer(service_fn(|_: Request<()>| pending::<Never>()));
    let mut call = by_hand(service.oneshot(request()));
    assert!(call.poll_once().await.is_pending());
    advance(1_000_000).await;
    assert!(call.poll_once().await.is_pending());
}

#[tokio::test(start_paused = true)]
async fn refusals_travel_as_errors_where_they_are_asked_to() {
    let layer = DeadlineLayer::new(TWO_SECONDS).refuse(AsError);
    let service =
        layer.layer(service_fn(|_: Request<()>| pending::<Result<Response<Script>, BoxError>>()));
    let error = service.oneshot(request()).await.unwrap_err();
    assert_eq!(Rejected::find(error.as_ref()).unwrap().reason(), "timeout");
}

#[tokio::test(start_paused = true)]
async fn the_future_inside_may_be_bound_to_its_thread() {
    let stays = Rc::new(());
    let service = DeadlineLayer::new(TWO_SECONDS).layer(service_fn(|_: Request<()>| {
        let stays = stays.clone();
        async move {
            tokio::task::yield_now().await;
            drop(stays);
            Ok::<_, Infallible>(answer(StatusCode::OK, Script::default()))
        }
    }));
    assert_eq!(service.oneshot(request()).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_breaker_further_out_sees_slow_calls_as_failed_ones() {
    let breaker = Breaker::new("slow", Settings::default()).with_clock(clock);
    let service = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(breaker.clone()))
        .layer(DeadlineLayer::new(TWO_SECONDS))
        .service(service_fn(|_: Request<()>| pending::<Never>()));
    for _ in 0..5 {
        service.clone().oneshot(request()).await.unwrap();
    }
    assert!(breaker.is_open());
}
