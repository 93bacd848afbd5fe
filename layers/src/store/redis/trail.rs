//! The audit in Redis: a Stream of the same sealed lines that the embedded store writes, each with the hash of the one before
//! it, whoever wrote that.
//!
//! A script adds an entry only behind the one that it follows, so several processes make one chain. The oldest are dropped
//! when there are too many, so the chain that is there may begin with an entry that follows one that isn't. The same shows
//! that all was lost: whoever adds next goes on from the last entry that it knew.

use std::path::PathBuf;

use ::redis::{Cmd, cmd};

use super::{questions, server::Line};
use crate::store::{
    AuditEntry, StoreError,
    embedded::{
        audit_log,
        seal::{self, Hash},
    },
};

/// Entries that the audit keeps: some hundreds of megabytes, and years of a busy fleet.
const ENTRIES_MAX: usize = 1_000_000;
/// Entries that are checked at once.
const PAGE: usize = 1_000;
/// How often others may be quicker.
const TRIES: usize = 50;

/// An entry of the Stream: its id, then names and values.
type Entry = (String, Vec<Vec<u8>>);

#[derive(Debug)]
pub(super) struct Trail {
    key: String,
    /// The id of the last entry, as far as it is known.
    last: String,
    /// Its hash.
    hash: Hash,
}

impl Trail {
    pub(super) const fn new(key: String) -> Self {
        Self { key, last: String::new(), hash: String::new() }
    }

    pub(super) fn append(&mut self, line: &mut Line, entry: &AuditEntry) -> Result<(), StoreError> {
        for _ in 0..TRIES {
            let linked = audit_log::Line { entry, prev: self.hash.clone() };
            let (sealed, hash) = seal::seal(&questions::json(&linked));
            let mut asked = questions::AUDIT.key(&self.key);
            asked.arg(&self.last).arg(ENTRIES_MAX).arg(sealed.trim_end());
            let (fate, id, newest): (String, String, Vec<u8>) =
                line.ask(|connection| asked.invoke(connection))?;
            self.last = id;
            if fate == "kept" {
                self.hash = hash;
                return Ok(());
            }
            if !newest.is_empty() {
                self.hash = seal::hash_of_line(&with_newline(newest));
            }
        }
        let what = "others add to its audit faster than it can be added to".to_owned();
        Err(StoreError::Unavailable { what })
    }

    /// The last entries, the oldest first, and how many of them were changed.
    pub(super) fn tail(
        &self,
        line: &mut Line,
        count: usize,
    ) -> Result<(Vec<AuditEntry>, usize), StoreError> {
        if count == 0 {
            return Ok((Vec::new(), 0));
        }
        let asked = self.range("XREVRANGE", "+", "-", count);
        let found: Vec<Entry> = line.ask(|connection| asked.query(connection))?;
        let entries = found.iter().rev().filter_map(unsealed);
        let entries: Vec<_> = entries.map(|(linked, _)| linked.entry).collect();
        let changed = found.len() - entries.len();
        Ok((entries, changed))
    }

    /// How many entries there are, all of them as they were written and in their order.
    pub(super) fn verify(&self, line: &mut Line) -> Result<u64, StoreError> {
        let (mut count, mut from, mut last) = (0, "-".to_owned(), None);
        loop {
            let asked = self.range("XRANGE", &from, "+", PAGE);
            let page: Vec<Entry> = line.ask(|connection| asked.query(connection))?;
            if page.is_empty() {
                return Ok(count);
            }
            for entry in &page {
                let corrupt = |what: &str| StoreError::Corrupt {
                    path: PathBuf::from(&self.key),
                    what: format!("entry {} {what}", entry.0),
                };
                let (linked, hash) = unsealed(entry).ok_or_else(|| corrupt("was changed"))?;
                if last.is_some_and(|last| last != linked.prev) {
                    return Err(corrupt(
                        "doesn't follow the one before it; something was taken out or put in",
                    ));
                }
                (count, last) = (count + 1, Some(hash));
                from = format!("({}", entry.0);
            }
        }
    }

    fn range(&self, question: &str, from: &str, to: &str, count: usize) -> Cmd {
        cmd(question).arg(&self.key).arg(from).arg(to).arg("COUNT").arg(count).take()
    }
}

fn unsealed((_, fields): &Entry) -> Option<(audit_log::Line<AuditEntry>, Hash)> {
    audit_log::entry(&with_newline(fields.get(1)?.clone()))
}

/// A line ends with one, an entry of a Stream doesn't.
fn with_newline(mut entry: Vec<u8>) -> Vec<u8> {
    entry.push(b'\n');
    entry
}
