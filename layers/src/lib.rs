//! tower Layers that keep a fleet of services standing.

pub mod auto_disable;
pub mod circuit_breaker;
pub mod concurrency;
#[cfg(feature = "deadline")]
pub mod deadline;
pub mod dictionary;
pub mod ending;
pub mod flag_headers;
pub mod guarded;
pub mod killswitch;
pub mod outcome;
#[cfg(feature = "rate-limit")]
pub mod rate_limit;
pub mod refuse;
pub mod rejected;
#[cfg(feature = "serde")]
pub mod store;
pub mod subject;
pub mod switchboard;
pub mod view;
pub mod window;
