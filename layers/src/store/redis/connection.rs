//! One connection to one server: over TCP, and over TLS where the address says `rediss://`.
//!
//! The crate that reads and writes Redis's protocol has connections of its own. Ours differ in three things: a question ends
//! by its deadline, however slowly its answer drips; a server can be made to prove another name than that of its address,
//! which Sentinels and clusters need, because they tell addresses where certificates have names; and files of certificates
//! are read at each connection, so that renewed ones count without a restart.

use std::{
    io::{self, Read, Write},
    net::{TcpStream, ToSocketAddrs},
    time::{Duration, Instant},
};

use ::redis::{
    Cmd, ConnectionAddr, ConnectionLike, IntoConnectionInfo, Parser, RedisResult, Value, cmd,
};

use super::{Tls, tls};

/// Where a server listens, and as whom we come.
#[derive(Clone)]
pub(super) struct Node {
    pub(super) host: String,
    port: u16,
    pub(super) is_over_tls: bool,
    user: Option<String>,
    password: Option<String>,
    database: i64,
}

impl Node {
    /// Nothing: that is no address of Redis.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let (is_over_tls, url) = match url.strip_prefix("rediss://") {
            Some(rest) => (true, format!("redis://{rest}")),
            None => (false, url.to_owned()),
        };
        // Other clients take `#insecure` for leave to trust anybody.
        let url = Some(url).filter(|url| !url.contains('#'))?;
        let info = url.into_connection_info().ok()?;
        let ConnectionAddr::Tcp(host, port) = info.addr() else { return None };
        let settings = info.redis_settings();
        Some(Self {
            host: host.clone(),
            port: *port,
            is_over_tls,
            user: settings.username().map(str::to_owned),
            password: settings.password().map(str::to_owned),
            database: settings.db(),
        })
    }

    /// The same way to another address.
    pub(super) fn at(&self, host: &str, port: u16) -> Self {
        Self { host: host.to_owned(), port, ..self.clone() }
    }
}

/// A connection that has said who it is.
pub(super) struct Connection {
    stream: Stream,
    parser: Parser,
    patience: Duration,
    database: i64,
}

impl Connection {
    pub(super) fn open(node: &Node, tls: &Tls, timeout: Duration) -> RedisResult<Self> {
        let end = Instant::now() + timeout;
        let tcp = dial(node, end)?;
        tcp.set_nodelay(true)?;
        let wire = Wire { tcp, end };
        let stream = if node.is_over_tls {
            Stream::Encrypted(Box::new(tls::encrypt(tls, &node.host, wire)?))
        } else {
            Stream::Plain(wire)
        };
        let (parser, database) = (Parser::new(), node.database);
        let mut connection = Self { stream, parser, patience: timeout, database };
        for introduction in introductions(node) {
            connection.patience = end.saturating_duration_since(Instant::now());
            introduction.exec(&mut connection)?;
        }
        connection.patience = timeout;
        Ok(connection)
    }

    /// How long each question from now on may take.
    pub(super) const fn wait_for(&mut self, patience: Duration) {
        self.patience = patience;
    }

    fn send(&mut self, commands: &[u8]) -> io::Result<()> {
        self.stream.wire().end = Instant::now() + self.patience;
        self.stream.write_all(commands)?;
        self.stream.flush()
    }
}

fn introductions(node: &Node) -> impl Iterator<Item = Cmd> {
    let password = node.password.iter().map(|password| {
        let mut login = cmd("AUTH");
        login.arg(node.user.as_deref()).arg(password);
        login
    });
    let database = (node.database != 0).then(|| cmd("SELECT").arg(node.database).take());
    password.chain(database)
}

/// The first of its addresses that takes a connection.
fn dial(node: &Node, end: Instant) -> io::Result<TcpStream> {
    let mut failed = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
    for address in (node.host.as_str(), node.port).to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, left(end)?) {
            Ok(tcp) => return Ok(tcp),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

impl ConnectionLike for Connection {
    fn req_packed_command(&mut self, command: &[u8]) -> RedisResult<Value> {
        self.send(command)?;
        self.parser.parse_value(&mut self.stream)
    }

    fn req_packed_commands(
        &mut self,
        commands: &[u8],
        offset: usize,
        count: usize,
    ) -> RedisResult<Vec<Value>> {
        self.send(commands)?;
        let answers = (0..offset + count).map(|_| self.parser.parse_value(&mut self.stream));
        Ok(answers.collect::<RedisResult<Vec<_>>>()?.split_off(offset))
    }

    fn get_db(&self) -> i64 {
        self.database
    }

    fn check_connection(&mut self) -> bool {
        cmd("PING").exec(self).is_ok()
    }

    /// Whoever sees an error throws the connection away.
    fn is_open(&self) -> bool {
        true
    }
}

enum Stream {
    Plain(Wire),
    Encrypted(Box<tls::Encrypted>),
}

impl Stream {
    fn wire(&mut self) -> &mut Wire {
        match self {
            Self::Plain(wire) => wire,
            Self::Encrypted(stream) => stream.get_mut(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(wire) => wire.read(bytes),
            Self::Encrypted(stream) => stream.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(wire) => wire.write(bytes),
            Self::Encrypted(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(wire) => wire.flush(),
            Self::Encrypted(stream) => stream.flush(),
        }
    }
}

/// What TCP carries, up to a deadline.
pub(super) struct Wire {
    tcp: TcpStream,
    end: Instant,
}

impl Read for Wire {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        self.tcp.set_read_timeout(Some(left(self.end)?))?;
        in_time(self.tcp.read(bytes))
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.tcp.set_write_timeout(Some(left(self.end)?))?;
        in_time(self.tcp.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}

/// A time-out of a socket has a word of its own on each system.
fn in_time(moved: io::Result<usize>) -> io::Result<usize> {
    match moved {
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(late()),
        moved => moved,
    }
}

fn left(end: Instant) -> io::Result<Duration> {
    let left = end.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(late()) } else { Ok(left) }
}

fn late() -> io::Error {
    io::Error::new(io::ErrorKind::TimedOut, "it didn't answer in time")
}
