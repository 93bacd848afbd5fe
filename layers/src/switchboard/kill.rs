//! Kills: one act of turning a feature off, for whom, how seriously, from when, until when, and what then.
//!
//! A feature's [`State`](super::feature::State) says itself whether it is off for everybody. All else stands beside it as
//! [`Kill`]s: those with a scope, those that wait for their start, those that only watch. Several may be in force at once.
//!
//! **What happens at the end** of a kill, its maker decides. *Restore*: the feature is back at once. *Hold*: it stays off until
//! a person turns it on; the end only says when to look. *Ramp*: it comes back to 5 %, then 25 %, then all of those whom it
//! was taken from, a step's length each, so that a service that was spared isn't met by all of them at once, and so that
//! errors show while they are few: whoever counts them kills the feature again, and that kill replaces the ramp.
//!
//! Whether a kill is in force is data, not a question of the clock: [`State::elapsed`](super::feature::State::elapsed) makes
//! the next state when a start or an end has passed. So a request never asks what time it is.

use std::sync::Arc;

use super::{UnixMillis, feature::Source, flag::Rollout, scope::Scope};

/// Kills of one feature that can stand beside each other.
pub const KILLS_MAX: usize = 32;

/// How seriously a kill is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
pub enum Mode {
    /// The feature is off for whom it covers.
    #[default]
    Enforce,
    /// It is on, and whom it would have been off for is counted.
    Shadow,
    /// It is on, and whoever watches is given the refusal that its off-path would have made.
    Drill,
}

impl Mode {
    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Shadow => "shadow",
            Self::Drill => "drill",
        }
    }

    #[cfg(feature = "serde")]
    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What becomes of a feature when its kill's time is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
pub enum OnExpiry {
    /// It is back at once.
    #[default]
    Restore,
    /// It is back for 5 %, then for 25 %, then for all.
    Ramp {
        /// How long each step lasts.
        step_seconds: u32,
    },
    /// It stays off until somebody has looked.
    Hold,
}

impl OnExpiry {
    /// By steps of a minute, unless said otherwise.
    pub const RAMP: Self = Self::Ramp { step_seconds: 60 };

    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// What a flip says beyond on or off, and for whom. By default nothing: everybody, in earnest, at once.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Terms {
    /// Whom a kill is for; or, of a restore, which kills it lifts. By default everybody, and all of them.
    pub scope: Scope,
    /// How seriously a kill is meant.
    pub mode: Mode,
    /// When a kill begins. Nothing, or a time that has passed: at once.
    pub starts_at: Option<UnixMillis>,
    /// What becomes of the feature when a kill's time is over.
    pub on_expiry: OnExpiry,
    /// Where people talk about it: a link or a number.
    pub incident: Option<String>,
    /// The one kill that a restore lifts, by its [id](Kill::id).
    pub kill: Option<Arc<str>>,
}

impl Terms {
    /// Whether a kill on these terms turns the feature off for everybody, at once.
    pub fn are_plain(&self, now: UnixMillis) -> bool {
        self.mode == Mode::Enforce && self.scope.is_everything() && !self.begins_later(now)
    }

    pub(super) fn begins_later(&self, now: UnixMillis) -> bool {
        self.starts_at.is_some_and(|start| start > now)
    }
}

/// A kill that stands beside a feature's state.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Kill {
    /// Its name among the kills of its feature.
    pub id: Arc<str>,
    /// Whom it is for.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Scope::is_everything"))]
    pub scope: Scope,
    /// How seriously it is meant.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Mode::is_default"))]
    pub mode: Mode,
    /// Why.
    pub reason: String,
    /// Who.
    pub actor: String,
    /// By what way it came.
    pub source: Source,
    /// Where people talk about it.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub incident: Option<String>,
    /// When it was made.
    pub created_at: UnixMillis,
    /// When it begins. Nothing: it has begun.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub starts_at: Option<UnixMillis>,
    /// When its time is over; of one that [comes back](Kill::returning), when its step is.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub expires_at: Option<UnixMillis>,
    /// What becomes of the feature then.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "OnExpiry::is_default"))]
    pub on_expiry: OnExpiry,
    /// How far the feature is on its way back, once its time is over.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub returning: Option<Returning>,
}

/// How far a feature is on its way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Returning {
    /// For how many percent of those whom the kill was for it is back.
    pub percent: u32,
    /// The share that the kill was for.
    pub of_percent: Percent,
}

impl Returning {
    /// For how many percent it is back at first.
    pub const FIRST: u32 = RAMP[0];
}

/// A share in a form that compares and is written as a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "f64", into = "f64")
)]
pub struct Percent(pub Rollout);

impl TryFrom<f64> for Percent {
    type Error = String;

    fn try_from(percent: f64) -> Result<Self, String> {
        Rollout::percent(percent).map(Self).ok_or_else(|| format!("{percent} is no percentage"))
    }
}

impl From<Percent> for f64 {
    fn from(percent: Percent) -> Self {
        percent.0.as_percent()
    }
}

/// For how many percent a feature is back, step by step, before it is back for all.
const RAMP: [u32; 2] = [5, 25];

/// What time has made of a kill.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Elapsed {
    /// Nothing.
    Same,
    /// Another kill.
    Changed(Box<Kill>),
    /// It begins for everybody: its feature's own state takes it over.
    Begins,
    /// It is over.
    Over,
}

impl Kill {
    /// Whether it has begun.
    pub const fn has_begun(&self) -> bool {
        self.starts_at.is_none()
    }

    /// Whether the feature is off for whom it covers: in earnest, and now.
    pub fn enforces(&self) -> bool {
        self.has_begun() && self.mode == Mode::Enforce
    }

    /// When time changes something about it next.
    pub fn next_change(&self) -> Option<UnixMillis> {
        self.starts_at.or(self.expires_at)
    }

    /// Whether it takes the place of another: the same scope, meant alike, neither of them yet to begin.
    pub(super) fn replaces(&self, other: &Self) -> bool {
        let base = |kill: &Self| {
            kill.returning.map(|returning| {
                let share = Some(returning.of_percent.0).filter(|share| *share != Rollout::ALL);
                Scope { share, ..kill.scope.clone() }
            })
        };
        self.has_begun()
            && other.has_begun()
            && self.mode == other.mode
            && self.scope == base(other).unwrap_or_else(|| other.scope.clone())
    }

    pub(super) fn elapsed(&self, now: UnixMillis) -> Elapsed {
        if let Some(start) = self.starts_at {
            return match start <= now {
                false => Elapsed::Same,
                true if self.mode == Mode::Enforce && self.scope.is_everything() => Elapsed::Begins,
                true => Elapsed::Changed(Box::new(Self { starts_at: None, ..self.clone() })),
            };
        }
        let Some(end) = self.expires_at.filter(|end| *end <= now) else { return Elapsed::Same };
        match (self.on_expiry, self.mode) {
            (OnExpiry::Hold, Mode::Enforce) => {
                Elapsed::Changed(Box::new(Self { expires_at: None, ..self.clone() }))
            }
            (OnExpiry::Ramp { step_seconds }, Mode::Enforce) => {
                self.returned(end, step_seconds, now)
            }
            _ => Elapsed::Over,
        }
    }

    /// A step further on the way back.
    fn returned(&self, end: UnixMillis, step_seconds: u32, now: UnixMillis) -> Elapsed {
        let so_far = self.returning.map_or(0, |returning| returning.percent);
        let Some(percent) = RAMP.into_iter().find(|percent| *percent > so_far) else {
            return Elapsed::Over;
        };
        let step = u64::from(step_seconds).saturating_mul(1_000);
        // All gateways that see the end in time agree on when the step ends. One that was away for longer begins it now: what
        // it missed nobody has tried.
        let begun = if now.0 - end.0 < step { end } else { now };
        let whole = self
            .returning
            .map_or(self.scope.share.unwrap_or(Rollout::ALL), |returning| returning.of_percent.0);
        let mut next = self.clone();
        next.scope.share = Some(whole.of_it(100 - percent));
        next.returning = Some(Returning { percent, of_percent: Percent(whole) });
        next.expires_at = Some(UnixMillis(begun.0.saturating_add(step)));
        Elapsed::Changed(Box::new(next))
    }
}
