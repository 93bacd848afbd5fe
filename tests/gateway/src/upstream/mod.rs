//! An upstream that does exactly what the test wrote down, on a thread of its own, and remembers what it was sent.

mod connection;
mod script;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub use self::script::{Gate, Script};
use crate::deadline::{PATIENCE, within};
use crate::ports::{listener, stop_listening};
use crate::wire::Head;

/// How much of one body is kept; the rest is only counted.
const KEPT_MAX: usize = 8 * 1024 * 1024;

/// A scripted HTTP/1.1 server on a free loopback port.
#[derive(Debug)]
pub struct Upstream {
    address: SocketAddr,
    stage: Arc<Stage>,
    door: watch::Sender<Door>,
    seen: watch::Receiver<Seen>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Upstream {
    /// Plays `script` for every request.
    pub fn always(script: Script) -> Self {
        Self::scripted(move |_| script.clone())
    }

    /// Asks `choose` at the head of each request what to play.
    pub fn scripted(choose: impl Fn(&Recorded) -> Script + Send + 'static) -> Self {
        let listener = listener();
        let address = listener.local_addr().expect("it is bound");
        let (sender, seen) = watch::channel(Seen::default());
        let stage = Arc::new(Stage {
            seen: sender,
            next: Mutex::default(),
            aside: Mutex::default(),
            choose: Mutex::new(Box::new(choose)),
        });
        let (door, orders) = watch::channel(Door::Open);
        let actors = stage.clone();
        let thread = thread::spawn(move || run(listener, address, &actors, orders));
        Self { address, stage, door, seen, thread: Some(thread) }
    }

    /// Plays `script` for the next request that comes, before anything else; repeated calls queue up.
    pub fn next(&self, script: Script) {
        self.stage.next.lock().expect("nothing panics under this lock").push_back(script);
    }

    /// Plays `script` for each request to this target, and leaves these requests out of all that is remembered and counted:
    /// for health checks, which come when they like.
    pub fn aside(&self, target: &str, script: Script) {
        self.stage
            .aside
            .lock()
            .expect("nothing panics under this lock")
            .insert(target.to_owned(), script);
    }

    /// From now on plays `script` for every request.
    pub fn now_always(&self, script: Script) {
        self.now_scripted(move |_| script.clone());
    }

    /// From now on asks `choose`.
    pub fn now_scripted(&self, choose: impl Fn(&Recorded) -> Script + Send + 'static) {
        *self.stage.choose.lock().expect("nothing panics under this lock") = Box::new(choose);
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// `http://address`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request so far, in the order of arrival.
    pub fn requests(&self) -> Vec<Recorded> {
        self.seen.borrow().played().cloned().collect()
    }

    /// How many requests came so far.
    pub fn request_count(&self) -> usize {
        self.seen.borrow().played().count()
    }

    /// How many connections came so far.
    pub fn connection_count(&self) -> usize {
        self.seen.borrow().connections
    }

    /// Waits until `count` requests have come (their heads; see [`Recorded::complete`]) and answers all there are.
    pub async fn requests_until(&self, count: usize) -> Vec<Recorded> {
        let what = format!("{count} requests at the upstream");
        self.until(&what, |seen| seen.played().count() >= count).await.played().cloned().collect()
    }

    /// Waits until the body of the last request is at least this long.
    pub async fn body_until(&self, length: u64) -> Recorded {
        let enough =
            |seen: &Seen| seen.played().last().is_some_and(|request| request.body_length >= length);
        let seen = self.until(&format!("a body of {length} bytes at the upstream"), enough).await;
        seen.played().last().cloned().expect("just seen")
    }

    /// Waits until nobody is connected any more.
    pub async fn connections_gone(&self) {
        self.until("the end of all connections to the upstream", |seen| seen.open == 0).await;
    }

    /// Closes the listener and every connection, as if the process had died. Returns when nothing listens any more.
    pub async fn refuse(&self) {
        self.door.send_replace(Door::Closed);
        self.until("the upstream to close", |seen| !seen.listening && seen.open == 0).await;
    }

    /// Listens again, on the same port.
    pub async fn accept(&self) {
        self.door.send_replace(Door::Open);
        self.until("the upstream to listen again", |seen| seen.listening).await;
    }

    async fn until(&self, what: &str, condition: impl FnMut(&Seen) -> bool) -> Seen {
        let mut seen = self.seen.clone();
        let found = within(PATIENCE, what, seen.wait_for(condition)).await;
        found.expect("the upstream lives as long as its owner").clone()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.door.send_replace(Door::Gone);
        let ended = self.thread.take().expect("taken only here").join();
        assert!(ended.is_ok() || thread::panicking(), "the upstream's thread panicked");
    }
}

/// One request as it came.
#[derive(Debug, Clone, Default)]
pub struct Recorded {
    /// Which connection brought it, counted from 0.
    pub connection: usize,
    /// Its place on that connection, counted from 0: more than 0 means that a kept connection was used again.
    pub nth_on_connection: usize,
    /// The method, as sent.
    pub method: String,
    /// The target, as sent.
    pub target: String,
    /// The head in full.
    pub head: Head,
    /// The body without its framing, up to 8 MiB of it.
    pub body: Vec<u8>,
    /// How long the body was.
    pub body_length: u64,
    /// The trailers of a chunked body.
    pub trailers: Vec<(String, String)>,
    /// Whether the body came to its proper end.
    pub complete: bool,
    /// Whether it was answered aside.
    aside: bool,
}

impl Recorded {
    /// The first value of a header, whatever its case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.header(name)
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("the test expects a request with a JSON body")
    }

    fn new(head: Head, connection: usize, nth_on_connection: usize) -> Self {
        Self {
            connection,
            nth_on_connection,
            method: head.word(0).to_owned(),
            target: head.word(1).to_owned(),
            head,
            ..Self::default()
        }
    }

    fn took(&mut self, piece: &[u8]) {
        self.body_length += piece.len() as u64;
        let room = KEPT_MAX.saturating_sub(self.body.len()).min(piece.len());
        self.body.extend_from_slice(&piece[..room]);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Door {
    Open,
    Closed,
    Gone,
}

#[derive(Debug, Clone, Default)]
struct Seen {
    requests: Vec<Recorded>,
    connections: usize,
    open: usize,
    listening: bool,
}

impl Seen {
    fn played(&self) -> impl DoubleEndedIterator<Item = &Recorded> {
        self.requests.iter().filter(|request| !request.aside)
    }
}

type Choice = Box<dyn Fn(&Recorded) -> Script + Send>;

/// What the test and the upstream's thread share.
struct Stage {
    seen: watch::Sender<Seen>,
    next: Mutex<VecDeque<Script>>,
    aside: Mutex<HashMap<String, Script>>,
    choose: Mutex<Choice>,
}

impl Stage {
    fn script_for(&self, request: &mut Recorded) -> Script {
        let aside = self
            .aside
            .lock()
            .expect("nothing panics under this lock")
            .get(&request.target)
            .cloned();
        if let Some(script) = aside {
            request.aside = true;
            return script;
        }
        let queued = self.next.lock().expect("nothing panics under this lock").pop_front();
        queued.unwrap_or_else(|| {
            self.choose.lock().expect("a choice that panicked fails the test anyway")(request)
        })
    }
}

impl fmt::Debug for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stage").field("seen", &*self.seen.borrow()).finish_non_exhaustive()
    }
}

fn run(
    listener: std::net::TcpListener,
    address: SocketAddr,
    stage: &Arc<Stage>,
    orders: watch::Receiver<Door>,
) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime can be built");
    listener.set_nonblocking(true).expect("a fresh listener");
    runtime.block_on(async {
        let listener = TcpListener::from_std(listener).expect("a fresh listener in a runtime");
        keep_the_door(listener, address, stage, orders).await;
    });
}

async fn keep_the_door(
    listener: TcpListener,
    address: SocketAddr,
    stage: &Arc<Stage>,
    mut orders: watch::Receiver<Door>,
) {
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        stage.seen.send_modify(|seen| seen.listening = listener.is_some());
        tokio::select! {
            stream = arrival(listener.as_ref()) => { connections.spawn(connection::serve(stream, stage.clone())); }
            Some(_) = connections.join_next() => {}
            order = orders.changed() => {
                let door = if order.is_ok() { *orders.borrow_and_update() } else { Door::Gone };
                match door {
                    Door::Open if listener.is_none() => listener = Some(reopened(address).await),
                    Door::Open => {}
                    Door::Closed => {
                        if let Some(listener) = listener.take() {
                            stop_listening(&listener);
                        }
                        connections.shutdown().await;
                    }
                    Door::Gone => return,
                }
            }
        }
    }
}

async fn arrival(listener: Option<&TcpListener>) -> TcpStream {
    match listener {
        Some(listener) => listener.accept().await.expect("a loopback listener accepts").0,
        None => std::future::pending().await,
    }
}

async fn reopened(address: SocketAddr) -> TcpListener {
    TcpListener::bind(address).await.expect("the port was ours a moment ago")
}
