//! Makes so many calls through a breaker and ends: for callgrind, which counts the instructions.
//!
//! `instructions core 100 10000`: the core with a window of 100 calls, ten thousand times. `layer` is the whole layer;
//! `recloser` and `tower-resilience` are theirs, to compare, and `bare` is the service without a breaker.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    num::NonZeroU32,
    pin::pin,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use http::{Request, Response};
use portcullis::{
    circuit_breaker::{Admission, Breaker, CircuitBreakerLayer, Ratio, Settings, Span, core::Core},
    outcome::Outcome,
};
use tower::{Layer, Service, service_fn};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, window, calls] = arguments.as_slice() else { panic!("WHAT WINDOW CALLS") };
    let (window, calls) = (window.parse().expect("a number"), calls.parse().expect("a number"));
    match what.as_str() {
        "core" => core(rate(window), calls),
        "recloser" => recloser(window.get() as usize, calls),
        "bare" => drive(&mut service_fn(upstream), calls),
        "tower-resilience" => tower_resilience(window.get() as usize, calls),
        _ => layer(rate(window), calls),
    }
}

fn rate(calls: NonZeroU32) -> Settings {
    let span = Span::Calls(calls);
    Settings { failure_rate: Some(Ratio::percent(50)), span, ..Settings::default() }
}

fn core(settings: Settings, calls: u32) {
    let now = Instant::now();
    let mut core = Core::new(settings, 7, now);
    for _ in 0..calls {
        if let Admission::Admitted(ticket) = core.admit(now) {
            core.settle(ticket, Outcome::Success, Duration::ZERO, now);
        }
    }
    assert_eq!(core.totals().answers.calls, u64::from(calls));
}

fn upstream(_: Request<()>) -> Ready<Result<Response<String>, Infallible>> {
    ready(Ok(Response::new(String::new())))
}

fn layer(settings: Settings, calls: u32) {
    let breaker = Breaker::new("b", settings);
    let mut service = CircuitBreakerLayer::new(breaker.clone())
        .refuse(|_| Ok::<_, Infallible>(Response::default()))
        .layer(service_fn(upstream));
    drive(&mut service, calls);
    assert_eq!(breaker.snapshot().calls_total, u64::from(calls));
}

fn recloser(window: usize, calls: u32) {
    let breaker = recloser::Recloser::custom().closed_len(window).error_rate(0.5).build();
    for _ in 0..calls {
        assert!(breaker.call(|| std::hint::black_box(Ok::<_, ()>(()))).is_ok());
    }
}

fn tower_resilience(window: usize, calls: u32) {
    let (layer, _handle) = tower_resilience_circuitbreaker::CircuitBreakerLayer::builder()
        .sliding_window_size(window)
        .minimum_number_of_calls(window)
        .failure_rate_threshold(0.5)
        .build_with_handle()
        .expect("plain settings");
    drive(&mut layer.layer(service_fn(upstream)), calls);
}

fn drive<S: Service<Request<()>>>(service: &mut S, calls: u32) {
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..calls {
        assert!(service.poll_ready(&mut cx).is_ready());
        let mut call = pin!(service.call(Request::new(())));
        while call.as_mut().poll(&mut cx).is_pending() {}
    }
}
