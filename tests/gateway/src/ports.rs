//! Free ports for processes that must be told theirs before they start.
//!
//! A port of the kernel's choice (bind to 0 and release) comes from the range that outgoing connections use too, so by the time a
//! process binds it, some client may sit on it. These ports are drawn from below that range, at random, and never twice in one
//! test process. What is left is a race between test processes, which whoever starts a process answers with another try.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{LazyLock, Mutex};

const LOWEST: u16 = 18_000;
const HIGHEST: u16 = 32_000;

static TAKEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// A port of the loopback address on which nobody listens.
pub fn free_port() -> u16 {
    let mut taken = TAKEN.lock().expect("nothing panics while it holds this lock");
    (0..1000)
        .map(|_| candidate())
        .find(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok() && taken.insert(*port))
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
