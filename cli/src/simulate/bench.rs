//! Policies, an agent, a database: everything that a statement is judged by, without a sidecar or a server.
//!
//! Invariant: what decides here is what decides in the sidecar: plan against a catalog, then `policy::decide`.

use std::path::Path;

use anyhow::{Context as _, Result, anyhow, bail};
use pgsql::mask::MaskTable;
use pgsql::{Catalog, Context, Limits, plan};
use policy::operation::{
    Attribute, Attributes, Certainty, Digest, Operation, Origin, PayloadHash, Protocol, Strictness,
};
use policy::redact::Redacted;
use policy::subject::Subject;
use policy::{PolicySet, TargetKey, View, compile, decide};

use super::answer::Answer;
use crate::objects::Objects;
use crate::place::Place;

/// Who asks, and of what.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) subject: &'a Subject,
    /// The AccessTarget.
    pub(crate) target: &'a str,
    /// The only one of the target where none is given.
    pub(crate) database: Option<&'a str>,
    /// The one of the state directory where none is given.
    pub(crate) catalog: Option<&'a Path>,
}

#[derive(Debug)]
pub(crate) struct Bench {
    view: View,
    catalog: Catalog,
    masks: MaskTable,
    host: Option<String>,
}

/// # Errors
/// What is wrong in the files, or in what they say together.
pub(crate) fn policies(folder: &Path) -> Result<PolicySet> {
    let shown = folder.display();
    let objects = Objects::read(folder).map_err(|errors| anyhow!("`{shown}` cannot be used:\n{errors}"))?;
    compiled(&objects, &shown.to_string())
}

/// `shown` is where they were read.
///
/// # Errors
/// What is wrong in what they say together.
pub(crate) fn compiled(objects: &Objects, shown: &str) -> Result<PolicySet> {
    compile(&objects.input).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow!("the policies in `{shown}` cannot be used; see `lint`:\n{}", lines.join("\n"))
    })
}

// === impl Bench ===

impl Bench {
    /// `folder` is where the policies were read, for messages.
    ///
    /// # Errors
    /// When target, database or catalog are not there.
    pub(crate) fn new(set: &PolicySet, folder: &Path, place: &Place, wanted: &Wanted<'_>) -> Result<Self> {
        let key = TargetKey { namespace: wanted.subject.namespace.clone(), name: wanted.target.to_owned() };
        let database = database(set, folder, &key, wanted.database)?;
        let catalog = read_catalog(place, &key, &database, wanted.catalog)?;
        let view = set.view(wanted.subject, &key);
        let masks = MaskTable::build(&catalog, view.masks());
        let host = set.targets().get(&key).map(|t| t.host.clone());
        Ok(Self { view, catalog, masks, host })
    }

    /// What the masks cannot do in this database.
    pub(crate) fn problems(&self) -> Vec<String> {
        let problem = |problem: &pgsql::mask::MaskProblem| {
            let denied = problem.denied.as_deref().map(|r| format!("; {r} is denied because of it"));
            format!("mask {}: {}{}", problem.rule, problem.text, denied.unwrap_or_default())
        };
        self.masks.problems().iter().map(problem).collect()
    }

    pub(crate) fn judge(&self, sql: &str) -> Answer {
        let context = Context { catalog: &self.catalog, masks: &self.masks, limits: Limits::default() };
        let mut attributes = Attributes::from([
            (Attribute::Database, self.catalog.database.clone()),
            (Attribute::Transaction, "idle".to_owned()),
        ]);
        attributes.extend(self.host.clone().map(|host| (Attribute::Host, host)));
        let plan = plan(sql, &context);
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
            planned: self.view.revision(),
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
        let verdict = decide(&self.view, &operation);
        Answer { sql: sql.to_owned(), plan, verdict }
    }
}

fn database(set: &PolicySet, folder: &Path, key: &TargetKey, wanted: Option<&str>) -> Result<String> {
    let Some(target) = set.targets().get(key) else {
        let known: Vec<String> = set.targets().keys().map(ToString::to_string).collect();
        let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
        bail!("there is no AccessTarget `{key}` in `{}`; there are: {known}", folder.display());
    };
    let databases = target.postgres.as_ref().map(|p| p.databases.as_slice()).unwrap_or_default();
    match (wanted, databases) {
        (Some(wanted), known) if known.iter().any(|name| name == wanted) => Ok(wanted.to_owned()),
        (Some(wanted), known) => {
            bail!("AccessTarget `{key}` has no database `{wanted}`; it has: {}", known.join(", "))
        }
        (None, [only]) => Ok(only.clone()),
        (None, known) => {
            bail!("AccessTarget `{key}` has several databases: say which, one of {}", known.join(", "))
        }
    }
}

fn read_catalog(place: &Place, key: &TargetKey, database: &str, file: Option<&Path>) -> Result<Catalog> {
    let file = match file {
        Some(file) => file.to_owned(),
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
