//! One connection of a scripted upstream: reads heads, records them, and plays the script of each.

use std::io;
use std::sync::Arc;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::script::Step;
use super::{Recorded, Stage};
use crate::wire::{Body, Framing, read_head};

pub(super) async fn serve(stream: TcpStream, stage: Arc<Stage>) {
    let open = Open::count(&stage);
    // An error here is a peer that hung up or that a script threw out; the test sees it at the other end.
    let _ = Connection::new(stream, stage.clone(), open.number).play().await;
}

/// Counts a connection for as long as it is there, however it ends.
struct Open {
    stage: Arc<Stage>,
    number: usize,
}

impl Open {
    fn count(stage: &Arc<Stage>) -> Self {
        let mut number = 0;
        stage.seen.send_modify(|seen| {
            number = seen.connections;
            seen.connections += 1;
            seen.open += 1;
        });
        Self { stage: stage.clone(), number }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.stage.seen.send_modify(|seen| seen.open -= 1);
    }
}

struct Connection {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    stage: Arc<Stage>,
    number: usize,
}

/// Where the current request stands in the record, and what is left of its body.
struct Current {
    index: usize,
    body: Body,
}

enum Next {
    Step,
    End,
}

impl Connection {
    fn new(stream: TcpStream, stage: Arc<Stage>, number: usize) -> Self {
        // What is written is sent, so that a trickle is one.
        let _ = stream.set_nodelay(true);
        let (reader, writer) = stream.into_split();
        Self { reader: BufReader::with_capacity(64 * 1024, reader), writer, stage, number }
    }

    async fn play(&mut self) -> io::Result<()> {
        for nth in 0.. {
            let Some(head) = read_head(&mut self.reader).await? else { break };
            let wants_close =
                head.all("connection").iter().any(|value| value.eq_ignore_ascii_case("close"));
            let body = Body::new(Framing::of_request(&head));
            let mut request =
                Recorded { complete: body.ended, ..Recorded::new(head, self.number, nth) };
            let script = self.stage.script_for(&mut request);
            let mut current = Current { index: self.record(request), body };
            for step in script.steps {
                if let Next::End = self.step(step, &mut current).await? {
                    return Ok(());
                }
            }
            self.read_body(&mut current, usize::MAX).await?;
            if wants_close {
                break;
            }
        }
        self.writer.shutdown().await
    }

    async fn step(&mut self, step: Step, current: &mut Current) -> io::Result<Next> {
        match step {
            Step::ReadBody => self.read_body(current, usize::MAX).await?,
            Step::ReadBytes(count) => self.read_body(current, count).await?,
            Step::Head { status, headers } => self.send(head(status, &headers).as_bytes()).await?,
            Step::Bytes(bytes) => self.send(&bytes).await?,
            Step::Echo => self.send(self.echo(current).as_bytes()).await?,
            Step::Trickle { bytes, piece, pause } => {
                for piece in bytes.chunks(piece.max(1)) {
                    self.send(piece).await?;
                    tokio::time::sleep(pause).await;
                }
            }
            Step::Wait(time) => tokio::time::sleep(time).await,
            Step::AtGate(gate) => gate.passed().await,
            Step::Close => return self.close().await,
            Step::Reset => return self.reset(),
            Step::Silence => return self.listen_in_silence(current).await,
            Step::Freeze => std::future::pending().await,
        }
        Ok(Next::Step)
    }

    async fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.writer.write_all(bytes).await
    }

    fn record(&self, request: Recorded) -> usize {
        let mut index = 0;
        self.stage.seen.send_modify(|seen| {
            index = seen.requests.len();
            seen.requests.push(request);
        });
        index
    }

    async fn read_body(&mut self, current: &mut Current, mut bytes: usize) -> io::Result<()> {
        while bytes > 0
            && let Some(piece) = current.body.piece(&mut self.reader).await?
        {
            bytes = bytes.saturating_sub(piece.len());
            self.stage.seen.send_modify(|seen| seen.requests[current.index].took(&piece));
        }
        if current.body.ended {
            self.stage.seen.send_modify(|seen| {
                let request = &mut seen.requests[current.index];
                request.trailers.clone_from(&current.body.trailers);
                request.complete = true;
            });
        }
        Ok(())
    }

    async fn listen_in_silence(&mut self, current: &mut Current) -> io::Result<Next> {
        self.read_body(current, usize::MAX).await?;
        let mut dropped = [0; 4096];
        while self.reader.read(&mut dropped).await? > 0 {}
        Ok(Next::End)
    }

    async fn close(&mut self) -> io::Result<Next> {
        self.writer.shutdown().await?;
        Ok(Next::End)
    }

    fn reset(&mut self) -> io::Result<Next> {
        self.writer.as_ref().set_zero_linger()?;
        Ok(Next::End)
    }

    fn echo(&self, current: &Current) -> String {
        let seen = self.stage.seen.borrow();
        let request = &seen.requests[current.index];
        let body = json!({
            "method": request.method,
            "target": request.target,
            "headers": request.head.headers,
            "body_length": request.body_length,
        })
        .to_string();
        let length = body.len().to_string();
        let headers = [("content-type", "application/json"), ("content-length", &length)];
        head(200, &headers.map(|(name, value)| (name.to_owned(), value.to_owned()))) + &body
    }
}

fn head(status: u16, headers: &[(String, String)]) -> String {
    let reason = http::StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("");
    let lines: String =
        headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("HTTP/1.1 {status} {reason}\r\n{lines}\r\n")
}
