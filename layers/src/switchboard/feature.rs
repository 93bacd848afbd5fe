//! Features, and the state of their killswitches.

use std::sync::Arc;

use super::{
    UnixMillis,
    effect::Effect,
    flip::{Flip, FlipError},
    kill::{Elapsed, KILLS_MAX, Kill, Mode, OnExpiry},
    scope::Scope,
    share::Salt,
};

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
    /// Who answers for it.
    pub owner: Option<String>,
    /// Where it is written what to do.
    pub runbook: Option<String>,
    /// Features that are off while this one is, for whom it is.
    pub implies: Vec<Arc<str>>,
    /// What holds as long as nobody ever decided about it.
    pub when_unknown: WhenUnknown,
    /// What happens to a request while it is off.
    pub effect: Effect,
}

/// What holds as long as nobody ever decided about a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WhenUnknown {
    /// It is on.
    #[default]
    Open,
    /// It is off, until somebody turns it on.
    Closed,
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
            owner: None,
            runbook: None,
            implies: Vec::new(),
            when_unknown: WhenUnknown::Open,
            effect: Effect::Reject,
        }
    }

    /// Its state as long as nobody ever decided about it.
    pub fn unknown(&self) -> State {
        match self.when_unknown {
            WhenUnknown::Open => State::default(),
            WhenUnknown::Closed => State {
                enabled: false,
                reason: "nobody has turned it on yet".to_owned(),
                ..State::default()
            },
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
    /// Time: a kill ran out, or began as planned.
    Expiry,
    /// An alert manager, by a URL that can do one thing.
    Trigger,
    /// A file or a command on the gateway's own machine, which wins over every store.
    BreakGlass,
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
            Self::Trigger => "trigger",
            Self::BreakGlass => "break-glass",
        }
    }
}

/// The state of one killswitch: on, or off for everybody; and the [kills](Kill) beside that.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct State {
    /// On, or off for everybody.
    pub enabled: bool,
    /// Why. Of a feature that is on: why it was last changed.
    pub reason: String,
    /// Who.
    pub updated_by: String,
    /// Since when. Nothing: since the start.
    pub updated_at: Option<UnixMillis>,
    /// When the time of a kill is over.
    pub expires_at: Option<UnixMillis>,
    /// By what way it came.
    pub source: Source,
    /// What becomes of it then.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "OnExpiry::is_default"))]
    pub on_expiry: OnExpiry,
    /// Where people talk about it.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Option::is_none"))]
    pub incident: Option<String>,
    /// The kills that are for some only, not in earnest, or yet to begin.
    #[cfg_attr(feature = "serde", serde(default, skip_serializing_if = "Vec::is_empty"))]
    pub kills: Vec<Kill>,
}

impl State {
    /// Held off by an environment variable.
    pub fn held_off(variable: &str) -> Self {
        Self {
            enabled: false,
            reason: format!("the environment says {variable}=false"),
            updated_by: "env".to_owned(),
            source: Source::Env { variable: variable.into() },
            ..Self::default()
        }
    }

    /// The name of the kill that has it off for everybody, if one has.
    pub fn kill_id(&self) -> Option<Arc<str>> {
        let at = self.updated_at.unwrap_or(UnixMillis(0));
        (!self.enabled).then(|| id(at, &self.updated_by, &self.reason, &Scope::default()))
    }

    /// Whether anything is off by it, be it for some only.
    pub fn restricts(&self) -> bool {
        !self.enabled || self.kills.iter().any(Kill::enforces)
    }

    /// Whether it says something that the first form of a state couldn't: one who reads only that would turn on what is off.
    pub fn is_beyond_first_form(&self) -> bool {
        !self.kills.is_empty()
            || !self.on_expiry.is_default()
            || matches!(self.source, Source::Trigger | Source::BreakGlass)
    }

    /// How far it is on its way back to those whom a kill for everybody took it from, in percent of them.
    pub fn returning(&self) -> Option<u32> {
        self.kills
            .iter()
            .filter_map(|kill| kill.returning.as_ref())
            .map(|returning| returning.percent)
            .min()
    }

    /// With those kills of another state that it lacks.
    #[cfg(feature = "serde")]
    #[must_use]
    pub(crate) fn with_kills_of(mut self, other: &Self) -> Self {
        for kill in &other.kills {
            if !self.kills.iter().any(|there| there.id == kill.id) {
                self.kills.push(kill.clone());
            }
        }
        self
    }

    /// If a kill would end sooner by this one: when it would have ended. Nothing in there means never.
    pub fn would_end_sooner(&self, flip: &Flip, now: UnixMillis) -> Option<Option<UnixMillis>> {
        let never = flip.expires_at.is_none() || flip.terms.on_expiry == OnExpiry::Hold;
        if flip.enabled || never {
            return None;
        }
        let sooner = |ends: Option<UnixMillis>, on_expiry: OnExpiry| {
            let ends = ends.filter(|_| on_expiry != OnExpiry::Hold);
            ends.is_none_or(|ends| flip.expires_at < Some(ends)).then_some(ends)
        };
        if flip.terms.are_plain(now) {
            return if self.enabled { None } else { sooner(self.expires_at, self.on_expiry) };
        }
        let new = kill(flip, now);
        let replaced = self.kills.iter().filter(|kill| kill.enforces() && new.replaces(kill));
        replaced.map(|kill| sooner(kill.expires_at, kill.on_expiry)).next().flatten()
    }

    /// When a kill for everybody ends by itself; one that holds, or has no end, never does.
    #[cfg(feature = "serde")]
    pub(crate) fn ends(&self) -> UnixMillis {
        let end = self.expires_at.filter(|_| self.on_expiry != OnExpiry::Hold);
        end.unwrap_or(UnixMillis(u64::MAX))
    }

    /// When time changes something about it next.
    pub fn next_change(&self) -> Option<UnixMillis> {
        let own = self.expires_at.filter(|_| !self.enabled);
        self.kills.iter().filter_map(Kill::next_change).chain(own).min()
    }

    /// What a flip makes of it.
    pub(super) fn flipped(
        &self,
        name: &Arc<str>,
        flip: &Flip,
        now: UnixMillis,
    ) -> Result<Self, FlipError> {
        match (flip.enabled, flip.terms.are_plain(now)) {
            (true, _) => self.lifted(name, flip, now),
            (false, true) => Ok(self.killed(flip, now)),
            (false, false) => self.with_kill(name, kill(flip, now), flip, now),
        }
    }

    /// Off for everybody. What came back by steps before is off again; other kills stand beside it and outlive it.
    fn killed(&self, flip: &Flip, now: UnixMillis) -> Self {
        let mut kills = self.kills.clone();
        let plain = Kill { scope: Scope::default(), ..kill(flip, now) };
        kills.retain(|kill| !plain.replaces(kill));
        Self {
            enabled: false,
            expires_at: flip.expires_at,
            on_expiry: flip.terms.on_expiry,
            incident: flip.terms.incident.clone(),
            kills,
            ..Self::decided(flip, now)
        }
    }

    fn with_kill(
        &self,
        name: &Arc<str>,
        kill: Kill,
        flip: &Flip,
        now: UnixMillis,
    ) -> Result<Self, FlipError> {
        if kill.expires_at.zip(kill.starts_at).is_some_and(|(end, start)| end <= start) {
            return Err(FlipError::EndsBeforeItStarts);
        }
        let mut next = self.decided_beside(flip, now);
        next.kills.retain(|other| !kill.replaces(other));
        if next.kills.len() >= KILLS_MAX {
            return Err(FlipError::TooManyKills { feature: name.clone() });
        }
        next.kills.push(kill);
        Ok(next)
    }

    /// On, or with fewer kills: all of them, those of one scope, or one.
    fn lifted(&self, name: &Arc<str>, flip: &Flip, now: UnixMillis) -> Result<Self, FlipError> {
        let terms = &flip.terms;
        let mut next = match &terms.kill {
            Some(id) if self.kill_id().as_ref() == Some(id) => {
                return Ok(Self { kills: self.kills.clone(), ..Self::decided(flip, now) });
            }
            None if terms.scope.is_everything() => return Ok(Self::decided(flip, now)),
            _ => self.decided_beside(flip, now),
        };
        next.kills.retain(|kill| match &terms.kill {
            Some(id) => kill.id != *id,
            None => kill.scope != terms.scope,
        });
        if next.kills.len() == self.kills.len() {
            return Err(FlipError::NoSuchKill { feature: name.clone() });
        }
        Ok(next)
    }

    /// The same kills, and who changed something about them last. What has it off for everybody keeps its own reason.
    fn decided_beside(&self, flip: &Flip, now: UnixMillis) -> Self {
        if self.enabled {
            Self { kills: self.kills.clone(), ..Self::decided(flip, now) }
        } else {
            self.clone()
        }
    }

    fn decided(flip: &Flip, now: UnixMillis) -> Self {
        Self {
            enabled: true,
            reason: flip.reason.clone(),
            updated_by: flip.actor.clone(),
            updated_at: Some(now),
            source: flip.source.clone(),
            ..Self::default()
        }
    }

    /// What time has made of it; nothing if that is nothing.
    pub(super) fn elapsed(&self, now: UnixMillis) -> Option<Self> {
        let next = self.own_elapsed(now);
        let mut next = next.unwrap_or_else(|| self.clone());
        for kill in std::mem::take(&mut next.kills) {
            match kill.elapsed(now) {
                Elapsed::Same => next.kills.push(kill),
                Elapsed::Changed(kill) => {
                    next.changed_by_time(now);
                    next.kills.push(*kill);
                }
                Elapsed::Over => next.changed_by_time(now),
                Elapsed::Begins => next.begin(kill, now),
            }
        }
        (next != *self).then_some(next)
    }

    fn own_elapsed(&self, now: UnixMillis) -> Option<Self> {
        if self.enabled || self.expires_at.is_none_or(|end| end > now) {
            return None;
        }
        let lifted = |state: &str| Self {
            reason: format!("{state}: {}", self.reason),
            updated_by: self.updated_by.clone(),
            updated_at: Some(now),
            source: Source::Expiry,
            incident: self.incident.clone(),
            kills: self.kills.clone(),
            ..Self::default()
        };
        Some(match self.on_expiry {
            OnExpiry::Restore => lifted("expired"),
            OnExpiry::Hold => Self { expires_at: None, ..self.clone() },
            OnExpiry::Ramp { .. } => {
                let mut next = lifted("coming back");
                // Its own end has passed, so the loop that calls this takes it to its first step at once.
                // Another gateway may have begun it already.
                let kill = self.as_kill();
                if !next.kills.iter().any(|there| there.id == kill.id) {
                    next.kills.push(kill);
                }
                next
            }
        })
    }

    /// The kill that has it off for everybody, as one beside it.
    fn as_kill(&self) -> Kill {
        let created_at = self.updated_at.unwrap_or(UnixMillis(0));
        Kill {
            id: id(created_at, &self.updated_by, &self.reason, &Scope::default()),
            scope: Scope::default(),
            mode: Mode::Enforce,
            reason: self.reason.clone(),
            actor: self.updated_by.clone(),
            source: self.source.clone(),
            incident: self.incident.clone(),
            created_at,
            starts_at: None,
            expires_at: self.expires_at,
            on_expiry: self.on_expiry,
            returning: None,
        }
    }

    /// A kill for everybody begins as planned. One that is in force already and lasts longer stays.
    fn begin(&mut self, kill: Kill, now: UnixMillis) {
        let lasts_longer = |ours: Option<UnixMillis>, theirs: Option<UnixMillis>| {
            ours.is_none_or(|ours| theirs.is_some_and(|theirs| theirs <= ours))
        };
        if !self.enabled && lasts_longer(self.expires_at, kill.expires_at) {
            return;
        }
        *self = Self {
            enabled: false,
            reason: kill.reason,
            updated_by: kill.actor,
            updated_at: Some(now),
            expires_at: kill.expires_at,
            source: Source::Expiry,
            on_expiry: kill.on_expiry,
            incident: kill.incident,
            kills: std::mem::take(&mut self.kills),
        };
    }

    fn changed_by_time(&mut self, now: UnixMillis) {
        if self.enabled {
            (self.updated_at, self.source) = (Some(now), Source::Expiry);
        }
    }
}

fn kill(flip: &Flip, now: UnixMillis) -> Kill {
    let terms = &flip.terms;
    Kill {
        id: id(now, &flip.actor, &flip.reason, &terms.scope),
        scope: terms.scope.clone(),
        mode: terms.mode,
        reason: flip.reason.clone(),
        actor: flip.actor.clone(),
        source: flip.source.clone(),
        incident: terms.incident.clone(),
        created_at: now,
        starts_at: terms.starts_at.filter(|start| *start > now),
        expires_at: flip.expires_at,
        on_expiry: terms.on_expiry,
        returning: None,
    }
}

/// The same on every gateway, so that a kill that two of them heard of is one.
fn id(at: UnixMillis, actor: &str, reason: &str, scope: &Scope) -> Arc<str> {
    let told = format!("{actor}\n{reason}\n{scope}");
    format!("{:x}-{:08x}", at.0, Salt::of(&told).low()).into()
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
            on_expiry: OnExpiry::Restore,
            incident: None,
            kills: Vec::new(),
        }
    }
}
