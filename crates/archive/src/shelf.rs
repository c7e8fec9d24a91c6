//! The recording of one pod in the store: its key, what was countersigned, and what is kept.
//!
//! Invariant: there is one line of countersigned heads, each of which extends the one before it, and one line of
//! segments, each of which continues the one before it and agrees with the heads and with what came before it was
//! sealed. Any number of replicas may write.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use object_store::path::Path;
use recording::chain::{Chain, Hash};
use recording::note::{Signed, SignedNote, countersigned_head};
use recording::{SigningKey, VerifyingKey};
use tokio::sync::OnceCell;

use crate::error::{ShelfError, StoreError};
use crate::head::{Head, MAX_HEAD};
use crate::id::RecordingId;
use crate::index::Session;
use crate::meta::Meta;
use crate::series::Series;
use crate::store::{Store, within};

mod expiry;
mod keep;
mod tail;

pub use expiry::Expired;
pub use keep::MAX_SEGMENT;
pub use tail::MAX_STRETCH;
pub(crate) use tail::{Tail, Unsealed};

/// Most line hashes in one call: what a sidecar writes in some minutes under load.
pub const MAX_LINES: usize = 1 << 16;
const MAX_NOTE: usize = 16 << 10;
const MAX_META: u64 = 16 << 10;
/// How long a call may take.
const CALL: Duration = Duration::from_secs(60);
/// How often a lost race is run again.
const ATTEMPTS: usize = 8;
/// Heads that no segment covers are thinned out above this.
const MANY_HEADS: usize = 512;
const FEW_HEADS: usize = 256;
/// One of so many heads is made after a look at all of them.
const FRESH: u64 = 64;

/// How far a recording has come in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Entries under the newest countersigned head.
    pub countersigned: u64,
    /// Entries that are kept, those that expired included.
    pub archived: u64,
    /// The same with those that came before they were sealed.
    pub replicated: u64,
    /// Number of the object that the next segment becomes.
    pub next_segment: u64,
    /// What is kept ends as a recorder that stopped in order leaves it.
    pub orderly_stop: bool,
    /// Time of the latest entry that is kept.
    pub until: Option<String>,
}

/// The recording of one pod. Clones share what they know of it.
#[derive(Clone, Debug)]
pub struct Shelf {
    id: RecordingId,
    store: Store,
    path: Path,
    heads: Series,
    segments: Series,
    /// Lines that are in no segment yet.
    tails: Series,
    indexes: Series,
    expiries: Series,
    meta: Arc<OnceCell<Meta>>,
}

/// Where the kept segments end.
#[derive(Clone, Debug)]
struct End {
    /// Number that the next segment becomes.
    next: u64,
    chain: Chain,
    sessions: BTreeMap<String, Session>,
    orderly_stop: bool,
    until: Option<String>,
}

impl Shelf {
    pub(crate) fn new(store: Store, id: RecordingId) -> Self {
        let path = store.shelf_path(&id);
        let series = |folder: &str, suffix| Series::new(store.clone(), path.clone().join(folder), suffix);
        Self {
            heads: series("heads", ".json"),
            segments: series("segments", ".jsonl.zst"),
            tails: series("tails", ".jsonl"),
            indexes: series("segments", ".index.zst"),
            expiries: series("expired", ".json"),
            meta: Arc::new(OnceCell::new()),
            store,
            path,
            id,
        }
    }

    pub fn id(&self) -> &RecordingId {
        &self.id
    }

    /// First contact. The key is that of this recording from then on, and no other ever is.
    ///
    /// # Errors
    /// [`ShelfError::OtherKey`] when it was begun with another key.
    pub async fn begin(&self, meta: &Meta) -> Result<Standing, ShelfError> {
        if !meta.is_sane() {
            return Err(ShelfError::Refused("the name of the pod or of its service account is none".to_owned()));
        }
        let text = meta.render().map_err(|error| ShelfError::Refused(error.to_string()))?;
        if !self.store.create(&self.meta_path(), text.into()).await? {
            let pinned = self.meta().await?;
            if pinned.key != meta.key {
                let (pinned, offered) = (Box::new(pinned.key.clone()), Box::new(meta.key.clone()));
                return Err(ShelfError::OtherKey { pinned, offered });
            }
            // The witness signs what stands there.
            if pinned.pod != meta.pod || pinned.service_account != meta.service_account {
                let why = "the store names another pod or service account for this recording".to_owned();
                return Err(ShelfError::Refused(why));
            }
        }
        self.standing().await
    }

    /// What is known of the pod and its key.
    ///
    /// # Errors
    /// [`ShelfError::NotBegun`] when nothing is.
    pub async fn meta(&self) -> Result<&Meta, ShelfError> {
        let read = || async {
            let path = self.meta_path();
            let bytes = self.store.get(&path, MAX_META).await?.ok_or(ShelfError::NotBegun)?;
            Ok(Meta::parse(path.as_ref(), &bytes)?)
        };
        self.meta.get_or_try_init(read).await
    }

    /// How far it has come.
    ///
    /// # Errors
    /// [`ShelfError::NotBegun`] when nothing is known of it.
    pub async fn standing(&self) -> Result<Standing, ShelfError> {
        timely(async {
            let ((tail, end), head) = (self.look_for_tail().await?, self.newest_head().await?);
            Ok(end.standing(head.as_ref(), tail.edge.size))
        })
        .await
    }

    /// Countersigns a checkpoint that extends the last one. `lines` are the hashes of the lines from what was
    /// countersigned to the size of the note. What comes back is the note with the line of `witness`.
    ///
    /// The same note again gets the same answer.
    ///
    /// # Errors
    /// [`ShelfError::NotAnExtension`] when the recording was written anew; [`ShelfError::OutOfStep`] when `lines` are
    /// not those that come next.
    pub async fn countersign(&self, note: &str, lines: &[Hash], witness: &SigningKey) -> Result<String, ShelfError> {
        timely(self.countersign_it(note, lines, witness)).await
    }

    async fn countersign_it(&self, note: &str, lines: &[Hash], witness: &SigningKey) -> Result<String, ShelfError> {
        let meta = self.meta().await?;
        let asked = Asked::parse(note, &meta.key)?;
        if lines.len() > MAX_LINES {
            return Err(ShelfError::Refused(format!("at most {MAX_LINES} lines may be sent at once")));
        }
        // Who goes on from what this replica countersigned last needs no other look; heads are thinned out by others now
        // and then.
        let known = self.store.heads.get(&self.id).filter(|(number, _)| number % FRESH != 0);
        let mut known = known.filter(|(_, head)| head.chain.size() < asked.head.size);
        for _ in 0..ATTEMPTS {
            let (newest, remembered) = match known.take() {
                Some(newest) => (Some(newest), true),
                None => (self.newest_head().await?, false),
            };
            let (number, before) = match &newest {
                Some((number, head)) => (*number, head.chain.clone()),
                None => (0, Chain::default()),
            };
            if let Some((_, head)) = newest.filter(|_| asked.head.size <= before.size()) {
                match asked.again(&head, witness.public())? {
                    Again::Same(note) => return Ok(note),
                    // The witness has another key by now.
                    Again::Unsigned => {}
                }
            }
            let chain = match asked.extend(before, lines) {
                Err(_) if remembered => continue,
                extended => extended?,
            };
            let head = Head { chain, note: asked.countersigned(witness), binding: meta.bound(&self.id, witness) };
            let text = head.render().map_err(|error| ShelfError::Refused(error.to_string()))?;
            let mine = number.saturating_add(1);
            if !self.heads.create(mine, text.into()).await? {
                continue;
            }
            self.store.heads.forget(&self.id);
            if !self.heads.above(Some(mine)).await?.is_empty() {
                // This head stands behind others, where nobody looks; whether it agrees with them is not known.
                return Err(StoreError::Away("another replica countersigned meanwhile: ask again".to_owned()).into());
            }
            let note = head.note.clone();
            self.store.heads.set(&self.id, (mine, head));
            return Ok(note);
        }
        Err(StoreError::Away("other replicas write all the time: ask again".to_owned()).into())
    }

    /// Puts a mark on the recording. True when it was not there: so of many that say something, one says it.
    ///
    /// # Errors
    /// When `mark` is not 1 to 64 lower case letters, digits and hyphens.
    pub async fn mark(&self, mark: &str) -> Result<bool, ShelfError> {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !(1..=64).contains(&mark.len()) || !mark.chars().all(plain) {
            return Err(ShelfError::Refused("a mark is 1 to 64 lower case letters, digits and hyphens".to_owned()));
        }
        let path = self.path.clone().join("marks").join(mark);
        Ok(self.store.create(&path, bytes::Bytes::from_static(b"{}\n")).await?)
    }

    /// The newest countersigned head and its number.
    pub(crate) async fn newest_head(&self) -> Result<Option<(u64, Head)>, StoreError> {
        // It may be thinned out between the two questions; the newest never is.
        for _ in 0..ATTEMPTS {
            let all = self.heads.all().await?;
            let Some(&newest) = all.last() else { return Ok(None) };
            if all.len() > MANY_HEADS {
                for number in all.iter().take(all.len().saturating_sub(FEW_HEADS)) {
                    self.heads.remove(*number).await?;
                }
            }
            if let Some(head) = self.head(newest).await? {
                return Ok(Some((newest, head)));
            }
        }
        let what = "they come and go".to_owned();
        Err(StoreError::Damaged { object: self.path.clone().join("heads").to_string(), what })
    }

    async fn head(&self, number: u64) -> Result<Option<Head>, StoreError> {
        let bytes = self.heads.get(number, MAX_HEAD).await?;
        bytes.map(|bytes| Head::parse(self.heads.path(number).as_ref(), &bytes)).transpose()
    }

    fn meta_path(&self) -> Path {
        self.path.clone().join("meta.json")
    }
}

/// What is asked of a shelf takes several requests, and ends by then. Each is whole by itself, so any may be the last.
async fn timely<T>(call: impl Future<Output = Result<T, ShelfError>>) -> Result<T, ShelfError> {
    within(CALL, call).await?
}

/// A note that the key of the recording signed.
struct Asked {
    note: SignedNote,
    head: recording::Head,
}

enum Again {
    Same(String),
    Unsigned,
}

impl Asked {
    fn parse(note: &str, key: &VerifyingKey) -> Result<Self, ShelfError> {
        let refused = |why: &str| ShelfError::Refused(format!("the note {why}"));
        if note.len() > MAX_NOTE {
            return Err(refused("is too long"));
        }
        let parsed = SignedNote::parse(note).ok_or_else(|| refused("is no signed note"))?;
        if parsed.signed(key) == Signed::Absent {
            return Err(refused("is not signed by the key that this recording was begun with"));
        }
        let head = countersigned_head(note, key).ok_or_else(|| refused("is no checkpoint that its key signed"))?;
        let ours = parsed.text().split('\n').next() == Some(key.name()) && parsed.signatures() == 1;
        if ours { Ok(Self { note: parsed, head }) } else { Err(refused("is not the checkpoint as it was recorded")) }
    }

    /// What to answer when the newest head is not shorter.
    fn again(&self, newest: &Head, witness: &VerifyingKey) -> Result<Again, ShelfError> {
        let (size, countersigned) = (self.head.size, newest.chain.size());
        if size < countersigned {
            return Err(ShelfError::NotAnExtension(format!(
                "a checkpoint over {size} entries after one over {countersigned} was countersigned"
            )));
        }
        let note = SignedNote::parse(&newest.note);
        match note {
            Some(note) if note.text() == self.note.text() && self.head.root == newest.chain.root() => {
                let signed = note.signed(witness) == Signed::Valid;
                Ok(if signed { Again::Same(newest.note.clone()) } else { Again::Unsigned })
            }
            _ => Err(ShelfError::NotAnExtension(format!("another checkpoint over {size} entries was countersigned"))),
        }
    }

    /// The chain at the size of the note, if `lines` lead from `before` to its root.
    fn extend(&self, before: Chain, lines: &[Hash]) -> Result<Chain, ShelfError> {
        let (size, from) = (self.head.size, before.size());
        let missing = size.saturating_sub(from);
        // Again::Unsigned comes here with no line to add, whatever was sent.
        let lines = if missing == 0 { &[] } else { lines };
        let sent = u64::try_from(lines.len()).unwrap_or(u64::MAX);
        if sent != missing {
            let offered = size.saturating_sub(sent);
            return Err(ShelfError::OutOfStep { what: "the lines of the checkpoint", expected: from, offered });
        }
        let mut chain = before;
        lines.iter().for_each(|line| chain.push_hash(*line));
        if chain.root() != self.head.root {
            return Err(ShelfError::NotAnExtension(format!(
                "the checkpoint over {size} entries is not over the {from} that were countersigned and those sent"
            )));
        }
        Ok(chain)
    }

    fn countersigned(&self, witness: &SigningKey) -> String {
        let mut note = self.note.clone();
        note.add(witness);
        note.to_string()
    }
}
