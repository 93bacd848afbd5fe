//! What every store promises, asked of each of them in the same words.

use std::{
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

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
    /// Another handle, whose way to the store can be cut; nothing where there is no way between the two.
    fn open_afar(&self) -> Option<Box<dyn Store>> {
        None
    }
    /// Cuts that way.
    fn cut(&self) {}
    /// Ends the cut.
    fn heal(&self) {}
    /// Makes the copy that a [`Harm::Rollback`] goes back to.
    fn put_aside(&self) {}
    /// Does this to what is kept, and comes back when it is over. False: it can't happen to a store of this kind.
    fn suffers(&self, harm: Harm) -> bool {
        let _ = harm;
        false
    }
}

/// What can happen to what is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Harm {
    /// Of the commits only the last is still to be had one by one.
    Gap,
    /// All is gone that can be had from elsewhere.
    Reset,
    /// An older copy of it is in its place.
    Rollback,
    /// The last write is not whole.
    TornWrite,
    /// Whoever keeps it is killed and started again.
    Restart,
}

pub(crate) fn state(enabled: bool) -> State {
    State {
        enabled,
        reason: "because of \"this\"\nand\u{2028}that".to_owned(),
        updated_by: "ada".to_owned(),
        updated_at: Some(UnixMillis(1_000)),
        expires_at: (!enabled).then_some(UnixMillis(61_000)),
        source: Source::Api,
        ..State::default()
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

/// All promises, of one kind. Prints which of them it kept.
pub(crate) fn every_promise(name: &str, kind: impl Fn() -> Box<dyn Kind>) {
    let begun = Instant::now();
    let (mut kept, mut void): (Vec<&str>, Vec<&str>) = Default::default();
    for (promise, keeps) in PROMISES {
        let side = if keeps(&*kind()) { &mut kept } else { &mut void };
        side.push(promise);
    }
    let (kept, void) =
        (kept.join(", "), if void.is_empty() { "nothing" } else { &void.join(", ") });
    println!("{name} keeps: {kept}. Can't happen to it: {void}. {:.1?}", begun.elapsed());
}

/// Each answers whether it is for a store of this kind.
type Promise = fn(&dyn Kind) -> bool;

const PROMISES: [(&str, Promise); 14] = [
    ("nothing is not an error", a_new_store_has_nothing_and_says_so_without_error),
    ("the last save is loaded", the_last_save_is_what_is_loaded),
    ("the audit", the_audit_gives_its_last_entries_the_oldest_first),
    ("CAS", a_save_over_another_revision_is_refused_and_changes_nothing),
    ("CAS of two", the_slower_of_two_is_told_what_the_quicker_one_made),
    ("CAS of four", a_hundred_races_lose_nothing),
    ("order", others_hear_of_every_change_in_order),
    ("gap", whoever_missed_commits_has_them_all_in_the_end),
    ("partition", whoever_was_cut_off_comes_back_and_lifts_nothing),
    ("restart", a_restart_finds_what_was_saved),
    ("restart of what keeps it", |kind| no_kill_is_lifted_by(Harm::Restart, kind)),
    ("reset", |kind| no_kill_is_lifted_by(Harm::Reset, kind)),
    ("torn write", |kind| no_kill_is_lifted_by(Harm::TornWrite, kind)),
    ("rollback", |kind| no_kill_is_lifted_by(Harm::Rollback, kind)),
];

fn a_new_store_has_nothing_and_says_so_without_error(kind: &dyn Kind) -> bool {
    let mut store = kind.open();
    assert_eq!(store.load().unwrap(), None);
    assert_eq!(store.audit(10).unwrap(), []);
    assert_eq!(store.notices(), [""; 0]);
    true
}

fn the_last_save_is_what_is_loaded(kind: &dyn Kind) -> bool {
    let mut store = kind.open();
    store.load().unwrap();
    for revision in [1, 2, 3] {
        store.save(revision - 1, &saved(revision)).unwrap();
        assert_eq!(loaded(&mut *store), Some(saved(revision)));
    }
    true
}

fn a_save_over_another_revision_is_refused_and_changes_nothing(kind: &dyn Kind) -> bool {
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
    true
}

fn the_audit_gives_its_last_entries_the_oldest_first(kind: &dyn Kind) -> bool {
    let mut store = kind.open();
    for revision in 1..=5 {
        store.append_audit(&flip(revision)).unwrap();
    }
    assert_eq!(store.audit(2).unwrap(), [flip(4), flip(5)]);
    assert_eq!(store.audit(100).unwrap(), (1..=5).map(flip).collect::<Vec<_>>());
    assert_eq!(store.audit(0).unwrap(), []);
    true
}

fn a_restart_finds_what_was_saved(kind: &dyn Kind) -> bool {
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
    true
}

fn the_slower_of_two_is_told_what_the_quicker_one_made(kind: &dyn Kind) -> bool {
    if !kind.is_shared() {
        return false;
    }
    let (mut quick, mut slow) = (kind.open(), kind.open());
    quick.load().unwrap();
    slow.load().unwrap();
    quick.save(0, &saved(1)).unwrap();
    let refused = slow.save(0, &Saved { revision: 1, ..Saved::default() });
    let Err(StoreError::Moved { newest }) = refused else { panic!("{refused:?}") };
    assert_eq!(unmarked(*newest), saved(1));
    slow.save(1, &saved(2)).unwrap();
    assert_eq!(loaded(&mut *quick), Some(saved(2)));
    true
}

fn others_hear_of_every_change_in_order(kind: &dyn Kind) -> bool {
    if !kind.is_shared() {
        return false;
    }
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
    true
}

fn a_hundred_races_lose_nothing(kind: &dyn Kind) -> bool {
    if !kind.is_shared() {
        return false;
    }
    let racers: Vec<_> = (0..4_u64)
        .map(|racer| {
            let mut store = kind.open();
            thread::spawn(move || {
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
    true
}

fn whoever_missed_commits_has_them_all_in_the_end(kind: &dyn Kind) -> bool {
    let Some(mut far) = kind.open_afar() else { return false };
    let mut near = kind.open();
    let news = knows_three(&mut *near, &mut *far);
    kind.cut();
    away(&news);
    // More than are read at once, and of which only the last can still be read.
    for revision in 4..=120 {
        near.save(revision - 1, &saved(revision)).unwrap();
    }
    assert!(kind.suffers(Harm::Gap));
    kind.heal();
    while newer(&news).states != saved(120).states {}
    assert_eq!(loaded(&mut *near), loaded(&mut *far));
    true
}

fn whoever_was_cut_off_comes_back_and_lifts_nothing(kind: &dyn Kind) -> bool {
    let Some(mut far) = kind.open_afar() else { return false };
    let mut near = kind.open();
    let news = knows_three(&mut *near, &mut *far);
    kind.cut();
    away(&news);
    near.save(3, &saved(4)).unwrap();
    let mut lifted = saved(3);
    lifted.revision = 4;
    lifted.states.insert(feature(1), state(true));
    assert!(matches!(far.save(3, &lifted), Err(StoreError::Unavailable { .. })));
    kind.heal();
    assert_eq!(newer(&news), saved(4));
    reached(&news);
    // It knows better now, and what it does then is heard on the other side.
    let refused = far.save(3, &lifted);
    assert!(matches!(refused, Err(StoreError::Moved { .. })), "{refused:?}");
    far.save(4, &saved(5)).unwrap();
    assert_eq!(loaded(&mut *near), Some(saved(5)));
    true
}

/// Both know the first three revisions, and the second one hears what comes.
fn knows_three(near: &mut dyn Store, far: &mut dyn Store) -> Receiver<News> {
    near.load().unwrap();
    for revision in 1..=3 {
        near.save(revision - 1, &saved(revision)).unwrap();
    }
    assert_eq!(loaded(far), Some(saved(3)));
    let news = ears(far);
    reached(&news);
    news
}

fn reached(news: &Receiver<News>) {
    while news.recv_timeout(PATIENCE).expect("it is told") != News::Reached {}
}

fn away(news: &Receiver<News>) {
    while !matches!(news.recv_timeout(PATIENCE).expect("it is told"), News::Away { .. }) {}
}

fn no_kill_is_lifted_by(harm: Harm, kind: &dyn Kind) -> bool {
    let mut store = kind.open();
    store.load().unwrap();
    for revision in 1..=3 {
        store.save(revision - 1, &saved(revision)).unwrap();
        store.append_audit(&flip(revision)).unwrap();
        if harm == Harm::Rollback && revision == 1 {
            kind.put_aside();
        }
    }
    let follower = kind.is_shared().then(|| {
        let news = ears(&mut *store);
        (store, news)
    });
    if !kind.suffers(harm) {
        return false;
    }
    let follower = follower.map(|(store, news)| {
        // So that it is sure that something happened.
        if harm != Harm::Restart {
            let told =
                || news.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{harm:?} is told"));
            while !matches!(told(), News::Loss { .. }) {}
        }
        store
    });
    let end = Instant::now() + PATIENCE;
    let stranger = loop {
        let mut stranger = kind.open();
        let found = loaded(&mut *stranger).unwrap_or_default();
        if found.revision >= 3 && found.states == saved(3).states {
            break stranger;
        }
        assert!(Instant::now() < end, "after {harm:?} a kill is missing: {found:?}");
        thread::sleep(Duration::from_millis(10));
    };
    agree_and_go_on(stranger, follower);
    true
}

/// Both know the same, and who is allowed to can lift a kill.
fn agree_and_go_on(mut stranger: Box<dyn Store>, mut follower: Option<Box<dyn Store>>) {
    let mut known = stranger.load().unwrap();
    if let Some(follower) = &mut follower {
        let end = Instant::now() + PATIENCE;
        // Bit for bit.
        while follower.load().unwrap() != known {
            assert!(Instant::now() < end, "they don't agree: {known:?}");
            thread::sleep(Duration::from_millis(10));
            known = stranger.load().unwrap();
        }
    }
    let known = known.expect("there were kills");
    let mut next = known.clone();
    next.revision += 1;
    next.states.insert(feature(1), state(true));
    stranger.save(known.revision, &next).unwrap();
    let last = follower.as_mut().unwrap_or(&mut stranger);
    assert_eq!(loaded(&mut **last), Some(unmarked(next)));
}
