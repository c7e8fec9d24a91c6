//! Removes whole old segments and keeps what `verify` needs to call them expired instead of missing.
//!
//! What stays is a note, signed by the recording's key, with the state of the chain at the cut and the last checkpoint
//! of each segment removed. The state alone could be made by anyone who removes segments; the signature could not.
//! In a store the witness that countersigns is the one who removes: then the note is signed with its key.
//! Refused: a recording that does not verify up to the cut, and the segment that is being written.

use crate::chain::{Chain, Hash, Head};
use crate::entry::{Body, Line};
use crate::keys::{SigningKey, VerifyingKey};
use crate::note::{CheckpointText, Signed, SignedNote};
use crate::reader::{ReadError, segments};
use crate::spool::Storage;
use crate::walk::{Step, Walk};

/// File that holds the signed note.
pub const NOTE: &str = "expired.note";
/// File of the kept checkpoint notes, one JSON string a line.
pub const CHECKPOINTS: &str = "expired-checkpoints.jsonl";
const MAX_FILE: u64 = 64 << 20;

#[derive(Debug, thiserror::Error)]
pub enum PruneError {
    #[error("nothing was pruned: {0}")]
    Read(#[from] ReadError),
    #[error("cannot write `{file}`: {source}")]
    Io { file: String, source: std::io::Error },
}

/// What was removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    pub segments: u64,
    pub entries: u64,
    pub bytes: u64,
}

/// What is known of the segments that are gone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pruned {
    pub(crate) chain: Chain,
    /// Heads of the kept checkpoints.
    heads: Vec<Head>,
}

impl Pruned {
    /// Root at `size`, where it is still known.
    pub(crate) fn head_at(&self, size: u64) -> Option<Hash> {
        let kept = self.heads.iter().find(|h| h.size == size).map(|h| h.root);
        kept.or_else(|| (size == self.chain.size()).then(|| self.chain.root()))
    }
}

pub(crate) enum Loaded {
    None,
    Valid(Box<Pruned>),
    Broken,
}

/// The note about pruned segments, when there is one.
pub(crate) fn load(
    storage: &dyn Storage,
    key: &VerifyingKey,
    witness: Option<&VerifyingKey>,
) -> Result<Loaded, ReadError> {
    let Some(note) = read(storage, NOTE)? else { return Ok(Loaded::None) };
    let Some(chain) = expired_at(&note, key, witness) else { return Ok(Loaded::Broken) };
    let mut heads = Vec::new();
    for line in read(storage, CHECKPOINTS)?.unwrap_or_default().lines() {
        let head = serde_json::from_str::<String>(line).ok().and_then(|note| {
            let note = SignedNote::parse(&note)?;
            let text = CheckpointText::parse(note.text())?;
            (note.signed(key) == Signed::Valid).then_some(text.head)
        });
        let Some(head) = head else { return Ok(Loaded::Broken) };
        heads.push(head);
    }
    Ok(Loaded::Valid(Box::new(Pruned { chain, heads })))
}

/// Removes every leading segment whose last entry is older than `before`, RFC 3339 UTC as entries carry it.
pub fn prune(storage: &dyn Storage, key: &SigningKey, before: jiff::Timestamp) -> Result<Removed, PruneError> {
    cut_off(storage, key, true, |newest, _| newest < before)
}

/// Removes every leading segment that holds nothing but the first `stored` entries, which are kept elsewhere with their
/// checkpoints: of these none stays here.
///
/// # Errors
/// As of [`prune`].
pub fn prune_stored(storage: &dyn Storage, key: &SigningKey, stored: u64) -> Result<Removed, PruneError> {
    cut_off(storage, key, false, |_, end| end <= stored)
}

/// Removes leading segments while `goes` says so of the newest time in one and the number of entries up to its end.
fn cut_off(
    storage: &dyn Storage,
    key: &SigningKey,
    keep_checkpoints: bool,
    goes: impl Fn(jiff::Timestamp, u64) -> bool,
) -> Result<Removed, PruneError> {
    let all = segments(storage)?;
    let Some(last) = all.last() else { return Ok(Removed::default()) };
    let mut walk = Walk::new(storage, key.public())?;
    let start = walk.chain().clone();
    let mut cut = start.clone();
    let mut kept = Vec::new();
    let mut checkpoint = None;
    // Newest time in the segment at hand, and its name; its first line decides over the segment before.
    let mut current: Option<(String, jiff::Timestamp)> = None;
    loop {
        let before_line = walk.chain().clone();
        let (name, wall, note) = match walk.step()? {
            Step::Line(sound) => {
                let damaged = |what: &str| ReadError::Damaged {
                    file: sound.raw.segment.to_string(),
                    seq: sound.lean.seq,
                    what: what.to_owned(),
                };
                let wall: jiff::Timestamp = sound.lean.wall.parse().map_err(|_| damaged("its time is not one"))?;
                let note = match (sound.lean.kind == "checkpoint").then(|| sound.raw.parse()) {
                    Some(Ok(Line { body: Body::Checkpoint(c), .. })) => Some(c.note),
                    _ => None,
                };
                (sound.raw.segment.to_string(), wall, note)
            }
            Step::Fault { segment, fault } => {
                return Err(
                    ReadError::Damaged { file: segment, seq: walk.chain().size(), what: fault.to_string() }.into()
                );
            }
            Step::Torn { .. } | Step::End => break,
        };
        match &mut current {
            Some((segment, newest)) if *segment == name => *newest = wall.max(*newest),
            _ => {
                if let Some((_, newest)) = current.replace((name.clone(), wall)) {
                    if !goes(newest, before_line.size()) {
                        break;
                    }
                    cut = before_line;
                    kept.extend(checkpoint.take().filter(|_| keep_checkpoints));
                }
                if name == *last.name {
                    break;
                }
            }
        }
        checkpoint = note.or(checkpoint);
    }
    drop(walk);
    write(storage, key, &cut, &start, &kept)?;
    remove_below(storage, cut.size(), cut.size() - start.size())
}

/// The note goes first: a crash after it leaves segments that count as expired and that the next prune removes.
fn write(
    storage: &dyn Storage,
    key: &SigningKey,
    cut: &Chain,
    start: &Chain,
    kept: &[String],
) -> Result<(), PruneError> {
    if cut.size() == start.size() {
        return Ok(());
    }
    let io = |file: &str| {
        let file = file.to_owned();
        move |source| PruneError::Io { file, source }
    };
    let mut checkpoints = read(storage, CHECKPOINTS)?.unwrap_or_default();
    for note in kept {
        checkpoints.push_str(&serde_json::Value::String(note.clone()).to_string());
        checkpoints.push('\n');
    }
    storage.replace(CHECKPOINTS, checkpoints.as_bytes()).map_err(io(CHECKPOINTS))?;
    let note = SignedNote::sign(render(cut, key.public()), key).to_string();
    storage.replace(NOTE, note.as_bytes()).map_err(io(NOTE))
}

fn remove_below(storage: &dyn Storage, size: u64, entries: u64) -> Result<Removed, PruneError> {
    let mut removed = Removed { entries, ..Removed::default() };
    for segment in segments(storage)? {
        match crate::reader::header(storage, &segment.name)? {
            Some(line) if line.seq < size => {
                let io = |source| PruneError::Io { file: segment.name.to_string(), source };
                storage.remove(&segment.name).map_err(io)?;
                removed.segments += 1;
                removed.bytes = removed.bytes.saturating_add(segment.bytes);
            }
            _ => break,
        }
    }
    Ok(removed)
}

/// The note over what was removed of the recording of `key`, signed by the witness that removed it.
pub fn witnessed_note(chain: &Chain, key: &VerifyingKey, witness: &SigningKey) -> String {
    SignedNote::sign(render(chain, key), witness).to_string()
}

/// The state of the chain at the cut, when `key` or `witness` signed the note.
pub fn expired_at(note: &str, key: &VerifyingKey, witness: Option<&VerifyingKey>) -> Option<Chain> {
    let (note, chain) = parse(note, key)?;
    let valid = |by: &VerifyingKey| note.signed(by) == Signed::Valid;
    (valid(key) || witness.is_some_and(valid)).then_some(chain)
}

fn render(chain: &Chain, key: &VerifyingKey) -> String {
    let nodes: String = chain.frontier().iter().map(|node| format!("{}\n", node.to_base64())).collect();
    format!("{}/expired\n{}\n{}\n{nodes}", key.name(), chain.size(), chain.last().to_base64())
}

/// A note in the words that we write, whoever signed it.
fn parse(note: &str, key: &VerifyingKey) -> Option<(SignedNote, Chain)> {
    let note = SignedNote::parse(note)?;
    let mut lines = note.text().strip_suffix('\n')?.split('\n');
    let (_origin, size, last) = (lines.next()?, lines.next()?, lines.next()?);
    let frontier = lines.map(Hash::from_base64).collect::<Option<Vec<_>>>()?;
    let chain = Chain::resume(size.parse().ok()?, Hash::from_base64(last)?, frontier)?;
    let ours = render(&chain, key) == note.text();
    ours.then_some((note, chain))
}

fn read(storage: &dyn Storage, name: &str) -> Result<Option<String>, ReadError> {
    use std::io::Read as _;
    let io = |source| ReadError::Io { file: name.to_owned(), source };
    let reader = match storage.read(name) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        reader => reader.map_err(io)?,
    };
    let mut bytes = Vec::new();
    reader.take(MAX_FILE).read_to_end(&mut bytes).map_err(io)?;
    // What is not UTF-8 is not what was signed either, and shows as that.
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}
