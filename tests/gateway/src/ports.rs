//! Free ports for processes that must be told theirs before they start, and for listeners that close and open again.
//!
//! A port of the kernel's choice (bind to 0 and release) comes from the range that outgoing connections use too, so by the time
//! somebody binds it again, some client may sit on it. These ports are drawn from below that range, at random, and never twice
//! in one test process. What is left is a race between test processes, which whoever starts a process answers with another try.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, Shutdown, TcpListener};
use std::os::fd::AsFd;
use std::sync::{LazyLock, Mutex};

use socket2::SockRef;

const LOWEST: u16 = 18_000;
const HIGHEST: u16 = 32_000;

static TAKEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// A port of the loopback address on which nobody listens.
pub fn free_port() -> u16 {
    let listener = listener();
    stop_listening(&listener);
    listener.local_addr().expect("it is bound").port()
}

/// Stops listening at once. A mere drop may not: while another test starts a process, that process holds a copy of every open
/// socket for a moment, and the port stays taken until the last copy is gone.
pub(crate) fn stop_listening(listener: &impl AsFd) {
    SockRef::from(listener).shutdown(Shutdown::Both).expect("a listener can be shut down");
}

/// A listener on a port that nobody else will be given.
pub(crate) fn listener() -> TcpListener {
    let mut taken = TAKEN.lock().expect("nothing panics while it holds this lock");
    // Taken first and tried afterwards, so that a port that was given away is never touched again.
    (0..1000)
        .map(|_| candidate())
        .find_map(|port| {
            taken.insert(port).then(|| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok())?
        })
        .expect("a machine with no free port among 14,000 can't run these tests")
}

fn candidate() -> u16 {
    let chance = RandomState::new().build_hasher().finish();
    LOWEST
        + u16::try_from(chance % u64::from(HIGHEST - LOWEST))
            .expect("less than the width of the range")
}

/// A port that is taken as long as this lives: for a start that must fail, and for a peer that must not exist.
#[derive(Debug)]
pub struct Reserved {
    _listener: TcpListener,
    port: u16,
}

impl Reserved {
    /// Takes a port and keeps it.
    pub fn port() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .expect("the loopback address is always there");
        let port = listener.local_addr().expect("it is bound").port();
        Self { _listener: listener, port }
    }

    /// Its number.
    pub fn number(&self) -> u16 {
        self.port
    }
}
