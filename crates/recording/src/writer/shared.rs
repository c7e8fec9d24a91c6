//! The queue, the thread that empties it, and the short way past it.
//!
//! Lock order: core before queue. The thread takes what waits only while it holds the core, so a caller that holds the
//! core and sees an empty queue overtakes nobody.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::budget::Class;
use super::clock::Clock;
use super::core::{Core, Item};
use super::unfinished::Effect;
use super::{Done, QueueFull, Witness, WriteError};
use crate::chain::Head;
use crate::entry::{Body, Durability, Entry, Marker, What, middle};
use crate::prune::{PruneError, Removed, prune_stored};
use crate::sync::{AtomicU64, Condvar, Mutex, Ordering, wait_until};

/// Bytes that may wait; with the bound on entries this keeps a stalled disk from filling memory.
const QUEUE_BYTES: usize = 8 << 20;
/// How often space and clocks are looked at.
const TICK: Duration = Duration::from_secs(1);
/// A difference between the clocks that is worth a marker.
const CLOCK_STEP_MS: i128 = 2_000;

pub(super) struct Shared {
    core: Mutex<Core>,
    queue: Mutex<Queue>,
    wake: Condvar,
    clock: Clock,
    limit: usize,
    witness: Witness,
    unrecorded: AtomicU64,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Queue {
    items: VecDeque<Item>,
    bytes: usize,
    woken: bool,
    closing: bool,
    /// Why operations are refused, as the thread or a caller last saw it.
    unready: Option<WriteError>,
}

impl Shared {
    pub(super) fn new(core: Core, witness: Witness) -> Self {
        let (clock, limit) = (core.clock(), core.config.queue);
        let (queue, wake) = (Mutex::new(Queue::default()), Condvar::new());
        Self { core: Mutex::new(core), queue, wake, clock, limit, witness, unrecorded: AtomicU64::new(0) }
    }

    pub(super) fn submit(&self, mut entry: Entry, durability: Durability, done: Done) -> Result<(), QueueFull> {
        if matches!(entry.body, Body::Header(_) | Body::Checkpoint(_)) {
            done(Err(WriteError::Reserved(entry.body.code())));
            return Ok(());
        }
        let class = Class::of(&entry.body);
        // Rendered before any lock is taken.
        let middle = match middle(&mut entry, &self.clock.stamp()) {
            Ok(middle) => middle,
            Err(error) => {
                done(Err(WriteError::Failed(error.to_string())));
                return Ok(());
            }
        };
        let item = Item { middle, class, effect: Effect::of(&entry), durability, done };
        match self.inline(item) {
            None => Ok(()),
            Some(item) => self.enqueue(item),
        }
    }

    /// Writes the item here and now, or gives it back.
    fn inline(&self, item: Item) -> Option<Item> {
        if item.durability != Durability::Written {
            return Some(item);
        }
        let Some(mut core) = self.core.try_lock() else { return Some(item) };
        {
            let queue = self.queue.lock();
            if queue.closing || !queue.items.is_empty() || !core.may_inline(Instant::now()) {
                return Some(item);
            }
        }
        core.write_inline(item);
        if core.wants_thread() {
            drop(core);
            self.wake();
        }
        None
    }

    fn enqueue(&self, item: Item) -> Result<(), QueueFull> {
        let mut queue = self.queue.lock();
        let bytes = queue.bytes.saturating_add(item.middle.len());
        if queue.closing || queue.items.len() >= self.limit || bytes > QUEUE_BYTES {
            return Err(QueueFull);
        }
        queue.bytes = bytes;
        queue.items.push_back(item);
        drop(queue);
        self.wake.notify_one();
        Ok(())
    }

    fn wake(&self) {
        let mut queue = self.queue.lock();
        if !queue.woken {
            queue.woken = true;
            self.wake.notify_one();
        }
    }

    pub(super) fn begin_close(&self) {
        self.queue.lock().closing = true;
        self.wake.notify_one();
    }

    pub(super) fn note_unrecorded_refusal(&self) {
        self.unrecorded.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn ready(&self) -> Result<(), WriteError> {
        let queue = self.queue.lock();
        match &queue.unready {
            _ if queue.closing => Err(WriteError::Closed),
            Some(error) => Err(error.clone()),
            None => Ok(()),
        }
    }

    // === room ===

    pub(super) fn usage(&self) -> (u64, u64) {
        self.core.lock().budget.usage()
    }

    /// The files are read and removed without the lock: the one that is written is not among them.
    pub(super) fn remove_stored(&self, stored: u64) -> Result<Removed, PruneError> {
        let (storage, key) = {
            let core = self.core.lock();
            (Arc::clone(&core.storage), Arc::clone(&core.key))
        };
        let removed = prune_stored(&*storage, &key, stored)?;
        self.core.lock().budget.freed(removed.bytes);
        Ok(removed)
    }

    // === the thread ===

    /// Runs until the writer is closed, then seals the recording.
    pub(super) fn run(&self) -> Result<Head, WriteError> {
        // The guarantee rests on this thread: without it the process must not go on.
        let _abort = AbortOnPanic;
        let mut ticks = Ticks::new(self.clock);
        let mut deadline = Instant::now() + TICK;
        loop {
            let closing = self.wait(deadline);
            let mut core = self.core.lock();
            if core.reopening_due(Instant::now()) && core.reopen().is_ok() {
                core.measure();
            }
            let items = {
                let mut queue = self.queue.lock();
                queue.bytes = 0;
                queue.woken = false;
                std::mem::take(&mut queue.items)
            };
            core.write(items.into());
            if core.budget.stale() {
                core.measure();
            }
            let now = Instant::now();
            ticks.tick(now, self, &mut core);
            let checkpoint = core.checkpoint_due(now).then(|| core.checkpoint());
            let rotate = core.rotation_due(now);
            let (next_try, at) = (core.config.probe, core.checkpoint_at());
            let broken = core.healthy().is_err();
            let unready = core.healthy().and_then(|()| core.budget.admit(Class::Intent, 0)).err();
            drop(core);
            self.queue.lock().unready = unready;
            if let Some(Ok((told, segment, file))) = checkpoint {
                match file.sync() {
                    Ok(()) => (self.witness)(&told),
                    Err(error) => self.core.lock().sync_failed(&segment, &error),
                }
            }
            if rotate {
                self.rotate();
            }
            if closing {
                return self.seal();
            }
            let pause = if broken { next_try } else { TICK };
            deadline = at.into_iter().chain([now + pause]).min().unwrap_or(now + pause);
        }
    }

    /// Whether the writer is being closed.
    fn wait(&self, deadline: Instant) -> bool {
        let mut queue = self.queue.lock();
        while queue.items.is_empty() && !queue.closing && !queue.woken {
            if wait_until(&self.wake, &mut queue, deadline) {
                break;
            }
        }
        queue.closing
    }

    /// Most of the cost, syncing what is there and making a file, is paid before callers have to wait.
    fn rotate(&self) {
        let (storage, name, file) = {
            let core = self.core.lock();
            (core.storage.clone(), core.next_name(), core.current_file())
        };
        let made = file.map_or(Ok(()), |file| file.sync()).and_then(|()| storage.create(&name));
        let mut core = self.core.lock();
        match made {
            // Nothing was admitted on the strength of this file; whatever fails shows at the next write.
            Err(_) => core.rotation_failed(Instant::now()),
            Ok(file) => {
                if let Ok(Some(sealed)) = core.rotate(file) {
                    drop(core);
                    (self.witness)(&sealed);
                }
            }
        }
    }

    fn seal(&self) -> Result<Head, WriteError> {
        let mut core = self.core.lock();
        let items = std::mem::take(&mut self.queue.lock().items);
        core.write(items.into());
        if core.healthy().is_err() {
            core.reopen()?;
        }
        let mut last = vec![Entry::global(Body::Marker(Marker { what: What::Drain, count: None, detail: None }))];
        last.extend(self.take_unrecorded());
        core.own(last, false)?;
        let (told, _, file) = core.checkpoint()?;
        file.sync().map_err(|error| WriteError::Failed(error.to_string()))?;
        (self.witness)(&told);
        Ok(core.head())
    }

    fn take_unrecorded(&self) -> Option<Entry> {
        let count = self.unrecorded.swap(0, Ordering::Relaxed);
        let marker = Marker { what: What::UnrecordedRefusals, count: Some(count), detail: None };
        (count > 0).then(|| Entry::global(Body::Marker(marker)))
    }
}

/// What is looked at once a second.
struct Ticks {
    clock: Clock,
    next: Instant,
    /// Wall clock less monotonic clock, in milliseconds.
    offset: i128,
}

impl Ticks {
    fn new(clock: Clock) -> Self {
        let next = Instant::now();
        Self { clock, next, offset: clock.offset_ms() }
    }

    fn tick(&mut self, now: Instant, shared: &Shared, core: &mut Core) {
        if now < self.next {
            return;
        }
        self.next = now + TICK;
        core.measure();
        let offset = self.clock.offset_ms();
        let step = offset - self.offset;
        self.offset = offset;
        if core.healthy().is_err() {
            return;
        }
        if step.abs() >= CLOCK_STEP_MS {
            let detail = Some(format!("the wall clock moved by {step} ms"));
            let marker = Marker { what: What::ClockStep, count: None, detail };
            // A failure shows in the core and is told to whoever writes next.
            let _failed = core.own(vec![Entry::global(Body::Marker(marker))], false);
        }
        if core.budget.admit(Class::Ordinary, 1024).is_ok()
            && let Some(entry) = shared.take_unrecorded()
        {
            let count = match &entry.body {
                Body::Marker(marker) => marker.count.unwrap_or(0),
                _ => 0,
            };
            if core.own(vec![entry], false).is_err() {
                shared.unrecorded.fetch_add(count, Ordering::Relaxed);
            }
        }
    }
}

struct AbortOnPanic;

impl Drop for AbortOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            std::process::abort();
        }
    }
}
