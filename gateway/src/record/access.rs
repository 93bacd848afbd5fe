//! The access log: one JSON line per request, written when its answer is over.
//!
//! It is apart from the lines that tell of a change: those are for people, this is for machines.

use std::{
    net::IpAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use http::{HeaderValue, Method, StatusCode};
use serde::Serialize;

use crate::{exchange::Understood, telemetry::lines::Lines};

/// What a line says.
#[derive(Debug, Serialize)]
pub struct Line<'r> {
    /// When the answer was over.
    pub at: String,
    /// Who asked: the peer, or who a trusted proxy says.
    pub client: IpAddr,
    /// The method.
    pub method: &'r str,
    /// The path as it was matched, before a route rewrote it; as it came, if it could not be read in one way. Without its
    /// query, which may hold secrets.
    pub path: &'r str,
    /// The route's name.
    pub route: Option<&'r str>,
    /// The status.
    pub status: u16,
    /// Why the gateway answered itself.
    pub refusal: Option<&'static str>,
    /// Bytes of the answer's body.
    pub bytes: u64,
    /// From the request's head to the end of the answer.
    pub duration_us: u64,
    /// Whether the answer reached its end.
    pub complete: bool,
    /// The request's id.
    pub request_id: &'r str,
}

/// A request's part of its line, kept until the answer is over.
#[derive(Debug)]
pub struct Entry {
    /// Where the line goes.
    pub lines: Lines,
    /// Who sent it.
    pub peer: IpAddr,
    /// The method.
    pub method: Method,
    /// The path as it came.
    pub path: String,
    /// How it was understood, unless it was refused before.
    pub understood: Arc<OnceLock<Understood>>,
    /// The route's name.
    pub route: Option<Arc<str>>,
    /// The status.
    pub status: StatusCode,
    /// Why the gateway answered itself.
    pub refusal: Option<&'static str>,
    /// The request's id.
    pub request_id: HeaderValue,
}

impl Entry {
    /// Writes the line.
    pub fn write(&self, bytes: u64, took: Duration, complete: bool) {
        let (client, path) = match self.understood.get() {
            Some(Understood { client, path }) => (*client, path),
            None => (self.peer, &self.path),
        };
        let line = Line {
            at: jiff::Timestamp::now().to_string(),
            client,
            method: self.method.as_str(),
            path,
            route: self.route.as_deref(),
            status: self.status.as_u16(),
            refusal: self.refusal,
            bytes,
            duration_us: took.as_micros() as u64,
            complete,
            request_id: self.request_id.to_str().unwrap_or_default(),
        };
        let mut line = serde_json::to_vec(&line).expect("strings and numbers serialise");
        line.push(b'\n');
        self.lines.send(line);
    }
}
