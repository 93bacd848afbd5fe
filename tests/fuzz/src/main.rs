//! The gateway against bytes that nobody thought of.
//!
//! Each target takes bytes, hands them to a part of the gateway, and says what must hold whatever they are. A campaign
//! changes known inputs for a while and tries what comes out; the first input that breaks a promise (a panic is one) is made
//! as small as it gets, written down, and printed with the command that tries it again.
//!
//! **Why a fuzzer of our own.** libFuzzer and what stands on it (cargo-fuzz, bolero's engines) measure coverage with compiler
//! flags that stable Rust doesn't have. proptest runs on stable, but it makes inputs from a description of good ones, for a
//! number of cases instead of a time, and what breaks a parser is a good input with something wrong in it. So this one changes
//! seeds that a person wrote, and takes what the target *answers* (a status, a kind of fault) for coverage: an input that is
//! answered as none was before is kept and changed further. It finds less than libFuzzer would per hour, and it runs in every
//! `cargo ci`, from a seed that is printed.

mod campaign;
mod frames;
mod mutation;
mod options;
mod panics;
mod reduction;
mod targets;
mod watchdog;

use std::process::ExitCode;

use options::{Ask, Options};

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(fault) => {
            eprintln!("portcullis-fuzz: {fault}\n\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    panics::listen();
    let good = match &options.ask {
        Ask::Replay { target, file } => campaign::replay(target, file),
        Ask::Campaign => campaign::all(&options),
    };
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
