//! Who a request is for, as the layers that need an identity see it.
//!
//! Whatever authenticates puts a [`Subject`] into the request's extensions; flags by percentage and scoped kills read it
//! from there. There is deliberately no fallback to an address or a header: a subject that a client can choose would let it
//! choose its flags.

use std::sync::Arc;

/// On whose behalf a request is made, where many subjects belong to one: a company, a team, an account.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Tenant(pub Arc<str>);

impl Tenant {
    /// The identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The stable identity for which a request is made: a user, a tenant, a key.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Subject(pub Arc<str>);

impl Subject {
    /// The identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}
