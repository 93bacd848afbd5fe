//! What stands before every admin request: is it meant for us, does it come from where it should, and who calls?
//!
//! A browser is the danger on loopback: any page that an operator has open may send requests to `127.0.0.1`. Two checks
//! together keep it out. The `Host` must name this listener (a page that rebinds its own name to 127.0.0.1 sends its own
//! name), and a write must not come from another site (a page that posts to the address says so in `Sec-Fetch-Site` or
//! `Origin`, or can only post as a form does). Programs send neither header, and pass.
//!
//! Then come the pace (of the key, or of the address where no known key is shown, so that a flood from a machine doesn't hold
//! back its operator's kill), the key's role, and last whether the parameters of the query
//! are ones that the endpoint has: a misspelt `dry_run` must not be a kill.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HOST, HeaderName, X_CONTENT_TYPE_OPTIONS};
use http::uri::Authority;
use http::{HeaderValue, Method, StatusCode};
use http_body_util::BodyExt;
use serde_json::Value;
use uuid::Uuid;

use super::Admin;
use super::endpoints::Endpoint;
use super::origins;
use super::problem::Problem;
use crate::config::config::Role;
use crate::control::server::Peer;

const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The id of one admin request; the audit, the answer and the log have the same.
#[derive(Debug, Clone)]
pub(super) struct RequestId(pub(super) Arc<str>);

pub(super) async fn stand(
    State(admin): State<Arc<Admin>>,
    mut request: Request,
    next: Next,
) -> Response {
    let id = RequestId(Uuid::now_v7().to_string().into());
    let origin = origins::named(request.headers(), &admin.config.admin.allowed_origins);
    let answer = match check(&admin, &mut request, origin.is_some()) {
        Ok(None) => {
            request.extensions_mut().insert(id.clone());
            next.run(request).await
        }
        Ok(Some(answer)) => answer,
        Err(problem) => problem.into_response(),
    };
    let mut answer = signed(answer, &id).await;
    if let Some(origin) = origin {
        origins::allow(answer.headers_mut(), origin);
    }
    answer
}

/// Lets the request pass, answers it, or refuses it.
fn check(
    admin: &Admin,
    request: &mut Request,
    by_named_origin: bool,
) -> Result<Option<Response>, Problem> {
    // Probes come from a kubelet or a balancer under any name and without a key, and learn one word.
    if matches!(request.uri().path(), "/livez" | "/readyz") {
        return Ok(None);
    }
    let host = host(request)?;
    if !is_ours(&host, &admin.config.admin.allowed_hosts) {
        let detail =
            format_args!("{} is not a name of this listener; see `allowed_hosts`", host.host());
        return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", detail));
    }
    let address = request.extensions().get::<Peer>().map(|Peer(address)| *address);
    match (admin.keyring.presented(request.headers()), address) {
        (Some(key), _) => admin.pace.of_key(&key.name)?,
        (None, Some(address)) => admin.pace.of_address(address)?,
        (None, None) => {}
    }
    if by_named_origin && let Some(answer) = origins::preflight(request) {
        return Ok(Some(answer));
    }
    if !request.method().is_safe() && !by_named_origin {
        refuse_other_sites(request, &host)?;
    }
    let endpoint = endpoint(admin, request);
    let needs = endpoint.map_or_else(|| usual_role(request.method()), |endpoint| endpoint.needs);
    let caller = admin.keyring.admit(request.method(), needs, request.headers(), address)?;
    if let Some(endpoint) = endpoint {
        refuse_unknown_parameters(endpoint, request.uri().query().unwrap_or_default())?;
    }
    request.extensions_mut().insert(caller);
    Ok(None)
}

/// The endpoint that the router found, if it takes the method.
fn endpoint<'a>(admin: &'a Admin, request: &Request) -> Option<&'a Endpoint> {
    let path = request.extensions().get::<MatchedPath>()?.as_str();
    let method = if request.method() == Method::HEAD { &Method::GET } else { request.method() };
    admin.endpoints.iter().find(|endpoint| endpoint.path == path && endpoint.method == method)
}

/// Of a path or a method that is not there: nobody learns that without a key where one is needed.
fn usual_role(method: &Method) -> Role {
    if method.is_safe() { Role::Viewer } else { Role::Killer }
}

fn refuse_other_sites(request: &Request, host: &Authority) -> Result<(), Problem> {
    let refused = |detail: &str| Problem::new(StatusCode::FORBIDDEN, "cross_site", detail);
    if origins::is_cross_site(request.headers(), host) {
        return Err(refused("writes from another site are refused; see `allowed_origins`"));
    }
    if origins::is_form(request.headers()) {
        return Err(refused(
            "a page of another site could have posted this form; send it as content-type: application/json",
        ));
    }
    Ok(())
}

fn refuse_unknown_parameters(endpoint: &Endpoint, query: &str) -> Result<(), Problem> {
    let names = query.split('&').filter(|pair| !pair.is_empty());
    for name in names.map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name)) {
        if !endpoint.takes(name) {
            return Err(Problem::unknown_parameter(name, endpoint.parameters()));
        }
    }
    Ok(())
}

fn host(request: &Request) -> Result<Authority, Problem> {
    let header = request.headers().get(HOST).map(HeaderValue::as_bytes);
    let named =
        header.or_else(|| request.uri().authority().map(|authority| authority.as_str().as_bytes()));
    named
        .and_then(|name| Authority::try_from(name).ok())
        .ok_or_else(|| Problem::bad_request("the request names no host"))
}

/// A literal address is always ours: no page can make a browser send one that isn't where it connected to.
fn is_ours(host: &Authority, allowed: &[String]) -> bool {
    let name = host.host();
    let literal = name.trim_start_matches('[').trim_end_matches(']');
    literal.parse::<std::net::IpAddr>().is_ok()
        || name.eq_ignore_ascii_case("localhost")
        || allowed.iter().any(|allowed| {
            name.eq_ignore_ascii_case(allowed) || host.as_str().eq_ignore_ascii_case(allowed)
        })
}

/// The answer with the headers that all answers share, and with the request's id in a problem's body.
async fn signed(answer: Response, RequestId(id): &RequestId) -> Response {
    let mut answer = if is_bare(&answer) { as_problem(answer).await } else { answer };
    if is_problem(&answer) {
        answer = with_id(answer, id).await;
    }
    let headers = answer.headers_mut();
    headers.insert(X_REQUEST_ID, HeaderValue::from_str(id).expect("a UUID is a header value"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    answer
}

/// Whether axum itself refused, with a line of plain text: a query or a path that is not as expected.
fn is_bare(answer: &Response) -> bool {
    let status = answer.status();
    let plain = |kind: &HeaderValue| kind.as_bytes().starts_with(b"text/plain");
    (status.is_client_error() || status.is_server_error())
        && answer.headers().get(CONTENT_TYPE).is_none_or(plain)
}

async fn as_problem(answer: Response) -> Response {
    let status = answer.status();
    let text = answer
        .into_body()
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let reason = if status.is_client_error() { "bad_request" } else { "internal" };
    Problem::new(status, reason, String::from_utf8_lossy(&text)).into_response()
}

fn is_problem(answer: &Response) -> bool {
    answer.headers().get(CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json")
}

async fn with_id(answer: Response, id: &str) -> Response {
    let (mut parts, body) = answer.into_parts();
    parts.headers.remove(http::header::CONTENT_LENGTH);
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let body = match serde_json::from_slice(&body) {
        Ok(Value::Object(mut problem)) => {
            problem.insert("request_id".to_owned(), id.into());
            Bytes::from(Value::Object(problem).to_string())
        }
        _ => body,
    };
    Response::from_parts(parts, body.into())
}
