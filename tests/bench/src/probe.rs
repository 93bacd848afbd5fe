//! Asks once, as a client would, whether the right answer comes: a fast proxy that answers something else is not fast.

use crate::candidates::{BODY, Candidate};
use crate::process::Running;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::thread;
use std::time::{Duration, Instant};

/// How long a candidate may take from its start to its first right answer.
const START_LIMIT: Duration = Duration::from_secs(20);
/// The same for one whose every instruction is counted.
const COUNTED_START_LIMIT: Duration = Duration::from_secs(240);
const ANSWER_LIMIT: Duration = Duration::from_secs(2);

pub(crate) fn until_it_answers(running: &mut Running, candidate: &Candidate) -> Result<(), String> {
    let &Candidate { name, port, path, under, .. } = candidate;
    let limit = if under.is_empty() { START_LIMIT } else { COUNTED_START_LIMIT };
    let deadline = Instant::now() + limit;
    loop {
        let wrong = match ask(port, path) {
            Ok(answer) if is_right(&answer) => return Ok(()),
            Ok(answer) => format!("answers {:?}", first_line(&answer)),
            Err(fault) => format!("does not answer: {fault}"),
        };
        if running.has_ended() {
            return Err(format!("{name} ended by itself: {}", running.last_words()));
        }
        if Instant::now() > deadline {
            return Err(format!("{name} on port {port} {wrong}"));
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn ask(port: u16, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER_LIMIT))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

fn is_right(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 200") && answer.ends_with(BODY)
}

fn first_line(answer: &str) -> &str {
    answer.lines().next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_upstreams_own_answer_is_right() {
        assert!(is_right(&format!("HTTP/1.1 200 OK\r\ncontent-length: 195\r\n\r\n{BODY}")));
        assert!(!is_right("HTTP/1.1 200 OK\r\n\r\n"));
        assert!(!is_right(&format!("HTTP/1.1 502 Bad Gateway\r\n\r\n{BODY}")));
    }
}
