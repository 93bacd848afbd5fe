//! What only `--full` adds: the long forms of the tests, and line coverage where its tool is installed.

use crate::command::Bounded;
use crate::scene::Scene;
use crate::step::End;
use crate::suite;
use crate::tools::is_on_path;
use std::time::Duration;

/// Tests that have a long form (more rounds, larger bodies, longer floods) take it when this is `1`.
const LONG_FORMS: &str = "PORTCULLIS_FULL";

pub(crate) fn forms(scene: &Scene, limit: Duration) -> End {
    suite::everything(Bounded::cargo(&scene.root, limit).env(LONG_FORMS, "1"))
}

pub(crate) fn coverage(scene: &Scene, limit: Duration) -> End {
    if !is_on_path("cargo-llvm-cov") {
        return End::LeftOut(
            "cargo llvm-cov is not installed, so no coverage was measured".to_owned(),
        );
    }
    let arguments = ["llvm-cov", "--workspace", "--locked", "--release", "--summary-only"];
    let ended = Bounded::cargo(&scene.root, limit).run(&arguments);
    match ended.fault {
        Some(fault) => End::Failed(format!("cargo llvm-cov {fault}")),
        None => End::Passed(total(&ended.lines)),
    }
}

/// The table's last line, whose columns are counts and percentages of regions, functions and lines.
fn total(lines: &[String]) -> String {
    let total = lines.iter().rev().find(|line| line.starts_with("TOTAL"));
    let lines_reached =
        total.and_then(|line| line.split_whitespace().filter(|cell| cell.ends_with('%')).nth(2));
    lines_reached.map_or_else(|| "measured".to_owned(), |share| format!("{share} of the lines"))
}

#[cfg(test)]
mod tests {
    use super::total;

    #[test]
    fn the_share_of_lines_is_the_third_percentage() {
        let lines =
            ["TOTAL   10   1   90.00%   5   1   80.00%   100   12   88.00%   0   0   -".to_owned()];
        assert_eq!(total(&lines), "88.00% of the lines");
    }
}
