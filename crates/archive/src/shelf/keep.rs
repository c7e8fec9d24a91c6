//! Takes a segment into the shelf, if it continues what is kept and agrees with what was countersigned.

use std::sync::Arc;

use recording::chain::Hash;
use recording::segment::SegmentError;
use serde::Deserialize;

use super::expiry::Base;
use super::{ATTEMPTS, End, Shelf, Standing, timely};
use crate::error::{ShelfError, StoreError};
use crate::head::Head;
use crate::index::{self, Read, Row, Summary};
use crate::pack::{pack, unpack};

/// Longest segment. A sidecar seals at 16 MiB; what waited to be written then still goes in.
pub const MAX_SEGMENT: usize = 32 << 20;
/// Longest index as it is stored; it may be hard to compress.
const MAX_PACKED: u64 = 5 << 20;
/// How many indexes in a row may be missing. More is no crash.
const MAX_MISSING: usize = 64;

/// What the first line says of its place.
#[derive(Deserialize)]
struct First {
    v: u64,
    seq: u64,
    prev: String,
}

impl Shelf {
    /// Keeps one sealed segment: its lines as they were written. It has to begin where what is kept ends.
    ///
    /// The same segment again is accepted, and nothing is written.
    ///
    /// # Errors
    /// [`ShelfError::OutOfStep`] when others come first; [`ShelfError::NotAnExtension`] when it is not what was
    /// countersigned, or another one is kept in its place; [`ShelfError::Refused`] when it does not verify.
    pub async fn keep(&self, segment: &[u8]) -> Result<Standing, ShelfError> {
        timely(self.keep_it(segment)).await
    }

    async fn keep_it(&self, segment: &[u8]) -> Result<Standing, ShelfError> {
        self.meta().await?;
        if segment.len() > MAX_SEGMENT {
            return Err(ShelfError::Refused(format!("a segment has at most {MAX_SEGMENT} bytes")));
        }
        let segment: Arc<[u8]> = segment.into();
        let first = First::of(&segment)?;
        for _ in 0..ATTEMPTS {
            let base = self.base().await?;
            let end = self.end_from(&base).await?;
            let expected = end.chain.size();
            if first.seq > expected {
                return Err(ShelfError::OutOfStep { what: "the entries of the segment", expected, offered: first.seq });
            }
            if first.seq < expected {
                self.same(&base, &end, first.seq, &segment).await?;
                return Ok(end.standing(self.newest_head().await?.as_ref(), 0));
            }
            if first.prev != end.chain.last().to_string() {
                let why = format!("the segment at entry {expected} continues other lines than those that are kept");
                return Err(ShelfError::NotAnExtension(why));
            }
            if let Some(end) = self.add(&end, &segment).await? {
                return Ok(end.standing(self.newest_head().await?.as_ref(), 0));
            }
        }
        Err(StoreError::Away("other replicas write all the time: ask again".to_owned()).into())
    }

    /// Lines of segment `number`; none when there is no such segment.
    pub(crate) async fn lines(&self, number: u64) -> Result<Option<Arc<[u8]>>, StoreError> {
        let object = self.segments.path(number).to_string();
        let most = u64::try_from(MAX_SEGMENT).unwrap_or(u64::MAX);
        let Some(packed) = self.segments.get(number, most).await? else { return Ok(None) };
        let unpacked = blocking(move || unpack(&packed, MAX_SEGMENT)).await?;
        let lines = unpacked.map_err(|error| StoreError::Damaged { object, what: error.to_string() })?;
        Ok(Some(lines.into()))
    }

    /// Numbers of the first segment that is left and of the newest, if there is any.
    pub(crate) async fn range(&self) -> Result<Option<(u64, u64)>, StoreError> {
        let base = self.base().await?;
        Ok(self.newest_segment(base.next).await?.map(|newest| (base.next, newest)))
    }

    pub(super) async fn newest_segment(&self, from: u64) -> Result<Option<u64>, StoreError> {
        let newest = self.segments.newest_from(from, self.store.newest.get(&self.id)).await?;
        if let Some(newest) = newest {
            self.store.newest.set(&self.id, newest);
        }
        Ok(newest)
    }

    /// Numbers of all segments from `from` on, as they are listed: a hole shows.
    pub(crate) async fn numbers(&self, from: u64) -> Result<Vec<u64>, StoreError> {
        let mut all = self.segments.all().await?;
        all.retain(|number| *number >= from);
        Ok(all)
    }

    /// Summary and rows of a segment, read from its lines where its index has none.
    pub(crate) async fn rows(&self, number: u64) -> Result<(Summary, Vec<Row>), ShelfError> {
        let (summary, rows) = self.index(number).await?;
        if !summary.partial {
            return Ok((summary, rows));
        }
        let base = self.base().await?;
        let (chain, sessions) = match number.checked_sub(1).filter(|before| *before >= base.next) {
            Some(before) => {
                let before = self.summary(&base, before).await?;
                (before.chain(self.indexes.path(number).as_ref())?, before.sessions)
            }
            None => (base.chain, base.sessions),
        };
        let object = self.segments.path(number).to_string();
        let damaged = |what: String| StoreError::Damaged { object: object.clone(), what };
        let lines = self.lines(number).await?.ok_or_else(|| damaged("it is missing".to_owned()))?;
        let end = End { next: number, chain, sessions, orderly_stop: false, until: None };
        let (read, _) = self.judge(&end, &lines).await?;
        let read = read.map_err(|error| damaged(error.to_string()))?;
        Ok((summary, read.rows))
    }

    /// The index of a segment, made again where it is missing.
    pub(crate) async fn index(&self, number: u64) -> Result<(Summary, Vec<Row>), ShelfError> {
        match self.stored_index(number, true).await? {
            Some(index) => Ok(index),
            None => {
                self.summary(&self.base().await?, number).await?;
                let object = self.indexes.path(number).to_string();
                let index = self.stored_index(number, true).await?;
                let what = "it cannot be made again".to_owned();
                Ok(index.ok_or(StoreError::Damaged { object, what })?)
            }
        }
    }

    pub(super) async fn end(&self) -> Result<End, ShelfError> {
        let base = self.base().await?;
        self.end_from(&base).await
    }

    async fn end_from(&self, base: &Base) -> Result<End, ShelfError> {
        let Some(newest) = self.newest_segment(base.next).await? else {
            if let Some(later) = self.segments.above(Some(base.next)).await?.first() {
                let what = format!("it is missing, and `{}` is there", self.segments.path(*later));
                return Err(StoreError::Damaged { object: self.segments.path(base.next).to_string(), what }.into());
            }
            return Ok(End::at(base.clone()));
        };
        let summary = self.summary(base, newest).await?;
        Ok(End::after(newest, summary, self.indexes.path(newest).as_ref())?)
    }

    /// The summary of a segment. A crash between a segment and its index leaves none: then it is made now.
    pub(super) async fn summary(&self, base: &Base, number: u64) -> Result<Summary, ShelfError> {
        let mut missing = Vec::new();
        let (mut chain, mut sessions) = (base.chain.clone(), base.sessions.clone());
        let mut at = number;
        while at >= base.next {
            if let Some((summary, _)) = self.stored_index(at, false).await? {
                if at == number {
                    return Ok(summary);
                }
                (chain, sessions) = (summary.chain(self.indexes.path(at).as_ref())?, summary.sessions);
                break;
            }
            missing.push(at);
            if missing.len() > MAX_MISSING {
                let what = format!("it and {MAX_MISSING} others are missing");
                return Err(StoreError::Damaged { object: self.indexes.path(number).to_string(), what }.into());
            }
            at = at.saturating_sub(1);
        }
        let mut made = None;
        while let Some(at) = missing.pop() {
            let object = self.segments.path(at).to_string();
            let damaged = |what: String| StoreError::Damaged { object: object.clone(), what };
            let lines = self.lines(at).await?.ok_or_else(|| damaged("it is missing".to_owned()))?;
            let end = End { next: at, chain, sessions, orderly_stop: false, until: None };
            let (read, _) = self.judge(&end, &lines).await?;
            let read = read.map_err(|error| damaged(error.to_string()))?;
            self.put_index(at, &read).await?;
            (chain, sessions) = (read.summary.chain(&object)?, read.summary.sessions.clone());
            made = Some(read.summary);
        }
        let what = "there is no such segment".to_owned();
        Ok(made.ok_or(StoreError::Damaged { object: self.segments.path(number).to_string(), what })?)
    }

    /// An index that cannot be read counts as missing: it can be made again.
    async fn stored_index(&self, number: u64, rows: bool) -> Result<Option<(Summary, Vec<Row>)>, StoreError> {
        let object = self.indexes.path(number).to_string();
        let packed = match self.indexes.get(number, MAX_PACKED).await {
            Ok(Some(packed)) => packed,
            Ok(None) | Err(StoreError::Damaged { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        Ok(blocking(move || Summary::parse(&object, &packed, rows)).await?.ok())
    }

    /// Adds what continues `end`, for the new end. None when somebody else added a segment there.
    async fn add(&self, end: &End, segment: &Arc<[u8]>) -> Result<Option<End>, ShelfError> {
        let (read, covering) = self.judge(end, segment).await?;
        let read = read.map_err(|error| ShelfError::Refused(error.to_string()))?;
        agrees(end, &read, covering.as_ref())?;
        let tails = self.agrees_with_tails(end, segment).await?;
        let lines = Arc::clone(segment);
        let packed = blocking(move || pack(&lines)).await?.map_err(|error| ShelfError::Refused(error.to_string()))?;
        if !self.segments.create(end.next, packed.into()).await? {
            return Ok(None);
        }
        // A number that was used and has expired since: what was made there is below what is left, where nobody looks.
        if self.base().await?.next > end.next {
            return Err(StoreError::Away("segments expired meanwhile: ask again".to_owned()).into());
        }
        self.put_index(end.next, &read).await?;
        self.store.newest.set(&self.id, end.next);
        self.clear_tails(&tails, read.summary.end.size).await?;
        if let Some((number, _)) = covering {
            for old in self.heads.all().await?.into_iter().filter(|old| *old < number) {
                self.heads.remove(old).await?;
            }
        }
        Ok(Some(End::after(end.next, read.summary, self.indexes.path(end.next).as_ref())?))
    }

    /// The segment that follows `end` as its lines say it, whatever its index says.
    pub(super) async fn proven(&self, end: &End) -> Result<Summary, ShelfError> {
        let object = self.segments.path(end.next).to_string();
        let damaged = |what: String| StoreError::Damaged { object: object.clone(), what };
        let lines = self.lines(end.next).await?.ok_or_else(|| damaged("it is missing".to_owned()))?;
        let (read, covering) = self.judge(end, &lines).await?;
        let read = read.map_err(|error| damaged(error.to_string()))?;
        agrees(end, &read, covering.as_ref())?;
        Ok(read.summary)
    }

    /// Reads a segment that follows `end`, with the root at the newest countersigned head that it reaches.
    async fn judge(
        &self,
        end: &End,
        segment: &Arc<[u8]>,
    ) -> Result<(Result<Read, SegmentError>, Option<(u64, Head)>), ShelfError> {
        let lines = segment.iter().filter(|byte| **byte == b'\n').count();
        let size = end.chain.size().saturating_add(u64::try_from(lines).unwrap_or(u64::MAX));
        let covering = self.newest_head_up_to(size).await?;
        let at = covering.as_ref().map(|(_, head)| head.chain.size());
        let (segment, key) = (Arc::clone(segment), self.meta().await?.key.clone());
        let (chain, sessions) = (end.chain.clone(), end.sessions.clone());
        let read = blocking(move || index::read(&segment, &chain, &sessions, &key, at)).await?;
        let read = read.map(|mut read| {
            read.summary.countersigned = covering.as_ref().map(|(_, head)| head.note.clone());
            read
        });
        Ok((read, covering))
    }

    /// The newest head over at most `size` entries. Heads grow with their number.
    async fn newest_head_up_to(&self, size: u64) -> Result<Option<(u64, Head)>, StoreError> {
        let all = self.heads.all().await?;
        let mut left = all.as_slice();
        let mut found = None;
        while !left.is_empty() {
            let (low, high) = left.split_at(left.len() / 2);
            let Some((&middle, higher)) = high.split_first() else { break };
            match self.head(middle).await? {
                Some(head) if head.chain.size() <= size => {
                    found = Some((middle, head));
                    left = higher;
                }
                Some(_) => left = low,
                // Thinned out meanwhile, which begins at the low end.
                None => left = higher,
            }
        }
        Ok(found)
    }

    async fn put_index(&self, number: u64, read: &Read) -> Result<(), ShelfError> {
        let packed = read.summary.render(&read.rows).map_err(|error| ShelfError::Refused(error.to_string()))?;
        Ok(self.indexes.replace(number, packed.into()).await?)
    }

    /// # Errors
    /// When the segment that is kept from `first` on is another.
    async fn same(&self, base: &Base, end: &End, first: u64, segment: &Arc<[u8]>) -> Result<(), ShelfError> {
        if first < base.chain.size() {
            // It expired; there is nothing left to compare it with.
            return Ok(());
        }
        // The newest that begins at or before `first`: numbers and first entries grow together.
        let (mut low, mut high) = (base.next, end.next);
        while low.saturating_add(1) < high {
            let middle = low.midpoint(high);
            if self.summary(base, middle).await?.first <= first { low = middle } else { high = middle }
        }
        let kept = self.summary(base, low).await?;
        let lines = Arc::clone(segment);
        let digest = blocking(move || Hash::of(&lines).to_string()).await?;
        if kept.first == first && kept.digest == digest {
            return Ok(());
        }
        Err(ShelfError::NotAnExtension(format!("another segment is kept at entry {first}")))
    }
}

impl End {
    /// Where nothing is kept yet.
    pub(super) fn at(base: Base) -> Self {
        let Base { next, chain, sessions } = base;
        Self { next, chain, sessions, orderly_stop: false, until: None }
    }

    /// Behind segment `number`.
    pub(super) fn after(number: u64, summary: Summary, object: &str) -> Result<Self, StoreError> {
        let chain = summary.chain(object)?;
        let Summary { sessions, orderly_stop, until, .. } = summary;
        Ok(Self { next: number.saturating_add(1), chain, sessions, orderly_stop, until: Some(until) })
    }

    /// `replicated`: entries up to the last one that came before it was sealed.
    pub(super) fn standing(self, head: Option<&(u64, Head)>, replicated: u64) -> Standing {
        Standing {
            countersigned: head.map_or(0, |(_, head)| head.chain.size()),
            archived: self.chain.size(),
            replicated: replicated.max(self.chain.size()),
            next_segment: self.next,
            orderly_stop: self.orderly_stop && replicated <= self.chain.size(),
            until: self.until,
        }
    }
}

/// # Errors
/// When the newest countersigned head that the segment reaches is over other entries.
fn agrees(end: &End, read: &Read, covering: Option<&(u64, Head)>) -> Result<(), ShelfError> {
    match covering.filter(|(_, head)| head.chain.size() >= end.chain.size()) {
        Some((_, head)) if read.root != Some(head.chain.root()) => {
            let size = head.chain.size();
            let why = format!("the first {size} entries are not those that were countersigned");
            Err(ShelfError::NotAnExtension(why))
        }
        _ => Ok(()),
    }
}

impl First {
    fn of(segment: &[u8]) -> Result<Self, ShelfError> {
        let line = segment.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let refused = |why: String| ShelfError::Refused(format!("the segment does not begin with an entry: {why}"));
        let first: Self = serde_json::from_slice(line).map_err(|error| refused(error.to_string()))?;
        if first.v != u64::from(recording::entry::VERSION) {
            let known = recording::entry::VERSION;
            let why = format!("it has version {} of the format, this program knows {known}: use a newer one", first.v);
            return Err(ShelfError::Refused(why));
        }
        Ok(first)
    }
}

/// Hashing and compressing megabytes is no work for the threads that answer.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, StoreError> {
    let failed = |_| StoreError::Away("this program is stopping".to_owned());
    tokio::task::spawn_blocking(work).await.map_err(failed)
}
