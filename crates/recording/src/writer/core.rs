//! Chain, current segment and budget: what changes when a line is written. Behind the writer's lock.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::budget::{Budget, Class, OpKey};
use super::clock::Clock;
use super::unfinished::{Effect, Tracked, Unfinished};
use super::{Checkpointed, Done, Position, WriteError, WriterConfig};
use crate::chain::{Chain, Hash};
use crate::entry::{Body, Durability, Entry, Header, MAX_LINE, Marker, Outcome, Resume, Status, What, finish, middle};
use crate::keys::SigningKey;
use crate::note::{CheckpointText, SignedNote};
use crate::reader::{segment_name, segments};
use crate::spool::{SegmentFile, Storage};
use crate::walk::render_checkpoint;

/// Bytes written at once: bounds the buffer, and how much of a batch one failure takes along.
const CHUNK: usize = 1 << 20;
/// An inline write that took longer keeps callers off the disk, for this many times as long as it took, up to the
/// limit: a thread that was merely preempted costs little, and stalls take at most a twentieth of a caller's time.
const SLOW: Duration = Duration::from_millis(1);
const BACK_OFF_FACTOR: u32 = 20;
const BACK_OFF_LIMIT: Duration = Duration::from_secs(1);

/// An entry that waits.
pub(super) struct Item {
    pub(super) middle: Vec<u8>,
    pub(super) class: Class,
    pub(super) effect: Effect,
    pub(super) durability: Durability,
    pub(super) done: Done,
}

#[derive(Debug)]
struct Current {
    name: String,
    file: Arc<dyn SegmentFile>,
    bytes: u64,
    opened: Instant,
    entries: u64,
}

/// What must happen to files before another segment can begin.
#[derive(Debug, Default)]
struct Repair {
    /// Cut this segment to these bytes.
    cut: Option<(String, u64)>,
    /// Remove this segment: its header failed.
    remove: Option<String>,
}

#[derive(Debug)]
pub(super) struct Core {
    pub(super) config: WriterConfig,
    pub(super) storage: Arc<dyn Storage>,
    pub(super) key: Arc<SigningKey>,
    clock: Clock,
    chain: Chain,
    number: u64,
    current: Option<Current>,
    pub(super) budget: Budget,
    unfinished: Tracked,
    /// Entries that no checkpoint covers, and since when.
    uncovered: u64,
    uncovered_since: Option<Instant>,
    failure: String,
    repair: Repair,
    /// Intents that may stand in a segment whose sync failed, although they were answered with an error.
    unsent: Vec<OpKey>,
    next_try: Instant,
    inline_after: Instant,
    buffer: Vec<u8>,
}

impl Core {
    pub(super) fn new(
        config: WriterConfig,
        storage: Arc<dyn Storage>,
        key: SigningKey,
        chain: Chain,
        number: u64,
        budget: Budget,
    ) -> Self {
        let now = Instant::now();
        Self {
            config,
            storage,
            key: Arc::new(key),
            clock: Clock::from(now),
            chain,
            number,
            current: None,
            budget,
            unfinished: Tracked::default(),
            uncovered: 0,
            uncovered_since: None,
            failure: String::new(),
            repair: Repair::default(),
            unsent: Vec::new(),
            next_try: now,
            inline_after: now,
            buffer: Vec::new(),
        }
    }

    /// What was open in the recording that is continued.
    pub(super) fn resume_with(&mut self, unfinished: &Unfinished) {
        self.unfinished = Tracked::resumed(unfinished);
    }

    pub(super) fn clock(&self) -> Clock {
        self.clock
    }

    pub(super) fn head(&self) -> crate::chain::Head {
        self.chain.head()
    }

    pub(super) fn healthy(&self) -> Result<(), WriteError> {
        self.current.as_ref().map(|_| ()).ok_or_else(|| WriteError::Failed(self.failure.clone()))
    }

    pub(super) fn may_inline(&self, now: Instant) -> bool {
        self.config.inline && self.storage.fast() && self.current.is_some() && now >= self.inline_after
    }

    /// Something for the thread to do, other than to empty the queue.
    pub(super) fn wants_thread(&self) -> bool {
        let full = self.current.as_ref().is_none_or(|c| c.bytes >= self.config.segment_bytes);
        full || self.uncovered >= self.config.checkpoint_entries || self.budget.stale()
    }

    // === writing ===

    /// Writes one item on the thread of its caller.
    pub(super) fn write_inline(&mut self, item: Item) {
        let start = Instant::now();
        self.write(vec![item]);
        let end = Instant::now();
        let took = end.duration_since(start);
        if took > SLOW {
            self.inline_after = end + took.saturating_mul(BACK_OFF_FACTOR).min(BACK_OFF_LIMIT);
        }
    }

    /// Writes `items` in order and answers each, in order.
    pub(super) fn write(&mut self, items: Vec<Item>) {
        let mut items = items.into_iter().peekable();
        while items.peek().is_some() {
            let before = self.chain.clone();
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.clear();
            let mut batch = Vec::new();
            let mut sync = false;
            while let Some(item) = items.next_if(|_| buffer.len() < CHUNK) {
                let answer = self.place(&item, &mut buffer);
                sync |= answer.is_ok() && item.durability >= Durability::Synced;
                batch.push((item, answer));
            }
            let written = if buffer.is_empty() { Ok(()) } else { self.append(&buffer, before, sync) };
            self.buffer = buffer;
            self.answer(batch, written);
        }
    }

    /// Gives the item its place in the chain and puts its line into `buffer`.
    fn place(&mut self, item: &Item, buffer: &mut Vec<u8>) -> Result<Position, WriteError> {
        self.healthy()?;
        let seq = self.chain.size();
        // Room for version, seq and prev around the middle.
        let bytes = item.middle.len() + 128;
        if bytes > MAX_LINE {
            return Err(WriteError::TooLarge { bytes });
        }
        self.budget.admit(item.class, len(bytes))?;
        let from = buffer.len();
        finish(buffer, seq, &item.middle, &self.chain.last());
        let line = buffer.split_at_checked(from).map(|(_, line)| line).unwrap_or_default();
        self.chain.push(line);
        match &item.effect {
            Effect::Intent(op) => self.budget.opened(op.clone()),
            Effect::Outcome(op) => self.budget.closed(op),
            Effect::Close(session) => self.budget.session_closed(session),
            Effect::Open(_) | Effect::None => {}
        }
        Ok(Position { seq })
    }

    /// After an error the chain stands where it stood before a failed append; after a failed sync the lines stay, for
    /// nobody knows whether they are there.
    fn append(&mut self, bytes: &[u8], before: Chain, sync: bool) -> Result<(), Failure> {
        let Some(current) = &mut self.current else { return Err(Failure::Append) };
        if let Err(error) = current.file.append(bytes) {
            let reason = format!("cannot append to `{}`: {error}", current.name);
            self.repair.cut = Some((current.name.clone(), current.bytes));
            self.chain = before;
            self.fail(reason);
            return Err(Failure::Append);
        }
        let lines = self.chain.size().saturating_sub(before.size());
        current.bytes = current.bytes.saturating_add(len(bytes.len()));
        current.entries = current.entries.saturating_add(lines);
        self.budget.written(len(bytes.len()));
        self.uncovered = self.uncovered.saturating_add(lines);
        self.uncovered_since.get_or_insert_with(Instant::now);
        if sync && let Err(error) = current.file.sync() {
            let reason = format!("cannot sync `{}`: {error}", current.name);
            self.fail(reason);
            return Err(Failure::Sync);
        }
        Ok(())
    }

    fn answer(&mut self, batch: Vec<(Item, Result<Position, WriteError>)>, written: Result<(), Failure>) {
        for (item, answer) in batch {
            let placed = answer.is_ok();
            if placed && written != Err(Failure::Append) {
                self.unfinished.apply(&item.effect);
            }
            let answer = answer.and_then(|position| match written {
                Ok(()) => Ok(position),
                Err(_) => Err(WriteError::Failed(self.failure.clone())),
            });
            if placed
                && answer.is_err()
                && let Effect::Intent(op) = item.effect
            {
                self.budget.closed(&op);
                if written == Err(Failure::Sync) {
                    self.unsent.push(op);
                }
            }
            (item.done)(answer);
        }
    }

    fn fail(&mut self, reason: String) {
        self.failure = reason;
        self.current = None;
        self.next_try = Instant::now();
    }

    /// The sync of a checkpoint failed, outside the lock.
    pub(super) fn sync_failed(&mut self, segment: &str, error: &io::Error) {
        if self.current.as_ref().is_some_and(|c| c.name == segment) {
            self.fail(format!("cannot sync `{segment}`: {error}"));
        }
    }

    // === our own entries ===

    /// Writes entries of our own to the current segment.
    pub(super) fn own(&mut self, entries: Vec<Entry>, sync: bool) -> Result<(), WriteError> {
        self.healthy()?;
        for some in entries.chunks(CHUNK / (8 * 1024)) {
            let before = self.chain.clone();
            let mut buffer = Vec::new();
            if let Err(error) = some.iter().try_for_each(|entry| self.line(entry.clone(), &mut buffer)) {
                self.chain = before;
                return Err(error);
            }
            let written = self.append(&buffer, before, sync);
            if written != Err(Failure::Append) {
                some.iter().for_each(|entry| self.unfinished.apply(&Effect::of(entry)));
            }
            written.map_err(|_| WriteError::Failed(self.failure.clone()))?;
        }
        Ok(())
    }

    fn line(&mut self, mut entry: Entry, buffer: &mut Vec<u8>) -> Result<(), WriteError> {
        let middle = middle(&mut entry, &self.clock.stamp()).map_err(|e| WriteError::Failed(e.to_string()))?;
        let from = buffer.len();
        finish(buffer, self.chain.size(), &middle, &self.chain.last());
        self.chain.push(buffer.split_at_checked(from).map(|(_, line)| line).unwrap_or_default());
        Ok(())
    }

    pub(super) fn checkpoint_due(&self, now: Instant) -> bool {
        let old = self.uncovered_since.is_some_and(|since| now.duration_since(since) >= self.config.checkpoint_age);
        self.current.is_some() && (old || self.uncovered >= self.config.checkpoint_entries)
    }

    /// When the next checkpoint is due by age.
    pub(super) fn checkpoint_at(&self) -> Option<Instant> {
        self.uncovered_since.map(|since| since + self.config.checkpoint_age)
    }

    /// Writes a checkpoint; it may be told of once the file that is returned was synced.
    pub(super) fn checkpoint(&mut self) -> Result<(Checkpointed, String, Arc<dyn SegmentFile>), WriteError> {
        self.healthy()?;
        let (head, stamp) = (self.chain.head(), self.clock.stamp());
        let origin = self.key.public().name().to_owned();
        let text = CheckpointText { origin, head, mono_ns: stamp.mono_ns, wall: stamp.wall };
        let note = SignedNote::sign(text.to_string(), &self.key).to_string();
        let line = render_checkpoint(&note, &text, head.size, &self.chain.last());
        let line = line.ok_or_else(|| WriteError::Failed("a checkpoint cannot be rendered".to_owned()))?;
        let before = self.chain.clone();
        self.chain.push(&line);
        self.append(&line, before, false).map_err(|_| WriteError::Failed(self.failure.clone()))?;
        self.uncovered = 0;
        self.uncovered_since = None;
        let current = self.current.as_ref().ok_or(WriteError::Closed)?;
        Ok((Checkpointed { head, note }, current.name.clone(), Arc::clone(&current.file)))
    }

    // === segments ===

    pub(super) fn rotation_due(&self, now: Instant) -> bool {
        let over = |c: &Current| {
            let old = c.entries > 0 && now.duration_since(c.opened) >= self.config.segment_age;
            old || c.bytes >= self.config.segment_bytes
        };
        now >= self.next_try && self.current.as_ref().is_some_and(over)
    }

    pub(super) fn reopening_due(&self, now: Instant) -> bool {
        self.current.is_none() && now >= self.next_try
    }

    pub(super) fn current_file(&self) -> Option<Arc<dyn SegmentFile>> {
        self.current.as_ref().map(|c| Arc::clone(&c.file))
    }

    pub(super) fn next_name(&self) -> String {
        segment_name(self.number.saturating_add(1))
    }

    /// Seals the current segment and begins `file`, which was made as [`Core::next_name`] and is empty.
    pub(super) fn rotate(&mut self, file: Arc<dyn SegmentFile>) -> Result<Option<Checkpointed>, WriteError> {
        // Whatever fails below leaves this file, and its name is what the next attempt takes.
        self.repair.remove = Some(self.next_name());
        self.healthy()?;
        let sealed = if self.uncovered > 0 { Some(self.checkpoint()?.0) } else { None };
        if let Some(Err(error)) = self.current.as_ref().map(|c| c.file.sync()) {
            self.fail(format!("cannot seal a segment: {error}"));
            return Err(WriteError::Failed(self.failure.clone()));
        }
        self.begin(file, Vec::new(), false)?;
        Ok(sealed)
    }

    /// Puts off the next attempt at a new segment; the current one goes on.
    pub(super) fn rotation_failed(&mut self, now: Instant) {
        self.next_try = now + self.config.probe;
    }

    /// Tries to write again after a failure.
    pub(super) fn reopen(&mut self) -> Result<(), WriteError> {
        self.next_try = Instant::now() + self.config.probe;
        let opened = self.repair().and_then(|()| self.storage.create(&self.next_name()));
        let file = opened.map_err(|error| {
            self.failure = format!("no new segment can be made: {error}");
            WriteError::Failed(self.failure.clone())
        })?;
        let marker = Marker { what: What::SegmentFailed, count: None, detail: Some(self.failure.clone()) };
        let unsent = self.unsent.iter().map(|(session, op)| {
            Entry::operation(session.clone(), op.clone(), Body::Outcome(Outcome::bare(Status::NotSent)))
        });
        let entries = std::iter::once(Entry::global(Body::Marker(marker))).chain(unsent).collect();
        self.begin(file, entries, true)?;
        self.unsent.clear();
        Ok(())
    }

    /// Makes room for a segment: what failed before must not stand in its way.
    fn repair(&mut self) -> io::Result<()> {
        if let Some(name) = &self.repair.remove {
            match self.storage.remove(name) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => self.repair.remove = None,
            }
        }
        if let Some((name, bytes)) = &self.repair.cut
            && self.storage.truncate(name, *bytes).is_ok()
        {
            self.repair.cut = None;
        }
        Ok(())
    }

    /// Makes `file` the current segment; `first` follows the header.
    pub(super) fn begin(
        &mut self,
        file: Arc<dyn SegmentFile>,
        first: Vec<Entry>,
        sync: bool,
    ) -> Result<(), WriteError> {
        let (before, name, number) = (self.chain.clone(), self.next_name(), self.number.saturating_add(1));
        let header = Header {
            segment: number,
            key: self.key.public().to_string(),
            program: self.config.program.clone(),
            previous_bytes: self.repair.cut.as_ref().map(|(_, bytes)| *bytes),
            resume: self.resume(),
        };
        let effects: Vec<_> = first.iter().map(Effect::of).collect();
        let mut lines = Vec::new();
        for entry in std::iter::once(Entry::global(Body::Header(header))).chain(first) {
            self.line(entry, &mut lines)?;
        }
        let written = file.append(&lines).and_then(|()| if sync { file.sync() } else { Ok(()) });
        if let Err(error) = written {
            self.chain = before;
            self.repair.remove = Some(name.clone());
            self.fail(format!("cannot begin `{name}`: {error}"));
            self.next_try = Instant::now() + self.config.probe;
            return Err(WriteError::Failed(self.failure.clone()));
        }
        effects.iter().for_each(|effect| self.unfinished.apply(effect));
        let bytes = len(lines.len());
        self.number = number;
        self.repair = Repair::default();
        self.budget.written(bytes);
        let covered_by_none = self.chain.size().saturating_sub(before.size());
        // A lone header waits for the next checkpoint; it is nothing to make one for.
        if covered_by_none > 1 || self.uncovered > 0 {
            self.uncovered = self.uncovered.saturating_add(covered_by_none);
            self.uncovered_since.get_or_insert_with(Instant::now);
        }
        self.current = Some(Current { name, file, bytes, opened: Instant::now(), entries: 0 });
        Ok(())
    }

    fn resume(&self) -> Option<Resume> {
        (self.chain.size() > 0).then_some(())?;
        self.unfinished.resume(self.chain.frontier().iter().map(Hash::to_base64).collect())
    }

    /// Looks again at the space there is.
    pub(super) fn measure(&mut self) {
        let Ok(free) = self.storage.free_space() else { return };
        let used = self.budget.uncertain().then(|| segments(&*self.storage).ok()).flatten();
        let used = used.map(|list| list.iter().map(|s| s.bytes).fold(0_u64, u64::saturating_add));
        self.budget.measured(free, used);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    Append,
    Sync,
}

fn len(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
