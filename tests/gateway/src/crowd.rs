//! Many clients that take their time, on a thread of their own: a byte each second, and whoever is thrown out comes back.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::deadline::{PATIENCE, within};

/// How often each of them does its little.
const BEAT: Duration = Duration::from_secs(1);

/// Room for so few bytes that the sender's buffers fill at once.
const SMALL_BUFFER: u32 = 4 * 1024;

/// How a slow client is slow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slow {
    /// Sends its head byte by byte (slowloris).
    Head,
    /// Sends a body byte by byte.
    Body,
    /// Asks for a megabyte and reads 64 bytes of it at a time.
    Reader,
}

/// Slow clients, there until this is dropped.
#[derive(Debug)]
pub struct Crowd {
    size: usize,
    came: watch::Receiver<usize>,
    cut: Arc<AtomicU64>,
    stop: watch::Sender<bool>,
    thread: Option<thread::JoinHandle<()>>,
}

impl Crowd {
    /// Sends so many of each kind to a gateway, spread over the first second so that they don't act in step.
    pub fn at(address: SocketAddr, kinds: &[(Slow, usize)]) -> Self {
        let clients: Vec<Slow> =
            kinds.iter().flat_map(|&(kind, count)| std::iter::repeat_n(kind, count)).collect();
        let (size, cut) = (clients.len(), Arc::new(AtomicU64::new(0)));
        let (count, came) = watch::channel(0);
        let (stop, orders) = watch::channel(false);
        let host = Host { address, count: Arc::new(count), cut: cut.clone() };
        let thread = thread::spawn(move || host.run(&clients, orders));
        Self { size, came, cut, stop, thread: Some(thread) }
    }

    /// Waits until each has come once.
    pub async fn gathered(&self) {
        let (size, mut came) = (self.size, self.came.clone());
        let all = came.wait_for(|came| *came == size);
        within(PATIENCE, "all slow clients to come", all).await.expect("the crowd has an owner");
    }

    /// How often one of them was thrown out, and came back.
    pub fn cut(&self) -> u64 {
        self.cut.load(Relaxed)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        let ended = self.thread.take().expect("taken only here").join();
        assert!(ended.is_ok() || thread::panicking(), "the crowd's thread panicked");
    }
}

#[derive(Clone)]
struct Host {
    address: SocketAddr,
    count: Arc<watch::Sender<usize>>,
    cut: Arc<AtomicU64>,
}

impl Host {
    fn run(self, clients: &[Slow], mut orders: watch::Receiver<bool>) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be built");
        runtime.block_on(async {
            let mut tasks = JoinSet::new();
            for (index, &kind) in clients.iter().enumerate() {
                let offset = BEAT.mul_f64(index as f64 / clients.len() as f64);
                tasks.spawn(self.clone().one(kind, offset));
            }
            // Dropping the set afterwards takes them all away at once. An error is an owner that is gone, which is the same.
            let _ = orders.changed().await;
        });
    }

    async fn one(self, kind: Slow, offset: Duration) {
        tokio::time::sleep(offset).await;
        let mut first = true;
        loop {
            let visit = async {
                let stream = kind.connect(self.address).await?;
                if std::mem::take(&mut first) {
                    self.count.send_modify(|count| *count += 1);
                }
                kind.dawdle(stream).await
            };
            // Whatever ended it, it comes back; in its own beat, so that a closed door is not a busy loop.
            let _ = visit.await;
            self.cut.fetch_add(1, Relaxed);
            tokio::time::sleep(BEAT / 10).await;
        }
    }
}

impl Slow {
    async fn connect(self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if self == Self::Reader {
            socket.set_recv_buffer_size(SMALL_BUFFER)?;
        }
        socket.connect(address).await
    }

    /// Until the gateway has had enough.
    async fn dawdle(self, mut stream: TcpStream) -> io::Result<()> {
        stream.set_nodelay(true)?;
        let opening = match self {
            Self::Head => "GET /slow/0 HTTP/1.1\r\nHost: x\r\nX-Slow: ",
            Self::Body => "POST /slow/0 HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n",
            Self::Reader => "GET /slow/1000000 HTTP/1.1\r\nHost: x\r\n\r\n",
        };
        stream.write_all(opening.as_bytes()).await?;
        let mut beat = interval_at(Instant::now() + BEAT, BEAT);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut piece = [0; 64];
        loop {
            if self == Self::Reader {
                beat.tick().await;
                if stream.read(&mut piece).await? == 0 {
                    return Ok(());
                }
                continue;
            }
            tokio::select! {
                // An answer, or the end: either way it was refused.
                _ = stream.read(&mut piece) => return Ok(()),
                _ = beat.tick() => stream.write_all(b"a").await?,
            }
        }
    }
}
