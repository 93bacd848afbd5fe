//! One process of the demo: started, listened to, ended.
//!
//! It is ended by closing its stdin, which is exactly what happens to it when the launcher dies, and by SIGTERM, for a
//! program that doesn't watch its stdin. One that heeds neither is killed after a while.

use std::collections::VecDeque;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::{Child as Process, ChildStdin, Command};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};

use crate::say;

const OUTPUT_ENDS_WITHIN: Duration = Duration::from_secs(1);
const LAST_LINES: usize = 15;

pub(crate) struct Child {
    pub(crate) name: &'static str,
    pub(crate) pid: u32,
    process: Process,
    stdin: Option<ChildStdin>,
    output: JoinSet<()>,
    last_lines: Arc<Mutex<VecDeque<String>>>,
}

/// What to start, and with what.
pub(crate) struct Program<'a> {
    pub(crate) name: &'static str,
    pub(crate) path: &'a Path,
    pub(crate) arguments: &'a [&'a str],
    pub(crate) directory: &'a Path,
    pub(crate) environment: &'a [(&'static str, String)],
}

impl Child {
    pub(crate) fn start(program: &Program<'_>) -> Result<Self, String> {
        let failed =
            |error| format!("can't start {} ({}): {error}", program.name, program.path.display());
        let mut process = Command::new(program.path)
            .args(program.arguments)
            .current_dir(program.directory)
            .envs(program.environment.iter().map(|(key, value)| (key, value)))
            .env("PORTCULLIS_UNTIL_STDIN_CLOSES", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // In a group of its own a Ctrl-C reaches the launcher alone, which then ends all in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let stdin = process.stdin.take();
        let last_lines = Arc::default();
        let mut output = JoinSet::new();
        if let Some(stdout) = process.stdout.take() {
            output.spawn(show(program.name, stdout, Arc::clone(&last_lines)));
        }
        if let Some(stderr) = process.stderr.take() {
            output.spawn(show(program.name, stderr, Arc::clone(&last_lines)));
        }
        let pid = process.id().unwrap_or_default();
        Ok(Child { name: program.name, pid, process, stdin, output, last_lines })
    }

    /// Waits for its end. May be called again afterwards, and may be dropped while it waits.
    pub(crate) async fn ended(&mut self) -> String {
        let status = self.process.wait().await;
        // A grandchild may hold the pipe open for ever; the lines that are there now are enough.
        let _ =
            timeout(OUTPUT_ENDS_WITHIN, async { while self.output.join_next().await.is_some() {} })
                .await;
        status.map_or_else(|error| error.to_string(), describe)
    }

    /// Asks it to end.
    pub(crate) fn tell_to_end(&mut self) {
        self.stdin = None;
        // There is no id once its end was seen, so the signal can't reach a stranger that got the same one.
        let pid = self.process.id().and_then(|pid| Pid::from_raw(pid.try_into().ok()?));
        if let Some(pid) = pid {
            // An error means that it ended just now.
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    /// Asks it to end, waits until `by`, then kills it.
    pub(crate) async fn end(&mut self, by: Instant) {
        self.tell_to_end();
        if timeout_at(by, self.ended()).await.is_err() {
            say(&format!("{} did not end in time and is killed", self.name));
            // An error means that it ended just now.
            let _ = self.process.kill().await;
        }
    }

    pub(crate) fn last_lines(&self) -> Vec<String> {
        self.last_lines.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => status.to_string(),
    }
}

/// Prints each line with its owner's name in front and keeps the last few.
async fn show(
    name: &'static str,
    output: impl AsyncRead + Unpin,
    last_lines: Arc<Mutex<VecDeque<String>>>,
) {
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    while matches!(output.read_until(b'\n', &mut line).await, Ok(1..)) {
        let text = String::from_utf8_lossy(&line).trim_end().to_owned();
        line.clear();
        say(&format!("{name:<14} | {text}"));
        let mut lines = last_lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LAST_LINES {
            lines.pop_front();
        }
        lines.push_back(text);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Child {
        let program = Program {
            name: "shell",
            path: Path::new("/bin/sh"),
            arguments: &["-c", script],
            directory: Path::new("/"),
            environment: &[("GREETING", "hello".to_owned())],
        };
        Child::start(&program).unwrap()
    }

    /// Once it has printed, the lines before that have run.
    async fn until_first_line(child: &Child) {
        while child.last_lines().is_empty() {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn an_end_is_told_with_status_and_last_lines() {
        let mut child = shell("echo $GREETING; echo alas >&2; exit 3");
        assert_eq!(child.ended().await, "exit status 3");
        let mut lines = child.last_lines();
        lines.sort();
        assert_eq!(lines, ["alas", "hello"]);
    }

    #[tokio::test]
    async fn a_kill_is_told_as_one() {
        let mut child = shell("kill -9 $$");
        assert_eq!(child.ended().await, "killed by signal 9");
    }

    #[tokio::test]
    async fn closing_stdin_ends_a_child_that_watches_it() {
        let mut child = shell("trap '' TERM; echo ready; cat; exit 7");
        until_first_line(&child).await;
        child.tell_to_end();
        assert_eq!(child.ended().await, "exit status 7");
    }

    #[tokio::test]
    async fn sigterm_ends_a_child_that_does_not() {
        let mut child = shell("exec sleep 1000000");
        child.tell_to_end();
        assert_eq!(child.ended().await, "killed by signal 15");
    }

    #[tokio::test]
    async fn a_child_that_heeds_neither_is_killed() {
        let mut child = shell("trap '' TERM; echo ready; exec sleep 1000000");
        until_first_line(&child).await;
        child.end(Instant::now()).await;
        assert_eq!(child.ended().await, "killed by signal 9");
    }

    #[tokio::test]
    async fn only_the_last_lines_are_kept() {
        let mut child = shell("i=0; while [ $i -lt 40 ]; do echo line $i; i=$((i+1)); done");
        child.ended().await;
        assert_eq!(child.last_lines().len(), LAST_LINES);
        assert_eq!(child.last_lines().last().map(String::as_str), Some("line 39"));
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_named() {
        let path = Path::new("/no/such/program");
        let program = Program {
            name: "ghost",
            path,
            arguments: &[],
            directory: Path::new("/"),
            environment: &[],
        };
        let fault = Child::start(&program).err().unwrap();
        assert!(fault.starts_with("can't start ghost (/no/such/program)"), "{fault}");
    }
}
