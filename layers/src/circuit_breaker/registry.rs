//! Breakers by name, for a program that has several: register them where they are used, look at all of them in one place.
//!
//! There is no global registry: make one, clone the handle, hand it on. Names come from the program or from its configuration;
//! for names that come with requests there is [`Keyed`](super::Keyed), which is bounded.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{breaker::Breaker, settings::Settings, snapshot::Snapshot, state::State};

/// Breakers by name. Cloning gives another handle of the same registry.
#[derive(Debug, Clone, Default)]
pub struct Registry(Arc<Mutex<BTreeMap<Arc<str>, Breaker>>>);

/// How what a breaker guards seems to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Calls go through.
    Healthy,
    /// It is tried whether calls may go through again, or nobody watches.
    Degraded,
    /// Calls are refused.
    Unhealthy,
}

impl Registry {
    /// An empty registry.
    pub fn new() -> Self {
        Self::default()
    }

    /// The breaker of this name, made with these settings if there is none. One that is there already keeps its own.
    pub fn register(&self, name: &str, settings: Settings) -> Breaker {
        self.add(Breaker::new(name, settings))
    }

    /// Adds a breaker that is set up already, with a clock or listeners of its own. One of the same name that is there
    /// already stays, and is given back.
    pub fn add(&self, breaker: Breaker) -> Breaker {
        self.lock().entry(breaker.name().clone()).or_insert(breaker).clone()
    }

    /// The breaker of this name.
    pub fn get(&self, name: &str) -> Option<Breaker> {
        self.lock().get(name).cloned()
    }

    /// Every breaker as it is now.
    pub fn stats(&self) -> BTreeMap<Arc<str>, Snapshot> {
        self.each(Breaker::snapshot)
    }

    /// How each seems to be.
    pub fn health(&self) -> BTreeMap<Arc<str>, Health> {
        self.each(|breaker| Health::of(breaker.state()))
    }

    /// The names of those that don't let everything through: open, half-open, forced open.
    pub fn unhealthy(&self) -> Vec<Arc<str>> {
        let open = |breaker: &Breaker| {
            matches!(breaker.state(), State::Open | State::HalfOpen | State::ForcedOpen)
        };
        self.each(open).into_iter().filter_map(|(name, open)| open.then_some(name)).collect()
    }

    /// Closes every breaker and lets it act by itself again.
    pub fn reset_all(&self) {
        self.each(Breaker::reset);
    }

    /// Asks outside of the lock: a breaker that is asked may tell its listeners, and they may ask the registry.
    fn each<T>(&self, ask: impl Fn(&Breaker) -> T) -> BTreeMap<Arc<str>, T> {
        let breakers = self.lock().clone();
        breakers.into_iter().map(|(name, breaker)| (name, ask(&breaker))).collect()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Breaker>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Health {
    /// How a breaker in this state seems to be.
    pub const fn of(state: State) -> Self {
        match state {
            State::Closed | State::Shadow => Self::Healthy,
            State::HalfOpen | State::Disabled => Self::Degraded,
            State::Open | State::ForcedOpen => Self::Unhealthy,
        }
    }

    /// The stable word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}
