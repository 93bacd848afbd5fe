//! Scopes: whom a kill is for.
//!
//! A scope names what it asks of a request: its route, method, header, the region and address, the subject and tenant, and a
//! share of all subjects. What it doesn't name it doesn't ask. All that it names has to be true, and of several values of one
//! kind any will do: *tenant acme or zeta, POST, 30 %*.
//!
//! Who asks is known only behind authentication, and the rest before it. So a scope has three answers: it covers the request,
//! it doesn't, or that is [not yet](Covers::NotYet) to be said.
//!
//! What isn't known is not what a scope names: a request without a tenant is nobody's of tenant *acme*. One exception: a
//! subject that has no place in a share (nobody is logged in, and no address is known) is within it. Of two faults the smaller
//! is to cut one too many: the share was ordered because something burns.

use std::{fmt, net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderName, Method};

use super::{flag::Rollout, share::Salt};

/// Values of one kind in a scope, and headers.
pub const VALUES_MAX: usize = 64;
/// Characters of a value in a scope.
pub const VALUE_CHARS_MAX: usize = 256;

/// Whom a kill is for. By default everybody.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "super::written::Scope", into = "super::written::Scope")
)]
pub struct Scope {
    /// Routes by their names.
    pub routes: Vec<Arc<str>>,
    /// Methods.
    pub methods: Vec<Method>,
    /// Header fields and the value that they have.
    pub headers: Vec<(HeaderName, String)>,
    /// Where the gateway stands.
    pub regions: Vec<Arc<str>>,
    /// Where the client comes from.
    pub addresses: Vec<Network>,
    /// Who asks.
    pub subjects: Vec<Arc<str>>,
    /// For whom they ask.
    pub tenants: Vec<Arc<str>>,
    /// How many of them.
    pub share: Option<Rollout>,
}

/// A block of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network {
    /// Its first address, or any other in it.
    pub address: IpAddr,
    /// The bits that are fixed.
    pub prefix: u8,
}

/// What a scope can ask of a request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Asked<'r> {
    /// The route that it took.
    pub route: Option<&'r str>,
    /// The region of the gateway that it came to.
    pub region: Option<&'r str>,
    /// Its method.
    pub method: Option<&'r Method>,
    /// Its header.
    pub headers: Option<&'r HeaderMap>,
    /// The address of its client.
    pub address: Option<IpAddr>,
    /// Who asks.
    pub who: Who<'r>,
}

/// Who asks, as far as that is known.
#[derive(Debug, Clone, Copy, Default)]
pub enum Who<'r> {
    /// Nobody has looked yet.
    #[default]
    NotYet,
    /// Somebody has.
    Known {
        /// The subject, if it is one that is known.
        subject: Option<&'r str>,
        /// The tenant, if there is one.
        tenant: Option<&'r str>,
    },
}

/// Whether a scope covers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Covers {
    /// It does.
    Yes,
    /// It doesn't.
    No,
    /// That depends on who asks.
    NotYet,
}

impl Scope {
    /// Whether it covers every request.
    pub fn is_everything(&self) -> bool {
        *self == Self::default()
    }

    /// Whether it depends on who asks.
    pub const fn asks_who(&self) -> bool {
        !self.subjects.is_empty() || !self.tenants.is_empty() || self.share.is_some()
    }

    /// Whether it covers a request; shares are of the subjects of one feature.
    #[inline]
    pub(super) fn covers(&self, asked: &Asked<'_>, salt: Salt) -> Covers {
        if !self.covers_what(asked) {
            return Covers::No;
        }
        if !self.asks_who() {
            return Covers::Yes;
        }
        let Who::Known { subject, tenant } = asked.who else { return Covers::NotYet };
        if among(&self.tenants, tenant)
            && among(&self.subjects, subject)
            && self.covers_place(asked, subject, salt)
        {
            Covers::Yes
        } else {
            Covers::No
        }
    }

    /// All that is known before authentication.
    fn covers_what(&self, asked: &Asked<'_>) -> bool {
        among(&self.routes, asked.route)
            && among(&self.regions, asked.region)
            && (self.methods.is_empty() || asked.method.is_some_and(|is| self.methods.contains(is)))
            && (self.addresses.is_empty()
                || asked
                    .address
                    .is_some_and(|is| self.addresses.iter().any(|network| network.contains(is))))
            && self.headers.iter().all(|(name, value)| {
                let mut there = asked.headers.into_iter().flat_map(|headers| headers.get_all(name));
                there.any(|is| is.as_bytes() == value.as_bytes())
            })
    }

    fn covers_place(&self, asked: &Asked<'_>, subject: Option<&str>, salt: Salt) -> bool {
        let Some(share) = self.share else { return true };
        match (subject, asked.address) {
            (Some(subject), _) => salt.place(subject.as_bytes()).is_within(share),
            (None, Some(IpAddr::V4(address))) => salt.place(&address.octets()).is_within(share),
            (None, Some(IpAddr::V6(address))) => salt.place(&address.octets()).is_within(share),
            (None, None) => true,
        }
    }
}

/// Of several values any will do, and none asks nothing.
#[inline]
fn among(values: &[Arc<str>], is: Option<&str>) -> bool {
    values.is_empty() || is.is_some_and(|is| values.iter().any(|value| **value == *is))
}

impl Network {
    /// Whether the address lies in it. An IPv4 address that is written as IPv6 counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(block), IpAddr::V4(address)) => {
                let shift = 32 - u32::from(self.prefix.min(32));
                u64::from(block.to_bits()) >> shift == u64::from(address.to_bits()) >> shift
            }
            (IpAddr::V6(block), IpAddr::V6(address)) => {
                let shift = 128 - u32::from(self.prefix.min(128));
                (block.to_bits() ^ address.to_bits()).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// In the words of the operator page: `tenant acme, method POST, 30 %`.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts = |values: &[Arc<str>]| values.iter().map(ToString::to_string).collect();
        let headers = self.headers.iter().map(|(name, value)| format!("{name}: {value}"));
        let kinds: [(&str, Vec<String>); 7] = [
            ("route", texts(&self.routes)),
            ("method", self.methods.iter().map(ToString::to_string).collect()),
            ("header", headers.collect()),
            ("region", texts(&self.regions)),
            ("address", self.addresses.iter().map(ToString::to_string).collect()),
            ("subject", texts(&self.subjects)),
            ("tenant", texts(&self.tenants)),
        ];
        let named = kinds.into_iter().filter(|(_, values)| !values.is_empty());
        let named = named.map(|(kind, values)| {
            // Headers are the one kind of which all have to be there.
            format!("{kind} {}", values.join(if kind == "header" { " and " } else { " or " }))
        });
        let share = self.share.map(|share| format!("{} %", share.as_percent()));
        let parts: Vec<String> = named.chain(share).collect();
        if parts.is_empty() { f.write_str("everything") } else { f.write_str(&parts.join(", ")) }
    }
}
