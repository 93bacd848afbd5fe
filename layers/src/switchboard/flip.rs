//! A flip: one change to the switchboard, and why it may be refused.

use std::{error::Error, fmt, sync::Arc};

use super::{
    UnixMillis,
    feature::{Source, State},
};

/// A wish to turn features on or off. All of them are flipped, or none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flip {
    /// Which features.
    pub features: Vec<Arc<str>>,
    /// On, or off.
    pub enabled: bool,
    /// Why. Never empty.
    pub reason: String,
    /// Who.
    pub actor: String,
    /// By what way.
    pub source: Source,
    /// When a kill lifts itself. Ignored when turning on.
    pub expires_at: Option<UnixMillis>,
}

impl Flip {
    pub(super) fn state(&self, now: UnixMillis) -> State {
        State {
            enabled: self.enabled,
            reason: self.reason.clone(),
            updated_by: self.actor.clone(),
            updated_at: Some(now),
            expires_at: self.expires_at.filter(|_| !self.enabled),
            source: self.source.clone(),
        }
    }
}

/// Why a flip can't be done. Nothing has changed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum FlipError {
    /// Nobody declared such a feature.
    UnknownFeature {
        /// Its name.
        feature: Arc<str>,
    },
    /// A flip without a reason.
    NoReason,
    /// The environment holds the feature off, and wins.
    HeldByEnvironment {
        /// The feature.
        feature: Arc<str>,
        /// The variable that says so.
        variable: Arc<str>,
    },
}

impl fmt::Display for FlipError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UnknownFeature { feature } => write!(f, "there is no feature {feature}"),
            Self::NoReason => f.write_str("a flip needs a reason"),
            Self::HeldByEnvironment { feature, variable } => {
                write!(
                    f,
                    "{feature} is held off by the environment variable {variable}; unset it and restart"
                )
            }
        }
    }
}

impl Error for FlipError {}
