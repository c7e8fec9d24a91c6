//! The program's own log lines, over OTLP too. What may be logged is decided where it is logged; here lengths and numbers
//! are bounded, and nothing is told of the export itself, which would feed on its own trouble.

use std::fmt;
use std::time::SystemTime;

use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use crate::Telemetry;
use crate::log::Log;
use crate::span::{MOST_TEXT, Value, cut};

/// Most fields of one line.
const MOST_FIELDS: usize = 24;
/// Where the lines of this crate come from.
const OURS: &str = env!("CARGO_CRATE_NAME");

/// Takes every line that its filter lets through. `None` while telemetry is off.
pub fn layer<S: Subscriber>(telemetry: &Telemetry) -> Option<impl Layer<S> + use<S>> {
    telemetry.on.is_some().then(|| Lines(telemetry.clone()))
}

struct Lines(Telemetry);

impl<S: Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        if metadata.target().split("::").next() == Some(OURS) {
            return;
        }
        let mut fields = Fields::default();
        event.record(&mut fields);
        let (body, attributes) = fields.told();
        self.0.log(Log { at: SystemTime::now(), level: *metadata.level(), body, attributes });
    }
}

#[derive(Default)]
struct Fields {
    event: Option<String>,
    message: Option<String>,
    others: Vec<(&'static str, Value)>,
}

impl Fields {
    fn put(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("event", Value::Text(text)) => self.event = Some(text),
            ("message", Value::Text(text)) => self.message = Some(text),
            (name, value) if self.others.len() < MOST_FIELDS => self.others.push((name, value)),
            _ => {}
        }
    }

    /// Lines have an event, a message, or both: then the event names it.
    fn told(mut self) -> (String, Vec<(&'static str, Value)>) {
        match (self.event, self.message) {
            (Some(event), Some(message)) => {
                self.others.push(("message", Value::Text(message)));
                (event, self.others)
            }
            (Some(one), None) | (None, Some(one)) => (one, self.others),
            (None, None) => (String::new(), self.others),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let mut text = Cut(String::new());
        // It stops where there is no more room.
        let _ = fmt::write(&mut text, format_args!("{value:?}"));
        self.put(field, Value::Text(text.0));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field, Value::Text(cut(value, MOST_LINE).to_owned()));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field, Value::Number(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field, Value::Number(i64::try_from(value).unwrap_or(i64::MAX)));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field, Value::Flag(value));
    }
}

/// Longest value of one field, in bytes: an error with its causes needs more than a name.
const MOST_LINE: usize = 4 * MOST_TEXT;

struct Cut(String);

impl fmt::Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let kept = cut(text, MOST_LINE.saturating_sub(self.0.len()));
        self.0.push_str(kept);
        if kept.len() == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}
