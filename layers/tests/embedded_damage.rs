//! Every byte of what was written last is damaged or cut off, one after the other: the store in a directory then has the last
//! good state, whole, or refuses and says which file. Nothing is ever turned on by it.
#![cfg(feature = "embedded")]
#![allow(clippy::unwrap_used, reason = "in a test, also where a function helps it")]

use std::{collections::BTreeMap, fs, path::Path};

use portcullis::{
    store::{AuditEntry, EmbeddedStore, Saved, Store, StoreError},
    switchboard::{
        UnixMillis,
        feature::{Source, State},
    },
};
use tempfile::TempDir;

const PRESENT: &str = "switchboard.json";
const AUDIT: &str = "audit.jsonl";

/// In memory where there is such a file system: nothing here is about syncs, and there are thousands of starts.
fn directory() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory).unwrap() } else { TempDir::new().unwrap() }
}

fn killed(feature: &str) -> State {
    State {
        enabled: false,
        reason: format!("{feature} is broken"),
        updated_by: "ada".to_owned(),
        updated_at: Some(UnixMillis(1_000)),
        source: Source::Api,
        ..State::default()
    }
}

fn saved(features: &[&str]) -> Saved {
    let states: BTreeMap<_, _> =
        features.iter().map(|&feature| (feature.to_owned(), killed(feature))).collect();
    Saved { revision: features.len() as u64, states, ..Saved::default() }
}

fn entry(feature: &str, revision: u64) -> AuditEntry {
    AuditEntry {
        at: UnixMillis(1_000),
        actor: "ada".to_owned(),
        action: "kill".to_owned(),
        feature: feature.to_owned(),
        reason: killed(feature).reason,
        source: Source::Api,
        before: Some(State::default()),
        after: killed(feature),
        revision,
        request_id: None,
        breaker: None,
    }
}

const FEATURES: [&str; 3] = ["orders", "payments", "reports"];

/// Three kills, one per revision, each saved and audited.
fn written() -> TempDir {
    let directory = directory();
    let mut store = EmbeddedStore::open(directory.path()).unwrap();
    for revision in 1..=FEATURES.len() {
        store.save(revision as u64 - 1, &saved(&FEATURES[..revision])).unwrap();
        store.append_audit(&entry(FEATURES[revision - 1], revision as u64)).unwrap();
    }
    directory
}

fn load(directory: &TempDir) -> (Result<Option<Saved>, StoreError>, Vec<String>) {
    let mut store = EmbeddedStore::open(directory.path()).unwrap();
    let loaded = store.load();
    (loaded, store.notices())
}

/// The file with each of its bytes from `first` on changed in turn, in two ways, and cut off there.
fn damaged(whole: &[u8], first: usize) -> impl Iterator<Item = (String, Vec<u8>)> {
    (first..whole.len()).flat_map(move |at| {
        let flipped = |with: u8| {
            let mut bytes = whole.to_vec();
            bytes[at] ^= with;
            (format!("byte {at} ^ {with:#x}"), bytes)
        };
        [flipped(0x01), flipped(0x80), (format!("cut at {at}"), whole[..at].to_vec())]
    })
}

#[test]
fn no_damaged_byte_of_the_snapshot_loses_anything() {
    let directory = written();
    let path = directory.path().join(PRESENT);
    let whole = fs::read(&path).unwrap();
    let mut cases = 0;
    for (what, bytes) in damaged(&whole, 0) {
        fs::write(&path, bytes).unwrap();
        let (loaded, notices) = load(&directory);
        assert_eq!(loaded.unwrap(), Some(saved(&FEATURES)), "{what}");
        assert!(notices.iter().any(|notice| notice.contains(PRESENT)), "{what}: {notices:?}");
        cases += 1;
    }
    println!("snapshot of {} bytes: {cases} damages, 0 flips lost, 0 halved", whole.len());
}

#[test]
fn no_damaged_byte_of_the_last_audit_lines_loses_anything() {
    let directory = written();
    let path = directory.path().join(AUDIT);
    let whole = fs::read(&path).unwrap();
    let second = whole.iter().position(|&byte| byte == b'\n').unwrap() + 1;
    let mut cases = 0;
    for (what, bytes) in damaged(&whole, second) {
        fs::write(&path, bytes).unwrap();
        let (loaded, _) = load(&directory);
        assert_eq!(loaded.unwrap(), Some(saved(&FEATURES)), "{what}");
        cases += 1;
    }
    println!(
        "audit, the last {} bytes: {cases} damages, 0 flips lost, 0 halved",
        whole.len() - second
    );
}

/// Two faults at once: the snapshot is an older one, so that only the audit knows the rest, and the audit is damaged.
#[test]
fn where_only_the_audit_knows_a_damaged_line_is_refused_and_a_cut_one_is_as_if_never_written() {
    let directory = written();
    let older = fs::read(directory.path().join("switchboard.previous.json")).unwrap();
    fs::write(directory.path().join(PRESENT), older).unwrap();
    fs::remove_file(directory.path().join("switchboard.previous.json")).unwrap();
    assert_eq!(load(&directory).0.unwrap(), Some(saved(&FEATURES)), "the audit knows it");

    // The present one is whole, if old: without its last line the audit says no more than that.
    let path = directory.path().join(AUDIT);
    let whole = fs::read(&path).unwrap();
    let last = whole[..whole.len() - 1].iter().rposition(|&byte| byte == b'\n').unwrap() + 1;
    fs::write(&path, &whole[..last]).unwrap();
    assert_eq!(load(&directory).0.unwrap(), Some(saved(&FEATURES[..2])));

    // Without it, too, everything hangs on the audit.
    fs::remove_file(directory.path().join(PRESENT)).unwrap();
    let (mut refused, mut cut) = (0, 0);
    for (what, bytes) in damaged(&whole, last) {
        fs::write(&path, &bytes).unwrap();
        match load(&directory).0 {
            Err(StoreError::Corrupt { path, .. }) if path.ends_with(AUDIT) => refused += 1,
            // A line without its end was never acknowledged.
            Ok(Some(found)) if found == saved(&FEATURES[..2]) => {
                assert!(bytes.len() == last || !bytes.ends_with(b"\n"), "{what}");
                cut += 1;
            }
            other => panic!("{what}: {other:?}"),
        }
    }
    println!("audit alone: {refused} damages refused, {cut} lines without an end left out");
}
