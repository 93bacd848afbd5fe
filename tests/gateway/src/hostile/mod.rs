//! Hostile messages: written down as data, sent over real sockets, judged by an oracle that shares no code with the gateway.
//!
//! | file | is |
//! |---|---|
//! | `corpus` | reads `corpora/`: cases, families of cases, verdicts |
//! | `oracle` | reads HTTP/1 as strictly as RFC 9112 allows |
//! | `dirt` | says what is dirty of what could be read |
//! | `recorder` | an upstream that keeps every byte, told apart by who sent it |
//! | `assault` | sends one case and reads what comes back |
//! | `judge` | compares what a case wanted with what came, at both ends |
//! | `mutant` | crosses cases with each other, from a seed |
//!
//! Each case comes from an address of its own (127.0.0.0/8 is all loopback), which the gateway tells the upstream in
//! `X-Forwarded-For`: so whatever arrives there is known by its sender, however many cases run at once.

mod assault;
mod corpus;
mod dirt;
mod judge;
mod mutant;
mod oracle;
mod recorder;

pub use assault::{Came, assault, plain_get};
pub use corpus::{Case, Profile, Then, Verdict, corpus};
pub(crate) use dirt::dirt;
pub use judge::judge;
pub use mutant::Mutator;
pub use oracle::{Answer, Message, Read, answer, messages};
pub use recorder::{Recorder, Seen};
