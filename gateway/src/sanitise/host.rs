//! What a host with an optional port is, and when two of them are one.

use std::net::Ipv6Addr;

use http::HeaderValue;

use crate::limits::HOST_BYTES_MAX;

/// `uri-host [ ":" port ]` without anything that could end up elsewhere.
pub(super) fn is_host(host: &[u8]) -> bool {
    if host.len() > HOST_BYTES_MAX {
        return false;
    }
    let (is_good, port) = match host.strip_prefix(b"[") {
        Some(rest) => {
            let Some(end) = rest.iter().position(|&byte| byte == b']') else { return false };
            (is_ipv6(&rest[..end]), &rest[end + 1..])
        }
        None => {
            let end = host.iter().position(|&byte| byte == b':').unwrap_or(host.len());
            (is_name(&host[..end]), &host[end..])
        }
    };
    is_good && (port.is_empty() || port.strip_prefix(b":").is_some_and(is_port))
}

/// A host without the colon of a port that isn't there, which RFC 3986 allows and servers read in more than one way.
pub(super) fn without_empty_port(host: &HeaderValue) -> Option<HeaderValue> {
    let plain = host.as_bytes().strip_suffix(b":")?;
    Some(HeaderValue::from_bytes(plain).expect("a part of a value is a value"))
}

/// Labels between dots, none of which is empty; a dot may stand at the end.
fn is_name(name: &[u8]) -> bool {
    let mut previous = b'.';
    for &byte in name {
        let in_label = byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'~');
        if !in_label && (byte != b'.' || previous == b'.') {
            return false;
        }
        previous = byte;
    }
    !name.is_empty()
}

fn is_ipv6(address: &[u8]) -> bool {
    std::str::from_utf8(address).is_ok_and(|text| text.parse::<Ipv6Addr>().is_ok())
}

/// Digits; none is the port that http has anyway (RFC 3986, 3.2.3).
fn is_port(port: &[u8]) -> bool {
    port.iter().all(u8::is_ascii_digit)
        && (port.is_empty() || std::str::from_utf8(port).is_ok_and(|p| p.parse::<u16>().is_ok()))
}

/// Whether two spellings are one host: case, the port that http has anyway, and a dot at the end make no difference.
pub(super) fn same_host(one: &[u8], other: &[u8]) -> bool {
    fn plain(host: &[u8]) -> &[u8] {
        let host = host.strip_suffix(b":80").or(host.strip_suffix(b":")).unwrap_or(host);
        host.strip_suffix(b".").unwrap_or(host)
    }
    plain(one).eq_ignore_ascii_case(plain(other))
}
