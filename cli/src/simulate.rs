//! `simulate`: what would these policies say to this SQL, and which rule says it?
//!
//! The same code as in the sidecar decides: parse, resolve against a saved catalog, mask, decide. Nothing is sent.

pub(crate) mod answer;
pub(crate) mod bench;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use clap::Args;
use policy::PolicySet;
use policy::operation::Strictness;
use policy::subject::Subject;

use crate::cluster::{Cluster, ClusterOptions, segment};
use crate::exit::{self, Usage};
use crate::objects::{LIVE, Objects};
use crate::place::Place;
use crate::screen::Screen;

use bench::{Bench, Wanted};

const STATUSES: &str = "Exit status, the strictest of all statements:
  0  allowed
  3  needs an approval
  4  denied
  1  the policies or the catalog cannot be used
  2  wrong usage";

/// Say what policies would decide on SQL, and which rules say so.
#[derive(Args)]
#[command(after_long_help = STATUSES)]
pub(crate) struct Simulate {
    /// Folder of policies and targets.
    #[arg(short = 'f', long, value_name = "DIR", required_unless_present = "cluster")]
    folder: Option<PathBuf>,
    /// What is in the cluster now, through kubectl; with --folder, as it would be after that was applied. Give --catalog too.
    #[arg(long)]
    cluster: bool,
    #[command(flatten)]
    options: ClusterOptions,
    /// Saved catalog of the database [default: catalog/NAMESPACE.TARGET.DATABASE.json of the state directory].
    #[arg(long, value_name = "FILE")]
    catalog: Option<PathBuf>,
    /// Who asks.
    #[arg(long = "as", value_name = "NAMESPACE/SERVICEACCOUNT", value_parser = subject)]
    subject: (String, String),
    /// Labels of the agent's pod or listener.
    #[arg(long, value_name = "KEY=VALUE,…", value_delimiter = ',', value_parser = label)]
    labels: Vec<(String, String)>,
    /// Labels of its namespace, for cluster policies.
    #[arg(long, value_name = "KEY=VALUE,…", value_delimiter = ',', value_parser = label)]
    namespace_labels: Vec<(String, String)>,
    /// The AccessTarget.
    #[arg(long, value_name = "NAME")]
    target: String,
    /// Which database [default: the only one of the target].
    #[arg(long, value_name = "NAME")]
    database: Option<String>,
    /// Statements, each on its own.
    #[arg(required = true, value_name = "SQL")]
    statements: Vec<String>,
}

impl Simulate {
    pub(crate) fn run(self, place: &Place, screen: &mut Screen) -> Result<u8> {
        let (set, folder) = self.policies()?;
        let subject = Subject {
            namespace: self.subject.0.clone(),
            service_account: self.subject.1.clone(),
            labels: pairs(&self.labels),
            namespace_labels: pairs(&self.namespace_labels),
            ..Subject::default()
        };
        let wanted = Wanted {
            subject: &subject,
            target: &self.target,
            database: self.database.as_deref(),
            catalog: self.catalog.as_deref(),
        };
        let bench = Bench::new(&set, &folder, place, &wanted)?;
        bench.problems().iter().for_each(|problem| screen.remark(problem));
        let mut strictest = Strictness::Allow;
        for (index, sql) in self.statements.iter().enumerate() {
            let answer = bench.judge(sql);
            strictest = strictest.max(answer.strictness());
            if index > 0 && !screen.json() {
                screen.say("")?;
            }
            answer.say(screen)?;
        }
        Ok(match strictest {
            Strictness::Allow => exit::DONE,
            Strictness::RequireApproval => exit::NEEDS_APPROVAL,
            Strictness::Deny => exit::DENIED,
        })
    }
}

impl Simulate {
    /// And where they were read.
    fn policies(&self) -> Result<(PolicySet, PathBuf)> {
        let folder = match (&self.folder, self.cluster) {
            (Some(folder), false) => return Ok((bench::policies(folder)?, folder.clone())),
            (folder, _) => folder,
        };
        let (namespace, _) = &self.subject;
        let namespace = segment(namespace).map_err(|error| Usage(format!("--as: {error}")))?;
        let live = Objects::live(&Cluster::new(&self.options), Some(namespace))?;
        let live = live.map_err(|errors| anyhow!("what is in the cluster cannot be used:\n{errors}"))?;
        let objects = match folder {
            Some(folder) => {
                let applied = Objects::read_in(folder, namespace);
                live.with(applied.map_err(|errors| anyhow!("`{}` cannot be used:\n{errors}", folder.display()))?)
            }
            None => live,
        };
        Ok((bench::compiled(&objects, LIVE)?, PathBuf::from(LIVE)))
    }
}

fn pairs(list: &[(String, String)]) -> BTreeMap<String, String> {
    list.iter().cloned().collect()
}

pub(crate) fn subject(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, account)) if !namespace.is_empty() && !account.is_empty() && !account.contains('/') => {
            Ok((namespace.to_owned(), account.to_owned()))
        }
        _ => Err("write NAMESPACE/SERVICEACCOUNT, for example local/support-agent".to_owned()),
    }
}

pub(crate) fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE, for example app=support-agent".to_owned()),
    }
}
