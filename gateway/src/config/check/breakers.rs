//! Which upstream or route has which breaker.
//!
//! A breaker is known by its name. Two routes may share one, because the health of an upstream is one fact; but one name
//! can't stand for two upstreams, nor have two settings.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::profiles::{Profiles, breaker};
use super::{Check, Kind, Site, name};
use crate::config::config::{Breaker, BreakerOf};
use crate::config::file::{self, BreakerChoice};

/// Who has which breaker so far.
#[derive(Default)]
pub(super) struct Owners {
    by_name: BTreeMap<Arc<str>, Owner>,
}

struct Owner {
    upstream: String,
    profile: Breaker,
    line: usize,
}

/// A breaker as an upstream or a route asks for it.
pub(super) struct Wanted<'w> {
    pub(super) choice: &'w BreakerChoice,
    /// Absent: the upstream's.
    pub(super) name: Option<&'w str>,
    pub(super) upstream: &'w str,
    /// What the upstream of a route has, for a table of the route to stand on.
    pub(super) below: Option<file::Breaker>,
    /// The table that asks.
    pub(super) site: Site<'w>,
}

impl Check<'_, '_> {
    /// Nothing for no breaker, and nothing in nothing for a faulty one.
    pub(super) fn breaker_of(
        &mut self,
        wanted: &Wanted<'_>,
        profiles: &Profiles,
        owners: &mut Owners,
    ) -> Option<Option<BreakerOf>> {
        let name_site = wanted.site.key("breaker_name");
        let name_is_good =
            wanted.name.is_none_or(|name| self.accept(name_site, name::breaker(name)).is_some());
        let site = wanted.site.key("breaker");
        let profile = match wanted.choice {
            BreakerChoice::Off => return Some(None),
            BreakerChoice::Profile(name) => {
                self.resolve(Kind::Breaker, name, site)?;
                breaker(name, &profiles.table(name))
            }
            BreakerChoice::Own(own) => self.own_breaker(own, wanted, profiles),
        };
        if !name_is_good {
            return None;
        }
        let name: Arc<str> = wanted.name.unwrap_or(wanted.upstream).into();
        self.own(&name, &profile, wanted, owners);
        Some(Some(BreakerOf { name, profile }))
    }

    fn own_breaker(
        &mut self,
        own: &file::Breaker,
        wanted: &Wanted<'_>,
        profiles: &Profiles,
    ) -> Breaker {
        let site = wanted.site.key("breaker");
        self.breaker_table(own, site);
        let below = wanted.below.clone().filter(|_| own.profile.is_none());
        let whole = own.clone().over(below.unwrap_or_else(|| profiles.below(own)));
        self.makes_sense(&whole, site);
        breaker(whole.profile.as_deref().unwrap_or("default"), &whole)
    }

    fn own(
        &mut self,
        name: &Arc<str>,
        profile: &Breaker,
        wanted: &Wanted<'_>,
        owners: &mut Owners,
    ) {
        let site = wanted.site.key("breaker");
        let line = self.place(site).line;
        let Some(owner) = owners.by_name.get(name) else {
            let (upstream, profile) = (wanted.upstream.to_owned(), profile.clone());
            owners.by_name.insert(Arc::clone(name), Owner { upstream, profile, line });
            return;
        };
        let first = owner.line;
        if owner.upstream != wanted.upstream {
            let wrong = format!(
                "the breaker `{name}` belongs to the upstream `{}` (line {first}); give this one another `breaker_name`",
                owner.upstream
            );
            self.report(site, wrong);
        } else if owner.profile.settings != profile.settings
            || owner.profile.busy_is_overload != profile.busy_is_overload
            || owner.profile.health_check != profile.health_check
        {
            let wrong = format!(
                "the breaker `{name}` has other settings in line {first}; give this one a `breaker_name` of its own"
            );
            self.report(site, wrong);
        }
    }
}

/// What an upstream's choice says as a table, for its routes to stand on.
pub(super) fn table_of(
    choice: Option<&BreakerChoice>,
    profiles: &Profiles,
) -> Option<file::Breaker> {
    match choice? {
        BreakerChoice::Off => None,
        BreakerChoice::Profile(name) => Some(profiles.table(name)),
        BreakerChoice::Own(own) => Some((**own).clone().over(profiles.below(own))),
    }
}
