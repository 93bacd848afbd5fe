//! One attempt to tell the webhook: resolve, look at the address, connect to it, post, and see whether it was taken.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HOST, USER_AGENT};
use http::uri::{Authority, PathAndQuery};
use http::{Method, Request, StatusCode, Uri};
use http_body_util::Full;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::Message;
use super::policy::Policy;
use super::signature::signature;
use super::trust::Trust;
use crate::config::config::{Config, Webhook};

/// The way to the webhook.
pub(super) struct Delivery {
    authority: Authority,
    path: PathAndQuery,
    /// Over https.
    trust: Option<Trust>,
    secret: String,
    timeout: Duration,
    policy: Policy,
}

/// Why the webhook didn't take it, and whether trying again may help.
pub(super) struct Failed {
    pub(super) why: String,
    pub(super) again: bool,
}

fn for_now(why: impl std::fmt::Display) -> Failed {
    Failed { why: why.to_string(), again: true }
}

impl Delivery {
    pub(super) fn new(webhook: &Webhook, config: &Config) -> Result<Self, String> {
        let host = host(&webhook.authority);
        let trust = webhook.tls.as_ref().map(|tls| Trust::new(tls.ca_file.as_deref(), host));
        Ok(Self {
            authority: webhook.authority.clone(),
            path: webhook.path.clone(),
            trust: trust.transpose()?,
            secret: webhook.secret.0.clone(),
            timeout: webhook.timeout,
            policy: Policy {
                allowed: webhook.allowed_networks.clone(),
                own: vec![config.server.listen, config.admin.listen],
            },
        })
    }

    pub(super) async fn post(&self, message: &Message, now: SystemTime) -> Result<(), Failed> {
        match timeout(self.timeout, self.attempt(message, now)).await {
            Ok(done) => done,
            Err(_) => Err(for_now(format_args!("no answer within {:?}", self.timeout))),
        }
    }

    async fn attempt(&self, message: &Message, now: SystemTime) -> Result<(), Failed> {
        let stream = TcpStream::connect(self.address().await?).await.map_err(for_now)?;
        match &self.trust {
            None => self.exchange(stream, message, now).await,
            Some(trust) => {
                let stream = trust.connect(stream).await.map_err(for_now)?;
                self.exchange(stream, message, now).await
            }
        }
    }

    async fn exchange<S>(&self, stream: S, message: &Message, now: SystemTime) -> Result<(), Failed>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(for_now)?;
        let answering = sender.send_request(self.request(message, now));
        tokio::pin!(answering, connection);
        // The connection is driven here, so that it ends with the attempt. Only the head of the answer is of interest.
        let head = tokio::select! {
            head = &mut answering => head,
            ended = &mut connection => {
                ended.map_err(for_now)?;
                answering.await
            }
        };
        taken(head.map_err(for_now)?.status())
    }

    /// The address that was looked at is the one to connect to: looking a name up again might find another one.
    async fn address(&self) -> Result<SocketAddr, Failed> {
        let usual = if self.trust.is_some() { 443 } else { 80 };
        let port = self.authority.port_u16().unwrap_or(usual);
        let mut refused = None;
        for address in lookup_host((host(&self.authority), port)).await.map_err(for_now)? {
            match self.policy.refuses(address) {
                None => return Ok(address),
                Some(why) => refused = Some(why),
            }
        }
        let why = refused.unwrap_or("the name has no address");
        Err(Failed { why: format!("it may not go to {}: {why}", self.authority), again: false })
    }

    fn request(&self, message: &Message, now: SystemTime) -> Request<Full<Bytes>> {
        let timestamp = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        Request::builder()
            .method(Method::POST)
            .uri(Uri::from(self.path.clone()))
            .header(HOST, self.authority.as_str())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("portcullis/", env!("CARGO_PKG_VERSION")))
            .header("portcullis-event", message.kind)
            .header("portcullis-event-id", &message.id)
            .header("portcullis-timestamp", timestamp)
            .header("portcullis-signature", signature(&self.secret, timestamp, &message.body))
            .body(Full::new(message.body.clone()))
            .expect("an authority, a path, words and numbers make a request")
    }
}

/// The host without the brackets of an IPv6 address.
fn host(authority: &Authority) -> &str {
    authority.host().trim_start_matches('[').trim_end_matches(']')
}

/// A receiver that says no means it; one that is busy or broken may say yes later.
fn taken(status: StatusCode) -> Result<(), Failed> {
    let later = status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    match status {
        status if status.is_success() => Ok(()),
        status => Err(Failed { why: format!("it answered {}", status.as_u16()), again: later }),
    }
}
