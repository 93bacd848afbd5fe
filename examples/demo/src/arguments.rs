//! What stands on the command line.

use std::time::Duration;

use crate::places::Name;

pub(crate) const HELP: &str = "\
Runs the Portcullis demo: the gateway and four services behind it, each its own process.

Usage: cargo demo [--duration TIME] [--no-build]
       cargo demo service NAME [--duration TIME] [--no-build]

  service NAME      run one process alone, to bring back one that was killed:
                    auth, sensor, kafka-producer, orders, gateway, or control (the one the demo leaves dead)
  --duration TIME   end by itself after that time, counted from when all is up: 20s, 500ms, 2m
  --no-build        use what was built before
  -h, --help        this text

Environment (defaults in brackets): AUTH_PORT [8101], SENSOR_PORT [8102], KAFKA_PRODUCER_PORT [8103],
ORDERS_PORT [8104], CONTROL_PORT [8105], PORTCULLIS_LISTEN [127.0.0.1:8000],
PORTCULLIS_ADMIN_LISTEN [127.0.0.1:8001], PORTCULLIS_DATA_DIR [var/demo in the workspace]

Exit codes: 0 ended as told, 1 something failed, 2 usage, 3 an address is already in use.
";

#[derive(Debug, PartialEq)]
pub(crate) struct Arguments {
    pub(crate) action: Action,
    pub(crate) duration: Option<Duration>,
    pub(crate) build: bool,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Action {
    Demo,
    Service(Name),
    Help,
}

impl Arguments {
    pub(crate) fn parse(arguments: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut parsed = Arguments { action: Action::Demo, duration: None, build: true };
        let mut rest = arguments;
        while let Some(argument) = rest.next() {
            match argument.as_str() {
                "-h" | "--help" => return Ok(Arguments { action: Action::Help, ..parsed }),
                "--no-build" => parsed.build = false,
                "--duration" => {
                    let text = rest.next().ok_or("--duration needs a time, such as 20s")?;
                    parsed.duration = Some(duration(&text)?);
                }
                "service" if parsed.action == Action::Demo => {
                    let name = rest.next().ok_or("service needs a name")?;
                    parsed.action = Action::Service(Name::parse(&name)?);
                }
                other => match other.strip_prefix("--duration=") {
                    Some(text) => parsed.duration = Some(duration(text)?),
                    None => return Err(format!("unknown argument {other:?}")),
                },
            }
        }
        Ok(parsed)
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let milliseconds: u64 = match &text[digits.len()..] {
        "ms" => 1,
        "" | "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(format!("{text:?} is no time; write it as 20s, 500ms or 2m")),
    };
    let count: u64 =
        digits.parse().map_err(|_| format!("{text:?} is no time; write it as 20s, 500ms or 2m"))?;
    count
        .checked_mul(milliseconds)
        .map(Duration::from_millis)
        .ok_or_else(|| format!("{text:?} is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Arguments, String> {
        Arguments::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn nothing_means_the_whole_demo_without_an_end() {
        assert_eq!(parse(""), Ok(Arguments { action: Action::Demo, duration: None, build: true }));
    }

    #[test]
    fn one_service_for_a_time() {
        let expected = Arguments {
            action: Action::Service(Name::KafkaProducer),
            duration: Some(Duration::from_secs(20)),
            build: false,
        };
        assert_eq!(
            parse("service kafka-producer --duration 20s --no-build").as_ref(),
            Ok(&expected)
        );
        assert_eq!(
            parse("--no-build --duration=20 service kafka-producer").as_ref(),
            Ok(&expected)
        );
    }

    #[test]
    fn times_have_units() {
        for (text, milliseconds) in
            [("500ms", 500), ("20s", 20_000), ("20", 20_000), ("2m", 120_000), ("1h", 3_600_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        for text in [
            "",
            "s",
            "-1s",
            "20 s",
            "1.5s",
            "20x",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_not_understood_is_named() {
        assert_eq!(parse("--fast"), Err("unknown argument \"--fast\"".to_owned()));
        assert!(parse("service").is_err());
        assert!(parse("service teapot").unwrap_err().contains("teapot"));
        assert!(parse("--duration").is_err());
    }

    #[test]
    fn help_wins() {
        assert_eq!(parse("--duration 20s --help").unwrap().action, Action::Help);
    }
}
