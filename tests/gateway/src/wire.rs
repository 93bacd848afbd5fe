//! HTTP/1.1 as bytes: just enough reading for peers that must see what was really sent.
//!
//! Deliberately not a checked parser: what a real one would refuse is exactly what a test may want to look at.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

/// A start line and its header lines, as they came.
#[derive(Debug, Clone, Default)]
pub struct Head {
    /// `GET /path HTTP/1.1` or `HTTP/1.1 200 OK`.
    pub start: String,
    /// Names in the spelling of the sender, in its order.
    pub headers: Vec<(String, String)>,
    /// Every byte up to and with the empty line.
    pub raw: Vec<u8>,
}

impl Head {
    /// The first value of a header, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.all(name).first().copied()
    }

    /// Every value of a header.
    pub fn all(&self, name: &str) -> Vec<&str> {
        self.headers
            .iter()
            .filter(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
            .collect()
    }

    /// One of the three words of the start line.
    pub(crate) fn word(&self, index: usize) -> &str {
        self.start.splitn(3, ' ').nth(index).unwrap_or_default()
    }
}

/// Reads one head; `None` when the peer ended before its first byte.
pub(crate) async fn read_head(
    reader: &mut (impl AsyncBufRead + Unpin),
) -> io::Result<Option<Head>> {
    let mut head = Head::default();
    loop {
        let line = read_line(reader, &mut head.raw).await?;
        match (line, head.start.is_empty()) {
            (None, true) if head.raw.is_empty() => return Ok(None),
            (None, _) => return Err(io::ErrorKind::UnexpectedEof.into()),
            (Some(line), true) => head.start = line,
            (Some(line), false) if line.is_empty() => return Ok(Some(head)),
            (Some(line), false) => {
                let (name, value) = line.split_once(':').unwrap_or((&line, ""));
                head.headers.push((name.to_owned(), value.trim().to_owned()));
            }
        }
    }
}

async fn read_line(
    reader: &mut (impl AsyncBufRead + Unpin),
    raw: &mut Vec<u8>,
) -> io::Result<Option<String>> {
    let start = raw.len();
    if reader.read_until(b'\n', raw).await? == 0 {
        return Ok(None);
    }
    let line = String::from_utf8_lossy(&raw[start..]);
    Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
}

/// How the end of a body is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    Length(u64),
    Chunked,
    ToTheEnd,
}

impl Framing {
    pub(crate) fn of_request(head: &Head) -> Self {
        Self::told(head).unwrap_or(Self::Length(0))
    }

    pub(crate) fn of_answer(head: &Head, to_head: bool) -> Self {
        let bodiless =
            to_head || matches!(head.word(1), "204" | "304") || head.word(1).starts_with('1');
        if bodiless { Self::Length(0) } else { Self::told(head).unwrap_or(Self::ToTheEnd) }
    }

    fn told(head: &Head) -> Option<Self> {
        if head.all("transfer-encoding").iter().any(|value| value.eq_ignore_ascii_case("chunked")) {
            return Some(Self::Chunked);
        }
        head.header("content-length").and_then(|length| length.parse().ok()).map(Self::Length)
    }
}

/// A body being read piece by piece, chunk framing taken off.
#[derive(Debug)]
pub(crate) struct Body {
    framing: Framing,
    /// Bytes left of the length, or of the current chunk.
    left: u64,
    /// Set once the end was seen.
    pub(crate) ended: bool,
    /// The trailers of a chunked body, once it has ended.
    pub(crate) trailers: Vec<(String, String)>,
}

impl Body {
    pub(crate) fn new(framing: Framing) -> Self {
        let left = if let Framing::Length(length) = framing { length } else { 0 };
        Self { framing, left, ended: framing == Framing::Length(0), trailers: Vec::new() }
    }

    /// The next bytes that are there; `None` at the end.
    pub(crate) async fn piece(
        &mut self,
        reader: &mut (impl AsyncBufRead + Unpin),
    ) -> io::Result<Option<Vec<u8>>> {
        if !self.ended && self.framing == Framing::Chunked && self.left == 0 {
            self.next_chunk(reader).await?;
        }
        if self.ended {
            return Ok(None);
        }
        let available = reader.fill_buf().await?;
        if available.is_empty() {
            self.ended = self.framing == Framing::ToTheEnd;
            return if self.ended { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        let take = if self.framing == Framing::ToTheEnd {
            available.len()
        } else {
            available.len().min(usize::try_from(self.left).unwrap_or(usize::MAX))
        };
        let piece = available[..take].to_vec();
        reader.consume(take);
        self.took(take, reader).await?;
        Ok(Some(piece))
    }

    async fn took(
        &mut self,
        bytes: usize,
        reader: &mut (impl AsyncBufRead + Unpin),
    ) -> io::Result<()> {
        match self.framing {
            Framing::ToTheEnd => {}
            Framing::Length(_) => {
                self.left -= bytes as u64;
                self.ended = self.left == 0;
            }
            Framing::Chunked => {
                self.left -= bytes as u64;
                if self.left == 0 {
                    read_line(reader, &mut Vec::new()).await?;
                }
            }
        }
        Ok(())
    }

    async fn next_chunk(&mut self, reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<()> {
        let line = read_line(reader, &mut Vec::new()).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let size = line.split(';').next().unwrap_or_default().trim();
        self.left = u64::from_str_radix(size, 16).map_err(|_| io::ErrorKind::InvalidData)?;
        if self.left == 0 {
            self.read_trailers(reader).await?;
            self.ended = true;
        }
        Ok(())
    }

    async fn read_trailers(&mut self, reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<()> {
        while let Some(line) = read_line(reader, &mut Vec::new()).await? {
            let Some((name, value)) = line.split_once(':') else { break };
            self.trailers.push((name.to_owned(), value.trim().to_owned()));
        }
        Ok(())
    }
}
