//! What the gateway says of itself: the names of its metrics and spans, its log lines, its traces.
//!
//! Names live here, on the ground floor; code above only records. Lines and spans leave through bounded queues: when the
//! reader is slow, they are dropped and counted, and no request waits.

pub mod lines;
pub mod names;
pub mod traces;

use tracing::Level;
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, registry};

use crate::config::config::{Log, Telemetry as Settings};

/// Set up for as long as it lives; dropping it flushes.
#[derive(Debug)]
pub struct Telemetry {
    /// The way of a line to stdout and the log file.
    pub lines: lines::Lines,
    /// Gone when nothing is exported.
    traces: Option<traces::Traces>,
}

impl Telemetry {
    /// Starts logging, and exporting if an endpoint is configured.
    ///
    /// # Errors
    /// The log file can't be opened, the level can't be read, or the exporter can't be made.
    pub fn start(log: &Log, settings: &Settings) -> Result<Self, String> {
        let lines = lines::Lines::start(log.file.clone())
            .map_err(|error| format!("failed to open the log file: {error}"))?;
        let level = EnvFilter::try_new(&log.level)
            .map_err(|error| format!("failed to read log.level: {error}"))?;
        let quiet = format!("{}=off", names::SPANS).parse().expect("a valid directive");
        let text = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(lines.clone());
        let text = text.with_filter(level.add_directive(quiet));
        let traces = settings
            .otlp_endpoint
            .as_deref()
            .map(|endpoint| traces::Traces::start(endpoint, &settings.service_name));
        let traces = traces.transpose()?;
        let spans = traces
            .as_ref()
            .map(|traces| traces.layer().with_filter(names::only_spans(Level::INFO)));
        // A second gateway in one process (a test) keeps the first one's subscriber.
        let _ = tracing::subscriber::set_global_default(registry().with(text).with(spans));
        Ok(Self { lines, traces })
    }

    /// Whether anyone would receive a span.
    pub const fn exports(&self) -> bool {
        self.traces.is_some()
    }
}
