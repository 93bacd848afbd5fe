//! Words that may not be committed, as `data/words.txt` lists them: marks of unfinished work, unsafe code, and paths that
//! exist on one machine only. This package is left out: it has to spell them, to look for them.

use super::rust;
use crate::check::{Fault, conclude, rows};
use crate::scene::{Scene, Text};
use crate::step::End;
use std::time::Duration;

const WORDS: &str = include_str!("../../data/words.txt");
const US: &str = "tests/ci/";

pub(crate) fn check(scene: &Scene, _: Duration) -> End {
    let texts = scene.texts();
    let faults: Vec<Fault> = texts.iter().flat_map(faults).collect();
    conclude(&format!("{} files", texts.len()), &faults)
}

fn faults(text: &Text) -> Vec<Fault> {
    rows(WORDS)
        .iter()
        .filter_map(|row| Rule::read(row))
        .filter(|rule| rule.reach.covers(&text.path))
        .flat_map(|rule| rule.faults(text))
        .collect()
}

struct Rule {
    word: &'static str,
    reach: Reach,
    reason: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    /// Any text, comments included.
    Text,
    /// Rust without its comments.
    Code,
    /// Any text but tests and what is deployed into a container, where such a path is right.
    Path,
}

impl Rule {
    fn read(row: &[&'static str]) -> Option<Self> {
        let [word, reach, reason] = *row else { return None };
        Some(Self { word, reach: Reach::read(reach)?, reason })
    }

    fn faults(&self, text: &Text) -> Vec<Fault> {
        let lines: Vec<(usize, &str)> = match self.reach {
            Reach::Text => {
                text.text.lines().enumerate().map(|(index, line)| (index + 1, line)).collect()
            }
            Reach::Code => rust::code(&text.text).collect(),
            Reach::Path => rust::without_tests(&text.text).collect(),
        };
        let found = lines.into_iter().filter(|(_, line)| self.is_in(line));
        found
            .map(|(number, _)| format!("{}:{number}: {:?}: {}", text.path, self.word, self.reason))
            .collect()
    }

    fn is_in(&self, line: &str) -> bool {
        match self.reach {
            Reach::Text | Reach::Code => rust::has_word(line, self.word),
            Reach::Path => starts_a_path(line, self.word),
        }
    }
}

impl Reach {
    fn read(cell: &str) -> Option<Self> {
        match cell {
            "text" => Some(Self::Text),
            "code" => Some(Self::Code),
            "path" => Some(Self::Path),
            _ => None,
        }
    }

    fn covers(self, path: &str) -> bool {
        if path.starts_with(US) || path == "Cargo.lock" {
            return false;
        }
        match self {
            Self::Text => true,
            Self::Code => path.ends_with(".rs"),
            Self::Path => !path.starts_with("deploy/") && !path.contains("tests/"),
        }
    }
}

/// Whether the path begins here: after a quote, a bracket, a space or `=`, not inside another path.
fn starts_a_path(line: &str, path: &str) -> bool {
    let opens =
        |before: &str| before.chars().next_back().is_none_or(|sign| "\"'`( =:".contains(sign));
    line.match_indices(path).any(|(at, _)| opens(&line[..at]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &str, text: &str) -> usize {
        faults(&Text { path: path.into(), text: text.into() }).len()
    }

    #[test]
    fn every_row_of_the_list_is_understood() {
        assert!(rows(WORDS).iter().all(|row| Rule::read(row).is_some()));
    }

    #[test]
    fn each_word_of_the_list_is_found_in_a_bad_sample() {
        for row in rows(WORDS) {
            let rule = Rule::read(&row).unwrap();
            assert_eq!(
                found("gateway/src/x.rs", &format!("//! x\nlet a = \"{}\";\n", rule.word)),
                1,
                "{row:?}"
            );
        }
    }

    #[test]
    fn prose_about_code_and_lints_about_code_are_fine() {
        assert_eq!(
            found("gateway/src/x.rs", "// an unsafe thing to do\n#![forbid(unsafe_code)]\n"),
            0
        );
    }

    #[test]
    fn a_path_of_a_machine_is_fine_in_tests_only() {
        let unit_test = "#[cfg(test)]\nmod tests {\n    let a = \"/tmp/x\";\n}\n";
        assert_eq!(found("gateway/src/x.rs", unit_test), 0);
        assert_eq!(found("config/x.toml", "a = \"/tmp/x\""), 1);
        assert_eq!(found("gateway/src/x.rs", "let a = \"/var/tmp/x\";"), 0);
    }
}
