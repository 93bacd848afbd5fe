//! A strict reader of what reaches an upstream, written from RFC 9112 and not from the gateway's code: the second opinion.

use super::must;

/// One request as an upstream reads it.
struct Request {
    line: String,
    fields: Vec<(String, String)>,
    /// Where it ends.
    end: usize,
}

impl Request {
    fn all<'r>(&'r self, name: &'r str) -> impl Iterator<Item = &'r str> {
        self.fields
            .iter()
            .filter(move |(known, _)| known.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }
}

/// Where the first request of these bytes ends, if it is whole.
pub(super) fn end_of_request(bytes: &[u8]) -> Option<usize> {
    read(bytes).ok().flatten().map(|request| request.end)
}

/// Takes all whole requests off what a connection brought. What could be read in two ways, or has no business there, is a
/// fault.
pub(super) fn judge(connection: &mut Vec<u8>) -> Result<(), String> {
    let shown = |fault: String, bytes: &[u8]| format!("{fault}: {}", bytes.escape_ascii());
    while let Some(request) = read(connection).map_err(|fault| shown(fault, connection))? {
        clean(&request).map_err(|fault| shown(fault, connection))?;
        connection.drain(..request.end);
    }
    Ok(())
}

fn clean(request: &Request) -> Result<(), String> {
    let words: Vec<_> = request.line.split(' ').collect();
    must(words.len() == 3 && words[2] == "HTTP/1.1", || "not a request line".to_owned())?;
    let path = words[1].split('?').next().unwrap_or_default();
    must(path.starts_with('/') && !path.contains("//") && !path.contains('\\'), || {
        "a path that is not normal".to_owned()
    })?;
    let dots = |segment: &str| matches!(segment.split(';').next(), Some("." | ".."));
    must(!path.split('/').any(dots), || "a dot segment".to_owned())?;
    must(request.all("host").count() == 1, || "not one Host".to_owned())?;
    for (name, value) in &request.fields {
        let folded =
            name.to_ascii_lowercase().replace(|sign: char| !sign.is_ascii_alphanumeric(), "-");
        let ends_here = [
            "connection",
            "keep-alive",
            "proxy-connection",
            "te",
            "trailer",
            "upgrade",
            "http2-settings",
            "expect",
            "proxy-authorization",
            "feature-flags",
            "killswitches",
            "x-auth-subject",
            "x-auth-mode",
            "x-original-url",
        ];
        must(!ends_here.contains(&folded.as_str()), || format!("{name}: {value}"))?;
        must(folded != "x-forwarded-for" || *name == folded && value == "192.0.2.1", || {
            format!("{name}: {value}")
        })?;
    }
    Ok(())
}

fn read(bytes: &[u8]) -> Result<Option<Request>, String> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    // Every byte as the character of its number: values may have bytes that are no text.
    let head: String = bytes[..end].iter().map(|&byte| char::from(byte)).collect();
    must(!head.bytes().any(|byte| byte < b' ' && !b"\r\n\t".contains(&byte)), || {
        "a control byte".to_owned()
    })?;
    let mut lines = head.split("\r\n");
    let line = lines.next().unwrap_or_default().to_owned();
    let mut fields = Vec::new();
    for line in lines {
        must(!line.contains(['\r', '\n']), || "a bare line end".to_owned())?;
        let (name, value) = line.split_once(':').ok_or("a field without a colon")?;
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        must(!name.is_empty() && name.bytes().all(token), || format!("the field name {name:?}"))?;
        fields.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut request = Request { line, fields, end: end + 4 };
    let lengths: Vec<_> = request.all("content-length").collect();
    let codings: Vec<_> = request.all("transfer-encoding").collect();
    let whole = match (&lengths[..], &codings[..]) {
        ([], []) => Some(0),
        ([length], []) => {
            let number: usize = length.parse().map_err(|_| format!("the length {length:?}"))?;
            must(number.to_string() == *length, || format!("the length {length:?}"))?;
            Some(number).filter(|number| bytes.len() - request.end >= *number)
        }
        ([], [coding]) if coding.eq_ignore_ascii_case("chunked") => chunks(&bytes[request.end..])?,
        _ => return Err("more than one framing".to_owned()),
    };
    let Some(length) = whole else { return Ok(None) };
    request.end += length;
    Ok(Some(request))
}

fn chunks(body: &[u8]) -> Result<Option<usize>, String> {
    let mut at = 0;
    loop {
        let rest = &body[at..];
        let Some(end) = rest.windows(2).position(|two| two == b"\r\n") else { return Ok(None) };
        let size = std::str::from_utf8(&rest[..end])
            .ok()
            .filter(|text| text.bytes().all(|digit| digit.is_ascii_hexdigit()));
        let size =
            size.and_then(|size| usize::from_str_radix(size, 16).ok()).ok_or("a chunk's size")?;
        let next = at + end + 2 + size;
        let Some(after) = body.get(next..next + 2) else { return Ok(None) };
        must(after == b"\r\n", || "a chunk without its end".to_owned())?;
        at = next + 2;
        if size == 0 {
            return Ok(Some(at));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_requests_pass_and_dirty_ones_do_not() {
        let good = "POST /a HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\nGET / HTTP/1.1\r\nhost: a\r\n\r\n";
        let mut bytes = good.as_bytes().to_vec();
        assert_eq!(judge(&mut bytes), Ok(()));
        assert!(bytes.is_empty());
        for bad in [
            "GET / HTTP/1.1\r\n\r\n",
            "GET /../x HTTP/1.1\r\nhost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 01\r\n\r\nx",
            "GET / HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\nx",
            "GET / HTTP/1.1\r\nhost: a\r\nX_Auth_Subject: evil\r\n\r\n",
            "GET / HTTP/1.1\r\nhost: a\r\nx-forwarded-for: evil\r\n\r\n",
            "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3;x\r\nabc\r\n0\r\n\r\n",
        ] {
            assert!(judge(&mut bad.as_bytes().to_vec()).is_err(), "{bad:?}");
        }
    }
}
