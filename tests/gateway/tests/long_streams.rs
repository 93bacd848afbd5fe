//! The promise: a body of any length flows through without settling in the gateway's memory, up and down, over HTTP/1 and
//! HTTP/2, however slowly its reader takes it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use portcullis_tests::{Depot, Gateway, RawConnection, in_full, within};
use tokio::net::TcpStream;

const PIECE: usize = 64 * 1024;
const GROWTH_KIB_MAX: u64 = 16 * 1024;
/// How long a whole stream may take where everything is slow: a debug build beside a compiler.
const STREAM_LIMIT: Duration = Duration::from_secs(300);

fn length() -> u64 {
    in_full(2 << 30, 64 << 20)
}

#[tokio::test]
async fn a_long_upload_over_http1_does_not_settle_in_memory() {
    let stage = Stage::set().await;
    let mut client = RawConnection::open(stage.gateway.address()).await;
    let head = format!("POST /0 HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", length());
    client.write(head).await;
    for _ in 0..length() / PIECE as u64 {
        client.write([b'u'; PIECE]).await;
    }
    assert_eq!(client.read_answer().await.status, 200);
    assert_eq!(stage.depot.taken(), length());
    stage.assert_small("up over HTTP/1");
}

#[tokio::test]
async fn a_long_upload_in_chunks_does_not_settle_in_memory() {
    let stage = Stage::set().await;
    let mut client = RawConnection::open(stage.gateway.address()).await;
    client.write("POST /0 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    for _ in 0..length() / PIECE as u64 {
        client.write_chunk([b'u'; PIECE]).await;
    }
    client.write("0\r\n\r\n").await;
    assert_eq!(client.read_answer().await.status, 200);
    assert_eq!(stage.depot.taken(), length());
    stage.assert_small("up over HTTP/1 in chunks");
}

#[tokio::test]
async fn a_long_download_over_http1_does_not_settle_in_memory() {
    let stage = Stage::set().await;
    let mut client = stage.downloading_http1().await;
    let mut left = length();
    while let Some(piece) = client.piece().await {
        left -= piece.len() as u64;
    }
    assert_eq!(left, 0);
    stage.assert_small("down over HTTP/1");
}

#[tokio::test]
async fn a_long_upload_over_http2_does_not_settle_in_memory() {
    let stage = Stage::set().await;
    let mut client = stage.http2().await;
    let request = Request::post(stage.gateway.url("/0")).body(Long { left: length() });
    let answer = client.send_request(request.expect("a valid request"));
    let answer = within(STREAM_LIMIT, "the answer to a long upload", answer).await;
    assert_eq!(answer.expect("an answer").status(), 200);
    assert_eq!(stage.depot.taken(), length());
    stage.assert_small("up over HTTP/2");
}

#[tokio::test]
async fn a_long_download_over_http2_does_not_settle_in_memory() {
    let stage = Stage::set().await;
    let mut body = stage.downloading_http2().await;
    let mut left = length();
    while let Some(piece) = next(&mut body).await {
        left -= piece.len() as u64;
    }
    assert_eq!(left, 0);
    stage.assert_small("down over HTTP/2");
}

/// What is read is little beside what there is: a gateway that took the rest meanwhile would show it, in its own memory and in
/// what the upstream got rid of.
#[tokio::test]
async fn a_slow_reader_slows_the_upstream_down_instead_of_filling_the_memory() {
    let stage = Stage::set().await;
    let mut http1 = stage.downloading_http1().await;
    let mut http2 = stage.downloading_http2().await;
    for _ in 0..in_full(100, 20) {
        http1.piece().await.expect("there is much more");
        next(&mut http2).await.expect("there is much more");
        // The pause of a slow reader, in which a gateway that buffers would take more.
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // What lies in the buffers of six sockets, whose size is the kernel's business: a few MB each.
    let given = stage.depot.given();
    assert!(given < 48 << 20, "the upstream got rid of {given} bytes");
    stage.assert_small("two slow readers");
}

struct Stage {
    depot: Depot,
    gateway: Gateway,
    before: u64,
}

impl Stage {
    async fn set() -> Self {
        let depot = Depot::open();
        let gateway = Gateway::in_front_of_depot(&depot)
            .keys("[server]", "body_bytes_max = 4294967296\nrequest_timeout_seconds = 600")
            .start()
            .await;
        // What the first request brings about is not a stream's doing.
        let mut first = RawConnection::open(gateway.address()).await;
        first.write("GET /0 HTTP/1.1\r\nHost: x\r\n\r\n").await;
        assert_eq!(first.read_answer().await.status, 200);
        gateway.forget_peak();
        let before = gateway.memory().resident;
        Self { depot, gateway, before }
    }

    async fn downloading_http1(&self) -> RawConnection {
        let mut client = RawConnection::open(self.gateway.address()).await;
        client.write(format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", length())).await;
        client.read_head().await;
        client
    }

    async fn downloading_http2(&self) -> Incoming {
        let mut client = self.http2().await;
        let url = self.gateway.url(&format!("/{}", length()));
        let request = Request::get(url).body(Long { left: 0 }).expect("a valid request");
        client.send_request(request).await.expect("an answer").into_body()
    }

    async fn http2(&self) -> SendRequest<Long> {
        let stream = TcpStream::connect(self.gateway.address()).await.expect("it listens");
        stream.set_nodelay(true).expect("a fresh connection");
        let (client, connection) = http2::Builder::new(TokioExecutor::new())
            .handshake(TokioIo::new(stream))
            .await
            .expect("the gateway speaks HTTP/2");
        // It ends with the client and its last body.
        tokio::spawn(connection);
        client
    }

    fn assert_small(&self, what: &str) {
        let growth = self.gateway.memory().peak.saturating_sub(self.before);
        println!("{what}: {} MB, and {growth} KiB more memory at the peak", length() >> 20);
        assert!(growth <= GROWTH_KIB_MAX, "{what}: the gateway grew by {growth} KiB");
    }
}

async fn next(body: &mut Incoming) -> Option<Bytes> {
    let frame = within(STREAM_LIMIT, "a piece of the body", body.frame()).await?;
    Some(frame.expect("a whole body").into_data().unwrap_or_default())
}

/// A body of so many bytes, made as it is sent.
struct Long {
    left: u64,
}

impl Body for Long {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let length = self.left.min(PIECE as u64);
        self.left -= length;
        let piece = Bytes::from_static(&[b'u'; PIECE]).slice(..length as usize);
        Poll::Ready((length > 0).then(|| Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
