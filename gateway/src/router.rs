//! Which route a request takes, by host, path and method.
//!
//! Overlaps have one order, whatever the order in the file: an exact host before a suffix (a longer suffix before a shorter
//! one) before any host; within a host a literal segment before a parameter before the rest of the path (`matchit` decides,
//! segment by segment; the rest may be empty); on one pattern a route that names the method before one that takes any. If no route of the most
//! specific host has the path, the next host is asked. A path that only other methods have is a 405 with `Allow`.
//!
//! [`Table`] is the immutable answer; [`Router`] is a worker's service over it, which owns one stack per route and calls it
//! by `&mut`, so nothing is cloned per request. The mutex around a stack is never contended: a worker is one thread.
//!
//! The gateway's own paths (its health) stand among the routes; `config` keeps routes of any host off them. Redirects stand
//! there too: they are answered here, and have no stack.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, Waker, ready},
};

use bytes::Bytes;
use http::{
    HeaderValue, Method, Request, Response, StatusCode, Uri,
    header::{HOST, LOCATION},
    uri::PathAndQuery,
};
use matchit::Params;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use pin_project_lite::pin_project;
use portcullis::view::Subscriber;
use tower_service::Service;

use crate::{
    config::config::{HostPattern, PathPattern, Redirect, Rewrite, RewritePart, Route},
    exchange::AsAsked,
    failure::Failure,
    reply::{Refusal, Reply, Routed},
    sanitise,
    upload::Upload,
};

/// A route's place in the configuration.
pub type RouteId = usize;

/// What is at the end of a path.
#[derive(Debug, Default, Clone)]
struct Methods {
    named: Vec<(Method, End)>,
    any: Option<End>,
}

/// Whose a path is.
#[derive(Debug, Clone, Copy)]
enum End {
    Route(RouteId),
    /// An index into the redirects.
    Redirect(usize),
    Own(&'static str),
}

/// What a request is for.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// A route, and the target under which its upstream knows the path, where that differs.
    Route(RouteId, Option<Uri>),
    /// It has moved there.
    Moved(StatusCode, HeaderValue),
    /// One of the gateway's own paths.
    Own(&'static str),
}

/// All routes, ready to be asked.
#[derive(Debug, Default)]
pub struct Table {
    exact: HashMap<String, matchit::Router<Methods>>,
    /// Longest first.
    suffixes: Vec<(String, matchit::Router<Methods>)>,
    any: matchit::Router<Methods>,
    rewrites: Vec<Option<Rewrite>>,
    /// The routes below whose rewriting somebody wants to know what was asked for.
    remembers: Vec<bool>,
    redirects: Vec<Redirect>,
}

/// What no URL has as it is; the rest of it was normalised already.
const NOT_IN_A_URL: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'<')
    .add(b'>')
    .add(b'\\')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

impl Table {
    /// The table of checked routes and redirects, and of the gateway's own paths.
    pub fn new(routes: &[Route], redirects: &[Redirect], own: &[&'static str]) -> Self {
        let mut paths: HashMap<Option<&HostPattern>, HashMap<&str, Methods>> = HashMap::new();
        let of_routes = routes
            .iter()
            .enumerate()
            .map(|(id, route)| (route.host.as_ref(), &route.path, &route.methods, End::Route(id)));
        let of_redirects = redirects.iter().enumerate().map(|(index, redirect)| {
            (redirect.host.as_ref(), &redirect.path, &redirect.methods, End::Redirect(index))
        });
        for (host, PathPattern(path), methods, end) in of_routes.chain(of_redirects) {
            let ends = paths.entry(host).or_default().entry(path).or_default();
            ends.named.extend(methods.iter().map(|method| (method.clone(), end)));
            if methods.is_empty() {
                ends.any = Some(end);
            }
        }
        let anywhere = paths.entry(None).or_default();
        for path in own {
            let end = End::Own(path);
            anywhere.entry(path).or_insert(Methods {
                named: vec![(Method::GET, end), (Method::HEAD, end)],
                any: None,
            });
        }
        let rewrites = routes.iter().map(|route| route.rewrite.clone()).collect();
        let remembers = routes.iter().map(|route| route.fallback.is_some()).collect();
        let redirects = redirects.to_vec();
        let mut table = Self { rewrites, remembers, redirects, ..Self::default() };
        for (host, paths) in paths {
            table.plant(host, tree(paths));
        }
        table.suffixes.sort_by_key(|(suffix, _)| std::cmp::Reverse(suffix.len()));
        table
    }

    fn plant(&mut self, host: Option<&HostPattern>, tree: matchit::Router<Methods>) {
        match host {
            Some(HostPattern::Exact(host)) => drop(self.exact.insert(host.clone(), tree)),
            Some(HostPattern::Suffix(suffix)) => self.suffixes.push((suffix.clone(), tree)),
            None => self.any = tree,
        }
    }

    /// What a request is for.
    ///
    /// # Errors
    /// No route has the path, or none has it with this method.
    pub fn find(&self, method: &Method, host: &str, uri: &Uri) -> Result<Found, Refusal> {
        let mut allowed: Option<&Methods> = None;
        for tree in self.trees(host) {
            let Ok(found) = tree.at(uri.path()) else { continue };
            match found.value.end(method) {
                Some(End::Own(path)) => return Ok(Found::Own(path)),
                Some(End::Route(id)) => {
                    return self.rewritten(id, uri, &found.params).map(|uri| Found::Route(id, uri));
                }
                Some(End::Redirect(index)) => {
                    return moved(&self.redirects[index], uri, &found.params);
                }
                None => allowed = allowed.or(Some(found.value)),
            }
        }
        Err(match allowed {
            None => Refusal { failure: Failure::NoRoute, route: None },
            Some(methods) => Refusal {
                failure: Failure::MethodNotAllowed { allow: methods.allow() },
                route: None,
            },
        })
    }

    /// The trees to ask for this host, most specific first.
    fn trees(&self, host: &str) -> impl Iterator<Item = &matchit::Router<Methods>> {
        let named = (!self.exact.is_empty() || !self.suffixes.is_empty()).then(|| bare_host(host));
        let exact = named.as_deref().and_then(|host| self.exact.get(host));
        let ends = move |suffix: &str| named.as_deref().is_some_and(|host| host.ends_with(suffix));
        let suffixes =
            self.suffixes.iter().filter(move |(suffix, _)| ends(suffix)).map(|(_, tree)| tree);
        exact.into_iter().chain(suffixes).chain([&self.any])
    }

    fn rewritten(
        &self,
        id: RouteId,
        uri: &Uri,
        params: &Params<'_, '_>,
    ) -> Result<Option<Uri>, Refusal> {
        let Some(rewrite) = &self.rewrites[id] else { return Ok(None) };
        match PathAndQuery::try_from(filled(rewrite, uri, params)) {
            Ok(target) => Ok(Some(Uri::from(target))),
            Err(_) => Err(Refusal {
                failure: Failure::BadRequest("the rewritten path is no path"),
                route: Some(id),
            }),
        }
    }
}

/// A template with its parameters filled in, and the query behind it.
fn filled(template: &Rewrite, uri: &Uri, params: &Params<'_, '_>) -> String {
    let mut target = String::with_capacity(uri.path().len());
    let mut nothing = false;
    for part in &template.parts {
        match part {
            // The rest of a path may be empty, and leaves no second slash then.
            RewritePart::Literal(text) if nothing && target.ends_with('/') => {
                target.push_str(text.strip_prefix('/').unwrap_or(text));
            }
            RewritePart::Literal(text) => target.push_str(text),
            RewritePart::Parameter(name) => {
                let value = params.get(name).unwrap_or_default();
                nothing = value.is_empty();
                target.push_str(value);
            }
        }
    }
    if let Some(query) = uri.query() {
        target.push('?');
        target.push_str(query);
    }
    target
}

/// Where something has moved to. A path that reads as another host leads nowhere.
fn moved(redirect: &Redirect, uri: &Uri, params: &Params<'_, '_>) -> Result<Found, Refusal> {
    let target = filled(&redirect.to, uri, params);
    if redirect.origin.is_none() && target.starts_with("//") {
        return Err(Failure::BadRequest("the path would lead to another host").into());
    }
    let origin = redirect.origin.as_deref().unwrap_or_default();
    let location = format!("{origin}{}", utf8_percent_encode(&target, NOT_IN_A_URL));
    match HeaderValue::try_from(location) {
        Ok(location) => Ok(Found::Moved(redirect.status, location)),
        Err(_) => Err(Failure::BadRequest("the path can't stand in a header").into()),
    }
}

impl Methods {
    fn end(&self, method: &Method) -> Option<End> {
        let named =
            |method: &Method| self.named.iter().find(|(name, _)| name == method).map(|(_, id)| *id);
        // Who has GET has HEAD: the one is the other without its body (RFC 9110, 9.3.2).
        let head = || (*method == Method::HEAD).then(|| named(&Method::GET)).flatten();
        named(method).or_else(head).or(self.any)
    }

    fn allow(&self) -> HeaderValue {
        let mut names: Vec<_> = self.named.iter().map(|(method, _)| method.as_str()).collect();
        if names.contains(&"GET") && !names.contains(&"HEAD") {
            names.push("HEAD");
        }
        HeaderValue::try_from(names.join(", ")).expect("methods are tokens")
    }
}

fn tree(paths: HashMap<&str, Methods>) -> matchit::Router<Methods> {
    let mut tree = matchit::Router::new();
    for (path, methods) in &paths {
        tree.insert(*path, methods.clone()).expect("checked in config: patterns don't conflict");
    }
    // `matchit` wants at least one byte of a rest; here it may be empty, unless a route has exactly that path.
    for (path, methods) in paths {
        if let Some(start) = path.find("{*") {
            let _ = tree.insert(&path[..start], methods);
        }
    }
    tree
}

/// A host as patterns have it: lower case, without port and trailing dot.
fn bare_host(host: &str) -> String {
    let name = match host.rfind(':') {
        Some(colon) if !host.ends_with(']') => &host[..colon],
        _ => host,
    };
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// Answers for the gateway's own paths.
pub type Own = Arc<dyn Fn(&str) -> Response<Bytes> + Send + Sync>;

/// A worker's routes.
pub struct Router<S> {
    table: Arc<Table>,
    stacks: Vec<Mutex<S>>,
    switchboard: Subscriber,
    own: Own,
}

impl<S> Router<S> {
    /// A router over one stack per route.
    pub fn new(table: Arc<Table>, stacks: Vec<S>, switchboard: Subscriber, own: Own) -> Self {
        Self { table, stacks: stacks.into_iter().map(Mutex::new).collect(), switchboard, own }
    }
}

impl<S, B> Service<Request<Upload>> for Router<S>
where
    S: Service<Request<Upload>, Response = Response<B>, Error = Failure>,
{
    type Response = Routed<B>;
    type Error = Refusal;
    type Future = RouteFuture<S::Future, B>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Refusal>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Upload>) -> Self::Future {
        let host =
            request.headers().get(HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        match self.table.find(request.method(), host, request.uri()) {
            Err(refusal) => RouteFuture::Done { result: Some(Err(refusal)) },
            Ok(Found::Moved(status, location)) => {
                let mut response = Response::new(Reply::own(Bytes::new()));
                *response.status_mut() = status;
                response.headers_mut().insert(LOCATION, location);
                RouteFuture::Done { result: Some(Ok(Routed { response, route: None })) }
            }
            Ok(Found::Own(path)) => {
                let response = (self.own)(path).map(Reply::own);
                RouteFuture::Done { result: Some(Ok(Routed { response, route: None })) }
            }
            Ok(Found::Route(id, target)) => {
                if let Some(target) = target {
                    let asked = std::mem::replace(request.uri_mut(), target);
                    if self.table.remembers[id] {
                        request.extensions_mut().insert(AsAsked(asked));
                    }
                }
                // One load for the whole request: every layer below sees the same switchboard.
                request.extensions_mut().insert(self.switchboard.pin());
                let stack = self.stacks[id].get_mut().unwrap_or_else(PoisonError::into_inner);
                // Every layer of the gateway is ready at once, and waits in its future; the contract wants to be asked.
                let _ = stack.poll_ready(&mut Context::from_waker(Waker::noop()));
                RouteFuture::Running { future: stack.call(request), route: id }
            }
        }
    }
}

pin_project! {
    /// A request on its way through its route's stack.
    #[project = RouteProjection]
    pub enum RouteFuture<F, B> {
        /// Answered by the router itself.
        Done { result: Option<Result<Routed<B>, Refusal>> },
        /// In a stack.
        Running { #[pin] future: F, route: RouteId },
    }
}

impl<F, B> Future for RouteFuture<F, B>
where
    F: Future<Output = Result<Response<B>, Failure>>,
{
    type Output = Result<Routed<B>, Refusal>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            RouteProjection::Done { result } => {
                Poll::Ready(result.take().expect("polled once after it is done"))
            }
            RouteProjection::Running { future, route } => {
                Poll::Ready(match ready!(future.poll(cx)) {
                    Ok(mut response) => {
                        sanitise::response::outward(&mut response);
                        Ok(Routed { response: response.map(Reply::of_route), route: Some(*route) })
                    }
                    Err(failure) => Err(Refusal { failure, route: Some(*route) }),
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{config::Config, parse};

    fn table(routes: &str) -> (Table, Config) {
        table_with(routes, "")
    }

    fn table_with(routes: &str, more: &str) -> (Table, Config) {
        let mut text = format!("{more}\n[upstreams.u]\nurl = \"http://127.0.0.1:1\"\n");
        for (index, route) in
            routes.lines().map(str::trim).filter(|line| !line.is_empty()).enumerate()
        {
            text += &format!(
                "[[routes]]\nname = \"r{index}\"\nupstream = \"u\"\n{}\n",
                route.replace("; ", "\n")
            );
        }
        let config = parse("test.toml", &text, &|_| None)
            .unwrap_or_else(|faults| panic!("{faults:?}\n{text}"));
        (Table::new(&config.routes, &config.redirects, &["/health"]), config)
    }

    fn found(table: &Table, method: &str, host: &str, path: &str) -> Result<Found, &'static str> {
        let found = table.find(&method.parse().unwrap(), host, &path.parse().unwrap());
        found.map_err(|refusal| refusal.failure.reason())
    }

    fn route(table: &Table, method: &str, host: &str, path: &str) -> Option<usize> {
        match found(table, method, host, path) {
            Ok(Found::Route(id, _)) => Some(id),
            _ => None,
        }
    }

    #[test]
    fn the_more_specific_pattern_wins_whatever_the_order() {
        let (table, _) = table(
            r#"path = "/{*}"
               path = "/orders/{id}"
               path = "/orders/report""#,
        );
        assert_eq!(route(&table, "GET", "h", "/orders/report"), Some(2));
        assert_eq!(route(&table, "GET", "h", "/orders/7"), Some(1));
        assert_eq!(route(&table, "GET", "h", "/orders/7/items"), Some(0));
    }

    #[test]
    fn the_rest_of_a_path_may_be_empty_unless_a_route_has_that_path() {
        let (table, _) = table(
            r#"path = "/files/{*}"
               path = "/{*}""#,
        );
        assert_eq!(route(&table, "GET", "h", "/files/"), Some(0));
        assert_eq!(route(&table, "GET", "h", "/"), Some(1));
    }

    #[test]
    fn an_exact_host_comes_before_a_suffix_and_a_longer_suffix_before_a_shorter_one() {
        let (table, _) = table(
            r#"path = "/"
               path = "/"; host = "*.example.com"
               path = "/"; host = "*.eu.example.com"
               path = "/"; host = "shop.example.com""#,
        );
        assert_eq!(route(&table, "GET", "SHOP.example.com:8000", "/"), Some(3));
        assert_eq!(route(&table, "GET", "a.eu.example.com.", "/"), Some(2));
        assert_eq!(route(&table, "GET", "b.example.com", "/"), Some(1));
        assert_eq!(route(&table, "GET", "elsewhere.org", "/"), Some(0));
    }

    #[test]
    fn a_path_with_other_methods_only_is_not_a_missing_path() {
        let (table, _) = table(r#"path = "/a"; methods = ["POST", "PUT"]"#);
        assert_eq!(found(&table, "GET", "h", "/a"), Err("method_not_allowed"));
        assert_eq!(found(&table, "GET", "h", "/b"), Err("no_route"));
        let refusal = table.find(&Method::GET, "h", &"/a".parse().unwrap()).unwrap_err();
        assert!(
            matches!(refusal.failure, Failure::MethodNotAllowed { allow } if allow == "POST, PUT")
        );
    }

    #[test]
    fn who_has_get_has_head() {
        let (table, _) = table(r#"path = "/a"; methods = ["GET"]"#);
        assert_eq!(route(&table, "HEAD", "h", "/a"), Some(0));
        let refusal = table.find(&Method::PUT, "h", &"/a".parse().unwrap()).unwrap_err();
        assert!(
            matches!(refusal.failure, Failure::MethodNotAllowed { allow } if allow == "GET, HEAD")
        );
    }

    #[test]
    fn a_rewritten_path_keeps_its_parameters_and_its_query() {
        let (table, _) = table(r#"path = "/test/sensor/{type}"; rewrite = "/test/{type}""#);
        let target = Uri::from_static("/test/heat?x=1");
        assert_eq!(
            found(&table, "GET", "h", "/test/sensor/heat?x=1"),
            Ok(Found::Route(0, Some(target)))
        );
    }

    #[test]
    fn an_empty_rest_leaves_no_second_slash() {
        let (table, _) = table(r#"path = "/files/{*}"; rewrite = "/all/{*}/list""#);
        let target = Uri::from_static("/all/list");
        assert_eq!(found(&table, "GET", "h", "/files/"), Ok(Found::Route(0, Some(target))));
    }

    fn moved_to(table: &Table, path: &str) -> Option<String> {
        match found(table, "GET", "h", path) {
            Ok(Found::Moved(StatusCode::PERMANENT_REDIRECT, location)) => {
                Some(location.to_str().unwrap().to_owned())
            }
            _ => None,
        }
    }

    #[test]
    fn what_has_moved_is_found_elsewhere_with_its_parameters_and_its_query() {
        let more = r#"
            [server]
            double_slash = "keep"
            [[redirects]]
            path = "/old/{id}"
            to = "/new/{id}/"
            status = 308
            [[redirects]]
            path = "/here/{*rest}"
            to = "/{rest}"
            status = 308
            [[redirects]]
            path = "/away/{*rest}"
            to = "https://shop.example/{rest}"
            status = 308
        "#;
        let (table, _) = table_with("", more);
        let to = |path| moved_to(&table, path);

        assert_eq!(to("/old/a%20b?x=%2F&y=|").as_deref(), Some("/new/a%20b/?x=%2F&y=%7C"));
        assert_eq!(to("/here/a/b").as_deref(), Some("/a/b"));
        assert_eq!(to("/here/").as_deref(), Some("/"));
        assert_eq!(to("/here//evil.example"), None, "a path of two slashes reads as a host");
        assert_eq!(
            to("/away//evil.example").as_deref(),
            Some("https://shop.example//evil.example")
        );
    }

    #[test]
    fn the_gateways_own_paths_stand_before_a_rest() {
        let (table, _) = table(r#"path = "/{*}""#);
        assert_eq!(found(&table, "GET", "h", "/health"), Ok(Found::Own("/health")));
        assert_eq!(route(&table, "GET", "h", "/healthy"), Some(0));
    }
}
