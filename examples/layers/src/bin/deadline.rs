//! Deadline on an axum router: a slow answer becomes a 504 in time, a quick one is left alone.

use std::{
    error::Error,
    time::{Duration, Instant},
};

use axum::{Router, body::Body, routing::get};
use http::{Request, StatusCode};
use portcullis::deadline::DeadlineLayer;
use tokio::time::sleep;
use tower::ServiceExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let hang = async || {
        sleep(Duration::from_secs(60)).await;
        "too late"
    };
    let app = Router::new()
        .route("/quick", get(async || "in time"))
        .route("/slow", get(hang))
        .layer(DeadlineLayer::new(Duration::from_millis(100)));

    assert_eq!(status(&app, "/quick").await?, StatusCode::OK);
    let began = Instant::now();
    assert_eq!(status(&app, "/slow").await?, StatusCode::GATEWAY_TIMEOUT);
    assert!(began.elapsed() >= Duration::from_millis(100), "not before its time");
    Ok(())
}

async fn status(app: &Router, path: &str) -> Result<StatusCode, Box<dyn Error>> {
    let response = app.clone().oneshot(Request::get(path).body(Body::empty())?).await?;
    println!("GET {path}: {}", response.status());
    Ok(response.status())
}
