//! `simulate`: what would these policies say to this SQL, and which rule says it?
//!
//! The same code as in the sidecar decides: parse, resolve against a saved catalog, mask, decide. Nothing is sent.

mod answer;

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use pgsql::mask::MaskTable;
use pgsql::{Catalog, Context, Limits, plan};
use policy::operation::{
    Attribute, Attributes, Certainty, Digest, Operation, Origin, PayloadHash, Protocol, Strictness,
};
use policy::redact::Redacted;
use policy::subject::Subject;
use policy::{PolicySet, TargetKey, View, compile, decide};

use crate::exit;
use crate::objects::Objects;
use crate::place::Place;
use crate::screen::Screen;

use answer::Answer;

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
    #[arg(short = 'f', long, value_name = "DIR")]
    folder: PathBuf,
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
        let set = self.policies()?;
        let key = TargetKey { namespace: self.subject.0.clone(), name: self.target.clone() };
        let database = self.database(&set, &key)?;
        let catalog = self.read_catalog(place, &key, &database)?;
        let subject = Subject {
            namespace: self.subject.0.clone(),
            service_account: self.subject.1.clone(),
            labels: pairs(&self.labels),
            namespace_labels: pairs(&self.namespace_labels),
            ..Subject::default()
        };
        let view = set.view(&subject, &key);
        let masks = MaskTable::build(&catalog, view.masks());
        for problem in masks.problems() {
            let denied = problem.denied.as_deref().map(|r| format!("; {r} is denied because of it"));
            screen.remark(&format!("mask {}: {}{}", problem.rule, problem.text, denied.unwrap_or_default()));
        }
        let host = set.targets().get(&key).map(|t| t.host.clone());
        let context = Context { catalog: &catalog, masks: &masks, limits: Limits::default() };
        let mut strictest = Strictness::Allow;
        for (index, sql) in self.statements.iter().enumerate() {
            let answer = judge(sql, &context, &view, host.as_deref());
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

    fn policies(&self) -> Result<PolicySet> {
        let folder = self.folder.display();
        let objects = Objects::read(&self.folder).map_err(|errors| anyhow!("`{folder}` cannot be used:\n{errors}"))?;
        compile(&objects.input).map_err(|errors| {
            let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
            anyhow!("the policies in `{folder}` cannot be used; see `lint`:\n{}", lines.join("\n"))
        })
    }

    fn database(&self, set: &PolicySet, key: &TargetKey) -> Result<String> {
        let Some(target) = set.targets().get(key) else {
            let known: Vec<String> = set.targets().keys().map(ToString::to_string).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            bail!("there is no AccessTarget `{key}` in `{}`; there are: {known}", self.folder.display());
        };
        let databases = target.postgres.as_ref().map(|p| p.databases.as_slice()).unwrap_or_default();
        match (&self.database, databases) {
            (Some(wanted), known) if known.contains(wanted) => Ok(wanted.clone()),
            (Some(wanted), known) => {
                bail!("AccessTarget `{key}` has no database `{wanted}`; it has: {}", known.join(", "))
            }
            (None, [only]) => Ok(only.clone()),
            (None, known) => {
                bail!("AccessTarget `{key}` has several databases: give --database, one of {}", known.join(", "))
            }
        }
    }

    fn read_catalog(&self, place: &Place, key: &TargetKey, database: &str) -> Result<Catalog> {
        let file = match &self.catalog {
            Some(file) => file.clone(),
            None => {
                let name = format!("{}.{}.{database}.json", key.namespace, key.name);
                place.state_dir()?.join("catalog").join(name)
            }
        };
        let shown = file.display();
        let text = std::fs::read_to_string(&file).with_context(|| {
            format!("cannot read the catalog `{shown}`: give --catalog, or the state directory of a sidecar that served this database")
        })?;
        Catalog::from_json(&text).with_context(|| format!("`{shown}` is not a saved catalog"))
    }
}

fn judge(sql: &str, context: &Context<'_>, view: &View, host: Option<&str>) -> Answer {
    let mut attributes = Attributes::from([
        (Attribute::Database, context.catalog.database.clone()),
        (Attribute::Transaction, "idle".to_owned()),
    ]);
    attributes.extend(host.map(|host| (Attribute::Host, host.to_owned())));
    let plan = plan(sql, context);
    // What was not understood is as the sidecar makes it: nothing is known of it, and it is never sent.
    let unknown = Operation {
        protocol: Protocol::Postgres,
        action: "OPAQUE".to_owned(),
        accesses: Vec::new(),
        attributes,
        certainty: Certainty::Exact,
        payload: PayloadHash([0; 32]),
        digest: Digest([0; 32]),
        ceiling: Strictness::Deny,
        origin: Origin::Agent,
        planned: view.revision(),
        display: Redacted::default(),
    };
    let operation = match &plan {
        Ok(plan) => Operation {
            action: plan.action.clone(),
            accesses: plan.accesses.clone(),
            ceiling: plan.ceiling,
            display: plan.display.clone(),
            ..unknown
        },
        Err(refused) => Operation { certainty: Certainty::Opaque(refused.reason.clone()), ..unknown },
    };
    let verdict = decide(view, &operation);
    Answer { sql: sql.to_owned(), plan, verdict }
}

fn pairs(list: &[(String, String)]) -> BTreeMap<String, String> {
    list.iter().cloned().collect()
}

fn subject(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, account)) if !namespace.is_empty() && !account.is_empty() && !account.contains('/') => {
            Ok((namespace.to_owned(), account.to_owned()))
        }
        _ => Err("write NAMESPACE/SERVICEACCOUNT, for example local/support-agent".to_owned()),
    }
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write KEY=VALUE, for example app=support-agent".to_owned()),
    }
}
