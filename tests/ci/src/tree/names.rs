//! No module is named after nothing: such a name gathers whatever has no home, and everything imports it.

use crate::check::{Fault, conclude};
use crate::scene::{Scene, Text};
use crate::step::End;
use std::time::Duration;

const DRAWERS: &[&str] =
    &["utils", "util", "common", "helpers", "helper", "types", "misc", "shared", "prelude"];

pub(crate) fn check(scene: &Scene, _: Duration) -> End {
    let texts: Vec<Text> =
        scene.texts().into_iter().filter(|text| text.path.ends_with(".rs")).collect();
    let faults: Vec<Fault> = texts.iter().filter_map(|text| fault(&text.path)).collect();
    conclude(&format!("{} Rust files", texts.len()), &faults)
}

fn fault(path: &str) -> Option<Fault> {
    let mut parts = path.trim_end_matches(".rs").split('/');
    let drawer = parts.find(|part| DRAWERS.contains(part))?;
    Some(format!(
        "{path}: {drawer:?} says nothing of what is in it; name it after the one thing that it holds"
    ))
}

#[cfg(test)]
mod tests {
    use super::fault;

    #[test]
    fn files_and_folders_named_after_nothing_are_faults() {
        assert!(fault("gateway/src/utils.rs").is_some());
        assert!(fault("gateway/src/common/limits.rs").is_some());
        assert!(fault("gateway/src/limits.rs").is_none());
    }
}
