//! What a question's grant would cover, read from it and said in a sentence: pure.
//!
//! Refused: a cover that no sidecar of ours makes.

use control::v1;
use crds::approval::{Cover, CoveredUse, JobRef};
use crds::policy::Scope;
use policy::cover::{fits, words};

use super::asker::Asker;

/// `Ok(None)`: the operation can be approved once and no more.
pub(super) fn read(question: &v1::Question) -> Result<Option<Cover>, &'static str> {
    let Some(cover) = &question.cover else { return Ok(None) };
    let uses = cover.uses.iter().map(|used| CoveredUse {
        verb: used.verb.clone(),
        kind: used.kind.clone(),
        path: used.path.clone(),
        columns: (!used.all_columns).then(|| used.columns.clone()),
        bounded: used.bounded,
        indirect: used.indirect,
    });
    let cover = Cover { action: question.action.clone(), database: cover.database.clone(), uses: uses.collect() };
    if fits(&cover) { Ok(Some(cover)) } else { Err("cover is not one that can be granted") }
}

pub(super) fn scope(scope: i32) -> Option<Scope> {
    Some(match v1::Scope::try_from(scope).ok()? {
        v1::Scope::Once => Scope::Once,
        v1::Scope::Session => Scope::Session,
        v1::Scope::Duration => Scope::Duration,
        v1::Scope::Task => Scope::Task,
    })
}

pub(super) fn said(scope: Scope) -> v1::Scope {
    match scope {
        Scope::Once => v1::Scope::Once,
        Scope::Session => v1::Scope::Session,
        Scope::Duration => v1::Scope::Duration,
        Scope::Task => v1::Scope::Task,
    }
}

/// What one approval lets through, by whom, and for how long.
pub(super) fn means(cover: &Cover, target: &str, scope: Scope, longest: &str, asker: &Asker) -> String {
    let pod = &asker.pod_name;
    let who = match (scope, &asker.job) {
        (Scope::Once, _) => return "this one operation, once".to_owned(),
        (Scope::Session, _) => format!("on this one connection of pod {pod}"),
        (Scope::Task, Some(JobRef { name, .. })) => format!("by every pod of Job {name} that has its ServiceAccount"),
        (Scope::Duration, _) | (Scope::Task, None) => format!("by pod {pod}, on every connection"),
    };
    format!(
        "not this statement alone: {who}, at target {target}, every {}; with any values, the same columns or fewer, for \
         {longest} from the approval at most",
        words(cover)
    )
}
