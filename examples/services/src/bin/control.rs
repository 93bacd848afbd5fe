//! The control service as a process; its body is in `portcullis_services::control`.

use std::process::ExitCode;

use portcullis_services::{control, startup};

fn main() -> ExitCode {
    startup::run("control", 8105, control::open)
}
