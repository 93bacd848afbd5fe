//! What an operator tells a breaker: who, why, and for how long.

use std::{fmt, sync::Arc, time::Duration};

/// An operator's order. It holds until the next one, or until it expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What is to be done.
    pub action: Action,
    /// Who orders it.
    pub actor: Option<Arc<str>>,
    /// Why.
    pub reason: Option<Arc<str>>,
    /// For how long it holds; without end if nothing is said. Afterwards the breaker acts by itself again, closed. An order
    /// that is over at once, such as [`Action::Reset`], doesn't expire.
    pub lasts: Option<Duration>,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Close it, and let it act by itself.
    Reset,
    /// Refuse every call.
    ForceOpen,
    /// Let every call through, and never open.
    Disable,
    /// Let every call through, and count which ones would have been refused.
    Shadow,
    /// Refuse every call for so long, and then probe: as though it had opened by itself.
    OpenFor(Duration),
}

impl Order {
    /// An order of nobody in particular, without end.
    pub const fn new(action: Action) -> Self {
        Self { action, actor: None, reason: None, lasts: None }
    }

    /// Who orders it.
    #[must_use]
    pub fn by(self, actor: impl Into<Arc<str>>) -> Self {
        Self { actor: Some(actor.into()), ..self }
    }

    /// Why.
    #[must_use]
    pub fn because(self, reason: impl Into<Arc<str>>) -> Self {
        Self { reason: Some(reason.into()), ..self }
    }

    /// For how long it holds.
    #[must_use]
    pub const fn lasting(mut self, lasts: Duration) -> Self {
        self.lasts = Some(lasts);
        self
    }

    /// Whether it holds on, so that there is something to expire.
    pub(super) const fn holds(&self) -> bool {
        matches!(self.action, Action::ForceOpen | Action::Disable | Action::Shadow)
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.action {
            Action::Reset => f.write_str("reset by ")?,
            Action::ForceOpen => f.write_str("forced open by ")?,
            Action::Disable => f.write_str("disabled by ")?,
            Action::Shadow => f.write_str("put into shadow by ")?,
            Action::OpenFor(wait) => write!(f, "opened for {wait:?} by ")?,
        }
        f.write_str(self.actor.as_deref().unwrap_or("an operator"))?;
        match &self.reason {
            Some(reason) => write!(f, ": {reason}"),
            None => Ok(()),
        }
    }
}
