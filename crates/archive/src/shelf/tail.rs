//! Lines that are in no segment yet, kept for good before the sidecar goes on: what makes an intent outlive its pod.
//!
//! Each call makes one object, named by the `seq` of its first line and never replaced, so that of two writers one wins
//! and the other compares. Refused: lines that do not continue what is here, other lines in the place of those that are,
//! and more objects than a segment ever needs. Invariants: what was acknowledged is here or in a kept segment, which has
//! to agree with it; its objects go when a kept segment holds all their lines, and not before.

use std::cmp::Ordering;
use std::sync::Arc;

use bytes::Bytes;
use recording::chain::Hash;
use recording::tail::{End as Edge, TailError, follow};
use serde::Deserialize;

use super::keep::blocking;
use super::{ATTEMPTS, End, MAX_SEGMENT, Shelf, Standing, timely};
use crate::error::{ShelfError, StoreError};
use crate::index::{self, Row};

/// Longest stretch of lines.
pub const MAX_STRETCH: usize = 4 << 20;
/// Objects of one recording that no segment holds yet: a segment is sealed each minute, so more means that none is kept.
const MAX_OBJECTS: usize = 100_000;

/// Bytes of lines that are held for a reader, so that it need not read them again when a segment has taken their place.
const MAX_HELD: usize = 64 << 20;

/// Where the lines of a recording end, those of segments included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tail {
    pub(crate) edge: Edge,
    /// Objects with lines that no segment holds.
    objects: usize,
}

/// What follows the last segment as far as one segment goes: stretches, the first of which begins with its header.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unsealed {
    pieces: Vec<Piece>,
    bytes: usize,
    /// The lines, where there was room for all of them; without them they are read again.
    lines: Option<Vec<u8>>,
}

/// Bytes of one object.
#[derive(Clone, Debug)]
struct Piece {
    object: u64,
    from: usize,
    to: usize,
}

/// What of the lines that were sent is not here yet.
enum Beyond {
    /// All of them are here.
    Nothing,
    These(Bytes),
    /// Somebody else goes on meanwhile.
    Unsure,
}

/// What is looked at to find a segment's beginning.
#[derive(Deserialize)]
struct Place {
    seq: u64,
    kind: String,
}

// === writing ===

impl Shelf {
    /// Keeps lines from entry `from` on, for good before it answers; without lines it only says how far it has come.
    ///
    /// The same again is acknowledged again, and what goes beyond it is kept.
    ///
    /// # Errors
    /// [`ShelfError::OutOfStep`] when others come first; [`ShelfError::NotAnExtension`] when other lines are here;
    /// [`ShelfError::Refused`] when they are no lines that follow each other.
    pub async fn replicate(&self, from: u64, lines: Bytes) -> Result<Edge, ShelfError> {
        timely(self.replicate_it(from, lines)).await
    }

    async fn replicate_it(&self, from: u64, lines: Bytes) -> Result<Edge, ShelfError> {
        if lines.len() > MAX_STRETCH {
            return Err(ShelfError::Refused(format!("at most {MAX_STRETCH} bytes of lines may be sent at once")));
        }
        // What was seen here once is here still, and who goes on from there needs no other look.
        let mut known = self.store.tails.get(&self.id).filter(|tail| tail.edge.size == from && !lines.is_empty());
        for _ in 0..ATTEMPTS {
            let tail = match known.take() {
                Some(tail) => tail,
                None => self.look_for_tail().await?.0,
            };
            if lines.is_empty() {
                self.store.tails.set(&self.id, tail);
                return Ok(tail.edge);
            }
            let fresh = match self.beyond(&tail, from, &lines).await? {
                Beyond::Nothing => return Ok(edge(from, &lines)),
                Beyond::These(fresh) => fresh,
                Beyond::Unsure => continue,
            };
            let edge = follow(&fresh, tail.edge).map_err(|error| match error {
                TailError::NotNext { seq } if seq == tail.edge.size => {
                    ShelfError::NotAnExtension(format!("the line at entry {seq} continues other lines than those here"))
                }
                error => refused(&error),
            })?;
            if tail.objects >= MAX_OBJECTS {
                let why =
                    format!("{MAX_OBJECTS} objects of this recording wait for the segment that holds their lines");
                return Err(StoreError::Full(why).into());
            }
            if self.tails.create(tail.edge.size, fresh).await? {
                self.store.tails.set(&self.id, Tail { edge, objects: tail.objects.saturating_add(1) });
                return Ok(edge);
            }
            self.store.tails.forget(&self.id);
        }
        Err(StoreError::Away("other replicas write all the time: ask again".to_owned()).into())
    }

    /// Where the lines end, by the newest object. Objects first: what a segment takes their place of meanwhile shows.
    /// With where the segments end.
    pub(super) async fn look_for_tail(&self) -> Result<(Tail, End), ShelfError> {
        self.meta().await?;
        for _ in 0..ATTEMPTS {
            let numbers = self.tails.all().await?;
            let end = self.end().await?;
            let kept = Edge { size: end.chain.size(), last: end.chain.last() };
            let objects = numbers.len();
            let Some(newest) = numbers.last().copied() else { return Ok((Tail { edge: kept, objects }, end)) };
            let Some(lines) = self.stretch(newest).await? else { continue };
            if !lines.ends_with(b"\n") {
                let what = "it does not end with a whole line".to_owned();
                return Err(StoreError::Damaged { object: self.tails.path(newest).to_string(), what }.into());
            }
            let edge = edge(newest, &lines);
            // Those that segments hold already are being removed.
            let tail = if edge.size > kept.size { Tail { edge, objects } } else { Tail { edge: kept, objects: 0 } };
            return Ok((tail, end));
        }
        Err(StoreError::Away("segments are kept all the time: ask again".to_owned()).into())
    }

    /// Of `lines` from entry `from`, what lies beyond the tail.
    ///
    /// # Errors
    /// When they begin beyond it, or are others than those that are here.
    async fn beyond(&self, tail: &Tail, from: u64, lines: &Bytes) -> Result<Beyond, ShelfError> {
        let expected = tail.edge.size;
        if from == expected {
            return Ok(Beyond::These(lines.clone()));
        }
        let out_of_step = ShelfError::OutOfStep { what: "the lines", expected, offered: from };
        if from > expected {
            return Err(out_of_step);
        }
        let mut at = from;
        let mut offered = lines.clone();
        for object in self.tails.all().await? {
            if object > at || offered.is_empty() {
                break;
            }
            let Some(here) = self.stretch(object).await? else { break };
            let Some(here) = self.after(object, &here, at).filter(|here| !here.is_empty()) else { continue };
            let common = here.len().min(offered.len());
            if here.get(..common) != offered.get(..common) || !offered.slice(..common).ends_with(b"\n") {
                let why = format!("other lines were acknowledged from entry {at} on than those sent");
                return Err(ShelfError::NotAnExtension(why));
            }
            at = at.saturating_add(count(&offered.slice(..common)));
            offered = offered.slice(common..);
        }
        match at.cmp(&expected) {
            _ if offered.is_empty() => Ok(Beyond::Nothing),
            Ordering::Equal => Ok(Beyond::These(offered)),
            Ordering::Greater => Ok(Beyond::Unsure),
            // They are in a segment by now: the sidecar compares the last one, and goes on from there.
            Ordering::Less => Err(out_of_step),
        }
    }

    /// The lines of `object` from entry `at` on; none when it ends before.
    fn after(&self, object: u64, lines: &Bytes, at: u64) -> Option<Bytes> {
        let skip = usize::try_from(at.checked_sub(object)?).ok()?;
        let mut from = 0_usize;
        let mut ends = lines.iter().enumerate().filter(|(_, byte)| **byte == b'\n');
        for _ in 0..skip {
            from = ends.next()?.0.saturating_add(1);
        }
        Some(lines.slice(from..))
    }

    /// The lines of an object; none when it is gone, which it is once a segment holds them.
    async fn stretch(&self, object: u64) -> Result<Option<Bytes>, StoreError> {
        self.tails.get(object, u64::try_from(MAX_STRETCH).unwrap_or(u64::MAX)).await
    }

    // === when a segment is kept ===

    /// Whether `segment`, which follows `end` and verifies, holds what was acknowledged. As each line names the one
    /// before it, the last one that both have decides over all. Gives the objects that there are.
    pub(super) async fn agrees_with_tails(&self, end: &End, segment: &Arc<[u8]>) -> Result<Vec<u64>, ShelfError> {
        let numbers = self.tails.all().await?;
        let start = end.chain.size();
        let stop = start.saturating_add(count(segment));
        let Some(newest) = numbers.iter().copied().rfind(|object| *object < stop) else { return Ok(numbers) };
        // Gone: a segment was kept here meanwhile, and this one is compared with that.
        let Some(lines) = self.stretch(newest).await? else { return Ok(numbers) };
        let shared = newest.saturating_add(count(&lines)).min(stop);
        let Some(last) = shared.checked_sub(1).filter(|last| *last >= start) else { return Ok(numbers) };
        if nth(&lines, last.saturating_sub(newest)) == nth(segment, last.saturating_sub(start)) {
            return Ok(numbers);
        }
        let why = format!("the first {shared} entries are not those that were acknowledged before they were sealed");
        Err(ShelfError::NotAnExtension(why))
    }

    /// Of the objects in `numbers`, removes those of which kept segments, the first `kept` entries, hold every line. What
    /// cannot be removed now is harmless, and is removed the next time.
    pub(super) async fn clear_tails(&self, numbers: &[u64], kept: u64) -> Result<(), StoreError> {
        let ends = numbers.iter().skip(1).map(|next| Some(*next)).chain([None]);
        let mut gone = Vec::new();
        for (object, end) in numbers.iter().zip(ends).take_while(|(object, _)| **object < kept) {
            let held = match end {
                Some(end) => end <= kept,
                None => {
                    let lines = self.stretch(*object).await?;
                    lines.is_some_and(|lines| object.saturating_add(count(&lines)) <= kept)
                }
            };
            if held {
                gone.push(self.tails.path(*object));
            }
        }
        if let Some(tail) = self.store.tails.get(&self.id).filter(|_| !gone.is_empty()) {
            let objects = tail.objects.saturating_sub(gone.len());
            self.store.tails.set(&self.id, Tail { objects, ..tail });
        }
        self.store.remove_all(gone).await
    }

    // === reading ===

    /// What follows the first `kept` entries, by the objects in `numbers`, each as the segment that it would have become.
    /// A hole stays a hole. None when one is gone meanwhile: then a segment holds its lines.
    pub(crate) async fn unsealed(&self, numbers: &[u64], kept: u64) -> Result<Option<Vec<Unsealed>>, StoreError> {
        let mut all: Vec<Unsealed> = Vec::new();
        let (mut at, mut held) = (kept, 0_usize);
        for (index, object) in numbers.iter().enumerate() {
            // Held by segments, as the next one begins there.
            if numbers.get(index.saturating_add(1)).is_some_and(|next| *next <= at) {
                continue;
            }
            let Some(lines) = self.stretch(*object).await? else { return Ok(None) };
            let (mut offset, mut seq) = (0_usize, *object);
            for line in lines.split_inclusive(|byte| *byte == b'\n') {
                let end = offset.saturating_add(line.len());
                if seq >= at {
                    let header = serde_json::from_slice::<Place>(line)
                        .is_ok_and(|place| place.kind == "header" && place.seq == seq);
                    if header || all.is_empty() {
                        all.push(Unsealed { lines: Some(Vec::new()), ..Unsealed::default() });
                    }
                    held = held.saturating_add(line.len());
                    if let Some(last) = all.last_mut() {
                        last.add(*object, offset, line, held <= MAX_HELD);
                    }
                    at = seq.saturating_add(1);
                }
                (offset, seq) = (end, seq.saturating_add(1));
            }
        }
        Ok(Some(all))
    }

    /// Numbers of the objects, by their first entries.
    pub(crate) async fn tail_numbers(&self) -> Result<Vec<u64>, StoreError> {
        self.tails.all().await
    }

    /// The lines of one. None when an object is gone meanwhile.
    pub(crate) async fn unsealed_lines(&self, unsealed: &Unsealed) -> Result<Option<Arc<[u8]>>, StoreError> {
        if let Some(lines) = &unsealed.lines {
            return Ok(Some(lines.as_slice().into()));
        }
        let mut lines = Vec::new();
        for piece in &unsealed.pieces {
            if unsealed.bytes > MAX_SEGMENT {
                let what = format!("{} bytes follow each other without a segment's header", unsealed.bytes);
                return Err(StoreError::Damaged { object: self.tails.path(piece.object).to_string(), what });
            }
            let Some(object) = self.stretch(piece.object).await? else { return Ok(None) };
            lines.extend_from_slice(object.get(piece.from..piece.to).unwrap_or_default());
        }
        Ok(Some(lines.into()))
    }

    /// Rows of what no segment holds, for `search`: they are in no index yet.
    pub(crate) async fn unsealed_rows(&self, numbers: &[u64]) -> Result<Vec<Row>, ShelfError> {
        let end = self.end().await?;
        let (mut chain, mut sessions) = (end.chain, end.sessions);
        let mut rows = Vec::new();
        // What is gone meanwhile is in a segment, which the next search finds.
        for unsealed in self.unsealed(numbers, chain.size()).await?.unwrap_or_default() {
            let Some(lines) = self.unsealed_lines(&unsealed).await? else { break };
            let key = self.meta().await?.key.clone();
            let read = blocking(move || index::read(&lines, &chain, &sessions, &key, None)).await?;
            let object = self.path.clone().join("tails").to_string();
            let read = read.map_err(|error| StoreError::Damaged { object: object.clone(), what: error.to_string() })?;
            rows.extend(read.rows);
            (chain, sessions) = (read.summary.chain(&object)?, read.summary.sessions);
        }
        Ok(rows)
    }

    /// Makes segments of the lines that no segment holds. Only for a recording that gets no longer: the segment that its
    /// sidecar would send is refused afterwards.
    ///
    /// # Errors
    /// As of [`Shelf::keep`].
    pub async fn complete(&self) -> Result<Standing, ShelfError> {
        for _ in 0..ATTEMPTS {
            let numbers = self.tails.all().await?;
            let kept = self.end().await?.chain.size();
            let Some(unsealed) = self.unsealed(&numbers, kept).await? else { continue };
            for unsealed in unsealed {
                let lines = self.unsealed_lines(&unsealed).await?;
                self.keep(&lines.unwrap_or_default()).await?;
            }
            return self.standing().await;
        }
        Err(StoreError::Away("segments are kept all the time: ask again".to_owned()).into())
    }
}

impl Unsealed {
    /// A line that stands at `from` in its object; held if there is room.
    fn add(&mut self, object: u64, from: usize, line: &[u8], room: bool) {
        let to = from.saturating_add(line.len());
        self.bytes = self.bytes.saturating_add(line.len());
        match self.pieces.last_mut().filter(|last| last.object == object && last.to == from) {
            Some(last) => last.to = to,
            None => self.pieces.push(Piece { object, from, to }),
        }
        self.lines = self.lines.take().filter(|_| room).map(|mut lines| {
            lines.extend_from_slice(line);
            lines
        });
    }
}

fn refused(error: &TailError) -> ShelfError {
    ShelfError::Refused(error.to_string())
}

/// Where these lines end, the first of which is entry `from`.
fn edge(from: u64, lines: &[u8]) -> Edge {
    let last = lines.split_inclusive(|byte| *byte == b'\n').next_back().unwrap_or_default();
    Edge { size: from.saturating_add(count(lines)), last: Hash::of(last) }
}

/// Whole lines.
fn count(lines: &[u8]) -> u64 {
    u64::try_from(lines.iter().filter(|byte| **byte == b'\n').count()).unwrap_or(u64::MAX)
}

fn nth(lines: &[u8], at: u64) -> Option<&[u8]> {
    lines.split_inclusive(|byte| *byte == b'\n').nth(usize::try_from(at).ok()?)
}
