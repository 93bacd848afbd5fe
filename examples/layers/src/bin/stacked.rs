//! All four on axum, behind a real listener: killswitch, flag headers, breaker and auto-disable in one stack, in the order
//! in which they belong.
//!
//! axum calls `layer()` once per connection. So each call here takes a connection of its own: the state has to live in the
//! handles (`Breaker`, `Meter`, `Subscriber`), and it does.

use std::{
    error::Error,
    net::SocketAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{Router, extract, routing::get};
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header::CONNECTION};
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use portcullis::{
    auto_disable::{self, AutoDisableLayer, Meter},
    circuit_breaker::{self, Breaker, CircuitBreakerLayer, State},
    flag_headers::FlagHeadersLayer,
    killswitch::KillswitchLayer,
    switchboard::flag::{Flag, Rollout},
};
use portcullis_layer_examples::{Desk, clock, skip};
use tokio::{net::TcpListener, sync::oneshot};
use tower::ServiceBuilder;

type BoxError = Box<dyn Error + Send + Sync>;

const FAILURES: NonZeroU32 = NonZeroU32::MIN.saturating_add(2);
const ERRORS: NonZeroU32 = NonZeroU32::MIN.saturating_add(5);
const OPEN_WAIT: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let theme = Flag { key: "new-checkout".into(), enabled: true, rollout: Rollout::ALL };
    let (desk, subscriber) = Desk::new(["orders"], [theme]);
    let settings = circuit_breaker::Settings {
        consecutive_failures: Some(FAILURES),
        open_wait: OPEN_WAIT,
        ..Default::default()
    };
    let breaker = Breaker::new("orders", settings).with_clock(clock);
    let writer = Arc::clone(&desk);
    let meter = Meter::new(
        "orders",
        auto_disable::Settings { errors: ERRORS, ..Default::default() },
        move |trip| {
            let reason = format!("{} errors in {} calls", trip.errors, trip.calls);
            writer.kill(&trip.feature, "auto", &reason).expect("the feature was declared above");
        },
    );

    let broken = Arc::new(AtomicBool::new(false));
    let stack = ServiceBuilder::new()
        // Off means off: nothing below runs or counts.
        .layer(KillswitchLayer::new(subscriber.clone()).rejects(["orders"]))
        // The service reads the flags; what a client says of them is gone.
        .layer(FlagHeadersLayer::new(subscriber).flags(["new-checkout"]))
        // Fails fast while the service is known to be bad.
        .layer(CircuitBreakerLayer::new(breaker.clone()))
        // Inside the breaker: a refused call says nothing about the feature.
        .layer(AutoDisableLayer::new([meter.clone()]));
    let app = Router::new().route("/orders", get(orders)).layer(stack).with_state(broken.clone());
    let server = Server::start(app).await?;

    assert_eq!(
        server.get("all is well").await?,
        (StatusCode::OK, "new-checkout;v=on;r=static".to_owned())
    );

    broken.store(true, SeqCst);
    for _ in 0..3 {
        assert_eq!(server.get("broken").await?.0, StatusCode::INTERNAL_SERVER_ERROR);
    }
    assert_eq!(breaker.snapshot().state, State::Open);
    assert_eq!(server.get("the breaker is open").await?.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(meter.snapshot().errors, 3, "a refusal of the breaker is no error of the feature");

    // One probe after each wait, and each fails, until the meter has seen enough.
    for _ in 0..3 {
        skip(OPEN_WAIT);
        assert_eq!(server.get("a probe").await?.0, StatusCode::INTERNAL_SERVER_ERROR);
    }
    assert!(meter.snapshot().tripped);
    skip(OPEN_WAIT);
    let calls = breaker.snapshot().calls_total;
    assert_eq!(server.get("turned off by itself").await?.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(breaker.snapshot().calls_total, calls, "not even a probe passes a killswitch");

    broken.store(false, SeqCst);
    desk.restore("orders", "ada", "the database is back")?;
    meter.reset();
    assert_eq!(server.get("turned on again").await?.0, StatusCode::OK);
    assert_eq!(breaker.snapshot().state, State::Closed);
    server.stop().await
}

/// Answers with the flags that it was told.
async fn orders(
    broken: extract::State<Arc<AtomicBool>>,
    headers: HeaderMap,
) -> (StatusCode, String) {
    let flags =
        headers.get("feature-flags").and_then(|flags| flags.to_str().ok()).unwrap_or_default();
    let status =
        if broken.load(SeqCst) { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
    (status, flags.to_owned())
}

struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl Server {
    async fn start(app: Router) -> Result<Self, BoxError> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel();
        let serve = axum::serve(listener, app)
            .with_graceful_shutdown(async { stopped.await.unwrap_or_default() });
        Ok(Self { address, stop, task: tokio::spawn(serve.into_future()) })
    }

    /// One call over a connection of its own, with a forged flag header.
    async fn get(&self, what: &str) -> Result<(StatusCode, String), BoxError> {
        let client = Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>();
        let request = Request::get(format!("http://{}/orders", self.address))
            .header(CONNECTION, "close")
            .header("feature-flags", "admin");
        let response = client.request(request.body(Empty::new())?).await?;
        let status = response.status();
        let body = String::from_utf8(response.into_body().collect().await?.to_bytes().into())?;
        println!("{what}: {status} {body}");
        Ok((status, body))
    }

    async fn stop(self) -> Result<(), BoxError> {
        self.stop.send(()).map_err(|()| "the server ended by itself")?;
        Ok(self.task.await??)
    }
}
