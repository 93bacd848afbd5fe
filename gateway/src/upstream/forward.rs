//! Sends a request to its upstream and brings back the answer: the innermost service of every route's stack.
//!
//! It keeps the deadlines of the request and of the attempt, with the lane's timer: every wait of a request is in here (but for
//! that of authentication, which has its own bound), so a timer further out would cost each request its setting and
//! clearing, and could not tell whether it was the upstream or the client that was slow. And it has the one retry that is always right: a pooled connection that turns out dead takes no request with it, as long as nothing was sent, or the
//! method is idempotent and the first byte of an answer has not come. Every other retry is the business of a layer that
//! knows a budget.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{Request, Response, header::TRAILER, uri::Authority};
use portcullis::rejected::Rejected;
use tokio::time::Instant;
use tower_service::Service;

use super::{
    answer::Answer,
    connect::connect,
    lane::{Broken, Lane},
    pool::Pool,
};
use crate::{
    exchange::Exchange,
    failure::{BodyFault, Failure, UpstreamFault},
    record::{span, traffic::Calls},
    sanitise,
    trailers::Allowed,
    upload::{Progress, Upload},
    wire::{body::Body, response::read::Head},
};

/// One upstream as one worker sees it.
#[derive(Debug)]
pub struct Upstream {
    /// Its name.
    pub name: Arc<str>,
    /// Where it listens.
    pub address: Authority,
    /// Until a connection is given up.
    pub connect_timeout: Duration,
    /// From the request's end to the response's head.
    pub response_timeout: Duration,
    /// Between two pieces of a response's body.
    pub body_idle_timeout: Duration,
    /// This worker's idle connections to it.
    pub pool: Arc<Pool>,
    /// How its calls went.
    pub calls: Arc<Calls>,
}

/// Pooled connections that may turn out closed before a new one is opened for the request.
const STALE_MAX: usize = 2;

/// How much time a call has.
#[derive(Debug, Clone, Copy)]
pub struct Deadlines {
    /// From the request's head, whatever happened to it before it came here.
    pub request: Duration,
    /// From the call.
    pub attempt: Option<Duration>,
    /// From the request's end to the response's head, where the route has another bound than its upstream.
    pub response: Option<Duration>,
}

/// The service that calls an upstream.
#[derive(Debug, Clone)]
pub struct Forward {
    upstream: Arc<Upstream>,
    deadlines: Deadlines,
    body_bytes_max: u64,
}

impl Forward {
    /// Calls `upstream` with bodies of up to so many bytes, within these deadlines.
    pub const fn new(upstream: Arc<Upstream>, deadlines: Deadlines, body_bytes_max: u64) -> Self {
        Self { upstream, deadlines, body_bytes_max }
    }
}

impl Service<Request<Upload>> for Forward {
    type Response = Response<Answer>;
    type Error = Failure;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Answer>, Failure>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Upload>) -> Self::Future {
        let limited = request.body_mut().limit(self.body_bytes_max);
        let attempt = Attempt::new(self.upstream.clone(), self.deadlines, &mut request);
        Box::pin(async move {
            limited.map_err(Failure::Body)?;
            let answer = attempt.run(&mut request).await;
            attempt.upstream.calls.settle(attempt.started.elapsed(), &answer);
            if let Some(span) = &attempt.span {
                span::settle(span, &answer);
            }
            answer
        })
    }
}

/// One request on its way.
struct Attempt {
    upstream: Arc<Upstream>,
    started: Instant,
    /// From the request's end to the response's head.
    response_timeout: Duration,
    /// When nothing is waited for any longer, and the time that was allowed until then.
    end: (Instant, Duration),
    upload: Option<Progress>,
    /// Fields behind the answer's body that the client may get.
    trailers: Allowed,
    span: Option<tracing::Span>,
}

impl Attempt {
    fn new(upstream: Arc<Upstream>, deadlines: Deadlines, request: &mut Request<Upload>) -> Self {
        let exchange = request.extensions().get::<Exchange>();
        let parent = exchange.and_then(|exchange| exchange.span.as_ref());
        let trailers = exchange.map_or(Allowed::NONE, |exchange| exchange.trailers.clone());
        let span = parent.map(|parent| span::client(parent, &upstream.name, request.method()));
        let started = Instant::now();
        let head = exchange.map_or(started, |exchange| exchange.started.into());
        let attempt = deadlines.attempt.map(|attempt| (started + attempt, attempt));
        let request_end = (head + deadlines.request, deadlines.request);
        let end = attempt.map_or(request_end, |attempt| attempt.min(request_end));
        if let Some(span) = &span {
            span::inject(span, request.headers_mut());
        }
        let response_timeout = deadlines.response.unwrap_or(upstream.response_timeout);
        let upload = request.body().progress();
        Self { upstream, started, response_timeout, end, upload, trailers, span }
    }

    async fn run(&self, request: &mut Request<Upload>) -> Result<Response<Answer>, Failure> {
        let mut stale = 0;
        loop {
            let pooled = if stale < STALE_MAX { self.upstream.pool.take() } else { None };
            let (mut lane, reused) = match pooled {
                Some(lane) => (lane, true),
                None => (self.connect().await?, false),
            };
            // Who speaks before it was asked doesn't answer us, and what it says would be taken for the answer.
            if !reused && lane.is_spoken_to() {
                return Err(Failure::Upstream(UpstreamFault::Protocol));
            }
            lane.begin(request);
            lane.set_deadline(self.deadline(self.started));
            match poll_fn(|cx| self.poll_head(&mut lane, cx)).await {
                Ok(head) => return self.answer(head, lane),
                Err(Late::Broken(Broken::Closed { sent }))
                    if reused && self.may_repeat(request, sent) =>
                {
                    if let Some(upload) = lane.take_back() {
                        *request.body_mut() = upload;
                    }
                    stale += 1;
                }
                Err(late) => return Err(self.failure(&late)),
            }
        }
    }

    /// A connection that was pooled and is closed before an answer began takes no request with it, as long as the upstream
    /// has seen nothing of the request, or may see it twice.
    fn may_repeat(&self, request: &Request<Upload>, sent: bool) -> bool {
        !sent || self.upload.is_none() && request.method().is_idempotent()
    }

    async fn connect(&self) -> Result<Box<Lane>, Failure> {
        let left = self.end.0.duration_since(self.started);
        let timeout = self.upstream.connect_timeout.min(left);
        connect(&self.upstream.address, timeout).await.map_err(Failure::Upstream)
    }

    fn poll_head(&self, lane: &mut Lane, cx: &mut Context<'_>) -> Poll<Result<Head, Late>> {
        match lane.poll_head(cx) {
            Poll::Ready(head) => Poll::Ready(head.map_err(Late::Broken)),
            Poll::Pending => self.poll_late(lane, cx).map(Err),
        }
    }

    fn deadline(&self, from: Instant) -> Instant {
        self.end.0.min(from + self.response_timeout)
    }

    /// The upstream's time for its head starts when it has the whole request, so a running upload pushes it back; the end
    /// of all waiting comes all the same. Then it was whoever took more of the time: the client with its upload, or the
    /// upstream since it has all of it.
    fn poll_late(&self, lane: &mut Lane, cx: &mut Context<'_>) -> Poll<Late> {
        while lane.poll_deadline(cx).is_ready() {
            let now = Instant::now();
            let asked = self.upload.as_ref().map_or(Some(self.started), Progress::over_since);
            if now >= self.end.0 {
                let client = match asked {
                    Some(asked) => asked - self.started > now - asked,
                    None => self.upload.as_ref().is_some_and(Progress::waits_for_client),
                };
                return Poll::Ready(if client { Late::Client } else { Late::Upstream });
            }
            let due = self.deadline(asked.unwrap_or(now));
            if due <= now {
                return Poll::Ready(Late::Broken(Broken::Upstream(UpstreamFault::HeadTimeout)));
            }
            lane.set_deadline(due);
        }
        Poll::Pending
    }

    fn answer(&self, head: Head, lane: Box<Lane>) -> Result<Response<Answer>, Failure> {
        let trailers = self.trailers.without(&head.named);
        let mut parts = head.parts;
        sanitise::response::response(&mut parts);
        if matches!(head.body, Body::Chunked(_))
            && let Some(announced) = trailers.announced(&head.trailers)
        {
            parts.headers.insert(TRAILER, announced);
        }
        let idle = self.upstream.body_idle_timeout;
        let answer = if lane.is_sending() {
            Answer::early(lane, self.upload.clone(), idle)
        } else {
            Answer::pooled(lane, self.upload.clone(), self.upstream.pool.clone(), idle)
        };
        Ok(Response::from_parts(parts, answer.with_trailers(trailers)))
    }

    /// Whose fault it was. A connection that broke while the client broke its upload, or kept the upstream waiting for it,
    /// was broken by the client.
    fn failure(&self, late: &Late) -> Failure {
        let of_client = self.upload.as_ref().and_then(Progress::delay);
        match *late {
            Late::Client => Failure::Body(BodyFault::Stalled),
            Late::Upstream => Failure::Rejected(Rejected::TimedOut { after: self.end.1 }),
            Late::Broken(Broken::Upload(fault)) => Failure::Body(fault),
            Late::Broken(Broken::Closed { .. }) => {
                of_client.map_or(Failure::Upstream(UpstreamFault::Closed), Failure::Body)
            }
            Late::Broken(Broken::Upstream(fault @ UpstreamFault::Closed)) => {
                of_client.map_or(Failure::Upstream(fault), Failure::Body)
            }
            Late::Broken(Broken::Upstream(fault)) => Failure::Upstream(fault),
        }
    }
}

/// Why there is no head.
enum Late {
    /// The lane broke.
    Broken(Broken),
    /// The end of all waiting has come, and the client was waited for.
    Client,
    /// The end of all waiting has come, and the upstream was waited for.
    Upstream,
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncWriteExt, net::TcpListener};

    use super::*;

    /// A call to an upstream that listens, and says this before it is asked anything.
    async fn told_unasked(says: &str) -> Result<Response<Answer>, Failure> {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string().parse().unwrap();
        let second = Duration::from_secs(1);
        let upstream = Arc::new(Upstream {
            name: "app".into(),
            address,
            connect_timeout: second,
            response_timeout: second,
            body_idle_timeout: second,
            pool: Pool::new(1, second),
            calls: Arc::default(),
        });
        let deadlines = Deadlines { request: second, attempt: None, response: None };
        let mut forward = Forward::new(upstream, deadlines, 0);
        let mut call = forward.call(Request::get("/").body(Upload::empty()).unwrap());
        // It knocks, and does not look again before the upstream has spoken.
        let knocks = poll_fn(|cx| Poll::Ready(call.as_mut().poll(cx).is_pending())).await;
        assert!(knocks, "it is still connecting");
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(says.as_bytes()).await.unwrap();
        call.await
    }

    #[tokio::test]
    async fn what_was_said_before_the_request_is_no_answer_to_it() {
        let told = told_unasked("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
        assert!(
            matches!(told, Err(Failure::Upstream(UpstreamFault::Protocol))),
            "it was taken for the answer: {told:?}"
        );
    }
}
