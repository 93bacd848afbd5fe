//! Flag headers: flags are evaluated once, at the gate, and every service behind it is told the same answer.
//!
//! **When it acts.** On each request: it sets `Feature-Flags` (an RFC 9651 dictionary of the flags that the layer was built
//! with, `new-checkout;v=on;r=split, theme=?0;v=off;r=static`) and `Feature-Flags-Revision`, the revision of the switchboard
//! that says so. `v` is the variant and `r` the reason, in OpenFeature's words. A flag by percentage is evaluated for the
//! [`Subject`](crate::subject::Subject) in the request's extensions, so the layer stands below whatever authenticates.
//!
//! **When it keeps still.** Flags that nobody declared are left out rather than guessed, and with none left there is no
//! `Feature-Flags` header at all: an upstream falls back to its own defaults. While all flags are the same for everybody,
//! the value is made once per revision and a request only takes a reference to it.
//!
//! **What a client can say.** Nothing: its copies of both headers are removed first, whether or not there is something to
//! set. The other spellings by which a name can reach an upstream (`feature_flags`, trailers) are the business of whatever
//! cleans requests at the border; this layer knows its two exact names.
//!
//! Its neighbour in tower-http is `set_header`, whose value doesn't depend on a request's identity and which has no notion of
//! a revision.
//!
//! ```
//! use std::{convert::Infallible, sync::Arc};
//! use http::{Request, Response};
//! use portcullis::{
//!     flag_headers::{FEATURE_FLAGS, FlagHeadersLayer},
//!     subject::Subject,
//!     switchboard::{Switchboard, flag::{Flag, Rollout}},
//!     view,
//! };
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let flag = Flag { key: Arc::from("new-checkout"), enabled: true, rollout: Rollout::ALL };
//! let (_publisher, subscriber) = view::channel(Switchboard::new([], [flag]));
//! let service = ServiceBuilder::new()
//!     .layer(FlagHeadersLayer::new(subscriber).flags(["new-checkout"]))
//!     .service(service_fn(async |request: Request<()>| {
//!         let told = request.headers()[FEATURE_FLAGS].clone();
//!         Ok::<_, Infallible>(Response::new(told))
//!     }));
//!
//! let mut request = Request::new(());
//! request.headers_mut().insert(FEATURE_FLAGS, "new-checkout=?0".parse().unwrap());
//! request.extensions_mut().insert(Subject("ada".into()));
//! let answer = service.oneshot(request).await.unwrap();
//! assert_eq!(answer.body(), "new-checkout;v=on;r=static");
//! # }
//! ```

mod layer;
mod lines;
mod service;

pub use layer::FlagHeadersLayer;
pub use service::{FEATURE_FLAGS, FEATURE_FLAGS_REVISION, FlagHeaders};
