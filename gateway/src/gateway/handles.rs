//! What all workers share, and how one worker is made of it.
//!
//! Breakers, limits, meters and keys are handles, kept by name or by index, so that every worker has the same ones; pools,
//! stacks and numbers are made per worker.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use portcullis::{
    auto_disable::Meter,
    circuit_breaker::{self, Breaker},
    concurrency::Limit,
    rate_limit::Limiter,
    view::Subscriber,
};

use crate::{
    authentication::{keys::Keys, layer::Authenticator, service::AuthService},
    config::config::{self, BreakerOf, Config, Route, RouteAuthentication},
    control::{breakers::NamedBreaker, events::Events, writer::Writer},
    edits::EditsLayer,
    failure::Blame,
    fallback::{self, Plan},
    limits::POOL_SWEEP,
    record::{
        layer::Settings,
        traffic::{Calls, Requests},
    },
    respond::Texts,
    router::{Own, Table},
    sanitise::{layer::Rules, path::PathRules},
    server::{
        accept::Accepted,
        connection::{Bounds, Protocols},
        drain::Signal,
        http2::Floods,
        patience::Patience,
    },
    stack::{self, Front, RouteParts},
    telemetry::{Telemetry, names::CHANGE},
    trailers::{self, Allowed},
    upstream::{
        forward::{Deadlines, Forward, Upstream},
        pool::{self, Pool},
    },
    wire::request::read::HeadBounds,
    worker::Worker,
    would_reject::WouldReject,
};

/// The gateway's own paths on the listener of clients.
const OWN_PATHS: &[&str] = &["/health", "/api/health", "/livez", "/readyz"];

/// One worker's numbers.
pub(super) struct Numbers {
    pub(super) requests: Arc<Requests>,
    pub(super) calls: Vec<Arc<Calls>>,
}

impl Numbers {
    pub(super) fn new(config: &Config) -> Self {
        let calls = config.upstreams.iter().map(|_| Arc::default()).collect();
        Self { requests: Requests::new(config.routes.len()), calls }
    }
}

/// What all workers share: handles, by name or by index.
pub(super) struct Handles {
    config: Arc<Config>,
    pub(super) switchboard: Subscriber,
    table: Arc<Table>,
    texts: Arc<Texts>,
    breakers: HashMap<Arc<str>, NamedBreaker>,
    meters: HashMap<Arc<str>, Meter>,
    in_flight: Vec<Option<Limit>>,
    rate_limits: Vec<Option<Limiter<IpAddr>>>,
    concurrency: Vec<Option<Limit>>,
    fallbacks: Vec<Option<Arc<Plan>>>,
    keys: Option<Arc<Keys>>,
    pub(super) would_reject: Arc<WouldReject>,
    pub(super) floods: Arc<Floods>,
}

impl Handles {
    pub(super) fn new(
        config: Arc<Config>,
        switchboard: Subscriber,
        meters: Vec<Meter>,
        events: &Events,
        writer: &Writer,
    ) -> Self {
        let mut breakers = HashMap::new();
        let of_upstreams =
            config.upstreams.iter().map(|upstream| (&upstream.breaker, &upstream.name));
        let of_routes = config
            .routes
            .iter()
            .map(|route| (&route.breaker, &config.upstreams[route.upstream.0].name));
        for (breaker, upstream) in of_upstreams.chain(of_routes) {
            let Some(of) = breaker else { continue };
            let named = || breaker_of(of, upstream, events, writer);
            breakers.entry(of.name.clone()).or_insert_with(named);
        }
        let limiter = |route: &Route| {
            route.rate_limit.map(|limit| {
                Limiter::new(route.name.clone(), limit.requests, limit.per, limit.burst)
            })
        };
        Self {
            switchboard,
            table: Arc::new(Table::new(&config.routes, &config.redirects, OWN_PATHS)),
            texts: Arc::new(Texts::new(&config)),
            breakers,
            meters: meters.into_iter().map(|meter| (meter.feature().clone(), meter)).collect(),
            in_flight: config
                .routes
                .iter()
                .map(|route| stack::limit(&route.name, route.in_flight_max))
                .collect(),
            rate_limits: config.routes.iter().map(limiter).collect(),
            concurrency: config
                .upstreams
                .iter()
                .map(|u| stack::limit(&u.name, u.concurrency_max))
                .collect(),
            fallbacks: config.routes.iter().map(fallback).collect(),
            keys: config.authentication.as_ref().map(Keys::new),
            would_reject: Arc::default(),
            floods: Arc::default(),
            config,
        }
    }

    pub(super) fn named_breakers(&self) -> Vec<NamedBreaker> {
        let mut breakers: Vec<_> = self.breakers.values().cloned().collect();
        breakers.sort_by(|a, b| a.breaker.name().cmp(b.breaker.name()));
        breakers
    }

    pub(super) fn fallback_figures(&self) -> fallback::Figures {
        fallback::Figures(self.fallbacks.iter().flatten().cloned().collect())
    }

    fn breaker(&self, of: Option<&BreakerOf>) -> Option<Breaker> {
        of.and_then(|of| self.breakers.get(&of.name)).map(|named| named.breaker.clone())
    }

    pub(super) fn record(&self, numbers: &Numbers, telemetry: &Telemetry) -> Arc<Settings> {
        Arc::new(Settings {
            requests: numbers.requests.clone(),
            routes: self
                .config
                .routes
                .iter()
                .map(|route| (route.name.clone(), route.metrics))
                .collect(),
            sample_ratio: telemetry.exports().then_some(self.config.telemetry.sample_ratio),
            access: self.config.log.access.then(|| telemetry.lines.clone()),
        })
    }

    /// One worker's life. The upstreams and stacks are made here, on the worker's own runtime.
    pub(super) async fn serve(
        &self,
        numbers: &Numbers,
        record: Arc<Settings>,
        own: Own,
        stop: Arc<Signal>,
        arrivals: tokio::sync::mpsc::UnboundedReceiver<Accepted>,
    ) {
        let upstreams: Vec<_> = self
            .config
            .upstreams
            .iter()
            .zip(&numbers.calls)
            .map(|(u, calls)| upstream(u, calls))
            .collect();
        let pools = upstreams.iter().map(|upstream| Arc::downgrade(&upstream.pool)).collect();
        let sweeping = tokio::spawn(pool::sweep(pools, POOL_SWEEP));
        let routes = (0..self.config.routes.len())
            .map(|route| stack::route(self.route_parts(route, &upstreams)))
            .collect();
        let server = &self.config.server;
        let front = Front {
            record,
            texts: self.texts.clone(),
            rules: Rules {
                path: PathRules {
                    double_slash: server.double_slash,
                    encoded_slash: server.encoded_slash,
                },
                body_bytes_max: self
                    .config
                    .routes
                    .iter()
                    .map(|route| route.body_bytes_max)
                    .fold(server.body_bytes_max, u64::max),
                body_idle: server.body_idle_timeout,
                trailers: trailers::Rules {
                    request: Allowed::new(&server.request_trailers),
                    response: Allowed::new(&server.response_trailers),
                },
            },
            table: self.table.clone(),
            switchboard: self.switchboard.clone(),
            own,
        };
        let trusted = server.trusted_proxies.clone();
        let bounds = Bounds {
            first_byte: server.first_byte_timeout,
            patience: Patience {
                idle: server.idle_timeout,
                head: server.header_timeout,
                write: server.body_idle_timeout,
            },
            head: HeadBounds {
                bytes_max: server.header_bytes_max,
                headers_max: server.headers_max,
            },
        };
        let worker = Worker {
            stack: stack::front(front, routes),
            protocols: Protocols::new(bounds, self.floods.clone()),
            trusted: Arc::new(move |ip| trusted.iter().any(|cidr| cidr.contains(ip))),
            stop,
            drain_timeout: server.drain_timeout,
        };
        worker.run(arrivals).await;
        sweeping.abort();
    }

    fn route_parts(&self, index: usize, upstreams: &[Arc<Upstream>]) -> RouteParts {
        let (config, route) = (&self.config, &self.config.routes[index]);
        let feature = |index: &config::FeatureIndex| config.features[index.0].name.clone();
        let meter = |index: &config::FeatureIndex| self.meters.get(&feature(index)).cloned();
        let mut rejects: Vec<_> = route.rejects.iter().map(feature).collect();
        rejects.push(stack::route_feature(&route.name));
        RouteParts {
            route: route.name.clone(),
            would_reject: self.would_reject.clone(),
            in_flight: self.in_flight[index].clone(),
            rate_limit: self.rate_limits[index].clone(),
            switchboard: self.switchboard.clone(),
            rejects,
            informs: route.informs.iter().map(feature).collect(),
            authenticator: self.authenticator(route, upstreams),
            flags: route.flags.iter().map(|flag| config.flags[flag.0].key.clone()).collect(),
            edits: EditsLayer::new(&route.edits),
            breaker: self.breaker(route.breaker.as_ref()),
            blame: blame(route.breaker.as_ref()),
            ramps: ramps(route.breaker.as_ref()),
            fallback: self.fallbacks[index].clone(),
            meters: route.auto_disable.iter().filter_map(meter).collect(),
            named_meters: route
                .informs
                .iter()
                .filter(|index| !route.auto_disable.contains(index))
                .filter_map(meter)
                .collect(),
            concurrency: self.concurrency[route.upstream.0].clone(),
            forward: Forward::new(
                upstreams[route.upstream.0].clone(),
                Deadlines {
                    request: route.timeout,
                    attempt: route.attempt_timeout,
                    response: Some(route.response_timeout),
                },
                route.body_bytes_max,
            ),
        }
    }

    fn authenticator(&self, route: &Route, upstreams: &[Arc<Upstream>]) -> Option<Authenticator> {
        let RouteAuthentication::Required { jwt_fallback } = route.authentication else {
            return None;
        };
        let settings = self.config.authentication.as_ref()?;
        Some(Authenticator {
            service: self.auth_service(upstreams[settings.upstream.0].clone())?,
            path: settings.verify_path.as_str().into(),
            keys: self.keys.clone()?,
            token_bytes_max: settings.token_bytes_max,
            jwt_fallback,
        })
    }

    fn auth_service(&self, upstream: Arc<Upstream>) -> Option<AuthService> {
        let settings = self.config.authentication.as_ref()?;
        let of = self.config.upstreams[settings.upstream.0].breaker.as_ref();
        let breaker = self.breaker(of).map(|breaker| (breaker, blame(of)));
        Some(AuthService::new(upstream, settings.timeout, breaker))
    }

    /// Keeps the auth service's keys at hand, on the runtime that this is called on.
    pub(super) fn keep_keys(&self) -> Option<tokio::task::JoinHandle<()>> {
        let settings = self.config.authentication.as_ref()?;
        let upstream = upstream(&self.config.upstreams[settings.upstream.0], &Arc::default());
        // Fetching keys is no call of a client: it neither asks the breaker nor teaches it.
        let service = AuthService::new(upstream, settings.timeout, None);
        Some(tokio::spawn(service.keep_keys(
            settings.jwks_path.clone(),
            self.keys.clone()?,
            settings.jwks_refresh,
        )))
    }
}

fn upstream(upstream: &config::Upstream, calls: &Arc<Calls>) -> Arc<Upstream> {
    Arc::new(Upstream {
        name: upstream.name.clone(),
        address: upstream.address.clone(),
        connect_timeout: upstream.connect_timeout,
        response_timeout: upstream.response_timeout,
        body_idle_timeout: upstream.body_idle_timeout,
        pool: Pool::new(upstream.idle_connections_max, upstream.idle_timeout),
        calls: calls.clone(),
    })
}

fn breaker_of(
    of: &BreakerOf,
    upstream: &Arc<str>,
    events: &Events,
    writer: &Writer,
) -> NamedBreaker {
    let (events, told, writer) = (events.clone(), upstream.clone(), writer.clone());
    let breaker = Breaker::new(of.name.clone(), of.profile.settings).on_change(move |change| {
        let (state, name) = (announced(change.to), &change.breaker);
        tracing::info!(target: CHANGE, "Circuit breaker {state} for {name}: {}", change.reason);
        events.breaker_changed(change, &told);
        writer.breaker_changed(change);
    });
    NamedBreaker { breaker, upstream: upstream.clone() }
}

fn fallback(route: &Route) -> Option<Arc<Plan>> {
    route.fallback.clone().map(|written| Plan::new(route.name.clone(), &route.path, written))
}

/// How a route's breaker judges.
fn blame(of: Option<&BreakerOf>) -> Blame {
    let busy_is_overload = of.is_some_and(|of| of.profile.busy_is_overload);
    if busy_is_overload { Blame::UPSTREAM.busy_is_overload() } else { Blame::UPSTREAM }
}

/// Whether a route's breaker lets traffic come back step by step, and so needs to know whose requests they are.
fn ramps(of: Option<&BreakerOf>) -> bool {
    of.is_some_and(|of| of.profile.settings.ramp.is_some())
}

/// The word for a new state in the line that people watch for.
const fn announced(state: circuit_breaker::State) -> &'static str {
    match state {
        circuit_breaker::State::Closed => "CLOSED",
        circuit_breaker::State::Open => "OPENED",
        circuit_breaker::State::HalfOpen => "HALF-OPEN",
        circuit_breaker::State::ForcedOpen => "FORCED OPEN",
        circuit_breaker::State::Disabled => "DISABLED",
        circuit_breaker::State::Shadow => "SHADOW",
    }
}
