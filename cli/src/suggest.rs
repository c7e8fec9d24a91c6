//! `suggest`: the smallest policy under which what a recording shows would pass.
//!
//! It never allows more than relations, columns and functions that were seen under the verbs they were seen with, keeps
//! masks or leaves out what was masked, and gives nothing to what a policy refused or an Audit policy's rule spoke
//! against. What it cannot decide it says, in comments of the result. Invariant: the policy that is printed is read back
//! and put to `policy::decide`, and the counts in its head are what came of that.

mod groups;
mod known;
mod proof;
mod sayable;
mod seen;
mod spec;
mod text;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};
use clap::Args;
use serde_json::json;

use crate::exit::{self, Usage};
use crate::objects::Objects;
use crate::place::{self, Place};
use crate::screen::{Screen, line};
use crate::simulate::{label, subject};
use crate::when;

use seen::{Seen, Wanted};

const LONG: &str =
    "Let the agent work under a policy with `mode: Audit`, then read what is suggested before you apply it: what \
the agent did is not always what it should do. A rule names every relation and column that was seen, asks for a WHERE \
where every UPDATE or DELETE had one, and keeps row limits that were in force. Comments say what no rule was made for, \
and why. `verify` says whether the recording is what the sidecar wrote; do that first.

Exit status: 0 a policy was printed, also one that leaves things out; 1 there is nothing to go by, or the recording \
cannot be read; 2 wrong usage.";

/// Make a least-privilege policy from a recording.
#[derive(Args)]
#[command(after_long_help = LONG)]
pub(crate) struct Suggest {
    /// Whose operations [default: the only agent in the recording].
    #[arg(long = "as", value_name = "NAMESPACE/SERVICEACCOUNT", value_parser = subject)]
    subject: Option<(String, String)>,
    /// Only those at this AccessTarget.
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// Only those of these sessions, as `sessions ls` shows them.
    #[arg(long = "session", value_name = "ID")]
    sessions: Vec<String>,
    /// Only those since: a time (2026-11-21T08:00:00Z) or an age (2h).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Policies that were in force: the masks and detectors that applied are copied from them.
    #[arg(short = 'f', long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Labels of the agent's pods for podSelector, since a recording holds none.
    #[arg(long, value_name = "KEY=VALUE,…", value_delimiter = ',', value_parser = label)]
    labels: Vec<(String, String)>,
    /// Name of the policy [default: suggested-SERVICEACCOUNT].
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Folder of the segments [default: recordings/ of the state directory].
    #[arg(long, value_name = "DIR")]
    recordings: Option<PathBuf>,
}

impl Suggest {
    pub(crate) fn run(self, place: &Place, screen: &mut Screen) -> Result<u8> {
        let dir = match &self.recordings {
            Some(dir) => dir.clone(),
            None => place.state_dir()?.join("recordings"),
        };
        let shown = line(&dir.display().to_string());
        let storage = place::open_recordings(&dir)?;
        let wanted = Wanted {
            subject: self.subject.clone(),
            target: self.target.clone(),
            sessions: self.sessions.clone(),
            since: self.since.as_deref().map(when::moment).transpose().context("--since")?,
        };
        let known = match &self.folder {
            Some(folder) => known::of_policies(&objects(folder)?),
            None => known::Known::default(),
        };
        let seen::All { mut subjects, unknown } = seen::read(&storage, &wanted)
            .with_context(|| format!("the recording in `{shown}` cannot be used: see `{} verify`", screen.name()))?;
        let Some((who, seen)) = subjects.pop_first() else {
            bail!("no operation of an agent in `{shown}` is what was asked for: see `{} sessions ls`", screen.name());
        };
        if !subjects.is_empty() {
            let mut names: Vec<String> = subjects.keys().map(ToString::to_string).collect();
            names.insert(0, who.to_string());
            let names = line(&names.join(", "));
            return Err(Usage(format!("the recording has several agents, choose one with --as: {names}")).into());
        }
        if unknown > 0 {
            screen.remark(&format!(
                "{unknown} operations belong to sessions whose beginning was pruned: they are not looked at"
            ));
        }
        self.say(&who, seen, &known, screen)
    }

    fn say(&self, who: &seen::Who, seen: Seen, known: &known::Known, screen: &mut Screen) -> Result<u8> {
        let labels: BTreeMap<String, String> = self.labels.iter().cloned().collect();
        let made = groups::make(seen, known, &who.namespace);
        let name = self.name.clone().unwrap_or_else(|| spec::policy_name(&who.service_account));
        let policies = spec::policies(&made, who, &name, &labels)?;
        let body = text::body(&policies, &made, who);
        let proof = proof::prove(&body, &policies, &made, who, &labels)?;
        if screen.json() {
            screen.say_json(&json!({
                "policies": policies.iter().map(|p| &p.object).collect::<Vec<_>>(),
                "subject": who.to_string(),
                "operations": made.operations(),
                "pass": proof.pass,
                "wait": proof.wait,
                "leftOut": made.left.iter().map(|(left, n)| json!({"what": left.what, "why": left.why, "times": n})).collect::<Vec<_>>(),
                "remarks": proof.remarks,
            }))?;
        } else {
            let head = text::head(who, &made, &proof);
            screen.say(format!("{head}{body}").trim_end())?;
        }
        Ok(exit::DONE)
    }
}

fn objects(folder: &std::path::Path) -> Result<Objects> {
    Objects::read(folder).map_err(|errors| anyhow::anyhow!("`{}` cannot be used:\n{errors}", folder.display()))
}
