//! Reads how many tests a runner ran from what it printed: cargo's own runner, one line per binary, or nextest's summary.

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// Marked as ignored, or filtered out.
    pub(crate) skipped: u64,
}

impl Tally {
    pub(crate) fn of(lines: &[String]) -> Self {
        // nextest shows what a failed test printed, and that is a result of cargo's own runner.
        let is_counted =
            if lines.iter().any(|line| is_summary(line)) { is_summary } else { is_result };
        lines.iter().filter(|line| is_counted(line)).fold(Self::default(), |sum, line| Self {
            passed: sum.passed + before(line, "passed"),
            failed: sum.failed + before(line, "failed") + before(line, "timed out"),
            skipped: sum.skipped + before(line, "ignored") + before(line, "skipped"),
        })
    }
}

fn is_summary(line: &str) -> bool {
    line.trim_start().starts_with("Summary [") && line.contains(" run: ")
}

fn is_result(line: &str) -> bool {
    line.trim_start().starts_with("test result: ")
}

/// The number in front of a word: `12` in `ok. 12 passed; 0 failed`.
fn before(line: &str, word: &str) -> u64 {
    let numbers = line
        .match_indices(word)
        .filter_map(|(at, _)| line[..at].trim_end().rsplit([' ', '(']).next()?.parse().ok());
    numbers.last().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(lines: &[&str]) -> Tally {
        Tally::of(&lines.iter().map(ToString::to_string).collect::<Vec<_>>())
    }

    #[test]
    fn the_results_of_all_binaries_are_added_up() {
        let lines = [
            "running 2 tests",
            "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: FAILED. 5 passed; 1 failed; 3 ignored; 0 measured; 0 filtered out; finished in 0.10s",
        ];
        assert_eq!(tally(&lines), Tally { passed: 7, failed: 1, skipped: 3 });
    }

    #[test]
    fn a_summary_of_nextest_is_understood() {
        let lines = [
            "     Summary [   0.4s] 30 tests run: 28 passed (2 slow), 1 failed, 1 timed out, 4 skipped",
        ];
        assert_eq!(tally(&lines), Tally { passed: 28, failed: 2, skipped: 4 });
    }

    #[test]
    fn what_a_failed_test_printed_is_not_counted_beside_nextests_summary() {
        let lines = [
            "    test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 2 filtered out",
            "     Summary [   0.4s] 3 tests run: 2 passed, 1 failed, 0 skipped",
        ];
        assert_eq!(tally(&lines), Tally { passed: 2, failed: 1, skipped: 0 });
    }

    #[test]
    fn a_test_that_prints_such_words_is_not_counted() {
        assert_eq!(tally(&["my own 7 passed"]), Tally::default());
    }
}
