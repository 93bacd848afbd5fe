//! An upstream that reads with the oracle's eyes and keeps all it was sent, by sender.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::oracle::{Message, Read, read};

/// What came from one client: a request, and what was wrong with it already as bytes.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The request, as far as it could be read.
    pub message: Message,
    /// Why it could not be read, or what came behind it.
    pub fault: Option<String>,
}

#[derive(Debug, Default)]
struct Kept {
    by_client: HashMap<Ipv4Addr, Vec<Seen>>,
    /// What names no sender.
    unknown: Vec<String>,
    open: usize,
}

/// The upstream. It answers each request with its method and target in `X-Saw`.
#[derive(Debug, Clone)]
pub struct Recorder {
    address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
}

impl Recorder {
    /// Listens on a free port, as long as the runtime lives.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let recorder = Self { address, kept: Arc::default() };
        tokio::spawn(recorder.clone().accept(listener));
        recorder
    }

    /// `http://address`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Takes out all that came from this client.
    pub fn taken(&self, client: Ipv4Addr) -> Vec<Seen> {
        self.kept().by_client.remove(&client).unwrap_or_default()
    }

    /// Takes out what came from nobody in particular. Each is a fault.
    pub fn unknown(&self) -> Vec<String> {
        std::mem::take(&mut self.kept().unknown)
    }

    /// Waits until nobody is connected any more, after which nothing more can arrive.
    pub async fn quiet(&self) {
        let what = "the end of all connections to the recorder";
        crate::eventually(Duration::from_secs(20), what, || async { self.kept().open == 0 }).await;
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().expect("nothing panics under this lock")
    }

    async fn accept(self, listener: TcpListener) {
        let mut connections = JoinSet::new();
        while let Ok((stream, _)) = listener.accept().await {
            self.kept().open += 1;
            connections.spawn(self.clone().serve(stream));
            while connections.try_join_next().is_some() {}
        }
    }

    async fn serve(self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        let mut at_end = false;
        loop {
            match read(&bytes) {
                Read::Whole(message, length) => {
                    let surplus = bytes.split_off(length);
                    let fault = (!surplus.is_empty()).then(|| {
                        format!("more came behind it: {:?}", String::from_utf8_lossy(&surplus))
                    });
                    bytes = surplus;
                    let answer = answer(&message);
                    self.keep(message, fault);
                    if stream.write_all(&answer).await.is_err() {
                        break;
                    }
                }
                Read::Part(message) if at_end => {
                    match message {
                        Some(message) => self.keep(message, None),
                        None if !bytes.is_empty() => {
                            let half =
                                format!("half a head: {:?}", String::from_utf8_lossy(&bytes));
                            self.kept().unknown.push(half);
                        }
                        None => {}
                    }
                    break;
                }
                Read::Part(_) => {
                    at_end = !matches!(stream.read_buf(&mut bytes).await, Ok(1..));
                }
                Read::Bad(what, message) => {
                    match message {
                        Some(message) => self.keep(message, Some(what.to_owned())),
                        None => {
                            let shown = String::from_utf8_lossy(&bytes).into_owned();
                            self.kept().unknown.push(format!("{what}: {shown:?}"));
                        }
                    }
                    break;
                }
            }
        }
        self.kept().open -= 1;
    }

    fn keep(&self, message: Message, fault: Option<String>) {
        let mut kept = self.kept();
        match message.from() {
            Some(client) => {
                kept.by_client.entry(client).or_default().push(Seen { message, fault });
            }
            None => kept.unknown.push(format!("from nobody ({fault:?}): {message:?}")),
        }
    }
}

fn answer(message: &Message) -> Vec<u8> {
    let saw = format!("{} {}", message.method, message.target);
    let body = if message.method == "HEAD" { "" } else { &saw };
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\nx-saw: {saw}\r\n\r\n{body}", saw.len())
        .into_bytes()
}
