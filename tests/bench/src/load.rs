//! The two load tools: wrk sends as much as it can, h2load sends at a rate. Both run on one core with 64 connections, and
//! what they print is read here.

use crate::options::Options;
use crate::process::{LOAD_CORE, pinned};
use crate::programs;
use crate::workplace::Workplace;
use std::fs;
use std::num::NonZeroU32;
use std::process::{Child, Stdio};

const CONNECTIONS: u32 = 64;

#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Load {
    pub(crate) requests: f64,
    pub(crate) per_second: f64,
    pub(crate) p50_micros: f64,
    pub(crate) p99_micros: f64,
    /// Why the figures may not be quoted.
    pub(crate) faults: Vec<String>,
}

/// A load that runs.
pub(crate) struct Sending<'a> {
    child: Child,
    seconds: u64,
    by_rate: bool,
    place: &'a Workplace,
}

impl<'a> Sending<'a> {
    pub(crate) fn start(
        url: &str,
        seconds: u64,
        options: &Options,
        place: &'a Workplace,
    ) -> Result<Self, String> {
        let (program, arguments) = match options.rate {
            None => ("wrk", wrk(seconds)),
            Some(rate) => ("h2load", h2load(seconds, rate, place)),
        };
        let path = programs::on_path(program).ok_or_else(|| format!("{program} is missing"))?;
        let mut command = pinned(&path, LOAD_CORE);
        command
            .args(arguments)
            .arg(url)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let child =
            command.spawn().map_err(|fault| format!("{program} could not be started: {fault}"))?;
        place.remember(child.id());
        Ok(Self { child, seconds, by_rate: options.rate.is_some(), place })
    }

    /// Both tools end by themselves after their time.
    pub(crate) fn finish(self) -> Result<Load, String> {
        let output = self
            .child
            .wait_with_output()
            .map_err(|fault| format!("the load tool was lost: {fault}"))?;
        let text = String::from_utf8_lossy(&output.stdout);
        match self.by_rate {
            false => read_wrk(&text),
            true => {
                read_h2load(&fs::read_to_string(log(self.place)).unwrap_or_default(), self.seconds)
            }
        }
    }
}

fn wrk(seconds: u64) -> Vec<String> {
    vec![
        "-t1".into(),
        format!("-c{CONNECTIONS}"),
        format!("-d{seconds}s"),
        "--timeout".into(),
        "5s".into(),
        "--latency".into(),
    ]
}

fn h2load(seconds: u64, rate: NonZeroU32, place: &Workplace) -> Vec<String> {
    let log = log(place);
    let _ = fs::remove_file(&log);
    let per_connection = f64::from(rate.get()) / f64::from(CONNECTIONS);
    vec![
        "--h1".into(),
        format!("--clients={CONNECTIONS}"),
        format!("--duration={seconds}"),
        format!("--rps={per_connection}"),
        format!("--log-file={}", log.display()),
    ]
}

fn log(place: &Workplace) -> std::path::PathBuf {
    place.scratch("h2load.log")
}

fn read_wrk(text: &str) -> Result<Load, String> {
    let after = |key: &str| {
        text.lines().find_map(|line| line.trim_start().strip_prefix(key)).map(str::trim)
    };
    let counted =
        text.lines().find_map(|line| line.trim_start().split_once(" requests in ")?.0.parse().ok());
    let faults = ["Non-2xx or 3xx responses:", "Socket errors:"]
        .iter()
        .filter_map(|key| Some(format!("{key} {}", after(key)?)));
    Ok(Load {
        requests: counted.ok_or_else(|| format!("wrk counted nothing: {text}"))?,
        per_second: after("Requests/sec:")
            .and_then(|rate| rate.parse().ok())
            .ok_or("wrk gave no rate")?,
        p50_micros: after("50%").and_then(micros).ok_or("wrk gave no median")?,
        p99_micros: after("99%").and_then(micros).ok_or("wrk gave no 99th percentile")?,
        faults: faults.collect(),
    })
}

/// `812.00us`, `1.25ms` or `1.03s`.
fn micros(text: &str) -> Option<f64> {
    let number = text.trim_end_matches(|sign: char| sign.is_ascii_alphabetic());
    let factor = match &text[number.len()..] {
        "us" => 1.0,
        "ms" => 1_000.0,
        "s" => 1_000_000.0,
        _ => return None,
    };
    Some(number.parse::<f64>().ok()? * factor)
}

/// The log has a line for each request: when it began, its status, and how long it took in microseconds.
fn read_h2load(log: &str, seconds: u64) -> Result<Load, String> {
    let (mut took, mut bad) = (Vec::new(), 0_u64);
    for line in log.lines() {
        let mut fields = line.split('\t').skip(1);
        match (fields.next(), fields.next().and_then(|micros| micros.parse::<u64>().ok())) {
            (Some(status), Some(micros)) if status.starts_with('2') => took.push(micros),
            _ => bad += 1,
        }
    }
    took.sort_unstable();
    let at = |share: usize| {
        took.get((took.len() * share / 100).min(took.len().saturating_sub(1))).copied()
    };
    let faults = (bad > 0).then(|| format!("{bad} answers were not 2xx")).into_iter().collect();
    let requests = took.len() as f64;
    Ok(Load {
        requests,
        per_second: requests / seconds as f64,
        p50_micros: at(50).ok_or("h2load counted nothing")? as f64,
        p99_micros: at(99).ok_or("h2load counted nothing")? as f64,
        faults,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRK: &str = "Running 4s test @ http://127.0.0.1:9301/item
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency     1.22ms  600.00us  12.00ms   90.00%
    Req/Sec    50.00k     1.00k   52.00k    70.00%
  Latency Distribution
     50%    1.10ms
     75%    1.30ms
     90%    1.60ms
     99%    4.00ms
  200000 requests in 4.00s, 70.00MB read
Requests/sec:  49950.12
Transfer/sec:     17.50MB
";

    #[test]
    fn what_wrk_prints_is_read() {
        let expected = Load {
            requests: 200_000.0,
            per_second: 49_950.12,
            p50_micros: 1_100.0,
            p99_micros: 4_000.0,
            faults: Vec::new(),
        };
        assert_eq!(read_wrk(WRK).unwrap(), expected);
    }

    #[test]
    fn answers_that_are_not_2xx_and_socket_errors_are_faults() {
        let text = format!(
            "{WRK}  Socket errors: connect 0, read 3, write 0, timeout 0\n  Non-2xx or 3xx responses: 12\n"
        );
        assert_eq!(read_wrk(&text).unwrap().faults.len(), 2);
        assert!(read_wrk("unable to connect").is_err());
    }

    #[test]
    fn h2loads_log_gives_percentiles_and_faults() {
        let log: String =
            (1..=100).map(|n| format!("0\t200\t{n}\n")).collect::<String>() + "0\t503\t1\n";
        let load = read_h2load(&log, 2).unwrap();
        assert_eq!(
            (load.requests, load.per_second, load.p50_micros, load.p99_micros),
            (100.0, 50.0, 51.0, 100.0)
        );
        assert_eq!(load.faults, ["1 answers were not 2xx"]);
        assert!(read_h2load("", 2).is_err());
    }
}
