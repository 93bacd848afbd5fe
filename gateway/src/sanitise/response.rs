//! What of an upstream's answer may reach the client.
//!
//! A head that could be read in two ways is the upstream's fault, never the client's problem: the answer becomes a 502 and
//! the connection is not used again.

use http::{
    HeaderMap, HeaderName, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING},
    response::Parts,
};
use hyper::ext::ReasonPhrase;

use super::hop_by_hop;
use crate::failure::UpstreamFault;

/// Removes what ends at this hop, in place.
///
/// # Errors
/// A head whose framing is ambiguous, or a switch of protocols that nobody asked for.
pub fn response(parts: &mut Parts) -> Result<(), UpstreamFault> {
    framing(parts)?;
    fields(&mut parts.headers);
    parts.extensions.remove::<ReasonPhrase>();
    Ok(())
}

fn framing(parts: &Parts) -> Result<(), UpstreamFault> {
    let headers = &parts.headers;
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(UpstreamFault::Protocol);
    }
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else { return Ok(()) };
    let chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
    if chunked && !headers.contains_key(CONTENT_LENGTH) {
        Ok(())
    } else {
        Err(UpstreamFault::Protocol)
    }
}

fn fields(headers: &mut HeaderMap) {
    let mut doomed = Vec::new();
    for connection in headers.get_all(CONNECTION) {
        for token in connection.to_str().unwrap_or_default().split(',') {
            if let Ok(name) = HeaderName::from_bytes(token.trim().as_bytes())
                && !name.as_str().starts_with("content-")
            {
                doomed.push(name);
            }
        }
    }
    for name in headers.keys() {
        if hop_by_hop(name.as_str()) || name.as_str() == "feature-errors" {
            doomed.push(name.clone());
        }
    }
    for name in doomed {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sanitised(builder: http::response::Builder) -> Result<Parts, UpstreamFault> {
        let (mut parts, ()) = builder.body(()).unwrap().into_parts();
        response(&mut parts).map(|()| parts)
    }

    #[test]
    fn hop_by_hop_fields_and_what_connection_names_end_here() {
        let builder = http::Response::builder()
            .header("connection", "close, x-int")
            .header("x-int", "secret");
        let parts =
            sanitised(builder.header("keep-alive", "timeout=5").header("x-out", "1")).unwrap();
        assert_eq!(parts.headers.keys().collect::<Vec<_>>(), ["x-out"]);
    }

    #[test]
    fn ambiguous_framing_is_the_upstreams_fault() {
        let both = http::Response::builder()
            .header("content-length", "3")
            .header("transfer-encoding", "chunked");
        assert_eq!(sanitised(both).err(), Some(UpstreamFault::Protocol));
        let gzip = http::Response::builder().header("transfer-encoding", "gzip, chunked");
        assert_eq!(sanitised(gzip).err(), Some(UpstreamFault::Protocol));
        assert_eq!(
            sanitised(http::Response::builder().status(101)).err(),
            Some(UpstreamFault::Protocol)
        );
    }
}
