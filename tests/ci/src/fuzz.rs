//! Every fuzz target, each for a bounded time. The step `build` has made the fuzzer; building it here by name would compile tokio
//! once more, with other features.

use crate::command::Bounded;
use crate::examples::target;
use crate::scene::Scene;
use crate::step::End;
use std::time::Duration;

/// How long each target is tried.
const SHORT: &str = "5";
const LONG: &str = "600";

pub(crate) fn short(scene: &Scene, limit: Duration) -> End {
    run(scene, limit, SHORT)
}

pub(crate) fn long(scene: &Scene, limit: Duration) -> End {
    run(scene, limit, LONG)
}

fn run(scene: &Scene, limit: Duration, seconds: &str) -> End {
    let program = target(scene).join("release").join("portcullis-fuzz");
    let ended = Bounded::new(program, &scene.root, limit).run(&["--seconds", seconds]);
    verdict(&ended.lines, ended.fault)
}

/// A fuzzer that tried nothing has shown nothing.
fn verdict(lines: &[String], fault: Option<String>) -> End {
    let inputs =
        |line: &String| line.split_once(": ")?.1.split_once(" inputs, ")?.0.parse::<u64>().ok();
    let tried: Vec<_> = lines.iter().filter_map(inputs).collect();
    let broken = lines.iter().filter(|line| line.contains(": FAILED, ")).count();
    let line = format!(
        "fuzz: {} targets kept their promises over {} inputs, {broken} did not",
        tried.len(),
        tried.iter().sum::<u64>()
    );
    match fault {
        Some(fault) => End::Failed(format!("{line}; it {fault} (the step `build` makes it)")),
        None if broken > 0 || tried.contains(&0) || tried.is_empty() => End::Failed(line),
        None => End::Passed(line),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn the_closing_line_counts_targets_and_inputs() {
        let said = "seed 7 (again)\npath: 10 inputs, 3 kinds of answer, no promise broken\nbodies: 5 inputs, 1 kinds of answer";
        let line = "fuzz: 2 targets kept their promises over 15 inputs, 0 did not";
        assert_eq!(verdict(&lines(said), None), End::Passed(line.into()));
    }

    #[test]
    fn a_broken_promise_an_idle_fuzzer_and_a_bad_end_have_failed() {
        for said in
            ["", "path: 0 inputs, 0 kinds", "path: FAILED, it panics\nbodies: 5 inputs, 1 kinds"]
        {
            assert!(matches!(verdict(&lines(said), None), End::Failed(_)), "{said}");
        }
        let good = lines("path: 10 inputs, 3 kinds");
        assert!(matches!(verdict(&good, Some("ended with 1".into())), End::Failed(_)));
    }
}
