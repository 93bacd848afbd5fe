//! Flag headers on a plain tower stack: the service reads its flags from a header that no client can write.

use std::{convert::Infallible, error::Error};

use http::{HeaderValue, Request, Response};
use portcullis::{
    flag_headers::{FEATURE_FLAGS, FEATURE_FLAGS_REVISION, FlagHeadersLayer},
    subject::Subject,
    switchboard::flag::{Flag, Rollout},
};
use portcullis_layer_examples::Desk;
use tower::{ServiceBuilder, ServiceExt, service_fn};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let half = Rollout::percent(50.0).ok_or("50 is a percentage")?;
    let flags = [
        Flag { key: "new-checkout".into(), enabled: true, rollout: half },
        Flag { key: "dark-mode".into(), enabled: true, rollout: Rollout::ALL },
    ];
    let (_desk, subscriber) = Desk::new([], flags);
    let upstream = service_fn(async |request: Request<()>| {
        Ok::<_, Infallible>(Response::new(request.into_parts().0.headers))
    });
    let service = ServiceBuilder::new()
        .layer(FlagHeadersLayer::new(subscriber).flags(["new-checkout", "dark-mode"]))
        .service(upstream);

    let mut told = Vec::new();
    for user in ["ada", "bob", "cleo", "dan", "ada"] {
        let mut request = Request::new(());
        request.extensions_mut().insert(Subject(user.into()));
        request
            .headers_mut()
            .insert(FEATURE_FLAGS, HeaderValue::from_static("admin, new-checkout"));
        let headers = service.clone().oneshot(request).await?.into_body();
        let flags = headers[FEATURE_FLAGS].to_str()?.to_owned();
        println!("{user}: {flags} (revision {})", headers[FEATURE_FLAGS_REVISION].to_str()?);
        told.push(flags);
    }
    assert!(told.iter().all(|flags| !flags.contains("admin")), "what the client sent is gone");
    assert!(told.iter().all(|flags| flags.contains("dark-mode;v=on;r=static")));
    assert!(told.iter().all(|flags| flags.contains("r=split")));
    assert_eq!(told[0], told[4], "the same subject gets the same flags");
    Ok(())
}
