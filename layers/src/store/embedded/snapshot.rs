//! The generations of the snapshot: the present one, the one before it, and one set aside as damaged.

use std::path::{Path, PathBuf};

use super::{
    disk, or_missing,
    seal::{seal, unseal},
};
use crate::store::{Saved, StoreError};

#[derive(Debug)]
pub(in crate::store) struct Snapshots {
    directory: PathBuf,
    present: PathBuf,
    previous: PathBuf,
    damaged: PathBuf,
    new: PathBuf,
}

/// Which of the generations was loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::store) enum Generation {
    Present,
    Previous,
}

/// What stands under a name.
enum Found {
    Whole(Saved),
    Nothing,
    Damaged(String),
}

impl Snapshots {
    pub(in crate::store) fn new(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            present: directory.join("switchboard.json"),
            previous: directory.join("switchboard.previous.json"),
            damaged: directory.join("switchboard.damaged.json"),
            new: directory.join("switchboard.new.json"),
        }
    }

    /// The newest whole generation. A damaged present one is said in the notices.
    #[cfg(feature = "redis")]
    pub(in crate::store) fn load(
        &self,
        notices: &mut Vec<String>,
    ) -> Result<Option<Saved>, StoreError> {
        Ok(self.newest(notices)?.map(|(saved, _)| saved))
    }

    /// The same, and which of them it is.
    pub(in crate::store) fn newest(
        &self,
        notices: &mut Vec<String>,
    ) -> Result<Option<(Saved, Generation)>, StoreError> {
        let what = match find(&self.present)? {
            Found::Whole(saved) => return Ok(Some((saved, Generation::Present))),
            // A stop between the two renames of a save leaves no present generation, and is no damage.
            Found::Nothing => None,
            Found::Damaged(what) => Some(what),
        };
        match (find(&self.previous)?, what) {
            (Found::Whole(saved), None) => Ok(Some((saved, Generation::Previous))),
            (Found::Whole(saved), Some(what)) => {
                let (path, revision) = (self.present.display(), saved.revision);
                notices.push(format!(
                    "{path} is damaged ({what}); went back to revision {revision}, saved before it"
                ));
                Ok(Some((saved, Generation::Previous)))
            }
            (Found::Nothing, None) => Ok(None),
            (_, Some(what)) => Err(StoreError::Corrupt { path: self.present.clone(), what }),
            (Found::Damaged(what), None) => {
                Err(StoreError::Corrupt { path: self.previous.clone(), what })
            }
        }
    }

    /// Puts a new generation in the place of the present one, which becomes the previous one if it is whole.
    pub(in crate::store) fn save(&self, saved: &Saved) -> Result<(), StoreError> {
        let json = serde_json::to_string(saved).expect("a map with text keys is always JSON");
        disk::write_synced(&self.new, seal(&json).0.as_bytes())?;
        let present = find(&self.present)?;
        match &present {
            Found::Whole(_) => disk::rename(&self.present, &self.previous)?,
            Found::Damaged(_) => disk::rename(&self.present, &self.damaged)?,
            Found::Nothing => {}
        }
        let replaced = disk::rename(&self.new, &self.present)
            .and_then(|()| disk::sync_directory(&self.directory));
        match present {
            // Whoever asked is told that nothing is kept. A kill may be there after the next start all the same; what was
            // turned on must not.
            Found::Whole(before) if replaced.is_err() && turns_on(&before, saved) => {
                self.put_back();
            }
            _ => {}
        }
        replaced
    }

    /// Best effort: a disk that refuses this, too, is tried again by whoever has something to keep.
    fn put_back(&self) {
        let _ = disk::rename(&self.previous, &self.present)
            .and_then(|()| disk::sync_directory(&self.directory));
    }
}

/// Whether something that is off before is on after.
fn turns_on(before: &Saved, after: &Saved) -> bool {
    let is_off = |saved: &Saved, name: &str| saved.states.get(name).is_some_and(|it| !it.enabled);
    before.states.keys().any(|name| is_off(before, name) && !is_off(after, name))
}

fn find(path: &Path) -> Result<Found, StoreError> {
    let Some(bytes) = or_missing(disk::read(path))? else { return Ok(Found::Nothing) };
    let Some((json, _)) = unseal(&bytes) else {
        return Ok(Found::Damaged("its hash doesn't fit its content".to_owned()));
    };
    Ok(serde_json::from_str(&json)
        .map_or_else(|error| Found::Damaged(error.to_string()), Found::Whole))
}
