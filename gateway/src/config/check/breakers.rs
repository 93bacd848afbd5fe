//! Breakers: their profiles, and which upstream or route has which.
//!
//! A breaker is known by its name. Two routes may share one, because the health of an upstream is one fact; but one name
//! can't stand for two upstreams, nor follow two profiles.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Check, Kind, Site, name};
use crate::config::config::{Breaker, BreakerOf};

/// Who has which breaker so far.
#[derive(Default)]
pub(super) struct Owners {
    by_name: BTreeMap<Arc<str>, Owner>,
}

struct Owner {
    upstream: String,
    profile: usize,
    line: usize,
}

/// A breaker as an upstream or a route asks for it.
pub(super) struct Wanted<'w> {
    pub(super) profile: &'w str,
    /// Absent: the upstream's.
    pub(super) name: Option<&'w str>,
    pub(super) upstream: &'w str,
    /// The table that asks.
    pub(super) site: Site<'w>,
}

impl Check<'_, '_> {
    pub(super) fn breakers(&mut self) -> Vec<Breaker> {
        let site = self.root.key("breakers");
        let mut breakers = Vec::new();
        for (profile, file) in &self.file.breakers {
            let site = site.name(profile);
            self.accept(site, name::plain("a breaker profile", profile));
            breakers.push(Breaker {
                name: profile.as_str().into(),
                consecutive_failures: file.consecutive_failures,
                open_wait: file.open_wait_seconds.duration(),
                half_open_probes: file.half_open_probes,
                successes_to_close: file.successes_to_close,
                probe_timeout: file.probe_timeout_seconds.duration(),
                place: self.place(site),
            });
        }
        breakers
    }

    pub(super) fn breaker_of(
        &mut self,
        wanted: &Wanted<'_>,
        profiles: &[Breaker],
        owners: &mut Owners,
    ) -> Option<BreakerOf> {
        let name_site = wanted.site.key("breaker_name");
        let name_is_good =
            wanted.name.is_none_or(|name| self.accept(name_site, name::breaker(name)).is_some());
        let profile = self.resolve(Kind::Breaker, wanted.profile, wanted.site.key("breaker"))?;
        if !name_is_good {
            return None;
        }
        let name: Arc<str> = wanted.name.unwrap_or(wanted.upstream).into();
        self.own(&name, profile, wanted, owners);
        Some(BreakerOf { name, settings: profiles[profile].clone() })
    }

    fn own(&mut self, name: &Arc<str>, profile: usize, wanted: &Wanted<'_>, owners: &mut Owners) {
        let site = wanted.site.key("breaker");
        let line = self.place(site).line;
        let Some(owner) = owners.by_name.get(name) else {
            let owner = Owner { upstream: wanted.upstream.to_owned(), profile, line };
            owners.by_name.insert(Arc::clone(name), owner);
            return;
        };
        let first = owner.line;
        if owner.upstream != wanted.upstream {
            let wrong = format!(
                "the breaker `{name}` belongs to the upstream `{}` (line {first}); give this one another `breaker_name`",
                owner.upstream
            );
            self.report(site, wrong);
        } else if owner.profile != profile {
            let wrong = format!(
                "the breaker `{name}` follows another profile in line {first}; give this one a `breaker_name` of its own"
            );
            self.report(site, wrong);
        }
    }
}
