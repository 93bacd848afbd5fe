//! The limit of calls in flight through its public API: who is refused, and when a slot is free again.

#![allow(clippy::unwrap_used, reason = "tests")]

mod rig;

use std::{
    convert::Infallible,
    future::pending,
    num::NonZeroUsize,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use http::{Request, Response, StatusCode};
use portcullis::{
    concurrency::{ConcurrencyLayer, Limit},
    refuse::AsError,
    rejected::Rejected,
};
use rig::{Script, answer, by_hand, read, request};
use tower::{Layer, ServiceExt, service_fn};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

fn limit(max: usize) -> Limit {
    Limit::new("orders", NonZeroUsize::new(max).unwrap())
}

/// Sends one request through a fresh `layer()`, as axum does, to a service that answers with this body.
async fn send(
    limit: &Limit,
    body: Script,
) -> Response<impl http_body::Body<Error: std::fmt::Debug> + Unpin> {
    let mut body = Some(body);
    let service = service_fn(move |_: Request<()>| {
        let answer = answer(StatusCode::OK, body.take().unwrap());
        async move { Ok::<_, Infallible>(answer) }
    });
    ConcurrencyLayer::new(limit.clone()).layer(service).oneshot(request()).await.unwrap()
}

#[tokio::test]
async fn a_slot_is_held_to_the_end_of_the_body() {
    let limit = limit(1);
    let mut first = send(&limit, Script::frames(["one", "two"])).await;
    assert_eq!(limit.in_flight(), 1);
    assert_eq!(send(&limit, Script::default()).await.status(), StatusCode::SERVICE_UNAVAILABLE);
    read(first.body_mut()).await.unwrap();
    assert_eq!(limit.in_flight(), 0, "though nobody has polled past the end");
    assert_eq!(send(&limit, Script::default()).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_slot_is_free_again_when_the_body_breaks_or_is_dropped() {
    let limit = limit(1);
    let mut breaks = send(&limit, Script::frames(["one"]).then_breaks()).await;
    read(breaks.body_mut()).await.unwrap_err();
    assert_eq!(limit.in_flight(), 0);
    drop(send(&limit, Script::frames(["one"])).await);
    assert_eq!(limit.in_flight(), 0);
}

#[tokio::test]
async fn an_empty_body_holds_no_slot() {
    let limit = limit(1);
    let _response = send(&limit, Script::default()).await;
    assert_eq!(limit.in_flight(), 0);
}

#[tokio::test]
async fn a_call_that_is_dropped_gives_its_slot_back() {
    let limit = limit(1);
    let service = ConcurrencyLayer::new(limit.clone())
        .layer(service_fn(|_: Request<()>| pending::<Result<Response<Script>, Infallible>>()));
    let mut call = by_hand(service.oneshot(request()));
    assert!(call.poll_once().await.is_pending());
    assert_eq!(limit.in_flight(), 1);
    drop(call);
    assert_eq!(limit.in_flight(), 0);
}

#[tokio::test]
async fn an_error_gives_the_slot_back_and_passes_unchanged() {
    let limit = limit(1);
    let service = ConcurrencyLayer::new(limit.clone())
        .layer(service_fn(async |_: Request<()>| Err::<Response<Script>, _>("reset")));
    assert_eq!(service.oneshot(request()).await.unwrap_err(), "reset");
    assert_eq!(limit.in_flight(), 0);
}

#[tokio::test]
async fn a_refusal_holds_no_slot_and_travels_as_it_is_asked_to() {
    let limit = limit(1);
    let _held = limit.admit().unwrap();
    let service = ConcurrencyLayer::new(limit.clone()).refuse(AsError).layer(service_fn(
        async |_: Request<()>| Ok::<_, BoxError>(answer(StatusCode::OK, Script::default())),
    ));
    let error = service.oneshot(request()).await.unwrap_err();
    assert_eq!(Rejected::find(error.as_ref()).unwrap().reason(), "overloaded");
    assert_eq!(limit.in_flight(), 1);
}

#[tokio::test]
async fn without_a_limit_calls_go_straight_through() {
    let service = ConcurrencyLayer::optional(None).layer(service_fn(async |_: Request<()>| {
        Ok::<_, Infallible>(answer(StatusCode::OK, Script::frames(["x"])))
    }));
    assert_eq!(service.oneshot(request()).await.unwrap().status(), StatusCode::OK);
}

#[test]
fn many_threads_never_hold_more_slots_than_there_are() {
    let (limit, most) = (limit(3), AtomicUsize::new(0));
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..5_000 {
                    let slot = limit.admit();
                    most.fetch_max(limit.in_flight(), Ordering::Relaxed);
                    drop(slot);
                }
            });
        }
    });
    assert!(most.into_inner() <= 3);
    assert_eq!(limit.in_flight(), 0, "and all are given back");
}
