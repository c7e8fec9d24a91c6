//! What the sidecar knows of each database: a catalog read over a connection of our own, as our own operations.
//!
//! Every text is a constant of `pgsql`, each query has its intent in the recording (session `internal`), and all of
//! them run in one REPEATABLE READ READ ONLY transaction. A database whose catalog cannot be read gets no sessions:
//! without it no name can be resolved, so everything would be refused anyway.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use pgcodec::Framer;
use pgsql::catalog::{Catalog, CatalogError, SNAPSHOT};
use policy::TargetKey;
use tokio::sync::Mutex;
use tokio::time::timeout;

use super::internal::{Asker, InternalError, MOST_BYTES, Rows};
use super::login::{LoggedIn, LoginError};
use crate::core::Core;
use crate::gate::Gate;
use crate::outside::Target;

/// Older than this it is read again in the background when it is used.
const FRESH: Duration = Duration::from_secs(10);
/// Older than this a statement waits until it was read again.
const STALE: Duration = Duration::from_secs(30);
/// A statement whose meaning may have changed under the same names is judged on one that is not older than this, or
/// than `SHARE` times what reading takes: a large database is not read all the time.
const RECENT: Duration = Duration::from_secs(1);
const SHARE: u32 = 4;
/// A name that is not found is worth another look only if the snapshot is older than this.
const SECOND_LOOK: Duration = Duration::from_secs(2);
/// For reading one snapshot.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error(transparent)]
    Login(#[from] LoginError),
    #[error("the catalog cannot be read: {0}")]
    Catalog(#[from] CatalogError),
    #[error("the catalog cannot be read: {0}")]
    Ask(#[from] InternalError),
    #[error("reading the catalog took longer than {} s", DEADLINE.as_secs())]
    Timeout,
}

#[derive(Debug)]
pub struct Loaded {
    pub catalog: Catalog,
    /// When reading it began.
    at: Instant,
    took: Duration,
}

impl Loaded {
    /// What was read since `at`.
    pub(super) fn since(at: Instant, catalog: Catalog) -> Self {
        Self { catalog, at, took: at.elapsed() }
    }

    /// Not so old that a statement waits until it was read again.
    pub fn is_usable(&self) -> bool {
        self.at.elapsed() <= STALE
    }

    /// Recent enough for what names do not pin: views, values that hold rows, foreign keys that carry a change on.
    pub fn is_recent(&self) -> bool {
        self.at.elapsed() <= self.took.saturating_mul(SHARE).clamp(RECENT, STALE)
    }
}

/// The snapshots of all databases in use.
#[derive(Debug, Default)]
pub struct Catalogs {
    slots: parking_lot::Mutex<HashMap<(TargetKey, String), Arc<Slot>>>,
}

/// One database's snapshot: read by one task at a time, seen by all.
#[derive(Debug)]
pub struct Slot {
    target: Arc<Target>,
    database: String,
    current: ArcSwapOption<Loaded>,
    reading: Mutex<()>,
    /// How often sessions said that they changed the catalog.
    changes: AtomicU64,
}

impl Catalogs {
    pub fn slot(&self, target: &Arc<Target>, database: &str) -> Arc<Slot> {
        let key = (target.key.clone(), database.to_owned());
        let mut slots = self.slots.lock();
        let slot = slots.entry(key).or_insert_with(|| Slot::new(target, database));
        if *slot.target != **target {
            // The AccessTarget changed: what was read from the old one says nothing.
            *slot = Slot::new(target, database);
        }
        Arc::clone(slot)
    }
}

impl Slot {
    fn new(target: &Arc<Target>, database: &str) -> Arc<Self> {
        Arc::new(Self {
            target: Arc::clone(target),
            database: database.to_owned(),
            current: ArcSwapOption::empty(),
            reading: Mutex::new(()),
            changes: AtomicU64::new(0),
        })
    }

    /// The snapshot to plan with: read now if there is none or it is stale, read in the background if it is not fresh.
    pub async fn current(self: &Arc<Self>, core: &Arc<Core>) -> Result<Arc<Loaded>, SnapshotError> {
        let Some(loaded) = self.current.load_full() else { return self.read(core, Instant::now()).await };
        if !loaded.is_usable() {
            return self.read(core, Instant::now()).await;
        }
        if loaded.at.elapsed() > FRESH && self.reading.try_lock().is_ok() {
            let (slot, core) = (Arc::clone(self), Arc::clone(core));
            tokio::spawn(async move {
                if let Err(error) = slot.read(&core, Instant::now()).await {
                    tracing::warn!(target: "agentaccess", %error, database = slot.database, "catalog not refreshed");
                }
            });
        }
        Ok(loaded)
    }

    /// The snapshot for a statement that needs a recent one: read now unless it is.
    pub async fn recent(self: &Arc<Self>, core: &Arc<Core>) -> Result<Arc<Loaded>, SnapshotError> {
        match self.current.load_full().filter(|loaded| loaded.is_recent()) {
            Some(loaded) => Ok(loaded),
            None => self.read(core, Instant::now()).await,
        }
    }

    /// After a name was not found: the snapshot again, if it may have changed meanwhile.
    pub async fn second_look(self: &Arc<Self>, core: &Arc<Core>, seen: &Loaded) -> Option<Arc<Loaded>> {
        let now = Instant::now();
        if now.duration_since(seen.at) < SECOND_LOOK {
            return None;
        }
        self.read(core, now).await.ok().filter(|loaded| loaded.catalog.revision != seen.catalog.revision)
    }

    /// After a statement that changes the catalog: what is planned next waits for a new one.
    pub fn invalidate(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
        self.current.store(None);
    }

    /// Another number after each change that a session of ours made: what was read before it may be old.
    pub fn changes(&self) -> u64 {
        self.changes.load(Ordering::SeqCst)
    }

    /// Reads a snapshot that is not older than `asked`; of many callers one does the work.
    async fn read(&self, core: &Arc<Core>, asked: Instant) -> Result<Arc<Loaded>, SnapshotError> {
        let _one = self.reading.lock().await;
        if let Some(loaded) = self.current.load_full()
            && loaded.at >= asked
        {
            return Ok(loaded);
        }
        let at = Instant::now();
        // Boxed: what is rare takes no room in each session.
        let catalog = Box::pin(timeout(DEADLINE, snapshot(core, &self.target, &self.database)))
            .await
            .unwrap_or(Err(SnapshotError::Timeout))?;
        core.save_catalog(&self.target.key, &self.database, &catalog);
        let loaded = Arc::new(Loaded::since(at, catalog));
        self.current.store(Some(Arc::clone(&loaded)));
        Ok(loaded)
    }
}

async fn snapshot(core: &Arc<Core>, target: &Arc<Target>, database: &str) -> Result<Catalog, SnapshotError> {
    let logged_in = core.log_in(target, database, &[]).await?;
    read(&core.gate, &core.digest_key, logged_in, target, database).await
}

/// One snapshot over a connection of its own.
pub(crate) async fn read(
    gate: &Arc<Gate>,
    key: &aws_lc_rs::hmac::Key,
    mut logged_in: LoggedIn,
    target: &Arc<Target>,
    database: &str,
) -> Result<Catalog, SnapshotError> {
    let mut framer = Framer::backend(&pgcodec::Limits::default());
    let mut desk = gate.internal_desk(target);
    let mut asker = Asker {
        upstream: &mut logged_in.upstream,
        framer: &mut framer,
        desk: &mut desk,
        key,
        database,
        most: MOST_BYTES,
        unasked: Vec::new(),
    };
    asker.ask("catalog snapshot: begin", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let mut rows = Vec::with_capacity(SNAPSHOT.len());
    for text in SNAPSHOT {
        rows.push(texts(asker.ask("catalog snapshot", text).await?));
    }
    asker.ask("catalog snapshot: end", "COMMIT").await?;
    logged_in.upstream.close().await;
    Ok(Catalog::from_rows(&rows)?)
}

/// The same on the connection of an agent, as its open transaction sees it. Each text sees another moment.
pub(super) async fn read_beside(asker: &mut Asker<'_>) -> Result<Catalog, SnapshotError> {
    let mut rows = Vec::with_capacity(SNAPSHOT.len());
    for text in SNAPSHOT {
        rows.push(texts(asker.ask_beside("catalog snapshot: of an open transaction", text).await?));
    }
    Ok(Catalog::from_rows(&rows)?)
}

fn texts(rows: Rows) -> Vec<String> {
    rows.into_iter().filter_map(first_text).collect()
}

/// The only column of a row; what is not UTF-8 cannot be JSON and fails there.
fn first_text(row: Vec<Option<bytes::Bytes>>) -> Option<String> {
    row.into_iter().next().flatten().map(|value| String::from_utf8_lossy(&value).into_owned())
}
