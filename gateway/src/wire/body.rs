//! Reads the body of a message out of the bytes that came.
//!
//! Strict where leniency would let two readers disagree: a chunk's size is hex digits and nothing else but an extension,
//! lines end in CRLF, and what follows the end belongs to nobody.

use bytes::{Buf, Bytes, BytesMut};
use http::HeaderMap;

use super::trailers;

/// The longest line within a chunked body: a size with its extension, or a trailer field.
const LINE_BYTES_MAX: usize = 4 * 1024;

/// What is left of a body, and how it is framed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body {
    /// So many bytes more; 0 is the end.
    Length(u64),
    /// In chunks.
    Chunked(Chunked),
    /// All that comes until the connection ends.
    UntilClose,
}

/// Where in a chunked body the reader is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Chunked {
    /// Before a size.
    Size,
    /// Within a chunk's data.
    Data(u64),
    /// Behind a chunk's data, before its CRLF.
    DataEnd,
    /// Within the trailers, of which so many bytes were looked at.
    Trailers(usize),
    /// Over.
    End,
}

/// What a look at the bytes found.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A piece of the body.
    Piece(Bytes),
    /// The fields behind it, with which it ends.
    Trailers(Box<HeaderMap>),
    /// Nothing yet.
    More,
    /// The end.
    End,
}

/// The body's framing is broken.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

impl Body {
    /// Nothing.
    pub const NONE: Self = Self::Length(0);

    /// Whether it is over. One that ends with its connection never is before that.
    pub const fn is_over(&self) -> bool {
        matches!(self, Self::Length(0) | Self::Chunked(Chunked::End))
    }

    /// How many bytes are left, where that is known.
    pub const fn length(&self) -> Option<u64> {
        match self {
            Self::Length(left) => Some(*left),
            Self::Chunked(_) | Self::UntilClose => None,
        }
    }

    /// Takes the next piece out of `bytes`.
    ///
    /// # Errors
    /// The framing can't be read in one way.
    pub fn read(&mut self, bytes: &mut BytesMut) -> Result<Found, Malformed> {
        match self {
            Self::Length(0) => Ok(Found::End),
            Self::Length(left) => Ok(piece(bytes, left)),
            Self::UntilClose if bytes.is_empty() => Ok(Found::More),
            Self::UntilClose => Ok(Found::Piece(bytes.split().freeze())),
            Self::Chunked(state) => state.read(bytes),
        }
    }
}

fn piece(bytes: &mut BytesMut, left: &mut u64) -> Found {
    if bytes.is_empty() {
        return Found::More;
    }
    let length = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
    *left -= length as u64;
    Found::Piece(bytes.split_to(length).freeze())
}

impl Chunked {
    fn read(&mut self, bytes: &mut BytesMut) -> Result<Found, Malformed> {
        loop {
            *self = match self {
                Self::End => return Ok(Found::End),
                Self::Size => match line(bytes)? {
                    None => return Ok(Found::More),
                    Some(line) => match size(&line)? {
                        0 => Self::Trailers(0),
                        size => Self::Data(size),
                    },
                },
                Self::Data(left) => {
                    let found = piece(bytes, left);
                    if *left == 0 {
                        *self = Self::DataEnd;
                    }
                    return Ok(found);
                }
                Self::DataEnd => match bytes.get(..2) {
                    None if bytes.first().is_some_and(|&byte| byte != b'\r') => {
                        return Err(Malformed);
                    }
                    None => return Ok(Found::More),
                    Some(b"\r\n") => {
                        bytes.advance(2);
                        Self::Size
                    }
                    Some(_) => return Err(Malformed),
                },
                Self::Trailers(seen) => match trailers::read(bytes, seen)? {
                    None => return Ok(Found::More),
                    Some(fields) => {
                        *self = Self::End;
                        let empty = fields.is_empty();
                        return Ok(if empty { Found::End } else { Found::Trailers(fields.into()) });
                    }
                },
            };
        }
    }
}

/// Takes a line without its CRLF.
fn line(bytes: &mut BytesMut) -> Result<Option<Bytes>, Malformed> {
    let Some(length) = line_length(bytes)? else { return Ok(None) };
    let mut line = bytes.split_to(length + 2).freeze();
    line.truncate(length);
    Ok(Some(line))
}

/// How long the line at the start of `bytes` is without its CRLF, once it is whole. It has no control bytes, a second CR
/// least of all.
pub(super) fn line_length(bytes: &[u8]) -> Result<Option<usize>, Malformed> {
    let Some(end) = bytes.iter().position(|&byte| byte == b'\n') else {
        return if bytes.len() > LINE_BYTES_MAX { Err(Malformed) } else { Ok(None) };
    };
    let is_control = |byte: &u8| *byte < b' ' && *byte != b'\t' || *byte == 0x7f;
    if end == 0
        || bytes[end - 1] != b'\r'
        || end > LINE_BYTES_MAX
        || bytes[..end - 1].iter().any(is_control)
    {
        return Err(Malformed);
    }
    Ok(Some(end - 1))
}

/// `chunk-size [ chunk-ext ]`
fn size(line: &[u8]) -> Result<u64, Malformed> {
    let digits = line.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
    let extension = line[digits..].trim_ascii_start();
    if !(1..=16).contains(&digits) || !(extension.is_empty() || extension[0] == b';') {
        return Err(Malformed);
    }
    let text = std::str::from_utf8(&line[..digits]).map_err(|_| Malformed)?;
    u64::from_str_radix(text, 16).map_err(|_| Malformed)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Everything that comes out, when the bytes arrive in pieces of this size; and whether the end was reached.
    fn read_all(
        mut body: Body,
        wire: &[u8],
        step: usize,
    ) -> Result<(Vec<u8>, bool, usize), Malformed> {
        let (mut bytes, mut out) = (BytesMut::new(), Vec::new());
        for part in wire.chunks(step.max(1)) {
            bytes.extend_from_slice(part);
            while let Found::Piece(piece) = body.read(&mut bytes)? {
                out.extend_from_slice(&piece);
            }
        }
        Ok((out, body.is_over(), bytes.len()))
    }

    fn chunked(wire: &str) -> Result<(String, bool, usize), Malformed> {
        let whole = read_all(Body::Chunked(Chunked::Size), wire.as_bytes(), wire.len())?;
        assert_eq!(
            read_all(Body::Chunked(Chunked::Size), wire.as_bytes(), 1)?,
            whole,
            "byte by byte"
        );
        Ok((String::from_utf8(whole.0).unwrap(), whole.1, whole.2))
    }

    #[test]
    fn a_length_ends_where_it_says_and_leaves_the_rest() {
        assert_eq!(read_all(Body::Length(3), b"abcdef", 6), Ok((b"abc".to_vec(), true, 3)));
        assert_eq!(read_all(Body::Length(9), b"abc", 2), Ok((b"abc".to_vec(), false, 0)));
    }

    #[test]
    fn chunks_are_joined_and_extensions_end_here() {
        assert_eq!(chunked("3\r\nabc\r\n0\r\n\r\n"), Ok(("abc".to_owned(), true, 0)));
        assert_eq!(
            chunked("3;x=1\r\nabc\r\nA\r\n0123456789\r\n0\r\nx-t: 1\r\n\r\n"),
            Ok(("abc0123456789".to_owned(), true, 0))
        );
        assert_eq!(chunked("3\r\nabc\r\n"), Ok(("abc".to_owned(), false, 0)));
    }

    #[test]
    fn chunks_that_could_be_read_in_two_ways_are_malformed() {
        for wire in [
            "\r\n",
            "x\r\n",
            " 3\r\nabc\r\n",
            "0x3\r\nabc\r\n",
            "-3\r\n",
            "+3\r\nabc",
            "3\nabc\r\n",
            "3\r\nabcd\r\n",
            "3\r\nabc\n0\r\n\r\n",
            "3 y\r\nabc\r\n",
            "ffffffffffffffff1\r\n",
            "3;a\rb\r\nabc\r\n",
            "3;a\0\r\nabc\r\n",
            "3\r\r\nabc\r\n",
            "0\r\nx: \0\r\n\r\n",
            "0\r\n\r\r\n",
            "0\r\n\n",
        ] {
            assert_eq!(chunked(wire), Err(Malformed), "{wire:?}");
        }
    }

    proptest! {
        #[test]
        fn any_body_in_any_chunks_comes_out_as_it_went_in(parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..40), 0..8), step in 1..50_usize) {
            let mut wire = Vec::new();
            for part in &parts {
                wire.extend(format!("{:x}\r\n", part.len()).into_bytes());
                wire.extend(part);
                wire.extend(b"\r\n");
            }
            wire.extend(b"0\r\n\r\n");
            prop_assert_eq!(read_all(Body::Chunked(Chunked::Size), &wire, step), Ok((parts.concat(), true, 0)));
        }

        #[test]
        fn no_bytes_make_it_panic(wire in proptest::collection::vec(any::<u8>(), 0..200), step in 1..50_usize) {
            let _ = read_all(Body::Chunked(Chunked::Size), &wire, step);
        }
    }
}
