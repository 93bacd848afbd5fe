//! The Portcullis gateway: a server of HTTP/1 and HTTP/2 over one readable stack of tower Layers.
//!
//! Read it from the top: [`cli`] → [`gateway`] (start, join) → [`stack`] (the order of the layers) → what the stack is made
//! of. Arrows go down only:
//!
//! | floor | modules |
//! |---|---|
//! | the command line | [`cli`] |
//! | start and join | [`gateway`], [`worker`] |
//! | the order of the layers | [`stack`] |
//! | its stages | [`router`], [`respond`], [`authentication`], [`edits`], [`fallback`], [`upstream`], [`panics`], [`would_reject`], [`sanitise`], [`record`] |
//! | what they pass on | [`reply`], [`upload`], [`exchange`], [`failure`] |
//! | beside them | [`server`] (knows no route), [`control`] (the one writer), [`config`], [`telemetry`], [`wire`] (HTTP/1.1 without I/O), [`limits`], [`fields`], [`trailers`] |

pub mod authentication;
pub mod cli;
pub mod config;
pub mod control;
pub mod edits;
pub mod exchange;
pub mod failure;
pub mod fallback;
pub mod fields;
pub mod gateway;
pub mod limits;
pub mod panics;
pub mod record;
pub mod reply;
pub mod respond;
pub mod router;
pub mod sanitise;
pub mod server;
pub mod stack;
pub mod telemetry;
pub mod trailers;
pub mod upload;
pub mod upstream;
pub mod wire;
pub mod worker;
pub mod would_reject;
