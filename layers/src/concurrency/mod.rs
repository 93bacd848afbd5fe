//! A limit of calls in flight that refuses at once.
//!
//! *When it acts.* When as many calls are in flight as [`Limit::max`] says, the next one is refused with 503
//! ([`Rejected::Overloaded`](crate::rejected::Rejected::Overloaded)). It never lets a caller wait: a queue in front of
//! something overloaded only makes everybody late.
//!
//! *How it recovers.* A slot is free again as soon as its call is over: at the end of the response's body, at its error, or
//! when its caller drops it.
//!
//! Against tower's `ConcurrencyLimit`: that one waits, keeps its count in the service, so that each connection of an axum
//! server counts for itself, and frees the slot at the response's head, so that long bodies escape it.
//!
//! ```
//! # use std::{convert::Infallible, num::NonZeroUsize};
//! use http::{Request, Response, StatusCode};
//! use http_body_util::Full;
//! use portcullis::concurrency::{ConcurrencyLayer, Limit};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let limit = Limit::new("orders", NonZeroUsize::MIN);
//! let service = ServiceBuilder::new()
//!     .layer(ConcurrencyLayer::new(limit.clone()))
//!     .service(service_fn(async |_: Request<()>| {
//!         Ok::<_, Infallible>(Response::new(Full::<bytes::Bytes>::from("a body")))
//!     }));
//! let first = service.clone().oneshot(Request::new(())).await.unwrap();
//! let second = service.clone().oneshot(Request::new(())).await.unwrap();
//! assert_eq!(second.status(), StatusCode::SERVICE_UNAVAILABLE, "nobody has read the first body yet");
//! drop(first);
//! assert_eq!(limit.in_flight(), 0);
//! # }
//! ```

mod future;
mod layer;
mod limit;
mod service;

pub use self::{
    future::ResponseFuture,
    layer::ConcurrencyLayer,
    limit::{Limit, Slot},
    service::{Concurrency, ResponseBody},
};
