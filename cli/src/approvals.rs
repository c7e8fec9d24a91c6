//! `approvals ls|show|watch`.
//!
//! The sidecar is asked over its socket. Where it cannot be reached, `ls` and `show` read the files that it wrote and
//! say so: those may be old, and an edit of them decides nothing.

pub(crate) mod socket;

mod files;
mod show;
mod table;

use std::path::Path;

use anyhow::{Result, bail};
use clap::Subcommand;
use crds::approval::{ApprovalRequest, Phase};
use crds::local::{LocalAnswer, LocalCall};

use crate::exit;
use crate::place::Place;
use crate::screen::{Screen, close_gaps, line};

use socket::Socket;

#[derive(Subcommand)]
pub(crate) enum Approvals {
    /// List requests, open ones first.
    Ls {
        /// Only those that wait for a decision.
        #[arg(long)]
        pending: bool,
    },
    /// Show one request whole: what would be approved, and by which command.
    Show {
        /// Name of the request.
        name: String,
    },
    /// Show requests that are open, then each change until interrupted.
    Watch,
}

impl Approvals {
    pub(crate) fn run(self, place: &Place, screen: &mut Screen) -> Result<u8> {
        let state = place.state_dir()?;
        match self {
            Self::Ls { pending } => {
                let mut items = items(&state, screen)?;
                items.retain(|item| !pending || phase(item) == Phase::Pending);
                if screen.json() {
                    screen.say_json(&items)?;
                } else if items.is_empty() {
                    screen.say(if pending { "no request waits" } else { "no requests" })?;
                } else {
                    table::say(screen, &items)?;
                }
            }
            Self::Show { name } => {
                // The file holds the whole statement where an answer over the socket had to cut it.
                let listed = items(&state, screen)?.into_iter().find(|item| named(item) == name);
                let Some(item) = listed else {
                    bail!("there is no request `{name}`: see `{} approvals ls`", screen.name());
                };
                let whole = files::read_one(&state, &name).filter(|f| f.spec.digest == item.spec.digest);
                let spec = whole.map_or_else(|| item.spec.clone(), |whole| whole.spec);
                let item = ApprovalRequest { spec, ..item };
                if screen.json() {
                    screen.say_json(&item)?;
                } else {
                    show::say(screen, &item)?;
                }
            }
            Self::Watch => watch(&state, screen)?,
        }
        Ok(exit::DONE)
    }
}

fn watch(state: &Path, screen: &mut Screen) -> Result<()> {
    let mut socket = Socket::connect(state)?;
    socket.send(&LocalCall::Watch)?;
    let mut first = true;
    loop {
        match socket.wait()? {
            LocalAnswer::Requests { items } => {
                let open: Vec<_> = items.into_iter().filter(|item| phase(item) == Phase::Pending).collect();
                if first && !screen.json() && open.is_empty() {
                    screen.say("no request waits; watching")?;
                }
                first = false;
                open.iter().try_for_each(|item| changed(screen, item))?;
            }
            LocalAnswer::Request { item } => changed(screen, &item)?,
            LocalAnswer::Refused { message } => bail!("{message}"),
            LocalAnswer::Decided { .. } => bail!("the sidecar gave an answer to another question"),
        }
    }
}

fn changed(screen: &mut Screen, item: &ApprovalRequest) -> Result<()> {
    if screen.json() { screen.say_json(item) } else { show::say_change(screen, item) }
}

fn items(state: &Path, screen: &Screen) -> Result<Vec<ApprovalRequest>> {
    let unreachable = match Socket::connect(state) {
        Ok(mut socket) => match socket.ask(&LocalCall::List)? {
            LocalAnswer::Requests { items } => return Ok(items),
            LocalAnswer::Refused { message } => message,
            LocalAnswer::Request { .. } | LocalAnswer::Decided { .. } => {
                bail!("the sidecar gave an answer to another question: is it of another version?")
            }
        },
        Err(error) => error.to_string(),
    };
    let items =
        files::read_all(state).map_err(|files| anyhow::anyhow!("{unreachable}; nor can its files be read: {files}"))?;
    screen.remark(&format!("{unreachable}; shown is what its files say, which may be old"));
    Ok(items)
}

pub(super) fn named(item: &ApprovalRequest) -> &str {
    item.metadata.name.as_deref().unwrap_or_default()
}

pub(super) fn phase(item: &ApprovalRequest) -> Phase {
    item.status.as_ref().map(|s| s.phase).unwrap_or_default()
}

/// The word for people: an approval that was used releases nothing more.
fn phase_word(item: &ApprovalRequest) -> String {
    let consumed = item.status.as_ref().is_some_and(|s| s.consumed);
    if consumed { "Used".to_owned() } else { format!("{:?}", phase(item)) }
}

/// On one line: a line of its own could look like one of ours.
fn statement(item: &ApprovalRequest) -> String {
    close_gaps(&line(&item.spec.statement))
}

fn agent(item: &ApprovalRequest) -> String {
    let subject = &item.spec.subject;
    line(&format!("{}/{}", subject.namespace, subject.service_account))
}
