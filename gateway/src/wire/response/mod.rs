//! Responses: as an upstream sends them.

pub mod read;
