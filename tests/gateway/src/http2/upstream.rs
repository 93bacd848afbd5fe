//! An upstream that speaks HTTP/1 as strictly as the gateway writes it, keeps what it was sent, and says what is dirty.
//!
//! There is one spelling that it takes. Whatever else arrives is dirt, whether or not a server could make sense of it.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::deadline::{PATIENCE, eventually};

/// A request as it came.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// As it stood in the request line.
    pub method: String,
    /// See `method`.
    pub target: String,
    /// In their order.
    pub fields: Vec<(String, Vec<u8>)>,
    /// Without its framing, as far as it came.
    pub body: Vec<u8>,
    /// Whether it came to its end.
    pub complete: bool,
}

impl Message {
    fn all<'m>(&'m self, name: &'m str) -> impl Iterator<Item = &'m [u8]> {
        self.fields.iter().filter(move |(other, _)| other == name).map(|(_, value)| &value[..])
    }

    fn from(&self) -> Option<Ipv4Addr> {
        let mut addresses = self.all("x-forwarded-for");
        let address = std::str::from_utf8(addresses.next()?).ok()?.parse().ok();
        address.filter(|_| addresses.next().is_none())
    }
}

/// A request, and why what followed it could not be read.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The request.
    pub message: Message,
    /// What was wrong as bytes.
    pub fault: Option<&'static str>,
}

#[derive(Debug, Default)]
struct Kept {
    by_client: HashMap<Ipv4Addr, Vec<Seen>>,
    unknown: Vec<String>,
    open: usize,
}

/// The upstream. It tells senders apart by what the gateway says of them, so each case comes from an address of its own.
#[derive(Debug, Clone)]
pub struct StrictUpstream {
    address: SocketAddr,
    kept: Arc<Mutex<Kept>>,
}

impl StrictUpstream {
    /// Listens on a free port, as long as the runtime lives.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let upstream = Self { address, kept: Arc::default() };
        tokio::spawn(upstream.clone().accept(listener));
        upstream
    }

    /// `http://address`
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Takes out all that came from this client.
    pub fn taken(&self, client: Ipv4Addr) -> Vec<Seen> {
        self.kept().by_client.remove(&client).unwrap_or_default()
    }

    /// Takes out what names no sender. Each is a fault.
    pub fn unknown(&self) -> Vec<String> {
        std::mem::take(&mut self.kept().unknown)
    }

    /// Waits until nobody is connected any more, after which nothing more can arrive.
    pub async fn quiet(&self) {
        let what = "the end of all connections to the upstream";
        eventually(PATIENCE, what, || async { self.kept().open == 0 }).await;
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().expect("nothing panics under this lock")
    }

    async fn accept(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            self.kept().open += 1;
            let upstream = self.clone();
            tokio::spawn(async move {
                upstream.serve(stream).await;
                upstream.kept().open -= 1;
            });
        }
    }

    async fn serve(&self, mut stream: TcpStream) {
        let mut bytes = Vec::new();
        let mut at_end = false;
        loop {
            match read(&bytes) {
                Read::Whole(message, length) => {
                    bytes.drain(..length);
                    // The gateway asks once at a time: what is behind a request was never meant to be one.
                    let fault = (!bytes.is_empty()).then_some("more came behind it");
                    let answer = answer(&message);
                    self.keep(message, fault);
                    if stream.write_all(&answer).await.is_err() {
                        return;
                    }
                }
                Read::Part(message) if at_end => {
                    match message {
                        Some(message) => self.keep(message, None),
                        None if bytes.is_empty() => {}
                        None => self.kept().unknown.push(format!("half a head: {bytes:?}")),
                    }
                    return;
                }
                Read::Part(_) => at_end = !matches!(stream.read_buf(&mut bytes).await, Ok(1..)),
                Read::Bad(what) => {
                    let shown = String::from_utf8_lossy(&bytes);
                    return self.kept().unknown.push(format!("{what}: {shown:.400}"));
                }
            }
        }
    }

    fn keep(&self, message: Message, fault: Option<&'static str>) {
        let mut kept = self.kept();
        match message.from() {
            Some(client) => {
                kept.by_client.entry(client).or_default().push(Seen { message, fault });
            }
            None => kept.unknown.push(format!("from nobody: {message:?}")),
        }
    }
}

fn answer(message: &Message) -> Vec<u8> {
    let saw = format!("{} {}", message.method, message.target);
    let body = if message.method == "HEAD" { "" } else { &saw };
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", saw.len()).into_bytes()
}

/// What stands at the start of some bytes.
#[derive(Debug)]
enum Read {
    Whole(Message, usize),
    Part(Option<Message>),
    Bad(&'static str),
}

fn read(bytes: &[u8]) -> Read {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else {
        return Read::Part(None);
    };
    let mut message = match head(&bytes[..end]) {
        Ok(message) => message,
        Err(what) => return Read::Bad(what),
    };
    let behind = &bytes[end + 4..];
    let (lengths, codings) =
        (message.all("content-length").count(), message.all("transfer-encoding").count());
    let length = match (lengths, codings) {
        (0, 0) => 0,
        (1, 0) => match length(message.all("content-length").next().unwrap_or_default()) {
            Some(length) => length,
            None => return Read::Bad("a length that is not one plain number"),
        },
        (0, 1) if message.all("transfer-encoding").next() == Some(b"chunked") => {
            return match chunks(behind, &mut message) {
                Ok(Some(taken)) => {
                    message.complete = true;
                    Read::Whole(message, end + 4 + taken)
                }
                Ok(None) => Read::Part(Some(message)),
                Err(what) => Read::Bad(what),
            };
        }
        _ => return Read::Bad("more than one framing"),
    };
    message.body = behind[..length.min(behind.len())].to_vec();
    message.complete = message.body.len() == length;
    if message.complete {
        Read::Whole(message, end + 4 + length)
    } else {
        Read::Part(Some(message))
    }
}

/// Digits without a zero in front.
fn length(text: &[u8]) -> Option<usize> {
    let text = std::str::from_utf8(text).ok()?;
    text.parse().ok().filter(|length: &usize| length.to_string() == text)
}

fn head(bytes: &[u8]) -> Result<Message, &'static str> {
    let text: Vec<_> = bytes.split(|&byte| byte == b'\n').collect();
    let mut lines = Vec::new();
    for (number, line) in text.iter().enumerate() {
        let line = match line.strip_suffix(b"\r") {
            Some(line) if number + 1 < text.len() => line,
            None if number + 1 == text.len() => line,
            _ => return Err("a bare CR or LF"),
        };
        if line.iter().any(|&byte| byte != b'\t' && byte < 0x20 || byte == 0x7f) {
            return Err("a control byte");
        }
        lines.push(line);
    }
    let start = String::from_utf8(lines.remove(0).to_vec()).map_err(|_| "an odd request line")?;
    let words: Vec<_> = start.split(' ').collect();
    let [method, target, "HTTP/1.1"] = words[..] else { return Err("an odd request line") };
    if method.is_empty() || !method.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return Err("an odd method");
    }
    let mut fields = Vec::new();
    for line in lines {
        let colon = line.windows(2).position(|pair| pair == b": ").ok_or("an odd field")?;
        let (name, value) = (&line[..colon], &line[colon + 2..]);
        let is_name =
            |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(byte);
        if name.is_empty() || !name.iter().all(is_name) || value.trim_ascii() != value {
            return Err("an odd field");
        }
        fields.push((String::from_utf8_lossy(name).into_owned(), value.to_vec()));
    }
    Ok(Message {
        method: method.to_owned(),
        target: target.to_owned(),
        fields,
        ..Message::default()
    })
}

/// Reads chunks in their only spelling, and answers how many bytes they took once the last has come.
fn chunks(bytes: &[u8], message: &mut Message) -> Result<Option<usize>, &'static str> {
    let mut at = 0;
    loop {
        let Some(end) = bytes[at..].windows(2).position(|pair| pair == b"\r\n") else {
            return Ok(None);
        };
        let line = std::str::from_utf8(&bytes[at..at + end]).map_err(|_| "an odd chunk")?;
        let size = usize::from_str_radix(line, 16).map_err(|_| "an odd chunk")?;
        if format!("{size:x}") != line {
            return Err("an odd chunk");
        }
        at += end + 2;
        let data = &bytes[at..];
        message.body.extend(&data[..size.min(data.len())]);
        match data.get(size..) {
            None | Some([] | [b'\r']) => return Ok(None),
            Some([b'\r', b'\n', ..]) => at += size + 2,
            Some(_) => return Err("a chunk that does not end where it says, or trailers"),
        }
        if size == 0 {
            return Ok(Some(at));
        }
    }
}

/// Fields that are for one hop, or the gateway's alone to say, and then only in these tests' absence of both.
const NEVER: [&str; 18] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "upgrade",
    "http2-settings",
    "expect",
    "x-real-ip",
    "x-original-url",
    "x-rewrite-url",
    "x-auth-subject",
    "x-auth-mode",
    "feature-flags",
    "killswitches",
    "spool-queued",
];

/// What is dirty about a request that could be read.
pub(super) fn dirt(message: &Message, from: Ipv4Addr) -> Vec<String> {
    let mut dirt = Vec::new();
    for (name, _) in &message.fields {
        if NEVER.contains(&&*name.replace('_', "-")) {
            dirt.push(format!("{name} came through"));
        }
    }
    let one = |name: &str, value: &str| message.all(name).eq([value.as_bytes()]);
    if !one("x-forwarded-for", &from.to_string()) || !one("x-forwarded-proto", "http") {
        dirt.push("another client than the one that asked".to_owned());
    }
    for name in ["host", "x-request-id", "forwarded", "x-forwarded-host"] {
        if message.all(name).count() != 1 {
            dirt.push(format!("not one {name}"));
        }
    }
    if message.all("cookie").count() > 1 {
        dirt.push("more than one cookie".to_owned());
    }
    let host = message.all("host").next().unwrap_or_default();
    let is_host = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(byte);
    if host.is_empty() || !host.iter().all(is_host) {
        dirt.push("a Host that is none".to_owned());
    }
    let path = message.target.split('?').next().unwrap_or_default();
    let visible = message.target.bytes().all(|byte| (0x21..0x7f).contains(&byte) && byte != b'#');
    let segments = path.strip_prefix('/').map(|path| path.split('/').collect::<Vec<_>>());
    let is_normal = segments.is_some_and(|segments| {
        let (last, inner) = segments.split_last().expect("a split has a part");
        inner.iter().all(|segment| !segment.is_empty())
            && !segments.iter().chain([last]).any(|segment| [".", ".."].contains(segment))
    });
    if !visible || !is_normal {
        dirt.push(format!("a target that is no normal path: {}", message.target));
    }
    dirt
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_spelling_is_taken_and_no_other() {
        let whole = |wire: &str| matches!(read(wire.as_bytes()), Read::Whole(_, length) if length == wire.len());
        assert!(whole("GET /a HTTP/1.1\r\nhost: a\r\n\r\n"));
        assert!(whole("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 3\r\n\r\nabc"));
        assert!(whole(
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        ));
        for wire in [
            "GET  / HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET / HTTP/1.0\r\n\r\n",
            "GET / HTTP/1.1\nhost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nhost:a\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a \r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\rb\r\n\r\n",
            "POST / HTTP/1.1\r\ncontent-length: 03\r\n\r\nabc",
            "POST / HTTP/1.1\r\ncontent-length: 3\r\ncontent-length: 3\r\n\r\nabc",
            "POST / HTTP/1.1\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\nabc",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n03\r\nabc\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabcd\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx: y\r\n\r\n",
        ] {
            assert!(matches!(read(wire.as_bytes()), Read::Bad(_)), "{wire:?}");
        }
        let half = "POST / HTTP/1.1\r\ncontent-length: 3\r\n\r\nab";
        assert!(matches!(read(half.as_bytes()), Read::Part(Some(message)) if !message.complete));
    }

    #[test]
    fn dirt_is_found_in_what_can_be_read() {
        let clean = "GET /a HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 127.0.0.9\r\nx-forwarded-proto: http\r\n\
                     x-forwarded-host: a\r\nforwarded: for=127.0.0.9\r\nx-request-id: 1\r\n";
        let dirt = |more: &str, target: &str| {
            let wire = format!("{clean}{more}\r\n").replace("/a ", target);
            let Read::Whole(message, _) = read(wire.as_bytes()) else { panic!("{wire}") };
            dirt(&message, Ipv4Addr::new(127, 0, 0, 9))
        };
        assert_eq!(dirt("", "/a "), Vec::<String>::new());
        for more in [
            "te: trailers\r\n",
            "host: b\r\n",
            "x_auth_subject: a\r\n",
            "cookie: a\r\ncookie: b\r\n",
        ] {
            assert!(!dirt(more, "/a ").is_empty(), "{more}");
        }
        for target in ["/a/../b ", "//a ", "* ", "/a#b ", "http://a/ "] {
            assert!(!dirt("", target).is_empty(), "{target}");
        }
    }
}
