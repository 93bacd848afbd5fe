//! Which Redis, and how.

use std::{fmt, path::PathBuf, time::Duration};

/// Which Redis keeps the state, and how it is used.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Settings {
    /// `redis://user:password@host:port/database`, or `rediss://…` for TLS (feature `redis-tls`). With Sentinels, its address is
    /// not used, but its user, password and database are, and whether the server is reached over TLS.
    pub url: String,
    /// For `rediss://`: whom to believe, and who we are.
    pub tls: Tls,
    /// How the server is found.
    pub topology: Topology,
    /// The part in braces of all keys, so that they lie together in a cluster. Default `portcullis`.
    pub namespace: String,
    /// The name of this process among those that share the store. Default: the host's name and the process id.
    pub instance: String,
    /// The directory in which the newest known state is mirrored, so that a start without Redis knows what is off. Default:
    /// none.
    pub mirror: Option<PathBuf>,
    /// The longest that one question may take, and to connect. Default 250 ms: no request waits for it, an operator does.
    pub timeout: Duration,
}

/// How the server is found that holds the state.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Topology {
    /// It is the one of the URL.
    #[default]
    Single,
    /// Sentinels know.
    Sentinel {
        /// Their URLs, each with its own user and password where they ask for one.
        sentinels: Vec<String>,
        /// The name that they have for the server.
        master: String,
    },
    /// It is the node of a cluster that our keys fall to.
    Cluster {
        /// URLs of nodes beside the one of [`Settings::url`], any of which knows.
        nodes: Vec<String>,
    },
}

/// Whom to believe over TLS, and who we are there. The files are read again for each connection, so that renewed ones count.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Tls {
    /// A file (PEM) with the certificates of those who may vouch for a server. Default: whom this machine trusts.
    pub ca: Option<PathBuf>,
    /// What we show to a server that asks who we are. Default: nothing.
    pub identity: Option<Identity>,
    /// The name that each server has to prove. Default: the host of its address. Sentinels and nodes of a cluster tell each
    /// other's addresses as numbers, unless they are told to announce names; certificates seldom have numbers.
    pub server_name: Option<String>,
}

/// Who we are: files in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Our certificate, and those between it and whoever the server believes.
    pub certificates: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

impl Settings {
    /// The defaults for a server.
    pub fn new(url: impl Into<String>) -> Self {
        Self {
            url: url.into(),
            tls: Tls::default(),
            topology: Topology::Single,
            namespace: "portcullis".to_owned(),
            instance: format!("{}-{}", host(), std::process::id()),
            mirror: None,
            timeout: Duration::from_millis(250),
        }
    }
}

/// The name of this machine, or a word where it has none.
pub fn host() -> String {
    let told = std::fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let told = told.or_else(|| std::env::var("HOSTNAME").ok()).unwrap_or_default();
    if told.trim().is_empty() { "localhost".to_owned() } else { told.trim().to_owned() }
}

/// URLs have passwords in them.
impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { namespace, instance, mirror, timeout, .. } = self;
        f.debug_struct("Settings")
            .field("namespace", namespace)
            .field("instance", instance)
            .field("mirror", mirror)
            .field("timeout", timeout)
            .finish_non_exhaustive()
    }
}
