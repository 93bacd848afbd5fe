//! The audit on disk: sealed lines, each with the hash of the line before it as `prev`.
//!
//! Appending is a write and a sync. A line that a stop of the machine cut short was never acknowledged, so opening the log
//! moves it into a file of its own (it could also be a whole line whose end was damaged). A line that was *changed* stays where it is: [`AuditLog::verify`] names it, readers leave it out and say so,
//! and the chain goes on from what it must have been.

use std::{
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::{
    Verified, disk,
    seal::{self, Hash},
};
use crate::store::{AuditEntry, StoreError};

#[derive(Debug)]
pub(super) struct AuditLog {
    path: PathBuf,
    file: File,
    /// The length of all whole lines. What a failed write left beyond it is cut off by the next one.
    length: u64,
    /// The hash of the last line.
    last: Hash,
}

/// An entry as a line has it.
#[derive(Serialize, Deserialize)]
pub(in crate::store) struct Line<E> {
    #[serde(flatten)]
    pub(in crate::store) entry: E,
    pub(in crate::store) prev: Hash,
}

/// The `prev` of the first line.
const FIRST: &str = "";

impl AuditLog {
    pub(super) fn open(directory: &Path, notices: &mut Vec<String>) -> Result<Self, StoreError> {
        let path = directory.join("audit.jsonl");
        let file = disk::open_to_write(&path)?;
        // The name of a new file is only safe once the directory is.
        disk::sync_directory(directory)?;
        let mut log = Self { path, file, length: 0, last: FIRST.to_owned() };
        let length = log.io("read", |log| log.file.metadata())?.len();
        let mut lines = log.backwards(length)?;
        let unfinished = std::mem::take(&mut lines.tail);
        log.length = length - unfinished.len() as u64;
        if let Some(line) = lines.next() {
            log.last = seal::hash_of_line(&line.map_err(|source| log.fault("read", source))?);
        }
        if !unfinished.is_empty() {
            let aside = directory.join("audit.cut");
            disk::write_synced(&aside, &unfinished)?;
            log.io("write", |log| log.file.set_len(log.length))?;
            let (path, aside) = (log.path.display(), aside.display());
            notices.push(format!(
                "the last line of {path} was never finished, and is moved to {aside}"
            ));
        }
        Ok(log)
    }

    pub(super) fn append(&mut self, entry: &AuditEntry) -> Result<(), StoreError> {
        let json = serde_json::to_string(&Line { entry, prev: self.last.clone() })
            .expect("an entry is always JSON");
        let (line, hash) = seal::seal(&json);
        self.io("write", |log| {
            log.file.set_len(log.length)?;
            log.file.seek(SeekFrom::Start(log.length))?;
            log.file.write_all(line.as_bytes())?;
            log.file.sync_data()
        })?;
        self.length += line.len() as u64;
        self.last = hash;
        Ok(())
    }

    /// The last entries, the oldest of them first.
    pub(super) fn last(
        &mut self,
        count: usize,
        notices: &mut Vec<String>,
    ) -> Result<Vec<AuditEntry>, StoreError> {
        let mut entries = Vec::new();
        for line in self.backwards(self.length)?.take(count) {
            let line = line.map_err(|source| self.fault("read", source))?;
            match entry(&line) {
                Some((line, _)) => entries.push(line.entry),
                None => self.say_damaged(notices),
            }
        }
        entries.reverse();
        Ok(entries)
    }

    /// The changes newer than a revision, the oldest first; and whether a line among them or after them can't be read.
    pub(super) fn since(
        &mut self,
        revision: u64,
        notices: &mut Vec<String>,
    ) -> Result<(Vec<AuditEntry>, bool), StoreError> {
        let (mut entries, mut has_gap) = (Vec::new(), false);
        for line in self.backwards(self.length)? {
            let line = line.map_err(|source| self.fault("read", source))?;
            match entry(&line) {
                Some((line, _)) if line.entry.revision <= revision => break,
                Some((line, _)) => entries.push(line.entry),
                None => {
                    has_gap = true;
                    self.say_damaged(notices);
                }
            }
        }
        entries.retain(|entry| entry.before.as_ref() != Some(&entry.after));
        entries.reverse();
        Ok((entries, has_gap))
    }

    /// A line is damaged that is needed.
    pub(super) fn gap(&self, revision: u64) -> StoreError {
        StoreError::Corrupt {
            path: self.path.clone(),
            what: format!(
                "a line of it can't be read, and nothing else knows what was flipped after revision {revision}"
            ),
        }
    }

    /// How many lines there are, all of them whole and in their order.
    pub(super) fn verify(&mut self) -> Result<u64, StoreError> {
        let reader = self.io("read", |log| {
            log.file.seek(SeekFrom::Start(0))?;
            Ok(BufReader::new(log.file.try_clone()?.take(log.length)))
        })?;
        verify_lines(&self.path, reader, None).map(|verified| verified.lines)
    }

    /// Once, however often the line is read before someone asks for the notices.
    fn say_damaged(&self, notices: &mut Vec<String>) {
        let notice = format!("{} has a damaged line, which is left out", self.path.display());
        if !notices.contains(&notice) {
            notices.push(notice);
        }
    }

    fn backwards(&self, end: u64) -> Result<Backwards, StoreError> {
        let file = self.file.try_clone().and_then(|file| Backwards::new(file, end));
        file.map_err(|source| self.fault("read", source))
    }

    fn io<T>(
        &mut self,
        doing: &'static str,
        work: impl FnOnce(&mut Self) -> io::Result<T>,
    ) -> Result<T, StoreError> {
        work(self).map_err(|source| self.fault(doing, source))
    }

    fn fault(&self, doing: &'static str, source: io::Error) -> StoreError {
        StoreError::Io { doing, path: self.path.clone(), source }
    }
}

/// The audit of a directory, looked at from beside: a gateway may write to it meanwhile. What stands after the last newline is
/// on its way to the disk, and is left out.
pub(super) fn verify(directory: &Path, seen: Option<&str>) -> Result<Verified, StoreError> {
    let path = directory.join("audit.jsonl");
    let file = File::open(&path).map_err(|source| StoreError::Io {
        doing: "read",
        path: path.clone(),
        source,
    })?;
    verify_lines(&path, BufReader::new(file), seen)
}

fn verify_lines(
    path: &Path,
    mut reader: impl BufRead,
    seen: Option<&str>,
) -> Result<Verified, StoreError> {
    let (mut verified, mut bytes) = (Verified { lines: 0, last: FIRST.to_owned() }, Vec::new());
    let mut missing = seen;
    loop {
        bytes.clear();
        let read = reader.read_until(b'\n', &mut bytes);
        read.map_err(|source| StoreError::Io { doing: "read", path: path.to_owned(), source })?;
        if bytes.last() != Some(&b'\n') {
            let path = path.to_owned();
            return missing.map_or(Ok(verified), |hash| {
                let what = format!("the line {hash} is gone, and with it all after it");
                Err(StoreError::Corrupt { path, what })
            });
        }
        verified.lines += 1;
        let corrupt = |what: &str| StoreError::Corrupt {
            path: path.to_owned(),
            what: format!("line {} {what}", verified.lines),
        };
        let (line, hash) = entry(&bytes).ok_or_else(|| corrupt("was changed"))?;
        if line.prev != verified.last {
            return Err(corrupt(
                "doesn't follow the line before it; something was taken out or put in",
            ));
        }
        missing = missing.filter(|missing| **missing != hash);
        verified.last = hash;
    }
}

/// The entry of a line that is as it was written, and its hash.
pub(in crate::store) fn entry(line: &[u8]) -> Option<(Line<AuditEntry>, Hash)> {
    let (json, hash) = seal::unseal(line)?;
    Some((serde_json::from_str(&json).ok()?, hash.to_owned()))
}

/// The lines of a file from its end, each with its newline, so that the newest of a long audit are found at once.
struct Backwards {
    file: File,
    /// Where `kept` begins in the file.
    start: u64,
    /// What was read and not yet given out.
    kept: Vec<u8>,
    /// The bytes after the last newline.
    tail: Vec<u8>,
}

const CHUNK_BYTES: u64 = 16 * 1024;

impl Backwards {
    fn new(file: File, end: u64) -> io::Result<Self> {
        let mut lines = Self { file, start: end, kept: Vec::new(), tail: Vec::new() };
        lines.cut_tail()?;
        Ok(lines)
    }

    fn cut_tail(&mut self) -> io::Result<()> {
        let whole = self.find_newline_before(self.kept.len())?.map_or(0, |at| at + 1);
        self.tail = self.kept.split_off(whole);
        Ok(())
    }

    /// The place in `kept` of the last newline before another place, reading more as needed. `kept` may grow at its front,
    /// so `end` counts from its back.
    fn find_newline_before(&mut self, end: usize) -> io::Result<Option<usize>> {
        let after = self.kept.len() - end;
        loop {
            let searched = &self.kept[..self.kept.len() - after];
            if let Some(at) = searched.iter().rposition(|&byte| byte == b'\n') {
                return Ok(Some(at));
            }
            if self.start == 0 {
                return Ok(None);
            }
            self.read_more()?;
        }
    }

    fn read_more(&mut self) -> io::Result<()> {
        let length = CHUNK_BYTES.min(self.start);
        self.start -= length;
        self.file.seek(SeekFrom::Start(self.start))?;
        let mut chunk = vec![0; usize::try_from(length).expect("a chunk fits into memory")];
        self.file.read_exact(&mut chunk)?;
        chunk.append(&mut self.kept);
        self.kept = chunk;
        Ok(())
    }
}

impl Iterator for Backwards {
    type Item = io::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.kept.is_empty() && self.start == 0 {
            return None;
        }
        if self.kept.is_empty()
            && let Err(error) = self.read_more()
        {
            return Some(Err(error));
        }
        match self.find_newline_before(self.kept.len() - 1) {
            Ok(before) => Some(Ok(self.kept.split_off(before.map_or(0, |at| at + 1)))),
            Err(error) => Some(Err(error)),
        }
    }
}
