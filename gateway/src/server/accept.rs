//! One listening socket per address, and fair shares of its connections.
//!
//! There is no `SO_REUSEPORT`: a second start has to fail on a busy port, and closing one of several such sockets loses the
//! connections that wait on it. One acceptor takes each connection, under a permit, and hands it to the worker that has the
//! fewest.

use std::{
    future::poll_fn,
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::TcpStream,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};

use super::drain::Signal;
use crate::limits::ACCEPT_REST;

/// Connections that wait for the acceptor in the kernel.
const BACKLOG: i32 = 4096;

/// Binds an address. It fails when anyone else listens there.
///
/// # Errors
/// The address is in use, not ours, or not allowed.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // Lets a restart bind while old connections of the same port are in TIME_WAIT. It never shares a live listener.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// A connection on its way to a worker, counted until it ends.
#[derive(Debug)]
pub struct Accepted {
    /// The connection, not yet registered with a runtime.
    pub stream: std::net::TcpStream,
    /// Who is at the other end.
    pub address: SocketAddr,
    /// To be held for as long as the connection lives.
    pub held: Held,
}

/// What a connection gives back when it ends: its place among all, and in its worker's count.
#[derive(Debug)]
pub struct Held {
    _permit: OwnedSemaphorePermit,
    share: Arc<AtomicUsize>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.share.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A worker as the acceptor sees it.
#[derive(Debug, Clone)]
pub struct Share {
    hand_over: mpsc::UnboundedSender<Accepted>,
    connections: Arc<AtomicUsize>,
}

impl Share {
    /// A worker's share, and where its connections arrive. The channel needs no bound of its own: what is in it holds a
    /// permit of the listener.
    pub fn new() -> (Self, mpsc::UnboundedReceiver<Accepted>) {
        let (hand_over, arrivals) = mpsc::unbounded_channel();
        (Self { hand_over, connections: Arc::default() }, arrivals)
    }

    /// How many connections the worker has.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// Accepts until the signal is raised, then closes the socket. Runs on a current-thread runtime of its own.
///
/// # Errors
/// The socket can't be registered with the runtime.
pub async fn accept(
    listener: TcpListener,
    shares: Vec<Share>,
    connections_max: usize,
    stop: &Signal,
) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let permits = Arc::new(Semaphore::new(connections_max.min(Semaphore::MAX_PERMITS)));
    let mut drain = stop.drain();
    let mut stopped = std::pin::pin!(poll_fn(move |cx| {
        if drain.poll_raised(cx) { Poll::Ready(()) } else { Poll::Pending }
    }));
    loop {
        tokio::select! {
            biased;
            () = &mut stopped => return take_the_rest(&listener, &shares, &permits).await,
            accepted = listener.accept() => match accepted {
                Ok((stream, address)) => hand_over(stream, address, &shares, &permits),
                Err(error) if is_of_the_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "failed to accept a connection");
                    tokio::time::sleep(ACCEPT_REST).await;
                }
            },
        }
    }
}

/// Takes what waits in the kernel already: closing the socket would reset it.
async fn take_the_rest(
    listener: &tokio::net::TcpListener,
    shares: &[Share],
    permits: &Arc<Semaphore>,
) -> io::Result<()> {
    for _ in 0..BACKLOG {
        let waiting = poll_fn(|cx| match listener.poll_accept(cx) {
            Poll::Ready(Ok(accepted)) => Poll::Ready(Some(accepted)),
            _ => Poll::Ready(None),
        });
        let Some((stream, address)) = waiting.await else { break };
        hand_over(stream, address, shares, permits);
    }
    Ok(())
}

/// Errors of the connection that was about to be accepted, not of the listener.
fn is_of_the_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// A connection above the bound is closed at once: waiting would only hide that the gateway is full.
fn hand_over(stream: TcpStream, address: SocketAddr, shares: &[Share], permits: &Arc<Semaphore>) {
    let Ok(permit) = permits.clone().try_acquire_owned() else { return };
    let Some(share) = shares.iter().min_by_key(|share| share.connections()) else { return };
    // An answer is often one small write, which must not wait for more.
    let _ = stream.set_nodelay(true);
    let Ok(stream) = stream.into_std() else { return };
    share.connections.fetch_add(1, Ordering::Relaxed);
    let held = Held { _permit: permit, share: share.connections.clone() };
    // A worker that is gone gives its connection back by dropping it.
    let _ = share.hand_over.send(Accepted { stream, address, held });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_listener_on_one_address_is_refused() {
        let first = bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let error = bind(first.local_addr().unwrap()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
    }
}
