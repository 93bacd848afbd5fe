//! The command line: which steps of the plan are asked for.

use crate::step::{Step, When};

pub(crate) const USAGE: &str = "\
usage: cargo ci [--full] [--only NAME]... [--list]

  --full       the long forms and line coverage too
  --only NAME  this step alone (may be repeated; names a step of --full as well)
  --list       the names of the steps, and what each shows";

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Run,
    List,
}

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) ask: Ask,
    full: bool,
    only: Vec<String>,
}

impl Options {
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self { ask: Ask::Run, full: false, only: Vec::new() };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--full" => options.full = true,
                "--list" => options.ask = Ask::List,
                "--only" => {
                    let name = arguments.next().ok_or("--only needs the name of a step")?;
                    options.only.push(name);
                }
                _ => return Err(format!("what is {argument:?}?")),
            }
        }
        Ok(options)
    }

    /// The steps that this command line means. `--list` shows all of them.
    pub(crate) fn choose(&self, plan: Vec<Step>) -> Result<Vec<Step>, String> {
        if let Some(unknown) =
            self.only.iter().find(|name| plan.iter().all(|step| step.name != *name))
        {
            return Err(format!("no step is called {unknown:?}; --list names them"));
        }
        let chosen = |step: &Step| match self.only.is_empty() {
            true => self.full || self.ask == Ask::List || step.when == When::Always,
            false => self.only.iter().any(|name| name == step.name),
        };
        Ok(plan.into_iter().filter(chosen).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan;

    fn chosen(arguments: &[&str]) -> Vec<&'static str> {
        let options = Options::parse(arguments.iter().map(ToString::to_string)).unwrap();
        options.choose(plan()).unwrap().iter().map(|step| step.name).collect()
    }

    #[test]
    fn the_long_forms_run_only_when_asked_for() {
        assert!(!chosen(&[]).contains(&"long-forms"));
        assert!(chosen(&["--full"]).contains(&"long-forms"));
    }

    #[test]
    fn one_step_can_be_asked_for_by_name() {
        assert_eq!(chosen(&["--only", "fmt", "--only", "coverage"]), ["fmt", "coverage"]);
    }

    #[test]
    fn an_unknown_step_or_option_is_refused() {
        assert!(Options::parse(["--fast".to_owned()].into_iter()).is_err());
        let options = Options::parse(["--only", "fnt"].iter().map(ToString::to_string)).unwrap();
        assert!(options.choose(plan()).is_err());
    }

    #[test]
    fn no_two_steps_share_a_name() {
        let mut names: Vec<_> = plan().iter().map(|step| step.name).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }
}
