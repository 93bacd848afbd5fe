//! What of an upstream's answer may reach the client.
//!
//! A head that could be read in two ways is the upstream's fault, never the client's problem: the answer becomes a 502 and
//! the connection is not used again.

use http::{
    Response, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING},
    response::Parts,
};
use hyper::ext::ReasonPhrase;
use portcullis::auto_disable::FEATURE_ERRORS;

use super::{hop_by_hop, tokens};
use crate::failure::UpstreamFault;

/// Removes what ends at this hop, in place.
///
/// # Errors
/// A head whose framing is ambiguous, or a switch of protocols that nobody asked for.
pub fn response(parts: &mut Parts) -> Result<(), UpstreamFault> {
    framing(parts)?;
    fields(parts);
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

fn fields(parts: &mut Parts) {
    let mut doomed = Vec::new();
    for (name, value) in &parts.headers {
        if name == CONNECTION {
            doomed.extend(tokens(value).filter(|token| !token.as_str().starts_with("content-")));
        }
        if hop_by_hop(name.as_str()) {
            doomed.push(name.clone());
        } else if name == FEATURE_ERRORS {
            parts.extensions.insert(ForGateway);
        }
    }
    for name in doomed {
        parts.headers.remove(name);
    }
}

/// Says that the answer has fields which are for the gateway's layers and not for its clients. Looking for it costs nothing
/// where it isn't, which is nearly always.
#[derive(Debug, Clone, Copy)]
struct ForGateway;

/// Takes away what only the layers should have seen, once they have.
pub fn outward<B>(response: &mut Response<B>) {
    if response.extensions().get::<ForGateway>().is_some() {
        response.headers_mut().remove(FEATURE_ERRORS);
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
        let builder =
            Response::builder().header("connection", "close, x-int").header("x-int", "secret");
        let parts =
            sanitised(builder.header("keep-alive", "timeout=5").header("x-out", "1")).unwrap();
        assert_eq!(parts.headers.keys().collect::<Vec<_>>(), ["x-out"]);
    }

    #[test]
    fn what_an_upstream_tells_the_layers_stays_for_them_and_goes_no_further() {
        let builder = Response::builder().header("feature-errors", "payments");
        let mut answer = Response::from_parts(sanitised(builder).unwrap(), ());
        assert!(answer.headers().contains_key("feature-errors"));
        outward(&mut answer);
        assert!(answer.headers().is_empty());
    }

    #[test]
    fn ambiguous_framing_is_the_upstreams_fault() {
        let both = Response::builder()
            .header("content-length", "3")
            .header("transfer-encoding", "chunked");
        assert_eq!(sanitised(both).err(), Some(UpstreamFault::Protocol));
        let gzip = Response::builder().header("transfer-encoding", "gzip, chunked");
        assert_eq!(sanitised(gzip).err(), Some(UpstreamFault::Protocol));
        assert_eq!(sanitised(Response::builder().status(101)).err(), Some(UpstreamFault::Protocol));
    }
}
