//! A client that asks for one thing at a time over a connection that it keeps: for counting instructions, where a load tool
//! would only wait, and for connections that rest.

use crate::candidates::{BODY, Candidate};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const ANSWER_LIMIT: Duration = Duration::from_secs(20);

pub(crate) struct Client {
    stream: BufReader<TcpStream>,
    request: String,
}

impl Client {
    /// So many, each of which has had one answer.
    pub(crate) fn several(candidate: &Candidate, count: usize) -> Result<Vec<Self>, String> {
        let all = (0..count).map(|_| Self::open(candidate.port, candidate.path));
        all.collect::<io::Result<_>>()
            .map_err(|fault| format!("{} of {count} connections: {fault}", candidate.name))
    }

    pub(crate) fn ask_in_turn(clients: &mut [Self], times: usize) -> Result<(), String> {
        let count = clients.len();
        let mut asked = (0..times).map(|number| clients[number % count].ask());
        asked.try_for_each(|answer| answer.map_err(|fault| format!("a client: {fault}")))
    }

    fn open(port: u16, path: &str) -> io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_LIMIT))?;
        // The memory of ten thousand of these counts too.
        let stream = BufReader::with_capacity(1024, stream);
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n");
        let mut client = Self { stream, request };
        client.ask()?;
        Ok(client)
    }

    fn ask(&mut self) -> io::Result<()> {
        self.stream.get_mut().write_all(self.request.as_bytes())?;
        let mut line = String::new();
        self.stream.read_line(&mut line)?;
        let good = line.starts_with("HTTP/1.1 200");
        while !line.trim_end().is_empty() {
            line.clear();
            self.stream.read_line(&mut line)?;
        }
        let mut body = [0; BODY.len()];
        self.stream.read_exact(&mut body)?;
        match good && body == BODY.as_bytes() {
            true => Ok(()),
            false => Err(io::Error::other("the answer is not the upstream's")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::thread;

    #[test]
    fn a_connection_is_kept_and_a_wrong_answer_is_noticed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            for body in [BODY, BODY, &BODY.replace('4', "5")] {
                let mut request = [0; 256];
                assert!(stream.read(&mut request).unwrap() > 0);
                write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: 195\r\n\r\n{body}").unwrap();
            }
        });
        let mut client = Client::open(port, "/item").unwrap();
        assert!(client.ask().is_ok());
        assert!(client.ask().is_err());
        server.join().unwrap();
    }
}
