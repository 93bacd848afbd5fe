//! Reads the head of a response, and how its body is framed.
//!
//! A head that could be read in two ways is no head: two lengths that differ, a length beside a transfer coding, a coding
//! other than `chunked` once, a switch of protocols that nobody asked for. Informational answers are taken off and bounded.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING},
    response::Parts,
};

use crate::limits::{UPSTREAM_HEAD_BYTES_MAX, UPSTREAM_HEADERS_MAX};
use crate::wire::body::{Body, Chunked, Malformed};

/// A head, how its body is framed, and whether another answer may follow on the connection.
#[derive(Debug)]
pub struct Head {
    /// Status and fields, as they came.
    pub parts: Parts,
    /// The body's framing.
    pub body: Body,
    /// Whether the upstream keeps the connection.
    pub keeps: bool,
}

/// Takes a head out of `bytes`; nothing while it is incomplete. `None` bodies of the answer follow from the method.
///
/// # Errors
/// It is not HTTP/1, too large, or ambiguous.
pub fn head(bytes: &mut BytesMut, method: &Method) -> Result<Option<Head>, Malformed> {
    let mut fields = [const { MaybeUninit::uninit() }; UPSTREAM_HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut parsed, bytes, &mut fields) {
        Ok(httparse::Status::Complete(length)) if length <= UPSTREAM_HEAD_BYTES_MAX => length,
        Ok(httparse::Status::Partial) if bytes.len() <= UPSTREAM_HEAD_BYTES_MAX => return Ok(None),
        _ => return Err(Malformed),
    };
    let status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Malformed)?;
    let http11 = parsed.version == Some(1);
    // The fields are found by their place in the bytes, which are then taken out whole: no value is copied.
    let base = bytes.as_ptr() as usize;
    let places: Vec<_> = parsed
        .headers
        .iter()
        .map(|field| {
            (
                HeaderName::from_bytes(field.name.as_bytes()),
                (field.value.as_ptr() as usize).wrapping_sub(base),
                field.value.len(),
            )
        })
        .collect();
    let head = bytes.split_to(length).freeze();
    let mut headers = HeaderMap::with_capacity(places.len() + 2);
    for (name, at, length) in places {
        headers.append(name.map_err(|_| Malformed)?, value(&head, at, length)?);
    }
    let body = framing(status, &mut headers, method, http11)?;
    let keeps = http11 && body != Body::UntilClose && !says_close(&headers);
    let (mut parts, ()) = Response::new(()).into_parts();
    (parts.status, parts.headers) = (status, headers);
    Ok(Some(Head { parts, body, keeps }))
}

fn value(head: &Bytes, at: usize, length: usize) -> Result<HeaderValue, Malformed> {
    if length == 0 {
        return Ok(HeaderValue::from_static(""));
    }
    HeaderValue::from_maybe_shared(head.slice(at..at + length)).map_err(|_| Malformed)
}

fn framing(
    status: StatusCode,
    headers: &mut HeaderMap,
    method: &Method,
    http11: bool,
) -> Result<Body, Malformed> {
    if status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(Malformed);
    }
    let length = length(headers)?;
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    let coding = codings.next();
    if let Some(coding) = coding {
        let chunked =
            coding.as_bytes().eq_ignore_ascii_case(b"chunked") && codings.next().is_none();
        if !chunked || length.is_some() || !http11 {
            return Err(Malformed);
        }
    }
    let bodiless = status.is_informational()
        || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if bodiless || *method == Method::HEAD {
        return Ok(Body::NONE);
    }
    Ok(match (coding, length) {
        (Some(_), _) => Body::Chunked(Chunked::Size),
        (None, Some(length)) => Body::Length(length),
        (None, None) => Body::UntilClose,
    })
}

/// The one length; the same number said twice is one, and is passed on once.
fn length(headers: &mut HeaderMap) -> Result<Option<u64>, Malformed> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return Ok(None) };
    let more = lengths.next().is_some();
    if more && headers.get_all(CONTENT_LENGTH).iter().any(|other| other != first) {
        return Err(Malformed);
    }
    let digits = first.as_bytes();
    if digits.is_empty() || digits.len() > 18 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(Malformed);
    }
    let length = first.to_str().ok().and_then(|digits| digits.parse().ok()).ok_or(Malformed)?;
    if more || digits.len() > 1 && digits[0] == b'0' {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    Ok(Some(length))
}

fn says_close(headers: &HeaderMap) -> bool {
    let says = |value: &HeaderValue| {
        let mut tokens = value.as_bytes().split(|&byte| byte == b',');
        tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(b"close"))
    };
    headers.get_all(CONNECTION).iter().any(says)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(wire: &str) -> Result<Option<Head>, Malformed> {
        head(&mut BytesMut::from(wire), &Method::GET)
    }

    fn body(fields: &str) -> Result<Body, Malformed> {
        read(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n")).map(|head| head.unwrap().body)
    }

    #[test]
    fn a_head_is_taken_out_when_it_is_whole_and_the_rest_is_left() {
        let wire = "HTTP/1.1 200 Fine\r\nContent-Length: 2\r\nX-A: 1\r\nX-A: 2\r\n\r\nok";
        let whole = wire.len() - "ok".len();
        let mut bytes = BytesMut::new();
        for byte in wire[..whole - 1].bytes() {
            bytes.extend_from_slice(&[byte]);
            assert!(head(&mut bytes, &Method::GET).unwrap().is_none());
        }
        bytes.extend_from_slice(&wire.as_bytes()[whole - 1..]);
        let found = head(&mut bytes, &Method::GET).unwrap().unwrap();
        assert_eq!(
            (found.parts.status.as_u16(), found.body, found.keeps),
            (200, Body::Length(2), true)
        );
        assert_eq!(found.parts.headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(bytes, "ok");
    }

    #[test]
    fn framing_follows_from_the_head_and_the_method() {
        assert_eq!(body("content-length: 5\r\n"), Ok(Body::Length(5)));
        assert_eq!(body("content-length: 5\r\ncontent-length: 5\r\n"), Ok(Body::Length(5)));
        assert_eq!(body("transfer-encoding: Chunked\r\n"), Ok(Body::Chunked(Chunked::Size)));
        assert_eq!(body(""), Ok(Body::UntilClose));
        let mut bytes = BytesMut::from("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
        assert_eq!(head(&mut bytes, &Method::HEAD).unwrap().unwrap().body, Body::NONE);
        assert_eq!(
            read("HTTP/1.1 304 x\r\ncontent-length: 5\r\n\r\n").unwrap().unwrap().body,
            Body::NONE
        );
    }

    #[test]
    fn a_connection_is_kept_only_where_both_sides_know_where_the_answer_ends() {
        let keeps = |wire: &str| read(wire).unwrap().unwrap().keeps;
        assert!(keeps("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
        assert!(!keeps("HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: x, Close\r\n\r\n"));
        assert!(!keeps("HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n"));
        assert!(!keeps("HTTP/1.1 200 OK\r\n\r\n"));
    }

    #[test]
    fn heads_that_could_be_read_in_two_ways_are_malformed() {
        for fields in [
            "content-length: 5\r\ncontent-length: 6\r\n",
            "content-length: 5, 6\r\n",
            "content-length: +5\r\n",
            "content-length: \r\n",
            "content-length: 0x5\r\n",
            "content-length: 5\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: gzip, chunked\r\n",
            "transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n",
            "transfer-encoding: identity\r\n",
            "content-length: 99999999999999999999\r\n",
        ] {
            assert!(body(fields).is_err(), "{fields:?}");
        }
        for wire in [
            "HTTP/1.1 101 x\r\nupgrade: y\r\n\r\n",
            "HTTP/2 200 OK\r\n\r\n",
            "\x16\x03\x01",
            "hello\r\n\r\n",
            "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n",
        ] {
            assert!(read(wire).is_err(), "{wire:?}");
        }
    }

    #[test]
    fn a_head_over_its_bounds_is_malformed() {
        let fields: String = (0..=UPSTREAM_HEADERS_MAX).map(|n| format!("x-{n}: 1\r\n")).collect();
        assert!(body(&fields).is_err());
        assert!(
            read(&format!("HTTP/1.1 200 OK\r\nx: {}", "a".repeat(UPSTREAM_HEAD_BYTES_MAX)))
                .is_err()
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(wire in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = head(&mut BytesMut::from(&wire[..]), &Method::GET);
            let mut status = BytesMut::from("HTTP/1.1 200 OK\r\n");
            status.extend_from_slice(&wire);
            let _ = head(&mut status, &Method::GET);
        }
    }
}
