//! Heads of both directions: whole or in pieces they are read alike, and nothing in them could end a line.

use bytes::BytesMut;
use http::{HeaderMap, Method};
use portcullis_gateway::wire::{body::Malformed, request, response};

use super::{Target, must};

/// What a client sends.
pub(crate) struct Requests;

/// What an upstream answers.
pub(crate) struct Responses;

const BOUNDS: request::read::HeadBounds =
    request::read::HeadBounds { bytes_max: 1024, headers_max: 16 };

const WORDS: &[&[u8]] = &[
    b"\r\n",
    b"\n",
    b"\r",
    b": ",
    b" ",
    b"\t",
    b"HTTP/1.1",
    b"HTTP/1.0",
    b"HTTP/2",
    b"GET ",
    b"POST ",
    b"Host: a\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: ",
    b"Transfer-Encoding: chunked\r\n",
    b"Transfer-Encoding: ",
    b"chunked",
    b"Connection: close\r\n",
    b"Connection: ",
    b"keep-alive",
    b"Expect: 100-continue\r\n",
    b"200 OK",
    b"304 ",
    b"204 ",
    b"101 ",
    b"http://a/",
    b"\0",
    b"\r\n\r\n",
    b", ",
    b"x: y\r\n",
];

impl Target for Requests {
    fn name(&self) -> &'static str {
        "request-heads"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "POST /x?y HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n",
            "GET http://a:80/ HTTP/1.0\r\nConnection: keep-alive, x\r\n\r\nGET / HTTP/1.1\r\n",
            "GET / HTTP/1.1\nHost: a\n\n",
            "OPTIONS * HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nx : y\r\n z\r\n\r\n",
            "CONNECT a:443 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
    }

    fn words(&self) -> &'static [&'static [u8]] {
        WORDS
    }

    // Reading it byte by byte takes the square of this.
    fn bytes_max(&self) -> usize {
        400
    }

    fn attempt(&mut self, input: &[u8]) -> Result<String, String> {
        let read = |bytes: &mut BytesMut| {
            let head = request::read::head(bytes, BOUNDS)?;
            Ok(head.map(|head| {
                let seen = format!("{:?} {} {}", head.body, head.keeps, head.expects_continue);
                let parts = head.parts;
                let line = format!("{} {} {:?}", parts.method, parts.uri, parts.version);
                (parts.headers, line, seen)
            }))
        };
        alike(input, read, |fault: &request::read::Fault| {
            format!("{} {}", fault.status, fault.what)
        })
    }
}

impl Target for Responses {
    fn name(&self) -> &'static str {
        "response-heads"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
            "HTTP/1.0 200 OK\r\nConnection: close\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 304 x\r\n\r\n",
            "HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n",
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
    }

    fn words(&self) -> &'static [&'static [u8]] {
        WORDS
    }

    // Reading it byte by byte takes the square of this.
    fn bytes_max(&self) -> usize {
        400
    }

    fn attempt(&mut self, input: &[u8]) -> Result<String, String> {
        let method = if input.len().is_multiple_of(7) { Method::HEAD } else { Method::GET };
        let read = |bytes: &mut BytesMut| {
            let head = response::read::head(bytes, &method)?;
            Ok(head.map(|head| {
                let seen = format!("{:?} {}", head.body, head.keeps);
                (head.parts.headers, head.parts.status.to_string(), seen)
            }))
        };
        alike(input, read, |_: &Malformed| "malformed".to_owned())
    }
}

/// The fields, the first line, and what follows from both.
type Seen = (HeaderMap, String, String);

/// Reads the input at once, and as it grows by a byte at a time.
fn alike<E>(
    input: &[u8],
    read: impl Fn(&mut BytesMut) -> Result<Option<Seen>, E>,
    word: impl Fn(&E) -> String,
) -> Result<String, String> {
    let mut whole = BytesMut::from(input);
    let at_once = read(&mut whole);
    let mut bytes = BytesMut::new();
    let mut grown = Ok(None);
    let mut taken = 0;
    for byte in input {
        bytes.extend_from_slice(&[*byte]);
        taken += 1;
        grown = read(&mut bytes);
        if !matches!(grown, Ok(None)) {
            break;
        }
    }
    match (at_once, grown) {
        (Ok(None), Ok(None)) => {
            must(whole == input, || "an incomplete head lost bytes".to_owned())?;
            Ok("incomplete".to_owned())
        }
        (Ok(Some((headers, line, seen))), Ok(Some(other))) => {
            must((&headers, &line, &seen) == (&other.0, &other.1, &other.2), || {
                format!("read as {line} {seen} at once, and as {} {} in pieces", other.1, other.2)
            })?;
            let rest = [&bytes[..], &input[taken..]].concat();
            must(whole == rest, || "what follows the head differs".to_owned())?;
            let ends = |bytes: &[u8]| bytes.iter().any(|byte| b"\r\n\0".contains(byte));
            must(!headers.values().any(|value| ends(value.as_bytes())), || {
                "a value could end its line".to_owned()
            })?;
            Ok(seen)
        }
        // Bounds and broken lines may be noticed earlier or later, but never not at all.
        (Err(fault), Err(_)) => Ok(word(&fault)),
        (at_once, grown) => {
            Err(format!("at once it is {}, in pieces {}", kind(&at_once), kind(&grown)))
        }
    }
}

fn kind<T, E>(read: &Result<Option<T>, E>) -> &'static str {
    match read {
        Ok(Some(_)) => "a head",
        Ok(None) => "incomplete",
        Err(_) => "at fault",
    }
}
