//! The circuit breaker: fails fast while the upstream is known to be bad.
//!
//! *When it acts.* After a run of failures ([`Settings::consecutive_failures`]) it opens, and refuses every call for
//! [`Settings::open_wait`]. A success in between ends the run. An overload (429) and everything that says nothing about the
//! upstream neither lengthen nor end it.
//!
//! *How it recovers.* The first call after the wait finds it half-open and goes through as a probe. At most
//! [`Settings::half_open_probes`] probes are under way at once, each on a lease that runs out after
//! [`Settings::probe_timeout`], so that a probe which never comes back doesn't block the others. Only probes decide:
//! [`Settings::successes_to_close`] successes close it, one failure opens it for another wait.
//!
//! *When it keeps still.* An answer counts only in the state in which its call was admitted: what comes late changes
//! nothing. A call that its caller gives up early says nothing; one that is given up after a long silence is a failure.
//! Forced open, disabled and shadow stay until an operator resets it.
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

mod breaker;
mod core;
mod future;
mod layer;
mod service;
mod settings;
mod state;

pub use self::{
    breaker::{Breaker, Change, Permit, Snapshot},
    future::ResponseFuture,
    layer::CircuitBreakerLayer,
    service::{Call, CircuitBreaker, ResponseBody},
    settings::Settings,
    state::State,
};
