//! The switchboard: every killswitch and flag at one revision, immutable.
//!
//! A flip never changes a switchboard; it makes the next one ([`Switchboard::apply`], a pure function of the flip and
//! `now`). Whoever publishes it hands readers an `Arc`, so that a request sees one switchboard from its first layer to its
//! last. Reading is a load and a bit test: features get an index once ([`FeatureId`]), and all that are off stand in one bit
//! set. An index never moves while the process lives, so layers resolve names when they are built, not per request. A second
//! bit set has those with kills for some only; such a kill costs only the requests of its own feature.
//!
//! What is *not* here: where it is kept (the stores), who hands it out ([`view`](crate::view)), what a route does about it
//! ([`killswitch`](crate::killswitch)).

pub mod effect;
pub mod feature;
pub mod flag;
pub mod flip;
mod implied;
pub mod kill;
pub mod scope;
mod share;
#[cfg(feature = "serde")]
mod written;

use std::{collections::HashMap, sync::Arc, time::SystemTime};

use feature::{Feature, FeatureId, Source, State};
use flag::{Flag, FlagId};
use flip::{Flip, FlipError};
use implied::Implied;
use kill::{Kill, Mode};
use scope::{Asked, Covers};
use share::Salt;

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
    salts: Arc<Vec<Salt>>,
    implied: Arc<Implied>,
    /// Off for everybody, by a kill of their own or by one of a feature that implies them.
    off: Vec<u64>,
    /// With kills beside, of their own or of a feature that implies them.
    beside: Vec<u64>,
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
            salts: Arc::default(),
            implied: Arc::default(),
            off: Vec::new(),
            beside: Vec::new(),
            flags: flags.into_iter().collect(),
        };
        for feature in features {
            if board.id(&feature.name).is_none() {
                board.declare(feature);
            }
        }
        board.implied = Arc::new(Implied::of(&board.features, &board.ids));
        (0..board.features.len()).for_each(|index| board.mark(FeatureId(index as u32)));
        board
    }

    fn declare(&mut self, feature: Feature) -> FeatureId {
        let id = FeatureId(
            u32::try_from(self.features.len()).expect("fewer features than fit into memory"),
        );
        Arc::make_mut(&mut self.ids).insert(feature.name.clone(), id);
        Arc::make_mut(&mut self.salts).push(Salt::of(&feature.name));
        self.states.push(Arc::new(feature.unknown()));
        self.features.push(Arc::new(feature));
        let words = self.features.len().div_ceil(64);
        self.off.resize(words, 0);
        self.beside.resize(words, 0);
        id
    }

    /// The number of the last flip that this switchboard knows.
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether the feature is off for everybody. This is the check on the hot path.
    #[inline]
    pub fn is_off(&self, id: FeatureId) -> bool {
        has(&self.off, id)
    }

    /// Whether there is any kill to be asked: one for everybody, for some, or not in earnest. While there is none, a request
    /// needn't be looked at.
    #[inline]
    pub fn has_kills(&self, id: FeatureId) -> bool {
        has(&self.off, id) || has(&self.beside, id)
    }

    /// Whether the feature is off for this request, and what would be without being meant in earnest.
    #[inline]
    pub fn judge(&self, id: FeatureId, asked: &Asked<'_>) -> Verdict<'_> {
        if !self.has_kills(id) {
            return Verdict::default();
        }
        self.judge_kills(id, asked)
    }

    fn judge_kills(&self, id: FeatureId, asked: &Asked<'_>) -> Verdict<'_> {
        let mut verdict = Verdict::default();
        for by in std::iter::once(&id).chain(self.implied.by(id)) {
            let state = self.state(*by);
            if !state.enabled && verdict.off.is_none() {
                verdict.off = Some(Off { feature: *by, state, kill: None });
            }
            for kill in state.kills.iter().filter(|kill| kill.has_begun()) {
                verdict.add(*by, state, kill, kill.scope.covers(asked, self.salts[by.0 as usize]));
            }
        }
        verdict
    }

    /// Features that are off while this one is, directly or through others.
    pub fn implied_by(&self, id: FeatureId) -> &[FeatureId] {
        self.implied.of_it(id)
    }

    /// Whether the named feature is on for everybody whom no kill of some only covers. An unknown one is: nobody turned it off.
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
            .map(|name| {
                let id = self.flippable(name, flip.enabled)?;
                Ok((id, self.state(id).flipped(name, flip, now)?))
            })
            .collect::<Result<Vec<_>, _>>()?;
        let mut next = self.clone();
        next.revision += 1;
        for (id, state) in ids {
            next.set(id, state);
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

    /// What time has made of it, or nothing if that is nothing: kills whose time is over are lifted, held or on their way
    /// back, and those that were planned begin.
    pub fn expire(&self, now: UnixMillis) -> Option<Self> {
        let changed = |(id, _, state): (FeatureId, _, &State)| Some((id, state.elapsed(now)?));
        let changed: Vec<_> = self.features().filter_map(changed).collect();
        if changed.is_empty() {
            return None;
        }
        let mut next = self.clone();
        next.revision += 1;
        for (id, state) in changed {
            next.set(id, state);
        }
        Some(next)
    }

    /// When time changes something next.
    pub fn next_expiry(&self) -> Option<UnixMillis> {
        self.states.iter().filter_map(|state| state.next_change()).min()
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
        self.states[id.0 as usize] = Arc::new(state);
        let implied = self.implied.clone();
        std::iter::once(&id).chain(implied.of_it(id)).for_each(|id| self.mark(*id));
    }

    /// Sets the bits of a feature by its state and those of the features that imply it.
    fn mark(&mut self, id: FeatureId) {
        let by = std::iter::once(&id).chain(self.implied.by(id));
        let (mut off, mut beside) = (false, false);
        for by in by {
            let state = self.state(*by);
            off |= !state.enabled;
            beside |= state.kills.iter().any(Kill::has_begun);
        }
        put(&mut self.off, id, off);
        put(&mut self.beside, id, beside);
    }
}

#[inline]
fn has(bits: &[u64], id: FeatureId) -> bool {
    bits.get(id.0 as usize / 64).is_some_and(|word| word >> (id.0 % 64) & 1 == 1)
}

fn put(bits: &mut [u64], id: FeatureId, set: bool) {
    let (word, bit) = (id.0 as usize / 64, 1 << (id.0 % 64));
    if set { bits[word] |= bit } else { bits[word] &= !bit }
}

/// What a switchboard says of a feature and a request.
#[derive(Debug, Clone, Copy, Default)]
pub struct Verdict<'b> {
    /// By what it is off. Nothing: it is on.
    pub off: Option<Off<'b>>,
    /// By what it would be off, if that were meant in earnest.
    pub shadow: Option<Off<'b>>,
    /// Whose off-path is to be tried.
    pub drill: Option<Off<'b>>,
    /// Whether a kill has yet to be asked, once it is known who asks.
    pub not_yet: bool,
}

/// By what a feature is off.
#[derive(Debug, Clone, Copy)]
pub struct Off<'b> {
    /// The feature that was killed: itself, or one that implies it.
    pub feature: FeatureId,
    /// The state of that feature.
    pub state: &'b State,
    /// The kill, if it isn't the one that has the feature off for everybody.
    pub kill: Option<&'b Kill>,
}

impl<'b> Verdict<'b> {
    fn add(&mut self, feature: FeatureId, state: &'b State, kill: &'b Kill, covers: Covers) {
        let place = match (covers, kill.mode) {
            (Covers::No, _) => return,
            (Covers::NotYet, _) => {
                self.not_yet = true;
                return;
            }
            (Covers::Yes, Mode::Enforce) => &mut self.off,
            (Covers::Yes, Mode::Shadow) => &mut self.shadow,
            (Covers::Yes, Mode::Drill) => &mut self.drill,
        };
        place.get_or_insert(Off { feature, state, kill: Some(kill) });
    }
}

impl Off<'_> {
    /// When the time of the kill is over.
    pub fn expires_at(&self) -> Option<UnixMillis> {
        self.kill.map_or(self.state.expires_at, |kill| kill.expires_at)
    }
}
