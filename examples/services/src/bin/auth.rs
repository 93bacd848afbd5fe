//! The auth service as a process; its body is in `portcullis_services::auth`.

use std::process::ExitCode;

use portcullis_services::{auth, startup};

fn main() -> ExitCode {
    startup::run("auth", 8101, auth::open)
}
