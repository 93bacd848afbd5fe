//! The tests of the workspace: with nextest where it is installed (one process per test), else with cargo's own runner.

use crate::command::Bounded;
use crate::scene::Scene;
use crate::step::End;
use crate::tally::Tally;
use crate::tools::is_on_path;
use std::time::Duration;

const NEXTEST: &[&str] = &[
    "nextest",
    "run",
    "--workspace",
    "--locked",
    "--release",
    "--no-fail-fast",
    "--status-level",
    "slow",
];
const CARGO_TEST: &[&str] = &[
    "test",
    "--workspace",
    "--locked",
    "--release",
    "--no-fail-fast",
    "--lib",
    "--bins",
    "--tests",
];
const DOCUMENTATION: &[&str] = &["test", "--doc", "--workspace", "--locked", "--release"];

pub(crate) fn short(scene: &Scene, limit: Duration) -> End {
    everything(Bounded::cargo(&scene.root, limit))
}

pub(crate) fn everything(cargo: Bounded) -> End {
    match is_on_path("cargo-nextest") {
        true => counted("nextest", cargo, NEXTEST),
        false => counted("cargo test", cargo, CARGO_TEST),
    }
}

pub(crate) fn of_documentation(scene: &Scene, limit: Duration) -> End {
    counted("rustdoc", Bounded::cargo(&scene.root, limit), DOCUMENTATION)
}

fn counted(runner: &str, cargo: Bounded, arguments: &[&str]) -> End {
    let ended = cargo.run(arguments);
    verdict(runner, Tally::of(&ended.lines), ended.fault)
}

/// A runner that ran nothing has shown nothing, whatever its exit code.
fn verdict(runner: &str, tally: Tally, fault: Option<String>) -> End {
    let Tally { passed, failed, skipped } = tally;
    let line = format!("{runner}: {passed} passed, {failed} failed, {skipped} skipped");
    match fault {
        Some(fault) => End::Failed(format!("{line}; it {fault}")),
        None if failed > 0 || passed == 0 => End::Failed(line),
        None => End::Passed(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: Tally = Tally { passed: 3, failed: 0, skipped: 1 };

    #[test]
    fn the_closing_line_counts_what_the_runner_counted() {
        assert_eq!(
            verdict("nextest", GOOD, None),
            End::Passed("nextest: 3 passed, 0 failed, 1 skipped".into())
        );
    }

    #[test]
    fn a_runner_that_ran_nothing_or_ended_badly_has_failed() {
        assert!(matches!(verdict("nextest", Tally::default(), None), End::Failed(_)));
        assert!(matches!(verdict("nextest", GOOD, Some("ended with 101".into())), End::Failed(_)));
    }
}
