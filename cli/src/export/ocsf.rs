//! OCSF 1.7: Datastore Activity for what was sent to a target, Detection Finding for what was refused.
//!
//! An operation is told when its outcome is known, at the time of its intent; one without an outcome at the end. What
//! OCSF has no word for stands under `unmapped`.

use std::collections::BTreeMap;

use jiff::Timestamp;
use recording::Line;
use recording::entry::{Body, Decided, Decision, Intent, Open, Outcome, Refusal, Status};
use serde_json::{Map, Value, json};

const SCHEMA: &str = "1.7.0";
const CATEGORY_APPLICATION: u64 = 6;
const CATEGORY_FINDINGS: u64 = 2;
const DATASTORE_ACTIVITY: u64 = 6005;
const DETECTION_FINDING: u64 = 2004;
const INFORMATIONAL: u64 = 1;
const MEDIUM: u64 = 3;
const ALLOWED: u64 = 1;
const DENIED: u64 = 2;
const BLOCKED: u64 = 2;
const APPROVED: u64 = 8;
/// Most operations that wait for their outcome; a sidecar has no more under way.
const MAX_WAITING: usize = 10_000;

/// Session and operation.
type Key = (Option<String>, Option<String>);

#[derive(Debug)]
pub(super) struct Events {
    internal: bool,
    sessions: BTreeMap<String, Open>,
    /// By the place of the intent, so that what is left at the end comes in order.
    waiting: BTreeMap<u64, (Key, Line)>,
}

impl Events {
    pub(super) fn new(internal: bool) -> Self {
        Self { internal, sessions: BTreeMap::new(), waiting: BTreeMap::new() }
    }

    /// What there is to say with this entry.
    pub(super) fn entry(&mut self, line: Line) -> Vec<Value> {
        let key = (line.session.clone(), line.op.clone());
        match &line.body {
            Body::Open(open) => {
                let event = self.connected(&line, open);
                self.sessions.extend(line.session.clone().map(|session| (session, (**open).clone())));
                vec![event]
            }
            Body::Close(_) => {
                line.session.as_ref().map(|session| self.sessions.remove(session));
                Vec::new()
            }
            Body::Intent(intent) if self.internal || !intent.decided.internal => {
                self.waiting.insert(line.seq, (key, line));
                let full = self.waiting.len() > MAX_WAITING;
                let oldest = full.then(|| self.waiting.pop_first()).flatten();
                oldest.into_iter().filter_map(|(_, (_, intent))| self.sent(&intent, None)).collect()
            }
            Body::Outcome(outcome) => {
                let intent = self.waiting.iter().find(|(_, (waits, _))| *waits == key).map(|(seq, _)| *seq);
                let intent = intent.and_then(|seq| self.waiting.remove(&seq));
                intent.and_then(|(_, intent)| self.sent(&intent, Some(outcome))).into_iter().collect()
            }
            Body::Refusal(refusal) if self.internal || !refusal.decided.internal => vec![self.refused(&line, refusal)],
            Body::Header(_)
            | Body::Intent(_)
            | Body::Refusal(_)
            | Body::Approval(_)
            | Body::Data(_)
            | Body::Marker(_)
            | Body::Checkpoint(_) => Vec::new(),
        }
    }

    /// Operations of which no outcome was recorded.
    pub(super) fn end(mut self) -> Vec<Value> {
        let left = std::mem::take(&mut self.waiting);
        left.into_values().filter_map(|(_, intent)| self.sent(&intent, None)).collect()
    }

    fn connected(&self, line: &Line, open: &Open) -> Value {
        let mut event = base(line, DATASTORE_ACTIVITY, CATEGORY_APPLICATION, 3, INFORMATIONAL);
        add(&mut event, &whose(line, Some(open)));
        event.insert("activity_name".into(), "Connect".into());
        event.insert("action_id".into(), ALLOWED.into());
        event.insert("status_id".into(), 1.into());
        event.insert("message".into(), format!("session opened to {}", open.target.name).into());
        Value::Object(event)
    }

    fn sent(&self, line: &Line, outcome: Option<&Outcome>) -> Option<Value> {
        let Body::Intent(intent) = &line.body else { return None };
        let decided = &intent.decided;
        let (activity, name) = activity(&decided.action);
        let mut event = base(line, DATASTORE_ACTIVITY, CATEGORY_APPLICATION, activity, INFORMATIONAL);
        add(&mut event, &whose(line, self.open(line)));
        add(&mut event, &asked(line, decided));
        event.insert("activity_name".into(), name.into());
        event.insert("action_id".into(), ALLOWED.into());
        let disposition = if intent.approval.is_some() { APPROVED } else { ALLOWED };
        event.insert("disposition_id".into(), disposition.into());
        add(&mut event, &became(outcome));
        event.insert("message".into(), message(decided).into());
        event.insert("unmapped".into(), unmapped(decided, Some(intent), outcome));
        Some(Value::Object(event))
    }

    fn refused(&self, line: &Line, refusal: &Refusal) -> Value {
        let decided = &refusal.decided;
        let mut event = base(line, DETECTION_FINDING, CATEGORY_FINDINGS, 1, MEDIUM);
        let open = self.open(line);
        let mut evidence = whose(line, open);
        evidence.remove("type_id");
        // The one place that a finding has for a statement.
        let mut data = json!({"told": refusal.told});
        if let (Some(display), Value::Object(data)) = (&decided.display, &mut data) {
            data.insert("statement".into(), display.clone().into());
        }
        evidence.insert("data".into(), data);
        event.insert("activity_name".into(), "Create".into());
        event.insert("status_id".into(), 1.into());
        event.insert("action_id".into(), DENIED.into());
        event.insert("disposition_id".into(), BLOCKED.into());
        event.insert("is_alert".into(), true.into());
        let uid = format!("{}/{}", line.session.as_deref().unwrap_or("-"), line.op.as_deref().unwrap_or("-"));
        let when = time(&line.wall);
        event.insert(
            "finding_info".into(),
            json!({
                "uid": uid,
                "title": format!("{} refused", decided.action),
                "desc": refusal.reason,
                "created_time": when,
                "types": ["Policy violation"],
            }),
        );
        event.insert("evidences".into(), json!([evidence]));
        if !decided.resources.is_empty() {
            let resources: Vec<Value> = decided.resources.iter().map(|name| json!({"name": name})).collect();
            event.insert("resources".into(), resources.into());
        }
        if let Some(code) = &refusal.sqlstate {
            event.insert("status_code".into(), code.clone().into());
        }
        event.insert("status_detail".into(), refusal.reason.clone().into());
        event.insert("message".into(), message(decided).into());
        event.insert("unmapped".into(), unmapped(decided, None, None));
        Value::Object(event)
    }

    fn open(&self, line: &Line) -> Option<&Open> {
        line.session.as_ref().and_then(|session| self.sessions.get(session))
    }
}

fn base(line: &Line, class: u64, category: u64, activity: u64, severity: u64) -> Map<String, Value> {
    let mut event = Map::new();
    event.insert("class_uid".into(), class.into());
    event.insert("category_uid".into(), category.into());
    event.insert("activity_id".into(), activity.into());
    event.insert("type_uid".into(), class.saturating_mul(100).saturating_add(activity).into());
    event.insert("severity_id".into(), severity.into());
    event.insert("time".into(), time(&line.wall).into());
    event.insert(
        "metadata".into(),
        json!({
            "version": SCHEMA,
            "profiles": ["security_control"],
            "product": {"name": "agentaccess", "vendor_name": "agentaccess"},
            "uid": format!("{}", line.seq),
            "sequence": line.seq,
            "correlation_uid": line.session,
            "original_time": line.wall,
        }),
    );
    if line.session.is_none()
        && let Some(Value::Object(metadata)) = event.get_mut("metadata")
    {
        metadata.remove("correlation_uid");
    }
    event
}

/// Agent and target.
fn whose(line: &Line, open: Option<&Open>) -> Map<String, Value> {
    let mut fields = Map::new();
    let account = open.map_or("unknown", |open| open.subject.service_account.as_str());
    let namespace = open.map_or("unknown", |open| open.subject.namespace.as_str());
    let mut actor = json!({
        "user": {"name": account, "uid": format!("system:serviceaccount:{namespace}:{account}"), "type_id": 4},
    });
    if let (Some(session), Value::Object(actor)) = (&line.session, &mut actor) {
        actor.insert("session".into(), json!({"uid": session}));
        if let Some(client) = open.and_then(|open| open.client.as_ref()) {
            actor.insert("app_name".into(), client.clone().into());
        }
    }
    fields.insert("actor".into(), actor);
    let pod = open.and_then(|open| open.subject.pod.clone());
    let uid = open.and_then(|open| open.subject.pod_uid.clone());
    let name = pod.or_else(|| open.map(|open| open.peer.clone()).filter(|peer| !peer.is_empty()));
    let mut source = json!({"name": name.unwrap_or_else(|| "unknown".to_owned())});
    if let (Some(uid), Value::Object(source)) = (uid, &mut source) {
        source.insert("uid".into(), uid.into());
    }
    fields.insert("src_endpoint".into(), source);
    let target = open.map(|open| &open.target);
    if let Some(target) = target {
        fields.insert(
            "dst_endpoint".into(),
            json!({"hostname": target.host, "port": target.port, "svc_name": target.name}),
        );
    }
    // A database of a kind that holds relations; where its name is not known, the target's.
    let database = target.map(|target| target.database.clone().unwrap_or_else(|| target.name.clone()));
    let database = database.filter(|name| !name.is_empty()).unwrap_or_else(|| "unknown".to_owned());
    fields.insert("database".into(), json!({"name": database, "type_id": 1}));
    fields.insert("type_id".into(), 1.into());
    fields
}

fn asked(line: &Line, decided: &Decided) -> Map<String, Value> {
    let mut fields = Map::new();
    if let Some(display) = &decided.display {
        let mut query = json!({"query_string": display, "name": decided.action});
        if let (Some(op), Value::Object(query)) = (&line.op, &mut query) {
            query.insert("uid".into(), op.clone().into());
        }
        fields.insert("query_info".into(), query);
    }
    fields
}

fn became(outcome: Option<&Outcome>) -> Map<String, Value> {
    let mut fields = Map::new();
    let Some(outcome) = outcome else {
        fields.insert("status_id".into(), 0.into());
        fields.insert("status".into(), "Unknown".into());
        return fields;
    };
    let (id, name) = match outcome.status {
        Status::Ok => (1, "Success"),
        Status::Error => (2, "Failure"),
        Status::Unknown | Status::Interrupted => (0, "Unknown"),
        Status::RolledBack => (99, "Rolled back"),
        Status::Cancelled => (99, "Cancelled"),
        Status::NotSent => (99, "Not sent"),
    };
    fields.insert("status_id".into(), id.into());
    fields.insert("status".into(), name.into());
    fields.insert("duration".into(), (outcome.duration_us / 1_000).into());
    if let Some(code) = &outcome.sqlstate {
        fields.insert("status_code".into(), code.clone().into());
    }
    fields
}

fn unmapped(decided: &Decided, intent: Option<&Intent>, outcome: Option<&Outcome>) -> Value {
    let decision = match decided.decision {
        Decision::Allow => "Allow",
        Decision::RequireApproval => "RequireApproval",
        Decision::Deny => "Deny",
    };
    let mut fields = Map::new();
    fields.insert("action".into(), decided.action.clone().into());
    fields.insert("decision".into(), decision.into());
    fields.insert("digest".into(), decided.digest.clone().into());
    fields.insert("protocol".into(), decided.protocol.clone().into());
    fields.insert("resources".into(), decided.resources.clone().into());
    fields.insert("revision".into(), decided.revision.clone().into());
    fields.insert("rules".into(), decided.rules.clone().into());
    fields.extend(decided.would_deny.clone().map(|why| ("would_deny".to_owned(), why.into())));
    if let Some(intent) = intent {
        fields.extend(intent.approval.clone().map(|name| ("approval".to_owned(), name.into())));
        if !intent.obligations.is_empty() {
            fields.insert("obligations".into(), intent.obligations.clone().into());
        }
    }
    fields.extend(outcome.and_then(|outcome| outcome.rows).map(|rows| ("rows".to_owned(), rows.into())));
    if let Some(found) = outcome.map(|outcome| &outcome.found).filter(|found| !found.is_empty()) {
        fields.insert("found".into(), json!(found));
    }
    Value::Object(fields)
}

/// The closest word for what a statement does; what has none is told by its own.
fn activity(action: &str) -> (u64, &str) {
    match action.split_whitespace().next().unwrap_or_default() {
        "SELECT" | "FETCH" | "VALUES" | "TABLE" => (4, "Query"),
        "INSERT" => (5, "Write"),
        "UPDATE" | "MERGE" | "ALTER" => (2, "Update"),
        "DELETE" | "TRUNCATE" | "DROP" => (7, "Delete"),
        "CREATE" => (6, "Create"),
        "" => (0, "Unknown"),
        _ => (99, action),
    }
}

fn message(decided: &Decided) -> String {
    match decided.resources.as_slice() {
        [] => decided.action.clone(),
        resources => format!("{}: {}", decided.action, resources.join("; ")),
    }
}

/// Milliseconds since 1970, as OCSF counts.
fn time(wall: &str) -> i64 {
    wall.parse::<Timestamp>().map_or(0, Timestamp::as_millisecond)
}

fn add(to: &mut Map<String, Value>, fields: &Map<String, Value>) {
    to.extend(fields.iter().map(|(name, value)| (name.clone(), value.clone())));
}
