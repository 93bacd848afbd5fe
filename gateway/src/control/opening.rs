//! The first switchboard: what the configuration declares, what the store kept, and what the environment holds off.
//!
//! They win in this order, the last over the first: a feature is on by default; what was kept says otherwise; the environment
//! says otherwise again. A route can be killed by its own name (`route:<name>`) without being declared.
//!
//! A variable that says neither yes nor no is a fault: taking it for either would be a guess about an emergency.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;

use portcullis::store::redis::{Identity, RedisStore, Settings, Tls, Topology};
use portcullis::store::{EmbeddedStore, MemoryStore, Saved, Store, StoreError};
use portcullis::switchboard::Switchboard;
use portcullis::switchboard::feature::{Feature, State};
use portcullis::switchboard::flag::{Flag, Rollout};

use super::chain::Chain;
use crate::config::config::{self, Config};

const PREFIX: &str = "KILLSWITCH_";

/// The store, open, and the switchboard to begin with.
pub struct Opened {
    pub store: Box<dyn Store>,
    pub switchboard: Switchboard,
}

/// Why there is no switchboard to begin with.
#[derive(Debug)]
pub enum OpenError {
    Store(StoreError),
    /// A variable that says neither yes nor no.
    Environment {
        variable: String,
        value: String,
    },
}

impl OpenError {
    /// The exit code of the process that can't start.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Store(_) => 3,
            Self::Environment { .. } => 1,
        }
    }
}

/// Opens the store of the configuration and makes the first switchboard.
///
/// # Errors
/// If the store can't be opened or read, or if the environment is unclear.
pub fn open(config: &Config) -> Result<Opened, OpenError> {
    open_with(
        config,
        std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        }),
    )
}

fn open_with(
    config: &Config,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Opened, OpenError> {
    let mut store: Box<dyn Store> = match &config.store {
        config::Store::Embedded { directory } => Box::new(EmbeddedStore::open(directory)?),
        config::Store::Memory => Box::new(MemoryStore::new()),
        config::Store::Redis(redis) => Box::new(RedisStore::open(settings(redis, config))?),
    };
    let saved = store.load()?.unwrap_or_default();
    for notice in store.notices() {
        tracing::warn!(target: "portcullis::store", "{notice}");
    }
    let mut saved = saved;
    // What the process before this one had in force and couldn't get kept is in force from the first request on.
    saved.states.extend(store.unkept());
    let switchboard = first(config, &saved, environment)?;
    // Before the ports open, so that nobody waits for a gateway that isn't counted.
    store.serves(switchboard.revision());
    Ok(Opened { store, switchboard })
}

/// Several gateways run from one file and one directory, so each has a mirror under its own name.
fn settings(redis: &config::Redis, config: &Config) -> Settings {
    let listen = config.server.listen;
    let mut settings = Settings::new(&redis.url);
    settings.instance = redis
        .instance
        .clone()
        .unwrap_or_else(|| format!("{}:{}", portcullis::store::redis::host(), listen.port()));
    settings.mirror = Some(redis.directory.join(format!("redis-mirror-{}", listen.port())));
    settings.namespace.clone_from(&redis.namespace);
    settings.timeout = redis.timeout;
    let identity = redis.tls.identity.clone();
    settings.tls = Tls {
        ca: redis.tls.ca.clone(),
        identity: identity.map(|(certificates, key)| Identity { certificates, key }),
        server_name: redis.tls.server_name.clone(),
    };
    settings.topology = match &redis.topology {
        config::RedisTopology::Single => Topology::Single,
        config::RedisTopology::Sentinel { sentinels, master } => {
            Topology::Sentinel { sentinels: sentinels.clone(), master: master.clone() }
        }
        config::RedisTopology::Cluster { nodes } => Topology::Cluster { nodes: nodes.clone() },
    };
    settings
}

fn first(
    config: &Config,
    saved: &Saved,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Switchboard, OpenError> {
    let declared = Switchboard::new(features(config), config.flags.iter().map(flag));
    held(saved.restore(declared), environment)
}

fn features(config: &Config) -> impl Iterator<Item = Feature> {
    let declared = config.features.iter().map(|feature| Feature {
        name: feature.name.clone(),
        description: feature.description.clone(),
        critical: feature.critical,
        declared: true,
        public_message: feature.public_message.clone(),
        ..Feature::named(&feature.name)
    });
    let routes = config.routes.iter().map(|route| Feature {
        description: format!("everything that the route {} serves", route.name),
        ..Feature::named(&format!("route:{}", route.name))
    });
    declared.chain(routes)
}

fn flag(flag: &config::Flag) -> Flag {
    let rollout =
        Rollout::percent(flag.rollout_percentage).expect("percentages are checked in config");
    Flag { key: flag.key.clone(), enabled: flag.enabled, rollout }
}

/// The switchboard with all that the environment holds off. `=true` changes nothing: on is the default, and what was kept
/// wins over it.
fn held(
    mut board: Switchboard,
    environment: impl Iterator<Item = (String, String)>,
) -> Result<Switchboard, OpenError> {
    let names: Vec<_> = board.features().map(|(_, feature, _)| feature.name.clone()).collect();
    let variables: BTreeMap<_, _> =
        environment.filter(|(name, _)| name.starts_with(PREFIX)).collect();
    for (variable, value) in variables {
        let mut meant = names.iter().filter(|name| variable_of(name) == variable).peekable();
        if meant.peek().is_none() {
            tracing::warn!(target: "portcullis::change", "{variable} is set, but there is no such feature");
        }
        if is_on(&value).ok_or_else(|| OpenError::Environment {
            variable: variable.clone(),
            value: value.clone(),
        })? {
            continue;
        }
        for name in meant {
            tracing::info!(target: "portcullis::change", "KILLSWITCH DISABLED: {name} by env - {variable}={value}");
            board = board.with_state(name, State::held_off(&variable));
        }
    }
    Ok(board)
}

/// The variable of a feature: upper case, and an underscore for all that a variable's name can't hold.
fn variable_of(feature: &str) -> String {
    let letter = |letter: char| {
        if letter.is_ascii_alphanumeric() { letter.to_ascii_uppercase() } else { '_' }
    };
    PREFIX.chars().chain(feature.chars().map(letter)).collect()
}

fn is_on(value: &str) -> Option<bool> {
    match value.trim().to_ascii_lowercase().as_str() {
        "true" | "1" | "on" | "yes" | "enabled" => Some(true),
        "false" | "0" | "off" | "no" | "disabled" => Some(false),
        _ => None,
    }
}

impl From<StoreError> for OpenError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // The whole chain: the start-up line is all that an operator sees of it.
            Self::Store(error) => write!(f, "can't open the store: {}", Chain(error)),
            Self::Environment { variable, value } => {
                write!(f, "{variable} must be true or false, not {value:?}")
            }
        }
    }
}

/// Without a source: its text has the causes already.
impl Error for OpenError {}

#[cfg(test)]
mod tests {
    use super::*;
    use portcullis::switchboard::UnixMillis;
    use portcullis::switchboard::feature::Source;

    fn board(saved: &Saved, environment: &[(&str, &str)]) -> Result<Switchboard, OpenError> {
        let declared = Switchboard::new(
            ["order-creation", "reports", "route:orders.list"].map(Feature::named),
            [],
        );
        let environment =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        held(saved.restore(declared), environment)
    }

    fn killed() -> State {
        let kill = State::held_off("");
        State { source: Source::Api, updated_at: Some(UnixMillis(1)), ..kill }
    }

    #[test]
    fn false_in_the_environment_holds_a_feature_off() {
        let board = board(&Saved::default(), &[("KILLSWITCH_ORDER_CREATION", "False")]).unwrap();
        assert!(!board.is_enabled("order-creation"));
        assert!(board.is_enabled("reports"));
    }

    #[test]
    fn false_in_the_environment_wins_over_the_store() {
        let on = State { enabled: true, ..killed() };
        let saved =
            Saved { revision: 3, states: [("reports".to_owned(), on)].into(), ..Saved::default() };
        let board = board(&saved, &[("KILLSWITCH_REPORTS", "false")]).unwrap();
        assert!(!board.is_enabled("reports"));
        assert_eq!(board.revision(), 3);
    }

    #[test]
    fn true_in_the_environment_is_only_a_default() {
        let saved = Saved {
            revision: 3,
            states: [("reports".to_owned(), killed())].into(),
            ..Saved::default()
        };
        let board = board(&saved, &[("KILLSWITCH_REPORTS", "true")]).unwrap();
        assert!(!board.is_enabled("reports"));
    }

    #[test]
    fn a_route_can_be_held_off_too() {
        let board = board(&Saved::default(), &[("KILLSWITCH_ROUTE_ORDERS_LIST", "0")]).unwrap();
        assert!(!board.is_enabled("route:orders.list"));
    }

    #[test]
    fn a_store_that_cant_be_opened_tells_what_the_system_said() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("lock")).unwrap();
        let text = format!("[store]\ndirectory = {:?}\n", directory.path());
        let config = crate::config::parse("test.toml", &text, &|_| None).unwrap();
        let error = open(&config).err().expect("a lock that is a directory can't be written");
        assert!(error.to_string().contains("lock: Is a directory"), "{error}");
        assert_eq!(error.exit_code(), 3);
    }

    #[test]
    fn an_unclear_variable_is_a_fault_that_names_it() {
        let error = board(&Saved::default(), &[("KILLSWITCH_REPORTS", "fasle")]).unwrap_err();
        assert_eq!(error.to_string(), r#"KILLSWITCH_REPORTS must be true or false, not "fasle""#);
        assert_eq!(error.exit_code(), 1);
    }
}
