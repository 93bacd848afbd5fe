//! Reads HTTP/1 as strictly as RFC 9112 allows.
//!
//! It is written apart from the gateway's codecs on purpose and favours the plain over the quick: it looks at a whole buffer
//! again each time. A message that it can't read in exactly one way it doesn't read at all.

use std::net::Ipv4Addr;

/// A request that can be read in one way.
#[derive(Debug, Clone, Default)]
pub struct Message {
    /// `GET`
    pub method: String,
    /// As it stood in the request line.
    pub target: String,
    /// Names in lower case, values trimmed.
    pub fields: Vec<(String, Vec<u8>)>,
    /// The body without its framing, as far as it came.
    pub body: Vec<u8>,
    /// Fields behind the body, those that are fields.
    pub trailers: Vec<(String, Vec<u8>)>,
    /// Whether it came to its end.
    pub complete: bool,
    /// The head letter for letter.
    pub(super) head: Vec<u8>,
    http11: bool,
    /// Whether its chunks and what is behind them have only one spelling.
    pub(super) plain_chunks: bool,
}

impl Message {
    /// The values of a field.
    pub fn all<'m>(&'m self, name: &'m str) -> impl Iterator<Item = &'m [u8]> {
        self.fields.iter().filter(move |(other, _)| other == name).map(|(_, value)| &value[..])
    }

    /// The first value of a field, as text.
    pub fn first(&self, name: &str) -> Option<String> {
        self.all(name).next().map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// Who sent it, as the gateway says.
    pub fn from(&self) -> Option<Ipv4Addr> {
        let chain = self.first("x-forwarded-for")?;
        chain.rsplit(", ").next()?.parse().ok()
    }
}

/// What the bytes at the start of a buffer are.
#[derive(Debug)]
pub enum Read {
    /// A whole message, and how many bytes it took.
    Whole(Message, usize),
    /// The beginning of one, with its head if that is there.
    Part(Option<Message>),
    /// Nothing that can be read in one way; and the message up to there, if its head could be read.
    Bad(&'static str, Option<Message>),
}

/// All messages of a client, and what is behind the last whole one: nothing, a part, or something that can't be read.
pub fn messages(mut bytes: &[u8]) -> (Vec<Message>, Option<Read>) {
    let mut whole = Vec::new();
    loop {
        // RFC 9112, 2.2: empty lines before a request line may be ignored.
        while let Some(rest) = bytes.strip_prefix(b"\r\n") {
            bytes = rest;
        }
        if bytes.is_empty() {
            return (whole, None);
        }
        match read(bytes) {
            Read::Whole(message, length) => {
                bytes = &bytes[length..];
                whole.push(message);
            }
            other => return (whole, Some(other)),
        }
    }
}

/// Reads the message at the start of `bytes`.
pub(super) fn read(bytes: &[u8]) -> Read {
    match head(bytes) {
        Ok(None) => Read::Part(None),
        Err(what) => Read::Bad(what, None),
        Ok(Some((mut message, length))) => match framing(&message) {
            Err(what) => Read::Bad(what, Some(message)),
            Ok(Framing::Length(want)) => {
                let have = bytes.len() - length;
                message.complete = have >= want;
                message.body = bytes[length..length + have.min(want)].to_vec();
                if message.complete {
                    Read::Whole(message, length + want)
                } else {
                    Read::Part(Some(message))
                }
            }
            Ok(Framing::Chunked) => match chunks(&bytes[length..], &mut message) {
                Err(what) => Read::Bad(what, Some(message)),
                Ok(None) => Read::Part(Some(message)),
                Ok(Some(body)) => {
                    message.complete = true;
                    Read::Whole(message, length + body)
                }
            },
        },
    }
}

/// The line at the start of `bytes` without its CRLF; nothing while it is incomplete.
fn line(bytes: &[u8]) -> Result<Option<&[u8]>, &'static str> {
    let end = bytes.iter().position(|&byte| byte == b'\n');
    let line = &bytes[..end.unwrap_or(bytes.len())];
    let line = match (end, line.split_last()) {
        (Some(_), Some((b'\r', line))) => line,
        (Some(_), _) => return Err("a line that ends in a bare LF"),
        (None, Some((b'\r', line))) => line,
        (None, _) => line,
    };
    match line.iter().find(|&&byte| byte != b'\t' && (byte < 0x20 || byte == 0x7f)) {
        Some(b'\r') => Err("a bare CR"),
        Some(_) => Err("a control byte"),
        None => Ok(end.map(|_| line)),
    }
}

fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes
            .iter()
            .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
}

fn head(bytes: &[u8]) -> Result<Option<(Message, usize)>, &'static str> {
    let Some(start) = line(bytes)? else { return Ok(None) };
    let mut words = start.split(|&byte| byte == b' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err("a request line that is not three words");
    };
    if !is_token(method) {
        return Err("a method that is no token");
    }
    if target.is_empty() || !target.iter().all(|&byte| byte > b' ' && byte != 0x7f) {
        return Err("a target with what no target has");
    }
    let http11 = version == b"HTTP/1.1";
    if !http11 && version != b"HTTP/1.0" {
        return Err("a version other than 1.0 and 1.1");
    }
    let mut fields = Vec::new();
    let mut at = start.len() + 2;
    loop {
        let Some(line) = line(&bytes[at..])? else { return Ok(None) };
        at += line.len() + 2;
        if line.is_empty() {
            break;
        }
        let colon = line.iter().position(|&byte| byte == b':').ok_or("a field without a colon")?;
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if !is_token(name) {
            return Err("a field name that is no token");
        }
        fields.push((String::from_utf8_lossy(name).to_lowercase(), value.to_vec()));
    }
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (method, target) = (text(method), text(target));
    let head = bytes[..at].to_vec();
    let message = Message { method, target, fields, head, http11, ..Message::default() };
    Ok(Some((message, at)))
}

enum Framing {
    Length(usize),
    Chunked,
}

fn framing(message: &Message) -> Result<Framing, &'static str> {
    let lengths: Vec<_> = message.all("content-length").collect();
    let codings: Vec<_> = message.all("transfer-encoding").collect();
    match (&lengths[..], &codings[..]) {
        ([], []) => Ok(Framing::Length(0)),
        ([length], []) if !length.is_empty() && length.iter().all(u8::is_ascii_digit) => {
            let length = String::from_utf8_lossy(length).parse();
            length.map(Framing::Length).map_err(|_| "a length too large")
        }
        (_, []) => Err("a length that is not one number"),
        ([], [coding]) if message.http11 && coding.eq_ignore_ascii_case(b"chunked") => {
            Ok(Framing::Chunked)
        }
        ([], _) => Err("a coding other than chunked, once, in HTTP/1.1"),
        _ => Err("a length beside a coding"),
    }
}

/// Reads chunks into the message's body, and answers how many bytes they took once the last has come.
fn chunks(bytes: &[u8], message: &mut Message) -> Result<Option<usize>, &'static str> {
    let mut at = 0;
    message.plain_chunks = true;
    loop {
        let Some(line_of_size) = line(&bytes[at..])? else { return Ok(None) };
        at += line_of_size.len() + 2;
        let digits = line_of_size.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        let behind = line_of_size[digits..].trim_ascii_start();
        if digits == 0 || digits > 16 || !(behind.is_empty() || behind[0] == b';') {
            return Err("a chunk size that is not hex digits");
        }
        let text = String::from_utf8_lossy(&line_of_size[..digits]).into_owned();
        let size = usize::from_str_radix(&text, 16).map_err(|_| "a chunk too large")?;
        message.plain_chunks &= line_of_size == format!("{size:x}").as_bytes();
        if size == 0 {
            break;
        }
        let data = &bytes[at..];
        message.body.extend_from_slice(&data[..size.min(data.len())]);
        match data.get(size..) {
            None | Some([] | [b'\r']) => return Ok(None),
            Some([b'\r', b'\n', ..]) => at += size + 2,
            Some(_) => return Err("a chunk that does not end where it says"),
        }
    }
    loop {
        let Some(trailer) = line(&bytes[at..])? else { return Ok(None) };
        at += trailer.len() + 2;
        if trailer.is_empty() {
            return Ok(Some(at));
        }
        let colon = trailer.iter().position(|&byte| byte == b':').unwrap_or(0);
        let (name, value) =
            (&trailer[..colon], trailer.get(colon + 1..).unwrap_or_default().trim_ascii());
        message.plain_chunks &= is_token(name) && trailer == [name, b": ", value].concat();
        message.trailers.push((String::from_utf8_lossy(name).to_lowercase(), value.to_vec()));
    }
}

/// An answer of the gateway, as a client reads it.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Names in lower case.
    pub fields: Vec<(String, String)>,
    /// The body without its framing.
    pub body: Vec<u8>,
    /// Whether the body came to its end.
    pub complete: bool,
}

impl Answer {
    /// The first value of a field.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(other, _)| other == name).map(|(_, value)| &**value)
    }

    /// Whether the gateway says that it closes.
    pub fn closes(&self) -> bool {
        self.first("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// Reads the answer at the start of `bytes`, and how many bytes it took; `at_end` says that nothing more comes.
///
/// # Errors
/// It can't be read in one way.
pub fn answer(
    bytes: &[u8],
    to_head: bool,
    at_end: bool,
) -> Result<Option<(Answer, usize)>, &'static str> {
    let Some(start) = line(bytes)? else { return Ok(None) };
    let text = String::from_utf8_lossy(start).into_owned();
    let mut words = text.splitn(3, ' ');
    let version = words.next().unwrap_or_default();
    if version != "HTTP/1.1" && version != "HTTP/1.0" {
        return Err("an answer of no known version");
    }
    let status = words.next().and_then(|status| status.parse().ok()).ok_or("no status")?;
    let (mut at, mut fields) = (start.len() + 2, Vec::new());
    loop {
        let Some(line) = line(&bytes[at..])? else { return Ok(None) };
        at += line.len() + 2;
        if line.is_empty() {
            break;
        }
        let line = String::from_utf8_lossy(line).into_owned();
        let (name, value) = line.split_once(':').ok_or("a field without a colon")?;
        if !is_token(name.as_bytes()) {
            return Err("a field name that is no token");
        }
        fields.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let mut answer = Answer { status, fields, body: Vec::new(), complete: true };
    if status < 200 || status == 204 || status == 304 || to_head {
        return Ok(Some((answer, at)));
    }
    let count = |name: &str| answer.fields.iter().filter(|(other, _)| other == name).count();
    if count("content-length") + count("transfer-encoding") > 1 {
        return Err("an answer with two framings");
    }
    if answer.first("transfer-encoding").is_some() {
        let mut message = Message { http11: true, ..Message::default() };
        let end = chunks(&bytes[at..], &mut message)?;
        if end.is_none() && !at_end {
            return Ok(None);
        }
        (answer.body, answer.complete) = (message.body, end.is_some());
        return Ok(Some((answer, at + end.unwrap_or(bytes.len() - at))));
    }
    let have = bytes.len() - at;
    let want: usize = match answer.first("content-length") {
        Some(length) => length.parse().map_err(|_| "a length that is no number")?,
        None if at_end => have,
        None => return Ok(None),
    };
    if have < want && !at_end {
        return Ok(None);
    }
    answer.complete = have >= want;
    answer.body = bytes[at..at + want.min(have)].to_vec();
    Ok(Some((answer, at + want.min(have))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(bytes: &str) -> Read {
        read(bytes.as_bytes())
    }

    #[test]
    fn what_can_be_read_in_one_way_is_read() {
        let wire = "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 003\r\n\r\nabcGET";
        let Read::Whole(message, length) = one(wire) else { panic!("{:?}", one(wire)) };
        assert_eq!((message.body, length), (b"abc".to_vec(), wire.len() - 3));
        let wire = "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3;x\r\nabc\r\n0\r\nt: 1\r\n\r\n";
        assert!(matches!(one(wire), Read::Whole(message, _) if message.body == b"abc"));
    }

    #[test]
    fn what_could_be_read_in_two_ways_is_not() {
        for wire in [
            "GET / HTTP/1.1\nHost: a\r\n\r\n",
            "GET  / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na",
            "GET / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked, chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n",
            "GET / HTTP/1.1\r\nX: a\0b\r\n\r\n",
        ] {
            assert!(matches!(one(wire), Read::Bad(..)), "{wire:?}");
        }
    }
}
