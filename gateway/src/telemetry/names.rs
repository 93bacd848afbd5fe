//! Every metric and span target by name. Those of OpenTelemetry and of the mission keep their names; ours start with
//! `portcullis_`.

use tracing::{Level, Metadata};
use tracing_subscriber::filter::{FilterFn, filter_fn};

/// Histogram of requests by route, method and class.
pub const SERVER_DURATION: &str = "http_server_request_duration_seconds";
/// Histogram of calls by upstream and class.
pub const CLIENT_DURATION: &str = "http_client_request_duration_seconds";
/// Gauge of requests in flight.
pub const REQUESTS_ACTIVE: &str = "http_server_active_requests";
/// Counter of the gateway's own answers by route and reason.
pub const REFUSALS: &str = "portcullis_refusals_total";
/// Counter of panics by what they cost.
pub const PANICS: &str = "portcullis_panics_total";
/// Counter of HTTP/2 connections ended because they only made work, by what they flooded us with.
pub const HTTP2_FLOODS: &str = "portcullis_http2_floods_total";
/// Counter of log lines that nobody read in time.
pub const LINES_DROPPED: &str = "portcullis_log_lines_dropped_total";

/// The target of spans that are exported and never logged.
pub const SPANS: &str = "portcullis::trace";
/// The target of lines that tell of a change of state.
pub const CHANGE: &str = "portcullis::change";

/// Lets through what is to be exported.
pub fn only_spans(level: Level) -> FilterFn<impl Fn(&Metadata<'_>) -> bool + Clone> {
    filter_fn(move |metadata| metadata.target() == SPANS && *metadata.level() <= level)
}
