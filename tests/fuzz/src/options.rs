//! The command line of the fuzzer.

use std::path::PathBuf;
use std::time::Duration;

pub(crate) const USAGE: &str = "\
usage: cargo fuzz-gateway [--seconds N] [--seed N] [--only TARGET]...
       cargo fuzz-gateway --replay TARGET FILE

  --seconds N          how long each target is tried (5)
  --seed N             where chance starts; the same seed tries the same inputs (random, and printed)
  --only TARGET        this target alone (may be repeated)
  --replay TARGET FILE tries one input";

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    Campaign,
    Replay { target: String, file: PathBuf },
}

#[derive(Debug)]
pub(crate) struct Options {
    pub(crate) ask: Ask,
    pub(crate) time: Duration,
    pub(crate) seed: u64,
    only: Vec<String>,
}

impl Options {
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            ask: Ask::Campaign,
            time: Duration::from_secs(5),
            seed: fastrand::u64(..),
            only: Vec::new(),
        };
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().ok_or_else(|| format!("{name} needs a value"));
            match name.as_str() {
                "--seconds" => options.time = Duration::from_secs(number(&name, &value()?)?),
                "--seed" => options.seed = number(&name, &value()?)?,
                "--only" => options.only.push(value()?),
                "--replay" => {
                    options.ask = Ask::Replay { target: value()?, file: value()?.into() };
                }
                _ => return Err(format!("what is {name}?")),
            }
        }
        Ok(options)
    }

    pub(crate) fn wants(&self, target: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == target)
    }

    /// What was asked for and is no target.
    pub(crate) fn unknown<'a>(&'a self, known: &[&str]) -> Option<&'a str> {
        self.only.iter().map(String::as_str).find(|name| !known.contains(name))
    }
}

fn number(name: &str, value: &str) -> Result<u64, String> {
    value.parse().map_err(|_| format!("{name} takes a number, not {value:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(ToOwned::to_owned))
    }

    #[test]
    fn every_option_has_its_effect() {
        let options = parse("--seconds 2 --seed 7 --only path --only config").expect("sound");
        assert_eq!((options.time.as_secs(), options.seed), (2, 7));
        assert!(options.wants("path") && !options.wants("http2"));
        assert_eq!(options.unknown(&["path"]), Some("config"));
        let replay = Ask::Replay { target: "path".into(), file: "x".into() };
        assert_eq!(parse("--replay path x").expect("sound").ask, replay);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for bad in ["--seconds", "--seconds x", "--fast", "--replay path"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
