//! Asking a process over HTTP whether it is up; just enough of it for one small answer on loopback.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const ANSWER_WITHIN: Duration = Duration::from_secs(2);
const ANSWER_BYTES_MAX: u64 = 64 * 1024;

/// Whether `GET path` is answered with a 2xx.
pub(crate) async fn is_up(address: SocketAddr, path: &str) -> bool {
    matches!(timeout(ANSWER_WITHIN, status(address, path)).await, Ok(Ok(200..=299)))
}

async fn status(address: SocketAddr, path: &str) -> std::io::Result<u16> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    // Read to its end, as closing earlier would look like a fault to the one who answers.
    let mut answer = Vec::new();
    stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    // `HTTP/1.1 200 OK`
    let code = answer.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5)?.parse().ok());
    code.ok_or_else(|| std::io::Error::other("not HTTP"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn answering(answer: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let _ = stream.read(&mut [0; 1024]).await;
            stream.write_all(answer.as_bytes()).await.unwrap();
        });
        address
    }

    #[tokio::test]
    async fn only_a_2xx_is_up() {
        assert!(is_up(answering("HTTP/1.1 200 OK\r\n\r\n").await, "/health").await);
        assert!(is_up(answering("HTTP/1.0 204 No Content\r\n\r\n").await, "/health").await);
        assert!(
            !is_up(answering("HTTP/1.1 503 Service Unavailable\r\n\r\n").await, "/health").await
        );
        assert!(!is_up(answering("SSH-2.0-OpenSSH_9.6\r\n").await, "/health").await);
    }

    #[tokio::test]
    async fn nobody_there_is_not_up() {
        let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
        assert!(!is_up(address, "/health").await);
    }
}
