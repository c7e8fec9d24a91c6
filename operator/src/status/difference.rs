//! From what is to be said and what the API server has to what is to be written. No IO; the time is given.
//!
//! Invariants: a condition's time moves only when its status does; a rule that was used once since the policy took this
//! form is never called unused again; conditions of other types are nobody's business here.

use std::collections::BTreeSet;

use crds::status::{ACCEPTED, Condition, ConditionStatus, PolicyStatus, RESOLVED_REFS};
use jiff::Timestamp;

use super::wanted::{Pods, Said, Wanted};
use crate::index::Told;

/// One write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    pub(super) status: PolicyStatus,
    pub(super) news: Vec<News>,
}

/// For an Event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct News {
    pub(super) warning: bool,
    /// The condition that turned.
    pub(super) of: &'static str,
    pub(super) message: String,
}

/// What is to be written, if anything is. `remembered` is what this replica wrote last of this very object: where
/// somebody else wrote over it, that counts. `used`: rules of the policy's current form that matched an operation.
pub(super) fn difference(
    wanted: &Wanted,
    told: &Told,
    remembered: Option<&PolicyStatus>,
    used: &BTreeSet<String>,
    now: Timestamp,
) -> Option<Difference> {
    let nothing = PolicyStatus::default();
    let there = told.status.as_ref().unwrap_or(&nothing);
    let before = remembered.unwrap_or(there);
    let now = written(now);
    let conditions: Vec<Condition> =
        wanted.said.iter().map(|said| condition(said, told.generation, before, &now)).collect();
    let mut status = PolicyStatus { observed_generation: Some(told.generation), conditions, ..before.clone() };
    if let Some(pods) = &wanted.pods {
        count(&mut status, pods, before, used, &now);
    }
    if same(&status, there) {
        return None;
    }
    let news = wanted.said.iter().filter_map(|said| news(said, before)).collect();
    Some(Difference { status, news })
}

/// As it stands in objects: RFC 3339 in UTC, to the second, as Kubernetes writes its own.
fn written(at: Timestamp) -> String {
    format!("{at:.0}")
}

fn condition(said: &Said, generation: i64, before: &PolicyStatus, now: &str) -> Condition {
    let since = of_type(before, said.type_).filter(|known| known.status == said.status);
    Condition {
        type_: said.type_.to_owned(),
        status: said.status,
        reason: said.reason.to_owned(),
        message: said.message.clone(),
        observed_generation: Some(generation),
        last_transition_time: since.map_or_else(|| now.to_owned(), |known| known.last_transition_time.clone()),
    }
}

fn count(status: &mut PolicyStatus, pods: &Pods, before: &PolicyStatus, used: &BTreeSet<String>, now: &str) {
    let same_form = pods.revision.is_some() && before.revision == pods.revision;
    let grew = pods.synced > if same_form { before.synced_pods } else { 0 };
    let followed = |name: &&String| !same_form || before.unused_rules.contains(name);
    (status.matched_pods, status.synced_pods) = (pods.matched, pods.synced);
    status.revision.clone_from(&pods.revision);
    if grew {
        status.last_sync_time = Some(now.to_owned());
    }
    let unused = pods.rules.iter().filter(followed).filter(|name| !used.contains(*name));
    status.unused_rules = unused.cloned().collect();
}

/// Whether the API server has it; what is not ours does not count.
fn same(status: &PolicyStatus, there: &PolicyStatus) -> bool {
    let ours = status.conditions.iter().all(|one| of_type(there, &one.type_) == Some(one));
    let rest = |status: &PolicyStatus| PolicyStatus { conditions: Vec::new(), ..status.clone() };
    ours && rest(status) == rest(there)
}

fn of_type<'a>(status: &'a PolicyStatus, type_: &str) -> Option<&'a Condition> {
    status.conditions.iter().find(|one| one.type_ == type_)
}

/// Only what people must see: that it does not count any more, or that it does again.
fn news(said: &Said, before: &PolicyStatus) -> Option<News> {
    if ![ACCEPTED, RESOLVED_REFS].contains(&said.type_) {
        return None;
    }
    let before = of_type(before, said.type_).map(|known| known.status);
    let warning = match (before, said.status) {
        (Some(ConditionStatus::False), ConditionStatus::True) => false,
        (None | Some(ConditionStatus::True | ConditionStatus::Unknown), ConditionStatus::False) => true,
        _ => return None,
    };
    Some(News { warning, of: said.type_, message: said.message.clone() })
}

#[cfg(test)]
mod tests;
