//! The README's map names what exists: each `folder/` and each file of ours in backticks or at the start of a line of a
//! code block.

use crate::check::{Fault, conclude};
use crate::scene::Scene;
use crate::step::End;
use std::path::Path;
use std::time::Duration;

const README: &str = "README.md";
/// Made by the build or by running, so not in a fresh clone.
const MADE: &[&str] = &["target/", "var/"];

pub(crate) fn check(scene: &Scene, _: Duration) -> End {
    match scene.read(README) {
        Ok(text) => {
            let places = places(&text);
            let faults = faults(&places, &scene.root);
            match places.is_empty() {
                true => End::Failed(format!("{README} has no map: it names no folder")),
                false => conclude(&format!("{} places", places.len()), &faults),
            }
        }
        Err(fault) => End::Failed(fault),
    }
}

fn faults(places: &[(usize, &str)], root: &Path) -> Vec<Fault> {
    let missing = places.iter().filter(|(_, place)| {
        !MADE.iter().any(|made| place.starts_with(made)) && !root.join(place).exists()
    });
    missing.map(|(number, place)| format!("{README}:{number}: {place} does not exist")).collect()
}

/// What looks like a folder of ours, with its line: a relative path that ends in `/`.
fn places(text: &str) -> Vec<(usize, &str)> {
    let mut in_block = false;
    let mut found = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
            continue;
        }
        let indented = in_block || line.starts_with("    ");
        let candidates: Vec<&str> = match indented {
            true => line.split_whitespace().take(1).collect(),
            false => line.split('`').skip(1).step_by(2).collect(),
        };
        found.extend(
            candidates.into_iter().filter(|place| is_folder(place)).map(|place| (index + 1, place)),
        );
    }
    found
}

fn is_folder(place: &str) -> bool {
    let plain = |sign: char| sign.is_ascii_alphanumeric() || "._-/".contains(sign);
    place.len() > 1
        && place.ends_with('/')
        && !place.starts_with(['/', '.'])
        && place.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_in_text_and_in_blocks_are_places() {
        let text = "See `layers/` and `a b`.\n\n```text\ngateway/   the binary\ncargo demo\n```\n\n    config/  files\n`/health/`\n";
        assert_eq!(places(text), [(1, "layers/"), (4, "gateway/"), (8, "config/")]);
    }

    #[test]
    fn a_folder_that_does_not_exist_is_a_fault_and_one_that_the_build_makes_is_not() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let faults = faults(&[(1, "src/"), (2, "no-such-folder/"), (3, "target/bench/")], root);
        assert_eq!(faults, ["README.md:2: no-such-folder/ does not exist"]);
    }
}
