//! Killswitch: off means off.
//!
//! A killswitch is a person's (or the auto-disable meter's) decision that a feature is off, with a reason, an actor and
//! perhaps an expiry. This layer carries it out for the requests that pass through it; where the decision comes from, it
//! doesn't know.
//!
//! **When it acts.** A request is refused with [`Rejected::Killed`](crate::rejected::Rejected::Killed) as soon as one of the
//! features that the layer [rejects](KillswitchLayer::rejects) is off: nothing below it runs, counts or connects, and not
//! even the readiness of the service below is asked for. Features that it only [informs](KillswitchLayer::informs) of are
//! told to the service below in the header `Killswitches`, an RFC 9651 dictionary (`payment_processing=?0`), for it to do
//! less work. A client can't say anything in that header: what it sends is always removed.
//!
//! A kill may be for some only: a method, a header, a region, a tenant, a share of all subjects. Such a one costs only the
//! requests of its own feature. Where the layer stands both before and behind authentication (see [`Stage`]), kills that
//! don't depend on who asks are obeyed before. One that isn't meant in earnest refuses nobody: whoever
//! [watches](KillswitchLayer::watch) is told whom it would have been.
//!
//! **When it keeps still.** While everything is on, it costs one bit test per feature and adds nothing to the request. It
//! holds no state, takes no lock, and never waits: the switchboard that it reads is pinned in memory.
//!
//! **How it recovers.** With the flip that turns the feature on, or the kill's expiry: the next request passes. A service
//! that was made ready while a feature was off refuses the one call that this readiness was for.
//!
//! Its neighbour in tower is `filter`, whose predicate knows neither why it says no, nor when to come back, nor that its
//! refusal says nothing about the upstream.
//!
//! ```
//! use std::{convert::Infallible, sync::Arc};
//! use http::{Request, Response, StatusCode};
//! use portcullis::{
//!     killswitch::KillswitchLayer,
//!     switchboard::{Switchboard, UnixMillis, feature::{Feature, Source}, flip::Flip, kill::Terms},
//!     view,
//! };
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let board = Switchboard::new([Feature::named("order_creation")], []);
//! let (publisher, subscriber) = view::channel(board.clone());
//!
//! let service = ServiceBuilder::new()
//!     .layer(KillswitchLayer::new(subscriber).rejects(["order_creation"]))
//!     .service(service_fn(async |_: Request<()>| Ok::<_, Infallible>(Response::new(bytes::Bytes::from("ordered")))));
//! let answer = service.clone().oneshot(Request::new(())).await.unwrap();
//! assert_eq!(answer.status(), StatusCode::OK);
//!
//! let kill = Flip {
//!     features: vec![Arc::from("order_creation")],
//!     enabled: false,
//!     reason: "stock is wrong".to_owned(),
//!     actor: "ada".to_owned(),
//!     source: Source::Api,
//!     expires_at: None,
//!     terms: Terms::default(),
//! };
//! publisher.publish(board.apply(&kill, UnixMillis::now()).unwrap());
//! let answer = service.oneshot(Request::new(())).await.unwrap();
//! assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
//! # }
//! ```

mod asked;
mod future;
mod layer;
mod service;

pub use asked::Stage;
pub use future::ResponseFuture;
pub use layer::KillswitchLayer;
pub use service::{KILLSWITCHES, Killswitch};
