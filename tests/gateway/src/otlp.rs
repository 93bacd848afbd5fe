//! The far end of the gateway's traces: takes OTLP over HTTP in protobuf, and lets a test look at the spans.

use std::collections::BTreeMap;
use std::fmt;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1 as wire;
use prost::Message;

use crate::deadline::{PATIENCE, eventually};
use crate::upstream::{Script, Upstream};

/// Collects what is posted to `/v1/traces`.
#[derive(Debug)]
pub struct OtlpReceiver {
    upstream: Upstream,
}

impl Default for OtlpReceiver {
    fn default() -> Self {
        Self::start()
    }
}

impl OtlpReceiver {
    /// Starts one on a free port.
    pub fn start() -> Self {
        // An empty body is the protobuf of an answer that says nothing, which means that all spans were taken.
        let accepted = Script::answer(200, "").header("content-type", "application/x-protobuf");
        Self { upstream: Upstream::always(accepted) }
    }

    /// What to give as OTLP endpoint: `http://address`, to which exporters add `/v1/traces`.
    pub fn endpoint(&self) -> String {
        self.upstream.url()
    }

    /// The upstream that takes the posts, to make it stall or refuse.
    pub fn upstream(&self) -> &Upstream {
        &self.upstream
    }

    /// Every span so far.
    pub fn spans(&self) -> Spans {
        let exports = self
            .upstream
            .requests()
            .into_iter()
            .filter(|post| post.complete && post.target == "/v1/traces");
        Spans(exports.flat_map(|post| decoded(&post.body)).collect())
    }

    /// Waits until the spans are as `condition` wants them, and answers them.
    pub async fn spans_until(&self, what: &str, condition: impl Fn(&Spans) -> bool) -> Spans {
        // An export is there when its last byte is, which the upstream tells piece by piece; asking is simpler here.
        eventually(PATIENCE, &format!("the spans show {what}"), || async {
            let spans = self.spans();
            condition(&spans).then_some(spans)
        })
        .await
    }
}

/// Spans, in the order of their arrival.
#[derive(Debug, Clone)]
pub struct Spans(pub Vec<Span>);

impl Spans {
    /// Those of one trace, by its hexadecimal id.
    pub fn of_trace(&self, trace_id: &str) -> Self {
        Self(self.0.iter().filter(|span| span.trace_id == trace_id).cloned().collect())
    }

    /// The first of this kind (`server`, `client`, `internal`).
    pub fn of_kind(&self, kind: &str) -> Option<&Span> {
        self.0.iter().find(|span| span.kind == kind)
    }

    /// The first that carries this attribute with this value.
    pub fn with(&self, attribute: &str, value: &str) -> Option<&Span> {
        self.0.iter().find(|span| span.attribute(attribute) == Some(value))
    }

    /// The span with this hexadecimal id.
    pub fn by_id(&self, span_id: &str) -> Option<&Span> {
        self.0.iter().find(|span| span.span_id == span_id)
    }

    /// The span above this one, if it was exported too.
    pub fn parent_of(&self, span: &Span) -> Option<&Span> {
        span.parent_id.as_deref().and_then(|id| self.by_id(id))
    }

    /// The spans right below this one.
    pub fn children_of(&self, parent: &Span) -> Vec<&Span> {
        self.0.iter().filter(|span| span.parent_id.as_ref() == Some(&parent.span_id)).collect()
    }
}

impl fmt::Display for Spans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for span in &self.0 {
            writeln!(
                f,
                "{} {} {} (under {:?}) {:?}",
                span.kind, span.name, span.span_id, span.parent_id, span.attributes
            )?;
        }
        Ok(())
    }
}

/// One span, as a test likes to read it.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// The id of the span above, exported or not.
    pub parent_id: Option<String>,
    /// Its name.
    pub name: String,
    /// `internal`, `server`, `client`, `producer`, `consumer` or `unspecified`.
    pub kind: String,
    /// Its attributes, every value as text.
    pub attributes: BTreeMap<String, String>,
    /// `service.name` of the process that made it.
    pub service: String,
    /// Whether it is marked as an error.
    pub failed: bool,
}

impl Span {
    /// An attribute as text.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(String::as_str)
    }

    fn read(span: wire::Span, service: &str) -> Self {
        Self {
            trace_id: hexadecimal(&span.trace_id),
            span_id: hexadecimal(&span.span_id),
            parent_id: (!span.parent_span_id.is_empty()).then(|| hexadecimal(&span.parent_span_id)),
            kind: kind(span.kind()),
            failed: span
                .status
                .is_some_and(|status| status.code() == wire::status::StatusCode::Error),
            name: span.name,
            attributes: readable(span.attributes),
            service: service.to_owned(),
        }
    }
}

fn decoded(body: &[u8]) -> Vec<Span> {
    let export =
        ExportTraceServiceRequest::decode(body).expect("an exporter sends protobuf, uncompressed");
    let mut spans = Vec::new();
    for group in export.resource_spans {
        let resource =
            readable(group.resource.map(|resource| resource.attributes).unwrap_or_default());
        let service = resource.get("service.name").map(String::as_str).unwrap_or_default();
        let inside = group.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.extend(inside.map(|span| Span::read(span, service)));
    }
    spans
}

fn kind(kind: wire::span::SpanKind) -> String {
    kind.as_str_name().trim_start_matches("SPAN_KIND_").to_lowercase()
}

fn readable(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |attribute: KeyValue| {
        let value = match attribute.value.and_then(|value| value.value) {
            Some(any_value::Value::StringValue(text)) => text,
            Some(any_value::Value::IntValue(number)) => number.to_string(),
            Some(any_value::Value::DoubleValue(number)) => number.to_string(),
            Some(any_value::Value::BoolValue(truth)) => truth.to_string(),
            other => format!("{other:?}"),
        };
        (attribute.key, value)
    };
    attributes.into_iter().map(text).collect()
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
