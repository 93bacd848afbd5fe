//! Tells HTTP/2 from HTTP/1 by the first bytes, under a time-out.
//!
//! A client that sends nothing, or only a part of the HTTP/2 preface, is gone after the time-out. What was read to find out
//! is handed on.

use std::{io, time::Duration};

use tokio::io::{AsyncRead, AsyncReadExt};

use crate::limits::H2_PREFACE;

/// Which protocol a client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.0 or HTTP/1.1.
    Http1,
    /// HTTP/2 with prior knowledge (h2c).
    Http2,
}

/// A connection whose protocol is known, and the bytes that told it.
#[derive(Debug)]
pub struct Preface<I> {
    /// The rest of the connection.
    pub io: I,
    /// What its client speaks.
    pub protocol: Protocol,
    /// What was read.
    pub seen: Seen,
}

/// The first bytes of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Seen {
    bytes: [u8; H2_PREFACE.len()],
    length: usize,
}

impl Seen {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..self.length]
    }
}

/// Reads until it is clear which protocol the client speaks.
///
/// # Errors
/// The client is gone, or silent for too long.
pub async fn read<I: AsyncRead + Unpin>(mut io: I, timeout: Duration) -> io::Result<Preface<I>> {
    let mut seen = Seen { bytes: [0; H2_PREFACE.len()], length: 0 };
    let protocol = tokio::time::timeout(timeout, async {
        loop {
            let more = io.read(&mut seen.bytes[seen.length..]).await?;
            if more == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
            seen.length += more;
            if seen.bytes() != &H2_PREFACE[..seen.length] {
                return Ok(Protocol::Http1);
            }
            if seen.length == H2_PREFACE.len() {
                return Ok(Protocol::Http2);
            }
        }
    });
    let protocol = protocol.await.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    Ok(Preface { io, protocol, seen })
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;

    use super::*;

    async fn told(bytes: &[u8]) -> io::Result<(Protocol, Vec<u8>)> {
        let (mut client, server) = tokio::io::duplex(1024);
        client.write_all(bytes).await?;
        let mut preface = read(server, Duration::from_millis(200)).await?;
        drop(client);
        let mut all = preface.seen.bytes().to_vec();
        preface.io.read_to_end(&mut all).await?;
        Ok((preface.protocol, all))
    }

    #[tokio::test]
    async fn protocols_are_told_apart_and_no_byte_is_lost() {
        let get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        assert_eq!(told(get).await.unwrap(), (Protocol::Http1, get.to_vec()));
        let post = b"POST / HTTP/1.1\r\n";
        assert_eq!(told(post).await.unwrap(), (Protocol::Http1, post.to_vec()));
        let h2 = [&H2_PREFACE[..], b"\0\0\0\x04\0"].concat();
        assert_eq!(told(&h2).await.unwrap(), (Protocol::Http2, h2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_is_silent_or_stops_in_the_preface_is_given_up() {
        for bytes in [&b""[..], b"PRI * HT"] {
            let (mut client, server) = tokio::io::duplex(1024);
            client.write_all(bytes).await.unwrap();
            let given_up = read(server, Duration::from_secs(10)).await.unwrap_err();
            assert_eq!(given_up.kind(), io::ErrorKind::TimedOut);
        }
    }
}
