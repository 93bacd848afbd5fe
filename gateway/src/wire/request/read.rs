//! Reads the head of a request, and how its body is framed.
//!
//! Here a head is refused that two readers could read in two ways: lines that end in a bare LF, two lengths, a length beside
//! a transfer coding, a coding other than `chunked` once. What a head *means* (its host, its path, its fields) is judged by
//! `sanitise`, for both protocols.

use std::mem::MaybeUninit;

use bytes::{Bytes, BytesMut};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri, Version,
    header::{CONNECTION, CONTENT_LENGTH, EXPECT, TRANSFER_ENCODING},
    request::Parts,
};

use crate::{
    limits::{H1_HEADERS_MAX, HEADERS_ADDED, PATH_BYTES_MAX},
    wire::{
        self,
        body::{Body, Chunked},
    },
};

/// How large a head may be.
#[derive(Debug, Clone, Copy)]
pub struct HeadBounds {
    /// Bytes, all in all.
    pub bytes_max: usize,
    /// Fields; more than [`H1_HEADERS_MAX`] are never taken.
    pub headers_max: usize,
}

/// A head, how its body is framed, and what its sender expects of the connection.
#[derive(Debug)]
pub struct Head {
    /// Method, target and fields, as they came.
    pub parts: Parts,
    /// The body's framing.
    pub body: Body,
    /// Whether the client wants to send another request after this one.
    pub keeps: bool,
    /// Whether the client sends its body only when it is told to go ahead.
    pub expects_continue: bool,
}

/// Why a head is none. It is always the client's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// What it is answered with.
    pub status: StatusCode,
    /// What was wrong.
    pub what: &'static str,
}

impl Fault {
    const fn bad(what: &'static str) -> Self {
        Self { status: StatusCode::BAD_REQUEST, what }
    }

    /// The head began, and did not end in time.
    pub const SLOW: Self = Self {
        status: StatusCode::REQUEST_TIMEOUT,
        what: "the head of the request did not end in time",
    };
}

/// Takes a head out of `bytes`; nothing while it is incomplete.
///
/// # Errors
/// It is no HTTP/1 request, too large, or ambiguous. Then nothing that follows it can be trusted either.
pub fn head(bytes: &mut BytesMut, bounds: HeadBounds) -> Result<Option<Head>, Fault> {
    // Room for the fields lies on the stack, and more of it than is usual is not asked for.
    if bounds.headers_max <= USUAL_HEADERS_MAX {
        head_of::<USUAL_HEADERS_MAX>(bytes, bounds)
    } else {
        head_of::<H1_HEADERS_MAX>(bytes, bounds)
    }
}

const USUAL_HEADERS_MAX: usize = 128;

fn head_of<const N: usize>(
    bytes: &mut BytesMut,
    bounds: HeadBounds,
) -> Result<Option<Head>, Fault> {
    // All that came is taken, so that fields can be cut out of it without being copied; what lies behind the head is put back.
    let taken = bytes.split().freeze();
    let mut fields = [const { MaybeUninit::uninit() }; N];
    let fields = &mut fields[..bounds.headers_max.min(N)];
    let mut parsed = httparse::Request::new(&mut []);
    let length = match parsed.parse_with_uninit_headers(&taken, fields) {
        Ok(httparse::Status::Complete(length)) if length <= bounds.bytes_max => length,
        Ok(httparse::Status::Partial) if taken.len() <= bounds.bytes_max => {
            wire::put_back(bytes, taken);
            return Ok(None);
        }
        Ok(_) => return Err(too_large(&taken)),
        Err(error) => return Err(malformed(error, &taken)),
    };
    if !wire::lines_end_in_crlf(&taken[..length]) {
        return Err(Fault::bad("a line ends in LF alone"));
    }
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.version = if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 };
    parts.method = Method::from_bytes(parsed.method.unwrap_or_default().as_bytes())
        .map_err(|_| Fault::bad("the method can't be read"))?;
    parts.uri = target(&taken, parsed.path.unwrap_or_default())?;
    parts.headers = HeaderMap::with_capacity(parsed.headers.len() + HEADERS_ADDED);
    let mut said = Said::default();
    for field in &*parsed.headers {
        let name = HeaderName::from_bytes(field.name.as_bytes())
            .map_err(|_| Fault::bad("a field name can't be read"))?;
        said.hear(&name, field.value)?;
        parts.headers.append(name, value(&taken, field.value)?);
    }
    wire::put_back(bytes, taken.slice(length..));
    let http11 = parts.version == Version::HTTP_11;
    let body = said.framing(http11)?;
    let keeps = !said.closes && (http11 || said.keeps_alive);
    let expects_continue = http11 && said.expects && !body.is_over();
    Ok(Some(Head { parts, body, keeps, expects_continue }))
}

fn too_large(taken: &[u8]) -> Fault {
    if taken.contains(&b'\n') {
        let status = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        Fault { status, what: "the head of the request is too large" }
    } else {
        Fault { status: StatusCode::URI_TOO_LONG, what: "the request line is too long" }
    }
}

fn malformed(error: httparse::Error, taken: &[u8]) -> Fault {
    match error {
        httparse::Error::TooManyHeaders => Fault {
            status: StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            what: "the request has too many fields",
        },
        httparse::Error::Version if names_another_version(taken) => Fault {
            status: StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            what: "the version is neither HTTP/1.1 nor HTTP/1.0",
        },
        httparse::Error::HeaderName => Fault::bad("a field name can't be read"),
        httparse::Error::HeaderValue => Fault::bad("a field value can't be read"),
        _ => Fault::bad("the request line can't be read"),
    }
}

/// Whether the request line ends as one does, but for the number.
fn names_another_version(taken: &[u8]) -> bool {
    let line = taken.split(|&byte| byte == b'\r' || byte == b'\n').find(|line| !line.is_empty());
    let version = line.and_then(|line| line.rsplit(|&byte| byte == b' ').next());
    let number = version.and_then(|version| version.strip_prefix(b"HTTP/"));
    let other = number.filter(|number| !matches!(*number, b"1.0" | b"1.1"));
    other.is_some_and(|number| matches!(number, [major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit()))
}

fn target(taken: &Bytes, target: &str) -> Result<Uri, Fault> {
    if target.len() > PATH_BYTES_MAX && !target.contains('?') {
        return Err(Fault { status: StatusCode::URI_TOO_LONG, what: "the path is too long" });
    }
    // `Uri` would cut it off without a word.
    if memchr::memchr(b'#', target.as_bytes()).is_some() {
        return Err(Fault::bad("the request target has a fragment"));
    }
    Uri::from_maybe_shared(taken.slice_ref(target.as_bytes()))
        .map_err(|_| Fault::bad("the request target can't be read"))
}

fn value(taken: &Bytes, value: &[u8]) -> Result<HeaderValue, Fault> {
    if value.is_empty() {
        return Ok(HeaderValue::from_static(""));
    }
    HeaderValue::from_maybe_shared(taken.slice_ref(value))
        .map_err(|_| Fault::bad("a field value can't be read"))
}

/// What the fields say of the connection and of the framing. They are looked at as they are read: asking the map for each of
/// them afterwards would cost more than all of the parsing.
#[derive(Default)]
struct Said {
    length: Option<u64>,
    chunked: bool,
    closes: bool,
    keeps_alive: bool,
    expects: bool,
}

impl Said {
    fn hear(&mut self, name: &HeaderName, value: &[u8]) -> Result<(), Fault> {
        match *name {
            CONTENT_LENGTH => self.length(value)?,
            TRANSFER_ENCODING if self.chunked || !value.eq_ignore_ascii_case(b"chunked") => {
                let what = "a transfer coding other than chunked, once";
                return Err(Fault { status: StatusCode::NOT_IMPLEMENTED, what });
            }
            TRANSFER_ENCODING => self.chunked = true,
            CONNECTION => self.connection(value),
            EXPECT => self.expects = true,
            _ => {}
        }
        Ok(())
    }

    /// The one length. Not even the same number said twice is taken: there is no honest client that does it.
    fn length(&mut self, digits: &[u8]) -> Result<(), Fault> {
        if self.length.is_some() {
            return Err(Fault::bad("more than one Content-Length"));
        }
        self.length = wire::decimal(digits);
        self.length.map(|_| ()).ok_or(Fault::bad("the Content-Length is no number"))
    }

    fn connection(&mut self, value: &[u8]) {
        for token in value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii) {
            self.closes |= token.eq_ignore_ascii_case(b"close");
            self.keeps_alive |= token.eq_ignore_ascii_case(b"keep-alive");
        }
    }

    fn framing(&self, http11: bool) -> Result<Body, Fault> {
        match (self.chunked, self.length) {
            (false, length) => Ok(Body::Length(length.unwrap_or(0))),
            (true, _) if !http11 => Err(Fault::bad("HTTP/1.0 has no transfer codings")),
            (true, Some(_)) => Err(Fault::bad("both a Content-Length and a Transfer-Encoding")),
            (true, None) => Ok(Body::Chunked(Chunked::Size)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: HeadBounds = HeadBounds { bytes_max: 4096, headers_max: 20 };

    fn read(wire: &str) -> Result<Option<Head>, Fault> {
        head(&mut BytesMut::from(wire), BOUNDS)
    }

    fn status(wire: &str) -> u16 {
        match read(wire) {
            Err(fault) => fault.status.as_u16(),
            Ok(head) => panic!("{wire:?} gave {head:?}"),
        }
    }

    fn whole(wire: &str) -> Head {
        read(wire).unwrap().expect("it is whole")
    }

    #[test]
    fn a_head_is_taken_out_when_it_is_whole_and_the_rest_is_left() {
        let wire = "POST /a?b=c HTTP/1.1\r\nHost: h\r\nX-A:  1 \r\nX-A: 2\r\nContent-Length: 4\r\n\r\nbody";
        let whole = wire.len() - "body".len();
        let mut bytes = BytesMut::new();
        for byte in wire[..whole - 1].bytes() {
            bytes.extend_from_slice(&[byte]);
            assert!(head(&mut bytes, BOUNDS).unwrap().is_none());
        }
        bytes.extend_from_slice(&wire.as_bytes()[whole - 1..]);
        let found = head(&mut bytes, BOUNDS).unwrap().unwrap();
        assert_eq!(
            (found.parts.method, found.parts.uri.to_string()),
            (Method::POST, "/a?b=c".to_owned())
        );
        assert_eq!(found.parts.headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!((found.body, found.keeps), (Body::Length(4), true));
        assert_eq!(bytes, "body");
    }

    #[test]
    fn framing_is_said_once_and_in_one_way() {
        let body = |fields: &str| {
            read(&format!("PUT / HTTP/1.1\r\n{fields}\r\n")).map(|head| head.unwrap().body)
        };
        assert_eq!(body(""), Ok(Body::NONE));
        assert_eq!(body("content-length: 007\r\n"), Ok(Body::Length(7)));
        assert_eq!(body("transfer-encoding: Chunked\r\n"), Ok(Body::Chunked(Chunked::Size)));
        for (fields, status) in [
            ("content-length: 5\r\ncontent-length: 5\r\n", 400),
            ("content-length: 5, 5\r\n", 400),
            ("content-length: +5\r\n", 400),
            ("content-length: \r\n", 400),
            ("content-length: 0x5\r\n", 400),
            ("content-length: 1844674407370955161a\r\n", 400),
            ("content-length: 9999999999999999999\r\n", 400),
            ("content-length: 5\r\ntransfer-encoding: chunked\r\n", 400),
            ("transfer-encoding: gzip, chunked\r\n", 501),
            ("transfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n", 501),
            ("transfer-encoding: ,chunked\r\n", 501),
            ("transfer-encoding: identity\r\n", 501),
        ] {
            assert_eq!(body(fields).unwrap_err().status, status, "{fields:?}");
        }
        assert_eq!(status("PUT / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n"), 400);
    }

    #[test]
    fn what_other_readers_read_otherwise_is_refused() {
        for wire in [
            "GET / HTTP/1.1\nHost: h\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\n\r\n",
            "GET / HTTP/1.1\r\nHost: h\r\n\n",
            "\nGET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nX: a\rb\r\n\r\n",
            "GET / HTTP/1.1\r\nX: a\0b\r\n\r\n",
            "GET / HTTP/1.1\r\nX: a\r\n b\r\n\r\n",
            "GET / HTTP/1.1\r\n X: a\r\n\r\n",
            "GET / HTTP/1.1\r\nX : a\r\n\r\n",
            "GET / HTTP/1.1\r\n: a\r\n\r\n",
            "GET / HTTP/1.1\r\nX\r\n\r\n",
            "GET /#x HTTP/1.1\r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET /  HTTP/1.1\r\n\r\n",
            "GET / x HTTP/1.1\r\n\r\n",
            "GET /\r\n\r\n",
            "GET / http/1.1\r\n\r\n",
            "G@T / HTTP/1.1\r\n\r\n",
            "\x16\x03\x01\x02",
        ] {
            assert_eq!(status(wire), 400, "{wire:?}");
        }
        assert_eq!(status("GET / HTTP/2.0\r\n\r\n"), 505);
        assert_eq!(status("GET / HTTP/1.2\r\n\r\n"), 505);
    }

    #[test]
    fn a_head_over_its_bounds_is_refused_whether_it_ends_or_not() {
        let long = "a".repeat(BOUNDS.bytes_max);
        assert_eq!(status(&format!("GET /{long}")), 414);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nx: {long}")), 431);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\nx: {long}\r\n\r\n")), 431);
        let fields: String = (0..=BOUNDS.headers_max).map(|n| format!("x-{n}: 1\r\n")).collect();
        assert_eq!(status(&format!("GET / HTTP/1.1\r\n{fields}\r\n")), 431);
    }

    #[test]
    fn the_connection_stays_as_its_version_and_the_client_say() {
        let keeps =
            |version: &str, fields: &str| whole(&format!("GET / {version}\r\n{fields}\r\n")).keeps;
        assert!(keeps("HTTP/1.1", ""));
        assert!(!keeps("HTTP/1.1", "connection: x, Close\r\n"));
        assert!(!keeps("HTTP/1.0", ""));
        assert!(keeps("HTTP/1.0", "connection: Keep-Alive\r\n"));
        assert!(!keeps("HTTP/1.0", "connection: keep-alive, close\r\n"));
    }

    #[test]
    fn only_a_body_that_is_still_to_come_waits_for_the_go_ahead() {
        let expects = |fields: &str| {
            whole(&format!("PUT / HTTP/1.1\r\nexpect: 100-continue\r\n{fields}\r\n"))
                .expects_continue
        };
        assert!(expects("content-length: 1\r\n") && expects("transfer-encoding: chunked\r\n"));
        assert!(!expects("") && !expects("content-length: 0\r\n"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(wire in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = head(&mut BytesMut::from(&wire[..]), BOUNDS);
            let mut line = BytesMut::from("GET / HTTP/1.1\r\n");
            line.extend_from_slice(&wire);
            let _ = head(&mut line, BOUNDS);
        }

        #[test]
        fn an_incomplete_head_stays_as_it_is(at in 1..50_usize) {
            let wire = b"GET /some/path HTTP/1.1\r\nHost: example.org\r\nX: y\r\n\r\n";
            let mut bytes = BytesMut::from(&wire[..at]);
            prop_assert!(head(&mut bytes, BOUNDS).unwrap().is_none());
            prop_assert_eq!(&bytes[..], &wire[..at]);
        }
    }
}
