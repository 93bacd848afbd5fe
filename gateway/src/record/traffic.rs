//! Counters and histograms of the traffic.
//!
//! Each worker has its own, and only it writes to them; so counting is a plain load and store, and nothing is shared between
//! cores. A scrape sums over the workers. Labels come from closed sets only: routes and upstreams of the configuration, nine
//! methods and `other`, the class of the status, our own words for refusals. A flood of odd requests adds no series.

use std::{
    fmt::Write,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{Method, Response, StatusCode};
use portcullis::outcome::Outcome;

use crate::{control::metrics::Exposition, failure::Failure, telemetry::names};

/// Upper edges of the duration buckets in seconds: OpenTelemetry's advice for HTTP.
const EDGES: [f64; 14] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
const EDGES_MICROS: [u64; 14] = [
    5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000, 750_000, 1_000_000,
    2_500_000, 5_000_000, 7_500_000, 10_000_000,
];
const METHODS: [&str; 10] =
    ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "CONNECT", "TRACE", "other"];
const CLASSES: [&str; 6] = ["1xx", "2xx", "3xx", "4xx", "5xx", "failed"];
const CELLS: usize = METHODS.len() * CLASSES.len();

/// Words for refusals, in the order in which they are counted.
const REASONS: [&str; 20] = [
    "killswitch",
    "circuit_open",
    "rate_limited",
    "overloaded",
    "timeout",
    "upstream_unreachable",
    "unauthorized",
    "auth_unavailable",
    "no_route",
    "bad_request",
    "method_not_allowed",
    "payload_too_large",
    "uri_too_long",
    "expectation_failed",
    "request_timeout",
    "not_implemented",
    "headers_too_large",
    "misdirected",
    "internal",
    "other",
];

/// A number that one thread writes.
#[derive(Debug, Default)]
struct Count(AtomicU64);

impl Count {
    fn add(&self, more: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(more), Relaxed);
    }

    fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

#[derive(Debug, Default)]
struct Histogram {
    buckets: [Count; EDGES.len() + 1],
    sum_micros: Count,
}

impl Histogram {
    fn add(&self, duration: Duration) {
        let micros = duration.as_micros() as u64;
        let bucket = EDGES_MICROS.iter().position(|&edge| micros <= edge).unwrap_or(EDGES.len());
        self.buckets[bucket].add(1);
        self.sum_micros.add(micros);
    }
}

/// Histograms by method and class, made when the first such call comes.
#[derive(Debug)]
struct Durations([OnceLock<Box<Histogram>>; CELLS]);

impl Default for Durations {
    fn default() -> Self {
        Self(std::array::from_fn(|_| OnceLock::new()))
    }
}

impl Durations {
    fn add(&self, method: usize, class: usize, duration: Duration) {
        self.0[method * CLASSES.len() + class].get_or_init(Box::default).add(duration);
    }
}

/// The calls of one worker to one upstream.
#[derive(Debug, Default)]
pub struct Calls(Durations);

impl Calls {
    /// One call is over, as far as its head. One that its client broke says nothing about the upstream.
    pub fn settle<B>(&self, took: Duration, result: &Result<Response<B>, Failure>) {
        let class = match result {
            Ok(response) => class(response.status()),
            Err(failure) if failure.outcome() == Outcome::Ignored => return,
            Err(_) => CLASSES.len() - 1,
        };
        self.0.add(METHODS.len() - 1, class, took);
    }
}

/// The requests of one worker.
#[derive(Debug)]
pub struct Requests {
    /// By route; the last one stands for requests without a route.
    routes: Vec<PerRoute>,
    in_flight: Count,
    done: Count,
}

#[derive(Debug, Default)]
struct PerRoute {
    durations: Durations,
    refusals: [Count; REASONS.len()],
}

impl Requests {
    /// Counters for so many routes.
    pub fn new(routes: usize) -> Arc<Self> {
        let routes = (0..=routes).map(|_| PerRoute::default()).collect();
        Arc::new(Self { routes, in_flight: Count::default(), done: Count::default() })
    }

    /// A request begins.
    pub fn begin(&self) {
        self.in_flight.add(1);
    }

    /// A request is over.
    pub fn end(&self) {
        self.done.add(1);
    }

    /// A request has its answer, from its upstream or (with a reason) from the gateway.
    pub fn settle(
        &self,
        route: Option<usize>,
        method: usize,
        status: StatusCode,
        took: Duration,
        refusal: Option<&str>,
    ) {
        let row = &self.routes[route.unwrap_or(self.routes.len() - 1)];
        row.durations.add(method, class(status), took);
        if let Some(reason) = refusal {
            let index =
                REASONS.iter().position(|word| *word == reason).unwrap_or(REASONS.len() - 1);
            row.refusals[index].add(1);
        }
    }
}

/// The method's place among those that are told apart.
pub fn method_index(method: &Method) -> usize {
    METHODS.iter().position(|name| *name == method.as_str()).unwrap_or(METHODS.len() - 1)
}

fn class(status: StatusCode) -> usize {
    usize::from(status.as_u16() / 100).clamp(1, 5) - 1
}

/// All workers' traffic, as Prometheus reads it.
#[derive(Debug)]
pub struct Totals {
    /// The names of the routes.
    pub routes: Vec<Arc<str>>,
    /// The names of the upstreams.
    pub upstreams: Vec<Arc<str>>,
    /// Each worker's requests.
    pub requests: Vec<Arc<Requests>>,
    /// Each worker's calls, by upstream.
    pub calls: Vec<Vec<Arc<Calls>>>,
}

impl Exposition for Totals {
    fn write(&self, out: &mut String) {
        self.write_requests(out);
        self.write_refusals(out);
        self.write_calls(out);
        let sum = |count: fn(&Requests) -> &Count| {
            self.requests.iter().map(|r| count(r).value()).sum::<u64>()
        };
        let in_flight = sum(|r| &r.in_flight).wrapping_sub(sum(|r| &r.done));
        head(out, names::REQUESTS_ACTIVE, "gauge", "Requests whose answer is not over.");
        let _ = writeln!(out, "{} {in_flight}", names::REQUESTS_ACTIVE);
    }
}

impl Totals {
    fn route_name(&self, index: usize) -> &str {
        self.routes.get(index).map_or("", |name| name)
    }

    fn write_requests(&self, out: &mut String) {
        head(
            out,
            names::SERVER_DURATION,
            "histogram",
            "Time from a request's head to its answer's head.",
        );
        for route in 0..=self.routes.len() {
            for cell in 0..CELLS {
                let each = self
                    .requests
                    .iter()
                    .filter_map(|worker| worker.routes[route].durations.0[cell].get());
                let labels = format!(
                    r#"http_route="{}",http_request_method="{}",status_class="{}""#,
                    self.route_name(route),
                    METHODS[cell / CLASSES.len()],
                    CLASSES[cell % CLASSES.len()],
                );
                write_histogram(out, names::SERVER_DURATION, &labels, each);
            }
        }
    }

    fn write_refusals(&self, out: &mut String) {
        head(
            out,
            names::REFUSALS,
            "counter",
            "Requests that the gateway answered itself, by reason.",
        );
        for route in 0..=self.routes.len() {
            for (index, reason) in REASONS.iter().enumerate() {
                let total: u64 = self
                    .requests
                    .iter()
                    .map(|worker| worker.routes[route].refusals[index].value())
                    .sum();
                if total > 0 {
                    let name = names::REFUSALS;
                    let _ = writeln!(
                        out,
                        r#"{name}{{http_route="{}",reason="{reason}"}} {total}"#,
                        self.route_name(route)
                    );
                }
            }
        }
    }

    fn write_calls(&self, out: &mut String) {
        head(
            out,
            names::CLIENT_DURATION,
            "histogram",
            "Time from calling an upstream to its answer's head.",
        );
        for (upstream, name) in self.upstreams.iter().enumerate() {
            for (class, class_name) in CLASSES.iter().enumerate() {
                let cell = (METHODS.len() - 1) * CLASSES.len() + class;
                let each = self.calls.iter().filter_map(|worker| worker[upstream].0.0[cell].get());
                let labels = format!(r#"upstream="{name}",status_class="{class_name}""#);
                write_histogram(out, names::CLIENT_DURATION, &labels, each);
            }
        }
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
}

fn write_histogram<'h>(
    out: &mut String,
    name: &str,
    labels: &str,
    each: impl Iterator<Item = &'h Box<Histogram>>,
) {
    let (mut buckets, mut sum) = ([0_u64; EDGES.len() + 1], 0_u64);
    for histogram in each {
        sum += histogram.sum_micros.value();
        for (total, bucket) in buckets.iter_mut().zip(&histogram.buckets) {
            *total += bucket.value();
        }
    }
    let count: u64 = buckets.iter().sum();
    if count == 0 {
        return;
    }
    let mut below = 0;
    for (edge, bucket) in EDGES.iter().zip(buckets) {
        below += bucket;
        let _ = writeln!(out, r#"{name}_bucket{{{labels},le="{edge}"}} {below}"#);
    }
    let _ = writeln!(out, r#"{name}_bucket{{{labels},le="+Inf"}} {count}"#);
    let _ = writeln!(out, "{name}_sum{{{labels}}} {}", sum as f64 / 1e6);
    let _ = writeln!(out, "{name}_count{{{labels}}} {count}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workers_are_summed_and_odd_methods_share_one_series() {
        let workers = [Requests::new(1), Requests::new(1)];
        for (worker, method) in [(0, "GET"), (1, "GET"), (0, "BREW"), (0, "WHEN")] {
            let method = method_index(&Method::from_bytes(method.as_bytes()).unwrap());
            workers[worker].settle(Some(0), method, StatusCode::OK, Duration::from_millis(7), None);
        }
        workers[0].settle(
            None,
            0,
            StatusCode::NOT_FOUND,
            Duration::from_micros(10),
            Some("no_route"),
        );
        let totals = Totals {
            routes: vec!["orders".into()],
            upstreams: vec![],
            requests: workers.to_vec(),
            calls: vec![],
        };
        let mut text = String::new();
        totals.write(&mut text);
        let labels = |method| {
            format!(r#"{{http_route="orders",http_request_method="{method}",status_class="2xx"}}"#)
        };
        assert!(
            text.contains(&format!(
                "http_server_request_duration_seconds_count{} 2",
                labels("GET")
            )),
            "{text}"
        );
        assert!(
            text.contains(&format!(
                "http_server_request_duration_seconds_count{} 2",
                labels("other")
            )),
            "{text}"
        );
        assert!(
            text.contains(r#"portcullis_refusals_total{http_route="",reason="no_route"} 1"#),
            "{text}"
        );
        assert!(text.contains(r#"status_class="2xx",le="0.01"} 2"#), "{text}");
    }

    #[test]
    fn both_tables_of_edges_say_the_same() {
        for (seconds, micros) in EDGES.iter().zip(EDGES_MICROS) {
            assert_eq!((seconds * 1e6).round() as u64, micros);
        }
    }
}
