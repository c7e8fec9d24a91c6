//! Spans and lines as messages of OTLP.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs, SeverityNumber};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Link, SpanKind};
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span as Message, Status};
use tracing::Level;

use crate::log::Log;
use crate::span::{Attributes, Kind, Span, Value};

/// Whose words the names of attributes are.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.42.0";
const SCOPE: &str = "agentaccess";

pub(crate) fn traces(resource: &Attributes, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let spans = spans.into_iter().map(span).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope()), spans, schema_url: SCHEMA.to_owned() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(self::resource(resource)),
            scope_spans,
            schema_url: SCHEMA.to_owned(),
        }],
    }
}

pub(crate) fn logs(resource: &Attributes, logs: Vec<Log>) -> ExportLogsServiceRequest {
    let log_records = logs.into_iter().map(line).collect();
    let scope_logs = vec![ScopeLogs { scope: Some(scope()), log_records, schema_url: SCHEMA.to_owned() }];
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(self::resource(resource)),
            scope_logs,
            schema_url: SCHEMA.to_owned(),
        }],
    }
}

fn resource(attributes: &Attributes) -> Resource {
    Resource { attributes: pairs(attributes.0.clone()), ..Resource::default() }
}

fn scope() -> InstrumentationScope {
    let version = env!("CARGO_PKG_VERSION").to_owned();
    InstrumentationScope { name: SCOPE.to_owned(), version, ..InstrumentationScope::default() }
}

fn span(span: Span) -> Message {
    let kind = match span.kind {
        Kind::Internal => SpanKind::Internal,
        Kind::Server => SpanKind::Server,
        Kind::Client => SpanKind::Client,
    };
    let link = |(trace, id): (crate::TraceId, crate::SpanId)| Link {
        trace_id: trace.0.to_vec(),
        span_id: id.0.to_vec(),
        ..Link::default()
    };
    Message {
        trace_id: span.trace.0.to_vec(),
        span_id: span.id.0.to_vec(),
        parent_span_id: span.parent.map(|parent| parent.0.to_vec()).unwrap_or_default(),
        name: span.name.into_owned(),
        kind: kind.into(),
        start_time_unix_nano: nanoseconds(span.begin),
        end_time_unix_nano: nanoseconds(span.end),
        attributes: pairs(span.attributes.0),
        links: span.link.map(link).into_iter().collect(),
        status: span.failed.map(|word| Status { message: word.to_owned(), code: StatusCode::Error.into() }),
        ..Message::default()
    }
}

fn line(log: Log) -> LogRecord {
    let (number, text) = match log.level {
        Level::ERROR => (SeverityNumber::Error, "ERROR"),
        Level::WARN => (SeverityNumber::Warn, "WARN"),
        Level::INFO => (SeverityNumber::Info, "INFO"),
        Level::DEBUG => (SeverityNumber::Debug, "DEBUG"),
        Level::TRACE => (SeverityNumber::Trace, "TRACE"),
    };
    LogRecord {
        time_unix_nano: nanoseconds(log.at),
        observed_time_unix_nano: nanoseconds(log.at),
        severity_number: number.into(),
        severity_text: text.to_owned(),
        body: Some(string(log.body)),
        attributes: pairs(log.attributes),
        ..LogRecord::default()
    }
}

fn nanoseconds(at: SystemTime) -> u64 {
    u64::try_from(at.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos()).unwrap_or(u64::MAX)
}

fn pairs(attributes: Vec<(&'static str, Value)>) -> Vec<KeyValue> {
    let pair = |(key, value): (&'static str, Value)| KeyValue {
        key: key.to_owned(),
        value: Some(any(value)),
        ..KeyValue::default()
    };
    attributes.into_iter().map(pair).collect()
}

fn any(value: Value) -> AnyValue {
    match value {
        Value::Text(text) => string(text),
        Value::Word(word) => string(word.to_owned()),
        Value::Texts(texts) => {
            let values = texts.into_iter().map(string).collect();
            AnyValue { value: Some(any_value::Value::ArrayValue(ArrayValue { values })) }
        }
        Value::Number(number) => AnyValue { value: Some(any_value::Value::IntValue(number)) },
        Value::Flag(flag) => AnyValue { value: Some(any_value::Value::BoolValue(flag)) },
    }
}

fn string(text: String) -> AnyValue {
    AnyValue { value: Some(any_value::Value::StringValue(text)) }
}
