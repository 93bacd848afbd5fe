//! A small client of the admin API: one request, one connection, a few seconds at most.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::Failure;

/// For the whole exchange: a gateway that takes longer has another problem.
const TIMEOUT: Duration = Duration::from_secs(10);
const ANSWER_BYTES_MAX: usize = 16 << 20;
/// By this name the gateway tells the command line from other callers.
const AGENT: &str = concat!("portcullis-cli/", env!("CARGO_PKG_VERSION"));

pub(super) struct Client {
    /// The gateway as it was named: what complaints say.
    pub(super) gateway: String,
    /// Where it may be; the first that answers is it. `localhost` often has two addresses, and a gateway listens on one.
    pub(super) addresses: Vec<SocketAddr>,
    pub(super) key: Option<String>,
}

impl Client {
    pub(super) fn get(&self, path: &str) -> Result<Value, Failure> {
        self.ask(Method::GET, path, Bytes::new())
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.ask(Method::POST, path, body.to_string().into())
    }

    /// The answer's JSON if it is a good one, else what is wrong.
    fn ask(&self, method: Method, path: &str, body: Bytes) -> Result<Value, Failure> {
        let (status, body) = self.exchange(method, path, body)?;
        let answer: Value = serde_json::from_slice(&body).unwrap_or_default();
        if status.is_success() {
            return Ok(answer);
        }
        let detail = answer["detail"]
            .as_str()
            .or_else(|| answer["status"].as_str())
            .unwrap_or("it doesn't say why");
        Err(Failure::input(format_args!("the gateway answers {status}: {detail}")))
    }

    fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| self.unreachable(&error))?;
        let exchange = async { timeout(TIMEOUT, self.send(method, path, body)).await };
        match runtime.block_on(exchange) {
            Ok(answer) => answer.map_err(|error| self.unreachable(&*error)),
            Err(_) => Err(self.unreachable(&"no answer in time")),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(&self.addresses[..]).await?;
        // The address and not the name: a literal address is always a name of the listener.
        let host = stream.peer_addr()?.to_string();
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(path).header(HOST, host);
        if let Some(key) = &self.key {
            request = request.header("x-api-key", key);
        }
        let request = request.header(USER_AGENT, AGENT).header(CONTENT_TYPE, "application/json");
        let response = sender.send_request(request.body(Full::new(body))?).await?;
        let status = response.status();
        Ok((
            status,
            Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await?.to_bytes(),
        ))
    }

    fn unreachable(&self, why: &dyn std::fmt::Display) -> Failure {
        Failure::input(format_args!("no gateway answers at {}: {why}", self.gateway))
    }
}
