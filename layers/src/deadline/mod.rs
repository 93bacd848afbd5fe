//! A deadline for the head of the response.
//!
//! *When it acts.* A call that has no response head after its time is cut off and refused with 504
//! ([`Rejected::TimedOut`](crate::rejected::Rejected::TimedOut)), the one refusal that counts as a failure of the upstream.
//! So it stands innermost: a breaker outside of it sees a slow call as a failed one, instead of as one that was dropped.
//!
//! *When it keeps still.* Once the head is there: how long a body may take is for whoever knows what is in it. Readiness of
//! the service inside is not timed either.
//!
//! The call is polled before the timer, so an answer that is there in time is never thrown away because the task came late
//! to look. A call that answers at its first poll costs no timer at all.
//!
//! Against tower's `Timeout`: that one changes the error type to a boxed one and makes its timer for every call.
//!
//! ```
//! # use std::{convert::Infallible, future::pending, time::Duration};
//! use http::{Request, Response, StatusCode};
//! use http_body_util::Full;
//! use portcullis::deadline::DeadlineLayer;
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
//! let service = ServiceBuilder::new()
//!     .layer(DeadlineLayer::new(Duration::from_secs(2)))
//!     .service(service_fn(async |_: Request<()>| {
//!         pending::<Result<Response<Full<bytes::Bytes>>, Infallible>>().await
//!     }));
//! let answer = service.oneshot(Request::new(())).await.unwrap();
//! assert_eq!(answer.status(), StatusCode::GATEWAY_TIMEOUT);
//! # }
//! ```

mod future;
mod layer;
mod service;

pub use self::{future::ResponseFuture, layer::DeadlineLayer, service::Deadline};
