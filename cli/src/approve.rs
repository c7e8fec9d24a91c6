//! `approve`, `deny`, `revoke`: one vote, counted by the sidecar for the user who runs this.

use anyhow::{Result, bail};
use clap::Args;
use crds::approval::Decision;
use crds::local::{LocalAnswer, LocalCall};

use crate::approvals::socket::Socket;
use crate::exit;
use crate::place::Place;
use crate::screen::{Paint, Screen, block, line};

/// Approve a request: exactly its statement with its parameters may run, once.
#[derive(Args)]
pub(crate) struct Approve {
    #[command(flatten)]
    vote: Vote,
}

/// Deny a request.
#[derive(Args)]
pub(crate) struct Deny {
    #[command(flatten)]
    vote: Vote,
}

/// Take an approval back before it was used.
#[derive(Args)]
pub(crate) struct Revoke {
    #[command(flatten)]
    vote: Vote,
}

#[derive(Args)]
struct Vote {
    /// Name of the request, as `approvals ls` shows it.
    name: String,
    /// Why, for the record; some policies require it.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
}

impl Approve {
    pub(crate) fn run(self, place: &Place, screen: &mut Screen) -> Result<u8> {
        self.vote.cast(Decision::Approve, place, screen)
    }
}

impl Deny {
    pub(crate) fn run(self, place: &Place, screen: &mut Screen) -> Result<u8> {
        self.vote.cast(Decision::Deny, place, screen)
    }
}

impl Revoke {
    pub(crate) fn run(self, place: &Place, screen: &mut Screen) -> Result<u8> {
        self.vote.cast(Decision::Revoke, place, screen)
    }
}

impl Vote {
    fn cast(self, decision: Decision, place: &Place, screen: &mut Screen) -> Result<u8> {
        let mut socket = Socket::connect(&place.state_dir()?)?;
        let call = LocalCall::Decide { name: self.name.clone(), decision, reason: self.reason };
        match socket.ask(&call)? {
            LocalAnswer::Decided { item, .. } if screen.json() => screen.say_json(&item)?,
            LocalAnswer::Decided { message, .. } => {
                let name = screen.paint(&line(&self.name), Paint::Strong);
                screen.say(&format!("{name}: {}", block(&message)))?;
            }
            LocalAnswer::Refused { message } => bail!("{}: {message}", self.name),
            LocalAnswer::Requests { .. } | LocalAnswer::Request { .. } => {
                bail!("the sidecar gave an answer to another question: is it of another version?")
            }
        }
        Ok(exit::DONE)
    }
}
