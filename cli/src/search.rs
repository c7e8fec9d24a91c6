//! `sessions search`: who did what, to which target, with which decision and approval, and when.

use std::ops::ControlFlow;

use anyhow::{Context as _, Result};
use archive::{Found, Query, RowKind};
use clap::{Args, ValueEnum};
use recording::entry::{ApprovalEvent, Decision};

use crate::exit::{self, Usage};
use crate::screen::{Screen, count};
use crate::source::{FromStore, unread};
use crate::when;

const LONG: &str = "Looks through the indexes of a store. A text matches where it is a part of what was recorded, \
whatever its case; several conditions all have to match. An answer proves nothing: `verify` does.

Exit status: 0 all of it was looked through; 1 a recording could not be, or the store fails. What was found is shown.";

/// Find operations and approvals in a store.
#[derive(Args)]
#[command(after_long_help = LONG)]
pub(crate) struct Search {
    #[command(flatten)]
    from: FromStore,
    /// Namespace, pod, its UID, service account, or who decided an approval.
    #[arg(long, value_name = "TEXT")]
    who: Option<String>,
    /// Action (SELECT) or resource (public.users).
    #[arg(long, value_name = "TEXT")]
    what: Option<String>,
    /// Target or database.
    #[arg(long, value_name = "TEXT")]
    target: Option<String>,
    #[arg(long, value_enum)]
    decision: Option<Chosen>,
    /// Name of an ApprovalRequest: its steps, and what it released.
    #[arg(long, value_name = "TEXT")]
    approval: Option<String>,
    /// Not before: a time (2026-11-21T08:00:00Z, 2026-11-21) or an age (2h).
    #[arg(long, value_name = "TIME")]
    since: Option<String>,
    /// Before this time.
    #[arg(long, value_name = "TIME")]
    until: Option<String>,
    /// Most that are shown.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    limit: u64,
    /// Also the operations of the sidecars themselves.
    #[arg(long)]
    internal: bool,
}

#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum Chosen {
    Allow,
    RequireApproval,
    Deny,
}

const HEADINGS: [&str; 9] =
    ["TIME", "RECORDING", "SESSION", "WHO", "TARGET", "DECISION", "ACTION", "RESOURCES", "APPROVAL"];

impl Search {
    pub(crate) fn run(self, screen: &mut Screen) -> Result<u8> {
        let Some(library) = self.from.library()? else {
            return Err(Usage("a search needs a store: give --store LOCATION".to_owned()).into());
        };
        let moment =
            |name: &'static str, text: &Option<String>| text.as_deref().map(when::moment).transpose().context(name);
        let query = Query {
            since: moment("--since", &self.since)?,
            until: moment("--until", &self.until)?,
            who: self.who.clone(),
            what: self.what.clone(),
            target: self.target.clone(),
            decision: self.decision.map(Chosen::decision),
            approval: self.approval.clone(),
            internal: self.internal,
        };
        let (mut rows, mut found, mut failed) = (Vec::new(), 0_u64, None);
        let mut each = |row: Found| {
            if found == self.limit {
                found = found.saturating_add(1);
                return ControlFlow::Break(());
            }
            found = found.saturating_add(1);
            if screen.json() {
                // Line by line, as they come.
                if let Err(error) = screen.say_json(&row) {
                    failed = Some(error);
                    return ControlFlow::Break(());
                }
            } else {
                rows.push(cells(&row));
            }
            ControlFlow::Continue(())
        };
        let named = self.from.named()?;
        let looked = library.search(named.as_ref(), &query, &mut each);
        if let Some(error) = failed {
            return Err(error);
        }
        if !screen.json() {
            match rows.is_empty() {
                false => screen.table(&HEADINGS, &rows)?,
                true if matches!(looked, Ok(None)) => screen.say("nothing was found")?,
                true => {}
            }
        }
        if found > self.limit {
            let shown = count(self.limit, "row", "rows");
            screen.remark(&format!("there is more: {shown} were shown, see --limit, or narrow the search"));
        }
        match (looked, named) {
            (Ok(None), _) => Ok(exit::DONE),
            (Ok(Some((id, error))), _) => {
                screen.remark(&format!("not all of the store was looked through: recording `{id}`: {error}"));
                Ok(exit::FAILED)
            }
            (Err(error), Some(id)) => Err(unread(&id, error)),
            (Err(error), None) => Err(error.into()),
        }
    }
}

impl Chosen {
    fn decision(self) -> Decision {
        match self {
            Self::Allow => Decision::Allow,
            Self::RequireApproval => Decision::RequireApproval,
            Self::Deny => Decision::Deny,
        }
    }
}

fn cells(found: &Found) -> Vec<String> {
    let row = &found.row;
    let none = || "-".to_owned();
    let decision = match (row.kind, row.decision) {
        (RowKind::Approval, _) => row.event.map_or("approval", step).to_owned(),
        (RowKind::Operation | RowKind::Refusal, Some(Decision::Allow)) => "Allow".to_owned(),
        (RowKind::Operation | RowKind::Refusal, Some(Decision::RequireApproval)) => "RequireApproval".to_owned(),
        (RowKind::Operation | RowKind::Refusal, Some(Decision::Deny)) => "Deny".to_owned(),
        (RowKind::Operation | RowKind::Refusal, None) => none(),
    };
    let who = match (&row.reviewer, &row.service_account) {
        (Some(reviewer), _) => reviewer.clone(),
        (None, Some(account)) => format!("{}/{account}", found.namespace),
        (None, None) => format!("{}/?", found.namespace),
    };
    let target = match (&row.target, &row.database) {
        (Some(target), Some(database)) => format!("{target}/{database}"),
        (Some(target), None) => target.clone(),
        (None, _) => none(),
    };
    vec![
        row.time.clone(),
        format!("{}/{}", found.namespace, found.pod_uid),
        row.session.clone().unwrap_or_else(none),
        who,
        target,
        decision,
        if row.action.is_empty() { none() } else { row.action.clone() },
        if row.resources.is_empty() { none() } else { row.resources.join("; ") },
        row.approval.clone().unwrap_or_else(none),
    ]
}

fn step(event: ApprovalEvent) -> &'static str {
    match event {
        ApprovalEvent::Requested => "requested",
        ApprovalEvent::Vote => "vote",
        ApprovalEvent::Granted => "granted",
        ApprovalEvent::Denied => "denied",
        ApprovalEvent::Expired => "expired",
        ApprovalEvent::Withdrawn => "withdrawn",
        ApprovalEvent::Consumed => "consumed",
    }
}
