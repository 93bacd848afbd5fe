//! Start and join: from a checked configuration to a gateway that serves, and back to nothing.
//!
//! The order of starting is the order of needing: the store and the switchboard, the handles that all workers share, both
//! listeners (bound before anything is promised), the control plane, the workers, and last the acceptor. The order of
//! stopping is the reverse, with a drain in the middle.

mod handles;
mod signals;

use std::{
    fmt, io,
    net::{SocketAddr, TcpListener},
    sync::Arc,
    thread::{self, JoinHandle},
};

use portcullis::{switchboard::UnixMillis, view};
use tokio::sync::watch;

use self::{
    handles::{Handles, Numbers},
    signals::Told,
};
use crate::{
    config::config::{Config, Store},
    control::{
        self, events::Events, fleet::Fleet, health::Health, metrics::Exposition, opening,
        standing::Standing, webhook::Courier, writer,
    },
    limits::FLEET_EVENTS_KEPT,
    panics,
    record::traffic::Totals,
    router::Own,
    server::{
        accept::{self, Share},
        descriptors,
        drain::Signal,
        http2::Floods,
    },
    telemetry::{Telemetry, lines::Lines, names::CHANGE},
};

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
    panics::watch();
    let lines = telemetry.lines.clone();
    let result = Gateway::start(&Arc::new(config), &telemetry).map(Gateway::wait);
    drop(telemetry);
    lines.flush();
    result
}

/// A gateway that serves.
struct Gateway {
    /// What was told, from before the ports opened.
    told: std::sync::mpsc::Receiver<Told>,
    health: Health,
    stop: Arc<Signal>,
    stop_control: watch::Sender<bool>,
    writer: writer::Writer,
    /// In the order in which they end.
    threads: Vec<JoinHandle<()>>,
}

impl Gateway {
    fn start(config: &Arc<Config>, telemetry: &Telemetry) -> Result<Self, StartError> {
        let told = signals::watch(telemetry.lines.clone())?;
        let courier = Courier::new(config).map_err(StartError::at_fault)?;
        let mut opened = opening::open(config)
            .map_err(|error| StartError { message: error.to_string(), code: error.exit_code() })?;
        let listener = bind(config.server.listen, "server.listen")?;
        let admin = bind(config.admin.listen, "admin.listen")?;
        let (writer, inbox) = writer::channel();
        let fleet = Fleet::new(config, opened.store.instances());
        let outlet = opened.store.outlet("breaker-events", FLEET_EVENTS_KEPT);
        opened.store.follow({
            let writer = writer.clone();
            Arc::new(move |news| writer.tell(news))
        });
        let meters = control::meters(config, &writer);
        let (publisher, switchboard) = view::channel(opened.switchboard.clone());
        let events = Events::new(instance(config));
        let handles =
            Arc::new(Handles::new(config.clone(), switchboard, meters.clone(), &events, &writer));
        let breakers = handles.named_breakers();
        let standing = Standing::of(config);
        standing.restore(&breakers, UnixMillis::now());
        let health = Health::new(
            config,
            handles.switchboard.clone(),
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
            let (handles, stop, record) =
                (handles.clone(), stop.clone(), handles.record(&numbers, telemetry));
            threads.push(spawn(&format!("worker-{index}"), move || {
                block_on(async move { handles.serve(&numbers, record, own, stop, arrivals).await });
            })?);
        }
        let totals = Totals {
            routes: config.routes.iter().map(|route| route.name.clone()).collect(),
            upstreams: config.upstreams.iter().map(|upstream| upstream.name.clone()).collect(),
            requests,
            calls,
        };
        let exposition: Vec<Arc<dyn Exposition>> = vec![
            Arc::new(totals),
            Arc::new(panics::Figures),
            Arc::new(handles.fallback_figures()),
            handles.would_reject.clone(),
            Arc::new(FloodFigures(handles.floods.clone())),
            Arc::new(LinesFigures(telemetry.lines.clone())),
        ];
        let parts = control::Parts {
            config: config.clone(),
            subscriber: handles.switchboard.clone(),
            writer: writer.clone(),
            fleet,
            breakers,
            standing,
            meters,
            health: health.clone(),
            events,
            outlet,
            courier,
            exposition,
        };
        let control = spawn("control", move || {
            block_on(run_control(parts, handles, admin, control_stopped));
        })?;
        let accepting = spawn("acceptor", {
            let (stop, connections_max) = (stop.clone(), connections_max(config));
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
        Ok(Self { told, health, stop, stop_control, writer, threads })
    }

    /// Waits for a signal, then drains. A second signal ends it at once.
    fn wait(self) {
        let Self { told, health, stop, stop_control, writer, threads } = self;
        let why = told.recv().unwrap_or(Told::LauncherGone);
        tracing::info!(target: CHANGE, "draining after {why}");
        health.drain();
        stop.raise();
        thread::spawn(move || {
            // The end of a launcher comes with a signal of its own; only a second signal is impatience.
            let patient = usize::from(why == Told::LauncherGone);
            if told.iter().filter(|told| *told != Told::LauncherGone).nth(patient).is_some() {
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

/// As many as configured, unless the machine allows fewer, which is said.
fn connections_max(config: &Config) -> usize {
    let wanted = config.server.connections_max;
    let limit = descriptors::raise();
    let connections = descriptors::connections(wanted, limit);
    if let Some(limit) = limit.filter(|_| connections < wanted) {
        tracing::warn!(
            "{connections} connections are taken at once instead of {wanted}, because the limit on open files is {limit}"
        );
    }
    connections
}

fn announce(config: &Config) {
    let workers = config.server.workers;
    tracing::info!(target: CHANGE, "portcullis {} listening on {}, admin on {}, {workers} worker(s)",
        env!("CARGO_PKG_VERSION"), config.server.listen, config.admin.listen);
    if config.routes.is_empty() {
        tracing::warn!("no routes are configured: every request will be answered with 404");
    }
}

/// The name of this gateway among others: its machine and its port.
fn instance(config: &Config) -> String {
    if let Store::Redis(redis) = &config.store
        && let Some(name) = &redis.instance
    {
        return name.clone();
    }
    let machine = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let machine = Some(machine.trim()).filter(|machine| !machine.is_empty()).unwrap_or("gateway");
    format!("{machine}:{}", config.server.listen.port())
}

fn health_paths(health: &Health) -> Own {
    let health = health.clone();
    Arc::new(move |path| health.answer(path).unwrap_or_default())
}

/// The figures of floods.
struct FloodFigures(Arc<Floods>);

impl Exposition for FloodFigures {
    fn write(&self, out: &mut String) {
        self.0.write_metrics(out);
    }
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
    handles: Arc<Handles>,
    admin: TcpListener,
    stopped: watch::Receiver<bool>,
) {
    let refresh = handles.keep_keys();
    let listener = tokio::net::TcpListener::from_std(admin).expect("bound and non-blocking");
    if let Err(error) = control::serve(parts, listener, stopped).await {
        tracing::error!(%error, "the control plane has ended");
    }
    if let Some(refresh) = refresh {
        refresh.abort();
    }
}
