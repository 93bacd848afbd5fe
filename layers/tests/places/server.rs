//! A real `redis-server` (or Sentinel) on a port of its own.

use std::{
    collections::HashSet,
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, LazyLock, Mutex},
    thread,
    time::{Duration, Instant},
};

use tempfile::{TempDir, tempdir};

use super::certificates::Certificates;
use crate::conformance::PATIENCE;

/// One process; dies with this value.
pub(crate) struct Server {
    process: Mutex<Child>,
    pub(crate) home: TempDir,
    pub(crate) port: u16,
    arguments: Vec<String>,
    certificates: Option<Arc<Certificates>>,
}

/// Over TLS alone where there are certificates.
pub(crate) type Over<'c> = Option<&'c Arc<Certificates>>;

impl Server {
    /// One that keeps nothing.
    pub(crate) fn start() -> Self {
        Self::with(&["--save", "", "--appendonly", "no"])
    }

    /// One that has on its disk whatever it answered.
    pub(crate) fn that_keeps(over: Over<'_>, more: &[&str]) -> Self {
        let keeps = ["--save", "", "--appendonly", "yes", "--appendfsync", "always"];
        Self::over(over, &[&keeps, more].concat())
    }

    pub(crate) fn with(arguments: &[&str]) -> Self {
        Self::over(None, arguments)
    }

    pub(crate) fn over(over: Over<'_>, arguments: &[&str]) -> Self {
        Self::in_a(over, tempdir().unwrap(), |_, lines| {
            let lines = lines.into_iter();
            let own = lines.flat_map(|(name, value)| [format!("--{name}"), value]);
            own.chain(arguments.iter().map(|&more| more.to_owned())).collect()
        })
    }

    /// One that makes its arguments of its directory and of the first lines of its configuration.
    pub(crate) fn in_a(
        over: Over<'_>,
        home: TempDir,
        arguments: impl FnOnce(&Path, Vec<(&'static str, String)>) -> Vec<String>,
    ) -> Self {
        let port = free_port();
        let mut lines = vec![("bind", "127.0.0.1".to_owned())];
        match over {
            None => lines.push(("port", port.to_string())),
            Some(certificates) => {
                lines.extend([("port", "0".to_owned()), ("tls-port", port.to_string())]);
                lines.extend(certificates.of_a_server());
            }
        }
        let arguments = arguments(home.path(), lines);
        let process = Mutex::new(spawn(home.path(), &arguments));
        let server = Self { process, home, port, arguments, certificates: over.cloned() };
        server.answers();
        server
    }

    pub(crate) fn url(&self) -> String {
        let scheme = if self.certificates.is_some() { "rediss" } else { "redis" };
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// What redis-cli prints.
    pub(crate) fn cli(&self, arguments: &[&str]) -> String {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &self.port.to_string()]);
        command.args(self.certificates.iter().flat_map(|certificates| certificates.of_a_client()));
        let printed = command.args(arguments).output().unwrap().stdout;
        String::from_utf8_lossy(&printed).trim().to_owned()
    }

    pub(crate) fn answers(&self) {
        let is_answer = |told: String| told == "PONG" || told.starts_with("NOAUTH");
        until("redis-server answers", || is_answer(self.cli(&["PING"])));
    }

    /// SIGKILL.
    pub(crate) fn kill(&self) {
        let mut process = self.process.lock().unwrap();
        let _ = process.kill();
        let _ = process.wait();
    }

    pub(crate) fn start_again(&self) {
        *self.process.lock().unwrap() = spawn(self.home.path(), &self.arguments);
        self.answers();
    }

    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.process.lock().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Puts a copy of what it has on its disk aside.
    pub(crate) fn put_aside(&self) {
        let aside = self.aside();
        let _ = fs::remove_dir_all(&aside);
        copy(&self.log(), &aside);
    }

    /// Ends it, gives it that copy back, and starts it again: as from a backup.
    pub(crate) fn go_back(&self) {
        self.kill();
        fs::remove_dir_all(self.log()).unwrap();
        copy(&self.aside(), &self.log());
        self.start_again();
    }

    /// Ends it, cuts what it wrote off in the middle of the last write to a key, and starts it again: as after a loss of power.
    pub(crate) fn tear(&self, key: &str) {
        self.kill();
        let newest = fs::read_dir(self.log()).unwrap().map(|file| file.unwrap().path());
        let newest = newest.filter(|path| path.to_string_lossy().ends_with("incr.aof")).max();
        let path = newest.unwrap();
        let mut written = fs::read(&path).unwrap();
        let last = written.windows(key.len()).rposition(|bytes| bytes == key.as_bytes());
        written.truncate(last.unwrap() + key.len());
        fs::write(path, written).unwrap();
        self.start_again();
    }

    fn log(&self) -> PathBuf {
        self.home.path().join("appendonlydir")
    }

    fn aside(&self) -> PathBuf {
        self.home.path().join("aside")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

fn spawn(home: &Path, arguments: &[String]) -> Child {
    Command::new("redis-server")
        .current_dir(home)
        .args(arguments)
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server is on the PATH (Debian: apt-get install redis-server)")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for file in fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.join(file.file_name())).unwrap();
    }
}

/// Below the range that outgoing connections take their ports from, so that no client sits on it a moment later; five digits;
/// and never the same one twice.
pub(crate) fn free_port() -> u16 {
    static TAKEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);
    let mut taken = TAKEN.lock().unwrap();
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let candidates = std::iter::repeat_with(|| fastrand::u16(12_000..18_000));
    candidates.take(1_000).find(|port| taken.insert(*port) && is_free(port)).unwrap()
}

pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < end, "{what}, but not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(10));
    }
}
