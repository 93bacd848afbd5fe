//! `cargo ci`: the whole test suite, on a machine that has nothing but a Rust toolchain.
//!
//! [`plan`] below is the story: what runs, in which order, within which time. Each step prints a heading, its output, its
//! duration and one closing line; a failure does not stop the steps after it, so one run tells everything that is wrong.
//!
//! **One profile for everything.** Every step compiles with `--release`, because `cargo demo` does, and so the heavy
//! dependencies (SQLite, jemalloc, cryptography) are built once for the tests, the services and the demo, and their build
//! scripts run once for clippy and rustdoc too; only what stands on tokio is built again for the tests, which ask it for more
//! features. [`PROFILE`] changes what that profile means here: debug assertions and overflow checks are on, as tests want
//! them, and optimisation is low, as a small machine wants it. The tests find the gateway and the services beside their own
//! executable, so the two have to be of one profile anyway. The alternative, `dev` for the tests and `release` for the demo,
//! compiles each dependency twice. The figures of the bench come from `--profile dist` and are not touched by this.
//!
//! A new check is a file of its own and a line in the plan.

mod check;
mod command;
mod demo;
mod examples;
mod features;
mod fuzz;
mod long;
mod options;
mod runner;
mod scene;
mod step;
mod suite;
mod supply;
mod tally;
mod tools;
mod tree;

use options::{Ask, Options};
use scene::Scene;
use std::process::ExitCode;
use step::Step;
use step::When::{Always, Full};
use step::Work::{Cargo, Check};

/// What `--release` means to every cargo that runs below.
const PROFILE: &[(&str, &str)] = &[
    ("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1"),
    ("CARGO_PROFILE_RELEASE_LTO", "off"),
    ("CARGO_PROFILE_RELEASE_DEBUG", "line-tables-only"),
    ("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "true"),
    ("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "true"),
];

/// Every step: its name, what it shows, its limit in minutes, when it runs, and what it does. The cheap ones stand first.
#[rustfmt::skip]
fn plan() -> Vec<Step> {
    let step = Step::new;
    vec![
        step("tools",       "what the tests need is there, or is installed",      10, Always, Check(tools::ready)),
        step("words",       "no unfinished work, unsafe code or machine paths",    1, Always, Check(tree::words::check)),
        step("hosts",       "every address in the text is an expected one",        1, Always, Check(tree::hosts::check)),
        step("heads",       "every Rust file says what it is for",                 1, Always, Check(tree::heads::check)),
        step("names",       "no module is a drawer for odds and ends",             1, Always, Check(tree::names::check)),
        step("map",         "the README's map names what exists",                  1, Always, Check(tree::map::check)),
        step("arrows",      "imports go down",                                     1, Always, Check(tree::arrows::check)),
        step("sources",     "every dependency comes from the default registry",    1, Always, Check(supply::sources::check)),
        step("licences",    "every licence is an allowed one",                     5, Always, Check(supply::licences::check)),
        step("bans",        "no banned crate, and what to take instead",           5, Always, Check(supply::bans::check)),
        step("duplicates",  "which crates are compiled in two major versions",     1, Always, Check(supply::duplicates::check)),
        step("fmt",         "every file is formatted",                             2, Always, Cargo(&[], &["fmt", "--all", "--check"])),
        step("clippy",      "no warning in any target",                           20, Always, Cargo(&[], &["clippy", "--workspace", "--all-targets", "--locked", "--release", "--", "-D", "warnings"])),
        step("features",    "the layers compile without features and with each",  15, Always, Check(features::check)),
        step("doc",         "rustdoc has nothing to complain about",              15, Always, Cargo(&[("RUSTDOCFLAGS", "-D warnings")], &["doc", "--workspace", "--no-deps", "--locked", "--release"])),
        step("build",       "every binary, for tests, examples and demo",                 25, Always, Cargo(&[], &["build", "--workspace", "--bins", "--locked", "--release"])),
        step("tests",       "unit, layer, gateway and fault tests",               30, Always, Check(suite::short)),
        step("doctests",    "the examples in the documentation", 10, Always, Check(suite::of_documentation)),
        step("examples",    "each example program of a layer ends well",          15, Always, Check(examples::check)),
        step("demo",        "`cargo demo` comes up and ends by itself",           15, Always, Check(demo::check)),
        step("fuzz",        "bytes that nobody thought of break no promise",       10, Always, Check(fuzz::short)),
        step("long-forms",  "the tests again, with PORTCULLIS_FULL=1",            60, Full,   Check(long::forms)),
        step("fuzz-long",   "nor do they in ten minutes per target",              120, Full,   Check(fuzz::long)),
        step("coverage",    "which lines the tests reach",                        60, Full,   Check(long::coverage)),
    ]
}

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(fault) => return usage(&fault),
    };
    let steps = match options.choose(plan()) {
        Ok(steps) => steps,
        Err(fault) => return usage(&fault),
    };
    if options.ask == Ask::List {
        steps.iter().for_each(|step| println!("{:<12} {}", step.name, step.shows));
        return ExitCode::SUCCESS;
    }
    let scene = match Scene::find() {
        Ok(scene) => scene,
        Err(fault) => return usage(&fault),
    };
    runner::run(&steps, &scene)
}

fn usage(fault: &str) -> ExitCode {
    eprintln!("cargo ci: {fault}\n\n{}", options::USAGE);
    ExitCode::from(2)
}
