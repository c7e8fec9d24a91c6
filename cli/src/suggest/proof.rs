//! The suggestion is put to the same `decide` as in the sidecar, with everything that it was made from.
//!
//! What is proven is the text that is printed, read back. Refused: a text that says anything else than was meant.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Result, bail};
use crds::manifest::{self, Manifest};
use crds::target::AccessTargetSpec;
use policy::operation::{
    Attribute, Attributes, Certainty, Digest, Operation, Origin, PayloadHash, Protocol, Strictness,
};
use policy::redact::Redacted;
use policy::subject::Subject;
use policy::verdict::Decision;
use policy::{Input, Named, TargetKey, compile, decide};

use super::groups::{Made, shown};
use super::seen::Who;
use super::spec::Suggested;
use crate::screen::count;

/// How many operations do what, and what differs from what was recorded.
#[derive(Debug, Default)]
pub(super) struct Proof {
    pub(super) pass: u64,
    pub(super) wait: u64,
    pub(super) remarks: Vec<String>,
}

/// # Errors
/// When the text is not the policies, or they do not compile: a fault of ours, or a name that no object may have.
pub(super) fn prove(
    body: &str,
    policies: &[Suggested],
    made: &Made,
    who: &Who,
    labels: &BTreeMap<String, String>,
) -> Result<Proof> {
    let read = manifest::parse(body, Path::new("the suggestion"), &who.namespace)
        .map_err(|errors| anyhow::anyhow!("what would be suggested is not a policy:\n{errors}"))?;
    let mut input = Input::default();
    for located in read {
        let Manifest::AgentAccessPolicy(object) = located.manifest else {
            bail!("what would be suggested is not a policy");
        };
        let (namespace, name) = (who.namespace.clone(), object.metadata.name.unwrap_or_default());
        input.policies.push(Named { namespace, name, spec: object.spec });
    }
    if !input.policies.iter().map(|named| &named.spec).eq(policies.iter().map(|policy| &policy.object.spec)) {
        bail!("what would be suggested reads back as something else: report this with the recording's names");
    }
    for target in made.rules.keys() {
        input.targets.push(Named { namespace: who.namespace.clone(), name: target.clone(), spec: any_target()? });
    }
    let set = compile(&input).map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        anyhow::anyhow!("what would be suggested does not compile: {}", lines.join("; "))
    })?;
    let subject = Subject {
        namespace: who.namespace.clone(),
        service_account: who.service_account.clone(),
        labels: labels.clone(),
        ..Subject::default()
    };
    let mut proof = Proof::default();
    for (shape, times) in &made.used {
        let key = TargetKey { namespace: who.namespace.clone(), name: shape.target.clone() };
        let view = set.view(&subject, &key);
        let operation = Operation {
            protocol: Protocol::Postgres,
            action: shape.action.clone(),
            accesses: shape.accesses.clone(),
            attributes: Attributes::from([(Attribute::Transaction, "idle".to_owned())]),
            certainty: Certainty::Exact,
            payload: PayloadHash([0; 32]),
            digest: Digest([0; 32]),
            // Not recorded. What a person approved may be of a kind that Allow rules do not reach.
            ceiling: if shape.asked { Strictness::RequireApproval } else { Strictness::Allow },
            origin: Origin::Agent,
            planned: view.revision(),
            display: Redacted::default(),
        };
        let number = count(times.times, "time", "times");
        match decide(&view, &operation).decision {
            Decision::Allow => proof.pass = proof.pass.saturating_add(times.times),
            Decision::RequireApproval(_) => {
                proof.wait = proof.wait.saturating_add(times.times);
                if !shape.asked {
                    let text = format!("{} ({number}) waits for approval now: it passed without one", shown(shape));
                    proof.remarks.push(text);
                }
            }
            Decision::Deny(reason) => {
                proof.remarks.push(format!("{} ({number}) is denied: {}", shown(shape), reason.message()));
            }
        }
    }
    Ok(proof)
}

/// Rules of a namespace do not look at the target beyond its name.
fn any_target() -> Result<AccessTargetSpec> {
    let spec = serde_json::json!({
        "protocol": "Postgres", "host": "localhost", "port": 5432,
        "credentialRef": {"name": "any"}, "postgres": {"databases": ["any"]},
    });
    Ok(serde_json::from_value(spec)?)
}
