//! What a shared store tells by itself: what others did, how it is, and who the others are.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{Saved, StoreError};
use crate::switchboard::UnixMillis;

/// Something that a store tells by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum News {
    /// There is a newer revision than was told before.
    Newer(Saved),
    /// The store answers (again).
    Reached,
    /// The store doesn't answer, or refuses. Told once, until it is reached again.
    Away {
        /// What it said.
        why: String,
    },
    /// Something was lost in the store. What was off stays off.
    Loss {
        /// What was lost, and what was done about it.
        what: String,
    },
    /// How the store is set up so that it may lose something one day: all that holds now, told whenever it changes.
    Warnings(Vec<String>),
}

/// Whoever wants to hear.
pub type Hear = Arc<dyn Fn(News) + Send + Sync>;

/// A process that shares the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Instance {
    /// Its name.
    pub name: String,
    /// The revision that its requests see.
    pub revision: u64,
    /// When it last said so, by the store's clock.
    pub seen_at: UnixMillis,
    /// How long ago that was, by the store's clock.
    pub silent_ms: u64,
}

/// Asks a store who shares it. It can be asked from any thread, beside the writer.
pub trait Instances: Send + Sync + fmt::Debug {
    /// The name of this process among them.
    fn own_name(&self) -> String;

    /// All that were heard of within the last seconds, in the order of their names.
    ///
    /// # Errors
    /// If the store can't be asked.
    fn list(&self) -> Result<Vec<Instance>, StoreError>;
}

/// A list in which a process tells those that share its store what happened to it. It is used from any thread, beside the
/// writer.
pub trait Outlet: Send {
    /// Adds an entry of these fields. An entry whose fate isn't known counts as not told; told again, it may stand there
    /// twice.
    ///
    /// # Errors
    /// If it is not known to be there.
    fn tell(&mut self, fields: &[(&'static str, String)]) -> Result<(), StoreError>;
}
