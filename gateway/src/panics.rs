//! A panic costs one request.
//!
//! Nothing from the network should panic, and this layer is for the day on which something does: what it catches becomes a
//! plain 500 for that one client, a count, and one log line with the request's id and the place in the code. The other
//! requests of the connection go on, and so does the connection. What the request held (permits, slots, the connection to
//! its upstream) is given back by `Drop` while the panic unwinds, and no lock stays poisoned: each is taken with
//! `PoisonError::into_inner`, because what stands under it is whole after every statement.
//!
//! The panic's message goes nowhere: it may quote what the client or the configuration keeps secret, and the place is enough
//! to find it. Panics outside any request (the control plane, a task) are counted too, and printed as ever.
//!
//! The hook for panics belongs to the process, and so do the counts: the only state of the gateway that is global.

use std::{
    cell::{Cell, RefCell},
    mem,
    panic::{self, AssertUnwindSafe, Location, PanicHookInfo},
    pin::Pin,
    sync::{
        Once,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderValue, Request};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    control::metrics::{Exposition, counter},
    exchange::Exchange,
    failure::Failure,
    reply::{Refusal, Reply, Routed},
    telemetry::names,
};

/// What a request was doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Call,
    Answer,
    Body,
    /// It was no request.
    Elsewhere,
}

impl Stage {
    const ALL: [Self; 4] = [Self::Call, Self::Answer, Self::Body, Self::Elsewhere];

    const fn word(self) -> &'static str {
        match self {
            Self::Call => "call",
            Self::Answer => "answer",
            Self::Body => "body",
            Self::Elsewhere => "elsewhere",
        }
    }
}

static COUNTS: [AtomicU64; Stage::ALL.len()] = [const { AtomicU64::new(0) }; Stage::ALL.len()];

thread_local! {
    /// What this thread does at the moment.
    static STAGE: Cell<Stage> = const { Cell::new(Stage::Elsewhere) };
    /// Where its last contained panic was.
    static PLACE: RefCell<String> = const { RefCell::new(String::new()) };
}

/// From now on panics of this process are counted, and the place of a contained one is kept for its log line.
pub fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !noticed(info) {
                usual(info);
            }
        }));
    });
}

/// Whether the panic is contained, so that whoever contains it tells of it.
fn noticed(info: &PanicHookInfo<'_>) -> bool {
    let stage = STAGE.get();
    COUNTS[stage as usize].fetch_add(1, Relaxed);
    if stage == Stage::Elsewhere {
        return false;
    }
    let place = info.location().map_or_else(String::new, Location::to_string);
    PLACE.with_borrow_mut(|last| *last = place);
    true
}

/// All panics so far, as Prometheus reads it.
#[derive(Debug)]
pub struct Figures;

impl Exposition for Figures {
    fn write(&self, out: &mut String) {
        let family = counter(names::PANICS, "Bugs that cost a request, by what it was doing");
        family.head(out);
        for stage in Stage::ALL {
            let count = COUNTS[stage as usize].load(Relaxed);
            family.sample(out, &[("stage", stage.word())], count);
        }
    }
}

/// Does `work`; a panic in it is told, and becomes a failure.
fn contain<T>(stage: Stage, id: &HeaderValue, work: impl FnOnce() -> T) -> Result<T, Failure> {
    let before = STAGE.replace(stage);
    // A request's own state is dropped and not looked at again. What outlives it is whole after every statement.
    let result = panic::catch_unwind(AssertUnwindSafe(work));
    STAGE.set(before);
    result.map_err(|_| {
        let (at, id) = (PLACE.take(), id.to_str().unwrap_or_default());
        tracing::error!(at, request_id = id, "a panic cost one request its {}", stage.word());
        Failure::Internal
    })
}

/// Contains the panics of the service inside.
#[derive(Debug, Clone)]
pub struct Contain<S>(S);

impl<S> Contain<S> {
    /// Contains the panics of `inner`.
    pub const fn new(inner: S) -> Self {
        Self(inner)
    }
}

impl<S, R, B> Service<Request<R>> for Contain<S>
where
    S: Service<Request<R>, Response = Routed<B>, Error = Refusal>,
{
    type Response = Routed<Contained<B>>;
    type Error = Refusal;
    type Future = ContainFuture<S::Future>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<R>) -> Self::Future {
        let id = request.extensions().get::<Exchange>().map(|exchange| exchange.id.clone());
        let id = id.unwrap_or_else(|| HeaderValue::from_static("-"));
        ContainFuture { future: contain(Stage::Call, &id, || self.0.call(request)).ok(), id }
    }
}

pin_project! {
    /// A request that may panic.
    pub struct ContainFuture<F> {
        // Gone after a panic: it must not be polled again.
        #[pin]
        future: Option<F>,
        id: HeaderValue,
    }
}

impl<F, B> Future for ContainFuture<F>
where
    F: Future<Output = Result<Routed<B>, Refusal>>,
{
    type Output = Result<Routed<Contained<B>>, Refusal>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        let Some(future) = this.future.as_mut().as_pin_mut() else {
            return Poll::Ready(Err(Failure::Internal.into()));
        };
        let Ok(polled) = contain(Stage::Answer, this.id, || future.poll(cx)) else {
            // What it holds is given back now, and not when its answer has been read.
            let _ = contain(Stage::Answer, this.id, || this.future.set(None));
            return Poll::Ready(Err(Failure::Internal.into()));
        };
        let result = ready!(polled);
        // The future is over, and its body goes on under the same id.
        let id = mem::replace(this.id, HeaderValue::from_static("-"));
        let contained = |body| Contained { body: Some(body), id };
        Poll::Ready(result.map(|Routed { response, route }| Routed {
            response: response.map(|reply: Reply<B>| reply.map(contained)),
            route,
        }))
    }
}

pin_project! {
    /// The body of an answer, which may panic too: then the answer breaks off.
    #[derive(Debug)]
    pub struct Contained<B> {
        // Gone after a panic.
        #[pin]
        body: Option<B>,
        id: HeaderValue,
    }
}

impl<B: Body<Data = Bytes, Error = Failure>> Body for Contained<B> {
    type Data = Bytes;
    type Error = Failure;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
        let mut this = self.project();
        let Some(body) = this.body.as_mut().as_pin_mut() else { return Poll::Ready(None) };
        contain(Stage::Body, this.id, || body.poll_frame(cx)).unwrap_or_else(|failure| {
            let _ = contain(Stage::Body, this.id, || this.body.set(None));
            Poll::Ready(Some(Err(failure)))
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(B::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map_or_else(|| SizeHint::with_exact(0), B::size_hint)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex, PoisonError};

    use http::Response;
    use http_body_util::BodyExt;

    use super::*;

    /// Panics where it is told to, while it holds something.
    struct Faulty {
        at: Stage,
        held: Arc<()>,
        lock: Arc<Mutex<u32>>,
    }

    impl Faulty {
        fn new(at: Stage) -> Self {
            Self { at, held: Arc::default(), lock: Arc::default() }
        }
    }

    impl Service<Request<()>> for Faulty {
        type Response = Routed<FaultyBody>;
        type Error = Refusal;
        type Future =
            Pin<Box<dyn Future<Output = Result<Routed<FaultyBody>, Refusal>> + Send + Sync>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _: Request<()>) -> Self::Future {
            let mut calls = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
            *calls += 1;
            assert!(self.at != Stage::Call, "secret");
            let (at, held) = (self.at, self.held.clone());
            Box::pin(async move {
                let _held = held.clone();
                assert!(at != Stage::Answer, "secret");
                let body = FaultyBody { panics: at == Stage::Body, _held: held };
                Ok(Routed { response: Response::new(Reply::of_route(body)), route: None })
            })
        }
    }

    struct FaultyBody {
        panics: bool,
        _held: Arc<()>,
    }

    impl Body for FaultyBody {
        type Data = Bytes;
        type Error = Failure;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Failure>>> {
            assert!(!self.panics, "secret");
            Poll::Ready(None)
        }
    }

    fn request() -> Request<()> {
        Request::new(())
    }

    async fn failure(service: &mut Contain<Faulty>) -> Failure {
        match service.call(request()).await {
            Err(refusal) => refusal.failure,
            Ok(routed) => {
                let body = routed.response.into_body();
                body.collect().await.map(|_| ()).expect_err("it panics somewhere")
            }
        }
    }

    #[tokio::test]
    async fn a_panic_anywhere_is_a_failure_and_gives_back_what_was_held() {
        watch();
        for at in [Stage::Call, Stage::Answer, Stage::Body] {
            let mut service = Contain::new(Faulty::new(at));
            let before = COUNTS[at as usize].load(Relaxed);
            for _ in 0..3 {
                let failure = failure(&mut service).await;
                assert_eq!((failure.reason(), failure.status().as_u16()), ("internal", 500));
            }
            assert_eq!(Arc::strong_count(&service.0.held), 1, "{at:?}");
            // Other tests of this process count here too.
            assert!(COUNTS[at as usize].load(Relaxed) >= before + 3, "{at:?}");
            let calls = service.0.lock.lock().unwrap_or_else(PoisonError::into_inner);
            assert_eq!(*calls, 3, "a poisoned lock still opens");
        }
    }

    #[tokio::test]
    async fn what_is_held_is_given_back_before_the_answer_is_read() {
        watch();
        let mut service = Contain::new(Faulty::new(Stage::Answer));
        let mut answer = std::pin::pin!(service.call(request()));
        let polled = std::future::poll_fn(|cx| Poll::Ready(answer.as_mut().poll(cx))).await;
        assert!(matches!(polled, Poll::Ready(Err(_))));
        // The answer is still there, and has let go of it already.
        assert!(answer.future.is_none());
    }

    #[tokio::test]
    async fn a_body_that_panicked_is_over() {
        watch();
        let routed = Contain::new(Faulty::new(Stage::Body)).call(request()).await;
        let mut body = routed.expect("the head is whole").response.into_body();
        assert!(body.frame().await.expect("the failure").is_err());
        assert!(body.is_end_stream() && body.frame().await.is_none());
    }

    #[tokio::test]
    async fn what_does_not_panic_passes() {
        let routed = Contain::new(Faulty::new(Stage::Elsewhere)).call(request()).await;
        let body = routed.expect("an answer").response.into_body().collect().await;
        assert!(body.expect("a whole body").to_bytes().is_empty());
    }

    #[test]
    fn the_figures_name_every_stage() {
        let mut text = String::new();
        Figures.write(&mut text);
        for stage in Stage::ALL {
            assert!(
                text.contains(&format!("portcullis_panics_total{{stage=\"{}\"}} ", stage.word()))
            );
        }
    }
}
