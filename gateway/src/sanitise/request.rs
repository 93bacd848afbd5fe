//! One unambiguous request, or a refusal.
//!
//! The order matters: the client's hop-by-hop fields go first, then the fields that the gateway owns, and only then does
//! anything of ours come in; so a client can neither forge what we say nor have it removed by naming it in `Connection`.

use std::net::IpAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, Version,
    header::{
        ACCEPT, ACCEPT_ENCODING, ACCEPT_LANGUAGE, AUTHORIZATION, CACHE_CONTROL, CONNECTION,
        CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPECT, HOST, ORIGIN, REFERER, TRANSFER_ENCODING,
        USER_AGENT,
    },
    request::Parts,
    uri::PathAndQuery,
};

use super::{
    forwarded::{client, forwarded, forwarded_by_nobody, forwarding},
    host::{is_host, same_host, without_empty_port},
    path::{PathFault, PathRules, normalise},
    tokens,
};
use crate::{
    failure::Failure,
    fields::{end_to_end, hop_by_hop, is_alias, owned},
    server::peer::Peer,
};

/// The id under which a request is named everywhere.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Makes the head of a request unambiguous, in place, and says who asks: the peer, or who a trusted peer names.
///
/// # Errors
/// A [`Failure`] that says what is wrong, when the request can't be made unambiguous.
pub fn request(
    parts: &mut Parts,
    peer: &Peer,
    rules: PathRules,
    body_length: Option<u64>,
) -> Result<IpAddr, Failure> {
    method(&parts.method)?;
    let seen = Seen::of(&parts.headers);
    authority(parts, seen.hosts)?;
    if seen.expects {
        expect(&mut parts.headers)?;
    }
    framing(parts, &seen, body_length)?;
    let client = client(&parts.headers, peer);
    let headers = &mut parts.headers;
    for name in &seen.doomed {
        headers.remove(name);
    }
    target(&mut parts.uri, rules)?;
    if seen.cookies > 1 && parts.version == Version::HTTP_2 {
        join_cookies(headers);
    }
    if peer.trusted || seen.forwards {
        forwarded(headers, peer);
    } else {
        forwarded_by_nobody(headers, peer);
    }
    parts.version = Version::HTTP_11;
    Ok(client)
}

/// What one look at all fields finds. Asking the map for each name that matters would cost a hash and a probe per question,
/// and nearly all answers are no.
#[derive(Default)]
struct Seen {
    hosts: usize,
    cookies: usize,
    expects: bool,
    /// There is a length or a coding.
    framed: bool,
    chunked: bool,
    /// Somebody before us says for whom it asks.
    forwards: bool,
    /// Hop-by-hop fields, what `Connection` names, and what only the gateway may say.
    doomed: Vec<HeaderName>,
}

impl Seen {
    fn of(headers: &HeaderMap) -> Self {
        let mut seen = Self::default();
        for (name, value) in headers {
            match *name {
                HOST => seen.hosts += 1,
                COOKIE => seen.cookies += 1,
                EXPECT => seen.expects = true,
                CONTENT_LENGTH => seen.framed = true,
                TRANSFER_ENCODING => (seen.framed, seen.chunked) = (true, true),
                // The most usual names need no second look.
                USER_AGENT | ACCEPT | ACCEPT_ENCODING | ACCEPT_LANGUAGE | AUTHORIZATION
                | CACHE_CONTROL | CONTENT_TYPE | ORIGIN | REFERER => {}
                _ => seen.look(name, value),
            }
        }
        seen
    }

    fn look(&mut self, name: &HeaderName, value: &HeaderValue) {
        if *name == CONNECTION {
            self.doomed.extend(tokens(value).filter(|token| !end_to_end(token.as_str())));
        }
        let text = name.as_str();
        if forwarding(text) {
            self.forwards = true;
        } else if hop_by_hop(text) || owned(text) || is_alias(text) {
            self.doomed.push(name.clone());
        }
    }
}

fn method(method: &Method) -> Result<(), Failure> {
    match *method {
        Method::CONNECT => {
            Err(Failure::Refused(StatusCode::NOT_IMPLEMENTED, "this gateway opens no tunnels"))
        }
        Method::TRACE => {
            Err(Failure::Refused(StatusCode::METHOD_NOT_ALLOWED, "TRACE is not served"))
        }
        _ => Ok(()),
    }
}

/// One authority, the same in the target and in `Host`, kept in `Host`.
fn authority(parts: &mut Parts, hosts: usize) -> Result<(), Failure> {
    if hosts > 1 {
        return Err(Failure::BadRequest("more than one Host"));
    }
    let host = parts.headers.get(HOST);
    if host.is_some_and(|host| !is_host(host.as_bytes())) {
        return Err(Failure::BadRequest("the Host is not a host name with an optional port"));
    }
    if let Some(plain) = host.and_then(without_empty_port) {
        parts.headers.insert(HOST, plain);
    }
    let host = parts.headers.get(HOST);
    let http2 = parts.version == Version::HTTP_2;
    if host.is_none() && !http2 {
        return Err(Failure::BadRequest("the Host is missing"));
    }
    let Some(target) = parts.uri.authority() else {
        return host.map(|_| ()).ok_or(Failure::BadRequest("the authority is missing"));
    };
    match parts.uri.scheme_str() {
        Some("http") => {}
        // A proxy that ends TLS may say so in HTTP/2. In HTTP/1 it is somebody who takes us for another server.
        Some("https") if http2 => {}
        Some("https") => {
            return Err(Failure::Refused(
                StatusCode::MISDIRECTED_REQUEST,
                "this listener doesn't speak for https",
            ));
        }
        None if http2 => {}
        _ => return Err(Failure::BadRequest("the target is neither a path nor an http URL")),
    }
    if !is_host(target.as_str().as_bytes()) {
        return Err(Failure::BadRequest("the authority is not a host name with an optional port"));
    }
    if host.is_some_and(|host| !same_host(host.as_bytes(), target.as_str().as_bytes())) {
        return Err(Failure::BadRequest("the Host and the request target name different hosts"));
    }
    if host.is_none() {
        let value = HeaderValue::from_str(target.as_str()).expect("an authority is visible ASCII");
        let value = without_empty_port(&value).unwrap_or(value);
        parts.headers.insert(HOST, value);
    }
    Ok(())
}

/// `Expect` ends here: we own the go-ahead.
fn expect(headers: &mut HeaderMap) -> Result<(), Failure> {
    let known = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if !headers.get_all(EXPECT).iter().all(known) {
        return Err(Failure::Refused(
            StatusCode::EXPECTATION_FAILED,
            "an expectation that this gateway doesn't know",
        ));
    }
    headers.remove(EXPECT);
    Ok(())
}

/// Re-emits the framing that hyper understood, in its only spelling.
fn framing(parts: &mut Parts, seen: &Seen, body_length: Option<u64>) -> Result<(), Failure> {
    if !seen.framed && body_length == Some(0) {
        return Ok(());
    }
    let headers = &mut parts.headers;
    if seen.chunked {
        let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
        let only = codings.next().filter(|_| codings.next().is_none());
        if parts.version != Version::HTTP_11
            || !only.is_some_and(|v| v.as_bytes().eq_ignore_ascii_case(b"chunked"))
        {
            return Err(Failure::Refused(
                StatusCode::NOT_IMPLEMENTED,
                "a transfer coding other than chunked, once",
            ));
        }
        headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        headers.remove(CONTENT_LENGTH);
        return Ok(());
    }
    match (headers.get(CONTENT_LENGTH), body_length) {
        (None, Some(0)) => {}
        (Some(given), Some(length)) if is_canonical(given, length) => {}
        (Some(_), Some(length)) => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        (None, Some(length)) => {
            headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
        // A body without a length came by HTTP/2, and goes on in chunks.
        (_, None) => {
            headers.remove(CONTENT_LENGTH);
            headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked"));
        }
    }
    Ok(())
}

fn is_canonical(given: &HeaderValue, length: u64) -> bool {
    let bytes = given.as_bytes();
    (bytes.first() != Some(&b'0') || bytes.len() == 1)
        && bytes.iter().all(u8::is_ascii_digit)
        && given.to_str().is_ok_and(|text| text.parse() == Ok(length))
}

/// Origin-form, with the path in its normal form.
fn target(uri: &mut Uri, rules: PathRules) -> Result<(), Failure> {
    let normal = match uri.path() {
        "*" => return Err(Failure::BadRequest("the target * is not served")),
        path => normalise(path, rules).map_err(refuse_path)?,
    };
    // The library lets them pass in a query, and servers decode them in as many ways as there are encodings.
    if !uri.query().is_none_or(str::is_ascii) {
        return Err(Failure::BadRequest("a raw non-ASCII byte in the query"));
    }
    if normal.is_none() && uri.authority().is_none() {
        return Ok(());
    }
    let path = normal.as_deref().unwrap_or_else(|| uri.path());
    let target = match uri.query() {
        Some(query) => PathAndQuery::try_from(format!("{path}?{query}")),
        None => PathAndQuery::try_from(path),
    };
    *uri = Uri::from(target.map_err(|_| Failure::BadRequest("the request target can't be read"))?);
    Ok(())
}

fn refuse_path(fault: PathFault) -> Failure {
    match fault {
        PathFault::TooLong => Failure::Refused(StatusCode::URI_TOO_LONG, "the path is too long"),
        PathFault::Ambiguous(what) => Failure::BadRequest(what),
    }
}

/// HTTP/2 may split a cookie over fields; HTTP/1 may not (RFC 9113, 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<_> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if crumbs.len() > 1
        && let Ok(cookie) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(COOKIE, cookie);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::config::{DoubleSlash, EncodedSlash};

    const RULES: PathRules =
        PathRules { double_slash: DoubleSlash::Merge, encoded_slash: EncodedSlash::Reject };

    fn peer(trusted: bool) -> Peer {
        Peer::new("203.0.113.9:4000".parse().unwrap(), |_| trusted)
    }

    fn sanitised(
        builder: http::request::Builder,
        trusted: bool,
    ) -> Result<(Parts, IpAddr), Failure> {
        let (mut parts, ()) = builder.body(()).unwrap().into_parts();
        let found = request(&mut parts, &peer(trusted), RULES, Some(0))?;
        Ok((parts, found))
    }

    fn get(uri: &str) -> http::request::Builder {
        http::Request::get(uri).header("host", "shop.example")
    }

    fn refused(builder: http::request::Builder) -> bool {
        sanitised(builder, false).is_err()
    }

    #[test]
    fn a_client_can_not_forge_what_the_gateway_says_in_any_spelling() {
        let forged = [
            "x-auth-subject",
            "x_auth_subject",
            "x.auth.subject",
            "x~auth~subject",
            "feature-flags",
            "feature_flags",
            "killswitches",
            "x-request-id",
            "x-forwarded-host",
            "x-forwarded-user",
            "x_forwarded_for",
            "content_length",
            "x-original-url",
            "x-forwarded",
            "proxy",
            "transfer-%45ncoding",
            "x*y",
        ];
        let builder = forged.iter().fold(get("/"), |builder, name| builder.header(*name, "evil"));
        let (parts, _) = sanitised(builder, false).unwrap();
        assert!(parts.headers.values().all(|value| value != "evil"), "{:?}", parts.headers);
    }

    #[test]
    fn connection_takes_away_what_is_the_clients_but_not_what_is_end_to_end() {
        let builder = get("/")
            .header("connection", "x-mine, authorization, host, x-forwarded-for")
            .header("x-mine", "1");
        let (parts, _) = sanitised(builder.header("authorization", "Bearer t"), false).unwrap();
        assert!(!parts.headers.contains_key("x-mine"));
        assert!(parts.headers.contains_key("authorization"));
        assert_eq!(parts.headers["host"], "shop.example");
        assert_eq!(parts.headers["x-forwarded-for"], "203.0.113.9");
        assert!(!parts.headers.contains_key("connection"));
    }

    #[test]
    fn forwarding_headers_are_replaced_for_strangers_and_appended_to_for_trusted_proxies() {
        let builder = || {
            get("/").header("x-forwarded-for", "198.51.100.7").header("x-forwarded-proto", "https")
        };
        let (parts, found) = sanitised(builder(), false).unwrap();
        assert_eq!(parts.headers["x-forwarded-for"], "203.0.113.9");
        assert_eq!(parts.headers["x-forwarded-proto"], "http");
        assert_eq!(found, "203.0.113.9".parse::<IpAddr>().unwrap());

        let (parts, found) = sanitised(builder(), true).unwrap();
        assert_eq!(parts.headers["x-forwarded-for"], "198.51.100.7, 203.0.113.9");
        assert_eq!(parts.headers["x-forwarded-proto"], "https");
        assert_eq!(found, "198.51.100.7".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn one_host_that_is_a_host() {
        assert!(refused(http::Request::get("/")));
        assert!(refused(get("/").header("host", "other.example")));
        for host in [
            "",
            "a b",
            "a,b",
            "u@h",
            "h/p",
            "h:98777",
            ":",
            "h::",
            "h:+80",
            "[::1",
            "[zz]",
            "[::1]x",
            "[::1]:99999",
            "[::1%25x]",
            "a..b",
            ".a",
            ".",
            "a[::1]",
        ] {
            assert!(refused(http::Request::get("/").header("host", host)), "{host:?}");
        }
        let (parts, _) =
            sanitised(http::Request::get("/").header("host", "[::1]:"), false).unwrap();
        assert_eq!(parts.headers["host"], "[::1]");
        for host in
            ["h", "h:", "h:80", "[::1]", "[::1]:8080", "127.0.0.1:1", "a-b.c", "a_b", "a.example."]
        {
            assert!(!refused(http::Request::get("/").header("host", host)), "{host:?}");
        }
    }

    #[test]
    fn a_whole_url_as_target_must_agree_with_the_host_and_goes_on_as_a_path() {
        assert!(refused(get("http://internal/")));
        let (parts, _) = sanitised(get("http://shop.example/a/../b?c=/../d"), false).unwrap();
        assert_eq!(parts.uri, "/b?c=/../d");
        for other in ["ftp://shop.example/", "https://shop.example/", "http://shop.example:81/"] {
            assert!(refused(get(other)), "{other}");
        }
        for same in [
            "http://SHOP.example/",
            "http://shop.example:80/",
            concat!("http://shop.example", ".:80/"),
        ] {
            assert!(!refused(get(same)), "{same}");
        }
    }

    #[test]
    fn a_trusted_proxy_names_the_client_in_either_header_and_in_any_spelling_of_an_address() {
        let client = |name: &str, value: &str| {
            sanitised(get("/").header(name, value), true).unwrap().1.to_string()
        };
        for (name, value, expected) in [
            ("x-forwarded-for", "192.0.2.1, 198.51.100.7", "198.51.100.7"),
            ("x-forwarded-for", "198.51.100.7:4000", "198.51.100.7"),
            ("x-forwarded-for", "[2001:db8::1]:4000", "2001:db8::1"),
            ("x-forwarded-for", "::ffff:198.51.100.7", "198.51.100.7"),
            ("x-forwarded-for", "unknown", "203.0.113.9"),
            ("forwarded", "for=192.0.2.1, proto=https;For=198.51.100.7", "198.51.100.7"),
            ("forwarded", "for=\"[2001:db8::1]:4000\"", "2001:db8::1"),
            ("forwarded", "for=_hidden", "203.0.113.9"),
        ] {
            assert_eq!(client(name, value), expected, "{name}: {value}");
        }
    }

    #[test]
    fn a_trusted_proxy_can_not_say_what_nobody_can_read() {
        let (parts, _) = sanitised(
            get("/").header("x-forwarded-proto", "https, http").header("x-forwarded-host", "a b"),
            true,
        )
        .unwrap();
        assert_eq!(parts.headers["x-forwarded-proto"], "http");
        assert_eq!(parts.headers["x-forwarded-host"], "shop.example");
    }

    #[test]
    fn a_query_is_left_alone_unless_it_has_raw_bytes() {
        assert!(!refused(get("/x?a=%C3%A4&b=/../c")));
        let uri = Uri::try_from("/x?\u{e4}");
        assert!(uri.is_err() || refused(http::Request::get(uri.unwrap()).header("host", "a")));
    }

    #[test]
    fn the_length_goes_on_in_its_only_spelling() {
        let (mut parts, ()) =
            get("/").method("POST").header("content-length", "010").body(()).unwrap().into_parts();
        request(&mut parts, &peer(false), RULES, Some(10)).unwrap();
        assert_eq!(parts.headers["content-length"], "10");
    }

    #[test]
    fn only_chunked_and_only_once() {
        for codings in
            [&["gzip, chunked"][..], &["chunked", "chunked"], &["identity"], &[",chunked"]]
        {
            let builder = codings
                .iter()
                .fold(get("/").method("POST"), |b, coding| b.header("transfer-encoding", *coding));
            assert!(refused(builder), "{codings:?}");
        }
        let builder = get("/").method("POST").header("transfer-encoding", "Chunked");
        assert_eq!(sanitised(builder, false).unwrap().0.headers["transfer-encoding"], "chunked");
    }

    #[test]
    fn expectations_end_here() {
        let (parts, _) = sanitised(get("/").header("expect", "100-Continue"), false).unwrap();
        assert!(!parts.headers.contains_key("expect"));
        assert!(refused(get("/").header("expect", "a miracle")));
        assert!(refused(get("/").header("expect", "100-continue").header("expect", "a miracle")));
    }
}
