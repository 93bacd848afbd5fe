//! Who is at the other end of a connection, and what upstreams are told of it.
//!
//! All of it is made once per connection, because none of it changes from request to request.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use http::HeaderValue;

use super::http2::pulse::Pulse;

/// The peer of one connection.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Its address. An IPv4 address that arrived on an IPv6 socket is an IPv4 address.
    pub ip: IpAddr,
    /// Whether its forwarding headers are believed.
    pub trusted: bool,
    /// Its address as `X-Forwarded-For` carries it.
    pub forwarded_for: HeaderValue,
    /// `Forwarded: for=…;proto=http`.
    pub forwarded: HeaderValue,
    /// What its connection is doing.
    pub pulse: Arc<Pulse>,
}

impl Peer {
    /// What is known of the peer at this address.
    pub fn new(address: SocketAddr, trusted: impl Fn(IpAddr) -> bool) -> Self {
        let ip = address.ip().to_canonical();
        let node = match ip {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("\"[{ip}]\""),
        };
        let value =
            |text: String| HeaderValue::try_from(text).expect("an address is printable ASCII");
        Self {
            ip,
            trusted: trusted(ip),
            forwarded_for: value(ip.to_string()),
            forwarded: value(format!("for={node};proto=http")),
            pulse: Pulse::new(),
        }
    }
}
