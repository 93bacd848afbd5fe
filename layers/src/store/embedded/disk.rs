//! The few things that are done with files, each with an error that names the file.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::Path,
};

use crate::store::StoreError;

fn at<T>(result: io::Result<T>, doing: &'static str, path: &Path) -> Result<T, StoreError> {
    result.map_err(|source| StoreError::Io { doing, path: path.to_owned(), source })
}

pub(super) fn make_directory(path: &Path) -> Result<(), StoreError> {
    at(fs::create_dir_all(path), "make the directory", path)
}

/// Opens a file for reading and writing, and makes it if it isn't there.
pub(super) fn open_to_write(path: &Path) -> Result<File, StoreError> {
    at(
        OpenOptions::new().create(true).read(true).write(true).truncate(false).open(path),
        "write to",
        path,
    )
}

pub(super) fn read(path: &Path) -> Result<Vec<u8>, StoreError> {
    at(fs::read(path), "read", path)
}

/// Writes a file anew, down to the disk.
pub(super) fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let written = File::create(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    at(written, "write", path)
}

pub(super) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    at(fs::rename(from, to), "rename", from)
}

/// Brings renames down to the disk. Only Unix lets a directory be synced; elsewhere the file system orders them itself.
pub(super) fn sync_directory(path: &Path) -> Result<(), StoreError> {
    if cfg!(unix) {
        at(File::open(path).and_then(|directory| directory.sync_all()), "sync", path)
    } else {
        Ok(())
    }
}
