//! Addresses, blocks of them, and URLs: text that says where something is.

use std::net::{IpAddr, SocketAddr};

use http::Uri;
use http::uri::{Authority, PathAndQuery};

use crate::config::config::Cidr;
use crate::config::fault::Wrong;

/// The address of a listener.
pub(super) fn socket(text: &str) -> Result<SocketAddr, Wrong> {
    text.parse().map_err(|_| {
        let wrong = Wrong::from(format!(
            "\"{text}\" is not an IP address with a port, such as 127.0.0.1:8000 or [::1]:8000"
        ));
        wrong.or(text.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}")))
    })
}

/// Whether one of two listeners would find its port taken by the other.
pub(super) fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    // Port 0 asks the kernel for a free one.
    let taken = |ip: IpAddr, other: IpAddr| match ip {
        IpAddr::V6(ip) => ip.is_unspecified(),
        IpAddr::V4(ip) => ip.is_unspecified() && other.is_ipv4(),
    };
    one.port() == other.port()
        && one.port() != 0
        && (one.ip() == other.ip() || taken(one.ip(), other.ip()) || taken(other.ip(), one.ip()))
}

/// A block such as `10.0.0.0/8`, or one address.
pub(super) fn cidr(text: &str) -> Result<Cidr, Wrong> {
    let unreadable =
        || Wrong::from(format!("\"{text}\" is neither an address nor a block such as 10.0.0.0/8"));
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| unreadable())?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let prefix = match prefix {
        Some(prefix) => prefix.parse::<u8>().map_err(|_| unreadable())?,
        None => bits,
    };
    if prefix > bits {
        return Err(unreadable());
    }
    let first = first_of(address, bits - prefix);
    if first != address {
        let wrong =
            Wrong::from(format!("\"{text}\" is an address within its block, not the block"));
        return Err(wrong.or(Some(format!("{first}/{prefix}"))));
    }
    Ok(Cidr { address, prefix })
}

/// The first address of the block of `2^free` addresses that `address` is in.
fn first_of(address: IpAddr, free: u8) -> IpAddr {
    let free = u32::from(free);
    match address {
        IpAddr::V4(address) => {
            let mask = u32::MAX.checked_shl(free).unwrap_or(0);
            IpAddr::V4((address.to_bits() & mask).into())
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX.checked_shl(free).unwrap_or(0);
            IpAddr::V6((address.to_bits() & mask).into())
        }
    }
}

/// Host and port of an upstream's URL; the port of plain HTTP is written out.
pub(super) fn upstream(text: &str) -> Result<Authority, Wrong> {
    let example = "an upstream's URL is like http://127.0.0.1:8101";
    if !text.contains("://") {
        let wrong = Wrong::from(format!("\"{text}\" has no scheme; {example}"));
        return Err(wrong.or(text.parse::<Authority>().ok().map(|_| format!("http://{text}"))));
    }
    let uri = uri(text)?;
    match uri.scheme_str() {
        Some("http") => {}
        Some("https") => return Err("https to upstreams is not supported yet".into()),
        _ => return Err(format!("\"{text}\" is not an http URL; {example}").into()),
    }
    if !matches!(uri.path_and_query().map(|path| path.as_str()), None | Some("/")) {
        let wrong = Wrong::from(format!(
            "\"{text}\" has a path; an upstream is a host and a port, and paths are for a route's `rewrite`"
        ));
        let authority = uri.authority().map(|authority| format!("http://{authority}"));
        return Err(wrong.or(authority));
    }
    let authority = uri.authority().ok_or_else(|| Wrong::from(example))?;
    if authority.as_str().contains('@') {
        return Err("a URL with a user name or password is not supported".into());
    }
    if authority.port().is_some() {
        // A port that is written and is no number up to 65535 has no `port_u16`.
        return match authority.port_u16() {
            Some(1..) => Ok(authority.clone()),
            _ => Err(format!("\"{text}\" has no usable port").into()),
        };
    }
    let with_port = format!("{}:80", authority.as_str().trim_end_matches(':'));
    with_port.parse().map_err(|_| format!("\"{text}\" has no usable port").into())
}

/// Where a webhook listens.
#[derive(Debug)]
pub(super) struct WebhookUrl {
    pub(super) is_https: bool,
    pub(super) authority: Authority,
    pub(super) path: PathAndQuery,
}

pub(super) fn webhook(text: &str) -> Result<WebhookUrl, Wrong> {
    let example = "a webhook's URL is like https://hooks.example.com/portcullis";
    let uri = uri(text)?;
    match (uri.scheme_str(), uri.authority()) {
        (Some(scheme @ ("http" | "https")), Some(authority)) => {
            if authority.as_str().contains('@') || authority.host().is_empty() {
                return Err(format!("\"{text}\" has a user name or no host; {example}").into());
            }
            if authority.port().is_some() && authority.port_u16().is_none_or(|port| port == 0) {
                return Err(format!("\"{text}\" has no usable port").into());
            }
            let path = uri.path_and_query().cloned();
            Ok(WebhookUrl {
                is_https: scheme == "https",
                authority: authority.clone(),
                path: path.unwrap_or(PathAndQuery::from_static("/")),
            })
        }
        _ => Err(format!("\"{text}\" is not an http URL; {example}").into()),
    }
}

/// Scheme, host and port of a site that clients are sent to.
pub(super) fn origin(text: &str) -> Result<String, Wrong> {
    let uri = uri(text)?;
    match (uri.scheme_str(), uri.authority()) {
        (Some(scheme @ ("http" | "https")), Some(authority))
            if !authority.as_str().contains('@') && !authority.host().is_empty() =>
        {
            Ok(format!("{scheme}://{authority}"))
        }
        _ => Err(format!("\"{text}\" is not like https://shop.example.com").into()),
    }
}

/// The URL of a collector, which may be http or https and have a path.
pub(super) fn collector(text: &str) -> Result<String, Wrong> {
    let uri = uri(text)?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("http" | "https"), Some(_)) => Ok(text.to_owned()),
        _ => Err(format!("\"{text}\" is not a URL such as http://127.0.0.1:4318").into()),
    }
}

fn uri(text: &str) -> Result<Uri, Wrong> {
    text.parse().map_err(|error| format!("\"{text}\" is not a URL: {error}").into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn listeners_of_one_port_overlap_when_one_takes_every_address() {
        assert!(overlap(address("0.0.0.0:80"), address("127.0.0.1:80")));
        assert!(overlap(address("127.0.0.1:80"), address("[::]:80")));
        assert!(!overlap(address("0.0.0.0:80"), address("[::1]:80")));
        assert!(!overlap(address("127.0.0.1:80"), address("127.0.0.2:80")));
    }

    #[test]
    fn two_listeners_may_both_ask_for_a_free_port() {
        assert!(!overlap(address("127.0.0.1:0"), address("127.0.0.1:0")));
    }

    #[test]
    fn a_block_contains_its_addresses_and_no_others() {
        let block = cidr("10.32.0.0/11").unwrap();

        assert!(block.contains("10.63.255.255".parse().unwrap()));
        assert!(block.contains("::ffff:10.32.0.1".parse().unwrap()));
        assert!(!block.contains("10.64.0.0".parse().unwrap()));
        assert!(!block.contains("fe80::1".parse().unwrap()));
    }

    #[test]
    fn the_widest_and_the_narrowest_block_are_blocks() {
        assert!(cidr("0.0.0.0/0").unwrap().contains("8.8.8.8".parse().unwrap()));
        assert!(cidr("::/0").unwrap().contains("fe80::1".parse().unwrap()));
        let one = cidr("fe80::1").unwrap();
        assert!(one.contains("fe80::1".parse().unwrap()));
        assert!(!one.contains("fe80::2".parse().unwrap()));
    }

    #[test]
    fn a_webhook_has_a_host_and_a_port_that_can_be_and_no_user() {
        assert!(webhook("https://hooks.example.com").is_ok_and(|url| url.is_https));
        assert!(webhook("http://127.0.0.1:9000/a?b").is_ok_and(|url| !url.is_https));
        for wrong in ["https://ana@hooks.example.com/", "http://hooks:0/", "ftp://hooks/", "/hooks"]
        {
            assert!(webhook(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_inside_a_block_suggests_the_block() {
        let wrong = cidr("10.1.2.3/8").unwrap_err();

        assert_eq!(wrong.suggestion.as_deref(), Some("10.0.0.0/8"));
    }

    #[test]
    fn a_url_without_a_port_means_port_80() {
        assert_eq!(upstream("http://orders").unwrap(), "orders:80");
        assert_eq!(upstream("http://[::1]/").unwrap(), "[::1]:80");
    }

    #[test]
    fn a_bare_host_and_port_suggests_the_scheme() {
        let wrong = upstream("127.0.0.1:8104").unwrap_err();

        assert_eq!(wrong.suggestion.as_deref(), Some("http://127.0.0.1:8104"));
    }

    #[test]
    fn a_url_that_cannot_be_an_upstream_is_refused() {
        for text in
            ["https://a", "http://a/b", "http://u@a", "ftp://a", "http://a:70000", "http://"]
        {
            assert!(upstream(text).is_err(), "{text}");
        }
    }
}
