//! Header fields with a meaning of their own on the way through a gateway, by name.
//!
//! `sanitise` takes them from clients and upstreams, and `config` keeps operators from setting or removing them: one list, so
//! that the two can't come to disagree. Names are lower case, as `http` keeps them.

/// Fields that belong to one connection (RFC 9110, 7.6.1, and those that older software sends).
pub fn hop_by_hop(name: &str) -> bool {
    matches!(
        name,
        "connection"
            | "keep-alive"
            | "proxy-connection"
            | "proxy-authenticate"
            | "proxy-authorization"
            | "te"
            | "trailer"
            | "transfer-encoding"
            | "upgrade"
            | "http2-settings"
    )
}

/// What the gateway tells upstreams, and no client: who is signed in, what is off, which flags were evaluated.
pub fn for_upstreams(name: &str) -> bool {
    matches!(
        name,
        "feature-flags"
            | "feature-flags-revision"
            | "killswitches"
            | "spool-queued"
            | "x-auth-subject"
            | "x-auth-mode"
    )
}

/// Fields that only the gateway may set.
pub fn owned(name: &str) -> bool {
    match name {
        "x-request-id" | "forwarded" | "x-real-ip" | "x-original-url" | "x-rewrite-url" => true,
        // A CGI script takes it for the variable that names the proxy to go out by.
        "proxy" => true,
        _ => for_upstreams(name) || name.starts_with("x-forwarded"),
    }
}

/// Fields that `Connection` can't take away.
pub fn end_to_end(name: &str) -> bool {
    matches!(
        name,
        "host"
            | "authorization"
            | "cookie"
            | "expect"
            | "traceparent"
            | "tracestate"
            | "transfer-encoding"
    ) || name.starts_with("content-")
        || owned(name)
}

/// A spelling with another sign for `-` of a field that matters: CGI and its heirs read it as that field. Signs that no
/// ordinary name has are let through in no name, because nobody knows what a server makes of them; a quote is in no token
/// at all (RFC 9110, 5.6.2), but `http` takes it for one, and so it gets through HTTP/2.
pub fn is_alias(name: &str) -> bool {
    let odd = |byte: u8| !byte.is_ascii_alphanumeric() && byte != b'-';
    if !name.bytes().any(odd) {
        return false;
    }
    if name.bytes().any(|byte| odd(byte) && !matches!(byte, b'_' | b'.')) {
        return true;
    }
    let folded = name.replace(['_', '.'], "-");
    owned(&folded) || end_to_end(&folded) || hop_by_hop(&folded)
}

/// Fields that are acted on before or while a body is read, in whatever spelling, so that they come too late behind it
/// (RFC 9110, 6.5.1): framing, routing, who asks, conditions, what the body is and where else to look.
pub fn only_in_front(name: &str) -> bool {
    let folded = name.replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    matches!(
        &*folded,
        "set-cookie"
            | "www-authenticate"
            | "authentication-info"
            | "cache-control"
            | "pragma"
            | "expires"
            | "date"
            | "age"
            | "vary"
            | "warning"
            | "location"
            | "retry-after"
            | "range"
            | "max-forwards"
            | "prefer"
            | "origin"
            | "referer"
            | "status"
    ) || ["if-", "accept", "access-control-", "sec-", "x-http-method"]
        .iter()
        .any(|start| folded.starts_with(start))
        || end_to_end(&folded)
        || hop_by_hop(&folded)
}

#[cfg(test)]
mod tests {
    use http::HeaderName;

    use super::*;

    #[test]
    fn a_name_that_reads_as_another_or_as_none_is_an_alias() {
        let quoted = HeaderName::from_lowercase(b"cooki\"").expect("`http` takes it");
        assert!(is_alias(quoted.as_str()));
        assert!(is_alias("x_forwarded_for") && is_alias("content.length"));
        assert!(is_alias("x*y"));
        assert!(!is_alias("x_mine") && !is_alias("x-forwarded-for"));
    }
}
