//! What of an upstream's answer may reach the client.
//!
//! Framing is not looked at here: the codec refused whatever could be read in two ways, and hyper frames the answer anew.

use http::{Response, header::CONNECTION, response::Parts};
use portcullis::auto_disable::FEATURE_ERRORS;

use super::tokens;
use crate::fields::hop_by_hop;

/// Removes what ends at this hop, in place.
pub fn response(parts: &mut Parts) {
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

    fn sanitised(builder: http::response::Builder) -> Parts {
        let (mut parts, ()) = builder.body(()).unwrap().into_parts();
        response(&mut parts);
        parts
    }

    #[test]
    fn hop_by_hop_fields_and_what_connection_names_end_here() {
        let builder =
            Response::builder().header("connection", "close, x-int").header("x-int", "secret");
        let parts = sanitised(builder.header("keep-alive", "timeout=5").header("x-out", "1"));
        assert_eq!(parts.headers.keys().collect::<Vec<_>>(), ["x-out"]);
    }

    #[test]
    fn what_an_upstream_tells_the_layers_stays_for_them_and_goes_no_further() {
        let parts = sanitised(Response::builder().header("feature-errors", "payments"));
        let mut answer = Response::from_parts(parts, ());
        assert!(answer.headers().contains_key("feature-errors"));
        outward(&mut answer);
        assert!(answer.headers().is_empty());
    }
}
