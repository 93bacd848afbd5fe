//! Why a store can't do what it was asked.

use std::{error::Error, fmt, io, path::PathBuf};

use super::Saved;

/// Why a store can't do what it was asked. Nothing has changed in it.
#[derive(Debug)]
#[non_exhaustive]
pub enum StoreError {
    /// The path of the store is a file.
    NotADirectory {
        /// The path.
        path: PathBuf,
    },
    /// Another process has the store open.
    Locked {
        /// The store's directory.
        path: PathBuf,
    },
    /// What is there is not what was written, and nothing beside it can stand in.
    Corrupt {
        /// The file at fault.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The system refused.
    Io {
        /// What was to be done, as a fragment: "write".
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else was quicker: the store is no longer at the revision that this one was to follow.
    Moved {
        /// What it holds instead.
        newest: Box<Saved>,
    },
    /// The store is somewhere else and can't be reached, or refused.
    Unavailable {
        /// What it said.
        what: String,
    },
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotADirectory { path } => {
                write!(
                    f,
                    "{} is a file, but the store needs a directory of its own",
                    path.display()
                )
            }
            Self::Locked { path } => {
                write!(f, "another process has the store in {} open", path.display())
            }
            Self::Corrupt { path, what } => write!(f, "{} is damaged: {what}", path.display()),
            // The system's own words are the source, and whoever prints the chain prints them.
            Self::Io { doing, path, .. } => write!(f, "can't {doing} {}", path.display()),
            Self::Moved { newest } => {
                write!(f, "somebody else changed the store: it is at revision {}", newest.revision)
            }
            Self::Unavailable { what } => write!(f, "the store can't be reached: {what}"),
        }
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
