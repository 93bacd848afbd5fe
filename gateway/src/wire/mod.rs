//! HTTP/1.1 without any I/O: bytes in, messages out.
//!
//! This is a codec of our own, for three reasons. Nothing has to cross a channel between two halves, which was a third of the
//! gateway's user time. A request whose connection turns out dead can be sent again without having been copied. And a
//! message that could be read in two ways is refused here, where all of its head is seen.
//!
//! `request` and `response` read and write heads, `body` reads bodies.

pub mod body;
pub mod request;
pub mod response;
