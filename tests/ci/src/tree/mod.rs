//! The repository tests its own text: what a reader would trip over, and what a compiler does not see.

pub(crate) mod arrows;
pub(crate) mod heads;
pub(crate) mod hosts;
pub(crate) mod map;
pub(crate) mod names;
mod rust;
pub(crate) mod words;
