//! Crosses cases with each other. The same seed makes the same mutants.

use fastrand::Rng;

/// Lines that turn a good request into an ambiguous one.
const SPICE: [&[u8]; 12] = [
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 5\r\n",
    b"Content-Length: 0\r\n",
    b"Host: other\r\n",
    b"Connection: host, x-forwarded-for\r\n",
    b"X-Forwarded-For: 6.6.6.6\r\n",
    b"X_Request_Id: 6\r\n",
    b"Expect: 100-continue\r\n",
    b"\r\n",
    b"\n",
    b"0\r\n\r\n",
    b"GET /smuggled HTTP/1.1\r\nHost: s\r\n\r\n",
];

/// Bytes that somebody reads differently.
const ODD: &[u8] = b"\r\n\0\t ;:,=%/\\#_\x7f\xff0aF";

/// Makes mutants out of cases.
#[derive(Debug)]
pub struct Mutator<'c> {
    rng: Rng,
    cases: Vec<&'c [u8]>,
}

impl<'c> Mutator<'c> {
    /// A mutator of these cases.
    pub fn new(seed: u64, cases: Vec<&'c [u8]>) -> Self {
        Self { rng: Rng::with_seed(seed), cases }
    }

    /// The next mutant.
    pub fn breed(&mut self) -> Vec<u8> {
        let mut bytes = self.any_case().to_vec();
        for _ in 0..self.rng.usize(1..=4) {
            self.change(&mut bytes);
        }
        bytes.truncate(40_000);
        bytes
    }

    fn any_case(&mut self) -> &'c [u8] {
        let index = self.rng.usize(0..self.cases.len());
        self.cases[index]
    }

    fn change(&mut self, bytes: &mut Vec<u8>) {
        let at = self.rng.usize(0..=bytes.len());
        match self.rng.usize(0..10) {
            // The head of one and the tail of another, cut anywhere.
            0 => {
                let other = self.any_case();
                let from = self.rng.usize(0..=other.len());
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            // The head of one and the tail of another, cut between lines.
            1 => {
                let at = line_start(bytes, at);
                let other = self.any_case();
                let from = line_start(other, self.rng.usize(0..=other.len()));
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
            // A line of another, put between two lines.
            2 | 3 => {
                let other = self.any_case();
                let from = line_start(other, self.rng.usize(0..=other.len()));
                let length =
                    other[from..].iter().position(|&b| b == b'\n').map_or(0, |end| end + 1);
                put(bytes, at, &other[from..from + length]);
            }
            4 | 5 => {
                let spice = SPICE[self.rng.usize(0..SPICE.len())];
                put(bytes, at, spice);
            }
            // A line twice.
            6 => {
                let from = line_start(bytes, at);
                let length =
                    bytes[from..].iter().position(|&b| b == b'\n').map_or(0, |end| end + 1);
                let line = bytes[from..from + length].to_vec();
                put(bytes, from, &line);
            }
            // One byte changed, put in or taken out.
            7 if at < bytes.len() => bytes[at] = self.rng.u8(..),
            8 => {
                bytes.insert(at, ODD[self.rng.usize(0..ODD.len())]);
            }
            _ if at < bytes.len() => {
                let end = (at + self.rng.usize(1..=4)).min(bytes.len());
                bytes.drain(at..end);
            }
            _ => {}
        }
    }
}

fn put(bytes: &mut Vec<u8>, at: usize, piece: &[u8]) {
    let at = line_start(bytes, at);
    bytes.splice(at..at, piece.iter().copied());
}

/// The start of the line in which `at` lies.
fn line_start(bytes: &[u8], at: usize) -> usize {
    bytes[..at].iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1)
}
