//! Says what is away and since when: once when it begins, again each minute while it lasts, and when it is over.

use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

/// Between two lines of the log about the same absence.
const AGAIN: Duration = Duration::from_secs(60);

/// Hears each failure, for who asks what is waited for.
pub type Tell = Arc<dyn Fn(String) + Send + Sync>;

pub(super) struct Away {
    what: &'static str,
    tell: Tell,
    since: Option<(Timestamp, Instant)>,
}

impl Away {
    pub(super) fn new(what: &'static str, tell: Tell) -> Self {
        Self { what, tell, since: None }
    }

    pub(super) fn failed(&mut self, error: &dyn Display) {
        let (since, log) = match self.since {
            None => (Timestamp::now(), true),
            Some((since, told)) => (since, told.elapsed() >= AGAIN),
        };
        let told = self.since.map(|(_, told)| told).filter(|_| !log).unwrap_or_else(Instant::now);
        self.since = Some((since, told));
        let text = format!("no {} since {since:.0}: {error}", self.what);
        if log {
            tracing::warn!(event = "operator_away", text);
        }
        (self.tell)(text);
    }

    pub(super) fn well(&mut self) {
        if let Some((since, _)) = self.since.take() {
            tracing::info!(event = "operator_back", "{} again; it was away since {since:.0}", self.what);
        }
    }
}
