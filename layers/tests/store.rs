//! What every store promises, asked of each of them; then what damage does to the one on disk.
#![cfg(feature = "embedded")]
#![allow(clippy::unwrap_used, reason = "in a test, also where a function helps it")]

mod conformance;

use std::{fs, io::Write, path::Path};

use portcullis::store::{
    AuditEntry, EmbeddedStore, MemoryStore, Ordered, Saved, Store, StoreError,
};

use conformance::{Harm, Kind, feature, flip, saved, state};
use proptest::prelude::*;
use tempfile::{TempDir, tempdir};

const PRESENT: &str = "switchboard.json";
const PREVIOUS: &str = "switchboard.previous.json";
const AUDIT: &str = "audit.jsonl";

struct InMemory(MemoryStore);

impl Kind for InMemory {
    fn open(&self) -> Box<dyn Store> {
        Box::new(self.0.clone())
    }

    fn is_shared(&self) -> bool {
        true
    }
}

struct InADirectory(TempDir);

impl Kind for InADirectory {
    fn open(&self) -> Box<dyn Store> {
        Box::new(open(&self.0))
    }

    fn is_shared(&self) -> bool {
        false
    }

    fn put_aside(&self) {
        fs::copy(self.0.path().join(PRESENT), self.0.path().join("aside")).unwrap();
    }

    fn suffers(&self, harm: Harm) -> bool {
        let present = self.0.path().join(PRESENT);
        match harm {
            Harm::Gap | Harm::Restart => return false,
            // What is kept here lies in two places; the audit is elsewhere.
            Harm::Reset => {
                for name in [PRESENT, PREVIOUS] {
                    fs::remove_file(self.0.path().join(name)).unwrap();
                }
            }
            Harm::Rollback => drop(fs::copy(self.0.path().join("aside"), present).unwrap()),
            Harm::TornWrite => change(&present, |bytes| bytes.truncate(bytes.len() - 100)),
        }
        true
    }
}

#[test]
fn the_store_in_memory_keeps_every_promise() {
    conformance::every_promise("the store in memory", || Box::new(InMemory(MemoryStore::new())));
}

#[test]
fn the_store_in_a_directory_keeps_every_promise() {
    conformance::every_promise("the store in a directory", || {
        Box::new(InADirectory(tempdir().unwrap()))
    });
}

fn open(directory: &TempDir) -> EmbeddedStore {
    EmbeddedStore::open(directory.path()).unwrap()
}

/// A directory in which these revisions were saved and audited.
fn written(revisions: u64) -> TempDir {
    let directory = tempdir().unwrap();
    let mut store = open(&directory);
    for revision in 1..=revisions {
        store.save(revision - 1, &saved(revision)).unwrap();
        store.append_audit(&flip(revision)).unwrap();
    }
    directory
}

fn load(directory: &TempDir) -> (Result<Option<Saved>, StoreError>, Vec<String>) {
    let mut store = open(directory);
    (store.load(), store.notices())
}

#[test]
fn another_process_finds_what_this_one_wrote() {
    let directory = written(3);
    let mut store = open(&directory);
    assert_eq!(store.load().unwrap(), Some(saved(3)));
    assert_eq!(store.audit(10).unwrap(), [flip(1), flip(2), flip(3)]);
    assert_eq!(store.verify_audit().unwrap(), 3);
    assert_eq!(store.notices(), [""; 0]);
}

#[test]
fn every_file_is_json_that_a_person_can_read() {
    let directory = written(3);
    let snapshot = fs::read_to_string(directory.path().join(PRESENT)).unwrap();
    let snapshot: serde_json::Value = serde_json::from_str(&snapshot).unwrap();
    assert_eq!(snapshot["version"], 1);
    assert_eq!(snapshot["states"]["feature-0002"]["updated_by"], "ada");

    let audit = fs::read_to_string(directory.path().join(AUDIT)).unwrap();
    let lines: Vec<serde_json::Value> =
        audit.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["prev"], "");
    assert_eq!(lines[1]["prev"], lines[0]["hash"]);
    assert_eq!(lines[2]["prev"], lines[1]["hash"]);
}

#[test]
fn a_second_process_is_refused_until_the_first_one_ends() {
    let directory = tempdir().unwrap();
    let first = open(&directory);
    let error = EmbeddedStore::open(directory.path()).unwrap_err();
    assert!(matches!(error, StoreError::Locked { .. }), "{error:?}");
    assert!(error.to_string().contains("another process"), "{error}");
    drop(first);
    open(&directory);
}

#[test]
fn a_directory_that_is_not_there_is_made_with_its_parents() {
    let directory = tempdir().unwrap();
    let deep = directory.path().join("a/b/c");
    EmbeddedStore::open(&deep).unwrap().save(0, &saved(1)).unwrap();
    assert!(deep.join(PRESENT).is_file());
}

#[test]
fn a_file_in_place_of_the_directory_is_said_clearly() {
    let directory = tempdir().unwrap();
    let file = directory.path().join("file");
    fs::write(&file, "").unwrap();
    let error = EmbeddedStore::open(&file).unwrap_err();
    assert!(matches!(&error, StoreError::NotADirectory { path } if *path == file), "{error:?}");

    let below = EmbeddedStore::open(&file.join("below")).unwrap_err();
    assert!(matches!(below, StoreError::Io { .. }), "{below:?}");
}

#[cfg(unix)]
#[test]
fn a_file_that_can_not_be_written_is_named() {
    // A directory under the name of a file of ours: not even root can write to it.
    let directory = tempdir().unwrap();
    fs::create_dir(directory.path().join(AUDIT)).unwrap();
    let error = EmbeddedStore::open(directory.path()).unwrap_err();
    assert!(matches!(error, StoreError::Io { .. }), "{error:?}");
    assert!(error.to_string().contains(AUDIT), "{error}");
}

#[test]
fn a_failed_save_leaves_what_was_saved_before() {
    let directory = written(2);
    fs::create_dir(directory.path().join("switchboard.new.json")).unwrap();
    let mut store = open(&directory);
    assert!(matches!(store.save(2, &saved(3)), Err(StoreError::Io { .. })));
    assert_eq!(store.load().unwrap(), Some(saved(2)));
}

fn change(path: &Path, with: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    with(&mut bytes);
    fs::write(path, bytes).unwrap();
}

#[test]
fn no_flipped_byte_and_no_cut_of_the_snapshot_loses_a_kill() {
    let directory = written(3);
    let present = directory.path().join(PRESENT);
    let whole = fs::read(&present).unwrap();
    for at in (0..whole.len()).step_by(7) {
        change(&present, |bytes| bytes[at] ^= 0x55);
        let (loaded, notices) = load(&directory);
        assert_eq!(loaded.unwrap(), Some(saved(3)), "byte {at} was changed");
        assert!(notices.iter().any(|notice| notice.contains(PRESENT)), "byte {at}: {notices:?}");

        fs::write(&present, &whole[..at]).unwrap();
        assert_eq!(load(&directory).0.unwrap(), Some(saved(3)), "cut at {at}");
        fs::write(&present, &whole).unwrap();
    }
}

#[test]
fn without_an_audit_a_damaged_snapshot_goes_back_one_generation_and_says_to_which() {
    let directory = written(3);
    fs::remove_file(directory.path().join(AUDIT)).unwrap();
    change(&directory.path().join(PRESENT), |bytes| bytes[20] ^= 1);
    let (loaded, notices) = load(&directory);
    assert_eq!(loaded.unwrap(), Some(saved(2)));
    assert!(notices.iter().any(|notice| notice.contains("revision 2")), "{notices:?}");
}

#[test]
fn a_damaged_snapshot_with_nothing_beside_it_is_an_error_and_never_nothing() {
    let directory = written(1);
    assert!(!directory.path().join(PREVIOUS).exists());
    change(&directory.path().join(PRESENT), |bytes| bytes[20] ^= 1);
    let error = load(&directory).0.unwrap_err();
    assert!(
        matches!(&error, StoreError::Corrupt { path, .. } if path.ends_with(PRESENT)),
        "{error:?}"
    );
}

#[test]
fn two_damaged_generations_are_an_error_that_names_the_newer() {
    let directory = written(3);
    for name in [PRESENT, PREVIOUS] {
        change(&directory.path().join(name), |bytes| bytes[20] ^= 1);
    }
    let error = load(&directory).0.unwrap_err();
    assert!(
        matches!(&error, StoreError::Corrupt { path, .. } if path.ends_with(PRESENT)),
        "{error:?}"
    );
}

#[test]
fn a_snapshot_of_a_newer_version_is_not_guessed_at() {
    let directory = tempdir().unwrap();
    let text = r#"{"version":2,"revision":9,"states":{}}"#;
    fs::write(directory.path().join(PRESENT), text).unwrap();
    assert!(matches!(load(&directory).0, Err(StoreError::Corrupt { .. })));
}

#[test]
fn saving_over_a_damaged_snapshot_keeps_it_aside_and_the_whole_one_beside_it() {
    let directory = written(3);
    change(&directory.path().join(PRESENT), |bytes| bytes[20] ^= 1);
    let mut store = open(&directory);
    store.load().unwrap();
    store.save(3, &saved(4)).unwrap();
    drop(store);
    assert!(directory.path().join("switchboard.damaged.json").is_file());
    change(&directory.path().join(PRESENT), |bytes| bytes[20] ^= 1);
    fs::remove_file(directory.path().join(AUDIT)).unwrap();
    assert_eq!(
        load(&directory).0.unwrap(),
        Some(saved(2)),
        "the last whole one was not overwritten"
    );
}

#[test]
fn a_stop_between_the_two_renames_of_a_save_loses_nothing_and_is_no_damage() {
    let directory = written(3);
    fs::rename(directory.path().join(PRESENT), directory.path().join(PREVIOUS)).unwrap();
    let (loaded, notices) = load(&directory);
    assert_eq!(loaded.unwrap(), Some(saved(3)));
    assert_eq!(notices, [""; 0]);
}

#[test]
fn a_new_generation_that_was_still_being_written_is_not_looked_at() {
    let directory = written(3);
    let new = directory.path().join("switchboard.new.json");
    fs::write(&new, &fs::read(directory.path().join(PRESENT)).unwrap()[..40]).unwrap();
    let (loaded, notices) = load(&directory);
    assert_eq!((loaded.unwrap(), notices), (Some(saved(3)), vec![]));
    open(&directory).save(3, &saved(4)).unwrap();
    assert_eq!(load(&directory).0.unwrap(), Some(saved(4)));
    assert!(!new.exists());
}

#[test]
fn a_snapshot_from_a_backup_is_brought_up_to_date_from_the_audit() {
    let directory = written(2);
    let backup = fs::read(directory.path().join(PRESENT)).unwrap();
    let mut store = open(&directory);
    for revision in 3..=5 {
        store.save(revision - 1, &saved(revision)).unwrap();
        store.append_audit(&flip(revision)).unwrap();
    }
    drop(store);
    fs::write(directory.path().join(PRESENT), backup).unwrap();
    let (loaded, notices) = load(&directory);
    assert_eq!(loaded.unwrap(), Some(saved(5)));
    assert!(notices.iter().any(|notice| notice.contains("newer than revision 2")), "{notices:?}");
}

#[test]
fn lost_snapshots_are_made_anew_from_the_audit() {
    let directory = written(4);
    for name in [PRESENT, PREVIOUS] {
        fs::remove_file(directory.path().join(name)).unwrap();
    }
    let (loaded, notices) = load(&directory);
    assert_eq!(loaded.unwrap(), Some(saved(4)));
    assert_eq!(notices.len(), 1, "{notices:?}");
}

#[test]
fn an_audited_restore_is_taken_over_as_well() {
    let directory = written(2);
    let mut store = open(&directory);
    let restore = AuditEntry {
        feature: feature(1),
        before: Some(state(false)),
        after: state(true),
        ..flip(3)
    };
    store.append_audit(&restore).unwrap();
    let loaded = store.load().unwrap().unwrap();
    assert!(loaded.states[&feature(1)].enabled);
    assert!(!loaded.states[&feature(2)].enabled);
}

#[test]
fn an_audited_act_that_changed_no_state_is_no_flip() {
    let directory = written(2);
    let mut store = open(&directory);
    let reset = AuditEntry {
        feature: "breaker:auth".to_owned(),
        before: Some(state(true)),
        after: state(true),
        breaker: Some(Ordered {
            before: "open".to_owned(),
            after: "closed".to_owned(),
            expires_at: None,
        }),
        ..flip(3)
    };
    store.append_audit(&reset).unwrap();
    assert_eq!(store.audit(1).unwrap(), [reset]);
    assert_eq!(store.load().unwrap(), Some(saved(2)));
    assert_eq!(store.notices(), [""; 0]);
}

#[test]
fn what_a_failed_append_left_behind_is_overwritten_by_the_next_one() {
    let directory = written(1);
    let mut store = open(&directory);
    let mut file = fs::OpenOptions::new().append(true).open(directory.path().join(AUDIT)).unwrap();
    file.write_all(&[b'x'; 10_000]).unwrap();
    file.write_all(b"\n").unwrap();
    assert_eq!(store.audit(10).unwrap(), [flip(1)]);
    store.append_audit(&flip(2)).unwrap();
    assert_eq!(store.verify_audit().unwrap(), 2);
    drop(store);
    assert_eq!(open(&directory).verify_audit().unwrap(), 2, "nothing of it is left");
}

#[test]
fn an_audit_line_that_was_never_finished_is_moved_aside_and_the_chain_goes_on() {
    let whole = {
        let directory = written(3);
        fs::read(directory.path().join(AUDIT)).unwrap()
    };
    let ends: Vec<_> = whole
        .iter()
        .enumerate()
        .filter(|&(_, &byte)| byte == b'\n')
        .map(|(at, _)| at + 1)
        .collect();
    for cut in (0..whole.len()).step_by(5).chain(ends.iter().copied()) {
        let directory = tempdir().unwrap();
        fs::write(directory.path().join(AUDIT), &whole[..cut]).unwrap();
        let complete = ends.iter().filter(|&&end| end <= cut).count() as u64;

        let mut store = open(&directory);
        assert_eq!(
            store.audit(10).unwrap(),
            (1..=complete).map(flip).collect::<Vec<_>>(),
            "cut at {cut}"
        );
        assert_eq!(
            store.notices().len(),
            usize::from(cut != 0 && !ends.contains(&cut)),
            "cut at {cut}"
        );
        let last_end = ends.iter().copied().filter(|&end| end <= cut).max().unwrap_or(0);
        let aside = fs::read(directory.path().join("audit.cut")).unwrap_or_default();
        assert_eq!(aside, whole[last_end..cut], "what is cut off at {cut} is kept aside");
        store.append_audit(&flip(9)).unwrap();
        assert_eq!(store.verify_audit().unwrap(), complete + 1, "cut at {cut}");
    }
}

#[test]
fn a_changed_audit_line_is_found_left_out_and_said() {
    let directory = written(3);
    let path = directory.path().join(AUDIT);
    let second = fs::read(&path).unwrap().iter().position(|&byte| byte == b'\n').unwrap() + 1;
    change(&path, |bytes| bytes[second + 20] ^= 1);

    let mut store = open(&directory);
    let error = store.verify_audit().unwrap_err();
    assert!(error.to_string().contains("line 2 was changed"), "{error}");
    assert_eq!(store.audit(10).unwrap(), [flip(1), flip(3)]);
    assert_eq!(store.audit(10).unwrap(), [flip(1), flip(3)]);
    assert_eq!(store.notices().len(), 1, "asking twice says it once");
}

#[test]
fn the_chain_goes_on_after_a_changed_last_line() {
    let directory = written(2);
    let path = directory.path().join(AUDIT);
    change(&path, |bytes| {
        let at = bytes.len() - 100;
        bytes[at] ^= 1;
    });
    let mut store = open(&directory);
    store.append_audit(&flip(3)).unwrap();
    let error = store.verify_audit().unwrap_err();
    assert!(error.to_string().contains("line 2 was changed"), "{error}");
    assert_eq!(store.audit(1).unwrap(), [flip(3)]);
}

#[test]
fn a_line_taken_out_or_moved_breaks_the_chain() {
    let directory = written(3);
    let path = directory.path().join(AUDIT);
    let text = fs::read_to_string(&path).unwrap();
    let lines: Vec<_> = text.split_inclusive('\n').collect();
    for tampered in [
        [lines[0], lines[2]].concat(),
        [lines[1], lines[0], lines[2]].concat(),
        lines[1..].concat(),
    ] {
        fs::write(&path, tampered).unwrap();
        let error = open(&directory).verify_audit().unwrap_err();
        assert!(error.to_string().contains("doesn't follow"), "{error}");
    }
}

#[test]
fn a_long_audit_is_read_from_its_end() {
    let directory = tempdir().unwrap();
    let mut store = open(&directory);
    let long = |n: u64| AuditEntry {
        reason: "x".repeat(if n.is_multiple_of(3) { 40_000 } else { 10 }),
        ..flip(n)
    };
    for n in 1..=30 {
        store.append_audit(&long(n)).unwrap();
    }
    assert_eq!(store.audit(7).unwrap(), (24..=30).map(long).collect::<Vec<_>>());
    assert_eq!(store.audit(99).unwrap(), (1..=30).map(long).collect::<Vec<_>>());
    assert_eq!(store.verify_audit().unwrap(), 30);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever one byte of whichever file becomes: what is loaded is the truth, or an error, or (where a line of the audit
    /// itself was hit) an older truth with a notice. It is never a state that was not.
    #[test]
    fn any_changed_byte_gives_a_state_that_was_or_an_error(
        name in prop::sample::select(vec![PRESENT, PREVIOUS, AUDIT]), place in any::<prop::sample::Index>(), mask in 1_u8..,
    ) {
        let directory = written(4);
        change(&directory.path().join(name), |bytes| {
            let at = place.index(bytes.len());
            bytes[at] ^= mask;
        });
        prop_assert_eq!(load(&directory).0.unwrap(), Some(saved(4)));
    }
}
