//! `portcullis audit verify`: whether the audit still says what it said when it was written.
//!
//! It reads the file, and needs no gateway: what is verified after an incident is often a copy.

use std::path::PathBuf;

use clap::Subcommand;
use portcullis::store::EmbeddedStore;
use portcullis::store::embedded::Verified;

use super::{ConfigFile, Failure, say};
use crate::config::config::Store;
use crate::control::Chain;

#[derive(Debug, Subcommand)]
pub(super) enum Audit {
    /// End with 0 if no line of the audit was changed, taken out or put in; else name the first, and end with 1
    Verify {
        /// The directory that has the audit; else the store's of the configuration
        directory: Option<PathBuf>,
        #[command(flatten)]
        file: ConfigFile,
        /// The hash of the last line, as it was told before: then what came after it may be there, but not less
        #[arg(long, value_name = "HASH")]
        last: Option<String>,
    },
}

impl Audit {
    pub(super) fn execute(self) -> Result<(), Failure> {
        let Self::Verify { directory, file, last } = self;
        let directory = directory.map_or_else(|| configured(&file), Ok)?;
        let verified = EmbeddedStore::verify_audit_in(&directory, last.as_deref())
            .map_err(|error| Failure::input(Chain(&error)))?;
        let Verified { lines, last } = verified;
        say(&format!("{lines} lines, all of them whole and in their order; the last is {last}\n"));
        Ok(())
    }
}

fn configured(file: &ConfigFile) -> Result<PathBuf, Failure> {
    match file.load()?.store {
        Store::Embedded { directory } => Ok(directory),
        Store::Memory => Err(Failure::input("a store in memory has no audit that outlives it")),
        Store::Redis(_) => Err(Failure::input(
            "the audit of this configuration is in Redis; name the directory of a store on disk",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_audit_of_a_store_that_has_none_on_disk_is_not_guessed_at() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("gateway.toml");
        std::fs::write(&path, "[store]\nkind = 'memory'\n").unwrap();
        let failure = configured(&ConfigFile { config: Some(path) }).unwrap_err();
        assert_eq!(failure.code, 1);
        assert!(failure.message.contains("in memory"), "{}", failure.message);
    }
}
