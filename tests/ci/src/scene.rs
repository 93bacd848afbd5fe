//! Where a run takes place: the root of the workspace and the text that belongs to it.

use crate::command::{Bounded, Echo};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) struct Scene {
    pub(crate) root: PathBuf,
}

/// One file of ours.
pub(crate) struct Text {
    /// Relative to the root, with `/` between its parts.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Scene {
    /// The nearest folder above this one that holds a lock file: the workspace's root.
    pub(crate) fn find() -> Result<Self, String> {
        let here = std::env::current_dir()
            .map_err(|fault| format!("the current folder is gone: {fault}"))?;
        let root = here.ancestors().find(|folder| folder.join("Cargo.lock").is_file());
        root.map(|root| Self { root: root.to_owned() })
            .ok_or_else(|| "no Cargo.lock here or above".to_owned())
    }

    pub(crate) fn read(&self, path: &str) -> Result<String, String> {
        fs::read_to_string(self.root.join(path)).map_err(|fault| format!("{path}: {fault}"))
    }

    /// Every file of ours that holds text: what git tracks and what it would add, or without git all but the build's.
    pub(crate) fn texts(&self) -> Vec<Text> {
        let paths = self.listed_by_git().unwrap_or_else(|| self.found_on_disk());
        paths
            .into_iter()
            .filter_map(|path| self.read(&path).ok().map(|text| Text { path, text }))
            .collect()
    }

    fn listed_by_git(&self) -> Option<Vec<String>> {
        let arguments = ["ls-files", "--cached", "--others", "--exclude-standard"];
        let ended = Bounded::new("git", &self.root, Duration::from_secs(30))
            .echo(Echo::Nothing)
            .run(&arguments);
        (ended.passed() && !ended.lines.is_empty()).then_some(ended.lines)
    }

    fn found_on_disk(&self) -> Vec<String> {
        let mut found = Vec::new();
        walk(&self.root, &mut found);
        found
            .iter()
            .filter_map(|path| path.strip_prefix(&self.root).ok())
            .map(|path| path.to_string_lossy().replace('\\', "/"))
            .collect()
    }
}

fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        match path.is_dir() {
            true if [".git", "target", "var"].iter().any(|skipped| name == *skipped) => {}
            true => walk(&path, found),
            false => found.push(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_on_disk_hold_what_git_lists_without_what_the_build_made() {
        let scene = Scene::find().unwrap();
        let found = scene.found_on_disk();
        assert!(found.iter().any(|path| path == "tests/ci/src/scene.rs"));
        assert!(found.iter().all(|path| !path.starts_with("target/")));
    }
}
