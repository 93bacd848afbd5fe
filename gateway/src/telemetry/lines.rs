//! Log lines on their way to stdout and to the log file.
//!
//! A thread of its own writes them. Whoever logs hands a line over and never waits: a pipe that nobody reads fills the
//! queue, then lines are dropped and counted. On SIGHUP the file is opened anew, so that it can be rotated.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    time::{Duration, Instant},
};

use tracing_subscriber::fmt::MakeWriter;

use super::{super::limits::LOG_LINES_WAITING_MAX, names};

enum Message {
    Line(Vec<u8>),
    Reopen,
    Flush(SyncSender<()>),
}

/// The handing-over end, cheap to clone.
#[derive(Debug, Clone)]
pub struct Lines {
    sender: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

/// How long the end of the process waits for its last lines to be read.
const FLUSH: Duration = Duration::from_secs(2);

impl std::fmt::Debug for Message {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Message")
    }
}

impl Lines {
    /// Starts the writing thread.
    ///
    /// # Errors
    /// The file can't be opened.
    pub fn start(path: Option<PathBuf>) -> io::Result<Self> {
        let file = path.as_ref().map(open).transpose()?;
        let (sender, receiver) = sync_channel(LOG_LINES_WAITING_MAX);
        let name = "log".to_owned();
        std::thread::Builder::new()
            .name(name)
            .spawn(move || write(&receiver, path.as_ref(), file))?;
        Ok(Self { sender, dropped: Arc::default() })
    }

    /// Hands a line over; it should end with a line feed.
    pub fn send(&self, line: Vec<u8>) {
        if let Err(TrySendError::Full(_)) = self.sender.try_send(Message::Line(line)) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Opens the file anew.
    pub fn reopen(&self) {
        let _ = self.sender.try_send(Message::Reopen);
    }

    /// Waits until what was handed over is written.
    pub fn flush(&self) {
        let deadline = Instant::now() + FLUSH;
        let (done, wait) = sync_channel(1);
        let mut message = Message::Flush(done);
        // Nobody may ever read again: a full queue must not hold up the end of the process.
        while let Err(TrySendError::Full(again)) = self.sender.try_send(message) {
            if Instant::now() >= deadline {
                return;
            }
            message = again;
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = wait.recv_timeout(deadline.saturating_duration_since(Instant::now()));
    }

    /// The lines that nobody read in time, as Prometheus reads it.
    pub fn write_metrics(&self, out: &mut String) {
        use std::fmt::Write as _;
        let (name, dropped) = (names::LINES_DROPPED, self.dropped.load(Ordering::Relaxed));
        let _ = writeln!(out, "# HELP {name} Log lines dropped because nobody read them in time.");
        let _ = writeln!(out, "# TYPE {name} counter\n{name} {dropped}");
    }
}

fn open(path: &PathBuf) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

fn write(lines: &Receiver<Message>, path: Option<&PathBuf>, mut file: Option<File>) {
    for message in lines {
        match message {
            // Neither a closed stdout nor a full disk is a reason to stop serving.
            Message::Line(line) => {
                let _ = io::stdout().write_all(&line);
                if let Some(file) = &mut file {
                    let _ = file.write_all(&line);
                }
            }
            Message::Reopen => file = path.and_then(|path| open(path).ok()).or(file),
            Message::Flush(done) => {
                let _ = io::stdout().flush();
                let _ = done.try_send(());
            }
        }
    }
}

/// One event of `tracing`; its formatter writes it as a whole.
#[derive(Debug)]
pub struct Event<'l>(&'l Lines);

impl Write for Event<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes.to_vec());
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'l> MakeWriter<'l> for Lines {
    type Writer = Event<'l>;

    fn make_writer(&'l self) -> Event<'l> {
        Event(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_that_nobody_reads_does_not_hold_up_the_end() {
        let (sender, _unread) = sync_channel(1);
        let lines = Lines { sender, dropped: Arc::default() };
        lines.send(b"one\n".to_vec());
        lines.send(b"two\n".to_vec());
        let start = Instant::now();
        lines.flush();
        assert!(start.elapsed() < 2 * FLUSH);
        assert_eq!(lines.dropped.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn lines_reach_the_file_and_a_moved_file_is_opened_anew() {
        let directory = tempfile::tempdir().unwrap();
        let (path, moved) = (directory.path().join("log"), directory.path().join("log.1"));
        let lines = Lines::start(Some(path.clone())).unwrap();
        lines.send(b"one\n".to_vec());
        lines.flush();
        std::fs::rename(&path, &moved).unwrap();
        lines.reopen();
        lines.send(b"two\n".to_vec());
        lines.flush();
        assert_eq!(std::fs::read_to_string(moved).unwrap(), "one\n");
        assert_eq!(std::fs::read_to_string(path).unwrap(), "two\n");
    }
}
