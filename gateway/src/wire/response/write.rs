//! Writes the head of a response: its status line, its fields, and the framing of its body in its only spelling.

use std::{
    cell::RefCell,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::{BufMut, BytesMut};
use http::{
    HeaderMap, StatusCode,
    header::{CONNECTION, CONTENT_LENGTH, DATE, TRANSFER_ENCODING},
};

/// How a response's body is framed, and so where the client finds its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// There is none; what its length would be stands in the head, or nothing does.
    None,
    /// So many bytes.
    Length(u64),
    /// In chunks.
    Chunked,
    /// It ends with the connection, for a client that knows no chunks.
    UntilClose,
}

/// What the client is told of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Persistence {
    /// It stays, as its version has it.
    Implied,
    /// It stays, which an HTTP/1.0 client has to be told.
    Kept,
    /// It ends after this answer.
    Closes,
}

/// Appends the head of a response.
pub fn head(
    out: &mut BytesMut,
    status: StatusCode,
    headers: &HeaderMap,
    framing: Framing,
    persistence: Persistence,
) {
    let fields: usize =
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    // The status line, a date, a length and what is said of the connection.
    out.reserve(fields + 192);
    status_line(out, status);
    let mut dated = false;
    for (name, value) in headers {
        dated |= *name == DATE;
        let says_length = *name == CONTENT_LENGTH
            && (framing != Framing::None || status == StatusCode::NO_CONTENT);
        if says_length || *name == TRANSFER_ENCODING || *name == CONNECTION {
            continue;
        }
        out.put_slice(name.as_str().as_bytes());
        out.put_slice(b": ");
        out.put_slice(value.as_bytes());
        out.put_slice(b"\r\n");
    }
    if !dated {
        date(out);
    }
    match framing {
        Framing::Length(length) => {
            out.put_slice(b"content-length: ");
            decimal(out, length);
            out.put_slice(b"\r\n");
        }
        Framing::Chunked => out.put_slice(b"transfer-encoding: chunked\r\n"),
        Framing::None | Framing::UntilClose => {}
    }
    out.put_slice(match persistence {
        Persistence::Implied => b"\r\n",
        Persistence::Kept => b"connection: keep-alive\r\n\r\n",
        Persistence::Closes => b"connection: close\r\n\r\n",
    });
}

/// The reason phrase is ours: an upstream's may be anything.
fn status_line(out: &mut BytesMut, status: StatusCode) {
    if status == StatusCode::OK {
        return out.put_slice(b"HTTP/1.1 200 OK\r\n");
    }
    out.put_slice(b"HTTP/1.1 ");
    out.put_slice(status.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.put_slice(b"\r\n");
}

/// The go-ahead for a client that waits with its body.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Behind the last chunk.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Appends what stands in front of a chunk's data.
pub fn chunk_size(out: &mut BytesMut, length: usize) {
    let mut digits = [0; 16];
    let mut at = digits.len();
    let mut left = length;
    loop {
        at -= 1;
        digits[at] = b"0123456789abcdef"[left & 15];
        left >>= 4;
        if left == 0 {
            break;
        }
    }
    out.put_slice(&digits[at..]);
    out.put_slice(b"\r\n");
}

fn decimal(out: &mut BytesMut, number: u64) {
    let mut digits = [0; 20];
    let mut at = digits.len();
    let mut left = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.put_slice(&digits[at..]);
}

/// A recipient with a clock has to date what isn't dated (RFC 9110, 6.6.1). The text is made once per second and thread.
fn date(out: &mut BytesMut) {
    thread_local! {
        static LAST: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
    }
    let now = SystemTime::now();
    let second = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    LAST.with_borrow_mut(|(last, text)| {
        if *last != second || text.is_empty() {
            *last = second;
            *text = format!("date: {}\r\n", httpdate::fmt_http_date(now));
        }
        out.put_slice(text.as_bytes());
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(
        status: u16,
        fields: &[(&'static str, &str)],
        framing: Framing,
        persistence: Persistence,
    ) -> String {
        let mut headers = HeaderMap::new();
        headers.insert("date", "now".parse().unwrap());
        for (name, value) in fields {
            headers.append(*name, value.parse().unwrap());
        }
        let mut out = BytesMut::new();
        head(&mut out, status.try_into().unwrap(), &headers, framing, persistence);
        String::from_utf8(out.to_vec()).unwrap()
    }

    #[test]
    fn the_framing_is_ours_whatever_the_fields_say() {
        let lies = [("content-length", "7"), ("transfer-encoding", "gzip"), ("connection", "x")];
        assert_eq!(
            written(200, &lies, Framing::Length(12), Persistence::Implied),
            "HTTP/1.1 200 OK\r\ndate: now\r\ncontent-length: 12\r\n\r\n"
        );
        assert_eq!(
            written(404, &lies, Framing::Chunked, Persistence::Closes),
            "HTTP/1.1 404 Not Found\r\ndate: now\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
        );
        assert_eq!(
            written(299, &[], Framing::UntilClose, Persistence::Kept),
            "HTTP/1.1 299 \r\ndate: now\r\nconnection: keep-alive\r\n\r\n"
        );
    }

    #[test]
    fn an_answer_without_a_body_may_say_what_its_length_would_be() {
        let text = written(304, &[("content-length", "7")], Framing::None, Persistence::Implied);
        assert_eq!(text, "HTTP/1.1 304 Not Modified\r\ndate: now\r\ncontent-length: 7\r\n\r\n");
    }

    #[test]
    fn an_answer_without_a_date_gets_one() {
        let mut out = BytesMut::new();
        head(&mut out, StatusCode::OK, &HeaderMap::new(), Framing::Length(0), Persistence::Implied);
        let text = String::from_utf8(out.to_vec()).unwrap();
        let date = text.lines().find_map(|line| line.strip_prefix("date: ")).unwrap();
        assert!(httpdate::parse_http_date(date).is_ok(), "{text}");
    }

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for number in [0, 1, 9, 10, 255, 4096, usize::MAX] {
            let (mut hex, mut dec) = (BytesMut::new(), BytesMut::new());
            chunk_size(&mut hex, number);
            decimal(&mut dec, number as u64);
            assert_eq!(hex, format!("{number:x}\r\n"));
            assert_eq!(dec, number.to_string());
        }
    }
}
