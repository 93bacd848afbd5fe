//! `cargo bench-gateway`: the gateway beside its peers in one run, on loopback.
//!
//! Machines are shared and noisy, so the figure is **CPU microseconds per proxied request** (user and system time of the
//! proxy's processes, divided by the requests that the load tool counted) as a ratio to nginx in the same round. The proxy has
//! core 0 and one worker; the load (64 keep-alive connections) and the upstream (nginx, 195 bytes of JSON) share core 1. Each
//! round runs every candidate once, so that a slow minute hits all of them; the table shows medians.
//!
//! `cargo bench-gateway --help` names the options. With `--rate` every candidate gets the same requests per second, which is
//! how latencies may be compared: under full load a faster proxy only waits longer for the load tool.
//!
//! With `--flat` the gateway is measured beside itself, with ten and with ten thousand of everything ([`flat`]).
//!
//! This file is the story; a new peer is an entry in [`candidates`] and its configuration in `data/`.

mod accounting;
mod callgrind;
mod candidates;
mod client;
mod descriptors;
mod flat;
mod load;
mod median;
mod options;
mod probe;
mod process;
mod programs;
mod round;
mod table;
mod workplace;

use options::Options;
use std::process::ExitCode;
use workplace::Workplace;

/// Ten thousand connections that rest, those that work, and room to spare.
const OPEN_FILES: u64 = 12_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help") {
        println!("{}", options::USAGE);
        return ExitCode::SUCCESS;
    }
    let options = match Options::parse(arguments.into_iter()) {
        Ok(options) => options,
        Err(fault) => {
            eprintln!("cargo bench-gateway: {fault}\n\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    match measure(&options) {
        Ok(complete) if complete => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(fault) => {
            eprintln!("cargo bench-gateway: {fault}");
            ExitCode::FAILURE
        }
    }
}

/// Whether every candidate that was asked for has a row that may be quoted.
fn measure(options: &Options) -> Result<bool, String> {
    let place = Workplace::prepare()?;
    programs::install_missing(&place, options);
    if options.flat {
        programs::ready_for_flat(&place, options)?;
        descriptors::allow(OPEN_FILES)?;
        let _upstream = upstream(&place)?;
        return flat::measure(options, &place);
    }
    let (ready, left_out) = programs::ready(&place, options)?;
    let _upstream = upstream(&place)?;
    let mut rows = table::Rows::new(&ready);
    for number in 1..=options.rounds.get() {
        for candidate in &ready {
            eprintln!("round {number} of {}: {}", options.rounds, candidate.name);
            rows.add(candidate.name, round::run(candidate, &place, options));
        }
    }
    println!("{}\n", rows.markdown(options));
    ready
        .iter()
        .filter_map(|candidate| programs::version(candidate, &place))
        .for_each(|line| println!("{line}"));
    left_out.iter().for_each(|line| println!("{line}"));
    Ok(left_out.is_empty() && rows.all_valid())
}

fn upstream(place: &Workplace) -> Result<process::Running, String> {
    let upstream = candidates::upstream();
    let mut serving = process::Running::start(&upstream, place, process::LOAD_CORE)?;
    probe::until_it_answers(&mut serving, &upstream)?;
    Ok(serving)
}
