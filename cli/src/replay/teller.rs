//! Entries in words and colours.
//!
//! An operation is a block that begins with its intent or refusal. What comes later (rows, outcome) stands below it, or,
//! when another operation came between, under a line that names it again.

use std::collections::BTreeMap;

use anyhow::Result;
use recording::entry::{
    Approval, ApprovalEvent, Body, Close, Decided, Decision, Intent, Line, Marker, Outcome, Refusal, Status, Vote,
};

use super::rows;
use super::story::Story;
use crate::screen::{Paint, Screen, count, indent, line};
use crate::when;

#[derive(Debug)]
pub(crate) struct Teller {
    session: String,
    internal: bool,
    /// Action of each operation that has no outcome yet; `true`: of our own.
    running: BTreeMap<String, (String, bool)>,
    /// Whose block the next line would continue.
    current: Option<String>,
    /// The last line told of an approval.
    in_approval: bool,
    totals: Totals,
}

#[derive(Debug, Default)]
struct Totals {
    operations: u64,
    refusals: u64,
    approvals: u64,
    rows: u64,
    closed: Option<Close>,
}

impl Teller {
    pub(crate) fn new(session: &str, internal: bool) -> Self {
        let (running, current) = (BTreeMap::new(), None);
        let totals = Totals::default();
        Self { session: session.to_owned(), internal, running, current, in_approval: false, totals }
    }

    pub(crate) fn header(&self, screen: &mut Screen, story: &Story) -> Result<()> {
        if screen.json() {
            return Ok(());
        }
        let title = format!("Session {}", line(&self.session));
        let title = screen.paint(&title, Paint::Strong);
        screen.say(&title)?;
        let mut field = |label: &str, value: String| screen.say(&format!("  {label:<10}{}", line(&value)));
        if let Some(open) = &story.open {
            let client = open.client.as_deref().map(|c| format!(", {c}")).unwrap_or_default();
            let tls = open.tls_downstream.as_deref().unwrap_or("no TLS");
            field("agent", format!("{}/{}{client}", open.subject.namespace, open.subject.service_account))?;
            field("from", format!("{}, proven by {}, {tls}", open.peer, open.client_auth))?;
            let target = &open.target;
            let place = format!("{} ({} at {}:{})", target.name, target.protocol, target.host, target.port);
            let database = target.database.as_deref().map(|d| format!(", database {d}")).unwrap_or_default();
            let user = target.user.as_deref().map(|u| format!(" as {u}")).unwrap_or_default();
            let tls = open.tls_upstream.as_deref().unwrap_or("none");
            field("target", format!("{place}{database}{user}, TLS {tls}"))?;
            field("policies", open.revision.clone())?;
        } else {
            field("opened", "before the oldest entry that is left".to_owned())?;
        }
        field("started", story.started.clone().unwrap_or_default())
    }

    /// Whether the entry is one to wait for.
    pub(crate) fn shows(&self, entry: &Line) -> bool {
        self.internal
            || match &entry.body {
                Body::Intent(intent) => !intent.decided.internal,
                Body::Refusal(refusal) => !refusal.decided.internal,
                Body::Data(_) | Body::Outcome(_) => !self.of(entry).is_some_and(|(_, internal)| *internal),
                Body::Header(_)
                | Body::Open(_)
                | Body::Close(_)
                | Body::Approval(_)
                | Body::Marker(_)
                | Body::Checkpoint(_) => true,
            }
    }

    pub(crate) fn tell(&mut self, screen: &mut Screen, entry: &Line) -> Result<()> {
        let shows = self.shows(entry);
        self.in_approval &= !shows || matches!(entry.body, Body::Approval(_));
        match &entry.body {
            Body::Intent(intent) => {
                let decided = &intent.decided;
                let op = entry.op.clone().unwrap_or_default();
                self.running.insert(op, (decided.action.clone(), decided.internal));
                if shows {
                    self.totals.operations += u64::from(!decided.internal);
                    self.totals.approvals += u64::from(intent.approval.is_some());
                    self.begin(screen, entry, decided)?;
                    say_intent(screen, intent)?;
                }
            }
            Body::Refusal(refusal) if shows => {
                self.totals.refusals += 1;
                self.begin(screen, entry, &refusal.decided)?;
                say_refusal(screen, refusal)?;
            }
            Body::Data(data) if shows => {
                let named = self.of(entry).is_none_or(|(action, _)| !action.starts_with("COPY"));
                self.go_on(screen, entry)?;
                screen.say(&indent(&rows::shown(data, named), "    "))?;
            }
            Body::Outcome(outcome) => {
                if shows {
                    self.totals.rows = self.totals.rows.saturating_add(outcome.rows.unwrap_or(0));
                    self.go_on(screen, entry)?;
                    let returns = self.of(entry).is_some_and(|(action, _)| returns_rows(action));
                    say_outcome(screen, outcome, returns)?;
                }
                self.running.remove(entry.op.as_deref().unwrap_or_default());
            }
            Body::Approval(approval) => self.approval(screen, entry, approval)?,
            Body::Marker(marker) => self.marker(screen, entry, marker)?,
            Body::Close(close) => {
                self.current = None;
                self.totals.closed = Some(close.clone());
            }
            Body::Header(_) | Body::Open(_) | Body::Checkpoint(_) | Body::Refusal(_) | Body::Data(_) => {}
        }
        Ok(())
    }

    pub(crate) fn summary(&self, screen: &mut Screen) -> Result<()> {
        if screen.json() {
            return Ok(());
        }
        let t = &self.totals;
        let mut parts = vec![count(t.operations, "operation", "operations"), format!("{} refused", t.refusals)];
        if t.approvals > 0 {
            parts.push(format!("{} by approval", t.approvals));
        }
        parts.push(count(t.rows, "row", "rows"));
        let end = match &t.closed {
            Some(close) => format!("closed after {}: {}", when::took(close.duration_us), line(&close.reason)),
            None => "not closed: it goes on, or the sidecar was killed".to_owned(),
        };
        screen.say("")?;
        let text = format!("{}; {end}", parts.join(", "));
        let text = screen.paint(&text, Paint::Strong);
        screen.say(&text)
    }

    fn of(&self, entry: &Line) -> Option<&(String, bool)> {
        self.running.get(entry.op.as_deref().unwrap_or_default())
    }

    fn begin(&mut self, screen: &mut Screen, entry: &Line, decided: &Decided) -> Result<()> {
        self.current.clone_from(&entry.op);
        screen.say("")?;
        let internal = if decided.internal { "  (of the sidecar itself)" } else { "" };
        let op = entry.op.as_deref().unwrap_or_default();
        let rest = format!("{}{internal}", line(op));
        let title = format!(
            "{}  {}  {}",
            screen.paint(clock(&entry.wall), Paint::Dim),
            screen.paint(&line(&decided.action), Paint::Strong),
            screen.paint(&rest, Paint::Dim)
        );
        screen.say(&title)?;
        match &decided.display {
            Some(statement) => screen.say(&format!("    {}", line(statement))),
            // Level Metadata: what it touches is all there is.
            None => decided.resources.iter().try_for_each(|r| screen.say(&format!("    {}", line(r)))),
        }
    }

    fn go_on(&mut self, screen: &mut Screen, entry: &Line) -> Result<()> {
        if self.current == entry.op {
            return Ok(());
        }
        self.current.clone_from(&entry.op);
        let action = self.of(entry).map_or("", |(action, _)| action);
        let text =
            format!("{}  {} {}", clock(&entry.wall), line(action), line(entry.op.as_deref().unwrap_or_default()));
        let text = screen.paint(&text, Paint::Dim);
        screen.say("")?;
        screen.say(&text)
    }

    fn approval(&mut self, screen: &mut Screen, entry: &Line, approval: &Approval) -> Result<()> {
        self.current = None;
        let name = line(&approval.name);
        let by = match (&approval.reviewer, approval.reviewer_uid) {
            (Some(name), Some(uid)) => format!(" by {} (uid {uid})", line(name)),
            (Some(name), None) => format!(" by {}", line(name)),
            (None, _) => String::new(),
        };
        let why = approval.reason.as_deref().map(|r| format!(": {}", line(r))).unwrap_or_default();
        let (paint, text) = match approval.event {
            ApprovalEvent::Requested => {
                (Paint::Waiting, format!("{name} requested, open until {}", clock(&approval.expires)))
            }
            ApprovalEvent::Vote => match approval.vote {
                Some(Vote::Deny) => (Paint::Bad, format!("{name} vote to deny{by}{why}")),
                Some(Vote::Approve) | None => (Paint::Good, format!("{name} vote to approve{by}{why}")),
            },
            ApprovalEvent::Granted => (Paint::Good, format!("{name} granted")),
            ApprovalEvent::Denied => (Paint::Bad, format!("{name} denied{by}")),
            ApprovalEvent::Expired => (Paint::Bad, format!("{name} expired")),
            ApprovalEvent::Withdrawn => (Paint::Dim, format!("{name} withdrawn")),
            ApprovalEvent::Consumed => (Paint::Good, format!("{name} used")),
        };
        let shared = match approval.shared_user && approval.event == ApprovalEvent::Vote {
            true => " (dangerSharedUser: the agent could have been the reviewer)",
            false => "",
        };
        if !self.in_approval || approval.event == ApprovalEvent::Requested {
            screen.say("")?;
        }
        self.in_approval = true;
        let time = screen.paint(clock(&entry.wall), Paint::Dim);
        let text = screen.paint(&format!("approval {text}{shared}"), paint);
        screen.say(&format!("{time}  {text}"))?;
        if let (Some(statement), ApprovalEvent::Requested) = (&approval.display, approval.event) {
            screen.say(&format!("    {}", line(statement)))?;
        }
        match &approval.impact {
            Some(impact) => screen.say(&format!("    impact: {}", line(&impact.means))),
            None => Ok(()),
        }
    }

    fn marker(&mut self, screen: &mut Screen, entry: &Line, marker: &Marker) -> Result<()> {
        self.current = None;
        let detail = marker.detail.as_deref().map(|d| format!(": {}", line(d))).unwrap_or_default();
        let count = marker.count.map(|n| format!(" ({n})")).unwrap_or_default();
        let what = entry.code.strip_prefix("MARKER_").unwrap_or(&entry.code).replace('_', " ").to_lowercase();
        let text = screen.paint(&format!("! {}{count}{detail}", line(&what)), Paint::Bad);
        screen.say("")?;
        screen.say(&format!("{}  {text}", screen.paint(clock(&entry.wall), Paint::Dim)))
    }
}

fn say_intent(screen: &mut Screen, intent: &Intent) -> Result<()> {
    let decided = &intent.decided;
    let rules = line(&decided.rules.join(", "));
    let text = match (&intent.approval, decided.decision) {
        (Some(approval), _) => format!("✓ approved as {} (rules that matched: {rules})", line(approval)),
        (None, Decision::Allow) => format!("✓ allowed by {rules}"),
        (None, Decision::RequireApproval | Decision::Deny) => format!("✓ passed by {rules}"),
    };
    let text = screen.paint(&text, Paint::Good);
    screen.say(&format!("  {text}"))?;
    if let Some(reason) = &decided.would_deny {
        let text =
            screen.paint(&format!("! audit mode: enforced, it would not pass: {}", line(reason)), Paint::Waiting);
        screen.say(&format!("  {text}"))?;
    }
    if !intent.obligations.is_empty() {
        screen.say(&format!("    under {}", line(&intent.obligations.join(", "))))?;
    }
    Ok(())
}

fn say_refusal(screen: &mut Screen, refusal: &Refusal) -> Result<()> {
    let code = refusal.sqlstate.as_deref().map(|c| format!(" {}", line(c))).unwrap_or_default();
    let text = screen.paint(&format!("✗ REFUSED{code}"), Paint::Bad);
    screen.say(&format!("  {text} ({})", line(&refusal.reason.replace('_', " "))))?;
    screen.say(&format!("    the agent was told: {}", line(&refusal.told)))?;
    if !refusal.decided.rules.is_empty() {
        screen.say(&format!("    rules that matched: {}", line(&refusal.decided.rules.join(", "))))?;
    }
    Ok(())
}

/// Whether no row at all is worth a word.
fn returns_rows(action: &str) -> bool {
    ["SELECT", "FETCH", "SHOW", "COPY TO"].contains(&action)
}

fn say_outcome(screen: &mut Screen, outcome: &Outcome, returns: bool) -> Result<()> {
    let (paint, word) = match outcome.status {
        Status::Ok => (Paint::Dim, "done".to_owned()),
        Status::Error => {
            let code = outcome.sqlstate.as_deref().unwrap_or("without a code");
            (Paint::Bad, format!("the target reported an error, {}", line(code)))
        }
        Status::Unknown => (Paint::Bad, "it was sent and what became of it is not known".to_owned()),
        Status::Interrupted => (Paint::Bad, "interrupted: it may have executed".to_owned()),
        Status::RolledBack => (Paint::Waiting, "rolled back".to_owned()),
        Status::Cancelled => (Paint::Waiting, "cancelled".to_owned()),
        Status::NotSent => (Paint::Waiting, "nothing of it was sent".to_owned()),
    };
    let mut parts = vec![word];
    parts.extend(outcome.rows.filter(|rows| returns || *rows > 0).map(|rows| count(rows, "row", "rows")));
    parts.extend(outcome.found.iter().map(|found| {
        let values = count(found.values, "value", "values");
        let what = line(&found.kind.replace('_', " "));
        format!("{values} found that look like {what}{}", if found.redacted { ", covered" } else { "" })
    }));
    parts.push(when::took(outcome.duration_us));
    let text = screen.paint(&format!("→ {}", parts.join(", ")), paint);
    screen.say(&format!("  {text}"))
}

/// `08:47:34.744` of an RFC 3339 text, or the whole of whatever else it is.
fn clock(wall: &str) -> &str {
    let time = wall.split_once('T').map_or(wall, |(_, time)| time);
    let time = time.strip_suffix('Z').unwrap_or(time);
    if time.bytes().all(|b| b.is_ascii_digit() || b == b':' || b == b'.') { time } else { "(no time)" }
}
