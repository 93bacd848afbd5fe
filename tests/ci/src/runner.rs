//! Runs the steps one after the other, whatever becomes of each, and sums up.

use crate::command::Bounded;
use crate::scene::Scene;
use crate::step::{End, Step, Work};
use std::process::ExitCode;
use std::time::{Duration, Instant};

pub(crate) fn run(steps: &[Step], scene: &Scene) -> ExitCode {
    let started = Instant::now();
    let ends: Vec<End> = steps.iter().map(|step| announced(step, scene)).collect();
    println!("\n== all steps, {}", seconds(started.elapsed()));
    for line in summary(steps, &ends) {
        println!("{line}");
    }
    match ends.iter().any(|end| matches!(end, End::Failed(_))) {
        true => ExitCode::FAILURE,
        false => ExitCode::SUCCESS,
    }
}

fn announced(step: &Step, scene: &Scene) -> End {
    println!("\n== {}: {}", step.name, step.shows);
    let started = Instant::now();
    let end = perform(step, scene);
    let (word, line) = words(&end);
    println!("-- {} {word} after {}: {line}", step.name, seconds(started.elapsed()));
    end
}

fn perform(step: &Step, scene: &Scene) -> End {
    match step.work {
        Work::Check(check) => check(scene, step.limit),
        Work::Cargo(environment, arguments) => {
            let cargo = Bounded::cargo(&scene.root, step.limit);
            let cargo =
                environment.iter().fold(cargo, |cargo, (name, value)| cargo.env(name, value));
            let command = format!("cargo {}", arguments.join(" "));
            match cargo.run(arguments).fault {
                None => End::Passed(command),
                Some(fault) => End::Failed(format!("{command} {fault}")),
            }
        }
    }
}

/// One line for each step, then the count alone, for scripts.
fn summary(steps: &[Step], ends: &[End]) -> Vec<String> {
    let each = steps.iter().zip(ends).map(|(step, end)| {
        let (word, line) = words(end);
        format!("{:<12} {word:<8} {line}", step.name)
    });
    let count = |wanted: &str| ends.iter().filter(|end| words(end).0 == wanted).count();
    let last = format!("{} passed, {} failed", count("passed"), count("failed"));
    each.chain([last]).collect()
}

fn words(end: &End) -> (&'static str, &str) {
    match end {
        End::Passed(line) => ("passed", line),
        End::Failed(line) => ("failed", line),
        End::LeftOut(line) => ("left out", line),
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::step::When::Always;

    #[test]
    fn the_last_line_counts_the_steps_and_nothing_else() {
        let step = |name| Step::new(name, "it is so", 1, Always, Work::Cargo(&[], &[]));
        let ends = [End::Passed("a".into()), End::Failed("b".into()), End::LeftOut("c".into())];
        let lines = summary(&[step("one"), step("two"), step("three")], &ends);
        assert_eq!(lines[1], "two          failed   b");
        assert_eq!(lines[3], "1 passed, 1 failed");
    }

    #[test]
    fn a_failed_step_does_not_stop_the_next_and_fails_the_run() {
        fn good(_: &Scene, _: Duration) -> End {
            End::Passed(String::new())
        }
        fn bad(_: &Scene, _: Duration) -> End {
            End::Failed(String::new())
        }
        let step = |work| Step::new("x", "it is so", 1, Always, Work::Check(work));
        let scene = Scene::find().unwrap();
        let code = |steps: &[Step]| format!("{:?}", run(steps, &scene));
        assert_eq!(code(&[step(bad), step(good)]), format!("{:?}", ExitCode::FAILURE));
        assert_eq!(code(&[step(good)]), format!("{:?}", ExitCode::SUCCESS));
    }
}
