//! Start and join: from a checked configuration to a gateway that serves, and back to nothing.
//!
//! The order of starting is the order of needing: the store and the switchboard, the handles that all workers share, both
//! listeners (bound before anything is promised), the control plane, the workers, and last the acceptor. The order of
//! stopping is the reverse, with a drain in the middle.

use std::{
    collections::HashMap,
    fmt, io,
    net::{IpAddr, SocketAddr, TcpListener},
    sync::Arc,
    thread::{self, JoinHandle},
};

use portcullis::{
    auto_disable::Meter,
    circuit_breaker::{self, Breaker},
    concurrency::Limit,
    rate_limit::Limiter,
    view::{self, Subscriber},
};
use tokio::sync::watch;

use crate::{
    authentication::{keys::Keys, layer::Authenticator, service::AuthService},
    config::config::{self, BreakerOf, Config, Route, RouteAuthentication},
    control::{self, breakers::NamedBreaker, health::Health, metrics::Exposition, opening, writer},
    limits::POOL_SWEEP,
    record::{
        layer::Settings,
        traffic::{Calls, Requests, Totals},
    },
    respond::Texts,
    router::{Own, Table},
    sanitise::{layer::Rules, path::PathRules},
    server::{
        accept::{self, Share},
        connection::{Bounds, Protocols},
        drain::Signal,
        pulse::Patience,
    },
    stack::{self, Front, RouteParts},
    telemetry::{Telemetry, lines::Lines, names::CHANGE},
    upstream::{
        forward::{Deadlines, Forward, Upstream},
        pool::{self, Pool},
    },
    worker::Worker,
};

/// The gateway's own paths on the listener of clients.
const OWN_PATHS: &[&str] = &["/health", "/api/health", "/livez", "/readyz"];

/// Why the gateway could not start: one line, and the exit code that goes with it.
#[derive(Debug)]
pub struct StartError {
    message: String,
    code: u8,
}

impl StartError {
    fn at_fault(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 1 }
    }

    fn unavailable(message: impl Into<String>) -> Self {
        Self { message: message.into(), code: 3 }
    }

    /// 1 for what the configuration says, 3 for what can't be bound or opened.
    pub const fn exit_code(&self) -> u8 {
        self.code
    }
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for StartError {}

/// Runs the gateway until it is told to stop, and has stopped.
///
/// # Errors
/// What keeps it from starting.
pub fn run(config: Config) -> Result<(), StartError> {
    let telemetry =
        Telemetry::start(&config.log, &config.telemetry).map_err(StartError::at_fault)?;
    let lines = telemetry.lines.clone();
    let result = Gateway::start(&Arc::new(config), &telemetry).map(Gateway::wait);
    drop(telemetry);
    lines.flush();
    result
}

/// A gateway that serves.
struct Gateway {
    /// What was told, from before the ports opened.
    signals: std::sync::mpsc::Receiver<&'static str>,
    health: Health,
    stop: Arc<Signal>,
    stop_control: watch::Sender<bool>,
    writer: writer::Writer,
    /// In the order in which they end.
    threads: Vec<JoinHandle<()>>,
}

impl Gateway {
    fn start(config: &Arc<Config>, telemetry: &Telemetry) -> Result<Self, StartError> {
        let signals = spawn_signals(telemetry.lines.clone())?;
        let opened = opening::open(config)
            .map_err(|error| StartError { message: error.to_string(), code: error.exit_code() })?;
        let listener = bind(config.server.listen, "server.listen")?;
        let admin = bind(config.admin.listen, "admin.listen")?;
        let (writer, inbox) = writer::channel();
        let meters = control::meters(config, &writer);
        let (publisher, switchboard) = view::channel(opened.switchboard.clone());
        let shared = Arc::new(Shared::new(config.clone(), switchboard, meters.clone()));
        let breakers = shared.named_breakers();
        let health = Health::new(
            config,
            shared.switchboard.clone(),
            breakers.clone(),
            writer.ledger().clone(),
        );
        let stop = Arc::new(Signal::default());
        let (stop_control, control_stopped) = watch::channel(false);

        let board = writer::Board {
            store: opened.store,
            publisher,
            switchboard: opened.switchboard,
            meters: meters.clone(),
        };
        let writing = spawn("writer", move || inbox.run(board))?;
        let (mut threads, mut shares, mut requests, mut calls) =
            (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        for index in 0..config.server.workers.get() {
            let own = health_paths(&health);
            let numbers = Numbers::new(config);
            requests.push(numbers.requests.clone());
            calls.push(numbers.calls.clone());
            let (share, arrivals) = Share::new();
            shares.push(share);
            let (shared, stop, record) =
                (shared.clone(), stop.clone(), shared.record(&numbers, telemetry));
            threads.push(spawn(&format!("worker-{index}"), move || {
                block_on(async move { shared.serve(&numbers, record, own, stop, arrivals).await });
            })?);
        }
        let totals = Totals {
            routes: config.routes.iter().map(|route| route.name.clone()).collect(),
            upstreams: config.upstreams.iter().map(|upstream| upstream.name.clone()).collect(),
            requests,
            calls,
        };
        let exposition: Vec<Arc<dyn Exposition>> =
            vec![Arc::new(totals), Arc::new(LinesFigures(telemetry.lines.clone()))];
        let parts = control::Parts {
            config: config.clone(),
            subscriber: shared.switchboard.clone(),
            writer: writer.clone(),
            breakers,
            meters,
            health: health.clone(),
            exposition,
        };
        let control =
            spawn("control", move || block_on(run_control(parts, shared, admin, control_stopped)))?;
        let accepting = spawn("acceptor", {
            let (stop, connections_max) = (stop.clone(), config.server.connections_max);
            move || {
                if let Err(error) =
                    block_on(accept::accept(listener, shares, connections_max, &stop))
                {
                    tracing::error!(%error, "the acceptor has ended");
                }
            }
        })?;
        threads.insert(0, accepting);
        threads.extend([control, writing]);
        announce(config);
        Ok(Self { signals, health, stop, stop_control, writer, threads })
    }

    /// Waits for a signal, then drains. A second signal ends it at once.
    fn wait(self) {
        let Self { signals, health, stop, stop_control, writer, threads } = self;
        let why = signals.recv().unwrap_or("the end of all signals");
        tracing::info!(target: CHANGE, "draining after {why}");
        health.drain();
        stop.raise();
        thread::spawn(move || {
            if signals.recv().is_ok() {
                std::process::exit(0);
            }
        });
        let workers = threads.len() - 2;
        let mut threads = threads.into_iter();
        threads.by_ref().take(workers).for_each(join);
        // The control plane stays until the last request is over, so that its end can be watched.
        let _ = stop_control.send(true);
        threads.next().into_iter().for_each(join);
        writer.close();
        threads.for_each(join);
    }
}

fn join(thread: JoinHandle<()>) {
    // A panic has been printed by its own thread.
    let _ = thread.join();
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    let spawned = thread::Builder::new().name(name.to_owned()).spawn(work);
    spawned.map_err(|error| {
        StartError::unavailable(format!("failed to start the thread {name}: {error}"))
    })
}

/// Runs a future on a runtime of its own, on this thread.
fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.expect("the kernel gives an epoll instance at start").block_on(future)
}

fn bind(address: SocketAddr, key: &str) -> Result<TcpListener, StartError> {
    accept::bind(address).map_err(|error| {
        let why = match error.kind() {
            io::ErrorKind::AddrInUse => "another process listens there".to_owned(),
            io::ErrorKind::PermissionDenied => "this user may not".to_owned(),
            io::ErrorKind::AddrNotAvailable => "this machine doesn't have the address".to_owned(),
            _ => error.to_string(),
        };
        StartError::unavailable(format!("failed to listen on {address} ({key}): {why}"))
    })
}

fn announce(config: &Config) {
    let workers = config.server.workers;
    tracing::info!(target: CHANGE, "portcullis {} listening on {}, admin on {}, {workers} worker(s)",
        env!("CARGO_PKG_VERSION"), config.server.listen, config.admin.listen);
    if config.routes.is_empty() {
        tracing::warn!("no routes are configured: every request will be answered with 404");
    }
}

fn health_paths(health: &Health) -> Own {
    let health = health.clone();
    Arc::new(move |path| health.answer(path).unwrap_or_default())
}

/// The figures of the log.
struct LinesFigures(Lines);

impl Exposition for LinesFigures {
    fn write(&self, out: &mut String) {
        self.0.write_metrics(out);
    }
}

async fn run_control(
    parts: control::Parts,
    shared: Arc<Shared>,
    admin: TcpListener,
    stopped: watch::Receiver<bool>,
) {
    let refresh = shared.keep_keys();
    let listener = tokio::net::TcpListener::from_std(admin).expect("bound and non-blocking");
    if let Err(error) = control::serve(parts, listener, stopped).await {
        tracing::error!(%error, "the control plane has ended");
    }
    if let Some(refresh) = refresh {
        refresh.abort();
    }
}

/// One worker's numbers.
struct Numbers {
    requests: Arc<Requests>,
    calls: Vec<Arc<Calls>>,
}

impl Numbers {
    fn new(config: &Config) -> Self {
        let calls = config.upstreams.iter().map(|_| Arc::default()).collect();
        Self { requests: Requests::new(config.routes.len()), calls }
    }
}

/// What all workers share: handles, by name or by index.
struct Shared {
    config: Arc<Config>,
    switchboard: Subscriber,
    table: Arc<Table>,
    texts: Arc<Texts>,
    breakers: HashMap<Arc<str>, NamedBreaker>,
    meters: HashMap<Arc<str>, Meter>,
    in_flight: Vec<Option<Limit>>,
    rate_limits: Vec<Option<Limiter<IpAddr>>>,
    concurrency: Vec<Option<Limit>>,
    keys: Option<Arc<Keys>>,
}

impl Shared {
    fn new(config: Arc<Config>, switchboard: Subscriber, meters: Vec<Meter>) -> Self {
        let mut breakers = HashMap::new();
        let of_upstreams =
            config.upstreams.iter().map(|upstream| (&upstream.breaker, &upstream.name));
        let of_routes = config
            .routes
            .iter()
            .map(|route| (&route.breaker, &config.upstreams[route.upstream.0].name));
        for (breaker, upstream) in of_upstreams.chain(of_routes) {
            let Some(BreakerOf { name, settings }) = breaker else { continue };
            let named =
                || NamedBreaker { breaker: breaker_of(name, settings), upstream: upstream.clone() };
            breakers.entry(name.clone()).or_insert_with(named);
        }
        let limiter = |route: &Route| {
            route.rate_limit.map(|limit| {
                Limiter::new(route.name.clone(), limit.requests, limit.per, limit.burst)
            })
        };
        Self {
            switchboard,
            table: Arc::new(Table::new(&config.routes, OWN_PATHS)),
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
            keys: config.authentication.as_ref().map(Keys::new),
            config,
        }
    }

    fn named_breakers(&self) -> Vec<NamedBreaker> {
        let mut breakers: Vec<_> = self.breakers.values().cloned().collect();
        breakers.sort_by(|a, b| a.breaker.name().cmp(b.breaker.name()));
        breakers
    }

    fn breaker(&self, of: Option<&BreakerOf>) -> Option<Breaker> {
        of.and_then(|of| self.breakers.get(&of.name)).map(|named| named.breaker.clone())
    }

    fn record(&self, numbers: &Numbers, telemetry: &Telemetry) -> Arc<Settings> {
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
    async fn serve(
        &self,
        numbers: &Numbers,
        record: Arc<Settings>,
        own: Own,
        stop: Arc<Signal>,
        arrivals: tokio::sync::mpsc::UnboundedReceiver<accept::Accepted>,
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
            },
            table: self.table.clone(),
            switchboard: self.switchboard.clone(),
            own,
        };
        let trusted = server.trusted_proxies.clone();
        let worker = Worker {
            stack: stack::front(front, routes),
            protocols: Protocols::new(&Bounds {
                first_byte: server.first_byte_timeout,
                patience: Patience { idle: server.idle_timeout, head: server.header_timeout },
                head_bytes_max: server.header_bytes_max,
                headers_max: server.headers_max,
            }),
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
        let mut rejects: Vec<_> = route.rejects.iter().map(feature).collect();
        rejects.push(stack::route_feature(&route.name));
        RouteParts {
            timeout: route.timeout,
            in_flight: self.in_flight[index].clone(),
            rate_limit: self.rate_limits[index].clone(),
            switchboard: self.switchboard.clone(),
            rejects,
            informs: route.informs.iter().map(feature).collect(),
            authenticator: self.authenticator(route, upstreams),
            flags: route.flags.iter().map(|flag| config.flags[flag.0].key.clone()).collect(),
            breaker: self.breaker(route.breaker.as_ref()),
            meters: route
                .auto_disable
                .iter()
                .filter_map(|index| self.meters.get(&feature(index)).cloned())
                .collect(),
            concurrency: self.concurrency[route.upstream.0].clone(),
            forward: Forward::new(
                upstreams[route.upstream.0].clone(),
                Deadlines { request: route.timeout, attempt: route.attempt_timeout },
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
        let breaker = self.breaker(self.config.upstreams[settings.upstream.0].breaker.as_ref());
        Some(AuthService::new(upstream, settings.timeout, breaker))
    }

    /// Keeps the auth service's keys at hand, on the runtime that this is called on.
    fn keep_keys(&self) -> Option<tokio::task::JoinHandle<()>> {
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

fn breaker_of(name: &Arc<str>, settings: &config::Breaker) -> Breaker {
    let settings = circuit_breaker::Settings {
        consecutive_failures: settings.consecutive_failures,
        open_wait: settings.open_wait,
        half_open_probes: settings.half_open_probes,
        successes_to_close: settings.successes_to_close,
        probe_timeout: settings.probe_timeout,
    };
    Breaker::new(name.clone(), settings).on_change(|change| {
        let (state, name) = (announced(change.to), &change.breaker);
        tracing::info!(target: CHANGE, "Circuit breaker {state} for {name}: {}", change.reason);
    })
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

/// SIGTERM and SIGINT (and, where it is asked for, the end of stdin) as words; SIGHUP opens the log file anew.
fn spawn_signals(lines: Lines) -> Result<std::sync::mpsc::Receiver<&'static str>, StartError> {
    let (sender, receiver) = std::sync::mpsc::channel();
    if std::env::var_os("PORTCULLIS_UNTIL_STDIN_CLOSES").is_some_and(|value| value == "1") {
        let sender = sender.clone();
        spawn("stdin", move || {
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
            let _ = sender.send("the end of its launcher");
        })?;
    }
    let (watching, watched) = std::sync::mpsc::channel();
    spawn("signals", move || block_on(watch_signals(sender, watching, lines)))?;
    // From here on no signal is missed: one that came before a port is open must not kill, but end.
    let _ = watched.recv();
    Ok(receiver)
}

async fn watch_signals(
    told: std::sync::mpsc::Sender<&'static str>,
    watching: std::sync::mpsc::Sender<()>,
    lines: Lines,
) {
    use tokio::signal::unix::{SignalKind, signal};
    let watched = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
        signal(SignalKind::hangup()),
    );
    let (Ok(mut terminate), Ok(mut interrupt), Ok(mut hangup)) = watched else {
        tracing::error!("failed to watch for signals: only SIGKILL will stop this process");
        return std::future::pending().await;
    };
    drop(watching);
    loop {
        let word = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
            _ = hangup.recv() => {
                lines.reopen();
                continue;
            }
        };
        if told.send(word).is_err() {
            return;
        }
    }
}
