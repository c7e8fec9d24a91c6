//! `replay`: one session as it happened, in the order of the recording.
//!
//! Approvals are no part of a session, since they outlive it: those that the session's operations name are told where
//! they happened. What is damaged ends the replay with a warning; nothing is guessed.

mod pace;
mod rows;
pub(crate) mod story;
pub(crate) mod teller;

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Args;

use crate::exit;
use crate::place::Place;
use crate::screen::{Screen, line};
use crate::source::FromStore;
use crate::when;

use pace::Pace;
use story::Story;
use teller::Teller;

const LONG: &str = "On a terminal it takes the time that it took, divided by --speed, with pauses cut to --idle-limit; \
into a file or a pipe it is written at once unless --speed is given. With `-o json` each entry is one line.

Exit status: 0 told to its end; 1 there is no such session, or the recording is damaged and was told as far as it goes.";

/// Show a session: statements, decisions, approvals, masked results.
#[derive(Args)]
#[command(after_long_help = LONG)]
pub(crate) struct Replay {
    /// Id of the session, as `sessions ls` shows it.
    session: String,
    /// How many times faster than it happened.
    #[arg(long, value_name = "N", value_parser = speed, conflicts_with = "no_delay")]
    speed: Option<f64>,
    /// Do not wait at all.
    #[arg(long)]
    no_delay: bool,
    /// Longest pause.
    #[arg(long, value_name = "TIME", default_value = "2s", value_parser = when::length)]
    idle_limit: Duration,
    /// Also the operations of the sidecar itself.
    #[arg(long)]
    internal: bool,
    #[command(flatten)]
    from: FromStore,
}

impl Replay {
    pub(crate) fn run(self, place: &Place, screen: &mut Screen) -> Result<u8> {
        let source = self.from.source(place)?;
        let storage = &*source.storage;
        let story = Story::read(storage, &self.session)?;
        if !story.exists() {
            if let Some(damage) = story.damage {
                bail!("the recording is damaged before any entry of `{}`: {damage}", self.session);
            }
            let (session, dir) = (line(&self.session), line(&source.shown));
            bail!("there is no session `{session}` in `{dir}`: see `{} sessions ls`", screen.name());
        }
        let waits = !self.no_delay && !screen.json() && (screen.is_terminal() || self.speed.is_some());
        let mut pace = waits.then(|| Pace::new(self.speed.unwrap_or(1.0), self.idle_limit));
        let mut teller = Teller::new(&self.session, self.internal);
        teller.header(screen, &story)?;
        let mut damage = None;
        for entry in story.entries(storage)? {
            match entry {
                Ok(entry) if screen.json() => screen.say_json(&entry)?,
                Ok(entry) => {
                    if let Some(pace) = pace.as_mut().filter(|_| teller.shows(&entry)) {
                        pace.wait_for(&entry);
                    }
                    teller.tell(screen, &entry)?;
                }
                Err(error) => damage = Some(error),
            }
        }
        let Some(damage) = damage else {
            teller.summary(screen)?;
            return Ok(exit::DONE);
        };
        screen.remark(&format!("the recording is damaged here and the replay ends: {damage}"));
        Ok(exit::FAILED)
    }
}

fn speed(text: &str) -> Result<f64, String> {
    match text.trim_end_matches('x').parse::<f64>() {
        Ok(speed) if speed.is_finite() && speed > 0.0 => Ok(speed),
        _ => Err("write a number above 0, for example 2 or 0.5".to_owned()),
    }
}
