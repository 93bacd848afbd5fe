//! `cargo demo` as a newcomer types it: it builds, comes up, says where it is, stays, and ends by itself.

use crate::command::Bounded;
use crate::scene::Scene;
use crate::step::End;
use std::time::{Duration, Instant};

const ARGUMENTS: &[&str] = &["demo", "--duration", "5s"];
const STAYS: Duration = Duration::from_secs(5);
/// Where the gateway is, which the demo prints among the rest.
const GATEWAY_PORT: &str = ":8000";

pub(crate) fn check(scene: &Scene, limit: Duration) -> End {
    let started = Instant::now();
    let ended = Bounded::cargo(&scene.root, limit).run(ARGUMENTS);
    verdict(&ended.lines, ended.fault, started.elapsed())
}

/// An exit code alone would let a demo pass that does nothing.
fn verdict(lines: &[String], fault: Option<String>, took: Duration) -> End {
    let command = format!("cargo {}", ARGUMENTS.join(" "));
    match fault {
        Some(fault) => End::Failed(format!("{command} {fault}")),
        None if took < STAYS => End::Failed(format!("{command} ended before its time")),
        None if !lines.iter().any(|line| line.contains(GATEWAY_PORT)) => {
            End::Failed(format!("{command} did not say where the gateway is"))
        }
        None => End::Passed(command),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(9);

    #[test]
    fn a_demo_that_says_where_it_is_and_stays_has_passed() {
        assert!(matches!(
            verdict(&["gateway http://127.0.0.1:8000".into()], None, LONG),
            End::Passed(_)
        ));
    }

    #[test]
    fn a_demo_that_is_silent_or_gone_at_once_or_ends_badly_has_failed() {
        let lines = ["gateway http://127.0.0.1:8000".to_owned()];
        assert!(matches!(verdict(&[], None, LONG), End::Failed(_)));
        assert!(matches!(verdict(&lines, None, Duration::ZERO), End::Failed(_)));
        assert!(matches!(verdict(&lines, Some("ended with 1".into()), LONG), End::Failed(_)));
    }
}
