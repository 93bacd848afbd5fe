//! Killswitches of a service of your own, shared through Redis: two processes' worth of switches on one server.
//!
//! `REDIS_URL` names the server; without it a server of its own is started if there is a redis-server to be had, and otherwise
//! the switches live in memory, which shows the same but for the sharing between machines.

use std::error::Error;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use portcullis::store::MemoryStore;
use portcullis::switches::Switches;

fn main() -> Result<(), Box<dyn Error>> {
    let server = Server::start();
    let url = std::env::var("REDIS_URL").ok().or_else(|| Some(server.as_ref()?.url()));
    let memory = MemoryStore::new();
    let connect = || match &url {
        Some(url) => Switches::connect(url),
        None => Switches::on(memory.clone()),
    };

    let ours = connect()?;
    let theirs = connect()?;
    let flipped = ours.set("payments", false, "the provider is down", "ada")?;
    println!("payments is off here, revision {}, saved: {}", flipped.revision, flipped.saved);
    assert!(!ours.is_enabled("payments"));
    let waited = wait_until(|| !theirs.is_enabled("payments"));
    println!("and there, {waited:?} later, by {}", theirs.states()["payments"].updated_by);

    theirs.set("payments", true, "it is back", "bob")?;
    wait_until(|| ours.is_enabled("payments"));
    println!("payments is on again: {}", ours.states()["payments"].reason);
    Ok(())
}

fn wait_until(is_so: impl Fn() -> bool) -> Duration {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "the others never heard of it");
        sleep(Duration::from_millis(1));
    }
    begun.elapsed()
}

/// A server for the length of this example.
struct Server(Child, u16);

impl Server {
    fn start() -> Option<Self> {
        let port = TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
        let server = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()])
            .stdout(Stdio::null())
            .spawn()
            .ok()?;
        let server = Self(server, port);
        wait_until(|| TcpStream::connect(("127.0.0.1", port)).is_ok());
        Some(server)
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.1)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
