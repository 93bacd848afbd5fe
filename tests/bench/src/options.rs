//! The command line of the bench.

use std::num::{NonZeroU32, NonZeroU64};

pub(crate) const USAGE: &str = "\
usage: cargo bench-gateway [--rounds N] [--seconds N] [--only NAME,NAME] [--rate N] [--flat] [--profile dist|release]

  --rounds N    how often each candidate is measured (3)
  --seconds N   how long each measurement takes (4)
  --only A,B    these candidates: nginx, haproxy, haproxy-tcp, envoy, traefik, caddy, portcullis, portcullis-layers
  --rate N      N requests per second instead of as many as possible (with h2load)
  --flat        the gateway beside itself: instructions and CPU per request with ten, and with ten thousand, routes, features,
                flags and idle connections (--only takes these names then)
  --profile P   how the gateway is built: dist as it is shipped, release for a quick look";

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Options {
    pub(crate) rounds: NonZeroU32,
    pub(crate) seconds: NonZeroU64,
    /// Requests per second; as many as possible without it.
    pub(crate) rate: Option<NonZeroU32>,
    /// Whether the gateway is measured beside itself, at other sizes, instead of beside its peers.
    pub(crate) flat: bool,
    pub(crate) profile: String,
    only: Vec<String>,
}

impl Options {
    pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut options = Self {
            rounds: NonZeroU32::new(3).expect("three is not zero"),
            seconds: NonZeroU64::new(4).expect("four is not zero"),
            rate: None,
            flat: false,
            profile: "dist".to_owned(),
            only: Vec::new(),
        };
        while let Some(name) = arguments.next() {
            if name == "--flat" {
                options.flat = true;
                continue;
            }
            let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
            match name.as_str() {
                "--rounds" => options.rounds = number(&name, &value)?,
                "--seconds" => options.seconds = number(&name, &value)?,
                "--rate" => options.rate = Some(number(&name, &value)?),
                "--only" => options.only = value.split(',').map(ToOwned::to_owned).collect(),
                "--profile" if ["dist", "release"].contains(&value.as_str()) => {
                    options.profile = value;
                }
                _ => return Err(format!("what is {name} {value}?")),
            }
        }
        Ok(options)
    }

    pub(crate) fn wants(&self, candidate: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|name| name == candidate)
    }

    /// What was asked for and is no candidate.
    pub(crate) fn unknown<'a>(&'a self, known: &[&str]) -> Option<&'a str> {
        self.only.iter().map(String::as_str).find(|name| !known.contains(name))
    }
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{name} takes a number above zero, not {value:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Options, String> {
        Options::parse(line.split_whitespace().map(ToOwned::to_owned))
    }

    #[test]
    fn every_option_has_its_effect() {
        let options =
            parse("--rounds 5 --seconds 2 --only nginx,caddy --rate 4000 --profile release")
                .unwrap();
        assert_eq!((options.rounds.get(), options.seconds.get()), (5, 2));
        assert_eq!(options.rate.map(NonZeroU32::get), Some(4000));
        assert!(!options.flat && parse("--flat --rounds 1").unwrap().flat);
        assert!(options.wants("caddy") && !options.wants("envoy"));
        assert_eq!(options.profile, "release");
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for bad in ["--rounds 0", "--rounds", "--profile dev", "--fast yes"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(parse("--only nginx,ngimx").unwrap().unknown(&["nginx"]), Some("ngimx"));
    }
}
