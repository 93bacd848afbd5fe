//! Every Rust file opens with a `//!` that says what it is for.

use crate::check::{Fault, conclude};
use crate::scene::{Scene, Text};
use crate::step::End;
use std::time::Duration;

pub(crate) fn check(scene: &Scene, _: Duration) -> End {
    let texts: Vec<Text> =
        scene.texts().into_iter().filter(|text| text.path.ends_with(".rs")).collect();
    let faults: Vec<Fault> = texts.iter().filter_map(fault).collect();
    conclude(&format!("{} Rust files", texts.len()), &faults)
}

/// Attributes and empty lines may stand before the head; code may not.
fn fault(text: &Text) -> Option<Fault> {
    let mut lines = text
        .text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with("#!["));
    let says_something = lines
        .next()
        .is_some_and(|line| line.strip_prefix("//!").is_some_and(|head| head.trim().len() > 10));
    (!says_something).then(|| format!("{}:1: no `//!` says what this file is for", text.path))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_fault(text: &str) -> bool {
        fault(&Text { path: "x.rs".into(), text: text.into() }).is_some()
    }

    #[test]
    fn a_file_without_a_head_or_with_an_empty_one_is_a_fault() {
        assert!(is_fault("use std::fs;\n"));
        assert!(is_fault("//!\nuse std::fs;\n"));
        assert!(is_fault(""));
    }

    #[test]
    fn attributes_may_stand_before_the_head() {
        assert!(!is_fault("#![allow(clippy::x)]\n\n//! What this is for.\n"));
    }
}
