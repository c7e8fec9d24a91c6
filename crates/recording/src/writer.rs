//! The one writer of a recording.
//!
//! Who calls: async tasks on a reactor. `submit` therefore never waits for a lock, a queue or, but for the one case
//! below, the disk. There is one core (chain, segment, budget) behind a lock and one thread with a bounded queue.
//!
//! - A caller may write its own line when nobody holds the core, the queue is empty, nothing asks for `Synced`, and the
//!   storage calls itself [`fast`](crate::Storage::fast), which is `write(2)` to the page cache: some microseconds,
//!   where handing over to a thread and back costs ten times that.
//! - Everything else goes to the queue: the thread writes all that waits with one `write`, syncs once if any of it
//!   asks for it, and answers.
//! - So a disk that begins to stall holds up one thread of one caller, since the next finds the core taken and queues;
//!   after an inline write of more than 1 ms callers keep off the disk for
//!   twenty times as long as it took, at most a second. A storage that may block for ever
//!   must not call itself fast; [`WriterConfig::inline`] switches it off altogether, as a runtime with a single thread
//!   should.
//!
//! Invariants: answers are given in order of `seq`, those of failures in order of submission; a segment that failed
//! once is never written to again, and nothing is acknowledged from then on until another took its header; an entry
//! whose answer is an error is not in the recording, or, if it may be, an outcome `not_sent` stands after it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::chain::Head;
use crate::entry::{Durability, Entry};
use crate::keys::SigningKey;
use crate::prune::{PruneError, Removed};
use crate::reader::ReadError;
use crate::spool::Storage;
use crate::sync::{Builder, JoinHandle, Mutex};

mod budget;
mod clock;
mod core;
mod recover;
mod shared;
mod unfinished;

use shared::Shared;

/// Limits of a recording. `Default` is what the documentation promises.
#[derive(Clone, Debug)]
pub struct WriterConfig {
    /// Most bytes of all segments together; at it intents are refused. 1 GiB.
    pub max_bytes: u64,
    /// Free space of the volume below which intents are refused. 64 MiB.
    pub free_floor: u64,
    /// A segment is sealed at this size. 16 MiB.
    pub segment_bytes: u64,
    /// A segment that holds entries is sealed at this age. 60 s.
    pub segment_age: Duration,
    /// A checkpoint is written after this many entries. 1,000.
    pub checkpoint_entries: u64,
    /// A checkpoint is written this long after the first entry that none covers. 10 s.
    pub checkpoint_age: Duration,
    /// Most entries that wait for the thread. 4,096.
    pub queue: usize,
    /// Callers may write their own line to a fast storage.
    pub inline: bool,
    /// How long after a failure a new segment is tried, and again after that. 250 ms.
    pub probe: Duration,
    /// Put into each segment header.
    pub program: String,
}

impl Default for WriterConfig {
    fn default() -> Self {
        Self {
            max_bytes: 1 << 30,
            free_floor: 64 << 20,
            segment_bytes: 16 << 20,
            segment_age: Duration::from_secs(60),
            checkpoint_entries: 1_000,
            checkpoint_age: Duration::from_secs(10),
            queue: 4_096,
            inline: true,
            probe: Duration::from_millis(250),
            program: concat!("agentaccess ", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// Proof that an entry is in the recording at the durability that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub seq: u64,
}

/// Told of each checkpoint once it is durable; `head` is what `verify --head` takes.
#[derive(Clone, Debug)]
pub struct Checkpointed {
    pub head: Head,
    /// The signed note, for a witness.
    pub note: String,
}

/// Called on the writer's thread; must not block.
pub type Witness = Box<dyn Fn(&Checkpointed) + Send + Sync>;

/// What opening found and repaired.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// Bytes cut from a torn tail.
    pub cut_bytes: u64,
    /// Intents that had no outcome: they may have executed. They are marked `interrupted`.
    pub interrupted: u64,
    /// Sessions that had no close.
    pub sessions: u64,
    /// Entries that were there.
    pub entries: u64,
}

#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("the recording is in use by another process; stop it, or use another state directory")]
    InUse,
    #[error("the recording cannot be used: {0}")]
    Io(#[source] io::Error),
    #[error(
        "the recording is damaged and will not be continued: {0}; keep it as evidence by moving it away, and start with an empty directory"
    )]
    Damaged(#[source] ReadError),
    #[error(
        "the recording was made with the key `{recorded}`, but the key file holds `{ours}`; restore the key, or move the recording away"
    )]
    WrongKey { recorded: String, ours: String },
    #[error("the first entries cannot be written: {0}; free space on the volume of the state directory")]
    Unwritable(#[source] WriteError),
}

/// Why an entry is not in the recording. Nothing may be forwarded on its account.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    #[error("the recording holds {bytes} bytes and may hold {max}; prune it with `agentaccess recordings prune`")]
    Full { bytes: u64, max: u64 },
    #[error("the volume of the recording has {free} bytes free and must keep {floor}; free space on it")]
    NoSpace { free: u64, floor: u64 },
    #[error("the recording cannot be written: {0}")]
    Failed(String),
    #[error("an entry of {bytes} bytes is longer than a line may be")]
    TooLarge { bytes: usize },
    #[error("an entry of kind `{0}` is the writer's own")]
    Reserved(&'static str),
    #[error("the recording is closed")]
    Closed,
}

/// Too many entries wait, or the writer is closed: the entry was not taken and its callback will not be called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("too many entries wait to be recorded")]
pub struct QueueFull;

/// Called once with the answer, in order of `seq`, on the thread of the writer or of any caller. Must not block.
pub type Done = Box<dyn FnOnce(Result<Position, WriteError>) + Send>;

/// Handle of the writer; clones share it. When the last one is dropped the writer closes on its own thread.
#[derive(Clone, Debug)]
pub struct Writer {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<Result<Head, WriteError>>>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.begin_close();
    }
}

impl Writer {
    /// Opens the recording in `storage`, repairs a torn tail, marks what was interrupted and continues the chain.
    ///
    /// Blocks while the unsealed tail is read, see `recover`. `witness` is told of each checkpoint.
    pub fn open(
        config: WriterConfig,
        storage: Arc<dyn Storage>,
        key: SigningKey,
        witness: Witness,
    ) -> Result<(Self, Recovery), OpenError> {
        let lock = storage.exclusive().map_err(|error| match error.kind() {
            io::ErrorKind::WouldBlock => OpenError::InUse,
            _ => OpenError::Io(error),
        })?;
        let (core, recovery, first) = recover::open(config, storage, key)?;
        witness(&first);
        let shared = Arc::new(Shared::new(core, witness));
        let worker = Arc::clone(&shared);
        let thread = Builder::new()
            .name("recording".to_owned())
            .spawn(move || {
                let _exclusive = lock;
                worker.run()
            })
            .map_err(OpenError::Io)?;
        let handle = Handle { shared, thread: Mutex::new(Some(thread)) };
        Ok((Self { handle: Arc::new(handle) }, recovery))
    }

    /// Takes an entry. Never blocks; see the module for the one `write` it may do. `done` is called once, when the
    /// entry is in the recording or failed; it may be called before this returns.
    ///
    /// # Errors
    /// [`QueueFull`] when the entry was not taken; `done` is then dropped.
    pub fn submit(
        &self,
        entry: Entry,
        durability: Durability,
        done: impl FnOnce(Result<Position, WriteError>) + Send + 'static,
    ) -> Result<(), QueueFull> {
        self.handle.shared.submit(entry, durability, Box::new(done))
    }

    /// Counts a refusal that could not be recorded; one marker tells their number once something can be written.
    pub fn note_unrecorded_refusal(&self) {
        self.handle.shared.note_unrecorded_refusal();
    }

    /// Whether an operation would be admitted, as last known: to be asked when a session opens. Never blocks.
    pub fn ready(&self) -> Result<(), WriteError> {
        self.handle.shared.ready()
    }

    /// Bytes of all segments, and how many they may be. May wait for the disk.
    pub fn usage(&self) -> (u64, u64) {
        self.handle.shared.usage()
    }

    /// Removes whole segments of which all is kept elsewhere: `stored` entries from the first. Blocks.
    ///
    /// # Errors
    /// When they are not what was written; then all stays.
    pub fn remove_stored(&self, stored: u64) -> Result<Removed, PruneError> {
        self.handle.shared.remove_stored(stored)
    }

    /// Writes everything that waits, a marker and a last checkpoint, and ends the thread. Blocks; later submissions
    /// fail. The head it returns is the final one.
    pub fn close(&self) -> Result<Head, WriteError> {
        self.handle.shared.begin_close();
        let thread = self.handle.thread.lock().take();
        thread.map_or(Err(WriteError::Closed), |t| t.join().unwrap_or(Err(WriteError::Closed)))
    }
}
