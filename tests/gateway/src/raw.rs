//! A client connection that sends exactly the bytes it is given, when it is told to: for what a polite client would never do.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::client::Answer;
use crate::deadline::{PATIENCE, within};
use crate::wire::{Body, Framing, Head, read_head};

/// A TCP connection to the gateway.
#[derive(Debug)]
pub struct RawConnection {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    body: Option<Body>,
}

impl RawConnection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> Self {
        let stream = within(PATIENCE, "a connection", TcpStream::connect(address))
            .await
            .expect("the test expects a listener");
        stream.set_nodelay(true).expect("a fresh connection");
        let (reader, writer) = stream.into_split();
        Self { reader: BufReader::new(reader), writer, body: None }
    }

    /// Sends bytes.
    pub async fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_write(bytes).await.expect("the test expects the peer to listen");
    }

    /// Sends bytes to a peer that may have ended.
    pub async fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        within(PATIENCE, "the peer to take our bytes", self.writer.write_all(bytes.as_ref())).await
    }

    /// Sends one chunk of a chunked body.
    pub async fn write_chunk(&mut self, bytes: impl AsRef<[u8]>) {
        let bytes = bytes.as_ref();
        self.write([format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()).await;
    }

    /// Reads the head of an answer; its body is then there for [`piece`](Self::piece) and [`rest`](Self::rest).
    pub async fn read_head(&mut self) -> Head {
        let head = within(PATIENCE, "the head of an answer", read_head(&mut self.reader)).await;
        let head = head
            .expect("the test expects a whole head")
            .expect("the test expects an answer, not the end");
        self.body = Some(Body::new(Framing::of_answer(&head, false)));
        head
    }

    /// The next piece of the answer's body, as it arrives; `None` at its proper end.
    pub async fn piece(&mut self) -> Option<Vec<u8>> {
        self.try_piece().await.expect("the test expects a whole body")
    }

    /// The next piece of a body that may break off.
    pub async fn try_piece(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        let body = self.body.as_mut().expect("a head comes before its body");
        within(PATIENCE, "a piece of the body", body.piece(&mut self.reader)).await
    }

    /// What is left of the answer's body.
    pub async fn rest(&mut self) -> Vec<u8> {
        let mut whole = Vec::new();
        while let Some(piece) = self.piece().await {
            whole.extend(piece);
        }
        whole
    }

    /// Reads a whole answer.
    pub async fn read_answer(&mut self) -> Answer {
        let head = self.read_head().await;
        let body = Bytes::from(self.rest().await);
        let trailers = self.body.take().map(|body| fields(&body.trailers)).unwrap_or_default();
        Answer {
            status: head.word(1).parse().expect("a status is a number"),
            headers: fields(&head.headers),
            body,
            trailers,
        }
    }

    /// Everything until the peer ends, in whatever way.
    pub async fn read_to_end(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        // A reset ends it as well as a close does; what came before it is in `bytes`.
        let _ = within(PATIENCE, "the peer to close", self.reader.read_to_end(&mut bytes)).await;
        bytes
    }

    /// Says that nothing more will be sent, and still listens.
    pub async fn half_close(&mut self) {
        self.writer.shutdown().await.expect("the test expects the peer to be there");
    }

    /// Ends with a reset instead of a close.
    pub fn reset(self) {
        self.writer.as_ref().set_zero_linger().expect("an open connection");
    }
}

fn fields(lines: &[(String, String)]) -> HeaderMap {
    let field = |(name, value): &(String, String)| {
        let name: HeaderName = name.parse().expect("the test expects valid header names");
        let value: HeaderValue = value.parse().expect("the test expects valid header values");
        (name, value)
    };
    lines.iter().map(field).collect()
}
