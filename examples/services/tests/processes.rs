//! The binaries as processes: how each starts, says where it listens, and ends.

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

const ALL: [(&str, &str); 5] = [
    ("auth", env!("CARGO_BIN_EXE_auth")),
    ("sensor", env!("CARGO_BIN_EXE_sensor")),
    ("kafka-producer", env!("CARGO_BIN_EXE_kafka-producer")),
    ("orders", env!("CARGO_BIN_EXE_orders")),
    ("control", env!("CARGO_BIN_EXE_control")),
];

fn start(binary: &str, data_dir: &TempDir, port: u16) -> Child {
    Command::new(binary)
        .env("PORT", port.to_string())
        .env("PORTCULLIS_DATA_DIR", data_dir.path())
        .env("PORTCULLIS_UNTIL_STDIN_CLOSES", "1")
        .env_remove("RUST_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("cargo built the binary")
}

/// Reads until the line that says where the service listens.
fn listening(child: &mut Child, name: &str) -> String {
    let stdout = BufReader::new(child.stdout.as_mut().expect("stdout is piped"));
    let address = stdout.lines().find_map(|line| {
        Some(
            line.expect("stdout is text")
                .strip_prefix(&format!("{name} listening on "))?
                .to_owned(),
        )
    });
    address.expect("the service starts")
}

#[test]
fn each_service_says_its_real_address_and_ends_with_its_stdin() {
    for (name, binary) in ALL {
        let data_dir = TempDir::new().unwrap();
        let mut child = start(binary, &data_dir, 0);
        let address = listening(&mut child, name);
        assert!(address.starts_with("127.0.0.1:") && !address.ends_with(":0"), "{address}");
        drop(child.stdin.take());
        assert!(child.wait().unwrap().success(), "{name}");
    }
}

#[test]
fn a_taken_port_is_one_clear_line_and_exit_code_3() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let data_dir = TempDir::new().unwrap();
    let mut child = start(env!("CARGO_BIN_EXE_control"), &data_dir, address.port());
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3));
    assert!(
        stderr.starts_with(&format!("control: failed to start: can't listen on {address}: ")),
        "{stderr}"
    );
    assert_eq!(stderr.lines().count(), 1);
}

#[test]
fn a_file_in_place_of_the_data_directory_is_one_clear_line_and_exit_code_3() {
    let data_dir = TempDir::new().unwrap();
    std::fs::write(data_dir.path().join("orders"), "").unwrap();
    let mut child = start(env!("CARGO_BIN_EXE_orders"), &data_dir, 0);
    let mut stderr = String::new();
    child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(3));
    assert!(
        stderr.starts_with("orders: failed to start: can't create the data directory "),
        "{stderr}"
    );
}

#[test]
fn a_service_outlives_the_reader_of_its_output() {
    let data_dir = TempDir::new().unwrap();
    let mut child = start(env!("CARGO_BIN_EXE_control"), &data_dir, 0);
    listening(&mut child, "control");
    drop((child.stdout.take(), child.stderr.take()));
    drop(child.stdin.take());
    assert!(
        child.wait().unwrap().success(),
        "the last log line finds no reader, and that is no panic"
    );
}
