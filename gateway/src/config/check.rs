//! From the file to the checked configuration.
//!
//! Everything that relates one value to another, or gives a string its meaning, is decided here, once: names are resolved to
//! indices, addresses and patterns parsed, contradictions refused. Each table has its own file below; this one holds the
//! entry points and what the tables share. A faulty value is reported and left out, and the checking goes on.

mod address;
mod authentication;
mod breakers;
mod catalogue;
mod claims;
mod edits;
mod fallback;
mod listeners;
mod name;
mod outputs;
mod pattern;
mod profiles;
mod redirects;
mod routes;
mod trailers;
mod webhook;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue, Deserializer};

use self::breakers::Owners;
use self::claims::Claims;
use super::compare::compare;
use super::config::{Config, Place};
use super::fault::{Fault, Faults, Wrong, nearest};
use super::file::File;
use super::site::Site;
use super::source::{self, Environment};

/// Reads and checks a file, with the environment of this process.
pub fn load(path: &Path) -> Result<Config, Vec<Fault>> {
    let text = source::read(path)?;
    parse(&path.display().to_string(), &text, &|name| std::env::var(name).ok())
}

/// Checks a text; `name` is what faults and places call it.
pub fn parse(name: &str, text: &str, environment: Environment<'_>) -> Result<Config, Vec<Fault>> {
    let mut faults = Faults::new(name, text);
    let config = read(&mut faults, environment);
    match config {
        Some(config) if faults.is_empty() => Ok(config),
        _ => Err(faults.into_sorted()),
    }
}

fn read(faults: &mut Faults<'_>, environment: Environment<'_>) -> Option<Config> {
    let mut root = source::parse(faults)?;
    source::expand(&mut root, environment, faults);
    compare(&mut root, faults);
    let file = deserialize(root.clone(), faults)?;
    let root = Spanned::new(root.span(), DeValue::Table(root.into_inner()));
    let declared = Declared::new(&file);
    Check { file: &file, root: Site::root(&root), declared, environment, faults }.config()
}

fn deserialize(root: Spanned<DeTable<'_>>, faults: &mut Faults<'_>) -> Option<File> {
    match File::deserialize(Deserializer::from(root)) {
        Ok(file) => Some(file),
        Err(error) => {
            // What fits the schema fits the types; should the two ever differ, serde has the last word.
            faults.report(error.span().map_or(0, |span| span.start), error.message());
            None
        }
    }
}

/// One file under examination.
struct Check<'c, 't> {
    file: &'c File,
    root: Site<'c>,
    declared: Declared<'c>,
    environment: Environment<'c>,
    faults: &'c mut Faults<'t>,
}

impl<'c> Check<'c, '_> {
    /// The whole, or `None` after a fault that leaves a hole in it.
    fn config(&mut self) -> Option<Config> {
        let server = self.server();
        let admin = self.admin();
        self.listeners_apart(server.as_ref(), admin.as_ref());
        let store = self.store();
        let log = self.log();
        let telemetry = self.telemetry();
        let authentication = self.authentication();
        let features = self.features();
        let flags = self.flags();
        let profiles = self.profiles();
        let mut owners = Owners::default();
        let upstreams = self.upstreams(&profiles, &mut owners);
        let mut claims = Claims::default();
        let routes = self.routes(&upstreams, &profiles, &mut owners, &mut claims);
        let redirects = self.redirects(&mut claims);
        let webhook = self.webhook();
        Some(Config {
            server: server?,
            admin: admin?,
            store: store?,
            log: log?,
            telemetry: telemetry?,
            authentication: authentication?,
            features,
            flags,
            upstreams: upstreams.into_iter().collect::<Option<_>>()?,
            breakers: profiles.checked(),
            routes: routes?,
            redirects: redirects?,
            webhook: webhook?,
        })
    }

    fn report(&mut self, site: Site<'_>, wrong: impl Into<Wrong>) {
        self.faults.report(site.offset(), wrong);
    }

    fn place(&self, site: Site<'_>) -> Place {
        self.faults.place(site.offset())
    }

    /// The value, or a fault at its place.
    fn accept<T>(&mut self, site: Site<'_>, value: Result<T, Wrong>) -> Option<T> {
        value.map_err(|wrong| self.report(site, wrong)).ok()
    }

    /// A path on an upstream that the gateway itself asks for.
    fn own_path(&mut self, site: Site<'_>, path: &str) -> Option<String> {
        self.accept(site, pattern::plain_path(path))
    }

    /// The index of a declared name, or a fault where it is used.
    fn resolve(&mut self, kind: Kind, name: &str, site: Site<'_>) -> Option<usize> {
        let declared = self.declared.of(kind);
        let index = declared.get(name).copied();
        if index.is_none() {
            let meant = nearest(name, declared.keys().copied());
            self.report(site, Wrong::from(format!("unknown {kind} `{name}`")).or(meant));
        }
        index
    }
}

/// What can be referred to by name.
#[derive(Clone, Copy)]
enum Kind {
    Breaker,
    Feature,
    Flag,
    Upstream,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Breaker => "breaker",
            Self::Feature => "feature",
            Self::Flag => "flag",
            Self::Upstream => "upstream",
        })
    }
}

/// The names that the file declares, each with its index in the checked configuration.
///
/// They are taken from the file and not from what could be checked: a reference to something faulty is not a second fault.
struct Declared<'c> {
    breakers: BTreeMap<&'c str, usize>,
    features: BTreeMap<&'c str, usize>,
    flags: BTreeMap<&'c str, usize>,
    upstreams: BTreeMap<&'c str, usize>,
}

impl<'c> Declared<'c> {
    fn new(file: &'c File) -> Self {
        Self {
            breakers: profiles::BUILT_IN
                .into_iter()
                .chain(file.breakers.keys().map(String::as_str))
                .collect::<BTreeSet<_>>()
                .into_iter()
                .enumerate()
                .map(|(index, name)| (name, index))
                .collect(),
            features: indices(&file.features),
            flags: indices(&file.flags),
            upstreams: indices(&file.upstreams),
        }
    }

    fn of(&self, kind: Kind) -> &BTreeMap<&'c str, usize> {
        match kind {
            Kind::Breaker => &self.breakers,
            Kind::Feature => &self.features,
            Kind::Flag => &self.flags,
            Kind::Upstream => &self.upstreams,
        }
    }
}

fn indices<T>(table: &BTreeMap<String, T>) -> BTreeMap<&str, usize> {
    table.keys().enumerate().map(|(index, name)| (name.as_str(), index)).collect()
}
