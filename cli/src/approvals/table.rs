//! Requests as a table.

use anyhow::Result;
use crds::approval::ApprovalRequest;
use jiff::Timestamp;

use super::{named, phase_word};
use crate::screen::Screen;
use crate::when;

const HEADINGS: [&str; 9] = ["NAME", "AGENT", "TARGET", "ACTION", "NEEDS", "HAVE", "PHASE", "EXPIRES", "AGE"];

/// `namespaces`: they are of several.
pub(super) fn say(screen: &mut Screen, items: &[ApprovalRequest], namespaces: bool) -> Result<()> {
    let now = Timestamp::now();
    let mut headings = HEADINGS.to_vec();
    let mut rows: Vec<Vec<String>> = items.iter().map(|item| row(item, now)).collect();
    if namespaces {
        headings.insert(0, "NAMESPACE");
        for (row, item) in rows.iter_mut().zip(items) {
            row.insert(0, item.metadata.namespace.clone().unwrap_or_default());
        }
    }
    screen.table(&headings, &rows)
}

fn row(item: &ApprovalRequest, now: Timestamp) -> Vec<String> {
    let spec = &item.spec;
    let created = item.metadata.creation_timestamp.as_ref().map(|t| t.0);
    vec![
        named(item).to_owned(),
        spec.subject.pod.clone().unwrap_or_else(|| spec.subject.service_account.clone()),
        format!("{}:{}", spec.target.name, spec.target.port),
        action(item),
        spec.required_approvals.to_string(),
        item.status.as_ref().map_or(0, |s| s.approvals).to_string(),
        phase_word(item),
        spec.expires_at.clone(),
        created.map_or_else(|| "-".to_owned(), |at| when::age(now.as_second() - at.as_second())),
    ]
}

/// The verb and the last name of what it is done to: `UPDATE orders`.
fn action(item: &ApprovalRequest) -> String {
    let action = &item.spec.action;
    let path = action.resources.last().and_then(|r| r.split_whitespace().nth(1)).unwrap_or_default();
    let name = path.rsplit('.').next().unwrap_or_default();
    format!("{} {name}", action.verb).trim_end().to_owned()
}
