//! Makes each message one that can be read in only one way, or refuses it.
//!
//! What a client sends is not what its upstream may see: framing is re-emitted, hop-by-hop fields end here, fields that the
//! gateway owns are taken from clients in every spelling, and a path is normalised once, so that what is matched, authorised,
//! logged and forwarded is the same string. Nothing before this module reads a header.

mod forwarded;
mod host;
pub mod layer;
pub mod path;
pub mod request;
pub mod response;

use http::{HeaderName, HeaderValue};

/// The fields that a `Connection` names.
fn tokens(connection: &HeaderValue) -> impl Iterator<Item = HeaderName> {
    // A member that can be no name is none; the others still are.
    let tokens = connection.as_bytes().split(|&byte| byte == b',');
    tokens.filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
}
