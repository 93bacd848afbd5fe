//! The switchboard: every killswitch and flag at one revision, immutable.
//!
//! A flip never changes a switchboard; it makes the next one ([`Switchboard::apply`], a pure function of the flip and
//! `now`). Whoever publishes it hands readers an `Arc`, so that a request sees one switchboard from its first layer to its
//! last. Reading is a load and a bit test: features get an index once ([`FeatureId`]), and all that are off stand in one bit
//! set. An index never moves while the process lives, so layers resolve names when they are built, not per request.
//!
//! What is *not* here: where it is kept (the stores), who hands it out ([`view`](crate::view)), what a route does about it
//! ([`killswitch`](crate::killswitch)).

pub mod feature;
pub mod flag;
pub mod flip;

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use feature::{Feature, FeatureId, Source, State};
use flag::{Flag, FlagId};
use flip::{Flip, FlipError};

/// Milliseconds since the Unix epoch: how moments are kept, compared and stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct UnixMillis(pub u64);

impl UnixMillis {
    /// The wall clock now. A clock before the epoch reads as the epoch.
    pub fn now() -> Self {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    /// The time left until this moment, zero once it has passed.
    pub const fn left(self, now: Self) -> std::time::Duration {
        std::time::Duration::from_millis(self.0.saturating_sub(now.0))
    }
}

/// All killswitches and flags at one revision.
#[derive(Debug, Clone)]
pub struct Switchboard {
    revision: u64,
    features: Vec<Arc<Feature>>,
    states: Vec<Arc<State>>,
    ids: Arc<HashMap<Arc<str>, FeatureId>>,
    off: Vec<u64>,
    flags: Arc<[Flag]>,
}

impl Switchboard {
    /// Revision 0 of these features, all on, and these flags. Of two features of one name the first counts.
    pub fn new(
        features: impl IntoIterator<Item = Feature>,
        flags: impl IntoIterator<Item = Flag>,
    ) -> Self {
        let mut board = Self {
            revision: 0,
            features: Vec::new(),
            states: Vec::new(),
            ids: Arc::default(),
            off: Vec::new(),
            flags: flags.into_iter().collect(),
        };
        for feature in features {
            if board.id(&feature.name).is_none() {
                board.declare(feature);
            }
        }
        board
    }

    fn declare(&mut self, feature: Feature) -> FeatureId {
        let id = FeatureId(
            u32::try_from(self.features.len()).expect("fewer features than fit into memory"),
        );
        Arc::make_mut(&mut self.ids).insert(feature.name.clone(), id);
        self.features.push(Arc::new(feature));
        self.states.push(Arc::new(State::default()));
        self.off.resize(self.features.len().div_ceil(64), 0);
        id
    }

    /// The number of the last flip that this switchboard knows.
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether the feature is off. This is the check on the hot path.
    #[inline]
    pub fn is_off(&self, id: FeatureId) -> bool {
        let (word, bit) = (id.0 as usize / 64, id.0 % 64);
        self.off.get(word).is_some_and(|word| word >> bit & 1 == 1)
    }

    /// Whether the named feature is on. An unknown one is: nobody turned it off.
    pub fn is_enabled(&self, name: &str) -> bool {
        self.id(name).is_none_or(|id| !self.is_off(id))
    }

    /// The index of a feature, to be resolved once.
    pub fn id(&self, name: &str) -> Option<FeatureId> {
        self.ids.get(name).copied()
    }

    /// What was declared of a feature.
    pub fn feature(&self, id: FeatureId) -> &Feature {
        &self.features[id.0 as usize]
    }

    /// Its state: on or off, who, why, until when.
    pub fn state(&self, id: FeatureId) -> &State {
        &self.states[id.0 as usize]
    }

    /// Every feature with its state, in the order of declaration.
    pub fn features(&self) -> impl Iterator<Item = (FeatureId, &Feature, &State)> {
        let pairs = self.features.iter().zip(&self.states);
        pairs.enumerate().map(|(i, (feature, state))| (FeatureId(i as u32), &**feature, &**state))
    }

    /// The index of a flag, to be resolved once.
    pub fn flag_id(&self, key: &str) -> Option<FlagId> {
        self.flags.iter().position(|flag| &*flag.key == key).map(FlagId)
    }

    /// A flag.
    pub fn flag(&self, id: FlagId) -> &Flag {
        &self.flags[id.0]
    }

    /// Every flag, in the order of declaration.
    pub fn flags(&self) -> &[Flag] {
        &self.flags
    }

    pub(crate) fn shared_flags(&self) -> Arc<[Flag]> {
        self.flags.clone()
    }

    /// The switchboard after a flip: all of its features or none, and one revision more.
    ///
    /// # Errors
    /// An unknown feature, an empty reason, or a feature that the environment holds off.
    pub fn apply(&self, flip: &Flip, now: UnixMillis) -> Result<Self, FlipError> {
        if flip.reason.trim().is_empty() {
            return Err(FlipError::NoReason);
        }
        let ids = flip
            .features
            .iter()
            .map(|name| self.flippable(name, flip.enabled))
            .collect::<Result<Vec<_>, _>>()?;
        let mut next = self.clone();
        next.revision += 1;
        for id in ids {
            next.set(id, flip.state(now));
        }
        Ok(next)
    }

    fn flippable(&self, name: &Arc<str>, enable: bool) -> Result<FeatureId, FlipError> {
        let id =
            self.id(name).ok_or_else(|| FlipError::UnknownFeature { feature: name.clone() })?;
        match &self.state(id).source {
            Source::Env { variable } if enable => Err(FlipError::HeldByEnvironment {
                feature: name.clone(),
                variable: variable.clone(),
            }),
            _ => Ok(id),
        }
    }

    /// The switchboard with every kill lifted whose expiry has passed, or nothing if none has.
    pub fn expire(&self, now: UnixMillis) -> Option<Self> {
        let due = |state: &State| !state.enabled && state.expires_at.is_some_and(|at| at <= now);
        let due: Vec<_> =
            self.features().filter(|(_, _, state)| due(state)).map(|(id, ..)| id).collect();
        if due.is_empty() {
            return None;
        }
        let mut next = self.clone();
        next.revision += 1;
        for id in due {
            let expired = State::expired(self.state(id), now);
            next.set(id, expired);
        }
        Some(next)
    }

    /// When the next kill expires.
    pub fn next_expiry(&self) -> Option<UnixMillis> {
        self.states.iter().filter(|state| !state.enabled).filter_map(|state| state.expires_at).min()
    }

    /// Takes over what a store or another source knows of a feature, at its own revision. An unknown feature is declared,
    /// so that a kill of something that this process learns of later is not lost.
    #[must_use]
    pub fn with_state(mut self, name: &str, state: State) -> Self {
        let id = self.id(name).unwrap_or_else(|| self.declare(Feature::named(name)));
        self.set(id, state);
        self
    }

    /// The same switches under the revision that a store gives.
    #[must_use]
    pub const fn at_revision(mut self, revision: u64) -> Self {
        self.revision = revision;
        self
    }

    fn set(&mut self, id: FeatureId, state: State) {
        let (word, bit) = (id.0 as usize / 64, id.0 % 64);
        if state.enabled {
            self.off[word] &= !(1 << bit);
        } else {
            self.off[word] |= 1 << bit;
        }
        self.states[id.0 as usize] = Arc::new(state);
    }
}
