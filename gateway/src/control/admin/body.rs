//! Reading what an operator sends: a JSON object, bounded in bytes and in time, and inside it names, reasons and durations
//! that can't be wrong.
//!
//! Unknown members are refused. `duration_minute` with its `s` missing would else make a kill that lasts for ever.

use std::time::Duration;

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, Request};
use http::StatusCode;
use portcullis::switchboard::UnixMillis;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::timeout;

use super::problem::Problem;

/// Most bytes of a body: a thousand features fit, with a long reason.
pub(super) const BYTES_MAX: usize = 64 << 10;
/// For a body to arrive. It is sent with its head or right after it, and the largest is a fraction of a second even on a
/// poor line. Without this bound, clients that stall in the middle would keep every connection of the listener for ever.
const TIME_MAX: Duration = Duration::from_secs(10);
/// Most letters of a reason or a name. They stand in log lines, headers of pages and the audit for ever.
const LETTERS_MAX: usize = 500;
/// A year.
const MINUTES_MAX: u32 = 525_600;

/// The body as a `T`: what a handler takes that is told something.
#[derive(Debug)]
pub(super) struct Told<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Told<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        read(&received(request, state).await?).map(Self)
    }
}

/// The same for a handler that may also be told nothing: an empty body is an object without members.
#[derive(Debug)]
pub(super) struct MaybeTold<T>(pub(super) T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for MaybeTold<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let body = received(request, state).await?;
        if body.is_empty() { Ok(Self(T::default())) } else { read(&body).map(Self) }
    }
}

/// The bytes of a body, bounded as all are.
pub(super) async fn bytes(body: Body) -> Result<Bytes, Problem> {
    timeout(TIME_MAX, to_bytes(body, BYTES_MAX))
        .await
        .map_err(|_| too_slow())?
        .map_err(|_| too_large())
}

async fn received<S: Send + Sync>(request: Request, state: &S) -> Result<Bytes, Problem> {
    timeout(TIME_MAX, Bytes::from_request(request, state))
        .await
        .map_err(|_| too_slow())?
        .map_err(|rejection| unread(&rejection))
}

fn too_slow() -> Problem {
    let seconds = TIME_MAX.as_secs();
    let detail = format_args!("the body did not arrive within {seconds} seconds");
    Problem::new(StatusCode::REQUEST_TIMEOUT, "timeout", detail)
}

fn unread(rejection: &BytesRejection) -> Problem {
    if rejection.status() == StatusCode::PAYLOAD_TOO_LARGE {
        return too_large();
    }
    Problem::bad_request("the body could not be read to its end")
}

fn too_large() -> Problem {
    let detail = format_args!("a body may have {BYTES_MAX} bytes at most");
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
}

/// Read twice, so that what is no object at all is told in words about JSON, and not about our types. That also keeps a list
/// from passing for an object with its members in order.
fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let json: Value = serde_json::from_slice(body)
        .map_err(|error| Problem::bad_request(format_args!("the body is not JSON: {error}")))?;
    if !json.is_object() {
        let detail = format_args!("the body must be a JSON object, not {}", kind(&json));
        return Err(Problem::bad_request(detail));
    }
    serde_json::from_slice(body)
        .map_err(|error| Problem::bad_request(format_args!("the body is not as expected: {error}")))
}

const fn kind(json: &Value) -> &'static str {
    match json {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// The reason: there has to be one.
pub(super) fn reason(given: Option<&str>) -> Result<String, Problem> {
    match given.map(str::trim) {
        None | Some("") => Err(Problem::bad_request(
            "`reason` is missing: whoever reads the log at night needs one",
        )),
        Some(text) => line("reason", text),
    }
}

/// The name that the caller goes by, if they gave one.
pub(super) fn updated_by(given: Option<&str>) -> Result<Option<String>, Problem> {
    let name = given.map(str::trim).filter(|name| !name.is_empty());
    name.map(|name| line("updated_by", name)).transpose()
}

/// A reason where one is welcome, but not demanded.
pub(super) fn optional_reason(given: Option<&str>) -> Result<Option<String>, Problem> {
    let reason = given.map(str::trim).filter(|reason| !reason.is_empty());
    reason.map(|reason| line("reason", reason)).transpose()
}

/// The end of a kill that lasts this long.
pub(super) fn expiry(minutes: Option<u32>, now: UnixMillis) -> Result<Option<UnixMillis>, Problem> {
    let Some(lasts) = duration(minutes)? else { return Ok(None) };
    Ok(Some(UnixMillis(now.0 + u64::try_from(lasts.as_millis()).expect("a year fits"))))
}

/// How long something is to last.
pub(super) fn duration(minutes: Option<u32>) -> Result<Option<Duration>, Problem> {
    let Some(minutes) = minutes else { return Ok(None) };
    if !(1..=MINUTES_MAX).contains(&minutes) {
        return Err(Problem::bad_request(format_args!(
            "`duration_minutes` must be from 1 to {MINUTES_MAX}, not {minutes}"
        )));
    }
    Ok(Some(Duration::from_secs(60 * u64::from(minutes))))
}

/// One line of text: a line break in it would forge a log line.
fn line(member: &str, text: &str) -> Result<String, Problem> {
    if text.chars().any(char::is_control) {
        return Err(Problem::bad_request(format_args!(
            "`{member}` must be one line, without control characters"
        )));
    }
    if text.chars().count() > LETTERS_MAX {
        return Err(Problem::bad_request(format_args!(
            "`{member}` may have {LETTERS_MAX} letters at most"
        )));
    }
    Ok(text.to_owned())
}
