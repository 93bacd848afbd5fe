//! A step of the plan, and how it can end. Nothing here runs anything.

use crate::scene::Scene;
use std::time::Duration;

/// One line of the plan.
pub(crate) struct Step {
    pub(crate) name: &'static str,
    /// What is true when the step has passed.
    pub(crate) shows: &'static str,
    /// The longest that any one command of this step may take; it is ended then, and the step has failed.
    pub(crate) limit: Duration,
    pub(crate) when: When,
    pub(crate) work: Work,
}

impl Step {
    pub(crate) fn new(
        name: &'static str,
        shows: &'static str,
        minutes: u64,
        when: When,
        work: Work,
    ) -> Self {
        Self { name, shows, limit: Duration::from_secs(minutes * 60), when, work }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum When {
    Always,
    Full,
}

pub(crate) enum Work {
    /// A cargo command, with what it finds in its environment.
    Cargo(&'static [(&'static str, &'static str)], &'static [&'static str]),
    /// Work of our own; the duration is the limit for each command that it runs.
    Check(fn(&Scene, Duration) -> End),
}

/// How a step ended, with its closing line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum End {
    Passed(String),
    Failed(String),
    /// Could not be done on this machine, and the line says why. Only a step of `--full` may end so.
    LeftOut(String),
}
