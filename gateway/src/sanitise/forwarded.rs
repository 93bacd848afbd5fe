//! Who asked: as a trusted peer says, and as the upstream is told.
//!
//! `X-Forwarded-*` and `Forwarded` are replaced for everybody and appended to for trusted peers, so that an upstream may
//! believe them, and none of them names anyone whom nobody here has seen or trusts.

use std::net::{IpAddr, SocketAddr};

use http::{
    HeaderMap, HeaderName, HeaderValue,
    header::{FORWARDED, HOST},
};

use super::host::{is_host, without_empty_port};
use crate::server::peer::Peer;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The client as a trusted peer names it: the nearest address of the chain, by `Forwarded` where there is no other.
pub(super) fn client(headers: &HeaderMap, peer: &Peer) -> IpAddr {
    if !peer.trusted {
        return peer.ip;
    }
    let nearest = match headers.get_all(X_FORWARDED_FOR).iter().next_back() {
        Some(chain) => last_of(chain).and_then(node),
        None => headers.get_all(FORWARDED).iter().next_back().and_then(last_of).and_then(for_node),
    };
    nearest.map_or(peer.ip, |ip| ip.to_canonical())
}

/// The last member of a list.
fn last_of(list: &HeaderValue) -> Option<&str> {
    list.to_str().ok()?.rsplit(',').next().map(str::trim)
}

/// `for=` of an element of `Forwarded` (RFC 7239).
fn for_node(element: &str) -> Option<IpAddr> {
    let pairs = element.split(';').filter_map(|pair| pair.split_once('='));
    let mut nodes = pairs.filter(|(name, _)| name.trim().eq_ignore_ascii_case("for"));
    nodes.next().and_then(|(_, node_in_quotes)| node(node_in_quotes.trim().trim_matches('"')))
}

/// An address with or without a port, in brackets or not.
fn node(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse().ok().map(|address: SocketAddr| address.ip()))
}

/// The owned fields that [`forwarded`] replaces or appends to.
pub(super) fn forwarding(name: &str) -> bool {
    matches!(name, "forwarded" | "x-forwarded-for" | "x-forwarded-host" | "x-forwarded-proto")
}

/// Tells the upstream who asked: replaced for everybody, appended to for trusted peers.
pub(super) fn forwarded(headers: &mut HeaderMap, peer: &Peer) {
    if peer.trusted {
        append(headers, &X_FORWARDED_FOR, ", ", &peer.forwarded_for);
        append(headers, &FORWARDED, ", ", &peer.forwarded);
        only(headers, &X_FORWARDED_PROTO, |proto| matches!(proto, b"http" | b"https"));
        only(headers, &X_FORWARDED_HOST, is_host);
        if let Some(plain) = headers.get(&X_FORWARDED_HOST).and_then(without_empty_port) {
            headers.insert(X_FORWARDED_HOST, plain);
        }
        headers.entry(X_FORWARDED_PROTO).or_insert(HeaderValue::from_static("http"));
    } else {
        headers.insert(X_FORWARDED_FOR, peer.forwarded_for.clone());
        headers.insert(FORWARDED, peer.forwarded.clone());
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
        headers.remove(X_FORWARDED_HOST);
    }
    if let Some(host) = headers.get(HOST).cloned() {
        headers.entry(X_FORWARDED_HOST).or_insert(host);
    }
}

/// The same, where nobody said anything before us: nothing has to be looked for or replaced.
pub(super) fn forwarded_by_nobody(headers: &mut HeaderMap, peer: &Peer) {
    headers.append(X_FORWARDED_FOR, peer.forwarded_for.clone());
    headers.append(FORWARDED, peer.forwarded.clone());
    headers.append(X_FORWARDED_PROTO, HeaderValue::from_static("http"));
    if let Some(host) = headers.get(HOST).cloned() {
        headers.append(X_FORWARDED_HOST, host);
    }
}

/// Keeps a field of which there is one, and it is good.
fn only(headers: &mut HeaderMap, name: &HeaderName, is_good: impl Fn(&[u8]) -> bool) {
    let mut values = headers.get_all(name).iter();
    if !matches!((values.next(), values.next()), (Some(value), None) if is_good(value.as_bytes())) {
        headers.remove(name);
    }
}

fn append(headers: &mut HeaderMap, name: &HeaderName, separator: &str, value: &HeaderValue) {
    let mut chain: Vec<&[u8]> = headers.get_all(name).iter().map(HeaderValue::as_bytes).collect();
    chain.push(value.as_bytes());
    if let Ok(joined) = HeaderValue::from_bytes(&chain.join(separator.as_bytes())) {
        headers.insert(name, joined);
    }
}
