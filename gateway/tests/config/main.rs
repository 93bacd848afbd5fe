//! The configuration from outside: the files that are shipped, the reference that must stay true, and the corpus of broken
//! files with the exact words that each is answered with. A new key is covered here as soon as it is in the types; a new
//! fault gets a file in `config/broken`.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails like the test itself")]

mod broken;
mod environment;
mod reference;
mod shipped;
mod soundness;

use std::path::{Path, PathBuf};

use portcullis_gateway::config::config::Config;
use portcullis_gateway::config::{Fault, parse, render_faults};

/// The folder of the TOML files.
fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../config")
}

fn text(name: &str) -> String {
    let path = folder().join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// An environment without anything in it.
fn bare(_: &str) -> Option<String> {
    None
}

/// Parses under the name that a file has from the root of the repository.
fn parse_named(name: &str, text: &str) -> Result<Config, Vec<Fault>> {
    parse(&format!("config/{name}"), text, &bare)
}

fn sound(text: &str) -> Config {
    parse_named("test.toml", text).unwrap_or_else(|faults| panic!("{}", render_faults(&faults)))
}

fn faults(text: &str) -> String {
    render_faults(&parse_named("test.toml", text).expect_err("this text has a fault"))
}

/// Whether the generated files are to be written and not compared.
fn update() -> bool {
    std::env::var_os("UPDATE").is_some()
}
