//! The sensor service as a process; its body is in `portcullis_services::sensor`.

use std::process::ExitCode;

use portcullis_services::{sensor, startup};

fn main() -> ExitCode {
    startup::run("sensor", 8102, sensor::open)
}
