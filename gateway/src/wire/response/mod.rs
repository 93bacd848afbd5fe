//! Responses: as an upstream sends them, and as a client gets them.

pub mod read;
pub mod write;
