//! An upstream that takes and gives any number of bytes and keeps none of them: for bodies larger than memory, and for crowds.
//!
//! It reads each request whole and answers as many bytes as the last segment of its target says: `/anything/195`. Where an
//! [`Upstream`](crate::Upstream) remembers each request, this one only counts.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;

use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::deadline::{PATIENCE, within};
use crate::ports::listener;
use crate::wire::{Body, Framing, read_head};

/// What is read or written at once.
static PIECE: [u8; 64 * 1024] = [b'd'; 64 * 1024];

/// A server on a free loopback port, on a thread of its own.
#[derive(Debug)]
pub struct Depot {
    address: SocketAddr,
    counts: Arc<Counts>,
    open: watch::Receiver<usize>,
    stop: watch::Sender<bool>,
    thread: Option<thread::JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Counts {
    taken: AtomicU64,
    given: AtomicU64,
}

impl Depot {
    /// Opens it.
    pub fn open() -> Self {
        let listener = listener();
        let address = listener.local_addr().expect("it is bound");
        let counts = Arc::new(Counts::default());
        let (count, open) = watch::channel(0);
        let (stop, orders) = watch::channel(false);
        let keeper = Keeper { counts: counts.clone(), open: count };
        let thread = thread::spawn(move || keeper.run(listener, orders));
        Self { address, counts, open, stop, thread: Some(thread) }
    }

    /// `http://address`, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Bytes of request bodies so far.
    pub fn taken(&self) -> u64 {
        self.counts.taken.load(Relaxed)
    }

    /// Bytes of answers so far that its own socket took.
    pub fn given(&self) -> u64 {
        self.counts.given.load(Relaxed)
    }

    /// Waits until at most this many are connected.
    pub async fn connections_at_most(&self, count: usize) {
        let what = format!("at most {count} connections to the depot");
        let mut open = self.open.clone();
        let fewer = open.wait_for(|open| *open <= count);
        within(PATIENCE, &what, fewer).await.expect("the depot lives as long as its owner");
    }
}

impl Drop for Depot {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        let ended = self.thread.take().expect("taken only here").join();
        assert!(ended.is_ok() || thread::panicking(), "the depot's thread panicked");
    }
}

struct Keeper {
    counts: Arc<Counts>,
    open: watch::Sender<usize>,
}

impl Keeper {
    fn run(self, listener: std::net::TcpListener, mut orders: watch::Receiver<bool>) {
        listener.set_nonblocking(true).expect("a fresh listener");
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime can be built");
        runtime.block_on(async {
            let listener = TcpListener::from_std(listener).expect("a fresh listener in a runtime");
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    arrival = listener.accept() => {
                        let (stream, _) = arrival.expect("a loopback listener accepts");
                        connections.spawn(serve(stream, self.counts.clone()));
                    }
                    Some(_) = connections.join_next() => {}
                    _ = orders.changed() => return,
                }
                self.open.send_replace(connections.len());
            }
        });
    }
}

async fn serve(stream: TcpStream, counts: Arc<Counts>) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (reader, mut writer) = stream.into_split();
    let mut reader = BufReader::with_capacity(PIECE.len(), reader);
    while let Some(head) = read_head(&mut reader).await? {
        let mut body = Body::new(Framing::of_request(&head));
        while let Some(piece) = body.piece(&mut reader).await? {
            counts.taken.fetch_add(piece.len() as u64, Relaxed);
        }
        let asked = head.word(1).rsplit('/').next().and_then(|length| length.parse().ok());
        give(&mut writer, asked.unwrap_or(0), &counts).await?;
    }
    Ok(())
}

async fn give(
    writer: &mut (impl AsyncWriteExt + Unpin),
    length: u64,
    counts: &Counts,
) -> io::Result<()> {
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n");
    // A small answer in one piece with its head, as a real server sends it.
    let first = usize::try_from(length).unwrap_or(usize::MAX).min(1024);
    writer.write_all(&[head.as_bytes(), &PIECE[..first]].concat()).await?;
    let mut left = length - first as u64;
    counts.given.fetch_add(first as u64, Relaxed);
    while left > 0 {
        let next = usize::try_from(left).unwrap_or(usize::MAX).min(PIECE.len());
        let written = writer.write(&PIECE[..next]).await?;
        left -= written as u64;
        counts.given.fetch_add(written as u64, Relaxed);
    }
    Ok(())
}
