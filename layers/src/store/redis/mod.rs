//! The store in Redis: what a fleet shares.
//!
//! | key | is |
//! |---|---|
//! | `{NAMESPACE}:head` | the revision, the commit that made it, the life of the store, the lives it was filled from, and how many states there are |
//! | `{NAMESPACE}:states` | each feature's state, as JSON |
//! | `{NAMESPACE}:log` | a Stream of the commits, its ids `REVISION-0`, each with what it changed and the commit before it |
//! | `{NAMESPACE}:audit` | a Stream of who did what, each entry sealed with the hash of the one before it |
//! | `{NAMESPACE}:NAME` | a Stream per [outlet](Store::outlet), such as the gateways' `breaker-events` |
//! | `{NAMESPACE}:instances` | what revision each process serves, and when it last said so |
//! | `killswitch:FEATURE` | a copy of a state for people with redis-cli; written after the commit, never read |
//!
//! **Writing** is one Lua script: it compares what is there with what the commit follows, and changes head, states and log
//! together or nothing. A commit that the server gets to after its writer has stopped waiting is left by the script, by the
//! server's own clock.
//!
//! **Reading** is one thread ([`Store::follow`]): it blocks on the log, so that a commit wakes it at once, in order; once a
//! second it compares the head, and every tenth time all states. A commit that doesn't follow what is known, or a head that
//! isn't what it should be, makes it read everything anew.
//!
//! **Loss never un-kills.** What is known here is only replaced by what follows it (see `known.rs`). A store that was emptied,
//! went back to an older copy of itself, lost some of its keys or has something in them that makes no sense is filled again
//! with what is known and what can still be read there; a feature that either has as off is off. That is told once. A key
//! of ours expires never: an expiry is data.
//!
//! **Away is not lost.** Questions take at most [`Settings::timeout`]; a connection that fails is made anew, after a wait that
//! grows to half a second, with jitter. Meanwhile what is known stays; the mirror, if there is one, has it for the next start.

mod connection;
mod known;
mod mirror;
mod outlet;
mod questions;
mod reader;
mod server;
mod settings;
#[cfg_attr(not(feature = "redis-tls"), path = "no_tls.rs")]
mod tls;
mod trail;

pub use settings::{Identity, Settings, Tls, Topology, host};

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use self::{
    known::{Found, Known, Verdict},
    mirror::Mirror,
    questions::{Beat, Clock, Fate, Follows, Keys},
    server::{Line, Server},
    trail::Trail,
};
use super::{AuditEntry, Hear, Instance, Instances, News, Outlet, Saved, Store, StoreError};
use crate::switchboard::{UnixMillis, feature::State};

/// A process counts as one of the fleet until this long after its last sign of life.
pub const SILENCE_MAX_MS: u64 = 10_000;

/// How often a store that changes under the hand is looked at anew.
const TRIES: usize = 5;

/// A store in Redis. See the [module](self).
#[derive(Debug)]
pub struct RedisStore {
    shared: Arc<Shared>,
    line: Mutex<Line>,
    trail: Trail,
    reader: Option<JoinHandle<()>>,
    acknowledged: Option<u32>,
}

/// What the writer's thread and the reader's both work with.
struct Shared {
    settings: Settings,
    keys: Keys,
    server: Server,
    known: Mutex<Known>,
    clock: Mutex<Option<Clock>>,
    served: AtomicU64,
    /// Whether the reader has a connection that works.
    reached: AtomicBool,
    /// How often it had none any more.
    outages: AtomicU64,
    replicas: AtomicU32,
    mirror: Option<Mirror>,
    /// Kills that the mirror has because Redis hasn't.
    unkept: Mutex<BTreeMap<String, State>>,
    /// Copies for people that are not written yet.
    copies: Mutex<BTreeMap<String, State>>,
    notices: Mutex<Vec<String>>,
    hear: Mutex<Option<Hear>>,
    stopping: Mutex<bool>,
    stopped: Condvar,
}

impl RedisStore {
    /// A store on this server. Nothing is asked of it yet: a gateway has to start without it, too.
    ///
    /// # Errors
    /// If an address makes no sense.
    pub fn open(settings: Settings) -> Result<Self, StoreError> {
        let keys = Keys::new(&settings.namespace);
        let server = Server::new(&settings, keys.head.clone())?;
        let mut notices = Vec::new();
        let mirror = settings.mirror.as_deref().and_then(|directory| {
            Mirror::open(directory).map_err(|notice| notices.push(notice)).ok()
        });
        let shared = Shared {
            settings,
            keys,
            server: server.clone(),
            known: Mutex::default(),
            clock: Mutex::default(),
            served: AtomicU64::new(0),
            reached: AtomicBool::new(false),
            outages: AtomicU64::new(0),
            replicas: AtomicU32::new(0),
            mirror,
            unkept: Mutex::default(),
            copies: Mutex::default(),
            notices: Mutex::new(notices),
            hear: Mutex::default(),
            stopping: Mutex::new(false),
            stopped: Condvar::new(),
        };
        Ok(Self {
            trail: Trail::new(shared.keys.audit.clone()),
            shared: Arc::new(shared),
            line: Mutex::new(Line::new(server)),
            reader: None,
            acknowledged: None,
        })
    }

    /// Checks the seal of every entry of the audit and that each follows the one before it; how many there are.
    ///
    /// # Errors
    /// With the first entry at fault, or if the audit can't be read.
    pub fn verify_audit(&mut self) -> Result<u64, StoreError> {
        let line = self.line.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.trail.verify(line)
    }

    fn line(&mut self) -> &mut Line {
        self.line.get_mut().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for RedisStore {
    /// What is known: of the server, or where that is away, of the mirror. That is never an error; a notice tells.
    fn load(&mut self) -> Result<Option<Saved>, StoreError> {
        let shared = self.shared.clone();
        shared.recall();
        if let Err(error) = shared.reconcile(self.line()) {
            let revision = shared.known().saved.revision;
            let known = if revision == 0 {
                "nothing is known of it".to_owned()
            } else {
                format!("revision {revision} of the mirror stands in")
            };
            shared.notice(format!("{error}; {known}"));
        }
        let saved = shared.known().saved.clone();
        Ok((saved.revision > 0).then_some(saved))
    }

    fn save(&mut self, over: u64, saved: &Saved) -> Result<(), StoreError> {
        let shared = self.shared.clone();
        shared.wake(self.line());
        for _ in 0..TRIES {
            let line = self.line.get_mut().unwrap_or_else(PoisonError::into_inner);
            let known = shared.known().clone();
            if known.saved.revision != over {
                return Err(StoreError::Moved { newest: Box::new(known.saved) });
            }
            let (next, changed) = next(&known, saved);
            let token = known.token();
            let follows =
                Follows { token: &token, commit: &known.saved.mark.commit, replaces: false };
            let clock = *shared.clock();
            let fate = questions::commit(line, &shared.keys, &follows, &next, &changed, clock);
            if fate.is_err() {
                shared.remember(&changed);
            }
            match fate? {
                Fate::Kept => {
                    shared.accept(next, changed);
                    shared.remember(&BTreeMap::new());
                    // What one server has can die with it, so the operator is told how many have it.
                    let has_replicas = shared.replicas.load(Relaxed) > 0;
                    self.acknowledged = has_replicas.then(|| questions::wait(line).unwrap_or(0));
                    if self.reader.is_none() {
                        shared.write_copies(self.line());
                    }
                    return Ok(());
                }
                Fate::Moved | Fate::Late => shared.reconcile(line)?,
            }
        }
        Err(StoreError::Unavailable {
            what: "it changes faster than it can be followed".to_owned(),
        })
    }

    fn append_audit(&mut self, entry: &AuditEntry) -> Result<(), StoreError> {
        let line = self.line.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.shared.wake(line);
        self.trail.append(line, entry)
    }

    fn audit(&mut self, last: usize) -> Result<Vec<AuditEntry>, StoreError> {
        let line = self.line.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.shared.wake(line);
        let (entries, changed) = self.trail.tail(line, last)?;
        if changed > 0 {
            self.shared.notice(format!(
                "{changed} entries of the audit in Redis aren't what was written, and are left out"
            ));
        }
        Ok(entries)
    }

    fn unkept(&mut self) -> BTreeMap<String, State> {
        self.shared.unkept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn notices(&mut self) -> Vec<String> {
        std::mem::take(&mut self.shared.notices.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn follow(&mut self, hear: Hear) {
        *self.shared.hear.lock().unwrap_or_else(PoisonError::into_inner) = Some(hear);
        if self.reader.is_some() {
            return;
        }
        let shared = self.shared.clone();
        let spawned = thread::Builder::new()
            .name("redis-reader".to_owned())
            .spawn(move || reader::run(&shared));
        match spawned {
            Ok(reader) => self.reader = Some(reader),
            Err(error) => self.shared.notice(format!("nobody follows Redis: {error}")),
        }
    }

    fn clock(&self) -> Option<UnixMillis> {
        let clock = *self.shared.clock();
        clock.map(|clock| UnixMillis(clock.in_a(Duration::ZERO)))
    }

    fn serves(&mut self, revision: u64) {
        let shared = self.shared.clone();
        shared.served.store(revision, Relaxed);
        let name = &shared.settings.instance;
        let line = self.line();
        shared.wake(line);
        // Who isn't connected is told of by the reader's next beat; an operator needn't wait for that.
        if line.is_connected() {
            let _ = questions::beat(line, &shared.keys, name, revision);
        }
    }

    fn replicas(&self) -> Option<u32> {
        self.acknowledged
    }

    fn instances(&self) -> Option<Arc<dyn Instances>> {
        let line = Mutex::new(Line::new(self.shared.server.clone()));
        Some(Arc::new(Fleet { shared: self.shared.clone(), line }))
    }

    fn outlet(&self, name: &str, kept: usize) -> Option<Box<dyn Outlet>> {
        let key = self.shared.keys.stream(name);
        Some(Box::new(outlet::Stream::new(self.shared.server.clone(), key, kept)))
    }
}

/// The state after `known` that has these states, and what of it is different.
fn next(known: &Known, saved: &Saved) -> (Known, BTreeMap<String, State>) {
    let differs = |(name, state): &(&String, &State)| known.saved.states.get(*name) != Some(state);
    let changed: BTreeMap<String, State> = saved
        .states
        .iter()
        .filter(differs)
        .map(|(name, state)| (name.clone(), state.clone()))
        .collect();
    let mut next = known.clone();
    next.saved.states.extend(changed.clone());
    next.saved.revision = saved.revision;
    next.saved.mark.commit = fresh_name();
    if next.saved.mark.life.is_empty() {
        next.saved.mark.life = fresh_name();
    }
    (next, changed)
}

/// A name that nobody else gives.
fn fresh_name() -> String {
    format!("{:016x}{:016x}", fastrand::u64(..), fastrand::u64(..))
}

impl Shared {
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn clock(&self) -> MutexGuard<'_, Option<Clock>> {
        self.clock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets a line know what the reader knows of the server.
    fn wake(&self, line: &mut Line) {
        if self.reached.load(Relaxed) {
            line.wake(self.outages.load(Relaxed));
        }
    }

    /// Takes over what the mirror has, once.
    fn recall(&self) {
        let mut known = self.known();
        if known.saved.revision > 0 {
            return;
        }
        let mut notices = Vec::new();
        if let Some(saved) = self.mirror.as_ref().and_then(|mirror| mirror.load(&mut notices)) {
            known.saved = saved;
        }
        if let Some(mirror) = &self.mirror {
            *self.unkept.lock().unwrap_or_else(PoisonError::into_inner) =
                mirror.load_unkept(&mut notices);
        }
        notices.into_iter().for_each(|notice| self.notice(notice));
    }

    /// Keeps the kills among these for the next start, because Redis hasn't. Without any, forgets those before.
    fn remember(&self, unkept: &BTreeMap<String, State>) {
        let Some(mirror) = &self.mirror else { return };
        let kills = unkept.iter().filter(|(_, state)| state.restricts());
        let kills: BTreeMap<_, _> =
            kills.map(|(name, state)| (name.clone(), state.clone())).collect();
        let mut remembered = self.unkept.lock().unwrap_or_else(PoisonError::into_inner);
        if *remembered == kills {
            return;
        }
        match mirror.keep_unkept(kills.clone()) {
            Ok(()) => *remembered = kills,
            Err(notice) => self.notice(notice),
        }
    }

    /// Looks at everything that stands in the store, and takes it over or mends it.
    fn reconcile(&self, line: &mut Line) -> Result<(), StoreError> {
        for _ in 0..TRIES {
            let revision = self.known().saved.revision;
            let (found, clock) = questions::look(line, &self.keys, revision, true)?;
            *self.clock() = Some(clock);
            let known = self.known().clone();
            if known.saved.revision != revision {
                continue;
            }
            match known.judge(&found) {
                Verdict::Same => return Ok(()),
                Verdict::Newer => {
                    self.accept(Known::adopt(found), BTreeMap::new());
                    return Ok(());
                }
                Verdict::Lost(what) => {
                    if self.mend(line, &known, &found, &what)? == Fate::Kept {
                        return Ok(());
                    }
                }
            }
        }
        Err(StoreError::Unavailable {
            what: "it changes faster than it can be followed".to_owned(),
        })
    }

    fn mend(
        &self,
        line: &mut Line,
        known: &Known,
        found: &Found,
        what: &str,
    ) -> Result<Fate, StoreError> {
        let next = known.mend(found, fresh_name(), fresh_name());
        let follows = Follows { token: &found.token, commit: "", replaces: true };
        let clock = *self.clock();
        let all = next.saved.states.clone();
        let fate = questions::commit(line, &self.keys, &follows, &next, &all, clock)?;
        if fate == Fate::Kept {
            let (revision, states) = (next.saved.revision, all.len());
            self.accept(next, all);
            self.tell(News::Loss {
                what: format!("{what}; filled again with {states} states as revision {revision}"),
            });
        }
        Ok(fate)
    }

    /// From now on this is what is known. The other thread may have been quicker, and further.
    fn accept(&self, next: Known, changed: BTreeMap<String, State>) {
        let mut known = self.known();
        if next.saved.revision <= known.saved.revision {
            return;
        }
        *known = next;
        let saved = known.saved.clone();
        drop(known);
        self.copies.lock().unwrap_or_else(PoisonError::into_inner).extend(changed);
        self.tell(News::Newer(saved));
        let newest = || self.known().saved.clone();
        if let Some(Err(notice)) = self.mirror.as_ref().map(|mirror| mirror.keep(newest)) {
            self.notice(notice);
        }
    }

    /// Writes the copies for people. They are never read, so a failure is nobody's loss.
    fn write_copies(&self, line: &mut Line) {
        let copies =
            std::mem::take(&mut *self.copies.lock().unwrap_or_else(PoisonError::into_inner));
        let server = line.server.clone();
        for (feature, state) in &copies {
            if line
                .ask(|connection| server.tell(connection, &questions::mirror(feature, state)))
                .is_err()
            {
                return;
            }
        }
    }

    fn tell(&self, news: News) {
        let hear = self.hear.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match hear {
            Some(hear) => hear(news),
            None => match news {
                News::Loss { what } | News::Away { why: what } => self.notice(what),
                News::Warnings(warnings) => warnings.into_iter().for_each(|what| self.notice(what)),
                News::Newer(_) | News::Reached => {}
            },
        }
    }

    /// Once, however often it is found before someone asks.
    fn notice(&self, notice: String) {
        let mut notices = self.notices.lock().unwrap_or_else(PoisonError::into_inner);
        if !notices.contains(&notice) && notices.len() < 100 {
            notices.push(notice);
        }
    }
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("settings", &self.settings).finish_non_exhaustive()
    }
}

impl Drop for RedisStore {
    fn drop(&mut self) {
        *self.shared.stopping.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.shared.stopped.notify_all();
        if let Some(reader) = self.reader.take() {
            // A panic has been printed by its own thread.
            let _ = reader.join();
        }
        let shared = self.shared.clone();
        let line = self.line();
        if line.is_connected() {
            let _ = questions::leave(line, &shared.keys, &shared.settings.instance);
        }
    }
}

/// The processes that share the store, asked over a connection of its own.
#[derive(Debug)]
struct Fleet {
    shared: Arc<Shared>,
    line: Mutex<Line>,
}

impl Instances for Fleet {
    fn own_name(&self) -> String {
        self.shared.settings.instance.clone()
    }

    fn list(&self) -> Result<Vec<Instance>, StoreError> {
        let mut line = self.line.lock().unwrap_or_else(PoisonError::into_inner);
        self.shared.wake(&mut line);
        let (beats, now) = questions::beats(&mut line, &self.shared.keys)?;
        let instance = |(name, revision, at): Beat| Instance {
            name,
            revision,
            seen_at: UnixMillis(at),
            silent_ms: now.saturating_sub(at),
        };
        let all = beats.into_iter().map(instance);
        Ok(all.filter(|instance| instance.silent_ms < SILENCE_MAX_MS).collect())
    }
}
