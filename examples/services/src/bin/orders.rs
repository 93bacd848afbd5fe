//! The orders service as a process; its body is in `portcullis_services::orders`.

use std::process::ExitCode;

use portcullis_services::{orders, startup};

fn main() -> ExitCode {
    startup::run("orders", 8104, orders::open)
}
