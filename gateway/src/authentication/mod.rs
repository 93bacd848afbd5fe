//! Who asks: the auth service decides; when it is away, a local check does, and says so.
//!
//! On routes that want it, the token goes to the auth service, under a short time-out and behind the service's own breaker.
//! Its word is final while it can be had. When it can't be, a route that allows it falls back to checking the token against
//! the service's published keys, which are kept and refreshed beforehand: signature, issuer, audience, times, with the
//! algorithm pinned per key. What is lost meanwhile is revocation, so the fall-back ends when the keys are too old, and
//! upstream and client are told by `X-Auth-Mode`. Where neither can decide, the answer is a 503: failing open is not an
//! option that exists.
//!
//! `layer` is the stage of the stack, `service` asks the service, `keys` is the local check.

pub mod keys;
pub mod layer;
pub mod service;

use std::sync::Arc;

/// How an identity was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The auth service said so.
    Service,
    /// The token's signature did, while the service was away.
    JwtFallback,
}

impl Mode {
    /// The word of `X-Auth-Mode`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Service => "service",
            Self::JwtFallback => "jwt-fallback",
        }
    }
}

/// What asking about a token came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is good, for this subject.
    Accepted(Arc<str>),
    /// It is not.
    Refused,
    /// Nobody could say.
    Unavailable,
}
