//! Runs a command within a time: no stdin, every line of its output passed on and kept, and no process left behind.
//!
//! The child stays in our process group, so that Ctrl-C in a terminal reaches all of them. On the limit the child and
//! everything below it is killed, found by its parent in `/proc`.

use crate::PROFILE;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// How many lines may wait for us before the child has to.
const LINES_WAITING_MAX: usize = 1024;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Echo {
    Everything,
    Nothing,
}

/// A command that is about to run.
pub(crate) struct Bounded {
    command: Command,
    limit: Duration,
    echo: Echo,
}

/// What a command left.
pub(crate) struct Ended {
    /// The lines of stdout and stderr as they came.
    pub(crate) lines: Vec<String>,
    /// Why it did not pass, as a fragment that fits after its name.
    pub(crate) fault: Option<String>,
}

impl Ended {
    pub(crate) fn passed(&self) -> bool {
        self.fault.is_none()
    }
}

impl Bounded {
    pub(crate) fn new(program: impl AsRef<OsStr>, folder: &Path, limit: Duration) -> Self {
        let mut command = Command::new(program);
        command
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
            .env("CI", "true")
            .env("CARGO_TERM_COLOR", "never")
            .env("NO_COLOR", "1")
            .env("TERM", "dumb")
            .envs(PROFILE.iter().copied());
        // What `cargo run` told us about our own package would be false for the packages below.
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("CARGO_PKG_") || name == "CARGO_MANIFEST_DIR" {
                command.env_remove(name);
            }
        }
        Self { command, limit, echo: Echo::Everything }
    }

    /// The cargo that runs us.
    pub(crate) fn cargo(folder: &Path, limit: Duration) -> Self {
        let cargo = std::env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from);
        Self::new(cargo, folder, limit)
    }

    pub(crate) fn echo(mut self, echo: Echo) -> Self {
        self.echo = echo;
        self
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn run(mut self, arguments: &[&str]) -> Ended {
        match self.command.args(arguments).spawn() {
            Ok(child) => attend(child, Instant::now() + self.limit, self.echo),
            Err(fault) => {
                Ended { lines: Vec::new(), fault: Some(format!("could not be started: {fault}")) }
            }
        }
    }
}

fn attend(mut child: Child, deadline: Instant, echo: Echo) -> Ended {
    let (sender, receiver) = sync_channel(LINES_WAITING_MAX);
    let readers = [
        child.stdout.take().map(|stream| read_lines(stream, sender.clone())),
        child.stderr.take().map(|stream| read_lines(stream, sender)),
    ];
    let mut lines = Vec::new();
    let in_time = receive(&receiver, deadline, echo, &mut lines) && has_ended(&mut child, deadline);
    if !in_time {
        kill_tree(&mut child);
    }
    drop(receiver);
    let fault = match child.wait() {
        _ if !in_time => Some("took longer than its limit and was ended".to_owned()),
        Ok(status) if status.success() => None,
        Ok(status) => Some(format!("ended with {status}")),
        Err(fault) => Some(format!("could not be waited for: {fault}")),
    };
    // A reader ends with the last holder of its pipe; one that a survivor still holds is not worth waiting for.
    readers
        .into_iter()
        .flatten()
        .filter(thread::JoinHandle::is_finished)
        .for_each(|reader| drop(reader.join()));
    Ended { lines, fault }
}

fn read_lines(
    stream: impl Read + Send + 'static,
    to: SyncSender<String>,
) -> thread::JoinHandle<()> {
    thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while stream.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
            let text = String::from_utf8_lossy(&line).trim_end().to_owned();
            line.clear();
            if to.send(text).is_err() {
                return;
            }
        }
    })
}

/// Takes lines until both streams have ended (true) or the time is up (false).
fn receive(
    from: &Receiver<String>,
    deadline: Instant,
    echo: Echo,
    lines: &mut Vec<String>,
) -> bool {
    loop {
        match from.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                if echo == Echo::Everything {
                    println!("{line}");
                }
                lines.push(line);
            }
            Err(RecvTimeoutError::Disconnected) => return true,
            Err(RecvTimeoutError::Timeout) => return false,
        }
    }
}

/// A child may close its output and go on; std can only ask again.
fn has_ended(child: &mut Child, deadline: Instant) -> bool {
    while Instant::now() < deadline {
        if !matches!(child.try_wait(), Ok(None)) {
            return true;
        }
        thread::sleep(Duration::from_millis(10));
    }
    false
}

/// Kills the child's descendants before the child, so that none of them is handed to another parent meanwhile.
fn kill_tree(child: &mut Child) {
    let below = descendants(child.id());
    if !below.is_empty() {
        let names = below.iter().map(u32::to_string);
        let _ = Command::new("kill").arg("-KILL").args(names).stderr(Stdio::null()).status();
    }
    let _ = child.kill();
}

fn descendants(of: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> =
        processes().filter_map(|process| Some((process, parent(process)?))).collect();
    let mut found = vec![of];
    let mut next = 0;
    while let Some(&process) = found.get(next) {
        found.extend(
            parents.iter().filter(|(_, parent)| *parent == process).map(|(child, _)| *child),
        );
        next += 1;
    }
    found.split_off(1)
}

fn processes() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The second field after the name, which stands in brackets and may hold anything.
fn parent(process: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, limit: Duration) -> Ended {
        Bounded::new("sh", Path::new("."), limit).echo(Echo::Nothing).run(&["-c", script])
    }

    #[test]
    fn both_streams_are_kept_and_stdin_is_empty() {
        let mut ended = shell("cat; echo one; echo two >&2", Duration::from_secs(10));
        ended.lines.sort();
        assert_eq!(ended.lines, ["one", "two"]);
        assert!(ended.passed());
    }

    #[test]
    fn a_failure_tells_its_status() {
        let ended = shell("exit 3", Duration::from_secs(10));
        assert_eq!(ended.fault.as_deref(), Some("ended with exit status: 3"));
    }

    #[test]
    fn what_takes_too_long_is_ended_with_everything_below_it() {
        let ended = shell("sleep 600 & echo $!; wait", Duration::from_secs(3));
        assert!(!ended.passed());
        let below: u32 = ended.lines[0].parse().unwrap();
        // Its end is the kernel's business from here on, and not ours to wait for by a signal.
        let deadline = Instant::now() + Duration::from_secs(30);
        while lives(below) {
            assert!(Instant::now() < deadline, "{below} outlived its parent");
            thread::yield_now();
        }
    }

    fn lives(process: u32) -> bool {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        !stat.is_empty() && !stat.contains(") Z ")
    }

    #[test]
    fn a_program_that_does_not_exist_is_a_fault_and_not_a_panic() {
        let ended =
            Bounded::new("no-such-program", Path::new("."), Duration::from_secs(1)).run(&[]);
        assert!(ended.fault.is_some_and(|fault| fault.contains("could not be started")));
    }
}
