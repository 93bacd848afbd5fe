//! The whole stack of one worker in memory: clients come through a pipe, the upstream is a script that remembers every byte.
//!
//! The way to the upstream is a loopback socket, because that is what the gateway's connections to upstreams are made of; all
//! else runs on one thread without a socket. Time stands still while there is anything to do and jumps when there isn't, so
//! that every time-out is reached and none is waited for.

use std::{
    cell::RefCell, convert::Infallible, future::Future, num::NonZeroUsize, pin::Pin, rc::Rc,
    sync::Arc, sync::Mutex, sync::PoisonError, time::Duration,
};

use http::Response;
use portcullis::{
    circuit_breaker::{self, Breaker},
    concurrency::Limit,
    switchboard::Switchboard,
    view,
};
use portcullis_gateway::{
    config::{
        self,
        config::{DoubleSlash, EncodedSlash},
    },
    edits::EditsLayer,
    failure::Blame,
    record::{
        layer::{Arrival, Settings},
        traffic::Requests,
    },
    respond::Texts,
    router::Table,
    sanitise::{layer::Rules, path::PathRules},
    server::{
        connection::{Bounds, Protocols},
        drain::Signal,
        patience::Patience,
        peer::Peer,
    },
    stack::{self, Front, RouteParts},
    trailers,
    upstream::{
        forward::{Deadlines, Forward, Upstream},
        pool::Pool,
    },
    wire::request::read::HeadBounds,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream},
    net::{TcpListener, TcpStream},
    runtime::Runtime,
    task::LocalSet,
};

use super::{must, wire};

/// Far beyond every time-out of a connection: what takes as long, hangs.
const PATIENCE: Duration = Duration::from_secs(60);
/// A request's deadline counts from a clock that doesn't jump, so it has to lie beyond all jumps of a campaign.
const NEVER: Duration = Duration::from_secs(30 * 24 * 3600);
/// All time-outs of a connection.
const SHORT: Duration = Duration::from_millis(300);
/// Requests of a route at once. A permit that isn't given back is soon missed.
const IN_FLIGHT: usize = 8;
/// What the upstream answers when nothing else was asked of it.
const FINE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nfine";

const CONFIG: &str = "
[server]
workers = 1
[log]
access = false
[upstreams.u]
url = 'http://127.0.0.1:1'
[[routes]]
name = 'all'
path = '/{*}'
upstream = 'u'
";

/// What the upstream does, and what it was sent.
#[derive(Default)]
struct Script {
    /// Played instead of [`FINE`], once per connection; then the connection is closed.
    answer: Option<Vec<u8>>,
    /// By connection.
    received: Vec<Rc<RefCell<Vec<u8>>>>,
}

type Serve = Box<dyn Fn(DuplexStream) -> Pin<Box<dyn Future<Output = ()>>>>;

/// See the [module](self).
pub(super) struct Rig {
    runtime: Runtime,
    tasks: LocalSet,
    serve: Serve,
    script: Rc<RefCell<Script>>,
    breaker: Breaker,
}

impl Rig {
    pub(super) fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
        let runtime = runtime.expect("a runtime for the fuzzer");
        let tasks = LocalSet::new();
        let script = Rc::new(RefCell::new(Script::default()));
        let name: Arc<str> = "u".into();
        // It never opens: it is here to be read.
        let settings = circuit_breaker::Settings {
            consecutive_failures: None,
            ..circuit_breaker::Settings::default()
        };
        let breaker = Breaker::new(name, settings);
        let serve = runtime.block_on(tasks.run_until(stand(script.clone(), breaker.clone())));
        Self { runtime, tasks, serve, script, breaker }
    }

    /// What a client gets that sends these bytes and then waits, or leaves at once.
    pub(super) fn exchange(&self, bytes: &[u8], leaves: bool) -> Result<Vec<u8>, String> {
        let (mut near, far) = tokio::io::duplex(64 * 1024);
        let serving = (self.serve)(far);
        let client = async move {
            // A gateway that has heard enough closes, and then writing fails.
            let _ = near.write_all(bytes).await;
            if leaves {
                let _ = near.shutdown().await;
            }
            let mut answer = Vec::new();
            let _ = near.read_to_end(&mut answer).await;
            answer
        };
        let both = async { tokio::join!(serving, client).1 };
        let timed = async { tokio::time::timeout(PATIENCE, both).await };
        let answer = self.runtime.block_on(self.tasks.run_until(timed));
        answer.map_err(|_| "the connection hangs".to_owned())
    }

    /// From now on the upstream answers with these bytes and closes; or again as it should.
    pub(super) fn answer(&self, answer: Option<Vec<u8>>) {
        self.script.borrow_mut().answer = answer;
    }

    /// Whether all that the upstream was sent so far is clean. A request that is still coming is judged when it is whole.
    pub(super) fn clean(&self) -> Result<(), String> {
        let mut script = self.script.borrow_mut();
        for received in &script.received {
            wire::judge(&mut received.borrow_mut())?;
        }
        // The task of a connection that is still open holds the other handle.
        script.received.retain(|bytes| Rc::strong_count(bytes) > 1);
        Ok(())
    }

    /// Calls that were counted as the upstream's failure.
    pub(super) fn failures(&self) -> u64 {
        self.breaker.snapshot().failures_total
    }

    /// A plain GET on a connection of its own is answered as if nothing had been.
    pub(super) fn still_serves(&self) -> Result<(), String> {
        let answer =
            self.exchange(b"GET /plain HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", false)?;
        let text = answer.escape_ascii().to_string();
        must(answer.starts_with(b"HTTP/1.1 200 ") && answer.ends_with(b"\r\n\r\nfine"), || {
            format!("a plain GET afterwards is answered with {text}")
        })
    }
}

/// Whether the client of this input leaves before it has its answers: one of seven does.
pub(super) fn leaves(input: &[u8]) -> bool {
    input.len() % 7 == 6
}

/// Puts the stack up on this runtime.
async fn stand(script: Rc<RefCell<Script>>, breaker: Breaker) -> Serve {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    tokio::task::spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let received = Rc::default();
            script.borrow_mut().received.push(Rc::clone(&received));
            tokio::task::spawn_local(act(stream, received, script.clone()));
        }
    });

    let config = config::parse("rig.toml", CONFIG, &|_| None).expect("a sound text");
    let (_, switchboard) = view::channel(Switchboard::new([], []));
    let upstream = Arc::new(Upstream {
        name: "u".into(),
        address: address.to_string().parse().expect("an address"),
        connect_timeout: PATIENCE,
        response_timeout: PATIENCE,
        body_idle_timeout: SHORT,
        pool: Pool::new(16, PATIENCE),
        calls: Arc::default(),
    });
    let deadlines = Deadlines { request: NEVER, attempt: None, response: None };
    let limit = Limit::new("all", NonZeroUsize::new(IN_FLIGHT).expect("above zero"));
    let route = stack::route(RouteParts {
        route: "fuzzed".into(),
        would_reject: Arc::default(),
        in_flight: Some(limit),
        rate_limit: None,
        switchboard: switchboard.clone(),
        rejects: Vec::new(),
        informs: Vec::new(),
        authenticator: None,
        flags: Vec::new(),
        edits: EditsLayer::new(&config.routes[0].edits),
        breaker: Some(breaker),
        blame: Blame::UPSTREAM,
        ramps: false,
        fallback: None,
        meters: Vec::new(),
        named_meters: Vec::new(),
        concurrency: None,
        forward: Forward::new(upstream, deadlines, 64 * 1024),
    });
    let front = stack::front(
        Front {
            record: Arc::new(Settings {
                requests: Requests::new(1),
                routes: vec![("all".into(), true)],
                sample_ratio: None,
                access: None,
            }),
            texts: Arc::new(Texts::new(&config)),
            rules: Rules {
                path: PathRules {
                    double_slash: DoubleSlash::Merge,
                    encoded_slash: EncodedSlash::Reject,
                },
                body_bytes_max: 64 * 1024,
                body_idle: SHORT,
                trailers: trailers::Rules::default(),
            },
            table: Arc::new(Table::new(&config.routes, &[], &[])),
            switchboard,
            own: Arc::new(|_| Response::default()),
        },
        vec![route],
    );
    let bounds = Bounds {
        first_byte: SHORT,
        patience: Patience { idle: SHORT, head: SHORT, write: SHORT },
        head: HeadBounds { bytes_max: 16_384, headers_max: 100 },
    };
    served(front, Arc::new(Protocols::new(bounds, Arc::default())))
}

/// What a worker does with a connection.
fn served<S, B>(front: S, protocols: Arc<Protocols>) -> Serve
where
    S: tower_service::Service<
            Arrival,
            Response = Response<B>,
            Error = Infallible,
            Future: Send + 'static,
        > + Send
        + 'static,
    B: http_body::Body<Data = bytes::Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + 'static,
{
    let front = Arc::new(Mutex::new(front));
    let stop = Signal::default();
    Box::new(move |io| {
        let peer = Arc::new(Peer::new(([192, 0, 2, 1], 4000).into(), |_| false));
        let (front, asking) = (front.clone(), peer.clone());
        let answer = move |request| {
            let mut front = front.lock().unwrap_or_else(PoisonError::into_inner);
            front.call(Arrival { peer: asking.clone(), request })
        };
        Box::pin(protocols.clone().serve(io, peer, answer, stop.drain()))
    })
}

/// The upstream at one connection: it answers each request when it has seen the whole of it, and is no judge of what it sees.
async fn act(mut stream: TcpStream, received: Rc<RefCell<Vec<u8>>>, script: Rc<RefCell<Script>>) {
    let mut unanswered = Vec::new();
    let mut bytes = [0; 16 * 1024];
    while let Ok(length @ 1..) = stream.read(&mut bytes).await {
        received.borrow_mut().extend_from_slice(&bytes[..length]);
        unanswered.extend_from_slice(&bytes[..length]);
        while let Some(end) = wire::end_of_request(&unanswered) {
            unanswered.drain(..end);
            let answer = script.borrow().answer.clone();
            let last = answer.is_some();
            if stream.write_all(&answer.unwrap_or_else(|| FINE.to_vec())).await.is_err() || last {
                return;
            }
        }
    }
}
