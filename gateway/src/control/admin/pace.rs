//! How fast one may ask: per key, so that a program gone wild is held back wherever it runs, and per address for those without
//! one, so that a flood from one machine leaves the control plane to the others.

use std::net::{IpAddr, Ipv6Addr};
use std::num::NonZeroU32;
use std::time::Duration;

use http::StatusCode;
use portcullis::rate_limit::Limiter;
use portcullis::rejected::Rejected;

use super::problem::Problem;

/// The limits.
pub(super) struct Pace {
    addresses: Limiter<IpAddr>,
    keys: Limiter<String>,
}

impl Pace {
    pub(super) fn new(per_second: NonZeroU32) -> Self {
        let second = Duration::from_secs(1);
        Self {
            addresses: Limiter::new("this address", per_second, second, per_second),
            keys: Limiter::new("this key", per_second, second, per_second),
        }
    }

    pub(super) fn of_address(&self, address: IpAddr) -> Result<(), Problem> {
        self.addresses.check(&household(address)).map_err(|rejected| too_fast(&rejected))
    }

    pub(super) fn of_key(&self, key: &str) -> Result<(), Problem> {
        self.keys.check(&key.to_owned()).map_err(|rejected| too_fast(&rejected))
    }
}

/// One customer of a provider has all addresses of an IPv6 /64.
fn household(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(address) => {
            let [a, b, c, d, ..] = address.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn too_fast(rejected: &Rejected) -> Problem {
    let Rejected::RateLimited { limit, retry_after } = rejected else {
        return Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", rejected);
    };
    let detail = format_args!("{limit} asks too fast; see `requests_per_second`");
    Problem::new(StatusCode::TOO_MANY_REQUESTS, "rate_limited", detail).retry_after(*retry_after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_and_each_key_has_a_pace_of_its_own() {
        let pace = Pace::new(NonZeroU32::new(2).unwrap());
        let (one, other) = ("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap());
        assert!(pace.of_address(one).is_ok() && pace.of_address(one).is_ok());
        assert!(pace.of_address(one).is_err() && pace.of_address(other).is_ok());
        assert!(pace.of_key("ada").is_ok() && pace.of_key("ada").is_ok());
        assert!(pace.of_key("ada").is_err() && pace.of_key("bob").is_ok());
    }

    #[test]
    fn the_addresses_of_one_network_of_ipv6_share_their_pace() {
        let of = |text: &str| household(text.parse().unwrap());
        assert_eq!(of("2001:db8:1:2::3"), of("2001:db8:1:2:ffff::9"));
        assert_ne!(of("2001:db8:1:2::3"), of("2001:db8:1:3::3"));
        assert_eq!(of("10.0.0.1").to_string(), "10.0.0.1");
    }
}
