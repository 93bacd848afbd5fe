//! Asks the auth service: about a token, and for its keys.

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{
    HeaderValue, Method, Request, Response, StatusCode,
    header::{AUTHORIZATION, HOST},
};
use http_body_util::BodyExt;
use portcullis::{circuit_breaker::Breaker, outcome::Classify, rejected::Rejected};
use tower_service::Service;

use super::{Verdict, keys::Keys};
use crate::{
    exchange::Exchange,
    failure::{Blame, Failure},
    limits::{JWKS_BYTES_MAX, VERIFY_ANSWER_BYTES_MAX},
    sanitise::request::X_REQUEST_ID,
    upload::Upload,
    upstream::{
        answer::Answer,
        forward::{Deadlines, Forward, Upstream},
    },
};

/// The auth service as one worker reaches it.
#[derive(Debug, Clone)]
pub struct AuthService {
    forward: Forward,
    host: HeaderValue,
    timeout: Duration,
    breaker: Option<(Breaker, Blame)>,
}

impl AuthService {
    /// The service behind this upstream, which has so much time for an answer. Its breaker judges as it is told to.
    pub fn new(
        upstream: Arc<Upstream>,
        timeout: Duration,
        breaker: Option<(Breaker, Blame)>,
    ) -> Self {
        let host = HeaderValue::try_from(upstream.address.as_str())
            .expect("an authority is visible ASCII");
        let deadlines = Deadlines { request: timeout, attempt: None, response: None };
        Self { forward: Forward::new(upstream, deadlines, 0), host, timeout, breaker }
    }

    /// What the service says of a token. Being away, slow, broken or known to be so by its breaker is all the same here.
    pub async fn verify(
        &mut self,
        path: &str,
        authorization: HeaderValue,
        exchange: &Exchange,
    ) -> Verdict {
        let admitted = self.breaker.as_ref().map(|(breaker, blame)| Ok((breaker.admit()?, *blame)));
        let permit = match admitted.transpose() {
            Ok(permit) => permit,
            Err::<_, Rejected>(_) => return Verdict::Unavailable,
        };
        let mut request = self.get(path);
        request.headers_mut().insert(AUTHORIZATION, authorization);
        request.headers_mut().insert(X_REQUEST_ID, exchange.id.clone());
        request.extensions_mut().insert(exchange.clone());
        let answer = self.ask(request, VERIFY_ANSWER_BYTES_MAX).await;
        if let Some((permit, mut blame)) = permit {
            permit.settle(match &answer {
                Ok((head, _)) => Classify::<_, Failure>::response(&mut blame, head),
                Err(failure) => failure.outcome(),
            });
        }
        answer.map_or(Verdict::Unavailable, |(head, body)| verdict(&head, &body))
    }

    async fn ask(
        &mut self,
        request: Request<Upload>,
        bytes_max: usize,
    ) -> Result<(Response<()>, Bytes), Failure> {
        let answering = async {
            let (head, body) = self.forward.call(request).await?.into_parts();
            let body = collect(body, bytes_max).await?;
            Ok((Response::from_parts(head, ()), body))
        };
        let late = Failure::Upstream(crate::failure::UpstreamFault::HeadTimeout);
        tokio::time::timeout(self.timeout, answering).await.unwrap_or(Err(late))
    }

    fn get(&self, path: &str) -> Request<Upload> {
        let mut request = Request::new(Upload::empty());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = path.parse().expect("checked in config");
        request.headers_mut().insert(HOST, self.host.clone());
        request
    }

    /// Fetches the service's keys now and then, for as long as the gateway runs. It tells of changes only: the first set,
    /// the first failure, the return.
    pub async fn keep_keys(mut self, path: String, keys: Arc<Keys>, every: Duration) {
        let mut failing = false;
        loop {
            let result = match self.ask(self.get(&path), JWKS_BYTES_MAX).await {
                Ok((head, body)) if head.status() == StatusCode::OK => {
                    keys.replace(&body, std::time::Instant::now()).map_err(str::to_owned)
                }
                Ok((head, _)) => Err(format!("it answers {}", head.status().as_u16())),
                Err(failure) => Err(failure.to_string()),
            };
            match &result {
                Ok(_) if failing => tracing::info!("the auth service's keys can be fetched again"),
                Err(why) if !failing => {
                    tracing::warn!("failed to fetch the auth service's keys: {why}");
                }
                _ => {}
            }
            failing = result.is_err();
            // While there may be no keys at all, the next try comes soon.
            tokio::time::sleep(if failing { every.min(Duration::from_secs(1)) } else { every })
                .await;
        }
    }
}

async fn collect(mut body: Answer, bytes_max: usize) -> Result<Bytes, Failure> {
    let mut all = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            if all.len() + data.len() > bytes_max {
                return Err(Failure::Upstream(crate::failure::UpstreamFault::Protocol));
            }
            all.extend_from_slice(&data);
        }
    }
    Ok(all.freeze())
}

/// 200 with a subject is a yes; 401 and 403 are a no; anything else is a service that does not work.
fn verdict(head: &Response<()>, body: &[u8]) -> Verdict {
    #[derive(serde::Deserialize)]
    struct Identity {
        subject: String,
    }
    match head.status() {
        StatusCode::OK => match serde_json::from_slice::<Identity>(body) {
            Ok(identity) if !identity.subject.is_empty() => {
                Verdict::Accepted(identity.subject.into())
            }
            _ => Verdict::Unavailable,
        },
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Verdict::Refused,
        _ => Verdict::Unavailable,
    }
}
