//! Auto-disable: turns a feature off when too many calls in its name fail.
//!
//! *When it acts.* A [`Meter`] counts a feature's errors over a sliding window. When there are [`Settings::errors`] of them,
//! it trips, and tells once: whoever made the meter then flips the killswitch. The meter itself turns nothing off, and
//! refuses nobody.
//!
//! *What counts.* Every call that a classifier takes for a failure, and every error that the upstream owns up to in a
//! `Feature-Errors: payment_processing, inventory` header, which is how a service tells of a feature that failed behind an
//! answer that looks well.
//!
//! *When it keeps still.* Refusals of our own, clients who walk away, and errors that are spread out over more than the
//! window. Once tripped it goes on counting, but tells nothing more.
//!
//! *How it recovers.* Not by itself: a feature that was turned off gets no calls that could prove it well. An operator
//! turns it on again, and [`Meter::reset`] makes the meter count anew.
//!
//! Next to the [circuit breaker](crate::circuit_breaker), which gives an upstream a minute's rest and tries again, this is
//! for what a person should look at. It stands inside of the breaker, since a call that was refused says nothing of the
//! feature. tower has nothing like it.
//!
//! ```
//! # use std::convert::Infallible;
//! use http::{Request, Response};
//! use http_body_util::Full;
//! use portcullis::auto_disable::{AutoDisableLayer, Meter, Settings};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let meter = Meter::new("payment_processing", Settings::default(), |trip| {
//!     println!("turn {} off: {} errors in {:?}", trip.feature, trip.errors, trip.window);
//! });
//! let service = ServiceBuilder::new()
//!     .layer(AutoDisableLayer::new([meter.clone()]))
//!     .service(service_fn(async |_: Request<()>| {
//!         let body = Full::<bytes::Bytes>::default();
//!         Ok::<_, Infallible>(Response::builder().status(500).body(body).unwrap())
//!     }));
//! for _ in 0..10 {
//!     service.clone().oneshot(Request::new(())).await.unwrap();
//! }
//! assert!(meter.snapshot().tripped);
//! # }
//! ```

mod core;
mod future;
mod layer;
mod meter;
mod service;

pub use self::{
    future::ResponseFuture,
    layer::AutoDisableLayer,
    meter::{Meter, Settings, Snapshot, Trip},
    service::{AutoDisable, FEATURE_ERRORS, ResponseBody, Watch, Watched},
};
