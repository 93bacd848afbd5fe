//! The configuration, in two shapes: what the operator wrote, letter for letter (`file`), and what the gateway runs on,
//! checked once and trusted from then on (`config`).
//!
//! Text flows one way: `source` reads it and expands the environment, `compare` holds it against the `schema` of `file`,
//! `check` turns those into a [`config::Config`]. Every fault of a file is found in one run, each a [`fault::Fault`] with
//! its place. Whoever adds a key adds it to `file`, to `check` and to `config/gateway.toml` in the same change; tests
//! hold the three together.

pub mod check;
mod compare;
#[expect(
    clippy::module_inception,
    reason = "`config::Config` of the module `config` is what one looks for"
)]
pub mod config;
pub mod fault;
pub mod file;
pub mod schema;
mod site;
pub mod source;

pub use check::{load, parse};
pub use fault::{Fault, render_faults};
pub use schema::schema;
