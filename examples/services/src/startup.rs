//! How every service starts and ends, so that each service's own code begins where it gets interesting.
//!
//! Start: listen on loopback at `PORT` (0 lets the system choose), keep files under `PORTCULLIS_DATA_DIR`/NAME, print
//! one line with the real address. End: on SIGTERM, SIGINT or, with `PORTCULLIS_UNTIL_STDIN_CLOSES=1`, when stdin
//! reaches its end; that last one lets a launcher take its services along however it dies. Requests that run are
//! finished first, then the background work, each within a bound.

use std::future::Future;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use axum::{Router, middleware};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};
use tracing_subscriber::EnvFilter;

use crate::{answer, trace};

/// Long enough for any request of ours, short enough for a person at Ctrl-C.
const REQUESTS_END_WITHIN: Duration = Duration::from_secs(3);
/// For work that must be put away, such as a queue that is written out.
const BACKGROUND_ENDS_WITHIN: Duration = Duration::from_secs(2);

/// The exit code for "can't bind, or can't open what it keeps".
const EXIT_CANNOT_START: u8 = 3;
/// The exit code for a setting that makes no sense.
const EXIT_BAD_SETTING: u8 = 1;

/// What a service needs to know before it opens.
pub struct Settings {
    /// Its own folder; exists.
    pub data_dir: PathBuf,
    /// Whether endpoints that only tests need are there (`TEST_ENDPOINTS=1`).
    pub test_endpoints: bool,
    /// Where the gateway listens (`GATEWAY_URL`).
    pub gateway_url: String,
}

/// What a service is once it is open.
pub struct Service {
    pub router: Router,
    pub background: Background,
}

/// Why a service could not open; printed after "failed to start: ".
pub type OpenError = Box<dyn std::error::Error + Send + Sync>;

/// The tasks that a service runs beside its requests, and the word that tells them to end.
pub struct Background {
    tasks: JoinSet<()>,
    ending: watch::Sender<bool>,
}

/// What a background task holds to hear that the service ends.
#[derive(Clone)]
pub struct Ending(watch::Receiver<bool>);

impl Default for Background {
    fn default() -> Self {
        Background { tasks: JoinSet::new(), ending: watch::Sender::new(false) }
    }
}

impl Background {
    /// Starts a task that ends soon after its [`Ending`] begins.
    pub fn spawn<F>(&mut self, task: impl FnOnce(Ending) -> F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.tasks.spawn(task(Ending(self.ending.subscribe())));
    }

    /// Tells all tasks to end and waits for them; those that take too long are cut off.
    pub async fn end(mut self) {
        self.ending.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(BACKGROUND_ENDS_WITHIN, all).await.is_err() {
            warn!("background work did not end in time and was cut off");
        }
    }
}

impl Ending {
    /// Waits until the service ends.
    pub async fn begun(&mut self) {
        // An error means that the service is gone already, which is an end too.
        let _ = self.0.wait_for(|ending| *ending).await;
    }

    /// Sleeps, unless the service ends first.
    pub async fn sleep(&mut self, duration: Duration) {
        let _ = timeout(duration, self.begun()).await;
    }

    pub fn has_begun(&self) -> bool {
        *self.0.borrow()
    }
}

/// Runs one service until it is told to end: the whole of each binary's `main`.
pub fn run<F>(name: &'static str, default_port: u16, open: impl FnOnce(Settings) -> F) -> ExitCode
where
    F: Future<Output = Result<Service, OpenError>>,
{
    log_to_stdout();
    let port = match port(std::env::var("PORT").ok().as_deref(), default_port) {
        Ok(port) => port,
        Err(fault) => return failed(name, &fault, EXIT_BAD_SETTING),
    };
    // One thread is enough for a demo; SQLite and password hashing run on the blocking pool.
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(name, &error.to_string(), EXIT_CANNOT_START),
    };
    let outcome = runtime.block_on(start_then_serve(name, port, open));
    runtime.shutdown_timeout(Duration::from_secs(1));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(name, &error.to_string(), EXIT_CANNOT_START),
    }
}

async fn start_then_serve<F>(
    name: &str,
    port: u16,
    open: impl FnOnce(Settings) -> F,
) -> Result<(), OpenError>
where
    F: Future<Output = Result<Service, OpenError>>,
{
    // Signals are caught before the address is open, so that no early SIGTERM can kill a service half-way.
    let told_to_end = told_to_end()?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = TcpListener::bind(address)
        .await
        .map_err(|error| format!("can't listen on {address}: {error}"))?;
    let service = open(settings(name)?).await?;
    print_line(&format!("{name} listening on {}", listener.local_addr()?));
    serve(listener, service, told_to_end).await?;
    info!("{name} ended");
    Ok(())
}

async fn serve(
    listener: TcpListener,
    service: Service,
    told_to_end: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let (say_ending, ending) = oneshot::channel();
    let server =
        axum::serve(listener, finished(service.router)).with_graceful_shutdown(async move {
            told_to_end.await;
            let _ = say_ending.send(());
        });
    let out_of_time = async {
        // An error means that the server ended by itself; then its own answer wins below.
        let _ = ending.await;
        tokio::time::sleep(REQUESTS_END_WITHIN).await;
    };
    let outcome = tokio::select! {
        outcome = server => outcome,
        () = out_of_time => Ok(()),
    };
    service.background.end().await;
    outcome
}

/// A service's routes with what every service has around them.
pub fn finished(router: Router) -> Router {
    router
        .fallback(answer::not_found)
        .method_not_allowed_fallback(answer::method_not_allowed)
        .layer(middleware::from_fn(trace::log))
}

fn settings(name: &str) -> Result<Settings, OpenError> {
    let root =
        std::env::var_os("PORTCULLIS_DATA_DIR").map_or_else(|| PathBuf::from("var"), PathBuf::from);
    let data_dir = root.join(name);
    std::fs::create_dir_all(&data_dir).map_err(|error| {
        format!("can't create the data directory {}: {error}", data_dir.display())
    })?;
    let gateway_url =
        std::env::var("GATEWAY_URL").unwrap_or_else(|_| "http://127.0.0.1:8000".to_owned());
    let test_endpoints = std::env::var("TEST_ENDPOINTS").is_ok_and(|value| value == "1");
    Ok(Settings { data_dir, test_endpoints, gateway_url })
}

fn port(value: Option<&str>, default: u16) -> Result<u16, String> {
    match value {
        None | Some("") => Ok(default),
        Some(text) => {
            text.parse().map_err(|_| format!("PORT is {text:?}, which is not a port number"))
        }
    }
}

/// Completes on the first of SIGTERM, SIGINT and (when asked for) the end of stdin.
fn told_to_end() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) =
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let watches_stdin =
        std::env::var("PORTCULLIS_UNTIL_STDIN_CLOSES").is_ok_and(|value| value == "1");
    let stdin_closed = watches_stdin.then(stdin_closed);
    Ok(async move {
        let stdin_closed = async {
            match stdin_closed {
                Some(closed) => drop(closed.await),
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = stdin_closed => {}
        }
    })
}

/// A plain thread reads stdin: tokio's would hold the runtime back at the end, and this one dies with the process.
fn stdin_closed() -> oneshot::Receiver<()> {
    let (say_closed, closed) = oneshot::channel();
    std::thread::spawn(move || {
        let mut ignored = [0; 256];
        while !matches!(std::io::stdin().lock().read(&mut ignored), Ok(0) | Err(_)) {}
        let _ = say_closed.send(());
    });
    closed
}

fn log_to_stdout() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    // When the reader of our stdout is gone, an internal error would be printed, and that print would panic.
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .log_internal_errors(false)
        .init();
}

/// Prints without `println!`, which panics when nobody reads any more.
fn print_line(line: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{line}").and_then(|()| stdout.flush());
}

fn failed(name: &str, error: &str, code: u8) -> ExitCode {
    let _ = writeln!(std::io::stderr(), "{name}: failed to start: {error}");
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unset_or_empty_port_is_the_default() {
        assert_eq!(port(None, 8101), Ok(8101));
        assert_eq!(port(Some(""), 8101), Ok(8101));
    }

    #[test]
    fn port_zero_is_allowed_and_nonsense_is_refused() {
        assert_eq!(port(Some("0"), 8101), Ok(0));
        assert_eq!(
            port(Some("eighty"), 8101),
            Err("PORT is \"eighty\", which is not a port number".to_owned())
        );
        assert!(port(Some("70000"), 8101).is_err());
    }

    #[tokio::test]
    async fn the_end_waits_for_background_tasks() {
        let mut background = Background::default();
        let (say_done, mut done) = oneshot::channel();
        background.spawn(|mut ending| async move {
            ending.begun().await;
            let _ = say_done.send("put away");
        });
        background.end().await;
        assert_eq!(done.try_recv(), Ok("put away"));
    }

    #[tokio::test]
    async fn a_request_that_runs_is_finished_before_the_end() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (say_entered, mut entered) = tokio::sync::mpsc::channel::<()>(1);
        let release = std::sync::Arc::new(tokio::sync::Notify::new());
        let waits = release.clone();
        let router = Router::new().route(
            "/slow",
            axum::routing::get(move || async move {
                let _ = say_entered.send(()).await;
                waits.notified().await;
                "done"
            }),
        );
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (end, ended) = oneshot::channel::<()>();
        let service = Service { router, background: Background::default() };
        let server = tokio::spawn(serve(listener, service, async { drop(ended.await) }));

        let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
        client
            .write_all(b"GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
        entered.recv().await.unwrap();
        end.send(()).unwrap();
        release.notify_one();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        server.await.unwrap().unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("done"), "{answer}");
    }
}
