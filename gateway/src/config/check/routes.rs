//! Routes: everything a route refers to, its names resolved and its times compared. Which requests it takes from others is
//! for `claims`.

use std::collections::BTreeMap;
use std::time::Duration;

use http::Method;

use super::breakers::{Owners, Wanted, table_of};
use super::catalogue::{response_timeout, transposed};
use super::claims::{Claim, Claims};
use super::pattern::{self, Pattern};
use super::profiles::Profiles;
use super::{Check, Kind, Site, edits, name};
use crate::config::config::{
    BreakerOf, FeatureIndex, FlagIndex, HostPattern, RateLimit, Rewrite, Route,
    RouteAuthentication, Upstream, UpstreamId,
};
use crate::config::fault::{Wrong, nearest};
use crate::config::file::{self, Authenticate, BreakerChoice};

const METHODS: [&str; 8] = ["DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"];

/// What the routes so far have taken.
struct Taken<'c, 'm> {
    /// The line of each name.
    names: BTreeMap<&'c str, usize>,
    claims: &'m mut Claims,
}

/// Which requests a route or a redirect wants; a part is missing where it is faulty.
pub(super) type Requests = (Option<Pattern>, Option<Option<HostPattern>>, Option<Vec<Method>>);

impl<'c> Check<'c, '_> {
    pub(super) fn routes(
        &mut self,
        upstreams: &[Option<Upstream>],
        profiles: &Profiles,
        owners: &mut Owners,
        claims: &mut Claims,
    ) -> Option<Vec<Route>> {
        let site = self.root.key("routes");
        let mut taken = Taken { names: BTreeMap::new(), claims };
        let mut routes = Vec::new();
        for (index, file) in self.file.routes.iter().enumerate() {
            let site = site.item(index);
            self.route_name(file, site, &mut taken);
            let breaker = self.route_breaker(file, site, upstreams, profiles, owners);
            let upstream = self.upstream_of(file, upstreams);
            routes.push(self.route(file, site, (breaker, upstream), &mut taken));
        }
        routes.into_iter().collect()
    }

    fn route(
        &mut self,
        file: &'c file::Route,
        site: Site<'c>,
        (breaker, inherited): (Option<Option<BreakerOf>>, Option<&Upstream>),
        taken: &mut Taken<'c, '_>,
    ) -> Option<Route> {
        let upstream = file.upstream.as_deref();
        let upstream =
            upstream.and_then(|name| self.resolve(Kind::Upstream, name, site.key("upstream")));
        let (pattern, host, methods) =
            self.requests(file.path.as_deref(), file.host.as_deref(), &file.methods, site);
        if let (Some(pattern), Some(host), Some(methods)) = (&pattern, &host, &methods) {
            let name = file.name.as_ref().map(|name| format!("`{name}`"));
            let taker = name.as_deref().unwrap_or("a route without a name");
            self.claim(taker, site, (host.as_ref(), pattern, methods), taken.claims);
        }
        let rewrite = self.rewrite(file, site, pattern.as_ref());
        let authentication = self.route_authentication(file, site);
        let rejects = self.features_of(&file.rejects, site.key("rejects"));
        let informs = self.features_of(&file.informs, site.key("informs"));
        self.one_effect_each(file, site);
        let auto_disable = self.auto_disable(file, site, rejects.as_deref());
        let flags = self.references(Kind::Flag, &file.flags, site.key("flags"));
        self.times_agree(file, site);
        let edits = self.edits(&file.into(), site);
        let parameters = pattern.as_ref().map_or(&[][..], |pattern| &pattern.parameters);
        let fallback = file.fallback.as_ref();
        let fallback = fallback.map(|file| self.fallback(file, site.key("fallback"), parameters));
        let server = &self.file.server;
        let (inherited, breaker) = (inherited?, breaker?);
        Some(Route {
            name: file.name.as_deref()?.into(),
            methods: methods?,
            host: host?,
            path: pattern?.path,
            upstream: UpstreamId(upstream?),
            rewrite: rewrite?,
            authentication,
            rejects: rejects?,
            informs: informs?,
            auto_disable: auto_disable?,
            flags: flags?.into_iter().map(FlagIndex).collect(),
            timeout: file.timeout_seconds.unwrap_or(server.request_timeout_seconds).duration(),
            attempt_timeout: file.attempt_timeout_seconds.map(file::Seconds::duration),
            response_timeout: self.response_timeout(file, inherited, breaker.as_ref()),
            body_bytes_max: file.body_bytes_max.unwrap_or(server.body_bytes_max),
            rate_limit: transposed(file.rate_limit.as_ref().map(rate_limit))?,
            in_flight_max: file.in_flight_max,
            breaker,
            fallback: transposed(fallback)?,
            metrics: file.metrics,
            edits: edits::merged(&inherited.edits, edits?),
            place: self.place(site),
        })
    }

    fn route_name(&mut self, file: &'c file::Route, site: Site<'_>, taken: &mut Taken<'c, '_>) {
        let Some(route) = file.name.as_deref() else { return };
        self.accept(site.key("name"), name::plain("a route", route));
        let line = self.place(site.key("name")).line;
        if let Some(first) = taken.names.insert(route, line) {
            let wrong = format!("the name `{route}` is taken by the route in line {first}");
            self.report(site.key("name"), wrong);
        }
    }

    /// Which requests are meant.
    pub(super) fn requests(
        &mut self,
        path: Option<&str>,
        host: Option<&str>,
        methods: &[String],
        site: Site<'_>,
    ) -> Requests {
        let path = path.and_then(|path| self.accept(site.key("path"), pattern::path(path)));
        let host = transposed(host.map(|host| self.accept(site.key("host"), pattern::host(host))));
        (path, host, self.methods(methods, site.key("methods")))
    }

    fn methods(&mut self, texts: &[String], site: Site<'_>) -> Option<Vec<Method>> {
        let mut methods = Vec::new();
        for (index, text) in texts.iter().enumerate() {
            let site = site.item(index);
            match self.accept(site, method(text)) {
                Some(known) if methods.contains(&Some(known.clone())) => {
                    self.report(site, format!("`{known}` stands twice in one list"));
                }
                method => methods.push(method),
            }
        }
        methods.into_iter().collect()
    }

    pub(super) fn claim(
        &mut self,
        taker: &str,
        site: Site<'_>,
        (host, pattern, methods): (Option<&HostPattern>, &Pattern, &[Method]),
        claims: &mut Claims,
    ) {
        let claim = Claim {
            taker: taker.to_owned(),
            line: self.place(site).line,
            path: pattern.path.0.clone(),
            methods: methods.to_vec(),
        };
        self.accept(site.key("path"), claims.claim(host, pattern, claim));
    }

    fn rewrite(
        &mut self,
        file: &file::Route,
        site: Site<'_>,
        pattern: Option<&Pattern>,
    ) -> Option<Option<Rewrite>> {
        let Some(text) = file.rewrite.as_deref() else { return Some(None) };
        // Without its path nothing can be said about a rewrite.
        let parameters = &pattern?.parameters;
        self.accept(site.key("rewrite"), pattern::rewrite(text, parameters)).map(Some)
    }

    fn route_authentication(&mut self, file: &file::Route, site: Site<'_>) -> RouteAuthentication {
        let required = file.authentication == Authenticate::Required;
        if required && self.file.authentication.is_none() {
            let wrong = "authentication is required, and there is no [authentication] to ask";
            self.report(site.key("authentication"), wrong);
        }
        if file.jwt_fallback && !required {
            let wrong = "a fallback needs `authentication = \"required\"` to fall back from";
            self.report(site.key("jwt_fallback"), wrong);
        }
        match required {
            true => RouteAuthentication::Required { jwt_fallback: file.jwt_fallback },
            false => RouteAuthentication::None,
        }
    }

    /// A feature either refuses or informs: while it refuses, there is nobody to inform.
    fn one_effect_each(&mut self, file: &file::Route, site: Site<'_>) {
        for (index, feature) in file.informs.iter().enumerate() {
            if file.rejects.contains(feature) {
                let wrong = format!(
                    "`{feature}` is among `rejects` too; while it is off, no upstream is left to inform"
                );
                self.report(site.key("informs").item(index), wrong);
            }
        }
    }

    fn auto_disable(
        &mut self,
        file: &file::Route,
        site: Site<'_>,
        rejects: Option<&[FeatureIndex]>,
    ) -> Option<Vec<FeatureIndex>> {
        let Some(names) = &file.auto_disable else {
            let counted = |name: &str| self.file.features[name].auto_disable.is_some();
            let named = file.rejects.iter().zip(rejects?);
            let counted = named.filter(|(name, _)| counted(name));
            return Some(counted.map(|(_, feature)| *feature).collect());
        };
        let site = site.key("auto_disable");
        for (index, name) in names.iter().enumerate() {
            let feature = self.file.features.get(name);
            if feature.is_some_and(|feature| feature.auto_disable.is_none()) {
                let wrong =
                    format!("[features.{name}] has no `auto_disable`, so nothing is counted");
                self.report(site.item(index), wrong);
            }
        }
        self.features_of(names, site)
    }

    fn features_of(&mut self, names: &[String], site: Site<'_>) -> Option<Vec<FeatureIndex>> {
        let indices = self.references(Kind::Feature, names, site)?;
        Some(indices.into_iter().map(FeatureIndex).collect())
    }

    fn references(&mut self, kind: Kind, names: &[String], site: Site<'_>) -> Option<Vec<usize>> {
        let mut indices = Vec::new();
        for (at, name) in names.iter().enumerate() {
            let site = site.item(at);
            if names[..at].contains(name) {
                self.report(site, format!("`{name}` stands twice in one list"));
            } else {
                indices.push(self.resolve(kind, name, site));
            }
        }
        indices.into_iter().collect()
    }

    fn times_agree(&mut self, file: &file::Route, site: Site<'_>) {
        let whole = file.timeout_seconds.unwrap_or(self.file.server.request_timeout_seconds);
        let Some(attempt) = file.attempt_timeout_seconds else { return };
        if attempt.0 > whole.0 {
            let wrong =
                format!("an attempt of {} s can't fit into a request of {} s", attempt.0, whole.0);
            self.report(site.key("attempt_timeout_seconds"), wrong);
        }
    }

    fn upstream_of<'u>(
        &self,
        file: &file::Route,
        upstreams: &'u [Option<Upstream>],
    ) -> Option<&'u Upstream> {
        let index = *self.declared.of(Kind::Upstream).get(file.upstream.as_deref()?)?;
        upstreams[index].as_ref()
    }

    /// The route's own breaker, else its upstream's.
    fn route_breaker(
        &mut self,
        file: &file::Route,
        site: Site<'_>,
        upstreams: &[Option<Upstream>],
        profiles: &Profiles,
        owners: &mut Owners,
    ) -> Option<Option<BreakerOf>> {
        if file.breaker_name.is_some() && matches!(file.breaker, None | Some(BreakerChoice::Off)) {
            self.report(site.key("breaker_name"), "there is no `breaker` that this could name");
        }
        let upstream = file.upstream.as_deref()?;
        let Some(choice) = &file.breaker else {
            return self.upstream_of(file, upstreams).map(|upstream| upstream.breaker.clone());
        };
        let of_upstream = self.file.upstreams.get(upstream);
        let below = of_upstream.and_then(|of| table_of(of.breaker.as_ref(), profiles));
        let name = file.breaker_name.as_deref();
        let wanted = Wanted { choice, name, upstream, below, site };
        self.breaker_of(&wanted, profiles, owners)
    }

    /// A route without a breaker has its upstream's time, whatever that takes it from.
    fn response_timeout(
        &self,
        file: &file::Route,
        inherited: &Upstream,
        breaker: Option<&BreakerOf>,
    ) -> Duration {
        let upstream = file.upstream.as_ref().and_then(|name| self.file.upstreams.get(name));
        match (upstream, breaker) {
            (Some(upstream), Some(_)) => response_timeout(upstream, breaker),
            _ => inherited.response_timeout,
        }
    }
}

fn method(text: &str) -> Result<Method, Wrong> {
    if METHODS.contains(&text) {
        return Ok(text.parse().expect("a method that HTTP defines"));
    }
    let meant = nearest(text, METHODS);
    // Other methods exist (PROPFIND, REPORT); a slip and lower case do not make one.
    let capitals =
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-');
    if meant.is_some() || !capitals || text == "CONNECT" {
        return Err(
            Wrong::from(format!("\"{text}\" is not a method that a route can serve")).or(meant)
        );
    }
    text.parse().map_err(|_| format!("\"{text}\" is not a method").into())
}

/// `None` when `requests` is missing, which the schema has reported.
fn rate_limit(file: &file::RateLimit) -> Option<RateLimit> {
    let requests = file.requests?;
    let per = file.per_seconds.duration();
    Some(RateLimit { requests, per, burst: file.burst.unwrap_or(requests) })
}
