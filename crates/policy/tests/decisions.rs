//! Decision tables as data: `decisions/*.yaml` hold policies and, for each operation, what is to be decided and by which
//! rule.
#![expect(clippy::unwrap_used, reason = "test helpers")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crds::policy::{AgentAccessPolicySpec, ClusterAgentAccessPolicySpec};
use crds::target::AccessTargetSpec;
use policy::operation::{
    Access, Attribute, Certainty, Digest, Fields, Operation, Origin, PayloadHash, Protocol, Resource, ResourceKind,
    Revision, Strictness, Verb,
};
use policy::redact::Redacted;
use policy::subject::Subject;
use policy::verdict::{Decision, DenyReason, RuleId, Verdict};
use policy::{Input, Named, PolicySet, TargetKey, compile, decide};
use serde::Deserialize;

const ROWS_AT_LEAST: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    /// `name`, or `namespace/name` where it is not `agents`.
    #[serde(default)]
    policies: BTreeMap<String, AgentAccessPolicySpec>,
    #[serde(default)]
    cluster: BTreeMap<String, ClusterAgentAccessPolicySpec>,
    rows: Vec<Row>,
}

/// One operation. `on` is `Verb Kind path (fields) bounded|unbounded indirect`, several joined by ` + `.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
struct Row {
    #[serde(rename = "do")]
    action: String,
    #[serde(default)]
    on: String,
    #[serde(default = "allow")]
    ceiling: Strictness,
    #[serde(default)]
    opaque: Option<String>,
    #[serde(default)]
    internal: bool,
    #[serde(default)]
    stale: bool,
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
    #[serde(default)]
    account: Option<String>,
    #[serde(default)]
    namespace: Option<String>,
    #[serde(default)]
    target: Option<String>,
    /// `unknown`: the attribute is absent.
    #[serde(default)]
    host: Option<String>,
    /// `Allow`, `RequireApproval` or `Deny`.
    is: Strictness,
    /// Allow: one of the rules that matched; RequireApproval: all that ask; Deny: the reason.
    by: String,
    /// `required/threshold ttl hold max-hold [reason]`.
    #[serde(default)]
    terms: Option<String>,
    #[serde(default)]
    max_rows: Option<u64>,
    #[serde(default)]
    masks: Option<Vec<String>>,
    #[serde(default)]
    recorded: Option<String>,
    /// Audit: the reason why it would be denied.
    #[serde(default)]
    would: Option<String>,
}

fn allow() -> Strictness {
    Strictness::Allow
}

fn target(host: &str) -> AccessTargetSpec {
    serde_yaml::from_str(&format!(
        "{{protocol: Postgres, host: {host}, port: 5432, credentialRef: {{name: c}}, postgres: {{databases: [app]}}}}"
    ))
    .unwrap()
}

const HOSTS: [(&str, &str); 2] = [("db", "db.prod.example.com"), ("other", "db.test.example.com")];

fn set_of(table: &Table) -> PolicySet {
    let named = |name: &String| match name.split_once('/') {
        Some((namespace, name)) => (namespace.to_owned(), name.to_owned()),
        None => ("agents".to_owned(), name.clone()),
    };
    let policies = table.policies.iter().map(|(key, spec)| {
        let (namespace, name) = named(key);
        Named { namespace, name, spec: spec.clone() }
    });
    let cluster = table.cluster.iter().map(|(name, spec)| Named {
        namespace: String::new(),
        name: name.clone(),
        spec: spec.clone(),
    });
    let targets = ["agents", "batch"].into_iter().flat_map(|namespace| {
        HOSTS.map(|(name, host)| Named { namespace: namespace.to_owned(), name: name.to_owned(), spec: target(host) })
    });
    compile(&Input { targets: targets.collect(), policies: policies.collect(), cluster: cluster.collect() }).unwrap()
}

fn access(text: &str) -> Access {
    let (text, indirect) = text.strip_suffix(" indirect").map_or((text, false), |rest| (rest, true));
    let (text, bounded) = match text.strip_suffix(" unbounded") {
        Some(rest) => (rest, Some(false)),
        None => match text.strip_suffix(" bounded") {
            Some(rest) => (rest, Some(true)),
            None => (text, None),
        },
    };
    let (text, fields) = match text.split_once(" (") {
        Some((rest, list)) => {
            let names = list.trim_end_matches(')').split(',').map(|n| n.trim().to_owned()).filter(|n| !n.is_empty());
            (rest, Fields::Named(names.collect::<BTreeSet<_>>()))
        }
        None => (text, Fields::All),
    };
    let mut words = text.splitn(3, ' ');
    let verb: Verb = serde_yaml::from_str(words.next().unwrap()).unwrap();
    let kind: ResourceKind = serde_yaml::from_str(words.next().unwrap()).unwrap();
    let path = words.next().map(|path| path.splitn(2, '.').map(str::to_owned).collect()).unwrap_or_default();
    Access { verb, resource: Resource { kind, path, fields }, bounded, indirect }
}

fn operation(row: &Row, set: &PolicySet) -> Operation {
    let target = row.target.as_deref().unwrap_or("db");
    let host = row.host.as_deref().or(HOSTS.iter().find(|(name, _)| *name == target).map(|(_, host)| *host));
    let host = host.filter(|h| *h != "unknown").map(|h| (Attribute::Host, h.to_owned()));
    Operation {
        protocol: Protocol::Postgres,
        action: row.action.clone(),
        accesses: row.on.split(" + ").filter(|t| !t.is_empty()).map(access).collect(),
        attributes: host.into_iter().collect(),
        certainty: row.opaque.clone().map_or(Certainty::Exact, Certainty::Opaque),
        payload: PayloadHash([1; 32]),
        digest: Digest([2; 32]),
        ceiling: row.ceiling,
        origin: if row.internal { Origin::Internal } else { Origin::Agent },
        planned: if row.stale { Revision([9; 32]) } else { set.revision() },
        display: Redacted::constant("-"),
    }
}

fn subject(row: &Row) -> Subject {
    let labels = row.labels.clone().unwrap_or_else(|| BTreeMap::from([("app".to_owned(), "bot".to_owned())]));
    let namespace = row.namespace.clone().unwrap_or_else(|| "agents".to_owned());
    let env = if namespace == "agents" { "prod" } else { "test" };
    Subject {
        namespace,
        service_account: row.account.clone().unwrap_or_else(|| "bot".to_owned()),
        labels,
        namespace_labels: BTreeMap::from([("env".to_owned(), env.to_owned())]),
        pod: None,
        pod_uid: None,
    }
}

fn reason(reason: &DenyReason) -> String {
    match reason {
        DenyReason::NotSelected => "NotSelected".to_owned(),
        DenyReason::NoRule(access) => format!("NoRule {access}"),
        DenyReason::Rule { id, message: None } => id.to_string(),
        DenyReason::Rule { id, message: Some(message) } => format!("{id}: {message}"),
        DenyReason::Unasked { id } => format!("{id}: it would have needed an approval"),
        DenyReason::DenyAll { policy } => format!("DenyAll {policy}"),
        DenyReason::Unbounded { id, .. } => format!("Unbounded {id}"),
        DenyReason::Ceiling(_) => "Ceiling".to_owned(),
        DenyReason::Opaque(why) => format!("Opaque {why}"),
        DenyReason::Stale => "Stale".to_owned(),
        DenyReason::Evaluation(_) => "Evaluation".to_owned(),
    }
}

fn ids(ids: &[RuleId]) -> Vec<String> {
    ids.iter().map(RuleId::to_string).collect()
}

/// What is wrong with the verdict, if anything is.
fn check(row: &Row, verdict: &Verdict) -> Result<(), String> {
    let same = |what: &str, got: &dyn std::fmt::Debug, want: &dyn std::fmt::Debug| {
        let (got, want) = (format!("{got:?}"), format!("{want:?}"));
        if got == want { Ok(()) } else { Err(format!("{what}: got {got}, want {want}")) }
    };
    same("decision", &verdict.decision.strictness(), &row.is).map_err(|e| format!("{e}\n{}", verdict.explain()))?;
    match &verdict.decision {
        Decision::Allow => {
            let matched: Vec<String> = verdict.why.matched.iter().map(|m| m.rule.to_string()).collect();
            // In audit mode nothing has to match.
            if row.would.is_none() && !matched.contains(&row.by) {
                return Err(format!("by: `{}` is not among {matched:?}", row.by));
            }
        }
        Decision::RequireApproval(terms) => {
            same("by", &ids(&terms.asked_by).join(" "), &row.by)?;
            if let Some(want) = &row.terms {
                let hold = terms.max_hold_in_transaction.map_or("never".to_owned(), |d| format!("{}s", d.as_secs()));
                let granted = terms.max_grant.map(|grant| format!(" {:?} {}s", terms.scope, grant.as_secs()));
                let granted = granted.unwrap_or_default();
                let got = format!(
                    "{}/{} {}s {}s {hold}{}{granted}",
                    terms.required_approvals,
                    terms.deny_threshold,
                    terms.pending_ttl.as_secs(),
                    terms.hold_for.as_secs(),
                    if terms.reason_required { " reason" } else { "" }
                );
                same("terms", &got, want)?;
            }
        }
        Decision::Deny(why) => same("by", &reason(why), &row.by)?,
    }
    same("would", &verdict.would_deny.as_ref().map(reason), &row.would)?;
    if let Some(want) = &row.max_rows {
        same("max_rows", &verdict.obligations.max_rows, &Some(want))?;
    }
    if let Some(want) = &row.masks {
        same("masks", &ids(&verdict.obligations.masks), want)?;
    }
    if let Some(want) = &row.recorded {
        let got = format!("{:?} {:?}", verdict.obligations.level, verdict.obligations.durability);
        same("recorded", &got, want)?;
    }
    Ok(())
}

#[test]
fn every_row_is_decided_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/decisions");
    let mut files: Vec<_> = std::fs::read_dir(folder).unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    let (mut rows, mut wrong) = (0, Vec::new());
    for file in files {
        let name = file.file_name().unwrap().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&file).unwrap();
        let table: Table = serde_yaml::from_str(&text).unwrap_or_else(|e| panic!("{name}: {e}"));
        let set = set_of(&table);
        for (at, row) in table.rows.iter().enumerate() {
            rows += 1;
            let subject = subject(row);
            let name_of_target = row.target.clone().unwrap_or_else(|| "db".to_owned());
            let key = TargetKey { namespace: subject.namespace.clone(), name: name_of_target };
            let verdict = decide(&set.view(&subject, &key), &operation(row, &set));
            if let Err(error) = check(row, &verdict) {
                wrong.push(format!("{name} row {at} ({} {}): {error}", row.action, row.on));
            }
        }
    }
    assert!(wrong.is_empty(), "{} of {rows} rows:\n{}", wrong.len(), wrong.join("\n"));
    assert!(rows >= ROWS_AT_LEAST, "only {rows} rows");
}
