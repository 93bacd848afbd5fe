//! The real gateway as a child process: configured, started, watched, killed, started again.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use crate::binary;
use crate::client::Client;
use crate::deadline::{PATIENCE, eventually};
use crate::depot::Depot;
use crate::memory::{self, Memory};
use crate::ports::free_port;
use crate::process::{Log, Process};
use crate::service::Service;
use crate::upstream::{Script, Upstream};

/// How often a start is tried again when another process was quicker at one of the ports.
const TRIES: usize = 3;

/// The exit code for "can't bind".
const CANT_BIND: i32 = 3;

/// A running gateway; dies with this value.
#[derive(Debug)]
pub struct Gateway {
    process: Process,
    launch: Launch,
}

impl Gateway {
    /// A gateway on this TOML. What the text leaves out of `[server]`, `[admin]` and `[store]` is filled in: free ports, test
    /// endpoints on, an embedded store in a directory of its own.
    pub fn with_config(text: &str) -> Launch {
        let launch = Launch::new(Config::Text(text.to_owned()));
        let launch = if text.contains("${PORTCULLIS_LISTEN") {
            launch
        } else {
            launch.keys("[server]", "listen = \"${PORTCULLIS_LISTEN}\"")
        };
        let launch = if text.contains("${PORTCULLIS_ADMIN_LISTEN") {
            launch
        } else {
            launch.keys("[admin]", "listen = \"${PORTCULLIS_ADMIN_LISTEN}\"\ntest_endpoints = true")
        };
        if text.contains("[store]") {
            launch
        } else {
            launch.keys("[store]", "kind = \"embedded\"\ndirectory = \"${PORTCULLIS_DATA_DIR}\"")
        }
    }

    /// A gateway with one route, `app`, which sends everything to one upstream, `app`. [`Launch::keys`] adds to it.
    pub fn in_front_of(upstream: &Upstream) -> Launch {
        Self::in_front_of_url(&upstream.url())
    }

    /// The same in front of a [`Depot`].
    pub fn in_front_of_depot(depot: &Depot) -> Launch {
        Self::in_front_of_url(&depot.url())
    }

    fn in_front_of_url(url: &str) -> Launch {
        Self::with_config(&format!(
            "[upstreams.app]\nurl = \"{url}\"\n\n[[routes]]\nname = \"app\"\npath = \"/{{*}}\"\nupstream = \"app\"\n",
        ))
    }

    /// A gateway on `config/demo.toml`. Where no [`Launch::service`] is given, nobody listens.
    pub fn demo() -> Launch {
        let launch = Self::on_file("demo.toml");
        ["AUTH_PORT", "SENSOR_PORT", "KAFKA_PRODUCER_PORT", "ORDERS_PORT", "CONTROL_PORT"]
            .into_iter()
            .fold(launch, |launch, name| launch.env(name, free_port()))
    }

    /// A gateway on `config/redis.toml`, with its state in the Redis on this port and nobody behind its routes.
    pub fn sharing(redis_port: u16) -> Launch {
        let launch = Self::on_file("redis.toml").env("REDIS_PORT", redis_port);
        ["AUTH_PORT", "SENSOR_PORT", "KAFKA_PRODUCER_PORT", "ORDERS_PORT", "CONTROL_PORT"]
            .into_iter()
            .fold(launch, |launch, name| launch.env(name, free_port()))
    }

    /// SIGSTOP: its connections stay open, nothing is answered.
    pub fn pause(&mut self) {
        self.process.pause();
    }

    /// SIGCONT.
    pub fn resume(&mut self) {
        self.process.resume();
    }

    /// A gateway on a file of `config/`.
    pub fn on_file(name: &str) -> Launch {
        Launch::new(Config::File(binary::repository().join("config").join(name)))
    }

    /// A URL on the data listener: `gateway.url("/path")`.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address())
    }

    /// A URL on the admin listener.
    pub fn admin_url(&self, path: &str) -> String {
        format!("http://{}{path}", self.admin_address())
    }

    /// The data listener, for a [`RawConnection`](crate::RawConnection).
    pub fn address(&self) -> SocketAddr {
        local(self.launch.port)
    }

    /// The admin listener.
    pub fn admin_address(&self) -> SocketAddr {
        local(self.launch.admin_port)
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Its memory, now and at its peak.
    pub fn memory(&self) -> Memory {
        memory::of(self.pid())
    }

    /// Lets [`Memory::peak`] begin anew.
    pub fn forget_peak(&self) {
        memory::forget_peak(self.pid());
    }

    /// How many files and sockets it has open.
    pub fn descriptors(&self) -> usize {
        memory::descriptors(self.pid())
    }

    /// Where it keeps its state.
    pub fn data_directory(&self) -> PathBuf {
        self.launch.data_directory()
    }

    /// What it has said since it was last started.
    pub fn log(&self) -> &Log {
        self.process.log()
    }

    /// Waits for a line with this text, and answers the line.
    pub async fn logged(&self, text: &str) -> String {
        self.process.logged(text).await
    }

    /// Whether the process is still there.
    pub fn is_running(&mut self) -> bool {
        self.process.is_running()
    }

    /// SIGKILL.
    pub fn kill_9(&mut self) {
        self.process.kill_9();
    }

    /// SIGTERM, and waits for the end.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.process.terminate().await
    }

    /// SIGTERM, without waiting.
    pub fn ask_to_end(&mut self) {
        self.process.ask_to_end();
    }

    /// Waits until it has ended, after [`ask_to_end`](Self::ask_to_end).
    pub async fn exited(&mut self) -> ExitStatus {
        self.process.exited(PATIENCE).await
    }

    /// Starts it again with the same data directory and ports, after killing it if it still runs.
    pub async fn restart(&mut self) {
        self.kill_9();
        self.process = self.launch.spawn();
        let ready = self.launch.ready(&mut self.process).await;
        assert!(ready, "the gateway did not start again; it said:\n{}", self.process.log());
    }
}

/// A gateway about to be started.
#[derive(Debug, Clone)]
#[must_use = "nothing runs before `start` or `ended`"]
pub struct Launch {
    config: Config,
    environment: Vec<(String, String)>,
    home: Arc<TempDir>,
    port: u16,
    admin_port: u16,
    ports_given: bool,
    descriptors: Option<u64>,
}

#[derive(Debug, Clone)]
enum Config {
    Text(String),
    File(PathBuf),
}

impl Launch {
    fn new(config: Config) -> Self {
        let home = TempDir::new().expect("a temporary directory can be made");
        Self {
            config,
            environment: Vec::new(),
            home: Arc::new(home),
            port: free_port(),
            admin_port: free_port(),
            ports_given: false,
            descriptors: None,
        }
    }

    /// Adds keys to the table with this header (`[server]`, `[upstreams.app]`, `[[routes]]` for the first route), which is
    /// made if it is not there.
    pub fn keys(mut self, header: &str, keys: &str) -> Self {
        let Config::Text(text) = &mut self.config else {
            panic!("keys are added to a config that the test wrote")
        };
        *text = with_keys(text, header, keys);
        self
    }

    /// Sets a variable of its environment.
    #[expect(clippy::needless_pass_by_value, reason = "a port and a text read alike in a chain")]
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }

    /// Lets it have only so many files and sockets open.
    pub fn descriptors(mut self, count: u64) -> Self {
        self.descriptors = Some(count);
        self
    }

    /// Puts a running service of the demo behind it.
    pub fn service(self, service: &Service) -> Self {
        self.env(&service.port_variable(), service.port())
    }

    /// Puts a scripted upstream in the place of a service of the demo. It answers the gateway's health checks aside.
    pub fn in_place_of(self, service: &str, upstream: &Upstream) -> Self {
        upstream.aside("/health", Script::answer(200, "{\"status\":\"healthy\"}"));
        self.env(&crate::service::port_variable(service), upstream.port())
    }

    /// Makes it listen on ports chosen before, for peers that had to know them.
    pub fn on_ports(mut self, port: u16, admin_port: u16) -> Self {
        (self.port, self.admin_port, self.ports_given) = (port, admin_port, true);
        self
    }

    /// The directory that `PORTCULLIS_DATA_DIR` names.
    pub fn data_directory(&self) -> PathBuf {
        self.home.path().join("data")
    }

    /// Starts it and waits until it takes traffic.
    pub async fn start(mut self) -> Gateway {
        for _ in 0..TRIES {
            let mut process = self.spawn();
            if self.ready(&mut process).await {
                return Gateway { process, launch: self };
            }
            let code = process.exited(PATIENCE).await.code();
            assert!(
                code == Some(CANT_BIND) && !self.ports_given,
                "the gateway ended with {code:?} instead of starting; it said:\n{}",
                process.log()
            );
            (self.port, self.admin_port) = (free_port(), free_port());
        }
        panic!("the gateway found its ports taken {TRIES} times");
    }

    /// Starts it, expects that it ends by itself, and answers how.
    pub async fn ended(self) -> Ended {
        Ended::of(self.spawn()).await
    }

    fn spawn(&self) -> Process {
        let mut command = match self.descriptors {
            None => Command::new(binary::portcullis()),
            // The shell lowers its own limits and becomes the gateway.
            Some(count) => {
                let mut shell = Command::new("sh");
                shell.arg("-c").arg(format!("ulimit -n {count} && exec \"$0\" \"$@\""));
                shell.arg(binary::portcullis());
                shell
            }
        };
        command.arg("run").arg("--config").arg(self.config_file());
        command.current_dir(self.home.path());
        command.env("PORTCULLIS_LISTEN", local(self.port).to_string());
        command.env("PORTCULLIS_ADMIN_LISTEN", local(self.admin_port).to_string());
        command.env("PORTCULLIS_DATA_DIR", self.data_directory());
        command.envs(self.environment.iter().cloned());
        Process::spawn("the gateway", command)
    }

    fn config_file(&self) -> PathBuf {
        match &self.config {
            Config::File(path) => path.clone(),
            Config::Text(text) => {
                let path = self.home.path().join("gateway.toml");
                std::fs::write(&path, text).expect("a temporary directory can be written");
                path
            }
        }
    }

    /// Whether it came up; `false` when it ended instead.
    async fn ready(&self, process: &mut Process) -> bool {
        let url = format!("http://{}/readyz", local(self.admin_port));
        let process = tokio::sync::Mutex::new(process);
        eventually(PATIENCE, "the gateway is ready", || async {
            if !process.lock().await.is_running() {
                return Some(false);
            }
            let answer = Client::new().get(&url).attempt().await;
            answer.is_ok_and(|answer| answer.status == 200).then_some(true)
        })
        .await
    }
}

/// Runs any command of the binary to its end: `portcullis(&["check", "file.toml"]).await`.
pub async fn portcullis(arguments: &[&str]) -> Ended {
    let mut command = Command::new(binary::portcullis());
    command.args(arguments);
    Ended::of(Process::spawn("portcullis", command)).await
}

/// How a process ended, and all it said.
#[derive(Debug)]
pub struct Ended {
    /// The exit code; `None` when a signal ended it.
    pub code: Option<i32>,
    /// Its lines, of standard output and standard error.
    pub lines: Vec<String>,
}

impl Ended {
    async fn of(mut process: Process) -> Self {
        let status = process.exited(Duration::from_secs(10)).await;
        Self { code: status.code(), lines: process.log().lines() }
    }

    /// The only line that contains `text`; panics when there is none or several.
    pub fn one_line(&self, text: &str) -> &str {
        let found: Vec<_> = self.lines.iter().filter(|line| line.contains(text)).collect();
        assert_eq!(found.len(), 1, "expected one line with {text:?} in {:#?}", self.lines);
        found[0]
    }
}

fn local(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// `text` with `keys` behind the first line that is `header`, or with a new table at its end, so that the lines of an incomplete
/// text keep their numbers.
fn with_keys(text: &str, header: &str, keys: &str) -> String {
    match text.lines().position(|line| line.trim() == header) {
        None => format!("{}\n\n{header}\n{keys}\n", text.trim_end()),
        Some(at) => {
            let mut lines: Vec<_> = text.lines().collect();
            lines.insert(at + 1, keys);
            lines.join("\n") + "\n"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::with_keys;

    #[test]
    fn keys_go_into_the_table_that_is_there() {
        assert_eq!(with_keys("[a]\nx = 1\n[b]\n", "[a]", "y = 2"), "[a]\ny = 2\nx = 1\n[b]\n");
    }

    #[test]
    fn a_missing_table_is_made_at_the_end() {
        assert_eq!(with_keys("[a]\nx = 1\n", "[b]", "y = 2"), "[a]\nx = 1\n\n[b]\ny = 2\n");
    }
}
