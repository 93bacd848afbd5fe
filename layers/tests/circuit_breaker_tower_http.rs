//! The circuit breaker judges as one's classifier of `tower_http` does, from the head to the trailers.

#![allow(clippy::unwrap_used, reason = "tests")]

mod rig;

use std::{convert::Infallible, num::NonZeroU32};

use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use portcullis::{
    circuit_breaker::{Breaker, CircuitBreakerLayer, Settings},
    outcome::TowerHttp,
};
use rig::{Script, answer, clock, read, request};
use tower::{Layer, ServiceExt, service_fn};
use tower_http::classify::{
    ClassifiedResponse, ClassifyEos, ClassifyResponse, GrpcErrorsAsFailures,
};

const OK: StatusCode = StatusCode::OK;

fn settings() -> Settings {
    Settings { consecutive_failures: NonZeroU32::new(2), ..Settings::default() }
}

/// Judges by the trailer that the head names, as a protocol does whose head says how its end is to be read.
#[derive(Clone)]
struct ByNamedTrailer;

struct Named(HeaderValue);

impl ClassifyResponse for ByNamedTrailer {
    type FailureClass = ();
    type ClassifyEos = Named;

    fn classify_response<B>(self, head: &Response<B>) -> ClassifiedResponse<(), Named> {
        match head.headers().get("verdict-in") {
            Some(name) => ClassifiedResponse::RequiresEos(Named(name.clone())),
            None => ClassifiedResponse::Ready(Ok(())),
        }
    }

    fn classify_error<E: std::fmt::Display + 'static>(self, _: &E) {}
}

impl ClassifyEos for Named {
    type FailureClass = ();

    fn classify_eos(self, trailers: Option<&HeaderMap>) -> Result<(), ()> {
        let verdict = trailers.and_then(|trailers| trailers.get(self.0.to_str().ok()?));
        verdict.filter(|verdict| *verdict == "good").map(drop).ok_or(())
    }

    fn classify_error<E: std::fmt::Display + 'static>(self, _: &E) {}
}

#[tokio::test(start_paused = true)]
async fn what_a_classifier_saw_in_the_head_judges_the_end() {
    let breaker = Breaker::new("payments", settings()).with_clock(clock);
    let layer = CircuitBreakerLayer::new(breaker.clone()).classify(TowerHttp::new(ByNamedTrailer));
    let call = async |named: &'static str| {
        let service = service_fn(async move |_: Request<()>| {
            let mut answer = answer(OK, Script::default().then_trailer("x-left", "good"));
            answer.headers_mut().insert("verdict-in", HeaderValue::from_static(named));
            Ok::<_, Infallible>(answer)
        });
        let mut response = layer.layer(service).oneshot(request()).await.unwrap();
        read(response.body_mut()).await.unwrap();
    };
    call("x-left").await;
    assert_eq!(breaker.snapshot().success_count, 1);
    call("x-right").await;
    call("x-right").await;
    assert!(breaker.is_open(), "the trailer that the head names was missing twice");
}

#[tokio::test(start_paused = true)]
async fn a_grpc_stream_that_ends_in_a_failure_counts_for_tower_http_too() {
    let breaker = Breaker::new("payments", settings()).with_clock(clock);
    let layer = CircuitBreakerLayer::new(breaker.clone())
        .classify(TowerHttp::new(GrpcErrorsAsFailures::new()));
    for (status, failures) in [("0", 0), ("13", 1), ("0", 1), ("14", 2), ("14", 3)] {
        let service = service_fn(async move |_: Request<()>| {
            let stream = Script::frames(["one", "two"]).then_trailer("grpc-status", status);
            Ok::<_, Infallible>(answer(OK, stream))
        });
        let mut response = layer.layer(service).oneshot(request()).await.unwrap();
        read(response.body_mut()).await.unwrap();
        assert_eq!(breaker.snapshot().failures_total, failures, "{status}");
    }
    assert!(breaker.is_open());
}
