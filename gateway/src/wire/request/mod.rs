//! Requests: as an upstream gets them.

pub mod write;
