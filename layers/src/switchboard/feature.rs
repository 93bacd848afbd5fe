//! Features, and the state of their killswitches.

use std::sync::Arc;

use super::UnixMillis;

/// A feature's index in every switchboard of this process. It never moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FeatureId(pub(super) u32);

/// Something that a killswitch can turn off, as it was declared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Feature {
    /// The name under which it is flipped.
    pub name: Arc<str>,
    /// What it does, for whoever has to decide.
    pub description: String,
    /// Whether the service as a whole counts as degraded while it is off.
    pub critical: bool,
    /// Whether it was declared by someone, rather than standing for a route or learnt from a store. Only declared features
    /// count in totals.
    pub declared: bool,
    /// What clients are told while it is off; never an operator's reason.
    pub public_message: Option<Arc<str>>,
}

impl Feature {
    /// A feature of which only the name is known.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.into(),
            description: String::new(),
            critical: false,
            declared: false,
            public_message: None,
        }
    }
}

/// Who decided the state of a killswitch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "kebab-case")
)]
#[non_exhaustive]
pub enum Source {
    /// Nobody: it is on because nothing says otherwise.
    #[default]
    Default,
    /// An operator through the admin API.
    Api,
    /// An operator through the command line.
    Cli,
    /// The auto-disable meter.
    Auto,
    /// An environment variable, which wins over every store.
    Env {
        /// Its name.
        variable: Arc<str>,
    },
    /// A kill that ran out.
    Expiry,
}

impl Source {
    /// The stable word for it.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Api => "api",
            Self::Cli => "cli",
            Self::Auto => "auto",
            Self::Env { .. } => "env",
            Self::Expiry => "schedule",
        }
    }
}

/// The state of one killswitch.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct State {
    /// On, or off.
    pub enabled: bool,
    /// Why.
    pub reason: String,
    /// Who.
    pub updated_by: String,
    /// Since when. Nothing: since the start.
    pub updated_at: Option<UnixMillis>,
    /// When a kill lifts itself.
    pub expires_at: Option<UnixMillis>,
    /// By what way it came.
    pub source: Source,
}

impl State {
    /// Held off by an environment variable.
    pub fn held_off(variable: &str) -> Self {
        Self {
            enabled: false,
            reason: format!("the environment says {variable}=false"),
            updated_by: "env".to_owned(),
            updated_at: None,
            expires_at: None,
            source: Source::Env { variable: variable.into() },
        }
    }

    /// On again because the kill ran out.
    pub(super) fn expired(kill: &Self, now: UnixMillis) -> Self {
        Self {
            enabled: true,
            reason: format!("expired: {}", kill.reason),
            updated_by: kill.updated_by.clone(),
            updated_at: Some(now),
            expires_at: None,
            source: Source::Expiry,
        }
    }
}

impl Default for State {
    fn default() -> Self {
        Self {
            enabled: true,
            reason: String::new(),
            updated_by: String::new(),
            updated_at: None,
            expires_at: None,
            source: Source::Default,
        }
    }
}
