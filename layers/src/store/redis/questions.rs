//! What is asked of Redis, and how its answers read.

use std::{
    collections::BTreeMap,
    sync::LazyLock,
    time::{Duration, Instant},
};

use ::redis::{
    Cmd, RedisResult, Script, cmd,
    streams::{StreamId, StreamReadReply},
};

use super::{
    connection::Connection,
    known::{Found, Known},
    server::Line,
};
use crate::{
    store::{Mark, StoreError},
    switchboard::feature::State,
};

/// Bytes of one state. A reason has at most some hundred; what is larger was not written by us.
const STATE_BYTES_MAX: usize = 64 * 1024;
/// Commits that the log keeps. Who sleeps through more of them reads everything anew.
const LOG_MAX: usize = 100_000;
/// Commits that are read at once.
const READ_MAX: usize = 100;

macro_rules! script {
    ($file:literal) => {
        LazyLock::new(|| Script::new(concat!(include_str!("standing.lua"), include_str!($file))))
    };
}

static LOOK: LazyLock<Script> = script!("look.lua");
static COMMIT: LazyLock<Script> = script!("commit.lua");
static BEAT: LazyLock<Script> = script!("beat.lua");
pub(super) static AUDIT: LazyLock<Script> = script!("audit.lua");

/// The names of our keys: one hash tag, so that a cluster keeps them together.
#[derive(Debug, Clone)]
pub(super) struct Keys {
    pub(super) head: String,
    states: String,
    log: String,
    pub(super) audit: String,
    instances: String,
    /// The hash tag and the colon, for keys that are named later.
    prefix: String,
}

impl Keys {
    pub(super) fn new(namespace: &str) -> Self {
        let prefix = format!("{{{namespace}}}:");
        let key = |name: &str| format!("{prefix}{name}");
        Self {
            head: key("head"),
            states: key("states"),
            log: key("log"),
            audit: key("audit"),
            instances: key("instances"),
            prefix,
        }
    }

    /// The key of an outlet.
    pub(super) fn stream(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

/// The store's clock, as it was last heard.
#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    told: u64,
    at: Instant,
}

impl Clock {
    pub(super) fn in_a(self, while_: Duration) -> u64 {
        self.told + u64::try_from((self.at.elapsed() + while_).as_millis()).unwrap_or(u64::MAX / 2)
    }
}

/// What became of a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    Kept,
    /// The store no longer is what it should follow.
    Moved,
    /// The server got to it when nobody waited any more, and left it.
    Late,
}

/// One commit of the log.
pub(super) struct Logged {
    pub(super) revision: u64,
    pub(super) mark: Mark,
    pub(super) before: String,
    pub(super) changed: BTreeMap<String, State>,
}

pub(super) fn look(
    line: &mut Line,
    keys: &Keys,
    known: u64,
    whole: bool,
) -> Result<(Found, Clock), StoreError> {
    let answer: Vec<Vec<u8>> = line.ask_now(|connection| {
        let mut asked = LOOK.key(&keys.head);
        asked.key(&keys.states).key(&keys.log);
        asked.arg(known).arg(u8::from(whole)).arg(STATE_BYTES_MAX).invoke(connection)
    })?;
    let now = Instant::now();
    let mut parts = answer.into_iter();
    let mut text = || String::from_utf8_lossy(&parts.next().unwrap_or_default()).into_owned();
    let (token, fault, life, revision, commit, lineage, commit_at, last, told) =
        (text(), text(), text(), text(), text(), text(), text(), text(), text());
    let filled = |text: String| Some(text).filter(|text| !text.is_empty());
    let number = |text: &str| text.parse().unwrap_or(u64::MAX);
    let mut found = Found {
        token: token.into_bytes(),
        fault: filled(fault),
        mark: Mark { life, commit },
        revision: if revision.is_empty() { 0 } else { number(&revision) },
        lineage: serde_json::from_str(&lineage).unwrap_or_default(),
        commit_at_ours: filled(commit_at),
        last: number(&last),
        states: BTreeMap::new(),
    };
    while let (Some(name), Some(state)) = (parts.next(), parts.next()) {
        if let Ok(name) = String::from_utf8(name) {
            found.states.insert(name, serde_json::from_slice(&state).ok());
        }
    }
    Ok((found, Clock { told: told.parse().unwrap_or_default(), at: now }))
}

/// Commits what `next` has and `token` stands for what it follows; `changed` is all that differs, `whole` replaces everything.
pub(super) fn commit(
    line: &mut Line,
    keys: &Keys,
    follows: &Follows<'_>,
    next: &Known,
    changed: &BTreeMap<String, State>,
    clock: Option<Clock>,
) -> Result<Fate, StoreError> {
    let not_after = clock.map_or(0, |clock| clock.in_a(line.server.timeout));
    let saved = &next.saved;
    let mut asked = COMMIT.key(&keys.head);
    asked.key(&keys.states).key(&keys.log);
    asked.arg(follows.token).arg(u8::from(follows.replaces)).arg(not_after);
    asked.arg(&saved.mark.life).arg(saved.revision).arg(&saved.mark.commit);
    asked.arg(json(&next.lineage)).arg(follows.commit).arg(json(changed)).arg(LOG_MAX);
    for (name, state) in changed {
        asked.arg(name).arg(json(state));
    }
    let answer: String = line.ask(|connection| asked.invoke(connection))?;
    Ok(match answer.as_str() {
        "kept" => Fate::Kept,
        "late" => Fate::Late,
        _ => Fate::Moved,
    })
}

/// What a commit follows.
pub(super) struct Follows<'k> {
    pub(super) token: &'k [u8],
    pub(super) commit: &'k str,
    /// Whether nothing of what is there stays.
    pub(super) replaces: bool,
}

pub(super) fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("maps with text keys are always JSON")
}

/// Waits for commits after a revision. Nothing: none came.
pub(super) fn read(
    line: &mut Line,
    keys: &Keys,
    after: u64,
    wait: Duration,
) -> Result<Option<Vec<Option<Logged>>>, StoreError> {
    let timeout = line.server.timeout;
    let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX).max(1);
    let reply: Option<StreamReadReply> = line.ask_now(|connection| {
        connection.wait_for(wait + timeout);
        let asked = cmd("XREAD")
            .arg("COUNT")
            .arg(READ_MAX)
            .arg("BLOCK")
            .arg(wait_ms)
            .arg("STREAMS")
            .arg(&keys.log)
            .arg(format!("{after}-0"))
            .query(connection)?;
        connection.wait_for(timeout);
        Ok(asked)
    })?;
    let entries = reply.into_iter().flat_map(|reply| reply.keys).flat_map(|key| key.ids);
    let entries: Vec<_> = entries.map(|entry| logged(&entry)).collect();
    Ok((!entries.is_empty()).then_some(entries))
}

/// Nothing: not an entry of ours.
fn logged(entry: &StreamId) -> Option<Logged> {
    let text = |name: &str| entry.get::<String>(name);
    Some(Logged {
        revision: entry.id.strip_suffix("-0")?.parse().ok()?,
        mark: Mark { life: text("life")?, commit: text("commit")? },
        before: text("before")?,
        changed: serde_json::from_str(&text("states")?).ok()?,
    })
}

pub(super) fn beat(
    line: &mut Line,
    keys: &Keys,
    name: &str,
    revision: u64,
) -> Result<(), StoreError> {
    line.ask(|connection| {
        BEAT.key(&keys.instances).arg(name).arg(revision).invoke::<()>(connection)
    })
}

pub(super) fn leave(line: &mut Line, keys: &Keys, name: &str) -> Result<(), StoreError> {
    line.ask(|connection| cmd("HDEL").arg(&keys.instances).arg(name).exec(connection))
}

/// One process's last sign of life: its name, the revision that it serves, when.
pub(super) type Beat = (String, u64, u64);

/// All that ever beat, and the store's clock.
pub(super) fn beats(line: &mut Line, keys: &Keys) -> Result<(Vec<Beat>, u64), StoreError> {
    let (all, (seconds, micros)): (BTreeMap<String, String>, (u64, u64)) =
        line.ask(|connection| {
            let all = cmd("HGETALL").arg(&keys.instances).query(connection)?;
            Ok((all, cmd("TIME").query(connection)?))
        })?;
    let beat = |(name, beat): (String, String)| {
        let (revision, at) = beat.split_once(' ')?;
        Some((name, revision.parse().ok()?, at.parse().ok()?))
    };
    Ok((all.into_iter().filter_map(beat).collect(), seconds * 1000 + micros / 1000))
}

/// The copy of a state for people with redis-cli.
pub(super) fn mirror(feature: &str, state: &State) -> Cmd {
    let state = json(state);
    cmd("SET").arg(format!("killswitch:{feature}")).arg(state).take()
}

/// How the server is set up so that it may lose something, and how many replicas it has. Who may not ask is told nothing.
pub(super) fn set_up(connection: &mut Connection) -> RedisResult<(Vec<String>, u32)> {
    let mut warnings = Vec::new();
    let mut setting = |name: &str| -> RedisResult<Option<String>> {
        let found: RedisResult<BTreeMap<String, String>> =
            cmd("CONFIG").arg("GET").arg(name).query(connection);
        match found {
            Ok(mut found) => Ok(found.remove(name)),
            Err(error) if error.is_io_error() => Err(error),
            Err(_) => Ok(None),
        }
    };
    if let Some(policy) =
        setting("maxmemory-policy")?.filter(|policy| policy.starts_with("allkeys"))
    {
        warnings.push(format!(
            "Redis has the maxmemory-policy {policy}: when its memory is full it throws killswitches away; give it noeviction, \
             or this state a Redis of its own"
        ));
    }
    if setting("appendonly")?.is_some_and(|appendonly| appendonly == "no") {
        warnings.push(
            "Redis keeps no append-only file: when it ends, the flips since its last snapshot are lost there (gateways put \
             back what they know); set appendonly yes"
                .to_owned(),
        );
    }
    let info: String = match cmd("INFO").arg("replication").query(connection) {
        Err(error) if error.is_io_error() => return Err(error),
        told => told.unwrap_or_default(),
    };
    let replicas = info.lines().find_map(|line| line.strip_prefix("connected_slaves:"));
    Ok((warnings, replicas.and_then(|count| count.trim().parse().ok()).unwrap_or(0)))
}

/// Waits until a replica has what was committed over this connection; how many have.
pub(super) fn wait(line: &mut Line) -> Result<u32, StoreError> {
    line.ask(|connection| cmd("WAIT").arg(1).arg(100).query(connection))
}
