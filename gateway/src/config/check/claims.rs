//! Which requests each route takes, so that no two want the same.
//!
//! One order holds where patterns overlap: a written segment comes before a parameter or a rest; a host before any host; a
//! method before any method. What has no order is refused here, and so is what the router's tree can't hold: it is a promise to
//! `router` that the patterns of one host go into one tree.

use std::collections::BTreeMap;

use http::Method;

use super::pattern::Pattern;
use crate::config::config::HostPattern;
use crate::config::fault::{Wrong, listed};

/// Paths that the gateway answers itself on the clients' listener.
const OWN_PATHS: [&str; 4] = ["/api/health", "/health", "/livez", "/readyz"];

/// What the routes so far have taken.
#[derive(Default)]
pub(super) struct Claims {
    hosts: BTreeMap<String, Host>,
}

#[derive(Default)]
struct Host {
    tree: matchit::Router<()>,
    by_shape: BTreeMap<String, Vec<Claim>>,
}

/// What one route or redirect takes.
pub(super) struct Claim {
    /// Who it is, for sentences.
    pub(super) taker: String,
    pub(super) line: usize,
    pub(super) path: String,
    /// Empty: any.
    pub(super) methods: Vec<Method>,
}

impl Claims {
    /// Takes the requests of `claim`, unless another route has them, or says what stands in the way.
    pub(super) fn claim(
        &mut self,
        host: Option<&HostPattern>,
        pattern: &Pattern,
        claim: Claim,
    ) -> Result<(), Wrong> {
        if host.is_none() && OWN_PATHS.contains(&claim.path.as_str()) {
            return Err(format!("`{}` is answered by the gateway itself", claim.path).into());
        }
        let host = self.hosts.entry(host.map_or_else(String::new, shown)).or_default();
        if let Some(first) = host.by_shape.get(&pattern.shape) {
            against(&claim, first)?;
        } else if let Err(conflict) = host.tree.insert(claim.path.as_str(), ()) {
            return Err(host.beside(&claim, &conflict));
        }
        host.by_shape.entry(pattern.shape.clone()).or_default().push(claim);
        Ok(())
    }
}

/// Whether `claim` can stand with those of the same shape.
fn against(claim: &Claim, others: &[Claim]) -> Result<(), Wrong> {
    let path = &claim.path;
    if let Some(other) = others.iter().find(|other| share(&other.methods, &claim.methods)) {
        let words: Vec<_> = claim.methods.iter().map(Method::to_string).collect();
        let words = if words.is_empty() { "any method".into() } else { listed(&words, "and") };
        let (taker, line) = (&other.taker, other.line);
        return Err(format!(
            "a second route for {words} on `{path}`; {taker} in line {line} has it already"
        )
        .into());
    }
    match others.iter().find(|other| other.path != *path) {
        Some(other) => Err(Wrong::from(format!(
            "`{path}` is the path of {} in line {} with other names for its parameters; name them alike",
            other.taker, other.line
        ))
        .or(Some(other.path.clone()))),
        None => Ok(()),
    }
}

impl Host {
    /// A parameter and a rest at one place: the tree can't tell which comes first.
    fn beside(&self, claim: &Claim, conflict: &matchit::InsertError) -> Wrong {
        let path = &claim.path;
        let matchit::InsertError::Conflict { with } = conflict else {
            return format!("`{path}` can't be routed: {conflict}").into();
        };
        let other = self.by_shape.values().flatten().find(|other| other.path == *with);
        let line = other.map_or_else(String::new, |other| format!(" in line {}", other.line));
        format!("`{path}` can't stand beside `{with}`{line}: one has a parameter where the other has a rest").into()
    }
}

/// Whether some request would go to both. A route for any method yields to one that names it.
fn share(one: &[Method], other: &[Method]) -> bool {
    (one.is_empty() && other.is_empty()) || one.iter().any(|method| other.contains(method))
}

/// A host as the file writes it.
fn shown(host: &HostPattern) -> String {
    match host {
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Suffix(name) => format!("*{name}"),
    }
}
