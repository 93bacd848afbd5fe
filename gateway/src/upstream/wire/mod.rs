//! HTTP/1.1 towards an upstream, without any I/O: bytes in, messages out.
//!
//! This is our own codec and not hyper's client, for three reasons. Nothing has to cross a channel between two halves, which
//! was a third of the gateway's user time. A request whose connection turns out dead can be sent again without having been
//! copied. And framing that could be read in two ways can be refused here, where all of the head is seen.
//!
//! `request` writes heads and bodies, `response` reads heads, `body` reads bodies.

pub mod body;
pub mod request;
pub mod response;
