//! What routes refer to: features, flags and upstreams, each in the order of their names.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;

use super::breakers::{Owners, Wanted};
use super::profiles::Profiles;
use super::{Check, Site, address, name};
use crate::config::config::{AutoDisable, BreakerOf, Feature, Flag, Upstream};
use crate::config::file::{self, BreakerChoice, Seconds};

impl Check<'_, '_> {
    pub(super) fn features(&mut self) -> Vec<Feature> {
        let site = self.root.key("features");
        let mut features = Vec::new();
        for (feature, file) in &self.file.features {
            let site = site.name(feature);
            self.accept(site, name::plain("a feature", feature));
            features.push(Feature {
                name: feature.as_str().into(),
                description: file.description.clone().unwrap_or_default(),
                critical: file.critical,
                public_message: shared(file.public_message.as_deref()),
                error: shared(file.error.as_deref()),
                auto_disable: file.auto_disable.map(|rule| AutoDisable {
                    errors: rule.errors,
                    window: rule.window_seconds.duration(),
                }),
                place: self.place(site),
            });
        }
        features
    }

    pub(super) fn flags(&mut self) -> Vec<Flag> {
        let site = self.root.key("flags");
        let mut flags = Vec::new();
        for (key, file) in &self.file.flags {
            let site = site.name(key);
            self.accept(site, name::flag(key));
            flags.push(Flag {
                key: key.as_str().into(),
                description: file.description.clone().unwrap_or_default(),
                enabled: file.enabled,
                rollout_percentage: file.rollout_percentage,
                place: self.place(site),
            });
        }
        flags
    }

    /// `None` for a faulty one, so that indices stay what they are.
    pub(super) fn upstreams(
        &mut self,
        profiles: &Profiles,
        owners: &mut Owners,
    ) -> Vec<Option<Upstream>> {
        let site = self.root.key("upstreams");
        let mut upstreams = Vec::new();
        for (name, file) in &self.file.upstreams {
            self.accept(site.name(name), name::plain("an upstream", name));
            upstreams.push(self.upstream(name, file, site.name(name), profiles, owners));
        }
        upstreams
    }

    fn upstream(
        &mut self,
        name: &str,
        file: &file::Upstream,
        site: Site<'_>,
        profiles: &Profiles,
        owners: &mut Owners,
    ) -> Option<Upstream> {
        let url = file.url.as_deref();
        let address = url.and_then(|url| self.accept(site.key("url"), address::upstream(url)));
        let health_path = file.health_path.as_deref();
        let health_path = health_path.map(|path| self.own_path(site.key("health_path"), path));
        if matches!(file.breaker, None | Some(BreakerChoice::Off)) && file.breaker_name.is_some() {
            self.report(site.key("breaker_name"), "there is no `breaker` that this could name");
        }
        let breaker = match &file.breaker {
            None => Some(None),
            Some(choice) => {
                let (breaker_name, below) = (file.breaker_name.as_deref(), None);
                let wanted = Wanted { choice, name: breaker_name, upstream: name, below, site };
                self.breaker_of(&wanted, profiles, owners)
            }
        };
        let edits = self.edits(&file.into(), site);
        let breaker = breaker?;
        Some(Upstream {
            name: name.into(),
            address: address?,
            connect_timeout: file.connect_timeout_seconds.duration(),
            response_timeout: response_timeout(file, breaker.as_ref()),
            body_idle_timeout: file.body_idle_timeout_seconds.duration(),
            idle_timeout: file.idle_timeout_seconds.duration(),
            idle_connections_max: file.idle_connections_max,
            concurrency_max: file.concurrency_max,
            breaker,
            error: shared(file.error.as_deref()),
            unreachable_status: StatusCode::from_u16(file.unreachable_status)
                .expect("the schema lets nothing but 502 and 503 pass"),
            health_path: transposed(health_path)?,
            health_interval: file.health_interval_seconds.duration(),
            kind: file.kind.clone(),
            edits: edits?,
            place: self.place(site),
        })
    }
}

/// How long calls under this breaker may take: what the upstream says, else what the breaker says, else half a minute.
pub(super) fn response_timeout(file: &file::Upstream, breaker: Option<&BreakerOf>) -> Duration {
    let of_breaker = || breaker.map(|breaker| breaker.profile.call_timeout);
    let of_upstream = file.response_timeout_seconds.map(Seconds::duration);
    of_upstream.or_else(of_breaker).unwrap_or(Duration::from_secs(30))
}

/// From "written, and faulty or not" to "faulty, or written or not".
pub(super) fn transposed<T>(value: Option<Option<T>>) -> Option<Option<T>> {
    match value {
        Some(None) => None,
        Some(value) => Some(value),
        None => Some(None),
    }
}

fn shared(text: Option<&str>) -> Option<Arc<str>> {
    text.map(Arc::from)
}
