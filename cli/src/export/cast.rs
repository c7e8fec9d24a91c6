//! asciicast v2: the words of `replay`, each at its time.
//!
//! Invariant: times never go back, also where the clock of the sidecar did.

use anyhow::Result;
use jiff::Timestamp;
use recording::Line;
use serde_json::json;

use crate::replay::story::Story;
use crate::replay::teller::Teller;
use crate::screen::Screen;

/// Wide enough for the lines of `replay`; a player cuts or wraps the rest.
const WIDTH: u32 = 120;
const HEIGHT: u32 = 40;

pub(super) struct Cast {
    teller: Teller,
    unseen: Screen,
    start: Option<Timestamp>,
    /// Milliseconds since the start.
    at: u64,
}

impl Cast {
    /// The header, and what is known of the session before its first entry.
    pub(super) fn begin(screen: &mut Screen, session: &str, story: &Story, internal: bool) -> Result<Self> {
        let start: Option<Timestamp> = story.started.as_deref().and_then(|wall| wall.parse().ok());
        let whose = story.open.as_deref().map_or_else(String::new, |open| {
            format!(" of {}/{} on {}", open.subject.namespace, open.subject.service_account, open.target.name)
        });
        screen.say_json(&json!({
            "version": 2,
            "width": WIDTH,
            "height": HEIGHT,
            "timestamp": start.map_or(0, Timestamp::as_second),
            "title": format!("session {session}{whose}"),
            "env": {"TERM": "xterm-256color"},
        }))?;
        let mut cast = Self { teller: Teller::new(session, internal), unseen: Screen::unseen(), start, at: 0 };
        cast.teller.header(&mut cast.unseen, story)?;
        cast.flush(screen)?;
        Ok(cast)
    }

    pub(super) fn entry(&mut self, screen: &mut Screen, entry: &Line) -> Result<()> {
        if let (Some(start), Ok(now)) = (self.start, entry.wall.parse::<Timestamp>()) {
            let since = u64::try_from(now.as_millisecond().saturating_sub(start.as_millisecond())).unwrap_or(0);
            self.at = self.at.max(since);
        }
        self.teller.tell(&mut self.unseen, entry)?;
        self.flush(screen)
    }

    pub(super) fn end(mut self, screen: &mut Screen, whole: bool) -> Result<()> {
        if whole {
            self.teller.summary(&mut self.unseen)?;
        }
        self.flush(screen)
    }

    fn flush(&mut self, screen: &mut Screen) -> Result<()> {
        let text = self.unseen.take();
        if text.is_empty() {
            return Ok(());
        }
        // Colours are ours; whatever came from elsewhere was escaped before it was said. JSON escapes the escape.
        let text = serde_json::to_string(&text.replace('\n', "\r\n"))?;
        screen.say(&format!("[{}.{:03}, \"o\", {text}]", self.at / 1_000, self.at % 1_000))
    }
}
