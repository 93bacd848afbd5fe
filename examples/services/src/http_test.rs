//! For tests only: one request straight into a router, and its answer as JSON.

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, header};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

use crate::startup::finished;

pub(crate) fn get(path: &str) -> Request<Body> {
    Request::get(path).body(Body::empty()).unwrap()
}

pub(crate) fn post(path: &str, body: &Value) -> Request<Body> {
    Request::post(path)
        .header(header::CONTENT_TYPE, "application/json")
        .body(Body::from(body.to_string()))
        .unwrap()
}

pub(crate) fn with(mut request: Request<Body>, name: &'static str, value: &str) -> Request<Body> {
    request.headers_mut().append(name, value.parse().unwrap());
    request
}

pub(crate) async fn send(router: &Router, request: Request<Body>) -> (u16, Value) {
    let (status, _, body) = send_for_headers(router, request).await;
    (status, body)
}

pub(crate) async fn send_for_headers(
    router: &Router,
    request: Request<Body>,
) -> (u16, HeaderMap, Value) {
    let response = finished(router.clone()).oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let body = serde_json::from_slice(&bytes).unwrap_or_else(|_| panic!("not JSON: {bytes:?}"));
    (head.status.as_u16(), head.headers, body)
}
