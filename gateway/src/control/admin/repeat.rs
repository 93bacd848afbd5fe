//! `Idempotency-Key`: a write that is sent twice is done once, and answered twice.
//!
//! A caller whose connection broke doesn't know whether its kill was done. With a key of its own making it may just send it
//! again: what was answered is kept for a day and comes back, byte for byte, marked `Idempotent-Replayed`. The same key with
//! another request is a mistake (422), and while the first one runs a second is told to wait (409). Answers that depend on
//! how things stand (404, 409, 412, 429 and 5xx) aren't kept: nothing was done, and to try again is the point.
//!
//! The work goes on when its caller hangs up, for that is exactly the caller who will ask again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::IF_MATCH;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, request};
use http_body_util::BodyExt;
use sha2::{Digest, Sha256};

use super::Admin;
use super::body;
use super::keys::Caller;
use super::problem::Problem;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const IDEMPOTENT_REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// For how long an answer is kept: whoever tries again after a night's sleep still finds it.
const KEPT_FOR: Duration = Duration::from_secs(24 * 60 * 60);
/// How many answers are kept, the oldest of them given up first, and how many bytes they may have in all.
const KEPT_MAX: usize = 1_024;
/// See [`KEPT_MAX`].
const KEPT_BYTES_MAX: usize = 8 << 20;
/// Bytes of a key: a UUID has 36.
const KEY_BYTES_MAX: usize = 255;

/// Whose key, and which: two callers may well make up the same one.
type Id = (Option<String>, Vec<u8>);

/// An answer, to be given again.
#[derive(Debug, Clone)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Bytes,
}

#[derive(Debug)]
struct Seen {
    /// The hash of the request.
    print: [u8; 32],
    at: Instant,
    /// Nothing while it runs.
    answer: Option<Answer>,
}

/// What was asked with a key.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<Pages>);

#[derive(Debug, Default)]
struct Pages {
    seen: HashMap<Id, Seen>,
    /// In the order in which they were answered.
    answered: VecDeque<(Id, Instant)>,
    bytes: usize,
}

/// What a request with a key is.
#[derive(Debug)]
enum Turn {
    /// The first with this key.
    First,
    /// Answered already.
    Again(Answer),
    /// The key was used for something else.
    Other,
    /// The first one still runs.
    Running,
}

pub(super) async fn once(
    State(admin): State<Arc<Admin>>,
    request: Request,
    next: Next,
) -> Response {
    // Who was let by without being known, as probes are, has nothing to ask twice, and could fill the ledger.
    let known = request.extensions().get::<Caller>().is_some();
    if !known || request.method().is_safe() || !request.headers().contains_key(IDEMPOTENCY_KEY) {
        return next.run(request).await;
    }
    answered(admin, request, next).await.unwrap_or_else(IntoResponse::into_response)
}

async fn answered(admin: Arc<Admin>, request: Request, next: Next) -> Result<Response, Problem> {
    let (head, body) = request.into_parts();
    let id = id(&head)?;
    let body = body::bytes(body).await?;
    match admin.repeated.begin(&id, print(&head, &body), Instant::now()) {
        Turn::Again(answer) => Ok(answer.again()),
        Turn::Other => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "idempotency_key_reused",
            "this Idempotency-Key was sent with another request before",
        )),
        Turn::Running => Err(Problem::new(
            StatusCode::CONFLICT,
            "still_running",
            "the first request with this Idempotency-Key is not answered yet",
        )
        .retry_after(Duration::from_secs(1))),
        Turn::First => {
            let work = Work { admin, id: Some(id) };
            let work = tokio::spawn(work.done(next, Request::from_parts(head, Body::from(body))));
            work.await.map_err(|_| Problem::failed())
        }
    }
}

/// The first request with a key, on its way. Whatever becomes of it, the key doesn't stay taken.
struct Work {
    admin: Arc<Admin>,
    id: Option<Id>,
}

impl Work {
    async fn done(mut self, next: Next, request: Request) -> Response {
        let (head, body) = next.run(request).await.into_parts();
        let body =
            body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let answer = Answer { status: head.status, headers: head.headers, body };
        let decided = is_decided(answer.status);
        if let Some(id) = self.id.take() {
            self.admin.repeated.end(id, decided.then(|| answer.clone()), Instant::now());
        }
        answer.given()
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        if let Some(id) = self.id.take() {
            self.admin.repeated.end(id, None, Instant::now());
        }
    }
}

impl Ledger {
    fn begin(&self, id: &Id, print: [u8; 32], now: Instant) -> Turn {
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pages.forget(now);
        match pages.seen.get(id) {
            None => {
                pages.seen.insert(id.clone(), Seen { print, at: now, answer: None });
                Turn::First
            }
            Some(seen) if seen.print != print => Turn::Other,
            Some(Seen { answer: Some(answer), .. }) => Turn::Again(answer.clone()),
            Some(_) => Turn::Running,
        }
    }

    fn end(&self, id: Id, answer: Option<Answer>, now: Instant) {
        let mut pages = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match answer {
            None => {
                pages.seen.remove(&id);
            }
            Some(answer) => pages.keep(id, answer, now),
        }
    }
}

impl Pages {
    fn keep(&mut self, id: Id, answer: Answer, now: Instant) {
        let Some(seen) = self.seen.get_mut(&id) else { return };
        self.bytes += answer.body.len();
        seen.answer = Some(answer);
        seen.at = now;
        self.answered.push_back((id, now));
        self.forget(now);
    }

    /// Gives up what is too old, and of the rest what is too much.
    fn forget(&mut self, now: Instant) {
        while let Some((_, at)) = self.answered.front() {
            let too_old = now.saturating_duration_since(*at) >= KEPT_FOR;
            if !too_old && self.answered.len() <= KEPT_MAX && self.bytes <= KEPT_BYTES_MAX {
                return;
            }
            let Some((id, _)) = self.answered.pop_front() else { return };
            let answer = self.seen.remove(&id).and_then(|seen| seen.answer);
            self.bytes -= answer.map_or(0, |answer| answer.body.len());
        }
    }
}

impl Answer {
    fn given(self) -> Response {
        let mut response = Response::new(Body::from(self.body));
        *response.status_mut() = self.status;
        *response.headers_mut() = self.headers;
        response
    }

    fn again(self) -> Response {
        let mut response = self.given();
        response.headers_mut().insert(IDEMPOTENT_REPLAYED, HeaderValue::from_static("true"));
        response
    }
}

/// The key, in quotes or without.
fn id(head: &request::Parts) -> Result<Id, Problem> {
    let mut given = head.headers.get_all(IDEMPOTENCY_KEY).iter();
    let (Some(key), None) = (given.next(), given.next()) else {
        return Err(Problem::bad_request("a request has one Idempotency-Key at most"));
    };
    let key = key.as_bytes().trim_ascii();
    let bare = key.strip_prefix(b"\"").and_then(|key| key.strip_suffix(b"\"")).unwrap_or(key);
    if bare.is_empty() || bare.len() > KEY_BYTES_MAX {
        return Err(Problem::bad_request(format_args!(
            "an Idempotency-Key has from 1 to {KEY_BYTES_MAX} bytes"
        )));
    }
    let owner = head.extensions.get::<Caller>().and_then(Caller::key).map(str::to_owned);
    Ok((owner, bare.to_vec()))
}

/// Whether the same request would be answered so at any time.
fn is_decided(status: StatusCode) -> bool {
    let of_the_moment = [
        StatusCode::NOT_FOUND,
        StatusCode::CONFLICT,
        StatusCode::PRECONDITION_FAILED,
        StatusCode::TOO_MANY_REQUESTS,
    ];
    !status.is_server_error() && !of_the_moment.contains(&status)
}

fn print(head: &request::Parts, body: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    let (path, query) = (head.uri.path(), head.uri.query().unwrap_or_default());
    // What a write is done over is a part of what is asked for.
    let over = head.headers.get(IF_MATCH).map(HeaderValue::as_bytes).unwrap_or_default();
    for part in [head.method.as_str().as_bytes(), path.as_bytes(), query.as_bytes(), over] {
        hash.update(part);
        hash.update([0]);
    }
    hash.update(body);
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(key: &str) -> Id {
        (None, key.as_bytes().to_vec())
    }

    fn answer(bytes: usize) -> Answer {
        Answer {
            status: StatusCode::OK,
            headers: HeaderMap::new(),
            body: Bytes::from(vec![b'x'; bytes]),
        }
    }

    #[test]
    fn a_second_request_waits_for_the_first_and_gets_its_answer() {
        let (ledger, now) = (Ledger::default(), Instant::now());
        assert!(matches!(ledger.begin(&id("a"), [1; 32], now), Turn::First));
        assert!(matches!(ledger.begin(&id("a"), [1; 32], now), Turn::Running));
        assert!(matches!(ledger.begin(&id("a"), [2; 32], now), Turn::Other));
        ledger.end(id("a"), Some(answer(3)), now);
        assert!(matches!(ledger.begin(&id("a"), [1; 32], now), Turn::Again(_)));
        assert!(matches!(ledger.begin(&id("a"), [2; 32], now), Turn::Other));
        let other = (Some("bob".to_owned()), b"a".to_vec());
        assert!(matches!(ledger.begin(&other, [1; 32], now), Turn::First));
    }

    #[test]
    fn what_was_not_decided_may_be_tried_again() {
        let (ledger, now) = (Ledger::default(), Instant::now());
        ledger.begin(&id("a"), [1; 32], now);
        ledger.end(id("a"), None, now);
        assert!(matches!(ledger.begin(&id("a"), [1; 32], now), Turn::First));
    }

    #[test]
    fn answers_are_kept_for_a_day_and_no_more_than_so_many() {
        let (ledger, start) = (Ledger::default(), Instant::now());
        let keep = |key: &str, bytes: usize, now: Instant| {
            ledger.begin(&id(key), [1; 32], now);
            ledger.end(id(key), Some(answer(bytes)), now);
        };
        keep("old", 1, start);
        assert!(matches!(
            ledger.begin(&id("old"), [1; 32], start + KEPT_FOR - Duration::from_secs(1)),
            Turn::Again(_)
        ));
        assert!(matches!(ledger.begin(&id("old"), [1; 32], start + KEPT_FOR), Turn::First));

        let many = Ledger::default();
        for key in 0..=KEPT_MAX {
            many.begin(&id(&key.to_string()), [1; 32], start);
            many.end(id(&key.to_string()), Some(answer(1)), start);
        }
        assert!(matches!(many.begin(&id("0"), [1; 32], start), Turn::First));
        assert!(matches!(many.begin(&id("1"), [1; 32], start), Turn::Again(_)));

        let large = Ledger::default();
        for key in ["a", "b"] {
            large.begin(&id(key), [1; 32], start);
            large.end(id(key), Some(answer(KEPT_BYTES_MAX - 1)), start);
        }
        assert!(matches!(large.begin(&id("a"), [1; 32], start), Turn::First));
        assert!(matches!(large.begin(&id("b"), [1; 32], start), Turn::Again(_)));
        assert_eq!(large.0.lock().unwrap().bytes, KEPT_BYTES_MAX - 1);
    }
}
