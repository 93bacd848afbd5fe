//! Circuit breaker around reqwest's client, whose error is no response: a refusal comes back as an error of the caller's own, typed,
//! so that it can be told from what the network did. The time-out is the client's, inside the breaker, so that an upstream
//! that hangs counts against itself.

use std::{
    error::Error,
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::SeqCst},
    },
    time::Duration,
};

use axum::{Router, routing::get};
use http::{Response, StatusCode};
use portcullis::{
    circuit_breaker::{Breaker, CircuitBreakerLayer, Settings, State},
    refuse::AsError,
    rejected::Rejected,
};
use portcullis_layer_examples::{clock, skip};
use reqwest::{Client, Method, Request};
use tokio::net::TcpListener;
use tower::{Service, ServiceBuilder, ServiceExt};

/// Why the stars of a repository aren't known.
#[derive(Debug)]
enum StarsError {
    /// We didn't ask: it makes no sense to try again before the circuit closes.
    Refused(Rejected),
    /// We asked, and got no answer.
    Network(reqwest::Error),
}

impl From<Rejected> for StarsError {
    fn from(rejected: Rejected) -> Self {
        Self::Refused(rejected)
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let calls = Arc::new(AtomicU32::new(0));
    let url = serve(calls.clone()).await?;
    let settings = Settings {
        consecutive_failures: NonZeroU32::new(3),
        open_wait: Duration::from_secs(30),
        ..Settings::default()
    };
    let breaker = Breaker::new("stars", settings).with_clock(clock);
    let client = Client::builder().timeout(Duration::from_millis(200)).build()?;
    let mut client = ServiceBuilder::new()
        .layer(CircuitBreakerLayer::new(breaker.clone()).refuse(AsError))
        .map_response(Response::from)
        .map_err(StarsError::Network)
        .service(client);
    let mut call = async |path: &str| -> Result<StatusCode, StarsError> {
        let url = format!("{url}{path}").parse().expect("a URL");
        let answer = client.ready().await?.call(Request::new(Method::GET, url)).await?;
        let status = answer.status();
        http_body_util::BodyExt::collect(answer.into_body()).await.map_err(StarsError::Network)?;
        Ok(status)
    };

    assert_eq!(call("/good").await.expect("it works"), StatusCode::OK);
    assert_eq!(call("/broken").await.expect("it answers"), StatusCode::INTERNAL_SERVER_ERROR);
    for _ in 0..2 {
        let Err(StarsError::Network(hung)) = call("/hangs").await else { panic!("it hangs") };
        assert!(hung.is_timeout());
    }
    assert_eq!(breaker.state(), State::Open);
    println!("{}: {:?}", breaker.name(), breaker.snapshot().why);

    let Err(StarsError::Refused(refused)) = call("/good").await else { panic!("it is open") };
    println!("refused: {refused}");
    assert_eq!(refused.reason(), "circuit_open");
    assert_eq!(calls.load(SeqCst), 4, "the refused call never left");

    skip(settings.open_wait);
    assert_eq!(call("/good").await.expect("the probe"), StatusCode::OK);
    assert_eq!(breaker.state(), State::Closed);
    Ok(())
}

/// A server with a path that works, one that fails and one that hangs.
async fn serve(calls: Arc<AtomicU32>) -> std::io::Result<String> {
    let counted = |status: StatusCode, hangs: bool| {
        let calls = calls.clone();
        get(async move || {
            calls.fetch_add(1, SeqCst);
            if hangs {
                std::future::pending::<()>().await;
            }
            status
        })
    };
    let app = Router::new()
        .route("/good", counted(StatusCode::OK, false))
        .route("/broken", counted(StatusCode::INTERNAL_SERVER_ERROR, false))
        .route("/hangs", counted(StatusCode::OK, true));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async { axum::serve(listener, app).await });
    Ok(format!("http://{address}"))
}
