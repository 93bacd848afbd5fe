//! A flip: one change to the switchboard, and why it may be refused.

use std::{error::Error, fmt, sync::Arc};

use super::{
    UnixMillis,
    feature::Source,
    kill::{KILLS_MAX, Terms},
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
    /// When the time of a kill is over. Ignored when turning on.
    pub expires_at: Option<UnixMillis>,
    /// Whom it is for, how seriously it is meant, from when, and what becomes of it in the end.
    pub terms: Terms,
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
    /// The kill that is to be lifted isn't there.
    NoSuchKill {
        /// The feature.
        feature: Arc<str>,
    },
    /// The feature has as many kills as it may.
    TooManyKills {
        /// The feature.
        feature: Arc<str>,
    },
    /// A kill that would be over before it begins.
    EndsBeforeItStarts,
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
            Self::NoSuchKill { feature } => write!(f, "{feature} has no such kill"),
            Self::TooManyKills { feature } => {
                write!(f, "{feature} has {KILLS_MAX} kills already; lift one of them first")
            }
            Self::EndsBeforeItStarts => f.write_str("a kill has to begin before it ends"),
        }
    }
}

impl Error for FlipError {}
