//! The circuit breaker: fails fast while the upstream is known to be bad.
//!
//! *When it acts.* Whichever of its rules is met first opens it: a run of failures
//! ([`Settings::consecutive_failures`]), a share of failures or of slow calls in a window that truly slides
//! ([`Settings::failure_rate`], [`Settings::slow`]), an objective that is surely missed ([`Settings::objective`]), or an
//! upstream that asks to be left alone ([`Settings::retry_after_max`]). Then it refuses every call for
//! [`Settings::open_wait`], which may grow while the upstream stays bad ([`Settings::backoff`]). It says which rule it was,
//! with the numbers.
//!
//! *How it recovers.* The first call after the wait finds it half-open and goes through as a probe. At most
//! [`Settings::half_open_probes`] probes are under way at once, each on a lease that runs out after
//! [`Settings::probe_timeout`], so that a probe which never comes back doesn't block the others. Only probes decide, by
//! [`Settings::verdict`]. Where a herd waits, a [`Ramp`] lets it back in step by step, the same users first and last.
//!
//! *When it keeps still.* A call that its caller gives up early says nothing; one that is given up after a long silence is a
//! failure. Our own refusals further in say nothing. What was admitted before the state changed never decides over a
//! half-open breaker. An operator's [`Order`] (forced open, disabled, shadow) stands above all until it is taken back or
//! expires. In every state it goes on counting.
//!
//! tower has no breaker of its own. Against `ConcurrencyLimit` and `LoadShed`, which look at how much is under way here,
//! this looks at how the upstream fares.
//!
//! ```
//! # use std::convert::Infallible;
//! use http::{Request, Response, StatusCode};
//! use http_body_util::Full;
//! use portcullis::circuit_breaker::{Breaker, CircuitBreakerLayer, Settings, State};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let breaker = Breaker::new("payments", Settings::default())
//!     .on_change(|change| println!("{}: {} -> {}", change.breaker, change.from.as_str(), change.to.as_str()));
//! let mut service = ServiceBuilder::new()
//!     .layer(CircuitBreakerLayer::new(breaker.clone()))
//!     .service(service_fn(async |_: Request<()>| {
//!         let body = Full::<bytes::Bytes>::default();
//!         Ok::<_, Infallible>(Response::builder().status(500).body(body).unwrap())
//!     }));
//! for _ in 0..5 {
//!     let answer = service.ready().await.unwrap();
//!     # use tower::Service;
//!     assert_eq!(answer.call(Request::new(())).await.unwrap().status(), StatusCode::INTERNAL_SERVER_ERROR);
//! }
//! assert_eq!(breaker.snapshot().state, State::Open);
//! let refusal = service.oneshot(Request::new(())).await.unwrap();
//! assert_eq!(refusal.status(), StatusCode::SERVICE_UNAVAILABLE);
//! assert_eq!(refusal.headers()["retry-after"], "60");
//! # }
//! ```

mod backoff;
mod breaker;
mod call;
mod chance;
pub mod core;
mod evidence;
mod future;
#[cfg(feature = "back-pressure")]
mod health_check;
mod history;
mod keyed;
mod keyed_service;
mod layer;
mod order;
#[cfg(feature = "back-pressure")]
mod patience;
mod permit;
mod probation;
mod profile;
mod ramp;
mod ratio;
mod recent;
mod registry;
mod rules;
mod sample;
mod service;
mod settings;
mod snapshot;
mod state;
mod ticket;
mod totals;
mod waiters;
mod why;

#[cfg(feature = "back-pressure")]
pub use self::health_check::check_every;
pub use self::{
    backoff::Backoff,
    breaker::Breaker,
    call::CallError,
    core::Changed,
    evidence::{Delta, FleetVerdict},
    future::ResponseFuture,
    history::{CHANGES_KEPT, Change},
    keyed::Keyed,
    keyed_service::{KeyedCircuitBreaker, KeyedCircuitBreakerLayer},
    layer::CircuitBreakerLayer,
    order::{Action, Order},
    permit::Permit,
    profile::{Judges, Late, Minimum, Profile, Threshold},
    ramp::{Place, Ramp, Unplaced, place_of},
    ratio::Ratio,
    registry::{Health, Registry},
    sample::Sample,
    service::{Call, CircuitBreaker, ResponseBody},
    settings::{HalfOpenMax, LostProbe, Objective, Settings, Slow, Span, Then, Verdict},
    snapshot::Snapshot,
    state::State,
    ticket::{Admission, Refusal, Ticket},
    totals::{Tally, Totals},
    why::Why,
};
