//! Sends one case from an address of its own, and reads all that comes back.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

use super::corpus::Then;
use super::oracle::{Answer, Read, answer, messages};

/// How long nothing may come before an exchange is taken for stuck. Longer than the time-outs of the gateways in these tests.
const STUCK: Duration = Duration::from_secs(5);

/// What came of one case.
#[derive(Debug, Default)]
pub struct Came {
    /// The answers, in their order, interim ones left out.
    pub answers: Vec<Answer>,
    /// How many interim answers came.
    pub interim: usize,
    /// Whether the connection was closed from the other side.
    pub closed: bool,
    /// What was wrong with the answers themselves.
    pub faults: Vec<String>,
}

/// A connection from this address.
async fn connected(from: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind((from, 0).into()).expect("every address of 127.0.0.0/8 is ours");
    let stream = tokio::time::timeout(STUCK, socket.connect(to)).await.expect("in time");
    let stream = stream.expect("the gateway listens");
    stream.set_nodelay(true).expect("a fresh connection");
    stream
}

/// Sends `bytes` and reads what comes. Where the client's messages end properly and the connection is still there afterwards,
/// one more request on it must be answered with its own answer.
pub async fn assault(to: SocketAddr, from: Ipv4Addr, bytes: &[u8], then: Then) -> Came {
    let (whole, tail) = messages(bytes);
    let mut exchange = Exchange {
        stream: connected(from, to).await,
        bytes: Vec::new(),
        methods: whole.iter().map(|message| message.method.clone()).collect(),
        came: Came::default(),
    };
    // The gateway may close before it has taken everything.
    let _ = exchange.stream.write_all(bytes).await;
    match then {
        Then::Listen => {}
        Then::HalfClose => drop(exchange.stream.shutdown().await),
        Then::Close => return exchange.came,
        Then::Reset => {
            let _ = exchange.stream.set_zero_linger();
            return exchange.came;
        }
    }
    // A tail that is no request is to be answered too, and closed on.
    let until = if tail.is_none() { whole.len() } else { usize::MAX };
    if let Some(Read::Bad(_, Some(message)) | Read::Part(Some(message))) = &tail {
        exchange.methods.push(message.method.clone());
    }
    exchange.read(until).await;
    if tail.is_none() && then == Then::Listen && !exchange.came.closed {
        exchange.probe(from).await;
    }
    exchange.came
}

struct Exchange {
    stream: TcpStream,
    bytes: Vec<u8>,
    /// The methods of the requests that were sent, because the answer to a HEAD has no body.
    methods: Vec<String>,
    came: Came,
}

impl Exchange {
    /// Reads until so many answers are there, or the other side closes.
    async fn read(&mut self, until: usize) {
        loop {
            self.take();
            if self.came.closed || self.came.answers.len() >= until || !self.came.faults.is_empty()
            {
                return;
            }
            match tokio::time::timeout(STUCK, self.stream.read_buf(&mut self.bytes)).await {
                Ok(Ok(1..)) => {}
                Ok(_) => self.came.closed = true,
                Err(_) => {
                    self.came
                        .faults
                        .push("nothing came, and the connection stayed open".to_owned());
                    return;
                }
            }
        }
    }

    /// Takes out the answers that are whole.
    fn take(&mut self) {
        loop {
            let to_head =
                self.methods.get(self.came.answers.len()).is_some_and(|method| method == "HEAD");
            match answer(&self.bytes, to_head, self.came.closed) {
                Ok(Some((answer, length))) => {
                    self.bytes.drain(..length);
                    if (100..200).contains(&answer.status) {
                        self.came.interim += 1;
                    } else {
                        self.came.answers.push(answer);
                    }
                }
                // The gateway could not read the HEAD, and so doesn't know that its refusal must have no body.
                Ok(None) if self.came.closed && self.to_head_before() => return,
                Ok(None) if self.came.closed && !self.bytes.is_empty() => {
                    self.came.faults.push("half an answer".to_owned());
                    return;
                }
                Ok(None) => return,
                Err(_) if self.to_head_before() => return,
                Err(what) => {
                    self.came.faults.push(what.to_owned());
                    return;
                }
            }
        }
    }

    fn to_head_before(&self) -> bool {
        let last = self.came.answers.len().checked_sub(1);
        let refused = self.came.answers.last().is_some_and(|last| last.status >= 400);
        refused && last.and_then(|last| self.methods.get(last)).is_some_and(|m| m == "HEAD")
    }

    /// The next answer on the connection belongs to the next request.
    async fn probe(&mut self, from: Ipv4Addr) {
        let path = format!("/probe/{from}");
        let request = format!("GET {path} HTTP/1.1\r\nHost: probe\r\n\r\n");
        let said_close = self.came.answers.last().is_some_and(Answer::closes);
        let _ = self.stream.write_all(request.as_bytes()).await;
        let before = self.came.answers.len();
        self.read(before + 1).await;
        let Some(answer) = self.came.answers.get(before) else { return };
        if said_close {
            self.came.faults.push("it said that it closes, and did not".to_owned());
        }
        if answer.first("x-saw") != Some(&format!("GET {path}")) {
            self.came.faults.push(format!("the next request got another answer: {answer:?}"));
        }
        self.came.answers.truncate(before);
    }
}

/// A plain GET on a new connection, and how long it took.
pub async fn plain_get(to: SocketAddr, path: &str) -> Result<Duration, String> {
    let start = Instant::now();
    let request = format!("GET {path} HTTP/1.1\r\nHost: plain\r\nConnection: close\r\n\r\n");
    let mut exchange = Exchange {
        stream: connected(Ipv4Addr::LOCALHOST, to).await,
        bytes: Vec::new(),
        methods: Vec::new(),
        came: Came::default(),
    };
    let _ = exchange.stream.write_all(request.as_bytes()).await;
    exchange.read(1).await;
    let took = start.elapsed();
    match exchange.came.answers.first() {
        Some(answer) if answer.first("x-saw") == Some(&format!("GET {path}")) => Ok(took),
        _ => Err(format!("a plain GET got {:?}", exchange.came)),
    }
}
