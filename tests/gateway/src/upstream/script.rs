//! What a scripted upstream does with one request, step by step.
//!
//! The ready-made scripts are named after the fault they play; the steps below them combine into any other.

use std::time::Duration;

use tokio::sync::watch;

/// The course of one request at an [`Upstream`](crate::Upstream). After the last step the connection waits for the next request,
/// unless the script ended it.
#[derive(Debug, Clone, Default)]
pub struct Script {
    pub(super) steps: Vec<Step>,
}

#[derive(Debug, Clone)]
pub(super) enum Step {
    ReadBody,
    ReadBytes(usize),
    Head {
        status: u16,
        headers: Vec<(String, String)>,
    },
    Bytes(Vec<u8>),
    Echo,
    Trickle {
        bytes: Vec<u8>,
        piece: usize,
        pause: Duration,
    },
    Wait(Duration),
    AtGate(Gate),
    Close,
    Reset,
    /// Reads and drops whatever comes, says nothing, until the peer ends.
    Silence,
    /// Neither reads nor writes, so that the peer's buffers fill.
    Freeze,
}

/// Ready-made scripts.
impl Script {
    /// Reads the request, answers it whole and keeps the connection.
    pub fn answer(status: u16, body: impl AsRef<[u8]>) -> Self {
        Self::default().read_body().answered(status, body)
    }

    /// [`answer`](Self::answer) with JSON.
    pub fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::answer(status, body.to_string()).header("content-type", "application/json")
    }

    /// Answers 200 with what it received: `{"method", "target", "headers": [[name, value], …], "body_length"}`.
    pub fn echo() -> Self {
        Self::default().read_body().then(Step::Echo)
    }

    /// Answers before it has read the body, then reads the rest.
    pub fn answer_early(status: u16, body: impl AsRef<[u8]>) -> Self {
        Self::default().answered(status, body).read_body()
    }

    /// Answers before it has read the body, and never reads the rest.
    pub fn answer_early_and_freeze(status: u16, body: impl AsRef<[u8]>) -> Self {
        Self::default().answered(status, body).then(Step::Freeze)
    }

    /// Reads the request and stays silent until the peer hangs up.
    pub fn stall() -> Self {
        Self::default().then(Step::Silence)
    }

    /// Reads the head only, and then does nothing at all: what the peer sends piles up.
    pub fn freeze() -> Self {
        Self::default().then(Step::Freeze)
    }

    /// Sends the head of an answer, promises ten bytes, and sends none.
    pub fn stall_after_head() -> Self {
        Self::default().read_body().head(200).header("content-length", "10").then(Step::Silence)
    }

    /// Resets the connection (RST) instead of an answer.
    pub fn reset() -> Self {
        Self::default().read_body().then(Step::Reset)
    }

    /// Promises the whole of `body`, sends its first `sent` bytes, then resets.
    pub fn reset_mid_body(body: impl AsRef<[u8]>, sent: usize) -> Self {
        Self::part(body.as_ref(), sent).then(Step::Reset)
    }

    /// Promises the whole of `body`, sends its first `sent` bytes, then closes in the ordinary way.
    pub fn close_mid_body(body: impl AsRef<[u8]>, sent: usize) -> Self {
        Self::part(body.as_ref(), sent).then(Step::Close)
    }

    /// Closes the connection without a word.
    pub fn close() -> Self {
        Self::default().read_body().then(Step::Close)
    }

    /// Closes once it has read `bytes` bytes of the body.
    pub fn close_after(bytes: usize) -> Self {
        Self::default().then(Step::ReadBytes(bytes)).then(Step::Close)
    }

    /// Answers 200 at `piece` bytes of the body each `pause`.
    pub fn trickle(body: impl AsRef<[u8]>, piece: usize, pause: Duration) -> Self {
        let bytes = body.as_ref().to_vec();
        let length = bytes.len().to_string();
        Self::default()
            .read_body()
            .head(200)
            .header("content-length", &length)
            .then(Step::Trickle { bytes, piece, pause })
    }

    /// Answers with a `Content-Length` of its own choosing.
    pub fn lie_about_length(claimed: usize, body: impl AsRef<[u8]>) -> Self {
        Self::default()
            .read_body()
            .head(200)
            .header("content-length", &claimed.to_string())
            .bytes(body)
            .then(Step::Close)
    }

    /// Answers one request twice.
    pub fn answer_twice(first: &str, second: &str) -> Self {
        Self::answer(200, first).answered(200, second)
    }

    /// Reads the request and sends these bytes, whatever they are, then closes.
    pub fn raw(bytes: impl AsRef<[u8]>) -> Self {
        Self::default().read_body().bytes(bytes).then(Step::Close)
    }
}

/// Steps, for scripts of one's own: `Script::default().read_body().head(200).…`
impl Script {
    /// Reads the body to its end.
    pub fn read_body(self) -> Self {
        self.then(Step::ReadBody)
    }

    /// Sends a status line, and the headers that [`header`](Self::header) adds to it.
    pub fn head(self, status: u16) -> Self {
        self.then(Step::Head { status, headers: Vec::new() })
    }

    /// Adds a header to the last head.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let head = self.steps.iter_mut().rev().find_map(|step| match step {
            Step::Head { headers, .. } => Some(headers),
            _ => None,
        });
        head.expect("a script has a head before its headers")
            .push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sends bytes as they are.
    pub fn bytes(self, bytes: impl AsRef<[u8]>) -> Self {
        self.then(Step::Bytes(bytes.as_ref().to_vec()))
    }

    /// Sends one chunk of a chunked body.
    pub fn chunk(self, bytes: impl AsRef<[u8]>) -> Self {
        let bytes = bytes.as_ref();
        self.bytes([format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat())
    }

    /// Ends a chunked body.
    pub fn last_chunk(self) -> Self {
        self.bytes("0\r\n\r\n")
    }

    /// Lets time pass. For faults that are about time; to put things in order, use a [`Gate`].
    pub fn wait(self, time: Duration) -> Self {
        self.then(Step::Wait(time))
    }

    /// Goes on when the test opens the gate.
    pub fn at(self, gate: &Gate) -> Self {
        self.then(Step::AtGate(gate.clone()))
    }

    /// Closes the connection.
    pub fn then_close(self) -> Self {
        self.then(Step::Close)
    }

    /// Resets the connection.
    pub fn then_reset(self) -> Self {
        self.then(Step::Reset)
    }

    /// Says nothing more, until the peer hangs up.
    pub fn then_stall(self) -> Self {
        self.then(Step::Silence)
    }

    fn answered(self, status: u16, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        let script = self.head(status);
        // No length where HTTP allows none.
        let script = if matches!(status, 204 | 304) {
            script
        } else {
            script.header("content-length", &body.len().to_string())
        };
        script.bytes(body)
    }

    fn part(body: &[u8], sent: usize) -> Self {
        let length = body.len().to_string();
        Self::default().read_body().head(200).header("content-length", &length).bytes(&body[..sent])
    }

    fn then(mut self, step: Step) -> Self {
        self.steps.push(step);
        self
    }
}

/// A point in a [`Script`] that the test lets it pass.
#[derive(Debug, Clone)]
pub struct Gate {
    open: watch::Sender<bool>,
}

impl Gate {
    /// A gate that nobody passes yet.
    pub fn closed() -> Self {
        Self { open: watch::Sender::new(false) }
    }

    /// Lets everybody pass, now and later.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// Waits until it is open.
    pub async fn passed(&self) {
        // The sender lives in `self`, so the wait can't end by its loss.
        let _ = self.open.subscribe().wait_for(|open| *open).await;
    }
}
