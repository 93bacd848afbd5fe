//! A service behind a breaker for each key.
//!
//! Which breaker a request meets is known only with the request, so readiness is that of the service inside, and a refusal
//! comes with the call.

use std::{
    hash::Hash,
    task::{Context, Poll},
};

use http::Response;
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use super::{
    future::ResponseFuture,
    keyed::Keyed,
    service::{ResponseBody, begin},
};
use crate::{
    outcome::{Classify, Http},
    refuse::{AsResponse, Refuse},
};

/// A [`Layer`] that asks, before each call, the breaker of the request's key. A request without a key goes straight through.
#[derive(Debug, Clone)]
pub struct KeyedCircuitBreakerLayer<K, F, C = Http, R = AsResponse> {
    breakers: Keyed<K>,
    key: F,
    classify: C,
    refuse: R,
}

impl<K, F> KeyedCircuitBreakerLayer<K, F> {
    /// Calls go through the breaker of their key.
    pub const fn new(breakers: Keyed<K>, key: F) -> Self {
        Self { breakers, key, classify: Http::new(), refuse: AsResponse }
    }
}

impl<K, F, C, R> KeyedCircuitBreakerLayer<K, F, C, R> {
    /// Judges calls by another classifier.
    pub fn classify<C2>(self, classify: C2) -> KeyedCircuitBreakerLayer<K, F, C2, R> {
        KeyedCircuitBreakerLayer {
            breakers: self.breakers,
            key: self.key,
            classify,
            refuse: self.refuse,
        }
    }

    /// Refuses in another way.
    pub fn refuse<R2>(self, refuse: R2) -> KeyedCircuitBreakerLayer<K, F, C, R2> {
        KeyedCircuitBreakerLayer {
            breakers: self.breakers,
            key: self.key,
            classify: self.classify,
            refuse,
        }
    }
}

impl<S, K, F: Clone, C: Clone, R: Clone> Layer<S> for KeyedCircuitBreakerLayer<K, F, C, R> {
    type Service = KeyedCircuitBreaker<S, K, F, C, R>;

    fn layer(&self, inner: S) -> Self::Service {
        let manner = Self {
            breakers: self.breakers.clone(),
            key: self.key.clone(),
            classify: self.classify.clone(),
            refuse: self.refuse.clone(),
        };
        KeyedCircuitBreaker { inner, manner }
    }
}

/// A service behind a breaker for each key. See [`KeyedCircuitBreakerLayer`].
#[derive(Debug, Clone)]
pub struct KeyedCircuitBreaker<S, K, F, C = Http, R = AsResponse> {
    inner: S,
    manner: KeyedCircuitBreakerLayer<K, F, C, R>,
}

impl<S, K, F, C, R, Req, B> Service<Req> for KeyedCircuitBreaker<S, K, F, C, R>
where
    S: Service<Req, Response = Response<B>>,
    B: Body,
    K: Hash + Eq + Clone,
    F: Fn(&Req) -> Option<K>,
    C: Classify<Response<B>, S::Error> + Clone,
    R: Refuse<Response<ResponseBody<B, C>>, S::Error>,
{
    type Response = Response<ResponseBody<B, C>>;
    type Error = S::Error;
    type Future = ResponseFuture<S::Future, B, C, S::Error>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let manner = &self.manner;
        let permit =
            (manner.key)(&request).map(|key| manner.breakers.breaker(&key).admit()).transpose();
        match permit {
            Ok(permit) => {
                let call = permit.map(|permit| {
                    begin::<C, Response<B>, S::Error>(permit, manner.classify.clone())
                });
                ResponseFuture::calling(self.inner.call(request), call)
            }
            Err(rejected) => ResponseFuture::refused(manner.refuse.refuse(rejected)),
        }
    }
}
