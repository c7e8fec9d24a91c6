//! `approve`, `deny`, `revoke`: one vote of the user who runs this, counted by the sidecar here or by the operator of a
//! cluster.
//!
//! On a cluster it is the annotation that `kubectl annotate` would write, under the same rights. A vote of which nobody
//! says that it was recorded is a failure.

use std::path::Path;

use anyhow::{Result, bail};
use clap::Args;
use crds::approval::Decision;
use crds::local::{LocalAnswer, LocalCall};
use serde_json::json;

use crate::approvals::remote::{Remote, Said};
use crate::approvals::socket::Socket;
use crate::approvals::whose::{Source, Whose};
use crate::exit::{self, Usage};
use crate::place::Place;
use crate::screen::{Paint, Screen, block, line};

/// How the webhook begins what it says of a vote that counts.
const RECORDED: &str = "recorded";

/// Approve a request: exactly its statement with its parameters may run, once, or what the request says that it grants.
#[derive(Args)]
pub(crate) struct Approve {
    #[command(flatten)]
    vote: Vote,
    /// For how long it counts, where the request grants more than one use: for example 30m, and never longer than its
    /// policy allows. Only on a cluster.
    #[arg(long, value_name = "TIME")]
    grant: Option<String>,
    /// Alone, where the policy wants several: takes the verb `breakglass` and --reason, counts for a short time, and is
    /// told loudly. Only on a cluster.
    #[arg(long, requires = "reason")]
    break_glass: bool,
}

/// Deny a request.
#[derive(Args)]
pub(crate) struct Deny {
    #[command(flatten)]
    vote: Vote,
}

/// Take an approval back, before it was used or while it counts.
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
    #[command(flatten)]
    whose: Whose,
}

impl Approve {
    pub(crate) fn run(self, place: &Place, screen: &mut Screen) -> Result<u8> {
        let decision = if self.break_glass { Decision::BreakGlass } else { Decision::Approve };
        self.vote.cast(decision, self.grant.as_deref(), place, screen)
    }
}

impl Deny {
    pub(crate) fn run(self, place: &Place, screen: &mut Screen) -> Result<u8> {
        self.vote.cast(Decision::Deny, None, place, screen)
    }
}

impl Revoke {
    pub(crate) fn run(self, place: &Place, screen: &mut Screen) -> Result<u8> {
        self.vote.cast(Decision::Revoke, None, place, screen)
    }
}

impl Vote {
    fn cast(self, decision: Decision, grant: Option<&str>, place: &Place, screen: &mut Screen) -> Result<u8> {
        match self.whose.source(place, screen, false)? {
            Source::Local(_) if grant.is_some() || decision == Decision::BreakGlass => {
                let only = "--grant and --break-glass are for requests of a cluster: give --cluster or --namespace";
                Err(Usage(only.to_owned()).into())
            }
            Source::Local(state) => self.cast_here(&state, decision, screen),
            Source::Cluster(remote) => self.cast_there(&remote, decision, grant, screen),
        }
    }

    fn cast_here(self, state: &Path, decision: Decision, screen: &mut Screen) -> Result<u8> {
        let mut socket = Socket::connect(state)?;
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

    fn cast_there(self, remote: &Remote, decision: Decision, grant: Option<&str>, screen: &mut Screen) -> Result<u8> {
        let word = match decision {
            Decision::Approve => "approve",
            Decision::Deny => "deny",
            Decision::Revoke => "revoke",
            Decision::BreakGlass => "break-glass",
        };
        let said = Said { decision: word, reason: self.reason.as_deref(), grant };
        let warnings = remote.decide(&self.name, &said)?;
        if !warnings.iter().any(|warning| warning.starts_with(RECORDED)) {
            let name = remote.full(&self.name);
            bail!("{name}: nobody said that the vote was recorded: is the webhook `agentaccess` there? See `check`");
        }
        if screen.json() {
            let (namespace, name) = (remote.namespace(), &self.name);
            screen.say_json(&json!({"namespace": namespace, "name": name, "decision": word, "said": warnings}))?;
            return Ok(exit::DONE);
        }
        let name = screen.paint(&line(&remote.full(&self.name)), Paint::Strong);
        warnings.iter().try_for_each(|warning| screen.say(&format!("{name}: {}", line(warning))))?;
        Ok(exit::DONE)
    }
}
