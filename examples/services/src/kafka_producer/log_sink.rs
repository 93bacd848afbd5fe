//! The sink of the demo: an append-only file, one JSON object per line, fsynced once per batch.
//!
//! It holds whole batches only: a batch that failed half-way is cut off again before the next try, and a torn last line
//! (the process died while writing, so nobody was told `sent`) is cut off at start. A file that was moved away is
//! noticed before each batch, as a writer with an open descriptor would go on writing to nowhere.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use tracing::warn;
use uuid::Uuid;

use super::ledger::Ledger;
use super::sink::{Event, Sink};

pub(super) struct LogSink {
    // Locked only by one blocking task at a time; the mutex is there to lend the log to it.
    log: Arc<Mutex<Log>>,
}

impl LogSink {
    /// Opens or creates the log and reads from it what was stored so far.
    pub(super) fn open(path: PathBuf) -> io::Result<(Self, Ledger)> {
        let explain =
            |error| io::Error::other(format!("can't open the log {}: {error}", path.display()));
        let mut ledger = Ledger::default();
        let open = OpenLog::open(&path, |key, id| ledger.remember(key, id)).map_err(explain)?;
        let log = Log { path, open: Some(open), cut_to: None };
        Ok((LogSink { log: Arc::new(Mutex::new(log)) }, ledger))
    }
}

impl Sink for LogSink {
    async fn append(&mut self, batch: &[Event]) -> io::Result<()> {
        let mut lines = Vec::new();
        for event in batch {
            serde_json::to_writer(&mut lines, event)?;
            lines.push(b'\n');
        }
        let log = self.log.clone();
        let written = tokio::task::spawn_blocking(move || {
            log.lock().unwrap_or_else(PoisonError::into_inner).append(&lines)
        });
        written.await.map_err(io::Error::other)?
    }
}

struct Log {
    path: PathBuf,
    open: Option<OpenLog>,
    /// Where the last good batch of a failed file ended.
    cut_to: Option<(Identity, u64)>,
}

struct OpenLog {
    file: File,
    identity: Identity,
    length: u64,
}

/// Device and inode: which file it is, whatever its name.
type Identity = (u64, u64);

impl Log {
    fn append(&mut self, lines: &[u8]) -> io::Result<()> {
        let mut open = self.take_open()?;
        match open.file.write_all(lines).and_then(|()| open.file.sync_data()) {
            Ok(()) => {
                open.length += lines.len() as u64;
                self.open = Some(open);
                Ok(())
            }
            // After a failed fsync nobody knows what is on disk, so the file is opened and cut anew next time.
            Err(error) => {
                self.cut_to = Some((open.identity, open.length));
                Err(error)
            }
        }
    }

    fn take_open(&mut self) -> io::Result<OpenLog> {
        let on_disk = std::fs::metadata(&self.path).ok().map(|metadata| identity(&metadata));
        if let Some(open) = self.open.take_if(|open| Some(open.identity) == on_disk) {
            return Ok(open);
        }
        let mut open = OpenLog::open(&self.path, |_, _| {})?;
        if let Some((failed, length)) = self.cut_to.take()
            && failed == open.identity
        {
            open.cut(length)?;
        }
        Ok(open)
    }
}

impl OpenLog {
    /// Opens the file, tells `found` of each event in it, and cuts off a torn last line.
    fn open(path: &Path, mut found: impl FnMut(Option<String>, Uuid)) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let identity = identity(&file.metadata()?);
        let (mut length, mut line, mut reader) = (0, Vec::new(), BufReader::new(&file));
        while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
            length += line.len() as u64;
            match serde_json::from_slice::<Stored>(&line) {
                Ok(stored) => found(stored.key, stored.id),
                Err(error) => warn!(%error, "a line of the log is no event and is left alone"),
            }
            line.clear();
        }
        let mut open = OpenLog { file, identity, length };
        if !line.is_empty() {
            warn!(bytes = line.len(), "the log ends in a torn line, which is cut off");
            open.cut(length)?;
        }
        Ok(open)
    }

    fn cut(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)?;
        self.file.sync_data()?;
        self.length = length;
        Ok(())
    }
}

fn identity(metadata: &std::fs::Metadata) -> Identity {
    (metadata.dev(), metadata.ino())
}

/// What is needed of a line that was written in an earlier life.
#[derive(Deserialize)]
struct Stored {
    id: Uuid,
    key: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::Timestamp;
    use serde_json::json;
    use std::fs;
    use tempfile::TempDir;

    fn event(key: &str) -> Event {
        let (at, key) = (Timestamp::UNIX_EPOCH, Some(key.to_owned()));
        Event { id: Uuid::now_v7(), key, at, traceparent: None, payload: json!({}) }
    }

    fn stored(path: &Path) -> u64 {
        LogSink::open(path.to_owned()).unwrap().1.counts().successful
    }

    #[tokio::test]
    async fn each_event_is_one_line() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("events.log");
        let (mut sink, _) = LogSink::open(path.clone()).unwrap();
        sink.append(&[event("a"), event("b")]).await.unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2);
        assert_eq!(stored(&path), 2);
    }

    #[tokio::test]
    async fn a_torn_last_line_is_cut_off_and_not_counted() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("events.log");
        let (mut sink, _) = LogSink::open(path.clone()).unwrap();
        sink.append(&[event("a")]).await.unwrap();
        let whole = fs::read(&path).unwrap();
        fs::write(&path, [&whole[..], b"{\"id\":\"0190"].concat()).unwrap();
        assert_eq!(stored(&path), 1);
        assert_eq!(fs::read(&path).unwrap(), whole);
    }

    #[tokio::test]
    async fn a_batch_that_failed_half_way_is_cut_off_before_the_next() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("events.log");
        let (mut sink, _) = LogSink::open(path.clone()).unwrap();
        sink.append(&[event("a")]).await.unwrap();
        // What a failed write leaves behind: whole lines of a batch that was never acknowledged.
        let before = fs::read(&path).unwrap();
        {
            let mut log = sink.log.lock().unwrap();
            let open = log.open.take().unwrap();
            log.cut_to = Some((open.identity, open.length));
        }
        fs::write(
            &path,
            [&before[..], b"{\"id\":\"00000000-0000-0000-0000-000000000000\"}\n"].concat(),
        )
        .unwrap();
        sink.append(&[event("b")]).await.unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2);
        assert!(!text.contains("00000000-0000"));
    }

    #[tokio::test]
    async fn a_log_that_was_moved_away_is_not_written_to_as_an_orphan() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("events.log");
        let (mut sink, _) = LogSink::open(path.clone()).unwrap();
        sink.append(&[event("a")]).await.unwrap();
        fs::rename(&path, directory.path().join("events.log.1")).unwrap();
        sink.append(&[event("b")]).await.unwrap();
        assert!(fs::read_to_string(&path).unwrap().contains("\"b\""));
    }

    #[test]
    fn a_log_that_cannot_be_opened_is_named() {
        let directory = TempDir::new().unwrap();
        let error = LogSink::open(directory.path().to_owned()).err().unwrap().to_string();
        assert!(error.starts_with("can't open the log /"), "{error}");
    }
}
