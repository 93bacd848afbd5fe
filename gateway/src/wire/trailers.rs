//! Reads and writes the fields behind a body in chunks.
//!
//! They are held to what holds for a head: one field a line, no folding, no space before the colon. Which of them may go on is
//! not decided here.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::body::{Malformed, line_length};
use crate::limits::TRAILER_BYTES_MAX;

/// Takes the section out of `bytes` once it is whole; until then it says in `seen` how much of it was looked at.
pub(super) fn read(bytes: &mut BytesMut, seen: &mut usize) -> Result<Option<HeaderMap>, Malformed> {
    loop {
        match line_length(&bytes[*seen..])? {
            None => return Ok(None),
            Some(0) => {
                let section = bytes.split_to(*seen).freeze();
                bytes.advance(2);
                return fields(&section).map(Some);
            }
            Some(length) => *seen += length + 2,
        }
        if *seen > TRAILER_BYTES_MAX {
            return Err(Malformed);
        }
    }
}

/// The fields of a section, each line of which ends in CRLF and has no other control byte.
fn fields(section: &Bytes) -> Result<HeaderMap, Malformed> {
    let mut fields = HeaderMap::new();
    for line in section.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
        let colon = line.iter().position(|&byte| byte == b':').ok_or(Malformed)?;
        let name = HeaderName::from_bytes(&line[..colon]).map_err(|_| Malformed)?;
        let value = line[colon + 1..].trim_ascii();
        let value = HeaderValue::from_maybe_shared(section.slice_ref(value));
        fields.try_append(name, value.map_err(|_| Malformed)?).map_err(|_| Malformed)?;
    }
    Ok(fields)
}

/// Appends the last chunk, these fields, and the end.
pub fn write(out: &mut BytesMut, trailers: &HeaderMap) {
    out.put_slice(b"0\r\n");
    for (name, value) in trailers {
        out.put_slice(name.as_str().as_bytes());
        out.put_slice(b": ");
        out.put_slice(value.as_bytes());
        out.put_slice(b"\r\n");
    }
    out.put_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn section(wire: &str) -> Result<Option<HeaderMap>, Malformed> {
        let (mut bytes, mut seen) = (BytesMut::new(), 0);
        for byte in wire.bytes() {
            bytes.extend_from_slice(&[byte]);
            if let Some(fields) = read(&mut bytes, &mut seen)? {
                assert!(bytes.is_empty());
                return Ok(Some(fields));
            }
        }
        Ok(None)
    }

    #[test]
    fn what_is_written_is_read_again() {
        let wire = "X-Sum:\t 1 \r\nx-sum:2\r\nx-empty:\r\n\r\n";
        let fields = section(wire).unwrap().unwrap();
        assert_eq!(fields.get_all("x-sum").iter().collect::<Vec<_>>(), ["1", "2"]);
        let mut out = BytesMut::new();
        write(&mut out, &fields);
        assert_eq!(out, "0\r\nx-sum: 1\r\nx-sum: 2\r\nx-empty: \r\n\r\n");
    }

    #[test]
    fn half_a_section_is_none_yet() {
        assert_eq!(section(""), Ok(None));
        assert_eq!(section("x: 1\r\n"), Ok(None));
        assert_eq!(section("\r\n"), Ok(Some(HeaderMap::new())));
    }

    #[test]
    fn lines_that_could_be_read_in_two_ways_are_malformed() {
        for wire in [
            "x: 1\r\n y: 2\r\n\r\n",
            "x : 1\r\n\r\n",
            ": 1\r\n\r\n",
            "x\r\n\r\n",
            "x: 1\n\r\n",
            "x: \0\r\n\r\n",
            "x: 1\ry: 2\r\n\r\n",
        ] {
            assert_eq!(section(wire), Err(Malformed), "{wire:?}");
        }
    }

    #[test]
    fn a_section_has_a_bound() {
        let line = format!("x: {}\r\n", "a".repeat(1000));
        let fits = line.repeat(TRAILER_BYTES_MAX / line.len());
        assert!(section(&format!("{fits}\r\n")).unwrap().is_some());
        assert_eq!(section(&format!("{fits}{line}\r\n")), Err(Malformed));
    }
}
