//! Finds operations and approvals by the fields of the indexes: who, what, target, decision, approval, time.
//!
//! Reads one index at a time and gives each row away as it is found. Nothing is proven by an answer: `verify` is.

use std::ops::ControlFlow;

use jiff::{SignedDuration, Timestamp};
use recording::entry::Decision;
use serde::Serialize;

use crate::error::ShelfError;
use crate::id::RecordingId;
use crate::index::{Row, RowKind};
use crate::shelf::Shelf;
use crate::store::Store;

/// How far the clock of a pod may have been stepped back between two segments without one being passed over.
const CLOCK_STEP: SignedDuration = SignedDuration::from_hours(2);

/// What is looked for. What is not set matches everything; a text matches where it is a part, whatever its case.
#[derive(Clone, Debug, Default)]
pub struct Query {
    pub since: Option<Timestamp>,
    pub until: Option<Timestamp>,
    /// Namespace, pod, its UID, service account, or the reviewer of an approval.
    pub who: Option<String>,
    /// Action or a resource.
    pub what: Option<String>,
    pub target: Option<String>,
    pub decision: Option<Decision>,
    /// Only what an approval released, asked for or decided: the name of the request, or a part.
    pub approval: Option<String>,
    /// Also operations of the sidecars themselves.
    pub internal: bool,
}

/// A row, and whose it is.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Found {
    pub namespace: String,
    pub pod: String,
    pub pod_uid: String,
    #[serde(flatten)]
    pub row: Row,
}

impl Store {
    /// Everything that matches, recording by recording, in each by time. `each` ends it with `Break`. A recording whose
    /// index can neither be read nor made again hides no other: the first such one is told.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn search(
        &self,
        query: &Query,
        each: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> Result<Option<(RecordingId, ShelfError)>, ShelfError> {
        let mut damaged = None;
        let mut pages = self.recordings();
        while let Some(page) = pages.next().await? {
            for id in page {
                match self.shelf(&id).search(query, each).await {
                    Ok(ControlFlow::Continue(())) => {}
                    Ok(ControlFlow::Break(())) => return Ok(damaged),
                    // A folder without a beginning is no recording.
                    Err(ShelfError::NotBegun) => {}
                    Err(error) if error.is_damage() => damaged = damaged.or(Some((id, error))),
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(damaged)
    }
}

impl Shelf {
    /// The same for one recording.
    ///
    /// # Errors
    /// When the store fails or an index can neither be read nor made again.
    pub async fn search(
        &self,
        query: &Query,
        each: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> Result<ControlFlow<()>, ShelfError> {
        let meta = self.meta().await?;
        let whose = Whose { id: self.id(), pod: &meta.pod, service_account: &meta.service_account };
        let tails = self.tail_numbers().await?;
        if let Some((first, newest)) = self.range().await? {
            let mut at = match query.since {
                Some(since) => self.first_until(first, newest, before(since)).await?,
                None => first,
            };
            while at <= newest {
                let (summary, rows) = self.rows(at).await?;
                if query.until.is_some_and(|until| time(&summary.from).is_some_and(|from| from > after(until))) {
                    return Ok(ControlFlow::Continue(()));
                }
                if whose.found_of(rows, query, each).is_break() {
                    return Ok(ControlFlow::Break(()));
                }
                at = at.saturating_add(1);
            }
        }
        if tails.is_empty() {
            return Ok(ControlFlow::Continue(()));
        }
        Ok(whose.found_of(self.unsealed_rows(&tails).await?, query, each))
    }

    /// The first segment that ends at or after `since`.
    async fn first_until(&self, first: u64, newest: u64, since: Timestamp) -> Result<u64, ShelfError> {
        let (mut low, mut high) = (first, newest.saturating_add(1));
        while low < high {
            let middle = low.midpoint(high);
            let (summary, _) = self.index(middle).await?;
            if time(&summary.until).is_some_and(|until| until < since) {
                low = middle.saturating_add(1);
            } else {
                high = middle;
            }
        }
        Ok(low)
    }
}

struct Whose<'a> {
    id: &'a RecordingId,
    pod: &'a str,
    service_account: &'a str,
}

impl Whose<'_> {
    fn found_of(
        &self,
        rows: Vec<Row>,
        query: &Query,
        each: &mut dyn FnMut(Found) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        rows.into_iter().filter(|row| query.matches(self, row)).try_for_each(|row| each(self.found(row)))
    }

    fn found(&self, row: Row) -> Found {
        let (namespace, pod_uid) = (self.id.namespace().to_owned(), self.id.pod_uid().to_owned());
        let service_account = row.service_account.clone().or_else(|| Some(self.service_account.to_owned()));
        Found { namespace, pod: self.pod.to_owned(), pod_uid, row: Row { service_account, ..row } }
    }
}

impl Query {
    fn matches(&self, whose: &Whose<'_>, row: &Row) -> bool {
        let at = time(&row.time);
        // What has no time that can be read is shown rather than hidden.
        let since = self.since.is_none_or(|since| at.is_none_or(|at| at >= since));
        let until = self.until.is_none_or(|until| at.is_none_or(|at| at < until));
        let who = [
            Some(whose.id.namespace()),
            Some(whose.id.pod_uid()),
            Some(whose.pod),
            row.service_account.as_deref().or(Some(whose.service_account)),
            row.reviewer.as_deref(),
        ];
        let what = std::iter::once(row.action.as_str()).chain(row.resources.iter().map(String::as_str));
        let target = [row.target.as_deref(), row.database.as_deref()];
        since
            && until
            && (self.internal || !row.internal)
            && part(self.who.as_deref(), who.into_iter().flatten())
            && part(self.what.as_deref(), what)
            && part(self.target.as_deref(), target.into_iter().flatten())
            && part(self.approval.as_deref(), row.approval.as_deref().into_iter())
            && self.decision.is_none_or(|decision| row.decision == Some(decision) && row.kind != RowKind::Approval)
    }
}

fn part<'a>(wanted: Option<&str>, mut texts: impl Iterator<Item = &'a str>) -> bool {
    wanted.is_none_or(|wanted| {
        let wanted = wanted.to_lowercase();
        texts.any(|text| text.to_lowercase().contains(&wanted))
    })
}

fn time(text: &str) -> Option<Timestamp> {
    text.parse().ok()
}

fn before(at: Timestamp) -> Timestamp {
    at.checked_sub(CLOCK_STEP).unwrap_or(Timestamp::MIN)
}

fn after(at: Timestamp) -> Timestamp {
    at.checked_add(CLOCK_STEP).unwrap_or(Timestamp::MAX)
}
