//! Where the programs under test are: beside this test's own executable, in the same `target/<profile>`.
//!
//! Cargo builds the binaries of a package only for that package's own tests, so they must have been built before; a missing one
//! is answered with the command that builds it.

use std::path::PathBuf;

/// The gateway itself. `PORTCULLIS_BIN` names another one, for instance that of an earlier release.
pub(crate) fn portcullis() -> PathBuf {
    match std::env::var_os("PORTCULLIS_BIN") {
        Some(path) => PathBuf::from(path),
        None => built("portcullis", "portcullis-gateway"),
    }
}

/// One of the example services.
pub(crate) fn service(name: &str) -> PathBuf {
    built(name, "portcullis-services")
}

fn built(name: &str, package: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a running test has a path");
    // target/<profile>/deps/<test> for a test, target/<profile>/examples/<example> for an example.
    let profile = own
        .parent()
        .and_then(|deps| deps.parent())
        .expect("cargo puts tests two levels below target");
    let path = profile.join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(
        path.is_file(),
        "{} is not there: build it with `cargo build --package {package}` (or run everything by `cargo ci`)",
        path.display()
    );
    path
}

/// The repository, where `config/` lies.
pub(crate) fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}
