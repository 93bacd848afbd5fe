//! Concurrency limit on a plain tower stack: a call is in flight until the end of its body, and the one too many is refused
//! at once instead of queueing.

use std::{convert::Infallible, error::Error, num::NonZeroUsize};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use portcullis::concurrency::{ConcurrencyLayer, Limit};
use tower::{ServiceBuilder, ServiceExt, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let limit = Limit::new("exports", NonZeroUsize::MIN.saturating_add(1));
    let service = ServiceBuilder::new().layer(ConcurrencyLayer::new(limit.clone())).service(
        service_fn(async |_: Request<()>| {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("a large export"))))
        }),
    );
    let call = async || service.clone().oneshot(Request::new(())).await;
    let say = |what: &str| println!("{what}: {} of {} in flight", limit.in_flight(), limit.max());

    let first = call().await?;
    let second = call().await?;
    say("two answers begun");
    assert_eq!(limit.in_flight(), 2, "their heads are here, their bodies are not");

    let third = call().await?;
    say("a third one refused");
    assert_eq!(third.status(), StatusCode::SERVICE_UNAVAILABLE);

    first.into_body().collect().await?;
    say("the first one read");
    drop(second);
    say("the second one given up");
    assert_eq!(limit.in_flight(), 0);
    assert_eq!(call().await?.status(), StatusCode::OK);
    Ok(())
}
