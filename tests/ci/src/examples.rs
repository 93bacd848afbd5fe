//! The example programs of the layers end by themselves and end well: each is run, one after the other, within a minute. The step
//! before has built them; building them here by name would compile tokio a third time, with yet other features.

use crate::command::Bounded;
use crate::scene::Scene;
use crate::step::End;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const FOLDER: &str = "examples/layers/src/bin";
const PROGRAM_LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn check(scene: &Scene, _: Duration) -> End {
    let names = programs(&scene.root.join(FOLDER));
    if names.is_empty() {
        return End::Failed(format!("{FOLDER} holds no program"));
    }
    let faults: Vec<String> = names.iter().filter_map(|name| fault(scene, name)).collect();
    let counts =
        format!("examples: {} passed, {} failed", names.len() - faults.len(), faults.len());
    match faults.as_slice() {
        [] => End::Passed(counts),
        faults => End::Failed(format!("{counts}; {}", faults.join("; "))),
    }
}

fn fault(scene: &Scene, name: &str) -> Option<String> {
    println!("-- example {name}");
    let program = target(scene).join("release").join(name);
    let fault = Bounded::new(program, &scene.root, PROGRAM_LIMIT).run(&[]).fault?;
    Some(format!("{name} {fault} (the step `build` makes it)"))
}

/// Where cargo builds.
pub(crate) fn target(scene: &Scene) -> PathBuf {
    let named = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    named.unwrap_or_else(|| scene.root.join("target"))
}

/// The names of the programs, in order: each file, and each folder with a `main.rs`.
fn programs(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_program = |path: &PathBuf| {
        path.extension().is_some_and(|end| end == "rs") || path.join("main.rs").is_file()
    };
    let mut names: Vec<String> = entries
        .filter(is_program)
        .filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_folders_with_a_main_are_programs_and_a_folder_that_is_missing_has_none() {
        let folder =
            std::env::temp_dir().join(format!("portcullis-ci-examples-{}", std::process::id()));
        fs::create_dir_all(folder.join("two")).unwrap();
        fs::create_dir_all(folder.join("data")).unwrap();
        fs::write(folder.join("one.rs"), "").unwrap();
        fs::write(folder.join("two/main.rs"), "").unwrap();
        assert_eq!(programs(&folder), ["one", "two"]);
        fs::remove_dir_all(&folder).unwrap();
        assert!(programs(&folder).is_empty());
    }
}
