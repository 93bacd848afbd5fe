//! Requests: as a client sends them, and as an upstream gets them.

pub mod read;
pub mod write;
