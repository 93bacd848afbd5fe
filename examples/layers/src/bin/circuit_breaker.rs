//! Circuit breaker around hyper's client: an upstream breaks, is left alone, and is taken back after one good answer.

use std::{
    convert::Infallible,
    error::Error,
    net::SocketAddr,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{Router, routing::get};
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};
use portcullis::{
    circuit_breaker::{Breaker, CircuitBreakerLayer, Settings, State},
    refuse::AsError,
    rejected::Rejected,
};
use portcullis_layer_examples::{clock, skip};
use tokio::net::TcpListener;
use tower::{Service, ServiceBuilder, ServiceExt};

type BoxError = Box<dyn Error + Send + Sync>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let upstream = Upstream::default();
    let address = upstream.serve().await?;
    let settings = Settings {
        consecutive_failures: Some(NonZeroU32::MIN.saturating_add(2)),
        open_wait: Duration::from_secs(30),
        ..Settings::default()
    };
    let breaker = Breaker::new("payments", settings).with_clock(clock).on_change(|change| {
        println!("{}: {} -> {}", change.breaker, change.from.as_str(), change.to.as_str());
    });
    let mut client = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(breaker.clone()).refuse(AsError))
        .map_err(BoxError::from)
        .service(Client::builder(TokioExecutor::new()).build_http::<Empty<Bytes>>());
    let mut call = async || -> Result<StatusCode, BoxError> {
        let request = Request::get(format!("http://{address}/")).body(Empty::new())?;
        let response = client.ready().await?.call(request).await?;
        let status = response.status();
        // The outcome is known at the end of the body, not at its head.
        response.into_body().collect().await?;
        Ok(status)
    };

    assert_eq!(call().await?, StatusCode::OK);
    upstream.broken.store(true, SeqCst);
    for _ in 0..3 {
        assert_eq!(call().await?, StatusCode::INTERNAL_SERVER_ERROR);
    }
    assert_eq!(breaker.snapshot().state, State::Open);

    let refused = call().await.expect_err("the circuit is open");
    println!("refused: {refused}");
    assert_eq!(refused.downcast_ref().map(Rejected::reason), Some("circuit_open"));
    assert_eq!(upstream.calls.load(SeqCst), 4, "the refused call never left");

    upstream.broken.store(false, SeqCst);
    skip(settings.open_wait);
    assert_eq!(call().await?, StatusCode::OK, "the probe");
    assert_eq!(breaker.snapshot().state, State::Closed);
    Ok(())
}

/// A server that can be broken.
#[derive(Clone, Default)]
struct Upstream {
    broken: Arc<AtomicBool>,
    calls: Arc<AtomicU32>,
}

impl Upstream {
    async fn serve(&self) -> Result<SocketAddr, BoxError> {
        let upstream = self.clone();
        let answer = async move || {
            upstream.calls.fetch_add(1, SeqCst);
            let broken = upstream.broken.load(SeqCst);
            Ok::<_, Infallible>(if broken {
                StatusCode::INTERNAL_SERVER_ERROR
            } else {
                StatusCode::OK
            })
        };
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        tokio::spawn(async { axum::serve(listener, Router::new().route("/", get(answer))).await });
        Ok(address)
    }
}
