//! A limit of the rate of calls, per key.
//!
//! *When it acts.* Each key (an address, a user, a route) has a bucket that holds [`burst`](Limiter::new) calls and fills
//! evenly. A call that finds its bucket empty is refused with 429
//! ([`Rejected::RateLimited`](crate::rejected::Rejected::RateLimited)), which says when to come back. A refused call takes
//! nothing from the bucket, so a client that hammers is not punished for longer than its own burst.
//!
//! *When it keeps still.* Calls for which the key function finds no key.
//!
//! The arithmetic is governor's (GCRA). What is added is a bound on memory, which governor leaves to its user. Against
//! tower's `RateLimit`: that one has no keys, waits, and keeps its count in the service.
//!
//! ```
//! # use std::{convert::Infallible, net::IpAddr, num::NonZeroU32, time::Duration};
//! use http::{Extensions, Request, Response, StatusCode};
//! use http_body_util::Full;
//! use portcullis::rate_limit::{Limiter, RateLimitLayer};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let one = NonZeroU32::MIN;
//! let limiter = Limiter::new("login", one, Duration::from_secs(60), one);
//! let by_address = |extensions: &Extensions| extensions.get::<IpAddr>().copied();
//! let service = ServiceBuilder::new()
//!     .layer(RateLimitLayer::new(limiter, by_address))
//!     .service(service_fn(async |_: Request<()>| {
//!         Ok::<_, Infallible>(Response::new(Full::<bytes::Bytes>::default()))
//!     }));
//! let request = || {
//!     let mut request = Request::new(());
//!     request.extensions_mut().insert(IpAddr::from([192, 0, 2, 1]));
//!     request
//! };
//! assert_eq!(service.clone().oneshot(request()).await.unwrap().status(), StatusCode::OK);
//! let refusal = service.oneshot(request()).await.unwrap();
//! assert_eq!(refusal.status(), StatusCode::TOO_MANY_REQUESTS);
//! assert_eq!(refusal.headers()["retry-after"], "60");
//! # }
//! ```

mod future;
mod layer;
mod limiter;
mod service;

pub use self::{
    future::ResponseFuture,
    layer::RateLimitLayer,
    limiter::{KEYS_MAX, Limiter},
    service::RateLimit,
};
