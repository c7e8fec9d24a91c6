//! What agents did, read from a recording and counted by what it touched.
//!
//! Refused: a recording that cannot be read to its end, since a policy made from a part would look like the whole.
//! Memory is bounded by [`MOST`] different operations, not by the length of the recording.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use anyhow::{Result, bail};
use jiff::Timestamp;
use policy::operation::{Access, Fields, Resource, ResourceKind, Verb};
use recording::Storage;
use recording::entry::{self, Body, Decided, Decision, Intent, Line, Open, Status, What};
use recording::reader::entries;
use serde::Deserialize as _;
use serde::de::value::{Error as ValueError, StrDeserializer};

use crate::screen::line;

/// Most different operations of all agents together; sessions and operations under way are held to it too.
const MOST: usize = 20_000;

/// Which operations are looked at; what is empty does not narrow.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) subject: Option<(String, String)>,
    pub(super) target: Option<String>,
    pub(super) sessions: Vec<String>,
    pub(super) since: Option<Timestamp>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Who {
    pub(super) namespace: String,
    pub(super) service_account: String,
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.service_account)
    }
}

/// Operations that are alike in all that a rule can see.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Shape {
    pub(super) target: String,
    pub(super) action: String,
    pub(super) accesses: Vec<Access>,
    /// A person had to approve it, or would have had to.
    pub(super) asked: bool,
    /// `policy/mask` of each mask on what it touched, those of cluster policies left out: they stay in force.
    pub(super) masks: BTreeSet<String>,
    /// The same of each detector.
    pub(super) detectors: BTreeSet<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) times: u64,
    /// Most rows of one operation, as far as outcomes tell.
    pub(super) most_rows: u64,
    /// The loosest limit that was in force, if each of them had one.
    pub(super) limit: Option<u64>,
}

/// Something for which no rule is made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Left {
    pub(super) why: String,
    pub(super) what: String,
}

/// All of one agent.
#[derive(Debug, Default)]
pub(super) struct Seen {
    pub(super) shapes: BTreeMap<Shape, Count>,
    pub(super) left: BTreeMap<Left, u64>,
    pub(super) sessions: BTreeSet<String>,
    /// Databases of each target.
    pub(super) databases: BTreeMap<String, BTreeSet<String>>,
    /// RFC 3339, of the first and the last operation.
    pub(super) from: String,
    pub(super) until: String,
}

struct Session {
    who: Who,
    target: String,
    database: Option<String>,
}

/// # Errors
/// When the recording is damaged, or holds more than this can keep in mind.
pub(super) fn read(storage: &dyn Storage, wanted: &Wanted) -> Result<All> {
    let mut reading = Reading { wanted, sessions: HashMap::new(), open: HashMap::new(), all: All::default() };
    for line in entries(storage)? {
        reading.take(line?)?;
    }
    Ok(reading.all)
}

#[derive(Debug, Default)]
pub(super) struct All {
    pub(super) subjects: BTreeMap<Who, Seen>,
    /// Operations of sessions whose beginning is not in the recording any more: nobody knows whose they were.
    pub(super) unknown: u64,
}

struct Reading<'a> {
    wanted: &'a Wanted,
    sessions: HashMap<String, Session>,
    /// Operations whose outcome is still to come.
    open: HashMap<(String, String), (Who, Shape)>,
    all: All,
}

impl Reading<'_> {
    fn take(&mut self, Line { session, op, body, wall, .. }: Line) -> Result<()> {
        if matches!(&body, Body::Marker(marker) if marker.what == What::Restart) {
            self.sessions.clear();
            self.open.clear();
        }
        let Some(session) = session else { return Ok(()) };
        match body {
            Body::Open(open) => self.opened(session, *open),
            Body::Close(_) => {
                self.sessions.remove(&session);
            }
            Body::Intent(intent) if !intent.decided.internal => {
                let key = (session, op.unwrap_or_default());
                self.operation(key, &intent, &wall);
            }
            Body::Refusal(refusal) if !refusal.decided.internal => {
                let why = match refusal.reason.as_str() {
                    "denied" => "it was denied".to_owned(),
                    other => format!("it was refused ({})", line(&other.replace('_', " "))),
                };
                let target = self.sessions.get(&session).map(|s| s.target.clone());
                let what = describe(&refusal.decided, target.as_deref());
                if let Some(seen) = self.of(&session, &wall) {
                    seen.leave(why, what, &wall);
                }
            }
            Body::Outcome(outcome) => {
                let Some((who, shape)) = self.open.remove(&(session, op.unwrap_or_default())) else { return Ok(()) };
                let count = self.all.subjects.get_mut(&who).and_then(|seen| seen.shapes.get_mut(&shape));
                if let Some(count) = count
                    && outcome.status == Status::Ok
                {
                    count.most_rows = count.most_rows.max(outcome.rows.unwrap_or(0));
                }
            }
            Body::Intent(_)
            | Body::Refusal(_)
            | Body::Header(_)
            | Body::Approval(_)
            | Body::Data(_)
            | Body::Marker(_)
            | Body::Checkpoint(_) => {}
        }
        let shapes: usize = self.all.subjects.values().map(|seen| seen.shapes.len() + seen.left.len()).sum();
        if shapes > MOST || self.sessions.len() > MOST || self.open.len() > MOST {
            bail!(
                "there are more than {MOST} different operations: narrow it with --session, --since, --target or --as"
            );
        }
        Ok(())
    }

    fn opened(&mut self, id: String, open: Open) {
        let Open { subject, target, .. } = open;
        let who = Who { namespace: subject.namespace, service_account: subject.service_account };
        self.sessions.insert(id, Session { who, target: target.name, database: target.database });
    }

    /// The agent of a session, if it is one that was asked for.
    fn of(&mut self, session: &str, wall: &str) -> Option<&mut Seen> {
        let wanted = self.wanted;
        let known = self.sessions.get(session)?;
        let since = wanted.since.is_none_or(|since| wall.parse::<Timestamp>().is_ok_and(|at| at >= since));
        let matches = since
            && (wanted.sessions.is_empty() || wanted.sessions.iter().any(|id| id == session))
            && wanted.target.as_ref().is_none_or(|target| *target == known.target)
            && wanted.subject.as_ref().is_none_or(|(namespace, account)| {
                *namespace == known.who.namespace && *account == known.who.service_account
            });
        matches.then(|| {
            let seen = self.all.subjects.entry(known.who.clone()).or_default();
            seen.sessions.insert(session.to_owned());
            let databases = seen.databases.entry(known.target.clone()).or_default();
            databases.extend(known.database.clone());
            seen
        })
    }

    fn operation(&mut self, key: (String, String), intent: &Intent, wall: &str) {
        let Some((who, target)) = self.sessions.get(&key.0).map(|s| (s.who.clone(), s.target.clone())) else {
            self.all.unknown += 1;
            return;
        };
        let Some(seen) = self.of(&key.0, wall) else { return };
        match shape(intent, &target) {
            Ok(shape) => {
                seen.count(shape.clone(), limit(&intent.obligations), wall);
                self.open.insert(key, (who, shape));
            }
            Err(why) => seen.leave(why, describe(&intent.decided, Some(&target)), wall),
        }
    }
}

impl Seen {
    fn at(&mut self, wall: &str) {
        if self.from.is_empty() {
            wall.clone_into(&mut self.from);
        }
        wall.clone_into(&mut self.until);
    }

    fn count(&mut self, shape: Shape, limit: Option<u64>, wall: &str) {
        self.at(wall);
        let count = self.shapes.entry(shape).or_insert(Count { limit: Some(0), ..Count::default() });
        count.times += 1;
        count.limit = count.limit.zip(limit).map(|(a, b)| a.max(b));
    }

    fn leave(&mut self, why: String, what: String, wall: &str) {
        self.at(wall);
        *self.left.entry(Left { why, what }).or_default() += 1;
    }
}

/// # Errors
/// Why nothing can be made of it.
fn shape(intent: &Intent, target: &str) -> Result<Shape, String> {
    let decided = &intent.decided;
    let unasked = match decided.would_deny_word.as_deref() {
        None if decided.would_deny.is_none() => false,
        Some("no_rule") => false,
        Some("unasked") => true,
        _ => {
            let why = decided.would_deny.as_deref().unwrap_or("unknown");
            return Err(format!("it passed in Audit mode only, and a rule speaks against it: {}", line(why)));
        }
    };
    let Some(recorded) = &decided.accesses else {
        return Err(
            "the recording does not hold what it touched as data: it is too much, or an older sidecar wrote it"
                .to_owned(),
        );
    };
    let accesses: Option<Vec<Access>> = recorded.iter().map(access).collect();
    let Some(mut accesses) = accesses else {
        return Err("it touches a kind of resource that this program does not know: use a newer one".to_owned());
    };
    accesses.sort();
    accesses.dedup();
    let duties = |prefix: &str| -> BTreeSet<String> {
        let of_kind = intent.obligations.iter().filter_map(|duty| duty.strip_prefix(prefix));
        of_kind.filter(|id| !id.starts_with("cluster:")).map(str::to_owned).collect()
    };
    let (masks, detectors) = (duties("mask:"), duties("detect:"));
    let known = |duty: &str| ["mask:", "detect:", "maxRows:"].iter().any(|prefix| duty.starts_with(prefix));
    if intent.obligations.iter().any(|duty| !known(duty)) {
        return Err("the recording does not hold all of its masks".to_owned());
    }
    let asked = unasked || decided.decision == Decision::RequireApproval || intent.approval.is_some();
    Ok(Shape { target: target.to_owned(), action: decided.action.clone(), accesses, asked, masks, detectors })
}

fn limit(obligations: &[String]) -> Option<u64> {
    obligations.iter().find_map(|duty| duty.strip_prefix("maxRows:")?.parse().ok())
}

fn access(recorded: &entry::Access) -> Option<Access> {
    let fields = match &recorded.fields {
        None => Fields::All,
        Some(names) => Fields::Named(names.iter().cloned().collect()),
    };
    Some(Access {
        verb: Verb::deserialize(StrDeserializer::<ValueError>::new(&recorded.verb)).ok()?,
        resource: Resource {
            kind: ResourceKind::deserialize(StrDeserializer::<ValueError>::new(&recorded.kind)).ok()?,
            path: recorded.path.clone(),
            fields,
        },
        bounded: recorded.bounded,
        indirect: recorded.indirect,
    })
}

/// For people; names may be long, so a few stand for all.
fn describe(decided: &Decided, target: Option<&str>) -> String {
    const SHOWN: usize = 3;
    let mut text = line(&decided.action);
    if let Some(target) = target {
        text.push_str(&format!(" at {}", line(target)));
    }
    let resources: Vec<String> = decided.resources.iter().take(SHOWN).map(|r| line(r)).collect();
    if !resources.is_empty() {
        text.push_str(&format!(": {}", resources.join(", ")));
    }
    match decided.resources.len().saturating_sub(SHOWN) {
        0 => text,
        more => format!("{text} and {more} more"),
    }
}
