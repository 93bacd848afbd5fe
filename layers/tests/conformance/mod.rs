//! What every store promises, asked of each of them in the same words.

use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use portcullis::{
    store::{AuditEntry, News, Saved, Store, StoreError},
    switchboard::{
        UnixMillis,
        feature::{Source, State},
    },
};

/// Long enough for anything that happens at all.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A kind of store, and how another handle of the same one is had.
pub(crate) trait Kind {
    /// Another handle; for a store that can't be shared, only once the one before is gone.
    fn open(&self) -> Box<dyn Store>;
    /// Whether two handles can be open at once.
    fn is_shared(&self) -> bool;
    /// Whether it survives its last handle.
    fn survives(&self) -> bool;
}

pub(crate) fn state(enabled: bool) -> State {
    State {
        enabled,
        reason: "because of \"this\"\nand\u{2028}that".to_owned(),
        updated_by: "ada".to_owned(),
        updated_at: Some(UnixMillis(1_000)),
        expires_at: (!enabled).then_some(UnixMillis(61_000)),
        source: Source::Api,
    }
}

pub(crate) fn feature(n: u64) -> String {
    format!("feature-{n:04}")
}

/// The states at a revision: one more kill with each.
pub(crate) fn saved(revision: u64) -> Saved {
    let states = (1..=revision).map(|n| (feature(n), state(false))).collect();
    Saved { revision, states, ..Saved::default() }
}

/// What is compared: a store marks what it keeps.
pub(crate) fn unmarked(saved: Saved) -> Saved {
    Saved { mark: portcullis::store::Mark::default(), ..saved }
}

/// The flip that leads from the revision before to this one.
pub(crate) fn flip(revision: u64) -> AuditEntry {
    AuditEntry {
        at: UnixMillis(1_000 + revision),
        actor: "ada".to_owned(),
        action: "kill".to_owned(),
        feature: feature(revision),
        reason: state(false).reason,
        source: Source::Api,
        before: Some(State::default()),
        after: state(false),
        revision,
        request_id: None,
        breaker: None,
    }
}

pub(crate) fn loaded(store: &mut dyn Store) -> Option<Saved> {
    store.load().unwrap().map(unmarked)
}

/// The news of a store, as they come.
pub(crate) fn ears(store: &mut dyn Store) -> Receiver<News> {
    let (sender, news) = channel();
    store.follow(std::sync::Arc::new(move |told| drop(sender.send(told))));
    news
}

/// The next newer revision that is told.
pub(crate) fn newer(news: &Receiver<News>) -> Saved {
    loop {
        if let News::Newer(saved) = news.recv_timeout(PATIENCE).expect("a newer revision is told") {
            return unmarked(saved);
        }
    }
}

/// All promises, of one kind.
pub(crate) fn every_promise(kind: impl Fn() -> Box<dyn Kind>) {
    a_new_store_has_nothing_and_says_so_without_error(&*kind());
    the_last_save_is_what_is_loaded(&*kind());
    a_save_over_another_revision_is_refused_and_changes_nothing(&*kind());
    the_audit_gives_its_last_entries_the_oldest_first(&*kind());
    if kind().survives() {
        a_restart_finds_what_was_saved(&*kind());
    }
    if kind().is_shared() {
        the_slower_of_two_is_told_what_the_quicker_one_made(&*kind());
        others_hear_of_every_change_in_order(&*kind());
        a_hundred_races_lose_nothing(&*kind());
    }
}

fn a_new_store_has_nothing_and_says_so_without_error(kind: &dyn Kind) {
    let mut store = kind.open();
    assert_eq!(store.load().unwrap(), None);
    assert_eq!(store.audit(10).unwrap(), []);
    assert_eq!(store.notices(), [""; 0]);
}

fn the_last_save_is_what_is_loaded(kind: &dyn Kind) {
    let mut store = kind.open();
    store.load().unwrap();
    for revision in [1, 2, 3] {
        store.save(revision - 1, &saved(revision)).unwrap();
        assert_eq!(loaded(&mut *store), Some(saved(revision)));
    }
}

fn a_save_over_another_revision_is_refused_and_changes_nothing(kind: &dyn Kind) {
    let mut store = kind.open();
    store.load().unwrap();
    for revision in [1, 2] {
        store.save(revision - 1, &saved(revision)).unwrap();
    }
    for over in [0, 1, 3, 7] {
        let refused = store.save(over, &saved(over + 1));
        let Err(StoreError::Moved { newest }) = refused else { panic!("over {over}: {refused:?}") };
        assert_eq!(unmarked(*newest), saved(2));
        assert_eq!(loaded(&mut *store), Some(saved(2)));
    }
}

fn the_audit_gives_its_last_entries_the_oldest_first(kind: &dyn Kind) {
    let mut store = kind.open();
    for revision in 1..=5 {
        store.append_audit(&flip(revision)).unwrap();
    }
    assert_eq!(store.audit(2).unwrap(), [flip(4), flip(5)]);
    assert_eq!(store.audit(100).unwrap(), (1..=5).map(flip).collect::<Vec<_>>());
    assert_eq!(store.audit(0).unwrap(), []);
}

fn a_restart_finds_what_was_saved(kind: &dyn Kind) {
    let mut store = kind.open();
    store.load().unwrap();
    for revision in 1..=3 {
        store.save(revision - 1, &saved(revision)).unwrap();
        store.append_audit(&flip(revision)).unwrap();
    }
    drop(store);
    let mut store = kind.open();
    assert_eq!(loaded(&mut *store), Some(saved(3)));
    assert_eq!(store.audit(10).unwrap(), [flip(1), flip(2), flip(3)]);
    store.save(3, &saved(4)).unwrap();
    assert_eq!(store.notices(), [""; 0]);
}

fn the_slower_of_two_is_told_what_the_quicker_one_made(kind: &dyn Kind) {
    let (mut quick, mut slow) = (kind.open(), kind.open());
    quick.load().unwrap();
    slow.load().unwrap();
    quick.save(0, &saved(1)).unwrap();
    let refused = slow.save(0, &Saved { revision: 1, ..Saved::default() });
    let Err(StoreError::Moved { newest }) = refused else { panic!("{refused:?}") };
    assert_eq!(unmarked(*newest), saved(1));
    slow.save(1, &saved(2)).unwrap();
    assert_eq!(loaded(&mut *quick), Some(saved(2)));
}

fn others_hear_of_every_change_in_order(kind: &dyn Kind) {
    let (mut writer, mut reader) = (kind.open(), kind.open());
    writer.load().unwrap();
    reader.load().unwrap();
    let news = ears(&mut *reader);
    let mut last = 0;
    for revision in 1..=50 {
        writer.save(revision - 1, &saved(revision)).unwrap();
    }
    // Several may be told as one, but never one before another.
    while last < 50 {
        let told = newer(&news);
        assert!(told.revision > last, "{} after {last}", told.revision);
        assert_eq!(told, saved(told.revision));
        last = told.revision;
    }
}

fn a_hundred_races_lose_nothing(kind: &dyn Kind) {
    let racers: Vec<_> = (0..4_u64)
        .map(|racer| {
            let mut store = kind.open();
            std::thread::spawn(move || {
                let mut known = store.load().unwrap().unwrap_or_default();
                for n in 0..25 {
                    loop {
                        let mut next = known.clone();
                        next.states.insert(feature(racer * 100 + n), state(false));
                        next.revision += 1;
                        match store.save(known.revision, &next) {
                            Ok(()) => break known = next,
                            Err(StoreError::Moved { newest }) => known = *newest,
                            Err(error) => panic!("{error}"),
                        }
                    }
                }
            })
        })
        .collect();
    racers.into_iter().for_each(|racer| racer.join().unwrap());
    let all = kind.open().load().unwrap().unwrap();
    assert_eq!((all.revision, all.states.len()), (100, 100));
}
