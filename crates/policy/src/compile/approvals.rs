//! Named approval settings.

use std::collections::BTreeMap;
use std::time::Duration;

use crds::duration::DurationText;
use crds::limits;
use crds::policy::{Action, ApprovalSettings, Preview, Reason, Scope};

use crate::compile::check;
use crate::compile::report::{Report, shown};
use crate::rule::Terms;
use crate::verdict::Preview as Shown;

const LONGEST_TTL: Duration = Duration::from_secs(24 * 60 * 60);
const LONGEST_GRANT: Duration = Duration::from_secs(24 * 60 * 60);
const LONGEST_HOLD_IN_TRANSACTION: Duration = Duration::from_secs(30);

pub(super) fn compile(list: &[ApprovalSettings], report: &mut Report) -> BTreeMap<String, Terms> {
    let path = "spec.approvals";
    check::at_most(report, path, list, limits::APPROVALS);
    check::distinct_names(report, path, list.iter().map(|a| a.name.as_str()));
    let terms = list.iter().enumerate().map(|(at, settings)| terms(settings, &format!("{path}[{at}]"), report));
    terms.map(|t| (t.name.clone(), t)).collect()
}

fn terms(settings: &ApprovalSettings, path: &str, report: &mut Report) -> Terms {
    let at = path.to_owned();
    check::label(report, &format!("{path}.name"), &settings.name);
    let required_approvals = count(report, &format!("{path}.requiredApprovals"), settings.required_approvals);
    let deny_threshold = count(report, &format!("{path}.denyThreshold"), settings.deny_threshold);
    let pending_ttl = duration(report, &format!("{path}.pendingTTL"), &settings.pending_ttl);
    let hold_for = duration(report, &format!("{path}.holdFor"), &settings.hold_for);
    if pending_ttl > LONGEST_TTL {
        let text = format!("`{}` is longer than 24h", shown(settings.pending_ttl.as_str()));
        report.error(&format!("{path}.pendingTTL"), &text);
    }
    if hold_for > pending_ttl {
        let (hold, ttl) = (shown(settings.hold_for.as_str()), shown(settings.pending_ttl.as_str()));
        let text = format!("`{hold}` is longer than pendingTTL `{ttl}`: a connection cannot wait for what has expired");
        report.error(&format!("{path}.holdFor"), &text);
    }
    let max_hold_in_transaction = settings.in_transaction.as_ref().map(|settings| {
        let path = format!("{path}.inTransaction.maxHold");
        let hold = duration(report, &path, &settings.max_hold);
        if hold > LONGEST_HOLD_IN_TRANSACTION {
            let text = shown(settings.max_hold.as_str());
            report
                .error(&path, &format!("`{text}` is longer than 30s: other sessions wait on the transaction's locks"));
        }
        hold
    });
    let path = format!("{path}.maxGrantDuration");
    let max_grant = settings.max_grant_duration.as_ref().map(|text| (duration(report, &path, text), text));
    match (settings.scope, max_grant) {
        (Scope::Once, Some(_)) => {
            report.error(&path, "has no meaning: an approval of scope Once is used up by the operation that asked");
        }
        (Scope::Session | Scope::Duration | Scope::Task, None) => {
            let text = "is missing: an approval of scope Session, Duration or Task has an end, for example `30m`";
            report.error(&path, text);
        }
        (_, Some((grant, text))) if grant > LONGEST_GRANT => {
            report.error(&path, &format!("`{}` is longer than 24h", shown(text.as_str())));
        }
        (_, Some(_) | None) => {}
    }
    Terms {
        name: settings.name.clone(),
        required_approvals,
        deny_threshold,
        scope: settings.scope,
        max_grant: max_grant.map(|(grant, _)| grant),
        pending_ttl,
        hold_for,
        reason_required: settings.reason == Reason::Required,
        max_hold_in_transaction,
        preview: preview(settings, &at, report),
    }
}

/// The redacted statement is shown whatever stands here.
fn preview(settings: &ApprovalSettings, path: &str, report: &mut Report) -> Shown {
    let path = format!("{path}.preview");
    let wanted = &settings.preview;
    check::at_most(report, &path, wanted, limits::PREVIEWS);
    if (1..wanted.len()).any(|at| wanted.get(at).is_some_and(|one| wanted.iter().take(at).any(|two| one == two))) {
        report.error(&path, "names the same preview twice");
    }
    Shown { explain: wanted.contains(&Preview::Explain), count: wanted.contains(&Preview::Count) }
}

fn count(report: &mut Report, path: &str, value: i32) -> u8 {
    if !(1..=limits::QUORUM).contains(&value) {
        report.error(path, &format!("{value} is out of range: give 1 to {}", limits::QUORUM));
    }
    u8::try_from(value).unwrap_or(u8::MAX)
}

fn duration(report: &mut Report, path: &str, text: &DurationText) -> Duration {
    text.to_std().unwrap_or_else(|error| {
        report.error(path, &error.to_string());
        Duration::ZERO
    })
}

/// The settings that a rule refers to; `approval` stands if and only if the rule asks.
pub(super) fn referred(
    action: Action,
    approval: Option<&str>,
    approvals: &BTreeMap<String, Terms>,
    path: &str,
    report: &mut Report,
) -> Option<Terms> {
    match (action, approval) {
        (Action::RequireApproval, Some(name)) => {
            let terms = approvals.get(name).cloned();
            if terms.is_none() {
                report.error(path, &format!("`{}` names no entry of spec.approvals", shown(name)));
            }
            terms
        }
        (Action::RequireApproval, None) => {
            report.error(path, "is missing: a RequireApproval rule names an entry of spec.approvals");
            None
        }
        (Action::Allow | Action::Deny, Some(_)) => {
            report.error(path, "has no meaning: only a RequireApproval rule has one");
            None
        }
        (Action::Allow | Action::Deny, None) => None,
    }
}
