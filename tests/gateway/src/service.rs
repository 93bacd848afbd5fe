//! One of the real example services as a child process.

use std::process::Command;
use std::sync::Arc;

use tempfile::TempDir;

use crate::binary;
use crate::ports::free_port;
use crate::process::{Log, Process};

/// A running service (`auth`, `sensor`, `kafka-producer`, `orders` or `control`); dies with this value.
#[derive(Debug)]
pub struct Service {
    process: Process,
    launch: Launched,
}

impl Service {
    /// A service of this name on a free port, with a data directory of its own.
    pub fn named(name: &str) -> Launched {
        let home = TempDir::new().expect("a temporary directory can be made");
        Launched {
            name: name.to_owned(),
            port: free_port(),
            environment: Vec::new(),
            home: Arc::new(home),
        }
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.launch.port
    }

    /// A URL straight at the service, past the gateway.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.launch.port)
    }

    /// What it has said since it was last started.
    pub fn log(&self) -> &Log {
        self.process.log()
    }

    /// Waits for a line with this text, and answers the line.
    pub async fn logged(&self, text: &str) -> String {
        self.process.logged(text).await
    }

    /// The process itself, to pause it or to ask it to end.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// SIGKILL.
    pub fn kill_9(&mut self) {
        self.process.kill_9();
    }

    /// Starts it again on the same port and data, after killing it if it still runs.
    pub async fn restart(&mut self) {
        self.kill_9();
        self.process = self.launch.spawn().await;
    }

    /// The variable that tells the gateway its port.
    pub(crate) fn port_variable(&self) -> String {
        port_variable(&self.launch.name)
    }
}

/// `KAFKA_PRODUCER_PORT` for `kafka-producer`.
pub(crate) fn port_variable(service: &str) -> String {
    format!("{}_PORT", service.to_uppercase().replace('-', "_"))
}

/// A service about to be started.
#[derive(Debug, Clone)]
#[must_use = "nothing runs before `start`"]
pub struct Launched {
    name: String,
    port: u16,
    environment: Vec<(String, String)>,
    home: Arc<TempDir>,
}

impl Launched {
    /// Sets a variable of its environment.
    #[expect(clippy::needless_pass_by_value, reason = "a port and a text read alike in a chain")]
    pub fn env(mut self, name: &str, value: impl ToString) -> Self {
        self.environment.push((name.to_owned(), value.to_string()));
        self
    }

    /// Starts it and waits until it listens.
    pub async fn start(self) -> Service {
        Service { process: self.spawn().await, launch: self }
    }

    async fn spawn(&self) -> Process {
        let mut command = Command::new(binary::service(&self.name));
        command.current_dir(self.home.path());
        command.env("PORT", self.port.to_string()).env("PORTCULLIS_DATA_DIR", self.home.path());
        command.env("TEST_ENDPOINTS", "1").env("PORTCULLIS_UNTIL_STDIN_CLOSES", "1");
        command.envs(self.environment.iter().cloned());
        let process = Process::spawn(&self.name, command);
        process.logged(&format!("{} listening on", self.name)).await;
        process
    }
}
