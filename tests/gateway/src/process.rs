//! A child process whose words can be waited for, and which dies with its owner.

use std::fmt;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::watch;

use crate::deadline::{PATIENCE, eventually, within};

/// How many of the last lines a failing test shows.
const LAST_WORDS: usize = 40;

/// Variables that would change what a process under test does, were they inherited from whoever runs the tests.
const FOREIGN: [&str; 8] = [
    "KILLSWITCH_",
    "OTEL_",
    "PORTCULLIS_",
    "API_KEY",
    "ALLOWED_ORIGINS",
    "CACHE_TTL",
    "ENVIRONMENT",
    "RUST_LOG",
];

/// A running program with its output read line by line.
#[derive(Debug)]
pub struct Process {
    name: String,
    child: Child,
    log: Log,
}

impl Process {
    /// Starts `command`; the settings of this product in the caller's environment are not handed down.
    pub fn spawn(name: &str, mut command: Command) -> Self {
        let given: Vec<_> = command.get_envs().map(|(key, _)| key.to_owned()).collect();
        for (key, _) in std::env::vars_os() {
            let foreign = key
                .to_str()
                .is_some_and(|key| FOREIGN.iter().any(|prefix| key.starts_with(prefix)));
            if foreign && !given.contains(&key) {
                command.env_remove(key);
            }
        }
        // The pipe to its standard input breaks when this test process dies in whatever way; who listens for that ends too.
        command
            .env("NO_COLOR", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("failed to start {name}: {error}"));
        let log = Log::follow([
            Box::new(child.stdout.take().expect("it is piped")) as Box<dyn Read + Send>,
            Box::new(child.stderr.take().expect("it is piped")),
        ]);
        Self { name: name.to_owned(), child, log }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it has said so far, standard output and standard error in the order of arrival.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Waits for a line that contains `text` (one said before counts) and answers that line.
    pub async fn logged(&self, text: &str) -> String {
        self.log.line(&self.name, text).await
    }

    /// Whether it is still there.
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child of ours can be waited for").is_none()
    }

    /// SIGKILL: no goodbye. Returns when it is gone.
    pub fn kill_9(&mut self) {
        self.child.kill().expect("a child of ours can be killed");
        self.child.wait().expect("a child of ours can be waited for");
    }

    /// SIGTERM, and waits for the end.
    pub async fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::TERM);
        self.exited(PATIENCE).await
    }

    /// SIGTERM, without waiting.
    pub fn ask_to_end(&mut self) {
        self.signal(Signal::TERM);
    }

    /// SIGSTOP: it stays, but does nothing, as after a power loss at the far end.
    pub fn pause(&mut self) {
        self.signal(Signal::STOP);
    }

    /// SIGCONT: it goes on.
    pub fn resume(&mut self) {
        self.signal(Signal::CONT);
    }

    /// Waits until it has ended by itself.
    pub async fn exited(&mut self, limit: Duration) -> ExitStatus {
        let what = format!("{} has ended", self.name);
        let child = std::sync::Mutex::new(&mut self.child);
        // The kernel's event for this is a signal to the whole test process, so asking is the simpler way.
        let status = eventually(limit, &what, || async {
            let mut child = child.lock().expect("nothing panics while it holds this lock");
            child.try_wait().expect("a child of ours can be waited for")
        })
        .await;
        self.log.settled().await;
        status
    }

    fn signal(&mut self, signal: Signal) {
        // Asked first, so that the id can't belong to a stranger: it is ours until the child has been waited for.
        if self.is_running() {
            let id = i32::try_from(self.child.id())
                .ok()
                .and_then(Pid::from_raw)
                .expect("a child has a positive id");
            kill_process(id, signal).expect("a child of ours may be signalled");
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Errors mean that it has gone already, which is the aim.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!(
                "--- the last words of {} (process {}):\n{}",
                self.name,
                self.pid(),
                self.log
            );
        }
    }
}

/// The lines of one process.
#[derive(Debug, Clone)]
pub struct Log {
    lines: watch::Receiver<Vec<String>>,
}

impl Log {
    fn follow(sources: [Box<dyn Read + Send>; 2]) -> Self {
        let (sender, lines) = watch::channel(Vec::new());
        let sender = Arc::new(sender);
        for source in sources {
            let sender = sender.clone();
            // A thread, not a task: the pipe must be emptied even while a test keeps its runtime busy. It ends with the pipe.
            thread::spawn(move || {
                let mut source = BufReader::new(source);
                let mut line = Vec::new();
                while source.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
                    let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                    sender.send_modify(|lines| lines.push(text));
                    line.clear();
                }
            });
        }
        Self { lines }
    }

    /// Every line so far.
    pub fn lines(&self) -> Vec<String> {
        self.lines.borrow().clone()
    }

    /// The lines so far that contain `text`.
    pub fn containing(&self, text: &str) -> Vec<String> {
        self.lines.borrow().iter().filter(|line| line.contains(text)).cloned().collect()
    }

    async fn line(&self, name: &str, text: &str) -> String {
        let mut lines = self.lines.clone();
        let found = within(PATIENCE, &format!("{name} to say {text:?}"), async {
            let seen = lines.wait_for(|lines| lines.iter().any(|line| line.contains(text))).await;
            seen.ok().and_then(|lines| lines.iter().find(|line| line.contains(text)).cloned())
        })
        .await;
        found.unwrap_or_else(|| panic!("{name} ended without saying {text:?}; it said:\n{self}"))
    }

    /// Waits until both pipes are at their end, so that the last line is there.
    async fn settled(&self) {
        let mut lines = self.lines.clone();
        within(PATIENCE, "the end of a log", async { while lines.changed().await.is_ok() {} })
            .await;
    }
}

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = self.lines.borrow();
        for line in lines.iter().skip(lines.len().saturating_sub(LAST_WORDS)) {
            writeln!(f, "  {line}")?;
        }
        Ok(())
    }
}
