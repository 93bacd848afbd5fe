//! What we build on: where it comes from, under which licence, and what we chose not to use. Works offline, from the lock
//! file and from what cargo knows of the packages in it; the choices themselves are data beside the code.

pub(crate) mod bans;
pub(crate) mod duplicates;
mod json;
pub(crate) mod licences;
mod lock;
mod packages;
pub(crate) mod sources;
mod spdx;
