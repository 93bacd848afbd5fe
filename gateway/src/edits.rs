//! Sets and removes header fields as the operator wants, on the way to an upstream and back.
//!
//! It stands below authentication and the flag headers, so that what it takes away was still there for whoever decides, and
//! around the breaker, so that what it does to an answer changes no verdict. Refusals of the gateway pass it untouched. What
//! would break the message or forge the gateway's own word never gets here: `config` refuses it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use http::{HeaderMap, Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::config::config::{Edits, HeaderEdits};

/// Edits the headers of a route. Without edits it costs nothing.
#[derive(Debug, Clone)]
pub struct EditsLayer {
    request: Option<Arc<Edits>>,
    response: Option<Arc<Edits>>,
}

impl EditsLayer {
    /// These edits.
    pub fn new(edits: &Edits) -> Self {
        let of = |half: &HeaderEdits| (!half.is_empty()).then(|| Arc::new(edits.clone()));
        Self { request: of(&edits.request), response: of(&edits.response) }
    }
}

impl<S> Layer<S> for EditsLayer {
    type Service = Edit<S>;

    fn layer(&self, inner: S) -> Edit<S> {
        Edit { inner, edits: self.clone() }
    }
}

fn apply(edits: &HeaderEdits, headers: &mut HeaderMap) {
    for name in &edits.remove {
        headers.remove(name);
    }
    for (name, value) in &edits.set {
        headers.insert(name, value.clone());
    }
}

/// A route whose headers are edited.
#[derive(Debug, Clone)]
pub struct Edit<S> {
    inner: S,
    edits: EditsLayer,
}

impl<S, R, B> Service<Request<R>> for Edit<S>
where
    S: Service<Request<R>, Response = Response<B>>,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = EditFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<R>) -> Self::Future {
        if let Some(edits) = &self.edits.request {
            apply(&edits.request, request.headers_mut());
        }
        EditFuture { future: self.inner.call(request), edits: self.edits.response.clone() }
    }
}

pin_project! {
    /// An answer whose headers will be edited.
    pub struct EditFuture<F> {
        #[pin]
        future: F,
        edits: Option<Arc<Edits>>,
    }
}

impl<F, B, E> Future for EditFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut result = ready!(this.future.poll(cx));
        if let (Ok(response), Some(edits)) = (&mut result, this.edits) {
            apply(&edits.response, response.headers_mut());
        }
        Poll::Ready(result)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_replaces_all_of_its_name_and_what_is_removed_is_gone() {
        let edits = HeaderEdits {
            remove: vec!["cookie".parse().unwrap(), "x-b".parse().unwrap()],
            set: vec![("x-a".parse().unwrap(), "ours".parse().unwrap())],
        };
        let mut headers = HeaderMap::new();
        for (name, value) in [("x-a", "1"), ("x-a", "2"), ("x-b", "3"), ("x-b", "4"), ("x-c", "5")]
        {
            headers.append(name, value.parse().unwrap());
        }
        apply(&edits, &mut headers);

        assert_eq!(headers.len(), 2);
        assert_eq!(
            (&headers["x-a"], &headers["x-c"]),
            (&"ours".parse().unwrap(), &"5".parse().unwrap())
        );
    }
}
