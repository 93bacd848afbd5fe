//! Writes a request: its head, and the framing of its body.

use bytes::{BufMut, Bytes, BytesMut};
use http::{HeaderMap, Method, Uri, header::TRANSFER_ENCODING};

/// How a request's body is framed. The head says the same; it was made canonical by `sanitise`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// As many bytes as `Content-Length` says.
    Length,
    /// In chunks.
    Chunked,
}

impl Framing {
    /// The framing that a head announces.
    pub fn of(headers: &HeaderMap) -> Self {
        if headers.contains_key(TRANSFER_ENCODING) { Self::Chunked } else { Self::Length }
    }
}

/// Appends a request's head.
pub fn head(out: &mut BytesMut, method: &Method, target: &Uri, headers: &HeaderMap) {
    let fields: usize =
        headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 4).sum();
    let path = target.path_and_query().map_or("/", |target| target.as_str());
    out.reserve(method.as_str().len() + path.len() + 14 + fields);
    out.put_slice(method.as_str().as_bytes());
    out.put_u8(b' ');
    out.put_slice(path.as_bytes());
    out.put_slice(b" HTTP/1.1\r\n");
    for (name, value) in headers {
        out.put_slice(name.as_str().as_bytes());
        out.put_slice(b": ");
        out.put_slice(value.as_bytes());
        out.put_slice(b"\r\n");
    }
    out.put_slice(b"\r\n");
}

/// A piece of a body, as it stands on the wire: something before it, the piece itself, something behind it.
pub fn piece(framing: Framing, data: &Bytes, before: &mut BytesMut) -> &'static [u8] {
    match framing {
        Framing::Length => b"",
        Framing::Chunked => {
            before.put_slice(format!("{:x}\r\n", data.len()).as_bytes());
            b"\r\n"
        }
    }
}

/// What stands behind the last piece.
pub const fn end(framing: Framing) -> &'static [u8] {
    match framing {
        Framing::Length => b"",
        Framing::Chunked => b"0\r\n\r\n",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_written_as_it_stands() {
        let mut headers = HeaderMap::new();
        headers.insert("host", "a.example".parse().unwrap());
        headers.insert("x-two", "2".parse().unwrap());
        let mut out = BytesMut::new();
        head(&mut out, &Method::GET, &Uri::from_static("/p?q=1"), &headers);
        assert_eq!(out, "GET /p?q=1 HTTP/1.1\r\nhost: a.example\r\nx-two: 2\r\n\r\n");
    }

    #[test]
    fn a_chunk_says_its_length_in_hex() {
        let mut before = BytesMut::new();
        let behind = piece(Framing::Chunked, &Bytes::from(vec![0; 26]), &mut before);
        assert_eq!((&before[..], behind), (&b"1a\r\n"[..], &b"\r\n"[..]));
    }
}
