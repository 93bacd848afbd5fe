//! A way to several servers that can be cut for whoever takes it, while others go on.
//!
//! Sentinels and nodes of a cluster tell whom to ask instead. Whoever came by this way is sent on by this way, too: the port
//! in such an answer is replaced by that of the relay to the same server.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread,
};

use super::server::free_port;

/// The way; ends with this value.
pub(crate) struct Relay {
    ports: Arc<Vec<(u16, u16)>>,
    is_cut: Arc<AtomicBool>,
    is_over: Arc<AtomicBool>,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Relay {
    pub(crate) fn to(servers: impl IntoIterator<Item = u16>) -> Self {
        let ports: Vec<_> = servers.into_iter().map(|server| (server, free_port())).collect();
        let (is_cut, is_over, open) = Default::default();
        let relay = Self { ports: Arc::new(ports), is_cut, is_over, open };
        for &(server, own) in &*relay.ports {
            let listener = TcpListener::bind(("127.0.0.1", own)).unwrap();
            let (ports, is_cut) = (relay.ports.clone(), relay.is_cut.clone());
            let (is_over, open) = (relay.is_over.clone(), relay.open.clone());
            thread::spawn(move || {
                for client in listener.incoming().map_while(Result::ok) {
                    if is_over.load(Relaxed) {
                        return;
                    }
                    let Ok(server) = TcpStream::connect(("127.0.0.1", server)) else { continue };
                    // Under the lock, so that a cut either finds it among the open ones or is seen here.
                    let mut open = open.lock().unwrap();
                    if is_cut.load(Relaxed) {
                        continue;
                    }
                    open.push(client.try_clone().unwrap());
                    open.push(server.try_clone().unwrap());
                    drop(open);
                    pass(client, server, &ports);
                }
            });
        }
        relay
    }

    /// The port by which this server is reached.
    pub(crate) fn port(&self, server: u16) -> u16 {
        self.ports.iter().find(|(to, _)| *to == server).unwrap().1
    }

    /// Ends every connection and lets no other pass.
    pub(crate) fn cut(&self) {
        let mut open = self.open.lock().unwrap();
        self.is_cut.store(true, Relaxed);
        for stream in open.drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    pub(crate) fn heal(&self) {
        self.is_cut.store(false, Relaxed);
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.cut();
        self.is_over.store(true, Relaxed);
        // Each thread that waits for a client is given one, and looks.
        for (_, own) in &*self.ports {
            let _ = TcpStream::connect(("127.0.0.1", *own));
        }
    }
}

fn pass(client: TcpStream, server: TcpStream, ports: &Arc<Vec<(u16, u16)>>) {
    let (asks, answers) = (client.try_clone().unwrap(), server.try_clone().unwrap());
    thread::spawn(move || carry(asks, server, |_| ()));
    let ports = ports.clone();
    thread::spawn(move || carry(answers, client, move |told| redirect(told, &ports)));
}

fn carry(mut from: TcpStream, mut to: TcpStream, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = [0; 64 * 1024];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        let mut told = bytes[..count].to_vec();
        change(&mut told);
        if to.write_all(&told).is_err() {
            break;
        }
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}

/// Replaces the port after our own address. All ports have five digits, so no length changes.
fn redirect(told: &mut Vec<u8>, ports: &[(u16, u16)]) {
    for (server, own) in ports {
        for before in ["127.0.0.1:", "$9\r\n127.0.0.1\r\n$5\r\n"] {
            let sought = format!("{before}{server}");
            let found = told.windows(sought.len()).position(|bytes| bytes == sought.as_bytes());
            if let Some(at) = found {
                let own = format!("{before}{own}");
                told.splice(at..at + sought.len(), own.into_bytes());
            }
        }
    }
}
