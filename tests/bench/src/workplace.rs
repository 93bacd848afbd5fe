//! Where the bench works: `target/bench` below the workspace's root. It also remembers there which processes it started, so
//! that the next run can end what a killed one left behind.

use crate::process;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

pub(crate) struct Workplace {
    pub(crate) root: PathBuf,
    folder: PathBuf,
}

impl Workplace {
    pub(crate) fn prepare() -> Result<Self, String> {
        let here = std::env::current_dir()
            .map_err(|fault| format!("the current folder is gone: {fault}"))?;
        let root = here
            .ancestors()
            .find(|folder| folder.join("Cargo.lock").is_file())
            .ok_or("no Cargo.lock here or above")?;
        let place = Self { root: root.to_owned(), folder: root.join("target/bench") };
        fs::create_dir_all(&place.folder)
            .map_err(|fault| format!("{}: {fault}", place.folder.display()))?;
        place.end_stale();
        Ok(place)
    }

    pub(crate) fn python(&self) -> PathBuf {
        self.folder.join("venv")
    }

    /// The folder of one candidate, with everything that an earlier run left in it gone.
    pub(crate) fn fresh(&self, name: &str) -> Result<PathBuf, String> {
        let folder = self.folder.join("run").join(name);
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).map_err(|fault| format!("{}: {fault}", folder.display()))?;
        Ok(folder)
    }

    /// A file that a tool writes and we read.
    pub(crate) fn scratch(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Notes a process by its number and the time it started, which together name it for good.
    pub(crate) fn remember(&self, process: u32) {
        let Some(started) = process::started_at(process) else { return };
        let file = OpenOptions::new().create(true).append(true).open(self.notes());
        if let Ok(mut file) = file {
            let _ = writeln!(file, "{process} {started}");
        }
    }

    fn notes(&self) -> PathBuf {
        self.folder.join("started")
    }

    fn end_stale(&self) {
        for process in stale(&self.notes(), process::started_at) {
            eprintln!("ending process {process}, which an earlier run left behind");
            process::signal("KILL", process);
        }
        let _ = fs::remove_file(self.notes());
    }
}

fn stale(notes: &Path, started_at: impl Fn(u32) -> Option<u64>) -> Vec<u32> {
    let notes = fs::read_to_string(notes).unwrap_or_default();
    let noted = notes.lines().filter_map(|line| {
        let (process, started) = line.split_once(' ')?;
        Some((process.parse::<u32>().ok()?, started.parse::<u64>().ok()?))
    });
    noted
        .filter(|(process, started)| started_at(*process) == Some(*started))
        .map(|(process, _)| process)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_that_started_when_we_noted_it_is_stale() {
        let notes =
            std::env::temp_dir().join(format!("portcullis-bench-notes-{}", std::process::id()));
        fs::write(&notes, "10 500\n11 600\n12 700\n").unwrap();
        let started_at = |process| (process != 12).then_some(if process == 10 { 500 } else { 999 });
        assert_eq!(stale(&notes, started_at), [10]);
        fs::remove_file(&notes).unwrap();
        assert!(stale(&notes, |_| Some(500)).is_empty());
    }
}
