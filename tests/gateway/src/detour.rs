//! A way to a server that can be made bad: a relay on a free port that passes everything on, until it is told otherwise.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::ports::listener;

/// What happens on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Everything passes.
    Open,
    /// Connections are taken, and nothing passes; those that are open stay open.
    Silent,
    /// Everything passes, this much later.
    Slow(Duration),
    /// Connections are closed, the open ones too.
    Closed,
    /// Every question is answered with this line, such as `-READONLY …`.
    Answers(&'static str),
}

/// The relay; ends with this value.
#[derive(Debug)]
pub struct Detour {
    address: SocketAddr,
    way: watch::Sender<Way>,
    relay: JoinHandle<()>,
}

impl Detour {
    /// A relay to a server.
    pub fn to(server: SocketAddr) -> Self {
        let listener = listener();
        listener.set_nonblocking(true).expect("a fresh listener");
        let address = listener.local_addr().expect("it is bound");
        let (way, told) = watch::channel(Way::Open);
        let relay = tokio::spawn(async move {
            let listener = TcpListener::from_std(listener).expect("a fresh listener in a runtime");
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, server, told.clone()));
            }
        });
        Self { address, way, relay }
    }

    /// Its own port, for whoever is to take it.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// From now on the way is like this.
    pub fn make(&self, way: Way) {
        self.way.send_replace(way);
    }
}

impl Drop for Detour {
    fn drop(&mut self) {
        self.relay.abort();
    }
}

async fn pass(mut client: TcpStream, server: SocketAddr, mut way: watch::Receiver<Way>) {
    let now = *way.borrow_and_update();
    if now == Way::Closed {
        return;
    }
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    let (mut asked, mut told) = ([0; 16 * 1024], [0; 16 * 1024]);
    loop {
        let now = *way.borrow_and_update();
        if now == Way::Closed {
            return;
        }
        let passes = now != Way::Silent;
        tokio::select! {
            changed = way.changed() => if changed.is_err() { return },
            read = client.read(&mut asked), if passes => match read {
                Ok(count) if count > 0 => {
                    if let Way::Answers(line) = now {
                        if client.write_all(format!("{line}\r\n").as_bytes()).await.is_err() { return }
                    } else if server.write_all(&asked[..count]).await.is_err() { return }
                }
                _ => return,
            },
            read = server.read(&mut told), if passes => match read {
                Ok(count) if count > 0 => {
                    if let Way::Slow(delay) = now { tokio::time::sleep(delay).await; }
                    if client.write_all(&told[..count]).await.is_err() { return }
                }
                _ => return,
            },
        }
    }
}
