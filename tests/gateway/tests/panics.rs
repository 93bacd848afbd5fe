//! The promise: a panic costs one request, and nothing else.
//!
//! No door for this is built into the gateway, so the faulty route stands here: the real stack, worker and server around it,
//! over real sockets, in this process.

use std::{
    net::SocketAddr,
    num::NonZeroUsize,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    thread::JoinHandle,
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use portcullis::{
    concurrency::{ConcurrencyLayer, Limit},
    refuse::AsError,
    switchboard::Switchboard,
    view,
};
use portcullis_gateway::{
    config::{
        self,
        config::{Config, Log, Telemetry as Traces},
    },
    control::metrics::Exposition,
    failure::Failure,
    panics,
    record::{layer::Settings, traffic::Requests},
    respond::Texts,
    router::Table,
    sanitise::{layer::Rules, path::PathRules},
    server::{
        accept::{self, Accepted, Share},
        connection::{Bounds, Protocols},
        drain::Signal,
        patience::Patience,
    },
    stack::{self, Front},
    telemetry::Telemetry,
    upload::Upload,
    wire::request::read::HeadBounds,
    worker::Worker,
};
use portcullis_tests::{Client, Gate, Gateway, RawConnection, Script, Upstream};
use tokio::sync::mpsc::UnboundedReceiver;
use tower_layer::Layer;
use tower_service::Service;

/// What the faulty route may have in flight. A permit that a panic kept would be missed soon.
const IN_FLIGHT: usize = 2;

/// What each panic says, and nobody may hear.
const SECRET: &str = "s3cret-of-a-client";

const ROUTE: &str = "
[server]
workers = 1
[log]
access = false
[upstreams.none]
url = 'http://127.0.0.1:1'
[[routes]]
name = 'faulty'
path = '/{*}'
upstream = 'none'
";

/// Panics in its call, in its future, at the first or at the second poll of its body, as the path says.
#[derive(Clone)]
struct Faulty {
    /// Opened when `/wait` has come.
    waits: Gate,
    /// What `/wait` waits for.
    gate: Gate,
}

impl Service<Request<Upload>> for Faulty {
    type Response = Response<FaultyBody>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Response<FaultyBody>, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Upload>) -> Self::Future {
        let path = request.uri().path().to_owned();
        assert_ne!(path, "/call", "{SECRET}");
        let Self { waits, gate } = self.clone();
        Box::pin(async move {
            assert_ne!(path, "/answer", "{SECRET}");
            if path == "/wait" {
                waits.open();
                gate.passed().await;
            }
            let pieces = match path.as_str() {
                "/body" => vec![None],
                "/rest" => vec![Some("first "), None],
                _ => vec![Some("fine")],
            };
            Ok(Response::new(FaultyBody(pieces.into_iter())))
        })
    }
}

/// `None` is a panic.
struct FaultyBody(std::vec::IntoIter<Option<&'static str>>);

impl Body for FaultyBody {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let piece = self.0.next();
        Poll::Ready(piece.map(|piece| {
            let piece = piece.unwrap_or_else(|| panic!("{SECRET}"));
            Ok(Frame::data(Bytes::from_static(piece.as_bytes())))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.0.as_slice().is_empty()
    }
}

/// One worker over the faulty route.
struct Server {
    address: SocketAddr,
    faulty: Faulty,
    stop: Arc<Signal>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    fn start() -> Self {
        panics::watch();
        let config = config::parse("faulty.toml", ROUTE, &|_| None).expect("a sound text");
        let listener = accept::bind("127.0.0.1:0".parse().expect("an address")).expect("a port");
        let address = listener.local_addr().expect("it is bound");
        let stop = Arc::new(Signal::default());
        let faulty = Faulty { waits: Gate::closed(), gate: Gate::closed() };
        let (route, stopped) = (faulty.clone(), stop.clone());
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.expect("a runtime").block_on(async {
                let (share, arrivals) = Share::new();
                let accepting = accept::accept(listener, vec![share], 100, &stopped);
                let worker = serve(&config, route, stopped.clone(), arrivals);
                let (accepted, ()) = tokio::join!(accepting, worker);
                accepted.expect("the listener is sound");
            });
        });
        Self { address, faulty, stop, thread: Some(thread) }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.faulty.gate.open();
        self.stop.raise();
        let ended = self.thread.take().expect("taken only here").join();
        assert!(ended.is_ok() || std::thread::panicking(), "the worker's thread panicked");
    }
}

/// What `gateway` does for each worker, with a faulty route in the place of the real ones.
async fn serve(
    config: &Config,
    faulty: Faulty,
    stop: Arc<Signal>,
    arrivals: UnboundedReceiver<Accepted>,
) {
    let limit = Limit::new("faulty", NonZeroUsize::new(IN_FLIGHT).expect("two"));
    let route = ConcurrencyLayer::new(limit).refuse(AsError).layer(faulty);
    let (_publisher, switchboard) = view::channel(Switchboard::new([], []));
    let server = &config.server;
    let front = Front {
        record: Arc::new(Settings {
            requests: Requests::new(1),
            routes: vec![("faulty".into(), true)],
            sample_ratio: None,
            access: None,
        }),
        texts: Arc::new(Texts::new(config)),
        rules: Rules {
            path: PathRules {
                double_slash: server.double_slash,
                encoded_slash: server.encoded_slash,
            },
            body_bytes_max: server.body_bytes_max,
            body_idle: server.body_idle_timeout,
            trailers: Default::default(),
        },
        table: Arc::new(Table::new(&config.routes, &[], &[])),
        switchboard,
        own: Arc::new(|_| Response::default()),
    };
    let bounds = Bounds {
        first_byte: server.first_byte_timeout,
        patience: Patience {
            idle: server.idle_timeout,
            head: server.header_timeout,
            write: server.body_idle_timeout,
        },
        head: HeadBounds { bytes_max: server.header_bytes_max, headers_max: server.headers_max },
    };
    let worker = Worker {
        stack: stack::front(front, vec![route]),
        protocols: Protocols::new(bounds, Arc::default()),
        trusted: Arc::new(|_| false),
        stop,
        drain_timeout: Duration::from_millis(100),
    };
    worker.run(arrivals).await;
}

fn panics_counted(stage: &str) -> u64 {
    let mut text = String::new();
    panics::Figures.write(&mut text);
    let line = format!("portcullis_panics_total{{stage=\"{stage}\"}} ");
    let count = text.lines().find_map(|found| found.strip_prefix(&line));
    count.expect("every stage has its line").parse().expect("a count")
}

#[tokio::test]
async fn a_panic_before_the_answer_is_a_500_that_tells_nothing_and_is_counted() {
    let server = Server::start();
    for (path, stage) in [("/call", "call"), ("/answer", "answer")] {
        let before = panics_counted(stage);
        let answer = Client::new().get(server.url(path)).await;

        answer.refused(500, "internal");
        assert!(!answer.to_string().contains(SECRET), "{answer}");
        assert!(!answer.to_string().contains(".rs"), "no place in the code either: {answer}");
        assert!(panics_counted(stage) > before);
    }
}

#[tokio::test]
async fn a_kept_connection_stays_usable_after_a_panic() {
    let server = Server::start();
    let mut connection = RawConnection::open(server.address).await;
    for path in ["/call", "/fine", "/answer", "/fine"] {
        connection
            .write(format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody"))
            .await;
        let expected = if path == "/fine" { 200 } else { 500 };
        assert_eq!(connection.read_answer().await.status, expected, "{path}");
    }
}

#[tokio::test]
async fn a_panic_in_a_body_breaks_off_that_answer_alone() {
    let server = Server::start();
    for path in ["/body", "/rest"] {
        let before = panics_counted("body");
        Client::new().get(server.url(path)).attempt().await.expect_err("the answer is cut");
        assert!(panics_counted("body") > before, "{path}");
    }
    let h2 = Client::h2c();
    h2.get(server.url("/rest")).attempt().await.expect_err("the answer is cut");
    assert_eq!(h2.get(server.url("/fine")).await.status, 200);
    assert_eq!(Client::new().get(server.url("/fine")).await.status, 200);
}

#[tokio::test]
async fn what_a_request_held_is_given_back_when_it_panics() {
    let server = Server::start();
    for _ in 0..3 * IN_FLIGHT {
        Client::new().get(server.url("/call")).await.refused(500, "internal");
        Client::new().get(server.url("/answer")).await.refused(500, "internal");
        let _ = Client::new().get(server.url("/rest")).attempt().await;
    }
    assert_eq!(Client::new().get(server.url("/fine")).await.text(), "fine");
}

#[tokio::test]
async fn other_requests_of_the_same_connection_and_of_others_go_on() {
    let h2 = Client::h2c();
    for client in [h2.clone(), Client::new()] {
        let server = Server::start();
        let waiting = tokio::spawn(client.get(server.url("/wait")).attempt());
        server.faulty.waits.passed().await;
        for path in ["/call", "/answer", "/rest"] {
            let _ = h2.get(server.url(path)).attempt().await;
        }
        assert_eq!(h2.get(server.url("/fine")).await.text(), "fine");
        server.faulty.gate.open();
        let answer = waiting.await.expect("the test's task lives").expect("an answer");
        assert_eq!((answer.status, answer.text()), (200, "fine"));
    }
}

#[tokio::test]
async fn the_log_tells_once_where_it_was_and_for_which_request_and_not_what_was_said() {
    let file = tempfile::NamedTempFile::new().expect("a temporary file");
    let log = Log {
        level: "portcullis_gateway=trace".into(),
        file: Some(file.path().into()),
        access: false,
    };
    let quiet = Traces { otlp_endpoint: None, service_name: String::new(), sample_ratio: 0.0 };
    let telemetry = Telemetry::start(&log, &quiet).expect("a log");
    let server = Server::start();
    let problem = Client::new().get(server.url("/answer")).await.refused(500, "internal");

    let id = problem["request_id"].as_str().expect("an id").to_owned();
    telemetry.lines.flush();
    let text = std::fs::read_to_string(file.path()).expect("the log");
    let lines: Vec<_> =
        text.lines().filter(|line| line.contains("ERROR") && line.contains(&id)).collect();
    assert_eq!(lines.len(), 1, "{text}");
    assert!(lines[0].contains(file!()), "where it was: {}", lines[0]);
    assert!(!text.contains(SECRET), "{text}");
}

#[tokio::test]
async fn the_metrics_of_a_gateway_have_a_series_for_every_kind_of_panic() {
    let upstream = Upstream::always(Script::answer(200, ""));
    let gateway = Gateway::in_front_of(&upstream).start().await;
    let text = Client::new().get(gateway.admin_url("/metrics")).await.text().to_owned();
    for stage in ["call", "answer", "body", "elsewhere"] {
        assert!(text.contains(&format!("portcullis_panics_total{{stage=\"{stage}\"}} 0\n")));
    }
}
