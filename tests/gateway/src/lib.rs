//! The harness: real processes, scripted peers and deadlines, so that a test of the gateway reads like a story.
//!
//! What plays in it, one file each:
//!
//! | piece | is |
//! |---|---|
//! | [`Gateway`] | the real `portcullis` binary on free ports with its own data directory |
//! | [`Service`], [`Fleet`] | the real example services; all of them behind a gateway on `config/demo.toml` |
//! | [`Redis`] | a real `redis-server` that keeps nothing |
//! | [`Upstream`] with a [`Script`] | an upstream that answers, stalls, trickles, resets or lies, and remembers each request |
//! | [`Detour`] | a way to a server that can be made silent, slow or bad |
//! | [`Depot`] | an upstream that takes and gives any number of bytes and remembers none |
//! | [`Client`], [`RawConnection`] | a polite HTTP client, and one that sends any bytes it is told to |
//! | [`Crowd`] | hundreds of clients that take their time |
//! | [`http2`] | a client that speaks HTTP/2 frame by frame, as it is told |
//! | [`OtlpReceiver`] | collects the spans that the gateway exports |
//! | [`hostile`] | a corpus of hostile messages, a strict oracle and an upstream that keeps every byte |
//! | [`eventually`], [`within`] | waiting, always with an end |
//!
//! ```no_run
//! # async fn story() {
//! use portcullis_tests::{Gateway, Script, Client, Upstream};
//!
//! let upstream = Upstream::always(Script::answer(200, "hello"));
//! let gateway = Gateway::with_config(&format!(
//!     "[upstreams.app]\nurl = \"{}\"\n[[routes]]\nname = \"app\"\npath = \"/{{*}}\"\nupstream = \"app\"\n",
//!     upstream.url(),
//! ))
//! .start()
//! .await;
//!
//! let answer = Client::new().get(gateway.url("/greeting")).await;
//! assert_eq!((answer.status, answer.text()), (200, "hello"));
//! assert_eq!(upstream.requests()[0].target, "/greeting");
//! # }
//! ```
//!
//! Rules that keep the tests honest: no sleep stands for "by now it must have happened" (wait for a log line, a request, a
//! [`Gate`], or use [`eventually`]), nothing waits without an end, and whatever was started dies with the value that owns it.
//! A test that fails prints the last lines that its processes said.

mod binary;
mod client;
mod crowd;
mod deadline;
mod depot;
mod detour;
mod fleet;
mod gateway;
pub mod hostile;
pub mod http2;
mod memory;
mod otlp;
mod ports;
mod process;
mod raw;
mod redis;
mod scale;
mod service;
mod tls;
mod upstream;
mod wire;

pub use client::{Answer, Client, Failed, Request};
pub use crowd::{Crowd, Slow};
pub use deadline::{PATIENCE, Seen, eventually, within};
pub use depot::Depot;
pub use detour::{Detour, Way};
pub use fleet::{Fleet, login, order, orders_behind, signed_in};
pub use gateway::{Ended, Gateway, Launch, portcullis};
pub use memory::Memory;
pub use otlp::{OtlpReceiver, Span, Spans};
pub use ports::{Reserved, free_port};
pub use process::{Log, Process};
pub use raw::RawConnection;
pub use redis::Redis;
pub use scale::{allow_descriptors, in_full};
pub use service::{Launched, Service};
pub use tls::TlsFront;
pub use upstream::{Gate, Recorded, Script, Upstream};
pub use wire::Head;
