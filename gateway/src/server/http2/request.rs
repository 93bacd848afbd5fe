//! Makes of hyper's request what the codec of HTTP/1 would have made of it.
//!
//! h2 lets some things through that a codec of HTTP/1 never hands on, and that would therefore reach an upstream: white space
//! around a value (RFC 9113, 8.2.1, forbids it), one length said several times (that they agree is hyper's to check, and that
//! there is no other), and any number of small fields.

use http::{
    HeaderMap, HeaderValue, Request, StatusCode,
    header::{CONTENT_LENGTH, Entry},
};
use http_body::Body as _;
use hyper::body::Incoming;

use crate::{server::inbound::Inbound, wire::request::read::Fault};

/// The request, with at most so many fields.
pub(super) fn inbound(mut request: Request<Incoming>, headers_max: usize) -> Request<Inbound> {
    settle(request.headers_mut());
    let too_many = request.headers().len() > headers_max;
    request.map(|body| match body.is_end_stream() {
        _ if too_many => Inbound::Unreadable(Fault {
            status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            what: "the request has too many fields",
        }),
        true => Inbound::Empty,
        false => Inbound::Http2(body),
    })
}

/// Settles the spelling of fields in place.
fn settle(headers: &mut HeaderMap) {
    for value in headers.values_mut() {
        let trimmed = trim(value.as_bytes());
        if trimmed.len() != value.len() {
            *value = HeaderValue::from_bytes(trimmed).expect("a part of a value is a value");
        }
    }
    if let Entry::Occupied(mut length) = headers.entry(CONTENT_LENGTH)
        && length.iter().nth(1).is_some()
    {
        let first = length.get().clone();
        length.insert(first);
    }
}

/// Without the white space of RFC 9110, 5.6.3.
const fn trim(mut bytes: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = bytes {
        bytes = rest;
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_around_values_and_repeated_lengths_go_no_further() {
        let mut headers = HeaderMap::new();
        for value in [" a", "a\t", "\t a b ", " ", ""] {
            headers.append("x-own", HeaderValue::from_static(value));
        }
        for _ in 0..3 {
            headers.append(CONTENT_LENGTH, HeaderValue::from_static(" 7"));
        }
        settle(&mut headers);
        assert_eq!(headers.get_all("x-own").iter().collect::<Vec<_>>(), ["a", "a", "a b", "", ""]);
        assert_eq!(headers.get_all(CONTENT_LENGTH).iter().collect::<Vec<_>>(), ["7"]);
    }
}
