//! Building what is about to run, with the same cargo and the same profile as the launcher itself.

use std::path::PathBuf;
use std::process::Stdio;

use tokio::process::Command;

use crate::places::Places;

/// Runs `cargo build` and shows what it says.
pub(crate) async fn compile(places: &Places) -> Result<(), String> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--package", "portcullis-gateway", "--package", "portcullis-services"]);
    if !cfg!(debug_assertions) {
        command.arg("--release");
    }
    command.current_dir(&places.workspace).stdin(Stdio::null()).kill_on_drop(true);
    let status = command.status().await.map_err(|error| format!("can't run cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("the build failed ({status})")) }
}

/// Where cargo puts programs: beside this one.
pub(crate) fn directory() -> Result<PathBuf, String> {
    let launcher =
        std::env::current_exe().map_err(|error| format!("can't find myself: {error}"))?;
    launcher
        .parent()
        .map(PathBuf::from)
        .ok_or_else(|| "can't find where programs are built".to_owned())
}
