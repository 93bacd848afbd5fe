//! Where a webhook may go: not where only machines of a cloud or this gateway itself answer.
//!
//! The URL stands in a file that an operator wrote, so private networks and loopback are fine: that is where receivers live. What
//! nobody means are the addresses behind which a cloud keeps its credentials (link-local), those that are no host at all, and
//! this gateway's own listeners, to which a request from here would come with the trust of this machine. A name is judged by
//! what it resolves to, each time anew.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::config::config::Cidr;

/// What an address is measured against.
#[derive(Debug, Clone)]
pub(super) struct Policy {
    /// Taken whatever else is said.
    pub(super) allowed: Vec<Cidr>,
    /// The gateway's own listeners.
    pub(super) own: Vec<SocketAddr>,
}

impl Policy {
    /// Why the webhook may not go there; nothing if it may.
    pub(super) fn refuses(&self, to: SocketAddr) -> Option<&'static str> {
        let ip = to.ip().to_canonical();
        if self.own.iter().any(|own| is_own(*own, ip, to.port())) {
            return Some("it is this gateway itself");
        }
        if self.allowed.iter().any(|block| block.contains(ip)) {
            return None;
        }
        match ip {
            IpAddr::V4(ip) if ip.is_link_local() => Some("it is link-local"),
            IpAddr::V6(ip) if ip.is_unicast_link_local() => Some("it is link-local"),
            IpAddr::V6(ip) if ip.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] => {
                Some("it keeps a cloud's credentials")
            }
            ip if ip.is_unspecified() || ip.is_multicast() => Some("it is no host"),
            IpAddr::V4(ip) if ip.is_broadcast() || ip.octets()[0] == 0 => Some("it is no host"),
            _ => None,
        }
    }
}

fn is_own(own: SocketAddr, ip: IpAddr, port: u16) -> bool {
    let listens = own.ip().to_canonical();
    own.port() == port
        && (listens == ip
            || (listens.is_unspecified() && ip.is_loopback())
            || ip == IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        Policy { allowed: Vec::new(), own: vec!["127.0.0.1:8001".parse().expect("an address")] }
    }

    fn refuses(to: &str) -> bool {
        policy().refuses(to.parse().expect("an address")).is_some()
    }

    #[test]
    fn no_way_of_writing_it_leads_to_a_clouds_credentials() {
        for to in [
            "169.254.169.254:80",
            "[::ffff:169.254.169.254]:80",
            "[fe80::1]:80",
            "[fd00:ec2::254]:80",
        ] {
            assert!(refuses(to), "{to}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for to in ["0.0.0.0:80", "0.1.2.3:80", "[::]:80", "224.0.0.1:80", "255.255.255.255:80"] {
            assert!(refuses(to), "{to}");
        }
    }

    #[test]
    fn the_gateway_itself_is_refused_and_its_neighbours_are_not() {
        assert!(refuses("127.0.0.1:8001"));
        assert!(refuses("[::ffff:127.0.0.1]:8001"));
        for to in ["127.0.0.1:8002", "10.0.0.7:8001", "192.168.1.1:80", "8.8.8.8:443"] {
            assert!(!refuses(to), "{to}");
        }
        let everywhere =
            Policy { own: vec!["0.0.0.0:8001".parse().expect("an address")], ..policy() };
        assert!(everywhere.refuses("127.0.0.1:8001".parse().expect("an address")).is_some());
    }

    #[test]
    fn what_is_allowed_by_name_is_taken_but_for_the_gateway_itself() {
        let link_local = Cidr { address: "169.254.0.0".parse().expect("an address"), prefix: 16 };
        let policy = Policy { allowed: vec![link_local], ..policy() };
        assert_eq!(policy.refuses("169.254.1.1:80".parse().expect("an address")), None);
    }
}
