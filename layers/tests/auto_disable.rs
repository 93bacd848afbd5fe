//! Auto-disable through its public API: what counts as an error of a feature, and who is told of too many.

#![allow(clippy::unwrap_used, reason = "tests")]

mod rig;

use std::{
    convert::Infallible,
    future::pending,
    num::NonZeroU32,
    sync::{Arc, OnceLock, mpsc},
    time::Duration,
};

use http::{Request, Response, StatusCode};
use portcullis::{
    auto_disable::{AutoDisableLayer, FEATURE_ERRORS, Meter, Settings, Trip},
    outcome::Outcome,
    rejected::Rejected,
};
use rig::{Script, advance, answer, by_hand, clock, read, request};
use tower::{Layer, ServiceExt, service_fn};

/// Trips at three errors within five minutes.
fn meter(feature: &str) -> (Meter, mpsc::Receiver<Trip>) {
    let settings = Settings { errors: NonZeroU32::new(3).unwrap(), ..Settings::default() };
    let (tell, told) = mpsc::channel();
    let meter = Meter::new(feature, settings, move |trip| tell.send(trip.clone()).unwrap());
    (meter.with_clock(clock), told)
}

fn counts(meter: &Meter) -> (u64, u64) {
    let snapshot = meter.snapshot();
    (snapshot.errors, snapshot.calls)
}

/// Sends one request through a fresh `layer()`, as axum does, to a service that answers with this.
async fn send<'m>(meters: impl IntoIterator<Item = &'m Meter>, response: Response<Script>) {
    let mut script = Some(response);
    let service = service_fn(move |_: Request<()>| {
        let answer = script.take().unwrap();
        async move { Ok::<_, Infallible>(answer) }
    });
    let layer = AutoDisableLayer::new(meters.into_iter().cloned());
    let mut response = layer.layer(service).oneshot(request()).await.unwrap();
    let _ = read(response.body_mut()).await;
}

fn broken() -> Response<Script> {
    answer(StatusCode::INTERNAL_SERVER_ERROR, Script::default())
}

fn well() -> Response<Script> {
    answer(StatusCode::OK, Script::default())
}

/// An answer that looks well, in which the upstream owns up to errors.
fn owning_up(features: &'static str) -> Response<Script> {
    let mut response = well();
    response.headers_mut().insert(FEATURE_ERRORS, features.parse().unwrap());
    response
}

#[tokio::test(start_paused = true)]
async fn enough_errors_trip_it_and_it_tells_once() {
    let (meter, told) = meter("orders");
    send([&meter], well()).await;
    for _ in 0..5 {
        send([&meter], broken()).await;
    }
    let window = Duration::from_secs(300);
    let trip = Trip { feature: "orders".into(), errors: 3, calls: 4, window };
    assert_eq!(told.try_iter().collect::<Vec<_>>(), [trip]);
    assert_eq!(counts(&meter), (5, 6), "it goes on counting");
}

#[tokio::test(start_paused = true)]
async fn simulated_errors_count_just_as_real_ones_do() {
    let (meter, told) = meter("orders");
    meter.record_error("simulated");
    meter.record_error("simulated");
    send([&meter], broken()).await;
    assert_eq!(told.try_iter().count(), 1);
    let snapshot = meter.snapshot();
    assert!(snapshot.tripped && snapshot.since.is_some());
    assert_eq!(snapshot.last_error.as_deref(), Some("simulated"));
}

#[tokio::test(start_paused = true)]
async fn errors_spread_over_more_than_the_window_do_not_trip_it() {
    let (meter, told) = meter("orders");
    for _ in 0..10 {
        send([&meter], broken()).await;
        advance(150).await;
    }
    assert_eq!((told.try_iter().count(), meter.snapshot().tripped), (0, false));
}

#[tokio::test(start_paused = true)]
async fn after_a_reset_it_counts_anew_and_may_trip_again() {
    let (meter, told) = meter("orders");
    (0..3).for_each(|_| meter.record(Outcome::Failure));
    meter.reset();
    assert_eq!((counts(&meter), meter.snapshot().since), ((0, 0), None));
    (0..3).for_each(|_| meter.record(Outcome::Failure));
    assert_eq!(told.try_iter().count(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_one_who_is_told_may_order_the_meter_about() {
    let told = Arc::new(OnceLock::<Meter>::new());
    let settings = Settings { errors: NonZeroU32::MIN, ..Settings::default() };
    let asks = told.clone();
    let meter = Meter::new("orders", settings, move |_| asks.get().unwrap().reset());
    told.set(meter.clone()).unwrap();
    meter.record(Outcome::Failure);
    assert!(!meter.snapshot().tripped);
}

#[tokio::test(start_paused = true)]
async fn the_upstream_may_name_the_features_that_failed() {
    let ((orders, _), (payments, _)) = (meter("orders"), meter("payments"));
    let meters = [orders.clone(), payments.clone()];
    send(&meters, owning_up("payments, unheard_of")).await;
    assert_eq!((counts(&orders), counts(&payments)), ((0, 1), (1, 1)));
}

#[tokio::test(start_paused = true)]
async fn one_call_is_one_error_however_often_it_is_told() {
    let (payments, _told) = meter("payments");
    let mut response = owning_up("payments,payments");
    response.headers_mut().append(FEATURE_ERRORS, "payments".parse().unwrap());
    *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    send([&payments], response).await;
    assert_eq!(counts(&payments), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn the_client_s_faults_and_our_refusals_are_no_errors() {
    let (meter, _told) = meter("orders");
    send([&meter], answer(StatusCode::NOT_FOUND, Script::default())).await;
    let mut refusal = answer(StatusCode::SERVICE_UNAVAILABLE, Script::default());
    refusal.extensions_mut().insert(Rejected::Overloaded { limit: "orders".into() });
    send([&meter], refusal).await;
    assert_eq!(counts(&meter), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_time_out_of_ours_is_an_error_of_the_upstream() {
    let (meter, _told) = meter("orders");
    let mut refusal = answer(StatusCode::GATEWAY_TIMEOUT, Script::default());
    refusal.extensions_mut().insert(Rejected::TimedOut { after: Duration::from_secs(1) });
    send([&meter], refusal).await;
    assert_eq!(counts(&meter), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_breaks_is_an_error() {
    let (meter, _told) = meter("orders");
    let body = Script::frames(["half"]).then_breaks();
    send([&meter], answer(StatusCode::OK, body)).await;
    assert_eq!(counts(&meter), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_hung_is_an_error_and_one_given_up_early_is_none() {
    let (meter, _told) = meter("orders");
    for age in [9, 10] {
        let service = AutoDisableLayer::new([meter.clone()])
            .layer(service_fn(|_: Request<()>| pending::<Result<Response<Script>, Infallible>>()));
        let mut call = by_hand(service.oneshot(request()));
        assert!(call.poll_once().await.is_pending());
        advance(age).await;
    }
    assert_eq!(counts(&meter), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_service_passes_unchanged_and_counts() {
    let (meter, _told) = meter("orders");
    let service = AutoDisableLayer::new([meter.clone()])
        .layer(service_fn(async |_: Request<()>| Err::<Response<Script>, _>("connection reset")));
    assert_eq!(service.oneshot(request()).await.unwrap_err(), "connection reset");
    assert_eq!(counts(&meter), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn without_meters_calls_go_straight_through() {
    send([], owning_up("orders")).await;
}

#[tokio::test(start_paused = true)]
async fn of_a_long_error_text_the_beginning_is_kept() {
    let (meter, _told) = meter("orders");
    meter.record_error(&"ß".repeat(10_000));
    assert_eq!(meter.snapshot().last_error.unwrap().chars().count(), 200);
}

#[tokio::test(start_paused = true)]
async fn a_feature_that_is_only_named_counts_what_is_named_and_no_outcome() {
    let ((judged, _), (named, _)) = (meter("orders"), meter("payments"));
    for response in [broken(), owning_up("payments")] {
        let mut script = Some(response);
        let service = service_fn(move |_: Request<()>| {
            let answer = script.take().unwrap();
            async move { Ok::<_, Infallible>(answer) }
        });
        let layer = AutoDisableLayer::new([judged.clone()]).named([named.clone()]);
        let mut response = layer.layer(service).oneshot(request()).await.unwrap();
        let _ = read(response.body_mut()).await;
    }
    assert_eq!(counts(&judged), (1, 2));
    assert_eq!(counts(&named), (1, 1));
}
