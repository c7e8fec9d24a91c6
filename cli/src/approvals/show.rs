//! One request, whole: what a person needs to decide, and the command to do it.

use anyhow::Result;
use crds::approval::{ApprovalRequest, Decision, Phase};
use crds::policy::Reason;

use super::{agent, named, phase, phase_word, statement};
use crate::screen::{Paint, Screen, count, indent, line};

/// `cluster`: it is one of a cluster.
pub(super) fn say(screen: &mut Screen, item: &ApprovalRequest, cluster: bool) -> Result<()> {
    let spec = &item.spec;
    let name = line(named(item));
    let field = |label: &str, value: &str| format!("  {label:<10}{value}");
    let title = format!("{}  {}", screen.paint(&name, Paint::Strong), phase_painted(screen, item));
    screen.say(&title)?;
    screen.say(&field("agent", &agent(item)))?;
    if let Some(pod) = &spec.subject.pod {
        screen.say(&field("pod", &line(pod)))?;
    }
    let target = format!("{} ({}:{}, {:?})", spec.target.name, spec.target.host, spec.target.port, spec.protocol);
    screen.say(&field("target", &line(&target)))?;
    screen.say(&field("action", &line(&spec.action.verb)))?;
    for (index, resource) in spec.action.resources.iter().enumerate() {
        screen.say(&field(if index == 0 { "touches" } else { "" }, &line(resource)))?;
    }
    for (index, policy) in spec.policy_refs.iter().enumerate() {
        let text = format!("{} {}, rule {}", policy.kind, policy.name, policy.rule);
        screen.say(&field(if index == 0 { "asked by" } else { "" }, &line(&text)))?;
    }
    let have = item.status.as_ref().map_or(0, |s| s.approvals);
    let reason = if spec.reason == Reason::Required { ", each with a reason" } else { "" };
    let number = |n: i32| u64::try_from(n).unwrap_or(0);
    let needs = count(number(spec.required_approvals), "approval", "approvals");
    let denials = count(number(spec.deny_threshold), "denial ends it", "denials end it");
    screen.say(&field("needs", &format!("{needs}{reason}, has {have}; {denials}")))?;
    screen.say(&field("expires", &line(&spec.expires_at)))?;
    if let Some(impact) = &spec.impact {
        screen.say(&field("impact", &line(&impact.means)))?;
    }
    if let Some(grant) = &spec.grant {
        screen.say(&field("grants", &line(&grant.means)))?;
    }
    if let Some(grant) = item.status.as_ref().and_then(|status| status.grant.as_ref()) {
        let broken = if grant.break_glass { ", by break-glass" } else { "" };
        screen.say(&field("counts", &line(&format!("until {}{broken}", grant.not_after))))?;
    }
    screen.say(&field("digest", &line(&spec.digest)))?;
    for (index, vote) in item.status.iter().flat_map(|s| &s.decisions).enumerate() {
        let why = vote.reason.as_deref().map(|r| format!(": {r}")).unwrap_or_default();
        let text = format!("{} {} by {}{why}", vote.time, voted(vote.decision), vote.user);
        screen.say(&field(if index == 0 { "votes" } else { "" }, &line(&text)))?;
    }
    // Parameters stand behind the statement, as the sidecar redacted them.
    screen.say("  statement")?;
    screen.say(&indent(&statement(item), "    "))?;
    if phase(item) == Phase::Pending {
        screen.say("")?;
        say_commands(screen, item, "  ", cluster)?;
    }
    Ok(())
}

/// One change, for `watch`: open requests with what is needed to decide, others in a line.
pub(super) fn say_change(screen: &mut Screen, item: &ApprovalRequest, cluster: bool) -> Result<()> {
    let name = screen.paint(&line(named(item)), Paint::Strong);
    let target = line(&item.spec.target.name);
    let by = item.status.iter().flat_map(|s| &s.decisions).next_back();
    let by = by.map(|vote| {
        let why = vote.reason.as_deref().map(|r| format!(" ({r})")).unwrap_or_default();
        line(&format!(", {} by {}{why}", voted(vote.decision), vote.user))
    });
    let have = item.status.as_ref().map_or(0, |s| s.approvals);
    let tally = format!("{have} of {}", item.spec.required_approvals);
    let phase_text = phase_painted(screen, item);
    let by = by.unwrap_or_default();
    screen.say(&format!("{name}  {phase_text}  {} on {target}, {tally}{by}", agent(item)))?;
    if phase(item) == Phase::Pending {
        screen.say(&indent(&statement(item), "    "))?;
        if let Some(impact) = &item.spec.impact {
            screen.say(&format!("  impact: {}", line(&impact.means)))?;
        }
        say_commands(screen, item, "  ", cluster)?;
    }
    Ok(())
}

fn say_commands(screen: &mut Screen, item: &ApprovalRequest, margin: &str, cluster: bool) -> Result<()> {
    let reason = if item.spec.reason == Reason::Required { " --reason '...'" } else { "" };
    let namespace = item.metadata.namespace.as_deref().filter(|_| cluster);
    let whose = namespace.map(|namespace| format!(" --namespace {}", line(namespace))).unwrap_or_default();
    let (program, name) = (screen.name().to_owned(), line(named(item)));
    screen.say(&format!("{margin}to approve: {program} approve {name}{whose}{reason}"))?;
    screen.say(&format!("{margin}to deny:    {program} deny {name}{whose}{reason}"))
}

fn voted(decision: Decision) -> &'static str {
    match decision {
        Decision::Approve => "approved",
        Decision::Deny => "denied",
        Decision::Revoke => "revoked",
        Decision::BreakGlass => "break-glass",
    }
}

fn phase_painted(screen: &Screen, item: &ApprovalRequest) -> String {
    let paint = match phase(item) {
        Phase::Pending => Paint::Waiting,
        Phase::Approved => Paint::Good,
        Phase::Denied | Phase::Revoked => Paint::Bad,
        Phase::Expired | Phase::Withdrawn => Paint::Dim,
    };
    screen.paint(&phase_word(item), paint)
}
