//! Bodies: chunks are read alike however they arrive, and as the plainest reader of RFC 9112 would.

use bytes::BytesMut;
use portcullis_gateway::wire::body::{Body, Chunked, Found};

use super::{Target, must};

pub(crate) struct Bodies;

/// What came out, whether the end was reached, and how much was left; nothing when the framing is broken.
type Outcome = Option<(Vec<u8>, bool, usize)>;

impl Target for Bodies {
    fn name(&self) -> &'static str {
        "bodies"
    }

    fn seeds(&self) -> Vec<Vec<u8>> {
        [
            "\x035\r\nhello\r\n0\r\n\r\n",
            "\x015;x=y\r\nhello\r\nA\r\n0123456789\r\n0\r\nT: 1\r\n\r\nGET /",
            "\x020x5\r\nhello\r\n",
            "\x07ffffffffffffffff\r\na",
            "\x015\nhello\n0\n\n",
            "\x040\r\n\r\n",
        ]
        .map(|text| text.as_bytes().to_vec())
        .to_vec()
    }

    fn words(&self) -> &'static [&'static [u8]] {
        &[
            b"\r\n",
            b"0\r\n\r\n",
            b"5\r\nhello\r\n",
            b";",
            b"0",
            b"f",
            b"\n",
            b"\r",
            b" ",
            b"x",
            b"=",
            b"\"",
            b"fffffffffffffff",
        ]
    }

    fn attempt(&mut self, input: &[u8]) -> Result<String, String> {
        let (step, wire) = input.split_first().unwrap_or((&1, b""));
        let whole = read(wire, wire.len().max(1));
        let pieces = read(wire, usize::from(*step % 16) + 1);
        must(whole == pieces, || format!("{whole:?} at once, {pieces:?} in pieces"))?;
        if let Some((out, true, left)) = &whole {
            let plain = plainly(wire);
            must(plain.as_ref() == Some(&(out.clone(), *left)), || {
                format!("we read {:?}, a plain reader {plain:?}", (out, left))
            })?;
        }
        Ok(match &whole {
            None => "broken".to_owned(),
            Some((out, over, _)) => format!("{over} {}", out.len().min(8)),
        })
    }
}

fn read(wire: &[u8], step: usize) -> Outcome {
    let mut body = Body::Chunked(Chunked::Size);
    let (mut bytes, mut out) = (BytesMut::new(), Vec::new());
    for part in wire.chunks(step) {
        bytes.extend_from_slice(part);
        while let Found::Piece(piece) = body.read(&mut bytes).ok()? {
            out.extend_from_slice(&piece);
        }
    }
    Some((out, body.is_over(), bytes.len()))
}

/// The shortest reader there is, of a body that is complete.
fn plainly(wire: &[u8]) -> Option<(Vec<u8>, usize)> {
    let mut rest = wire;
    let mut out = Vec::new();
    loop {
        let line = line(&mut rest)?;
        let size = line.split(|&byte| byte == b';').next()?.trim_ascii_end();
        let size = usize::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()?;
        if size == 0 {
            while !self::line(&mut rest)?.is_empty() {}
            return Some((out, rest.len()));
        }
        out.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

fn line<'r>(rest: &mut &'r [u8]) -> Option<&'r [u8]> {
    let end = rest.windows(2).position(|two| two == b"\r\n")?;
    let line = &rest[..end];
    *rest = &rest[end + 2..];
    Some(line)
}
