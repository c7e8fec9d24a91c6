//! The message: for a chat, `text`; for a program, `agentaccess`. Pure.
//!
//! Agents and people write parts of it. Invariant: in `text`, what they wrote stands in a code span that it cannot leave:
//! no control or bidi character, no mention, no markup, no link, and no more than its share of characters. No link is
//! in it at all: who decides pastes a command, as the person they are to the cluster.

use crds::approval::{ApproverDecision, Decision, Notice};
use crds::policy::{Reason, Scope};
use policy::redact::Redacted;
use serde_json::{Value, json};

use super::fact::Fact;
use crate::approvals::written;

/// Of the structured part; it changes when a member changes its meaning.
const VERSION: u8 = 1;
/// Characters of what agents and people wrote, each.
const SHARE: usize = 256;
/// Policies, and approvers, that the text names; the structured part has all.
const NAMED: usize = 4;

/// The same for every try, so that who receives it twice can tell.
pub(super) fn id(fact: &Fact) -> String {
    format!("{}.{}", fact.request.uid, word(fact.notice))
}

pub(super) fn body(fact: &Fact) -> Result<Vec<u8>, serde_json::Error> {
    serde_json::to_vec(&json!({"text": text(fact), "agentaccess": structured(fact)}))
}

/// A word of ours.
pub(super) fn word(notice: Notice) -> &'static str {
    match notice {
        Notice::Requested => "requested",
        Notice::Approved => "approved",
        Notice::BreakGlass => "break-glass",
        Notice::Denied => "denied",
        Notice::Expired => "expired",
        Notice::Withdrawn => "withdrawn",
        Notice::Revoked => "revoked",
        Notice::Ended => "ended",
    }
}

fn structured(fact: &Fact) -> Value {
    let (request, tally) = (&fact.request, &fact.tally);
    let (spec, (namespace, name)) = (&request.spec, &request.id);
    let policies: Vec<Value> = spec
        .policy_refs
        .iter()
        .map(|policy| json!({"kind": policy.kind, "name": policy.name, "rule": policy.rule}))
        .collect();
    let decisions: Vec<Value> = tally
        .decisions
        .iter()
        .map(|one| {
            let reason = one.reason.as_deref().map(plain);
            json!({"user": plain(&one.user), "decision": one.decision, "reason": reason, "time": one.time})
        })
        .collect();
    let grant = tally.grant.as_ref().map(|grant| {
        let (from, until) = (written(grant.from), written(grant.until));
        json!({"scope": grant.scope, "notBefore": from, "notAfter": until, "breakGlass": grant.broken.is_some()})
    });
    json!({
        "version": VERSION,
        "id": id(fact),
        "event": word(fact.notice),
        "time": written(fact.at),
        "request": {"namespace": namespace, "name": name, "uid": request.uid, "deleted": fact.gone},
        "asker": {
            "namespace": spec.subject.namespace, "serviceAccount": spec.subject.service_account,
            "pod": spec.subject.pod, "podUID": spec.subject.pod_uid,
        },
        "target": {"name": spec.target.name, "host": spec.target.host, "port": spec.target.port},
        "protocol": spec.protocol,
        "action": plain(&spec.action.verb),
        "summary": plain(&spec.summary),
        "impact": spec.impact.as_ref().map(|impact| json!({
            "means": plain(&impact.means), "estimatedRows": impact.estimated_rows, "countedRows": impact.counted_rows,
            "more": impact.more, "rollbackAbove": impact.rollback_above,
        })),
        "policies": policies,
        "scope": spec.scope,
        "grants": spec.grant.as_ref().map(|grant| plain(&grant.means)),
        "requiredApprovals": spec.required_approvals,
        "approvals": tally.approvals,
        "expiresAt": spec.expires_at,
        "decisions": decisions,
        "grant": grant,
        "commands": commands(fact),
    })
}

fn text(fact: &Fact) -> String {
    let (request, tally) = (&fact.request, &fact.tally);
    let (spec, (namespace, name)) = (&request.spec, &request.id);
    let (request_is, agent) = (code(name), code(&format!("{namespace}/{}", spec.subject.service_account)));
    let mut lines = vec![headline(fact, &request_is, &agent)];
    let pod = spec.subject.pod.as_deref().map(|pod| format!(", pod {}", code(pod))).unwrap_or_default();
    lines.push(format!("Who: ServiceAccount {agent}{pod}"));
    lines.push(format!(
        "Where: target {}, {}",
        code(&spec.target.name),
        code(&format!("{}:{}", spec.target.host, spec.target.port))
    ));
    lines.push(format!("What: {} {}", code(&spec.action.verb), code(&spec.summary)));
    if let Some(impact) = &spec.impact {
        lines.push(format!("Impact: {}", code(&impact.means)));
    }
    match fact.notice {
        Notice::Requested => {
            lines.push(format!("Asked for by: {}", asking(fact)));
            let until = code(&spec.expires_at);
            lines.push(format!("Needs {} of you, until {until}{}", spec.required_approvals, reach(spec.scope)));
        }
        Notice::Approved | Notice::BreakGlass => {
            if let Some(grant) = &tally.grant {
                lines.push(format!("It counts until {}", code(&written(grant.until))));
            }
        }
        _ => {}
    }
    let commands = commands(fact);
    for (name, says) in [("show", "Read all of it"), ("approve", "Approve"), ("deny", "Deny"), ("revoke", "End it")] {
        if let Some(command) = commands.get(name).and_then(Value::as_str) {
            lines.push(format!("{says}:\n```\n{}\n```", share(command)));
        }
    }
    lines.join("\n")
}

fn headline(fact: &Fact, request: &str, agent: &str) -> String {
    let tally = &fact.tally;
    let last = |word: Decision| tally.decisions.iter().rev().find(|one| one.decision == word);
    let by = |decision: Option<&ApproverDecision>| match decision {
        Some(one) => {
            let why = one.reason.as_deref().map(|why| format!(", because {}", code(why))).unwrap_or_default();
            format!(" by {}{why}", code(&one.user))
        }
        None => String::new(),
    };
    match fact.notice {
        Notice::Requested => format!("Approval needed: {request} of {agent}"),
        Notice::Approved => {
            let people: Vec<String> = tally.approvers.iter().take(NAMED).map(|user| code(user)).collect();
            format!("Approved: {request} of {agent}, by {}", people.join(", "))
        }
        Notice::BreakGlass => format!("BREAK-GLASS: {request} of {agent}{}", by(last(Decision::BreakGlass))),
        Notice::Denied => format!("Denied: {request} of {agent}{}", by(last(Decision::Deny))),
        Notice::Expired => format!("Expired: {request} of {agent}; nobody decided or used it in time"),
        Notice::Withdrawn => format!("Withdrawn: {request} of {agent}; the agent gave it up"),
        Notice::Revoked => format!("Revoked: {request} of {agent}{}", by(last(Decision::Revoke))),
        Notice::Ended if fact.gone => format!("Ended early: {request} of {agent}; the request was deleted"),
        Notice::Ended => format!("Ended early: {request} of {agent}; its pod or Job has ended"),
    }
}

fn asking(fact: &Fact) -> String {
    let policies = &fact.request.spec.policy_refs;
    let named = policies.iter().take(NAMED).map(|policy| {
        let kind = if policy.kind == "ClusterAgentAccessPolicy" { "cluster policy" } else { "policy" };
        format!("{kind} {}, rule {}", code(&policy.name), code(&policy.rule))
    });
    let mut named: Vec<String> = named.collect();
    if policies.len() > NAMED {
        named.push("and others".to_owned());
    }
    named.join("; ")
}

fn reach(scope: Scope) -> &'static str {
    match scope {
        Scope::Once => "; for this one use",
        Scope::Session => "; for this connection, and not this statement alone",
        Scope::Duration => "; for this pod, and not this statement alone",
        Scope::Task => "; for the whole Job, and not this statement alone",
    }
}

/// To be pasted; only those that can still do something.
fn commands(fact: &Fact) -> Value {
    let (namespace, name) = &fact.request.id;
    let decide = |word: &str, reason: bool| {
        let reason = if reason { " agentaccess.dev/reason=\"WHY\"" } else { "" };
        format!("kubectl annotate areq {name} -n {namespace} agentaccess.dev/decision={word}{reason}")
    };
    let required = fact.request.spec.reason == Reason::Required;
    let show = format!("kubectl describe areq {name} -n {namespace}");
    match fact.notice {
        Notice::Requested => {
            json!({"show": show, "approve": decide("approve", required), "deny": decide("deny", required)})
        }
        Notice::Approved | Notice::BreakGlass => json!({"show": show, "revoke": decide("revoke", required)}),
        _ if fact.gone => json!({}),
        _ => json!({"show": show}),
    }
}

/// Nothing that cannot be seen, on one line.
fn plain(text: &str) -> String {
    let text = Redacted::danger_caller_redacted(text);
    text.as_str().replace('\n', "\\n").replace('\t', "\\t")
}

/// As much of it as it may have.
fn cut(text: &str) -> String {
    match text.char_indices().nth(SHARE) {
        Some((at, _)) => format!("{}…", text.get(..at).unwrap_or_default()),
        None => text.to_owned(),
    }
}

/// For the inside of code: nothing ends it, nothing is markup.
fn share(text: &str) -> String {
    let text = text.replace('`', "'").replace("://", "[:]//");
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn code(text: &str) -> String {
    let text = cut(&plain(text));
    if text.trim().is_empty() { "`-`".to_owned() } else { format!("`{}`", share(&text)) }
}

#[cfg(test)]
mod tests;
