//! Killswitch on an axum router: one route is turned off and on again while the other never notices.

use std::error::Error;

use axum::{Router, body::Body, routing::get};
use http::{Request, StatusCode, header::RETRY_AFTER};
use portcullis::{killswitch::KillswitchLayer, rejected::Rejected};
use portcullis_layer_examples::Desk;
use tower::ServiceExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (desk, subscriber) = Desk::new(["order_creation", "reports"], []);
    let behind = |feature| KillswitchLayer::new(subscriber.clone()).rejects([feature]);
    let app = Router::new()
        .route("/orders", get(async || "ordered").layer(behind("order_creation")))
        .route("/reports", get(async || "reported").layer(behind("reports")));

    assert_eq!(status(&app, "/orders").await?, StatusCode::OK);

    desk.kill("order_creation", "ada", "the stock is wrong")?;
    assert_eq!(status(&app, "/orders").await?, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        status(&app, "/reports").await?,
        StatusCode::OK,
        "another feature is another switch"
    );

    desk.restore("order_creation", "ada", "the stock is counted")?;
    assert_eq!(status(&app, "/orders").await?, StatusCode::OK);
    Ok(())
}

async fn status(app: &Router, path: &str) -> Result<StatusCode, Box<dyn Error>> {
    let response = app.clone().oneshot(Request::get(path).body(Body::empty())?).await?;
    match response.extensions().get::<Rejected>() {
        Some(rejected) => println!("GET {path}: {} because {rejected}", response.status()),
        None => println!("GET {path}: {}", response.status()),
    }
    assert!(!response.headers().contains_key(RETRY_AFTER), "nobody said when the kill ends");
    Ok(response.status())
}
