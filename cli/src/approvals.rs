//! `approvals ls|show|watch`, of a sidecar here or of a cluster.
//!
//! A cluster is asked through kubectl. The sidecar is asked over its socket. Where it cannot be reached, `ls` and `show` read the files that it wrote and
//! say so: those may be old, and an edit of them decides nothing.

pub(crate) mod remote;
pub(crate) mod socket;
pub(crate) mod whose;

pub(crate) mod files;
mod show;
mod table;
mod watch;

use std::path::Path;

use anyhow::{Result, bail};
use clap::{Subcommand, ValueEnum};
use crds::approval::{ApprovalRequest, Phase};
use crds::local::{LocalAnswer, LocalCall};

use crate::exit;
use crate::place::Place;
use crate::screen::{Screen, close_gaps, line};

use socket::Socket;
use whose::{Source, Whose};

#[derive(Subcommand)]
pub(crate) enum Approvals {
    /// List requests, open ones first.
    Ls {
        /// Only those that wait for a decision.
        #[arg(long, conflicts_with = "phase")]
        pending: bool,
        /// Only those of these phases.
        #[arg(long, value_enum, value_delimiter = ',', ignore_case = true, value_name = "PHASE,…")]
        phase: Vec<Word>,
        #[command(flatten)]
        everywhere: Everywhere,
        #[command(flatten)]
        whose: Whose,
    },
    /// Show one request whole: what would be approved, and by which command.
    Show {
        /// Name of the request.
        name: String,
        #[command(flatten)]
        whose: Whose,
    },
    /// Show requests that are open, then each change until interrupted.
    Watch {
        #[command(flatten)]
        everywhere: Everywhere,
        #[command(flatten)]
        whose: Whose,
    },
}

#[derive(clap::Args)]
pub(crate) struct Everywhere {
    /// Of all namespaces of the cluster.
    #[arg(short = 'A', long, conflicts_with = "namespace")]
    all_namespaces: bool,
}

/// As the table has it.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
#[value(rename_all = "PascalCase")]
pub(crate) enum Word {
    Pending,
    Approved,
    Used,
    Denied,
    Expired,
    Withdrawn,
    Revoked,
}

impl Approvals {
    pub(crate) fn run(self, place: &Place, screen: &mut Screen) -> Result<u8> {
        match self {
            Self::Ls { pending, phase, everywhere, whose } => {
                let source = whose.source(place, screen, everywhere.all_namespaces)?;
                let mut items = match &source {
                    Source::Local(state) => items(state, screen)?,
                    Source::Cluster(remote) => remote.list()?,
                };
                let wanted = if pending { vec![Word::Pending] } else { phase };
                items.retain(|item| wanted.is_empty() || wanted.contains(&word(item)));
                if screen.json() {
                    screen.say_json(&items)?;
                } else if items.is_empty() {
                    screen.say(if wanted == [Word::Pending] { "no request waits" } else { "no requests" })?;
                } else {
                    table::say(screen, &items, everywhere.all_namespaces)?;
                }
            }
            Self::Show { name, whose } => match whose.source(place, screen, false)? {
                Source::Local(state) => {
                    // The file holds the whole statement where an answer over the socket had to cut it.
                    let listed = items(&state, screen)?.into_iter().find(|item| named(item) == name);
                    let Some(item) = listed else {
                        bail!("there is no request `{name}`: see `{} approvals ls`", screen.name());
                    };
                    let whole = files::read_one(&state, &name).filter(|f| f.spec.digest == item.spec.digest);
                    let spec = whole.map_or_else(|| item.spec.clone(), |whole| whole.spec);
                    shown(screen, &ApprovalRequest { spec, ..item }, false)?;
                }
                Source::Cluster(remote) => shown(screen, &remote.one(&name, screen.name())?, true)?,
            },
            Self::Watch { everywhere, whose } => match whose.source(place, screen, everywhere.all_namespaces)? {
                Source::Local(state) => watch::sidecar(&state, screen)?,
                Source::Cluster(remote) => watch::cluster(&remote, screen)?,
            },
        }
        Ok(exit::DONE)
    }
}

fn shown(screen: &mut Screen, item: &ApprovalRequest, cluster: bool) -> Result<()> {
    if screen.json() { screen.say_json(item) } else { show::say(screen, item, cluster) }
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

/// Those that wait first, then the newest.
fn sort(items: &mut [ApprovalRequest]) {
    let created = |item: &ApprovalRequest| item.metadata.creation_timestamp.as_ref().map(|t| t.0);
    let place = |item: &ApprovalRequest| (item.metadata.namespace.clone(), item.metadata.name.clone());
    items.sort_by(|a, b| {
        let rank = |item: &ApprovalRequest| phase(item) != Phase::Pending;
        rank(a).cmp(&rank(b)).then(created(b).cmp(&created(a))).then_with(|| place(a).cmp(&place(b)))
    });
}

/// For people: an approval that was used releases nothing more.
pub(crate) fn word(item: &ApprovalRequest) -> Word {
    match phase(item) {
        _ if item.status.as_ref().is_some_and(|s| s.consumed) => Word::Used,
        Phase::Pending => Word::Pending,
        Phase::Approved => Word::Approved,
        Phase::Denied => Word::Denied,
        Phase::Expired => Word::Expired,
        Phase::Withdrawn => Word::Withdrawn,
        Phase::Revoked => Word::Revoked,
    }
}

fn phase_word(item: &ApprovalRequest) -> String {
    format!("{:?}", word(item))
}

/// On one line: a line of its own could look like one of ours.
fn statement(item: &ApprovalRequest) -> String {
    close_gaps(&line(&item.spec.statement))
}

fn agent(item: &ApprovalRequest) -> String {
    let subject = &item.spec.subject;
    line(&format!("{}/{}", subject.namespace, subject.service_account))
}
