//! `cargo demo`: builds and runs the gateway and its four services, each a process of its own, and tells what to try.
//!
//! The launcher holds the stdin of every child open and nothing else keeps them alive: however it dies, they end.

mod arguments;
mod child;
mod compile;
mod guide;
mod health;
mod places;
mod run;

use std::io::Write;
use std::process::ExitCode;

use arguments::{Action, Arguments};
use places::Places;

/// Exit codes as the gateway's own: 1 something failed, 2 usage, 3 an address is taken.
pub(crate) enum Exit {
    Done,
    Failed(String),
    Usage(String),
    Busy(String),
}

fn main() -> ExitCode {
    let exit = match Arguments::parse(std::env::args().skip(1)) {
        Ok(Arguments { action: Action::Help, .. }) => {
            say(arguments::HELP.trim_end());
            Exit::Done
        }
        Ok(arguments) => start(&arguments),
        Err(fault) => Exit::Usage(fault),
    };
    let (code, fault) = match exit {
        Exit::Done => return ExitCode::SUCCESS,
        Exit::Failed(fault) => (1, fault),
        Exit::Usage(fault) => (2, format!("{fault} (see `cargo demo --help`)")),
        Exit::Busy(fault) => (3, fault),
    };
    let _ = writeln!(std::io::stderr(), "cargo demo: {fault}");
    ExitCode::from(code)
}

fn start(arguments: &Arguments) -> Exit {
    let places = match Places::from_environment(|name| std::env::var(name).ok()) {
        Ok(places) => places,
        Err(fault) => return Exit::Usage(fault),
    };
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run::run(arguments, &places)),
        Err(error) => Exit::Failed(format!("can't start: {error}")),
    }
}

/// Prints without `println!`, which panics when nobody reads any more.
pub(crate) fn say(text: &str) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}
