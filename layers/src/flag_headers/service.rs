//! The service: strip, evaluate, set, pass on.

use std::{
    sync::Arc,
    task::{Context, Poll},
};

use http::{HeaderName, Request};
use tower_service::Service;

use super::lines::Told;
use crate::{subject::Subject, view::Subscriber};

/// The header with the flags.
pub const FEATURE_FLAGS: HeaderName = HeaderName::from_static("feature-flags");

/// The header with the revision of the switchboard that the flags are of.
pub const FEATURE_FLAGS_REVISION: HeaderName = HeaderName::from_static("feature-flags-revision");

/// The service made by [`FlagHeadersLayer`](super::FlagHeadersLayer).
#[derive(Debug, Clone)]
pub struct FlagHeaders<S> {
    pub(super) inner: S,
    pub(super) subscriber: Subscriber,
    pub(super) told: Arc<Told>,
}

impl<S, B> Service<Request<B>> for FlagHeaders<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> S::Future {
        if self.told.is_empty() {
            request.headers_mut().remove(FEATURE_FLAGS);
            request.headers_mut().remove(FEATURE_FLAGS_REVISION);
            return self.inner.call(request);
        }
        let extensions = request.extensions();
        let subject = extensions.get::<Subject>().map(Subject::as_str);
        let (flags, revision) =
            self.subscriber.read_in(extensions, |board| self.told.say(board, subject));
        let headers = request.headers_mut();
        match flags {
            Some(flags) => headers.insert(FEATURE_FLAGS, flags),
            None => headers.remove(FEATURE_FLAGS),
        };
        headers.insert(FEATURE_FLAGS_REVISION, revision);
        self.inner.call(request)
    }
}
