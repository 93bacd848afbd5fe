//! tower Layers that keep a fleet of services standing.
//!
//! A service falls over for two kinds of reason: something that it calls is bad, or something in it is bad. For the first
//! there is a [circuit breaker](circuit_breaker); for the second a [killswitch], which a person can throw, or the
//! [auto-disable](auto_disable) meter by itself. [Flag headers](flag_headers) tell every service behind a gateway the same
//! answer to "is this on for this user?". Around them stand the limits that no such stack does without.
//!
//! # The layers
//!
//! | layer | does | tells |
//! |---|---|---|
//! | [`KillswitchLayer`](killswitch::KillswitchLayer) | refuses what is turned off, informs of the rest | 503 `killswitch`, header `Killswitches` |
//! | [`FlagHeadersLayer`](flag_headers::FlagHeadersLayer) | evaluates flags once per request | headers `Feature-Flags`, `Feature-Flags-Revision` |
//! | [`CircuitBreakerLayer`](circuit_breaker::CircuitBreakerLayer) | fails fast while the upstream is known to be bad | 503 `circuit_open` |
//! | [`AutoDisableLayer`](auto_disable::AutoDisableLayer) | counts a feature's errors, and says when there are too many | a [`Trip`](auto_disable::Trip), once |
//! | [`ConcurrencyLayer`](concurrency::ConcurrencyLayer) | bounds the calls in flight, bodies included | 503 `overloaded` |
#![cfg_attr(
    feature = "rate-limit",
    doc = "| [`RateLimitLayer`](rate_limit::RateLimitLayer) (feature `rate-limit`) | bounds the calls per time and key | 429 `rate_limited` |"
)]
#![cfg_attr(
    feature = "deadline",
    doc = "| [`DeadlineLayer`](deadline::DeadlineLayer) (feature `deadline`) | bounds the time to the response head | 504 `timeout` |"
)]
//!
//! Below them lies the ground: an [`outcome`] says what one call means for its upstream, [`rejected`] has every reason to
//! refuse, [`refuse`] turns one into a response or an error, [`guarded`] finds the end of a body, [`switchboard`] is all
//! killswitches and flags at one revision, [`view`] publishes it and pins it for a request, [`window`] counts over the
//! recent past, and the stores (feature `serde`) keep a switchboard over a restart; `Switches` is all
//! of that for a service of your own.
//!
//! # How to stack them
//!
//! Outermost first; each has its reason to stand where it stands.
//!
//! ```
//! use std::{convert::Infallible, num::NonZeroUsize};
//! use http::{Request, Response, StatusCode};
//! use http_body_util::Full;
//! use portcullis::{
//!     auto_disable::{self, AutoDisableLayer, Meter},
//!     circuit_breaker::{self, Breaker, CircuitBreakerLayer},
//!     concurrency::{ConcurrencyLayer, Limit},
//!     flag_headers::FlagHeadersLayer,
//!     killswitch::KillswitchLayer,
//!     switchboard::{Switchboard, feature::Feature, flag::{Flag, Rollout}},
//!     view,
//! };
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let flag = Flag { key: "new-checkout".into(), enabled: true, rollout: Rollout::ALL };
//! let (_publisher, subscriber) = view::channel(Switchboard::new([Feature::named("orders")], [flag]));
//! let breaker = Breaker::new("orders", circuit_breaker::Settings::default());
//! let meter = Meter::new("orders", auto_disable::Settings::default(), |trip| {
//!     println!("{} of {} calls failed: turn {} off", trip.errors, trip.calls, trip.feature);
//! });
//!
//! let service = ServiceBuilder::new()
//!     // Off means off: nothing below runs, counts or connects.
//!     .layer(KillswitchLayer::new(subscriber.clone()).rejects(["orders"]))
//!     // Below authentication, whose subject it reads.
//!     .layer(FlagHeadersLayer::new(subscriber).flags(["new-checkout"]))
//!     // Fails fast while the upstream is known to be bad.
//!     .layer(CircuitBreakerLayer::new(breaker))
//!     // Inside the breaker: a refused call says nothing about the feature.
//!     .layer(AutoDisableLayer::new([meter]))
//!     // Innermost: a slot is for a call that really leaves, and is held to the end of its body.
//!     .layer(ConcurrencyLayer::new(Limit::new("orders", NonZeroUsize::MIN)))
//!     .service(service_fn(async |request: Request<()>| {
//!         assert_eq!(request.headers()["feature-flags"], "new-checkout;v=on;r=static");
//!         Ok::<_, Infallible>(Response::new(Full::new(bytes::Bytes::from("ordered"))))
//!     }));
//! assert_eq!(service.oneshot(Request::new(())).await.unwrap().status(), StatusCode::OK);
//! # }
//! ```
//!
//! # What all of them keep to
//!
//! - **State lives in a handle** (`Breaker`, `Meter`, `Limit`, `Subscriber`), never in what `layer()` makes: axum calls that
//!   once per connection.
//! - **The error type stays** that of the service inside. A refusal is a response by default, so an `Infallible` router needs
//!   no error handler; `.refuse(AsError)` makes it an error.
//! - **A refusal says nothing about the upstream.** It carries its [`Rejected`](rejected::Rejected) in the response's
//!   extensions, and no classifier counts it. A time-out is the one that does count.
//! - **A call ends with its body,** not with its head; what is held is given back by `Drop`, also when the caller hangs up.
//! - **Nobody waits.** A layer refuses at once or passes on; nothing on the path of a request locks for long, allocates
//!   without need, or asks a disk.
//! - **Nothing is demanded** of the service inside: not `Clone`, not `Send`, not `'static` futures. No future is boxed.
//!
//! # Features
//!
//! None by default, one per heavy dependency: `deadline` and `back-pressure` (tokio's timer), `tower-http`, `rate-limit`
//! (governor), `serde` (JSON forms and the stores' trait), `embedded` (the store in a directory), `redis` (the store that a
//! fleet shares).

#![warn(missing_docs)]

pub mod auto_disable;
pub mod circuit_breaker;
pub mod concurrency;
#[cfg(feature = "deadline")]
pub mod deadline;
pub mod dictionary;
pub mod ending;
pub mod flag_headers;
pub mod guarded;
pub mod killswitch;
pub mod outcome;
#[cfg(feature = "serde")]
pub mod overlay;
#[cfg(feature = "rate-limit")]
pub mod rate_limit;
pub mod refuse;
pub mod rejected;
#[cfg(feature = "serde")]
pub mod store;
pub mod subject;
pub mod switchboard;
#[cfg(feature = "serde")]
pub mod switches;
mod sync;
pub mod view;
pub mod window;

/// The README's code, compiled and run with the tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
