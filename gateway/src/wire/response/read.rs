//! Reads the head of a response: its fields, and how its body is framed.
//!
//! A head that could be read in two ways is no head: two lengths that differ, a length beside a transfer coding, a coding
//! other than `chunked` once, a switch of protocols that nobody asked for. Informational answers are taken off and bounded.
//! What an upstream says of the connection ends here, where it is understood: `Connection` with all that it names, and the
//! fields that are hop-by-hop by definition, never reach the map of fields.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Response, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, TRAILER, TRANSFER_ENCODING},
    response::Parts,
};

use crate::{
    fields::{for_upstreams, hop_by_hop},
    limits::{UPSTREAM_HEAD_BYTES_MAX, UPSTREAM_HEADERS_MAX},
    wire::{
        self,
        body::{Body, Chunked, Malformed},
    },
};

/// A head, how its body is framed, and whether another answer may follow on the connection.
#[derive(Debug)]
pub struct Head {
    /// Status and end-to-end fields, as they came.
    pub parts: Parts,
    /// The body's framing.
    pub body: Body,
    /// Whether the upstream keeps the connection.
    pub keeps: bool,
    /// Fields that end here wherever they stand, because `Connection` names them.
    pub named: Vec<HeaderName>,
    /// Fields that are said to come behind the body.
    pub trailers: Vec<HeaderName>,
}

/// Takes a head out of `bytes`; nothing while it is incomplete. Whether the answer has a body follows from the method, too.
///
/// # Errors
/// It is not HTTP/1, too large, or ambiguous.
pub fn head(bytes: &mut BytesMut, method: &Method) -> Result<Option<Head>, Malformed> {
    // All that came is taken, so that fields can be cut out of it without being copied; what lies behind the head is put back.
    let taken = bytes.split().freeze();
    let mut fields = [const { MaybeUninit::uninit() }; UPSTREAM_HEADERS_MAX];
    let mut parsed = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut parsed, &taken, &mut fields) {
        Ok(httparse::Status::Complete(length)) if length <= UPSTREAM_HEAD_BYTES_MAX => length,
        Ok(httparse::Status::Partial) if taken.len() <= UPSTREAM_HEAD_BYTES_MAX => {
            wire::put_back(bytes, taken);
            return Ok(None);
        }
        _ => return Err(Malformed),
    };
    // The parser takes a bare LF for the end of a line, and looks over empty lines. No server sends either.
    if taken.first() != Some(&b'H') || !wire::lines_end_in_crlf(&taken[..length]) {
        return Err(Malformed);
    }
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.status = parsed.code.and_then(|code| StatusCode::from_u16(code).ok()).ok_or(Malformed)?;
    // Nobody has agreed on what a status beyond these means, least of all whether it is a failure.
    if parts.status.as_u16() > 599 {
        return Err(Malformed);
    }
    parts.headers = HeaderMap::with_capacity(parsed.headers.len());
    let mut said = Said::default();
    for field in &*parsed.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes()).map_err(|_| Malformed)?;
        if !said.takes(&name, field.value)? {
            parts.headers.append(name, value(&taken, field.value)?);
        }
    }
    for name in &said.named {
        parts.headers.remove(name);
    }
    // With a 204 it is forbidden (RFC 9110, 8.6), and clients of HTTP/2 take the stream for broken.
    if let Some(length) = said.length.filter(|_| parts.status != StatusCode::NO_CONTENT) {
        parts.headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    let http11 = parsed.version == Some(1);
    wire::put_back(bytes, taken.slice(length..));
    let body = said.framing(parts.status, method, http11)?;
    let keeps = http11 && body != Body::UntilClose && !said.closes;
    Ok(Some(Head { parts, body, keeps, named: said.named, trailers: said.trailers }))
}

fn value(taken: &Bytes, value: &[u8]) -> Result<HeaderValue, Malformed> {
    if value.is_empty() {
        return Ok(HeaderValue::from_static(""));
    }
    HeaderValue::from_maybe_shared(taken.slice_ref(value)).map_err(|_| Malformed)
}

/// What the fields say of the connection and of the framing.
#[derive(Default)]
struct Said {
    length: Option<u64>,
    chunked: bool,
    closes: bool,
    /// Fields that `Connection` names. Nearly always it names none.
    named: Vec<HeaderName>,
    /// Fields that `Trailer` names.
    trailers: Vec<HeaderName>,
}

impl Said {
    /// Whether a field ends here.
    fn takes(&mut self, name: &HeaderName, value: &[u8]) -> Result<bool, Malformed> {
        match *name {
            CONTENT_LENGTH => self.length(value)?,
            TRANSFER_ENCODING if self.chunked || !value.eq_ignore_ascii_case(b"chunked") => {
                return Err(Malformed);
            }
            TRANSFER_ENCODING => self.chunked = true,
            CONNECTION => self.connection(value),
            TRAILER => {
                let names = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
                self.trailers.extend(names.filter_map(|name| HeaderName::from_bytes(name).ok()));
            }
            // A service that echoes what it was told would tell it to a client, who might take it for the gateway's word.
            _ => return Ok(hop_by_hop(name.as_str()) || for_upstreams(name.as_str())),
        }
        Ok(true)
    }

    /// The one length; the same number said twice is one.
    fn length(&mut self, digits: &[u8]) -> Result<(), Malformed> {
        let length = wire::decimal(digits).ok_or(Malformed)?;
        if self.length.is_some_and(|other| other != length) {
            return Err(Malformed);
        }
        self.length = Some(length);
        Ok(())
    }

    fn connection(&mut self, value: &[u8]) {
        for token in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            if token.eq_ignore_ascii_case(b"close") {
                self.closes = true;
            } else if !token.eq_ignore_ascii_case(b"keep-alive")
                && let Ok(name) = HeaderName::from_bytes(token)
                && !name.as_str().starts_with("content-")
            {
                self.named.push(name);
            }
        }
    }

    fn framing(
        &self,
        status: StatusCode,
        method: &Method,
        http11: bool,
    ) -> Result<Body, Malformed> {
        if status == StatusCode::SWITCHING_PROTOCOLS
            || self.chunked && (self.length.is_some() || !http11)
        {
            return Err(Malformed);
        }
        let bodiless = status.is_informational()
            || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED)
            || *method == Method::HEAD;
        Ok(match self.length {
            _ if bodiless => Body::NONE,
            _ if self.chunked => Body::Chunked(Chunked::Size),
            Some(length) => Body::Length(length),
            None => Body::UntilClose,
        })
    }
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
    fn a_204_has_no_length() {
        let head = |text: &str| read(text).unwrap().unwrap();
        let forbidden = head("HTTP/1.1 204 x\r\ncontent-length: 0\r\n\r\n");
        assert!(!forbidden.parts.headers.contains_key(CONTENT_LENGTH));
        let told = head("HTTP/1.1 304 x\r\ncontent-length: 5\r\n\r\n");
        assert_eq!(told.parts.headers[CONTENT_LENGTH], "5");
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
    fn what_an_upstream_says_of_the_connection_ends_here() {
        let head = read(
            "HTTP/1.1 200 OK\r\nconnection: Keep-Alive, x-int, content-type\r\nx-int: secret\r\nkeep-alive: timeout=5\r\ncontent-type: a/b\r\nx-out: 1\r\ncontent-length: 007\r\n\r\n",
        );
        let headers = head.unwrap().unwrap().parts.headers;
        let mut names: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(names, ["content-length", "content-type", "x-out"]);
        assert_eq!(headers["content-length"], "7");
    }

    #[test]
    fn an_upstream_can_not_tell_clients_what_the_gateway_tells_upstreams() {
        let head = read(
            "HTTP/1.1 204 x\r\nkillswitches: a\r\nFeature-Flags: a\r\nx-auth-subject: a\r\nspool-queued: 1\r\nserver: app\r\n\r\n",
        );
        let headers = head.unwrap().unwrap().parts.headers;
        assert_eq!(headers.keys().collect::<Vec<_>>(), ["server"]);
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
            "HTTP/1.1 600 x\r\n\r\n",
            "HTTP/1.1 200 OK\n\n",
            "HTTP/1.1 200 OK\r\n\n",
            "HTTP/1.1 200 OK\n\r\n",
            "HTTP/1.1 200 OK\r\nx: 1\ny: 2\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: 1\r\n\n",
            "\r\nHTTP/1.1 200 OK\r\n\r\n",
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
