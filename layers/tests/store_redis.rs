//! The store in Redis against real servers: every promise of a store, and then what a server loses, damages or never says.
#![cfg(feature = "redis")]
#![allow(clippy::unwrap_used, reason = "in a test, also where a function helps it")]

mod conformance;
#[allow(dead_code, reason = "other tests reach these places over TLS")]
mod places;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
        mpsc::Receiver,
    },
    time::{Duration, Instant},
};

use conformance::{PATIENCE, ears, feature, flip, loaded, saved, state, unmarked};
use places::{
    InRedis, Place,
    server::{Server, until},
};
use portcullis::store::{
    News, RedisStore, Saved, Store, StoreError,
    redis::{Settings, Topology},
};
use tempfile::tempdir;

impl Server {
    fn settings(&self) -> Settings {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let mut settings = Settings::new(self.url());
        settings.instance = format!("test-{}", COUNT.fetch_add(1, Relaxed));
        // A machine that builds six other things takes its time.
        settings.timeout = Duration::from_secs(2);
        settings
    }

    fn store(&self) -> RedisStore {
        RedisStore::open(self.settings()).unwrap()
    }
}

fn every_promise(name: &str, place: Place) {
    let place = Arc::new(place);
    conformance::every_promise(name, || Box::new(InRedis::at(&place)));
}

#[test]
fn the_store_on_one_server_keeps_every_promise() {
    every_promise("the store in Redis, on one server,", Place::one_server(None));
}

#[test]
fn the_store_behind_three_sentinels_keeps_every_promise() {
    every_promise("the store in Redis, behind three Sentinels,", Place::three_sentinels(None));
}

#[test]
fn the_store_in_a_cluster_of_three_keeps_every_promise() {
    every_promise("the store in Redis, in a cluster of three,", Place::cluster_of_three(None));
}

/// A store with three kills that hears what happens, once it has reached the server.
fn three_kills(server: &Server) -> (RedisStore, Receiver<News>) {
    let mut store = server.store();
    store.load().unwrap();
    for revision in 1..=3 {
        store.save(revision - 1, &saved(revision)).unwrap();
    }
    let news = ears(&mut store);
    hears(&news, "the server is reached", |told| matches!(told, News::Reached));
    (store, news)
}

fn hears(news: &Receiver<News>, what: &str, is_it: impl Fn(&News) -> bool) -> News {
    loop {
        let told = news.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("{what} is told"));
        if is_it(&told) {
            return told;
        }
    }
}

fn loss(news: &Receiver<News>) -> String {
    match hears(news, "a loss", |told| matches!(told, News::Loss { .. })) {
        News::Loss { what } => what,
        _ => unreachable!(),
    }
}

/// A fault, and what its loss is called.
fn survives(fault: impl FnOnce(&Server), said: &str) {
    let server = Server::start();
    let (mut store, news) = three_kills(&server);
    fault(&server);
    let what = loss(&news);
    assert!(what.contains(said), "{what}");
    let after = loaded(&mut store).unwrap();
    assert_eq!(after.states, saved(3).states, "after {said}");
    assert!(after.revision > 3);
    // A stranger without any memory finds the same.
    assert_eq!(loaded(&mut server.store()).unwrap(), after);
    // Said once: the next two looks, each with a sign of life, find everything in order.
    let fleet = store.instances().unwrap();
    let seen = || fleet.list().unwrap()[0].seen_at.0;
    let first = seen();
    until("it has looked twice more", || seen() > first + 1_500);
    assert!(!news.try_iter().any(|told| matches!(told, News::Loss { .. })), "{said} is said once");
}

#[test]
fn a_flushed_store_is_filled_again() {
    survives(|server| drop(server.cli(&["FLUSHALL"])), "it is empty");
}

#[test]
fn evicted_states_are_written_again() {
    survives(|server| drop(server.cli(&["DEL", "{portcullis}:states"])), "its states are gone");
}

#[test]
fn an_evicted_head_is_written_again() {
    survives(|server| drop(server.cli(&["DEL", "{portcullis}:head"])), "its head is gone");
}

#[test]
fn an_evicted_log_is_begun_anew() {
    survives(|server| drop(server.cli(&["DEL", "{portcullis}:log"])), "its log is gone");
}

#[test]
fn one_lost_state_is_missed() {
    survives(
        |server| drop(server.cli(&["HDEL", "{portcullis}:states", "feature-0002"])),
        "some of its states are gone",
    );
}

#[test]
fn a_head_of_another_type_is_replaced() {
    survives(
        |server| {
            // At once, so that nobody looks in between.
            let script = "redis.call('DEL', KEYS[1]) return redis.call('LPUSH', KEYS[1], 'x')";
            server.cli(&["EVAL", script, "1", "{portcullis}:head"]);
        },
        "its head is a list",
    );
}

#[test]
fn a_revision_of_nonsense_is_replaced() {
    survives(
        |server| drop(server.cli(&["HSET", "{portcullis}:head", "revision", "many"])),
        "its head makes no sense",
    );
}

#[test]
fn a_state_of_random_bytes_leaves_what_was_known() {
    survives(
        |server| {
            server.cli(&["HSET", "{portcullis}:states", "feature-0001", "\u{1}{not json"]);
            // Whoever reads everything anew finds it; here that is the next commit that doesn't follow.
            server.cli(&["XADD", "{portcullis}:log", "9-0", "life", "x"]);
        },
        "the state of feature-0001 can't be read",
    );
}

#[test]
fn a_log_that_somebody_else_wrote_to_is_begun_anew() {
    let junk = ["XADD", "{portcullis}:log", "9-0", "life", "x"];
    survives(|server| drop(server.cli(&junk)), "its log ends with what nobody committed");
}

#[test]
fn a_log_whose_end_is_gone_takes_commits_again() {
    survives(
        |server| {
            server.cli(&["XADD", "{portcullis}:log", "9-0", "life", "x"]);
            server.cli(&["XDEL", "{portcullis}:log", "9-0"]);
        },
        "its log ends with what nobody committed",
    );
}

#[test]
fn a_store_that_went_back_to_an_older_copy_loses_no_kill() {
    let server = Server::with(&["--save", "", "--appendonly", "no", "--dbfilename", "dump.rdb"]);
    let mut store = server.store();
    store.load().unwrap();
    store.save(0, &saved(1)).unwrap();
    server.cli(&["SAVE"]);
    for revision in 2..=3 {
        store.save(revision - 1, &saved(revision)).unwrap();
    }
    let news = ears(&mut store);
    hears(&news, "the server is reached", |told| matches!(told, News::Reached));
    server.kill();
    server.start_again();
    let what = loss(&news);
    assert!(what.contains("it went back from revision 3 to 1"), "{what}");
    assert_eq!(loaded(&mut server.store()).unwrap().states, saved(3).states);
}

#[test]
fn a_restore_that_follows_is_believed_also_in_a_store_that_was_filled_again() {
    let server = Server::start();
    let (mut first, first_news) = three_kills(&server);
    let (mut second, mut third) = (server.store(), server.store());
    second.load().unwrap();
    third.load().unwrap();
    server.cli(&["FLUSHALL"]);
    loss(&first_news);
    let mended = loaded(&mut first).unwrap();
    let mut restored = mended.clone();
    restored.revision += 1;
    restored.states.insert(feature(1), state(true));
    first.save(mended.revision, &restored).unwrap();
    // Both slept through it all; both know that this follows what they knew.
    assert_eq!(loaded(&mut second).unwrap(), restored);
    assert_eq!(loaded(&mut third).unwrap(), restored);
    assert_eq!(second.notices(), [""; 0]);
}

#[test]
fn whoever_filled_the_store_without_knowing_of_a_kill_can_not_lift_it() {
    let server = Server::start();
    let (mut knows, news) = three_kills(&server);
    server.cli(&["FLUSHALL"]);
    let mut stranger = server.store();
    let mut theirs = Saved { revision: 1, ..Saved::default() };
    theirs.states.insert(feature(2), state(true));
    // The stranger may be quicker or slower than the mend; either way nothing is lifted but by who knew.
    if stranger.save(0, &theirs).is_ok() {
        loss(&news);
    }
    until("the kill is back", || {
        loaded(&mut server.store())
            .is_some_and(|saved| saved.states.get(&feature(2)) == Some(&state(false)))
    });
    assert!(!loaded(&mut knows).unwrap().states[&feature(2)].enabled);
}

#[test]
fn a_start_without_the_server_knows_what_the_mirror_has() {
    let server = Server::start();
    let directory = tempdir().unwrap();
    let mut settings = server.settings();
    settings.mirror = Some(directory.path().to_owned());
    let mut store = RedisStore::open(settings.clone()).unwrap();
    store.load().unwrap();
    store.save(0, &saved(1)).unwrap();
    drop(store);
    server.kill();
    let begun = Instant::now();
    let mut store = RedisStore::open(settings.clone()).unwrap();
    assert_eq!(loaded(&mut store), Some(saved(1)));
    assert!(begun.elapsed() < Duration::from_millis(300), "{:?}", begun.elapsed());
    let notices = store.notices();
    assert!(notices.iter().any(|notice| notice.contains("of the mirror stands in")), "{notices:?}");
    assert!(matches!(store.save(1, &saved(2)), Err(StoreError::Unavailable { .. })));
    // A kill that nobody could keep is there after a restart, to be committed then.
    drop(store);
    let mut store = RedisStore::open(settings).unwrap();
    assert_eq!(loaded(&mut store), Some(saved(1)));
    assert_eq!(store.unkept().into_keys().collect::<Vec<_>>(), [feature(2)]);
    // An empty server is filled from it.
    server.start_again();
    let news = ears(&mut store);
    assert!(loss(&news).contains("it is empty"));
    let mended = loaded(&mut server.store()).unwrap();
    assert_eq!(mended.states, saved(1).states);
    until("it takes the kill", || {
        store.save(mended.revision, &Saved { revision: mended.revision + 1, ..saved(2) }).is_ok()
    });
    assert!(store.unkept().is_empty());
}

#[test]
fn an_outage_is_told_once_and_changes_nothing() {
    let server = Server::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let (mut store, news) = three_kills(&server);
    server.kill();
    hears(&news, "the outage", |told| matches!(told, News::Away { .. }));
    assert!(matches!(store.save(3, &saved(4)), Err(StoreError::Unavailable { .. })));
    server.start_again();
    let told = hears(&news, "the end of it", |told| !matches!(told, News::Newer(_)));
    assert_eq!(told, News::Reached);
    until("the store takes flips again", || store.save(3, &saved(4)).is_ok());
    assert_eq!(loaded(&mut server.store()).unwrap().states, saved(4).states);
}

#[test]
fn a_commit_that_nobody_waits_for_any_more_is_left_undone() {
    let server = Server::start();
    let mut settings = server.settings();
    settings.timeout = Duration::from_millis(200);
    let mut store = RedisStore::open(settings).unwrap();
    until("the server is quick enough once", || {
        store.load().unwrap();
        store.save(0, &saved(1)).is_ok() || loaded(&mut store).is_some()
    });
    server.signal("-STOP");
    let begun = Instant::now();
    assert!(matches!(store.save(1, &saved(2)), Err(StoreError::Unavailable { .. })));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    server.signal("-CONT");
    server.answers();
    assert_eq!(loaded(&mut server.store()), Some(saved(1)));
}

#[test]
fn a_half_open_connection_is_noticed() {
    let server = Server::start();
    let (_store, news) = three_kills(&server);
    server.signal("-STOP");
    let begun = Instant::now();
    hears(&news, "the silence", |told| matches!(told, News::Away { .. }));
    assert!(begun.elapsed() < Duration::from_secs(10));
    server.signal("-CONT");
    hears(&news, "its end", |told| matches!(told, News::Reached));
}

#[test]
fn an_evicting_server_is_warned_of() {
    let server = Server::with(&["--save", "", "--maxmemory-policy", "allkeys-lru"]);
    let (_store, news) = {
        let mut store = server.store();
        let news = ears(&mut store);
        (store, news)
    };
    let News::Warnings(warnings) =
        hears(&news, "the warning", |told| matches!(told, News::Warnings(_)))
    else {
        unreachable!()
    };
    assert!(
        warnings[0].contains("allkeys-lru") && warnings[0].contains("noeviction"),
        "{warnings:?}"
    );
    assert!(warnings[1].contains("appendonly"), "{warnings:?}");
}

#[test]
fn a_wrong_password_is_said_without_the_password() {
    let server = Server::with(&["--save", "", "--requirepass", "correct"]);
    let mut settings = Settings::new(format!("redis://:hunter2@127.0.0.1:{}", server.port));
    settings.instance = "x".to_owned();
    assert!(!format!("{settings:?}").contains("hunter2"));
    let mut store = RedisStore::open(settings).unwrap();
    assert_eq!(store.load().unwrap(), None);
    let notices = store.notices().join("\n");
    assert!(!notices.is_empty() && !notices.contains("hunter2"), "{notices}");
}

/// A server with three entries of an audit, added by two processes.
fn three_entries() -> (Server, RedisStore) {
    let server = Server::start();
    let (mut one, mut other) = (server.store(), server.store());
    one.append_audit(&flip(1)).unwrap();
    other.append_audit(&flip(2)).unwrap();
    one.append_audit(&flip(3)).unwrap();
    (server, other)
}

/// The ids of the entries.
fn ids(server: &Server) -> Vec<String> {
    let told = server.cli(&["XRANGE", "{portcullis}:audit", "-", "+"]);
    told.lines().step_by(3).map(str::to_owned).collect()
}

#[test]
fn the_audit_of_several_processes_is_one_chain() {
    let (server, mut store) = three_entries();
    let racers: Vec<_> = (0..3_u64)
        .map(|racer| {
            let mut store = server.store();
            std::thread::spawn(move || {
                for n in 0..20 {
                    store.append_audit(&flip(100 * racer + n)).unwrap();
                }
            })
        })
        .collect();
    racers.into_iter().for_each(|racer| racer.join().unwrap());
    assert_eq!(store.verify_audit().unwrap(), 63);
    assert_eq!(store.audit(100).unwrap().len(), 63);
}

#[test]
fn a_changed_entry_of_the_audit_is_found_left_out_and_said() {
    let (server, mut store) = three_entries();
    let told = server.cli(&["XRANGE", "{portcullis}:audit", "-", "+"]);
    let second = told.lines().nth(5).unwrap();
    let changed = second.replace("\"ada\"", "\"eve\"");
    let all = ids(&server);
    server.cli(&["XDEL", "{portcullis}:audit", &all[1], &all[2]]);
    server.cli(&["XADD", "{portcullis}:audit", "*", "entry", &changed]);
    let error = store.verify_audit().unwrap_err().to_string();
    assert!(
        error.contains("{portcullis}:audit is damaged") && error.contains("was changed"),
        "{error}"
    );
    assert_eq!(store.audit(10).unwrap(), [flip(1)]);
    assert!(store.notices().join("").contains("1 entries of the audit"));
}

#[test]
fn an_entry_taken_out_of_the_audit_breaks_the_chain() {
    let (server, mut store) = three_entries();
    assert_eq!(store.verify_audit().unwrap(), 3);
    server.cli(&["XDEL", "{portcullis}:audit", &ids(&server)[1]]);
    let error = store.verify_audit().unwrap_err().to_string();
    assert!(error.contains("doesn't follow the one before it"), "{error}");
}

#[test]
fn an_audit_without_its_oldest_entries_is_whole_and_goes_on() {
    let (server, mut store) = three_entries();
    server.cli(&["XTRIM", "{portcullis}:audit", "MAXLEN", "1"]);
    store.append_audit(&flip(4)).unwrap();
    assert_eq!(store.verify_audit().unwrap(), 2);
    assert_eq!(store.audit(10).unwrap(), [flip(3), flip(4)]);
    // Also where it is of another type, which nobody can add to.
    server.cli(&["SET", "{portcullis}:audit", "x"]);
    store.append_audit(&flip(5)).unwrap();
    assert_eq!(store.audit(10).unwrap(), [flip(5)]);
    let entry = server.cli(&["XRANGE", "{portcullis}:audit", "-", "+"]);
    assert!(!entry.contains("\"prev\":\"\""), "it follows one that is gone: {entry}");
}

#[test]
fn everybody_s_revision_is_known_by_name() {
    let server = Server::start();
    let (mut first, mut second) = (server.store(), server.store());
    for store in [&mut first, &mut second] {
        store.load().unwrap();
    }
    first.serves(3);
    second.serves(2);
    let fleet = first.instances().unwrap();
    let list = fleet.list().unwrap();
    assert_eq!(list.iter().map(|instance| instance.revision).collect::<Vec<_>>(), [3, 2]);
    assert_eq!(list[0].name, fleet.own_name());
    drop(second);
    assert_eq!(fleet.list().unwrap().len(), 1, "who ends leaves");
}

#[test]
fn people_with_redis_cli_find_a_copy() {
    let server = Server::start();
    let mut store = server.store();
    store.load().unwrap();
    store.save(0, &saved(1)).unwrap();
    let copy: serde_json::Value =
        serde_json::from_str(&server.cli(&["GET", "killswitch:feature-0001"])).unwrap();
    assert_eq!(copy["enabled"], false);
    // It is written, and never read.
    server.cli(&["SET", "killswitch:feature-0001", "{\"enabled\":true}"]);
    assert_eq!(loaded(&mut store), Some(saved(1)));
}

#[test]
fn sentinels_lead_to_the_new_master() {
    let place = Place::three_sentinels(None);
    let [master, replica] = &place.servers[..] else { unreachable!() };
    let mut store = RedisStore::open(place.settings("portcullis", false)).unwrap();
    store.load().unwrap();
    store.save(0, &saved(1)).unwrap();
    let news = ears(&mut store);
    hears(&news, "the master is reached", |told| matches!(told, News::Reached));
    until("the replica has it", || replica.cli(&["HGET", "{portcullis}:head", "revision"]) == "1");
    master.kill();
    until("the new master takes flips", || match store.save(1, &saved(2)) {
        Ok(()) => true,
        Err(StoreError::Moved { newest }) => unmarked(*newest).states == saved(2).states,
        Err(_) => false,
    });
    assert_eq!(loaded(&mut replica.store()).unwrap().states, saved(2).states);
}

#[test]
fn an_operator_is_told_how_many_replicas_have_a_flip() {
    let place = Place::three_sentinels(None);
    let mut store = RedisStore::open(place.settings("portcullis", false)).unwrap();
    store.load().unwrap();
    let news = ears(&mut store);
    hears(&news, "the master is reached", |told| matches!(told, News::Reached));
    let mut revision = 0;
    let mut told = |store: &mut RedisStore| {
        store.save(revision, &saved(revision + 1)).unwrap();
        revision += 1;
        store.replicas()
    };
    until("the replica has it", || told(&mut store) == Some(1));
    let replica = &place.servers[1];
    replica.signal("-STOP");
    assert_eq!(told(&mut store), Some(0), "a replica that stands still has nothing");
    replica.signal("-CONT");
    until("the replica has it again", || told(&mut store) == Some(1));
    // Where there is none, there is nothing to tell.
    let alone = Server::start();
    let mut store = alone.store();
    store.load().unwrap();
    store.save(0, &saved(1)).unwrap();
    assert_eq!(store.replicas(), None);
}

#[test]
fn a_cluster_says_which_node_holds_the_keys() {
    let place = Place::cluster_of_three(None);
    // Whichever node is asked first, the same keys are found.
    for node in &place.servers {
        let mut settings = node.settings();
        settings.topology = Topology::Cluster { nodes: vec![] };
        let mut store = RedisStore::open(settings).unwrap();
        let known = store.load().unwrap().unwrap_or_default();
        store.save(known.revision, &saved(known.revision + 1)).unwrap();
        assert_eq!(loaded(&mut store), Some(saved(known.revision + 1)));
    }
    let nodes = place.servers.iter();
    let copies =
        nodes.filter(|node| node.cli(&["GET", "killswitch:feature-0001"]).starts_with('{'));
    assert_eq!(copies.count(), 1, "the copy lies where its own name falls");
}
