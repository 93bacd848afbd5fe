//! Reads HTTP/1 as strictly as RFC 9112 allows, and says what of a request is dirty.
//!
//! It is written apart from the gateway's codecs on purpose and favours the plain over the quick: it looks at a whole buffer
//! again each time. A message that it can't read in exactly one way it doesn't read at all.

use std::net::Ipv4Addr;

use super::corpus::Profile;

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
    head: Vec<u8>,
    http11: bool,
    /// Whether its chunks and what is behind them have only one spelling.
    plain_chunks: bool,
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

/// Fields that are for one hop, or that make a server do what a gateway has to decide.
const NEVER: [&str; 14] = [
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
    "proxy",
    "x-real-ip",
    "x-original-url",
    "x-rewrite-url",
];

/// Fields that may stand behind a body where a case is about that.
const TRAILERS: [&str; 2] = ["x-sum", "grpc-status"];

/// What only the gateway says, where these tests configure none of it.
const OWNED: [&str; 6] = [
    "feature-flags",
    "feature-flags-revision",
    "killswitches",
    "spool-queued",
    "x-auth-subject",
    "x-auth-mode",
];

/// Fields of which a second spelling is as good as the first to some server.
const PROTECTED: [&str; 9] = [
    "host",
    "content-length",
    "content-type",
    "transfer-encoding",
    "authorization",
    "cookie",
    "x-request-id",
    "traceparent",
    "forwarded",
];

/// What is dirty about a request that an upstream received from this client, who may say for whom it asks.
pub(super) fn dirt(message: &Message, from: Ipv4Addr, on: Profile) -> Vec<String> {
    let (trusted, kept_slashes) = (on == Profile::Trusted, on == Profile::Kept);
    let mut dirt = Vec::new();
    let mut found = |is_dirty: bool, what: &str| {
        if is_dirty {
            dirt.push(what.to_owned());
        }
    };
    found(rendered(message) != message.head, "a head with more than one spelling");
    found(
        !message.plain_chunks && message.all("transfer-encoding").count() > 0 && message.complete,
        "odd chunks or trailers",
    );
    let passes = |name: &str| on == Profile::Trailers && TRAILERS.contains(&name);
    found(
        message.trailers.iter().any(|(name, _)| !passes(name)),
        "a field behind the body that nobody let through",
    );
    found(message.all("transfer-encoding").any(|coding| coding != b"chunked"), "an odd coding");
    found(
        message.all("content-length").any(|length| length.len() > 1 && length[0] == b'0'),
        "a length with zeros in front",
    );
    let hosts: Vec<_> = message.all("host").collect();
    found(hosts.len() != 1 || !is_host(hosts[0]), "not one good Host");
    for (name, value) in &message.fields {
        let folded: String =
            name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let is = |list: &[&str]| list.contains(&&*folded);
        let of_trailers = on == Profile::Trailers
            && match &**name {
                "te" => value == b"trailers",
                "connection" => value == b"te",
                "trailer" => {
                    let names = String::from_utf8_lossy(value).into_owned();
                    names.split(", ").all(passes)
                }
                _ => false,
            };
        found(is(&NEVER) && !of_trailers, &format!("{name} came through"));
        found(is(&OWNED), &format!("{name} is the gateway's to say"));
        found(
            name.contains(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c)),
            &format!("{name} came through"),
        );
        let protected = is(&PROTECTED) || folded.starts_with("x-forwarded-");
        found(protected && folded != *name, &format!("{name} is {folded} to some"));
        found(
            value.iter().any(|&byte| byte != b'\t' && byte < 0x20 || byte == 0x7f),
            "a control byte in a value",
        );
        let known = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"].contains(&&**name);
        found(name.starts_with("x-forwarded-") && !known, &format!("{name} came through"));
    }
    let one =
        |name: &str, expected: &str| message.all(name).collect::<Vec<_>>() == [expected.as_bytes()];
    if trusted {
        for name in ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "forwarded"] {
            found(message.all(name).count() != 1, &format!("not one {name}"));
        }
        found(
            !one("x-forwarded-proto", "http") && !one("x-forwarded-proto", "https"),
            "an odd x-forwarded-proto",
        );
    } else {
        found(
            !one("x-forwarded-for", &from.to_string()),
            "an x-forwarded-for that is not the client's",
        );
        found(
            !one("forwarded", &format!("for={from};proto=http")),
            "a forwarded that is not the client's",
        );
        found(!one("x-forwarded-proto", "http"), "an odd x-forwarded-proto");
        found(
            message.first("x-forwarded-host") != message.first("host"),
            "an odd x-forwarded-host",
        );
    }
    let id = message.first("x-request-id").unwrap_or_default();
    found(
        message.all("x-request-id").count() != 1
            || id.len() != 32
            || !id.bytes().all(|b| b.is_ascii_hexdigit()),
        "not one id of the gateway's",
    );
    if let Err(what) = is_normal(&message.target, kept_slashes) {
        dirt.push(format!("{what}: {}", message.target));
    }
    dirt
}

/// The head in the only spelling that the gateway has.
fn rendered(message: &Message) -> Vec<u8> {
    let mut head = format!("{} {} HTTP/1.1\r\n", message.method, message.target).into_bytes();
    for (name, value) in &message.fields {
        head.extend([name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    head.extend(b"\r\n");
    head
}

/// `host [":" port]`, in the narrowest reading.
fn is_host(host: &[u8]) -> bool {
    let text = String::from_utf8_lossy(host);
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, Some(port)),
        _ => (&*text, None),
    };
    let good_port = port.is_none_or(|port| {
        !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) && port.parse::<u16>().is_ok()
    });
    let inside = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    let good_name = match inside {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            let name = name.strip_suffix('.').unwrap_or(name);
            name.split('.').all(|label| {
                !label.is_empty()
                    && label.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_~".contains(&b))
            })
        }
    };
    good_port && good_name
}

/// Whether a target is in origin-form and can be normalised no further.
fn is_normal(target: &str, kept_slashes: bool) -> Result<(), &'static str> {
    let path = target.split('?').next().unwrap_or_default();
    if !path.starts_with('/') {
        return Err("a target that is no path");
    }
    if !target.is_ascii() {
        return Err("raw non-ASCII bytes");
    }
    if target.contains('#') || path.contains('\\') {
        return Err("a fragment or a backslash");
    }
    let segments: Vec<_> = path[1..].split('/').collect();
    for (index, segment) in segments.iter().enumerate() {
        if segment.is_empty() && index + 1 < segments.len() && !kept_slashes {
            return Err("an empty segment");
        }
        if [".", ".."].contains(&segment.split(';').next().unwrap_or_default()) {
            return Err("a dot segment");
        }
        let decoded = decoded(segment)?;
        if std::str::from_utf8(&decoded).is_err() {
            return Err("escapes that are not UTF-8");
        }
        if decoded.iter().any(|&byte| byte < 0x20 || byte == 0x7f || byte == b'\\') {
            return Err("an escaped control byte or backslash");
        }
        if decoded.contains(&b'/') && !kept_slashes {
            return Err("an escaped slash");
        }
    }
    Ok(())
}

/// A segment with its escapes decoded, which have only one spelling and are all needed.
fn decoded(segment: &str) -> Result<Vec<u8>, &'static str> {
    let mut parts = segment.split('%');
    let mut decoded = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let digits = part.get(..2).ok_or("a broken escape")?;
        let byte = u8::from_str_radix(digits, 16).map_err(|_| "a broken escape")?;
        if digits != digits.to_uppercase() || digits.starts_with('+') {
            return Err("an escape in lower case");
        }
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            return Err("a needless escape");
        }
        decoded.push(byte);
        decoded.extend(part.as_bytes()[2..].iter());
    }
    Ok(decoded)
}

/// Where a client's target leads, by RFC 3986: the path and query that an upstream may see. Nothing for what leads nowhere.
pub(super) fn resolved(target: &str, kept_slashes: bool) -> Option<String> {
    let rest = match target.split_once("://") {
        Some((scheme, rest)) if !scheme.contains(['/', '?']) => {
            let start = rest.find(['/', '?']).unwrap_or(rest.len());
            let path = &rest[start..];
            if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
        }
        _ => target.to_owned(),
    };
    let (path, query) = match rest.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (&*rest, None),
    };
    let mut stack: Vec<String> = Vec::new();
    let needless = unescaped(path)?;
    let segments: Vec<_> = needless.strip_prefix('/')?.split('/').collect();
    for (index, segment) in segments.iter().enumerate() {
        let last = index + 1 == segments.len();
        match segment.split(';').next().unwrap_or_default() {
            "." => {
                if last {
                    stack.push(String::new());
                }
            }
            ".." => {
                stack.pop()?;
                if last {
                    stack.push(String::new());
                }
            }
            _ if segment.is_empty() && !last && !kept_slashes => {}
            _ => stack.push((*segment).to_owned()),
        }
    }
    let path = format!("/{}", stack.join("/"));
    Some(query.map_or(path.clone(), |query| format!("{path}?{query}")))
}

/// Decodes escapes of what needs none, and puts the others into upper case.
fn unescaped(path: &str) -> Option<String> {
    let mut parts = path.split('%');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let byte = u8::from_str_radix(part.get(..2)?, 16).ok()?;
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
        out.push_str(&part[2..]);
    }
    Some(out)
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

    #[test]
    fn dirt_is_found() {
        let clean = "GET /a HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 127.0.0.9\r\nforwarded: for=127.0.0.9;proto=http\r\n\
                     x-forwarded-proto: http\r\nx-forwarded-host: a\r\nx-request-id: 0123456789abcdef0123456789abcdef\r\n";
        let found = |more: &str, from: &str, to: &str| {
            let wire = format!("{clean}{more}\r\n").replace(from, to);
            let Read::Whole(message, _) = one(&wire) else { panic!("{wire}") };
            dirt(&message, Ipv4Addr::new(127, 0, 0, 9), Profile::Plain)
        };
        assert_eq!(found("", "", ""), Vec::<String>::new());
        for more in [
            "connection: close\r\n",
            "te: trailers\r\n",
            "x_forwarded_for: 1\r\n",
            "x-forwarded-user: 1\r\n",
            "killswitches: a\r\n",
            "X-Big: 1\r\n",
            "x-space:  1\r\n",
            "content-length: 00\r\n",
            "content.length: 0\r\n",
            "host: b\r\n",
        ] {
            assert!(!found(more, "", "").is_empty(), "{more}");
        }
        for target in ["/a/../b", "//a", "/%61", "/%2f", "/a%c3", "/%C3", "*", "/a/..;x/b", "/a#b"]
        {
            assert!(!found("", "/a", target).is_empty(), "{target}");
        }
    }

    #[test]
    fn a_target_leads_where_rfc_3986_says() {
        for (target, path) in [
            ("/a/./b/../c?d=/../e", "/a/c?d=/../e"),
            ("http://h/a%2Db", "/a-b"),
            ("http://h", "/"),
            ("http://h?q", "/?q"),
            ("/a/..;x/b//c", "/b/c"),
            ("/a/..", "/"),
        ] {
            assert_eq!(resolved(target, false).as_deref(), Some(path), "{target}");
        }
        assert_eq!(resolved("/../a", false), None);
    }
}
