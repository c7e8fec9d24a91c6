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

struct Fields {
    event: Option<String>,
    message: Option<String>,
    others: Vec<(&'static str, Value)>,
    /// Bytes of text that it may still take.
    room: usize,
}

impl Default for Fields {
    fn default() -> Self {
        Self { event: None, message: None, others: Vec::new(), room: MOST_LINE }
    }
}

impl Fields {
    fn text(&mut self, field: &Field, text: String) {
        self.room = self.room.saturating_sub(text.len());
        self.put(field, Value::Text(text));
    }

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
        let mut text = Cut { text: String::new(), most: self.room.min(MOST_FIELD) };
        // It stops where there is no more room.
        let _ = fmt::write(&mut text, format_args!("{value:?}"));
        self.text(field, text.text);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, cut(value, self.room.min(MOST_FIELD)).to_owned());
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
const MOST_FIELD: usize = 4 * MOST_TEXT;
/// All texts of one line: a whole batch of such lines is less than the 4 MiB that receivers take.
const MOST_LINE: usize = 4 * MOST_FIELD;

struct Cut {
    text: String,
    most: usize,
}

impl fmt::Write for Cut {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let kept = cut(text, self.most.saturating_sub(self.text.len()));
        self.text.push_str(kept);
        if kept.len() == text.len() { Ok(()) } else { Err(fmt::Error) }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use tracing_subscriber::prelude::*;

    use super::*;
    use crate::log::Log;
    use crate::resource::Resource;
    use crate::wire;

    type Told = (String, Vec<(&'static str, Value)>);
    struct Probe(Arc<mpsc::SyncSender<Told>>);

    impl<S: Subscriber> Layer<S> for Probe {
        fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
            let mut fields = Fields::default();
            event.record(&mut fields);
            self.0.send(fields.told()).unwrap();
        }
    }

    fn told(say: impl FnOnce()) -> Told {
        let (tell, heard) = mpsc::sync_channel(16);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(Probe(Arc::new(tell))), say);
        heard.recv().unwrap()
    }

    #[test]
    fn a_line_has_its_event_its_fields_and_a_bound() {
        let line = told(|| tracing::warn!(event = "x", code = 7, on = true, reason = %"why", "words"));
        let text = |text: &str| Value::Text(text.to_owned());
        let fields = vec![
            ("code", Value::Number(7)),
            ("on", Value::Flag(true)),
            ("reason", text("why")),
            ("message", text("words")),
        ];
        assert_eq!(line, ("x".to_owned(), fields));

        let long = "é".repeat(10_000);
        let (body, fields) = told(|| {
            tracing::warn!(event = long, a = %long, b = ?long, c = long, d = long, e = %long, f = 7, "{long}");
        });
        let bytes = |value: &Value| if let Value::Text(text) = value { text.len() } else { 0 };
        assert!(fields.iter().all(|(_, value)| bytes(value) <= MOST_FIELD) && body.len() <= MOST_FIELD);
        let all = body.len() + fields.iter().map(|(_, value)| bytes(value)).sum::<usize>();
        assert!(all <= MOST_LINE, "{all}");
        assert!(fields.contains(&("f", Value::Number(7))));

        // What receivers take of one call unless they are told otherwise.
        let log = Log { at: SystemTime::now(), level: tracing::Level::WARN, body, attributes: fields };
        let request = wire::logs(&Resource::default().attributes(), vec![log; crate::export::BATCH]);
        let size = prost::Message::encoded_len(&request);
        assert!(size < 4 << 20, "{size}");
    }
}
