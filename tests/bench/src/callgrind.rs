//! Instructions per request, counted by valgrind's callgrind: the same on a busy machine as on a quiet one.
//!
//! The process is counted from a command to a command, so that its start is no part of it, twice: over few requests and over
//! many. The difference of the two divided by the difference of the requests leaves out what belongs to neither. All that
//! thrice, and the median of it: a timer wheel that turns or an allocator that tidies up falls into one of them by chance.

use crate::candidates::Candidate;
use crate::client::Client;
use crate::median::median;
use crate::probe;
use crate::process::{PROXY_CORE, Running};
use crate::workplace::Workplace;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

/// What a candidate runs under to be counted.
pub(crate) const UNDER: &[&str] =
    &["valgrind", "--tool=callgrind", "--callgrind-out-file={dir}/callgrind.out"];

/// Connections that ask in turn, as the load of the other measurements does on 64.
const CONNECTIONS: usize = 8;
const WARM_UP: usize = 400;
const FEW: usize = 400;
const MANY: usize = 2_400;
const WINDOWS: usize = 3;
/// A connection looks at its timer once when the time of its first head is over, ten seconds after it came. That is a cost of
/// coming, not of resting.
const SETTLING: Duration = Duration::from_secs(11);

pub(crate) fn per_request(
    candidate: &Candidate,
    idle: usize,
    place: &Workplace,
) -> Result<f64, String> {
    let mut running = Running::start(candidate, place, PROXY_CORE)?;
    probe::until_it_answers(&mut running, candidate)?;
    let _idle = Client::several(candidate, idle)?;
    let mut clients = Client::several(candidate, CONNECTIONS)?;
    thread::sleep(SETTLING);
    Client::ask_in_turn(&mut clients, WARM_UP)?;
    tell(&running, "zero")?;
    let mut figures = Vec::new();
    for window in 0..WINDOWS {
        let mut count = |requests, number| {
            Client::ask_in_turn(&mut clients, requests)?;
            tell(&running, "dump")?;
            counted(&running.folder().join(format!("callgrind.out.{number}")))
        };
        let (few, many) = (count(FEW, 2 * window + 1)?, count(MANY, 2 * window + 2)?);
        figures.push((many - few) / (MANY - FEW) as f64);
    }
    Ok(median(figures.into_iter()))
}

/// Gives valgrind a command, which it has obeyed when this returns.
fn tell(running: &Running, command: &str) -> Result<(), String> {
    let status = Command::new("vgdb")
        .arg(format!("--pid={}", running.id()))
        .arg(command)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        _ => Err(format!("valgrind did not take the command {command}")),
    }
}

fn counted(dump: &Path) -> Result<f64, String> {
    let text = fs::read_to_string(dump).map_err(|fault| format!("{}: {fault}", dump.display()))?;
    total(&text).ok_or_else(|| format!("{} has no sum", dump.display()))
}

fn total(dump: &str) -> Option<f64> {
    dump.lines().find_map(|line| line.strip_prefix("summary:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_sum_of_a_dump_is_found() {
        let dump = "# callgrind format\nevents: Ir\nsummary: 15131084\n\nfn=(1)\n16 3\n";
        assert_eq!(super::total(dump), Some(15_131_084.0));
        assert_eq!(super::total("events: Ir\n"), None);
    }
}
