//! What of an upstream's answer may reach the client.
//!
//! Framing and what is said of the connection are not looked at here: the codec refused whatever could be read in two ways,
//! keeps hop-by-hop fields to itself, and the server frames the answer anew.

use http::{Response, response::Parts};
use portcullis::auto_disable::FEATURE_ERRORS;

/// Marks an answer that has something for the gateway's layers.
pub fn response(parts: &mut Parts) {
    if parts.headers.keys().any(|name| name == FEATURE_ERRORS) {
        parts.extensions.insert(ForGateway);
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
    fn what_an_upstream_tells_the_layers_stays_for_them_and_goes_no_further() {
        let parts = sanitised(Response::builder().header("feature-errors", "payments"));
        let mut answer = Response::from_parts(parts, ());
        assert!(answer.headers().contains_key("feature-errors"));
        outward(&mut answer);
        assert!(answer.headers().is_empty());
    }
}
