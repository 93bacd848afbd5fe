//! HTTP/1.1 without any I/O: bytes in, messages out.
//!
//! This is a codec of our own, for three reasons. Nothing has to cross a channel between two halves, which was a third of the
//! gateway's user time. A request whose connection turns out dead can be sent again without having been copied. And a
//! message that could be read in two ways is refused here, where all of its head is seen.
//!
//! `request` and `response` read and write heads, `body` reads bodies, and `trailers` is about the fields behind them.

pub mod body;
pub mod request;
pub mod response;
pub mod trailers;

use bytes::{Bytes, BytesMut};

/// Puts back what lies behind a head that was taken, or a head that is incomplete. Nearly always there is nothing.
fn put_back(bytes: &mut BytesMut, rest: Bytes) {
    if rest.is_empty() {
        return;
    }
    match rest.try_into_mut() {
        Ok(rest) => *bytes = rest,
        Err(rest) => bytes.extend_from_slice(&rest),
    }
}

/// Whether no line of a head ends in LF alone. Parsers take that for an end; not all of them do, and those read on.
fn lines_end_in_crlf(head: &[u8]) -> bool {
    memchr::memchr_iter(b'\n', head).all(|at| at > 0 && head[at - 1] == b'\r')
}

/// A length as `Content-Length` has it: digits, and no more of them than a number of 64 bits can hold.
fn decimal(digits: &[u8]) -> Option<u64> {
    if !(1..=18).contains(&digits.len()) {
        return None;
    }
    digits.iter().try_fold(0, |number: u64, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
    })
}
