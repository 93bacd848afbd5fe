//! Auto-disable and killswitch together: a feature that only makes errors turns itself off, until someone turns it on again.

use std::{convert::Infallible, error::Error, num::NonZeroU32, sync::Arc};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use portcullis::{
    auto_disable::{AutoDisableLayer, Meter, Settings},
    killswitch::KillswitchLayer,
};
use portcullis_layer_examples::Desk;
use tower::{Service, ServiceBuilder, ServiceExt, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let (desk, subscriber) = Desk::new(["recommendations"], []);
    let settings = Settings { errors: NonZeroU32::MIN.saturating_add(9), ..Settings::default() };
    let writer = Arc::clone(&desk);
    let meter = Meter::new("recommendations", settings, move |trip| {
        let reason = format!("{} errors in {} calls", trip.errors, trip.calls);
        writer.kill(&trip.feature, "auto", &reason).expect("the feature was declared above");
    });
    let mut calls = 0;
    let upstream = service_fn(|_: Request<()>| {
        calls += 1;
        let mut response = Response::new(Full::<Bytes>::default());
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
        async { Ok::<_, Infallible>(response) }
    });
    // The killswitch stands outside: what it refuses says nothing about the feature, and is not counted.
    let mut service = ServiceBuilder::new()
        .layer(KillswitchLayer::new(subscriber).rejects(["recommendations"]))
        .layer(AutoDisableLayer::new([meter.clone()]))
        .service(upstream);
    let mut call = async || -> Result<StatusCode, Infallible> {
        Ok(service.ready().await?.call(Request::new(())).await?.status())
    };

    for _ in 0..10 {
        assert_eq!(call().await?, StatusCode::INTERNAL_SERVER_ERROR);
    }
    for _ in 0..10 {
        assert_eq!(call().await?, StatusCode::SERVICE_UNAVAILABLE, "the upstream has peace");
    }
    assert!(meter.snapshot().tripped);

    desk.restore("recommendations", "ada", "the model is back")?;
    meter.reset();
    assert_eq!(call().await?, StatusCode::INTERNAL_SERVER_ERROR, "the eleventh call, counted anew");
    assert_eq!(meter.snapshot().errors, 1);
    drop(service);
    assert_eq!(calls, 11);
    Ok(())
}
