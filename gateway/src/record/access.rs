//! The access log: one JSON line per request, written when its answer is over.
//!
//! It is off by default, and apart from the lines that tell of a change: those are for people, this is for machines.

use std::{net::IpAddr, time::Duration};

use http::{HeaderValue, Method, StatusCode};
use serde::Serialize;

use crate::telemetry::lines::Lines;

/// What a line says.
#[derive(Debug, Serialize)]
pub struct Line<'r> {
    /// When the answer was over.
    pub at: String,
    /// Who asked.
    pub client: IpAddr,
    /// The method.
    pub method: &'r str,
    /// The path as it was matched and forwarded, without its query, which may hold secrets.
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
    /// Who asked.
    pub client: IpAddr,
    /// The method.
    pub method: Method,
    /// The path.
    pub path: String,
    /// The route's name.
    pub route: Option<std::sync::Arc<str>>,
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
        let line = Line {
            at: jiff::Timestamp::now().to_string(),
            client: self.client,
            method: self.method.as_str(),
            path: &self.path,
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
