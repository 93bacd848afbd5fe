//! Says what of a request is dirty that an upstream received, though it could be read.
//!
//! A gateway has one spelling for each request, and lets nothing through that is for one hop, that is its own to say, or that
//! somebody could take for either.

use std::net::Ipv4Addr;

use super::corpus::Profile;
use super::oracle::Message;

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
pub(crate) fn dirt(message: &Message, from: Ipv4Addr, on: Profile) -> Vec<String> {
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

#[cfg(test)]
mod tests {
    use super::super::oracle::{Read, read};
    use super::*;

    #[test]
    fn dirt_is_found() {
        let clean = "GET /a HTTP/1.1\r\nhost: a\r\nx-forwarded-for: 127.0.0.9\r\nforwarded: for=127.0.0.9;proto=http\r\n\
                     x-forwarded-proto: http\r\nx-forwarded-host: a\r\nx-request-id: 0123456789abcdef0123456789abcdef\r\n";
        let found = |more: &str, from: &str, to: &str| {
            let wire = format!("{clean}{more}\r\n").replace(from, to);
            let Read::Whole(message, _) = read(wire.as_bytes()) else { panic!("{wire}") };
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
