//! The command line: `portcullis run`, and what an operator does from a shell.
//!
//! Exit codes: 0 done, 1 configuration or input at fault, 2 usage, 3 can't bind or open the store, 70 a bug. What a program
//! may want to read goes to stdout, complaints go to stderr, one line each.

mod audit;
mod client;
mod keygen;
mod operate;

use std::env;
use std::ffi::OsString;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use self::operate::Operation;
use crate::config::{self, Fault, config::Config, render_faults};
use crate::gateway;

const AT_FAULT: u8 = 1;
const USAGE: u8 = 2;
const BUG: u8 = 70;

/// Where a configuration is looked for when nobody names one.
const USUAL_PLACES: [&str; 2] = ["config/gateway.toml", "/etc/portcullis/gateway.toml"];

/// An API gateway with a killswitch for everything behind it.
#[derive(Debug, Parser)]
#[command(name = "portcullis", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the gateway
    Run(ConfigFile),
    /// Check configurations, and show every fault at its place
    Check {
        /// The files; by default the one that `run` would take
        files: Vec<PathBuf>,
    },
    /// Print the JSON Schema of the configuration, for editors
    Schema,
    /// Make a key for the admin API: the key itself, and its lines for the configuration
    Keygen(keygen::Order),
    /// Look into the audit of a store on disk
    #[command(subcommand)]
    Audit(audit::Audit),
    #[command(flatten)]
    Operate(Operation),
}

#[derive(Debug, Clone, Args)]
struct ConfigFile {
    /// The configuration; else $PORTCULLIS_CONFIG, config/gateway.toml, /etc/portcullis/gateway.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// A complaint for stderr, and the code to end with.
#[derive(Debug)]
struct Failure {
    code: u8,
    message: String,
}

/// Does what the command line says. A panic is a bug, and ends with a code of its own.
pub fn main() -> ExitCode {
    let code = catch_unwind(AssertUnwindSafe(|| run(env::args_os()))).unwrap_or(BUG);
    ExitCode::from(code)
}

fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are such an "error" too, and go to stdout.
            let _ = error.print();
            return if error.use_stderr() { USAGE } else { 0 };
        }
    };
    match cli.command.execute() {
        Ok(()) => 0,
        Err(Failure { code, message }) => {
            complain(&message);
            code
        }
    }
}

impl Command {
    fn execute(self) -> Result<(), Failure> {
        match self {
            Self::Run(file) => serve(&file),
            Self::Check { files } => check(files),
            Self::Schema => {
                say(&format!("{:#}\n", config::schema()));
                Ok(())
            }
            Self::Keygen(order) => keygen::make(&order),
            Self::Audit(audit) => audit.execute(),
            Self::Operate(operation) => operation.execute(),
        }
    }
}

fn serve(file: &ConfigFile) -> Result<(), Failure> {
    let config = file.load()?;
    gateway::run(config).map_err(|error| Failure {
        code: error.exit_code(),
        message: format!("portcullis: {error}\n"),
    })
}

fn check(files: Vec<PathBuf>) -> Result<(), Failure> {
    let files = if files.is_empty() { vec![ConfigFile { config: None }.path()?] } else { files };
    let mut at_fault = false;
    for file in files {
        match config::load(&file) {
            Ok(_) => say(&format!("{}: no fault\n", file.display())),
            Err(faults) => {
                at_fault = true;
                say(&render_faults(&faults));
            }
        }
    }
    if at_fault { Err(Failure { code: AT_FAULT, message: String::new() }) } else { Ok(()) }
}

impl ConfigFile {
    fn load(&self) -> Result<Config, Failure> {
        config::load(&self.path()?).map_err(Failure::from)
    }

    fn path(&self) -> Result<PathBuf, Failure> {
        let named =
            self.config.clone().or_else(|| env::var_os("PORTCULLIS_CONFIG").map(PathBuf::from));
        let usual = || USUAL_PLACES.iter().map(PathBuf::from).find(|path| Path::exists(path));
        named.or_else(usual).ok_or_else(|| {
            let [here, there] = USUAL_PLACES;
            Failure::input(format_args!(
                "there is no {here} and no {there}: name a configuration with --config"
            ))
        })
    }
}

impl Failure {
    fn input(what: impl std::fmt::Display) -> Self {
        Self { code: AT_FAULT, message: format!("portcullis: {what}\n") }
    }
}

impl From<Vec<Fault>> for Failure {
    fn from(faults: Vec<Fault>) -> Self {
        Self { code: AT_FAULT, message: render_faults(&faults) }
    }
}

/// To stdout. A reader that went away (`| head`) is no fault of ours.
fn say(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}

fn complain(text: &str) {
    let _ = std::io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(arguments: &[&str]) -> u8 {
        run(["portcullis"].iter().chain(arguments).map(OsString::from))
    }

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }

    #[test]
    fn a_wrong_option_is_a_usage_fault_and_help_is_none() {
        assert_eq!(code(&["run", "--confg", "x"]), USAGE);
        assert_eq!(code(&[]), USAGE);
        assert_eq!(code(&["kill", "payments"]), USAGE, "a kill needs a reason");
        assert_eq!(code(&["--help"]), 0);
        assert_eq!(code(&["--version"]), 0);
    }

    #[test]
    fn a_faulty_configuration_ends_with_one() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("gateway.toml");
        std::fs::write(&file, "[server]\nworkerz = 2\n").unwrap();
        let file = file.to_str().unwrap();
        assert_eq!(code(&["check", file]), AT_FAULT);
        assert_eq!(code(&["run", "--config", file]), AT_FAULT);
        assert_eq!(code(&["run", "--config", "/nonexistent/gateway.toml"]), AT_FAULT);
    }

    #[test]
    fn a_configuration_without_fault_and_the_schema_end_with_zero() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("gateway.toml");
        std::fs::write(&file, "[server]\nworkers = 2\n").unwrap();
        assert_eq!(code(&["check", file.to_str().unwrap()]), 0);
        assert_eq!(code(&["schema"]), 0);
    }
}
