//! Spans on their way to an OTLP receiver.
//!
//! The exporter batches on a thread of its own and drops what does not fit its queue. Sampling is decided before a span is
//! built, so every span that gets here is exported.

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    trace::{BatchConfigBuilder, BatchSpanProcessor, Sampler, SdkTracer, SdkTracerProvider},
};
use tracing::Subscriber;
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::registry::LookupSpan;

use crate::limits::SPANS_WAITING_MAX;

/// The exporter, flushed when dropped.
#[derive(Debug)]
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Exports to the receiver at this base URL (`http://host:4318`), by HTTP and protobuf.
    ///
    /// # Errors
    /// The URL can't be used.
    pub fn start(endpoint: &str, service: &str) -> Result<Self, String> {
        let endpoint =
            format!("{}/v1/traces", endpoint.trim_end_matches('/').trim_end_matches("/v1/traces"));
        let exporter = SpanExporter::builder()
            .with_http()
            .with_protocol(Protocol::HttpBinary)
            .with_endpoint(&endpoint);
        let exporter = exporter
            .build()
            .map_err(|error| format!("failed to export traces to {endpoint}: {error}"))?;
        let batch = BatchConfigBuilder::default().with_max_queue_size(SPANS_WAITING_MAX).build();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(
                BatchSpanProcessor::builder(exporter).with_batch_config(batch).build(),
            )
            .with_sampler(Sampler::AlwaysOn)
            .with_resource(Resource::builder().with_service_name(service.to_owned()).build())
            .build();
        Ok(Self(provider))
    }

    /// The layer that turns spans of `tracing` into exported ones.
    pub fn layer<S>(&self) -> OpenTelemetryLayer<S, SdkTracer>
    where
        S: Subscriber + for<'span> LookupSpan<'span>,
    {
        let layer = tracing_opentelemetry::layer().with_tracer(self.0.tracer("portcullis"));
        layer.with_location(false).with_threads(false).with_tracked_inactivity(false)
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        // Whatever it could not send in time is lost, and said by the exporter itself.
        let _ = self.0.shutdown_with_timeout(std::time::Duration::from_secs(2));
    }
}
