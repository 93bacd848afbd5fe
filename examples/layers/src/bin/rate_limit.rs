//! Rate limit on an axum router, by subject: one caller's haste is not another's problem.

use std::{error::Error, num::NonZeroU32, sync::Arc, time::Duration};

use axum::{Router, body::Body, routing::get};
use http::{Extensions, Request, StatusCode, header::RETRY_AFTER};
use portcullis::{
    rate_limit::{Limiter, RateLimitLayer},
    subject::Subject,
};
use tower::ServiceExt;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    const BURST: NonZeroU32 = NonZeroU32::MIN.saturating_add(2);
    let limiter =
        Limiter::<Arc<str>>::new("search", NonZeroU32::MIN, Duration::from_secs(60), BURST);
    let by_subject =
        |extensions: &Extensions| extensions.get::<Subject>().map(|subject| subject.0.clone());
    let app = Router::new()
        .route("/search", get(async || "found"))
        .layer(RateLimitLayer::new(limiter, by_subject));

    for _ in 0..3 {
        assert_eq!(status(&app, Some("ada")).await?, StatusCode::OK);
    }
    assert_eq!(status(&app, Some("ada")).await?, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(
        status(&app, Some("bob")).await?,
        StatusCode::OK,
        "another subject has a bucket of its own"
    );
    assert_eq!(status(&app, None).await?, StatusCode::OK, "and without a subject there is none");
    Ok(())
}

async fn status(app: &Router, subject: Option<&str>) -> Result<StatusCode, Box<dyn Error>> {
    let mut request = Request::get("/search").body(Body::empty())?;
    if let Some(subject) = subject {
        request.extensions_mut().insert(Subject(subject.into()));
    }
    let response = app.clone().oneshot(request).await?;
    let wait = response
        .headers()
        .get(RETRY_AFTER)
        .map(|wait| format!(", again in {wait:?} s"))
        .unwrap_or_default();
    println!("{}: {}{wait}", subject.unwrap_or("nobody"), response.status());
    Ok(response.status())
}
