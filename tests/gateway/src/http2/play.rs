//! Plays a case on a connection of its own, and keeps what comes back.

use std::collections::BTreeMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpSocket;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::hpack::status;
use super::script::{Case, Event, Line, Stream};

/// How long nothing may come before what is awaited is given up.
const STUCK: Duration = Duration::from_secs(5);

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What has come back.
#[derive(Debug, Clone, Default)]
pub struct Came {
    /// By stream.
    pub streams: BTreeMap<u32, Outcome>,
    /// The error code of the last GOAWAY.
    pub goaway: Option<u32>,
    /// Whether the connection was closed, in whatever way.
    pub closed: bool,
    /// Whether the other side's settings have come.
    pub settings: bool,
    /// How many PINGs were answered.
    pongs: usize,
    /// How much may be sent: by stream, 0 for all of them.
    windows: BTreeMap<u32, i64>,
    initial_window: i64,
}

/// What has come on a stream.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// The status of the answer.
    pub status: Option<u16>,
    /// Bytes of its body.
    pub body: usize,
    /// Whether it came to its end.
    pub ended: bool,
    /// The error code with which the stream was reset.
    pub reset: Option<u32>,
}

impl Outcome {
    /// Whether nothing more can come.
    pub const fn is_over(&self) -> bool {
        self.ended || self.reset.is_some()
    }
}

impl Came {
    /// What came on this stream.
    pub fn on(&self, stream: u32) -> Outcome {
        self.streams.get(&stream).cloned().unwrap_or_default()
    }

    /// Whether the connection has ended, or was said to with an error.
    pub fn is_dead(&self) -> bool {
        self.closed || self.goaway.is_some_and(|code| code != 0)
    }

    /// How much may be sent on a stream in all, or on the connection (0).
    fn window(&self, of: u32) -> i64 {
        let first = if of == 0 { 65_535 } else { self.initial_window };
        first + self.windows.get(&of).copied().unwrap_or(0)
    }
}

/// A client's end of a connection that speaks HTTP/2 as it is told.
#[derive(Debug)]
pub struct Connection {
    writer: OwnedWriteHalf,
    /// What was not written yet.
    waiting: Vec<u8>,
    split: usize,
    came: watch::Receiver<Came>,
    sent: BTreeMap<u32, i64>,
    next: u32,
    reading: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

impl Connection {
    /// Connects from this address.
    pub async fn open(to: SocketAddr, from: Ipv4Addr) -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind((from, 0).into()).expect("every address of 127.0.0.0/8 is ours");
        let stream = tokio::time::timeout(STUCK, socket.connect(to)).await.expect("in time");
        let stream = stream.expect("the gateway listens");
        stream.set_nodelay(true).expect("a fresh connection");
        let (reader, writer) = stream.into_split();
        let (sender, came) = watch::channel(Came { initial_window: 65_535, ..Came::default() });
        let reading = tokio::spawn(read(BufReader::new(reader), sender));
        Self {
            writer,
            waiting: Vec::new(),
            split: 0,
            came,
            sent: BTreeMap::new(),
            next: 1,
            reading,
        }
    }

    /// Says what every client says first, with these settings as payload, and hears the other side's.
    pub async fn greet(&mut self, settings: &[(u16, u32)]) {
        self.waiting.extend(PREFACE);
        // Without a table, statuses can be read.
        let mut payload = vec![0, 1, 0, 0, 0, 0];
        for (id, value) in settings {
            payload.extend(id.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        self.frame(4, 0, 0, &payload);
        self.flush().await;
        self.until(|came| came.settings).await;
        self.frame(4, 1, 0, &[]);
    }

    /// Does what lines say, in order, and writes what they left to write.
    pub async fn perform(&mut self, lines: &[Line]) {
        for line in lines {
            match line {
                Line::Bare => {}
                Line::Split(bytes) => self.split = *bytes,
                Line::Raw(bytes) => self.waiting.extend(bytes),
                Line::Frame { kind, flags, stream, payload } => {
                    let stream = self.number(*stream);
                    if *kind == 0 {
                        *self.sent.entry(stream).or_default() += payload.len() as i64;
                        *self.sent.entry(0).or_default() += payload.len() as i64;
                    }
                    self.frame(*kind, *flags, stream, payload);
                }
                Line::Upload(stream, bytes) => {
                    let stream = self.number(*stream);
                    self.upload(stream, *bytes).await;
                }
                Line::Await(event) => {
                    self.flush().await;
                    self.event(*event).await;
                }
                Line::Repeat(times, lines) => {
                    for _ in 0..*times {
                        Box::pin(self.perform_only(lines)).await;
                    }
                }
            }
        }
        self.flush().await;
    }

    /// Without a flush at the end, so that what is repeated goes out at once.
    async fn perform_only(&mut self, lines: &[Line]) {
        for line in lines {
            match line {
                Line::Frame { kind, flags, stream, payload } => {
                    let stream = self.number(*stream);
                    self.frame(*kind, *flags, stream, payload);
                }
                Line::Raw(bytes) => self.waiting.extend(bytes),
                other => Box::pin(self.perform(std::slice::from_ref(other))).await,
            }
        }
    }

    fn number(&mut self, stream: Stream) -> u32 {
        match stream {
            Stream::Number(number) => number,
            Stream::Last => self.next - 2,
            Stream::Next => {
                self.next += 2;
                self.next - 2
            }
        }
    }

    fn frame(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("no frame is that long").to_be_bytes();
        self.waiting.extend(&length[1..]);
        self.waiting.extend([kind, flags]);
        self.waiting.extend(stream.to_be_bytes());
        self.waiting.extend(payload);
    }

    async fn flush(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        let piece = if self.split == 0 { waiting.len().max(1) } else { self.split };
        for piece in waiting.chunks(piece) {
            // Whoever has ended the connection takes no more.
            if !matches!(
                tokio::time::timeout(STUCK, self.writer.write_all(piece)).await,
                Ok(Ok(()))
            ) {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    async fn upload(&mut self, stream: u32, bytes: usize) {
        let mut left = bytes;
        while left > 0 {
            let sent = |of| self.sent.get(&of).copied().unwrap_or(0);
            let (of_stream, of_all) = (sent(stream), sent(0));
            let room =
                move |came: &Came| (came.window(stream) - of_stream).min(came.window(0) - of_all);
            let came = self
                .until(|came| room(came) > 0 || came.is_dead() || came.on(stream).is_over())
                .await;
            if room(&came) <= 0 || came.is_dead() {
                return;
            }
            let piece = left.min(16_384).min(usize::try_from(room(&came)).expect("it is positive"));
            left -= piece;
            *self.sent.entry(stream).or_default() += piece as i64;
            *self.sent.entry(0).or_default() += piece as i64;
            self.frame(0, u8::from(left == 0), stream, &vec![b'x'; piece]);
            self.flush().await;
        }
    }

    async fn event(&mut self, event: Event) {
        match event {
            Event::Settings => drop(self.until(|came| came.settings).await),
            Event::Closed => drop(self.until(|came| came.closed).await),
            Event::Answer(stream) => {
                let stream = self.number(stream);
                self.until(|came| came.on(stream).status.is_some() || came.on(stream).is_over())
                    .await;
            }
            Event::End(stream) => {
                let stream = self.number(stream);
                self.until(|came| came.on(stream).is_over()).await;
            }
        }
    }

    /// Waits until this is so, the connection is closed, or it takes too long; and answers what has come.
    pub async fn until(&mut self, condition: impl Fn(&Came) -> bool) -> Came {
        self.until_within(STUCK, condition).await
    }

    /// Waits that long.
    pub async fn until_within(
        &mut self,
        limit: Duration,
        condition: impl Fn(&Came) -> bool,
    ) -> Came {
        let waiting = self.came.wait_for(|came| came.closed || condition(came));
        let _ = tokio::time::timeout(limit, waiting).await;
        self.came.borrow().clone()
    }

    /// Whether a PING is answered.
    pub async fn is_alive(&mut self) -> bool {
        let before = self.came.borrow().pongs;
        self.frame(6, 0, 0, b"alive?!!");
        self.flush().await;
        self.until(|came| came.pongs > before || came.is_dead()).await.pongs > before
    }
}

/// Plays a case, and waits until what it wants has come, or can't come any more.
pub async fn play(case: &Case, to: SocketAddr, from: Ipv4Addr) -> (Came, bool) {
    let mut connection = Connection::open(to, from).await;
    if !matches!(case.lines.first(), Some(Line::Bare)) {
        connection.greet(&[]).await;
    }
    connection.perform(&case.lines).await;
    let came = connection.until(|came| super::judge::has_come(&case.want, came)).await;
    let alive = !came.is_dead() && case.want.iter().any(|word| word == "alive" || word == "pass");
    let alive = alive && connection.is_alive().await;
    (connection.came.borrow().clone(), alive)
}

async fn read(mut reader: BufReader<OwnedReadHalf>, came: watch::Sender<Came>) {
    // An error is the other side's end too.
    let _ = read_frames(&mut reader, &came).await;
    came.send_modify(|came| came.closed = true);
}

async fn read_frames(
    reader: &mut BufReader<OwnedReadHalf>,
    came: &watch::Sender<Came>,
) -> io::Result<()> {
    loop {
        let mut head = [0; 9];
        reader.read_exact(&mut head).await?;
        let [l0, l1, l2, kind, flags, s0, s1, s2, s3] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, l0, l1, l2]) as usize];
        reader.read_exact(&mut payload).await?;
        let stream = u32::from_be_bytes([s0 & 0x7f, s1, s2, s3]);
        let word = |at: usize| {
            payload
                .get(at..at + 4)
                .map_or(0, |word| u32::from_be_bytes(word.try_into().expect("four bytes")))
        };
        came.send_modify(|came| {
            let end = flags & 1 == 1;
            match kind {
                0 => {
                    let outcome = came.streams.entry(stream).or_default();
                    outcome.body += payload.len();
                    outcome.ended |= end;
                }
                1 => {
                    let outcome = came.streams.entry(stream).or_default();
                    outcome.status = outcome.status.or_else(|| status(&payload));
                    outcome.ended |= end;
                }
                3 => came.streams.entry(stream).or_default().reset = Some(word(0)),
                4 if !end => {
                    came.settings = true;
                    for setting in payload.chunks_exact(6) {
                        if setting[..2] == [0, 4] {
                            came.initial_window = i64::from(u32::from_be_bytes([
                                setting[2], setting[3], setting[4], setting[5],
                            ]));
                        }
                    }
                }
                6 if end => came.pongs += 1,
                7 => came.goaway = Some(word(4)),
                8 => *came.windows.entry(stream).or_default() += i64::from(word(0)),
                _ => {}
            }
        });
    }
}
