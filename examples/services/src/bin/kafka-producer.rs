//! The kafka-producer service as a process; its body is in `portcullis_services::kafka_producer`.

use std::process::ExitCode;

use portcullis_services::{kafka_producer, startup};

fn main() -> ExitCode {
    startup::run("kafka-producer", 8103, kafka_producer::open)
}
