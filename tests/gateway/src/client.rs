//! A well-behaved HTTP client whose requests read like a sentence: `client.get(url).header("a", "b").await`.

use std::fmt;
use std::future::IntoFuture;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde_json::Value;

use crate::deadline::PATIENCE;

/// Speaks HTTP/1.1 (a connection per request, or kept ones) or HTTP/2 without TLS.
#[derive(Debug, Clone)]
pub struct Client {
    inner: legacy::Client<HttpConnector, Full<Bytes>>,
    always: HeaderMap,
}

impl Default for Client {
    fn default() -> Self {
        Self::new()
    }
}

impl Client {
    /// HTTP/1.1, a fresh connection for each request.
    pub fn new() -> Self {
        Self::built(legacy::Client::builder(TokioExecutor::new()).pool_max_idle_per_host(0))
    }

    /// HTTP/1.1 over kept connections.
    pub fn kept_alive() -> Self {
        Self::built(&mut legacy::Client::builder(TokioExecutor::new()))
    }

    /// HTTP/2 with prior knowledge, all requests over one connection.
    pub fn h2c() -> Self {
        Self::built(legacy::Client::builder(TokioExecutor::new()).http2_only(true))
    }

    fn built(builder: &mut legacy::Builder) -> Self {
        // A test must see a failure, not a silent second try.
        let inner =
            builder.retry_canceled_requests(false).pool_timer(TokioTimer::new()).build_http();
        Self { inner, always: HeaderMap::new() }
    }

    /// The same client with `Authorization: Bearer …` on every request.
    pub fn bearer(&self, token: &str) -> Self {
        self.with("authorization", &format!("Bearer {token}"))
    }

    /// The same client with this header on every request.
    pub fn with(&self, name: &str, value: &str) -> Self {
        let mut client = self.clone();
        client.always.append(field_name(name), field_value(value));
        client
    }

    /// `GET`.
    pub fn get(&self, url: impl AsRef<str>) -> Request {
        self.request(Method::GET, url)
    }

    /// `POST`, empty unless [`Request::json`] or a sibling fills it.
    pub fn post(&self, url: impl AsRef<str>) -> Request {
        self.request(Method::POST, url)
    }

    /// Any method; the URL is the whole one, `gateway.url("/path")`.
    pub fn request(&self, method: Method, url: impl AsRef<str>) -> Request {
        let mut request = http::Request::new(Bytes::new());
        *request.method_mut() = method;
        *request.uri_mut() = url.as_ref().parse().expect("the test wrote a valid URL");
        *request.headers_mut() = self.always.clone();
        Request { client: self.inner.clone(), request, limit: PATIENCE }
    }
}

/// A request on its way to be sent: `.await` sends it and panics when no answer comes; [`attempt`](Request::attempt) doesn't panic.
#[derive(Debug)]
#[must_use = "a request is sent by `.await`"]
pub struct Request {
    client: legacy::Client<HttpConnector, Full<Bytes>>,
    request: http::Request<Bytes>,
    limit: Duration,
}

impl Request {
    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.request.headers_mut().append(field_name(name), field_value(value));
        self
    }

    /// With this body.
    pub fn body(mut self, body: impl Into<Bytes>) -> Self {
        *self.request.body_mut() = body.into();
        self
    }

    /// With a JSON body.
    pub fn json(self, body: &Value) -> Self {
        self.header("content-type", "application/json").body(body.to_string())
    }

    /// With a form as body; the values must need no escaping.
    pub fn form(self, fields: &[(&str, &str)]) -> Self {
        let pairs: Vec<_> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
        self.header("content-type", "application/x-www-form-urlencoded").body(pairs.join("&"))
    }

    /// Gives the whole exchange this long instead of [`PATIENCE`].
    pub fn within(mut self, limit: Duration) -> Self {
        self.limit = limit;
        self
    }

    /// Sends it; a failure is a value, for tests in which the other side dies.
    pub async fn attempt(self) -> Result<Answer, Failed> {
        let subject = format!("{} {}", self.request.method(), self.request.uri());
        let exchange = async {
            let answer = self
                .client
                .request(self.request.map(Full::new))
                .await
                .map_err(|error| failed(&subject, &error))?;
            let (head, body) = answer.into_parts();
            let body = body.collect().await.map_err(|error| failed(&subject, &error))?;
            let trailers = body.trailers().cloned().unwrap_or_default();
            Ok(Answer {
                status: head.status.as_u16(),
                headers: head.headers,
                body: body.to_bytes(),
                trailers,
            })
        };
        match tokio::time::timeout(self.limit, exchange).await {
            Ok(result) => result,
            Err(_) => Err(Failed(format!("{subject}: no answer within {:?}", self.limit))),
        }
    }
}

impl IntoFuture for Request {
    type Output = Answer;
    type IntoFuture = Pin<Box<dyn Future<Output = Answer> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async { self.attempt().await.unwrap_or_else(|failed| panic!("{failed}")) })
    }
}

/// An exchange that came to no answer.
#[derive(Debug, Clone)]
pub struct Failed(String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn failed(subject: &str, error: &dyn std::error::Error) -> Failed {
    let mut text = format!("{subject}: {error}");
    let mut source = error.source();
    while let Some(error) = source {
        text += &format!(": {error}");
        source = error.source();
    }
    Failed(text)
}

/// A whole answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, to its proper end.
    pub body: Bytes,
    /// The trailers.
    pub trailers: HeaderMap,
}

impl Answer {
    /// The first value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .get(name)
            .map(|value| value.to_str().expect("these tests expect visible ASCII in headers"))
    }

    /// The body as text.
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("the test expects text")
    }

    /// The body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("expected JSON ({error}), got {self}"))
    }

    /// Asserts that it went well, and answers the JSON.
    pub fn ok(&self) -> Value {
        assert!((200..300).contains(&self.status), "expected success, got {self}");
        self.json()
    }

    /// Asserts that this is a refusal of the gateway itself, with everything that the contract promises of each, and answers its
    /// problem document.
    pub fn refused(&self, status: u16, reason: &str) -> Value {
        assert_eq!(self.status, status, "expected {status} {reason}, got {self}");
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self}");
        assert_eq!(self.header("cache-control"), Some("no-store"), "{self}");
        assert!(
            self.header("proxy-status").is_some(),
            "a refusal names itself in Proxy-Status: {self}"
        );
        let problem = self.json();
        assert_eq!(problem["reason"], reason, "{self}");
        assert_eq!(problem["status"], status, "{self}");
        for field in ["type", "title", "detail", "error", "request_id"] {
            assert!(problem[field].is_string(), "a refusal has `{field}`: {self}");
        }
        problem
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let reason = StatusCode::from_u16(self.status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("");
        write!(
            f,
            "{} {reason} {:?}\n{}",
            self.status,
            self.headers,
            String::from_utf8_lossy(&self.body)
        )
    }
}

fn field_name(name: &str) -> HeaderName {
    name.parse().expect("the test wrote a valid header name; use a RawConnection for others")
}

fn field_value(value: &str) -> HeaderValue {
    value.parse().expect("the test wrote a valid header value; use a RawConnection for others")
}
