//! `export`: recordings in the words of other programs.
//!
//! The same recording gives the same bytes, wherever and whenever it is exported: nothing is taken from the clock, the
//! terminal or the machine. What is exported is what was recorded, so it is masked; operations of the sidecar itself
//! are left out unless they are asked for.

mod cast;
mod ocsf;

use anyhow::{Result, bail};
use clap::{Args, ValueEnum};
use recording::reader::{ReadError, entries};

use crate::exit;
use crate::place::Place;
use crate::replay::story::Story;
use crate::screen::{Screen, line};
use crate::source::FromStore;

const LONG: &str = "Formats:
  jsonl      the entries as they were recorded, one JSON object a line
  asciicast  asciicast v2 of one session: what `replay` shows, at the times when it happened (asciinema play FILE)
  ocsf       OCSF 1.7, one event a line: Datastore Activity (6005) for what was sent, Detection Finding (2004) for what
             was refused

Exit status: 0 exported to its end; 1 there is no such session, or the recording is damaged and was exported as far as \
it goes.";

/// Write a session, or a whole recording, for other programs.
#[derive(Args)]
#[command(after_long_help = LONG)]
pub(crate) struct Export {
    /// Id of the session, as `sessions ls` shows it [default: all; asciicast needs one].
    session: Option<String>,
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// Also the operations of the sidecar itself.
    #[arg(long)]
    internal: bool,
    #[command(flatten)]
    from: FromStore,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Format {
    Jsonl,
    Asciicast,
    Ocsf,
}

impl Export {
    pub(crate) fn run(self, place: &Place, screen: &mut Screen) -> Result<u8> {
        let source = self.from.source(place)?;
        let storage = &*source.storage;
        let story = self.session.as_deref().map(|session| Story::read(storage, session)).transpose()?;
        if let (Some(session), Some(story)) = (&self.session, &story)
            && !story.exists()
        {
            let (session, shown) = (line(session), line(&source.shown));
            match &story.damage {
                Some(damage) => bail!("the recording is damaged before any entry of `{session}`: {damage}"),
                None => bail!("there is no session `{session}` in `{shown}`: see `{} sessions ls`", screen.name()),
            }
        }
        let mut damage = None;
        match (self.format, &story) {
            (Format::Asciicast, None) => bail!("an asciicast is of one session: name it, see `sessions ls`"),
            (Format::Asciicast, Some(story)) => {
                let name = self.session.as_deref().unwrap_or_default();
                let mut cast = cast::Cast::begin(screen, name, story, self.internal)?;
                for entry in story.entries(storage)? {
                    match entry {
                        Ok(entry) => cast.entry(screen, &entry)?,
                        Err(error) => damage = Some(error),
                    }
                }
                cast.end(screen, damage.is_none())?;
            }
            (Format::Jsonl, Some(story)) => damage = self.jsonl(screen, story.entries(storage)?)?,
            (Format::Jsonl, None) => damage = self.jsonl(screen, entries(storage)?)?,
            (Format::Ocsf, Some(story)) => damage = self.ocsf(screen, story.entries(storage)?)?,
            (Format::Ocsf, None) => damage = self.ocsf(screen, entries(storage)?)?,
        }
        let Some(damage) = damage else { return Ok(exit::DONE) };
        screen.remark(&format!("the recording is damaged here and the export ends: {damage}"));
        Ok(exit::FAILED)
    }

    /// Everything, whatever it is: a reader of the whole must be able to follow the chain.
    fn jsonl(
        &self,
        screen: &mut Screen,
        entries: impl Iterator<Item = Result<recording::Line, ReadError>>,
    ) -> Result<Option<ReadError>> {
        let mut damage = None;
        for entry in entries {
            match entry {
                Ok(entry) => screen.say_json(&entry)?,
                Err(error) => damage = Some(error),
            }
        }
        Ok(damage)
    }

    fn ocsf(
        &self,
        screen: &mut Screen,
        entries: impl Iterator<Item = Result<recording::Line, ReadError>>,
    ) -> Result<Option<ReadError>> {
        let mut events = ocsf::Events::new(self.internal);
        let mut damage = None;
        for entry in entries {
            match entry {
                Ok(entry) => events.entry(entry).iter().try_for_each(|event| screen.say_json(event))?,
                Err(error) => damage = Some(error),
            }
        }
        events.end().iter().try_for_each(|event| screen.say_json(event))?;
        Ok(damage)
    }
}
