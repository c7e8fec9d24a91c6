//! Walks a recording, from its start or from a later header, checking sequence, chain and checkpoints; shared by verify, repair and prune.
//!
//! It stops at the first fault and says where it is: an edit shows only in the line *after* it, so the walker holds one
//! line ahead to tell an edited line from an edited `prev`.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt;

use serde::Deserialize;

use crate::chain::{Chain, Hash, Head};
use crate::entry::{Body, Entry, KINDS, Line, MAX_LINE, Resume, Stamp, VERSION, finish, middle};
use crate::keys::VerifyingKey;
use crate::note::{CheckpointText, Signed, SignedNote};
use crate::prune::{self, Pruned};
use crate::reader::{Lines, Raw, ReadError, Segment, first_line_ends, header, segments};
use crate::spool::Storage;

mod resume;

/// The least that a disk writes.
const SECTOR: usize = 512;

/// What is looked at in every line.
#[derive(Deserialize)]
pub(crate) struct Lean<'a> {
    pub(crate) v: u64,
    pub(crate) seq: u64,
    #[serde(borrow)]
    pub(crate) kind: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) code: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) wall: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) session: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(crate) op: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) prev: Cow<'a, str>,
}

impl Lean<'_> {
    pub(crate) fn links(&self, last: &Hash) -> bool {
        Hash::from_prev(&self.prev) == Some(*last)
    }
}

/// Where a recording is not what was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The line with this `seq` was changed; where the chain was made anew, one of those up to `until`.
    Edited { seq: u64, until: u64 },
    /// The line that should have this `seq` is missing, moved or doubled.
    Gap { seq: u64 },
    /// Whole segments are missing.
    SegmentMissing { from: u64, to: u64 },
    /// The checkpoints were signed by another key.
    WrongKey { recorded: String },
    /// The note that tells of pruned segments is not one that the key signed.
    Expiry,
    /// It was written by a program that is newer than this one.
    Version { seq: u64, version: u64 },
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Edited { seq, until } if seq == until => write!(f, "edited at seq {seq}"),
            Self::Edited { seq, until } => write!(f, "edited between seq {seq} and seq {until}, and chained anew"),
            Self::Gap { seq } => write!(f, "gap or reorder at seq {seq}"),
            Self::SegmentMissing { from, to } => write!(f, "segment missing: seq {from} to {to}"),
            Self::WrongKey { recorded } => write!(f, "wrong key: the recording says it was signed by {recorded}"),
            Self::Expiry => write!(f, "the note about pruned segments is not signed by this key"),
            Self::Version { seq, version } => {
                write!(f, "seq {seq} has version {version} of the format, this program knows {VERSION}")
            }
        }
    }
}

/// A line that is in its place.
pub(crate) struct Sound<'a> {
    pub(crate) raw: &'a Raw,
    pub(crate) lean: Lean<'a>,
}

pub(crate) enum Step<'a> {
    Line(Sound<'a>),
    /// What follows in the last segment is half a line.
    Torn {
        segment: String,
        offset: u64,
    },
    Fault {
        segment: String,
        fault: Fault,
    },
    End,
}

pub(crate) struct Walk<'a> {
    key: &'a VerifyingKey,
    lines: Lines<'a>,
    ahead: VecDeque<Raw>,
    current: Option<Raw>,
    chain: Chain,
    /// Lines below this were found under a valid checkpoint.
    trusted: u64,
    checkpoints: u64,
    recorded_key: Option<String>,
    pruned: Option<Pruned>,
    expiry_broken: bool,
    /// Trailing segments of which not even the header is whole.
    stubs: Vec<String>,
    done: bool,
}

enum Found {
    Sound,
    Torn,
    Fault(Fault),
}

impl<'a> Walk<'a> {
    /// Begins at the first segment that is left.
    pub(crate) fn new(storage: &'a dyn Storage, key: &'a VerifyingKey) -> Result<Self, ReadError> {
        Self::witnessed(storage, key, None)
    }

    /// The same, where `witness` may have signed the note about what expired.
    pub(crate) fn witnessed(
        storage: &'a dyn Storage,
        key: &'a VerifyingKey,
        witness: Option<&VerifyingKey>,
    ) -> Result<Self, ReadError> {
        let (list, prior) = Prior::load(storage, key, witness)?;
        let chain = prior.chain();
        Ok(Self::begin(key, prior, chain, Lines::new(storage, list)))
    }

    /// All of `storage`, which holds what follows `chain`.
    pub(crate) fn following(storage: &'a dyn Storage, key: &'a VerifyingKey, chain: Chain) -> Result<Self, ReadError> {
        let prior = Prior { pruned: None, expiry_broken: false, stubs: Vec::new() };
        Ok(Self::begin(key, prior, chain, Lines::new(storage, segments(storage)?)))
    }

    /// Begins at the segment that is `back` from the last one, at what its header says. None when it does not say it.
    ///
    /// Nothing of that is proven before [`Walk::checkpoints`] is above zero.
    pub(crate) fn near_end(
        storage: &'a dyn Storage,
        key: &'a VerifyingKey,
        back: usize,
    ) -> Result<Option<(Self, Resume)>, ReadError> {
        let (mut list, prior) = Prior::load(storage, key, None)?;
        let Some(start) = resume::find(storage, &list, &prior.chain(), back)? else { return Ok(None) };
        list.drain(..start.at);
        Ok(Some((Self::begin(key, prior, start.chain, Lines::new(storage, list)), start.resume)))
    }

    fn begin(key: &'a VerifyingKey, prior: Prior, chain: Chain, lines: Lines<'a>) -> Self {
        Self {
            key,
            lines,
            ahead: VecDeque::new(),
            current: None,
            trusted: chain.size(),
            chain,
            checkpoints: 0,
            recorded_key: None,
            pruned: prior.pruned,
            expiry_broken: prior.expiry_broken,
            stubs: prior.stubs,
            done: false,
        }
    }

    pub(crate) fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Size under the last valid checkpoint, that checkpoint's own line included.
    pub(crate) fn trusted(&self) -> u64 {
        self.trusted
    }

    pub(crate) fn checkpoints(&self) -> u64 {
        self.checkpoints
    }

    pub(crate) fn recorded_key(&self) -> Option<&str> {
        self.recorded_key.as_deref()
    }

    pub(crate) fn stubs(&self) -> &[String] {
        &self.stubs
    }

    pub(crate) fn pruned(&self) -> Option<&Pruned> {
        self.pruned.as_ref()
    }

    /// The next line. After anything but `Line` only `End` follows.
    pub(crate) fn step(&mut self) -> Result<Step<'_>, ReadError> {
        if self.done {
            return Ok(Step::End);
        }
        if self.expiry_broken {
            self.done = true;
            return Ok(Step::Fault { segment: prune::NOTE.to_owned(), fault: Fault::Expiry });
        }
        self.fill(1)?;
        let Some(raw) = self.ahead.pop_front() else {
            self.done = true;
            return Ok(Step::End);
        };
        self.fill(1)?;
        let found = self.judge(&raw)?;
        let raw = self.current.insert(raw);
        let segment = raw.segment.to_string();
        match found {
            Found::Sound => {
                // Parsed above already; a line that is sound parses.
                let lean = serde_json::from_slice(&raw.bytes).map_err(|e| ReadError::Damaged {
                    file: segment,
                    seq: 0,
                    what: e.to_string(),
                })?;
                Ok(Step::Line(Sound { raw, lean }))
            }
            Found::Torn => {
                self.done = true;
                Ok(Step::Torn { segment, offset: raw.offset })
            }
            Found::Fault(fault) => {
                self.done = true;
                Ok(Step::Fault { segment, fault })
            }
        }
    }

    fn fill(&mut self, count: usize) -> Result<(), ReadError> {
        while self.ahead.len() < count {
            let Some(raw) = self.lines.next()? else { break };
            self.ahead.push_back(raw);
        }
        Ok(())
    }

    /// Judges the line that should stand next, and takes it into the chain when it is sound.
    fn judge(&mut self, raw: &Raw) -> Result<Found, ReadError> {
        let expected = self.chain.size();
        let edited = |seq| Found::Fault(Fault::Edited { seq, until: seq });
        if !raw.terminated() && raw.bytes.len() < MAX_LINE {
            return Ok(if raw.last_segment { Found::Torn } else { edited(expected) });
        }
        let Ok(lean) = serde_json::from_slice::<Lean<'_>>(&raw.bytes) else {
            // A block that never reached the disk reads as zeros, which no entry of ours holds.
            let unwritten = raw.last_segment && raw.bytes.windows(SECTOR).any(|w| w.iter().all(|b| *b == 0));
            return Ok(if unwritten { Found::Torn } else { edited(expected) });
        };
        let linked = lean.links(&self.chain.last());
        match (lean.seq == expected, linked) {
            (true, true) => {}
            (true, false) => return Ok(edited(self.blame(raw, expected))),
            (false, true) => return Ok(edited(expected)),
            (false, false) => return Ok(Found::Fault(self.gap(raw, &lean, expected))),
        }
        if lean.v != u64::from(VERSION) {
            let untouched = self.next_links(&Hash::of(&raw.bytes));
            let version = Fault::Version { seq: expected, version: lean.v };
            return Ok(if untouched == Some(true) { Found::Fault(version) } else { edited(expected) });
        }
        if !KINDS.contains(&&*lean.kind) || (lean.kind == "header") != raw.first {
            return Ok(edited(expected));
        }
        if lean.kind == "header" && self.recorded_key.is_none() {
            let Ok(Line { body: Body::Header(header), .. }) = raw.parse() else { return Ok(edited(expected)) };
            self.recorded_key = Some(header.key);
        }
        if lean.kind == "checkpoint" {
            if let Some(fault) = self.checkpoint(raw, expected) {
                return Ok(Found::Fault(fault));
            }
            self.trusted = expected.saturating_add(1);
            self.checkpoints += 1;
        }
        self.chain.push(&raw.bytes);
        Ok(Found::Sound)
    }

    /// `raw` has the right `seq` but does not link to the line before: which of the two was changed?
    fn blame(&self, raw: &Raw, expected: u64) -> u64 {
        let Some(before) = expected.checked_sub(1) else { return expected };
        if before < self.trusted {
            return expected;
        }
        let signs_what_stands = parse_checkpoint(raw)
            .is_some_and(|(note, text)| note.signed(self.key) == Signed::Valid && text.head == self.chain.head());
        if signs_what_stands || self.next_links(&Hash::of(&repaired(raw, &self.chain.last()))) == Some(true) {
            return expected;
        }
        before
    }

    /// `raw` neither links nor has the right `seq`.
    fn gap(&self, raw: &Raw, lean: &Lean<'_>, expected: u64) -> Fault {
        let parsed = raw.first.then(|| raw.parse().ok()).flatten();
        match parsed.map(|line| line.body) {
            Some(Body::Header(header)) if lean.seq > expected => {
                let before = self.current.as_ref().map_or(0, |before| before.number);
                let pruned_start = self.current.is_none() && self.pruned.is_some();
                if header.segment != before.saturating_add(1) || pruned_start {
                    return Fault::SegmentMissing { from: expected, to: lean.seq.saturating_sub(1) };
                }
                Fault::Gap { seq: expected }
            }
            _ => Fault::Gap { seq: expected },
        }
    }

    fn next_links(&self, hash: &Hash) -> Option<bool> {
        let next = self.ahead.front()?;
        serde_json::from_slice::<Lean<'_>>(&next.bytes).ok().map(|lean| lean.links(hash))
    }

    fn checkpoint(&self, raw: &Raw, seq: u64) -> Option<Fault> {
        let edited = Some(Fault::Edited { seq, until: seq });
        let Some((note, text)) = parse_checkpoint(raw) else { return edited };
        match note.signed(self.key) {
            Signed::Valid => {}
            Signed::Invalid => return edited,
            Signed::Absent => {
                let recorded = self.recorded_key.clone().unwrap_or_default();
                return if recorded == self.key.to_string() { edited } else { Some(Fault::WrongKey { recorded }) };
            }
        }
        let canonical =
            render_checkpoint(&note.to_string(), &text, seq, &self.chain.last()).is_some_and(|line| line == raw.bytes);
        if note.signatures() != 1 || !canonical || text.origin != self.key.name() || text.head.size != seq {
            return edited;
        }
        // Signed over other lines than stand here, although each links to the one before.
        let until = seq.saturating_sub(1);
        (text.head.root != self.chain.root()).then_some(Fault::Edited { seq: self.trusted, until })
    }
}

/// What is known before a line is read.
struct Prior {
    pruned: Option<Pruned>,
    expiry_broken: bool,
    stubs: Vec<String>,
}

impl Prior {
    /// With the segments that hold lines still.
    fn load(
        storage: &dyn Storage,
        key: &VerifyingKey,
        witness: Option<&VerifyingKey>,
    ) -> Result<(Vec<Segment>, Self), ReadError> {
        let mut list = segments(storage)?;
        let (pruned, expiry_broken) = match prune::load(storage, key, witness)? {
            prune::Loaded::None => (None, false),
            prune::Loaded::Valid(pruned) => (Some(*pruned), false),
            prune::Loaded::Broken => (None, true),
        };
        let stubs = drop_stubs(storage, &mut list)?;
        if let Some(pruned) = &pruned {
            drop_expired(storage, &mut list, pruned.chain.size())?;
        }
        Ok((list, Self { pruned, expiry_broken, stubs }))
    }

    fn chain(&self) -> Chain {
        self.pruned.as_ref().map_or_else(Chain::default, |pruned| pruned.chain.clone())
    }
}

/// The line of a checkpoint is fixed by its signed note and its place.
pub(crate) fn render_checkpoint(note: &str, text: &CheckpointText, seq: u64, prev: &Hash) -> Option<Vec<u8>> {
    let stamp = Stamp { mono_ns: text.mono_ns, wall: text.wall.clone() };
    let body = Body::Checkpoint(crate::entry::Checkpoint { note: note.to_owned() });
    let middle = middle(&mut Entry::global(body), &stamp).ok()?;
    let mut line = Vec::new();
    finish(&mut line, seq, &middle, prev);
    Some(line)
}

fn parse_checkpoint(raw: &Raw) -> Option<(SignedNote, CheckpointText)> {
    let Line { body: Body::Checkpoint(checkpoint), .. } = raw.parse().ok()? else { return None };
    let note = SignedNote::parse(&checkpoint.note)?;
    let text = CheckpointText::parse(note.text())?;
    Some((note, text))
}

/// What a line says of the head, when it is a checkpoint that `key` signed.
pub(crate) fn signed_head(raw: &Raw, key: &VerifyingKey) -> Option<Head> {
    let lean: Lean<'_> = serde_json::from_slice(&raw.bytes).ok()?;
    let (note, text) = (lean.kind == "checkpoint").then(|| parse_checkpoint(raw)).flatten()?;
    (note.signed(key) == Signed::Valid).then_some(text.head)
}

/// The line as it was if only its `prev` was changed.
fn repaired(raw: &Raw, prev: &Hash) -> Vec<u8> {
    let tail = format!(",\"prev\":\"{prev}\"}}\n");
    let keep = raw.bytes.len().saturating_sub(tail.len());
    let mut line: Vec<u8> = raw.bytes.iter().copied().take(keep).collect();
    line.extend_from_slice(tail.as_bytes());
    line
}

/// Leaves out segments that a prune told of but had not removed yet.
fn drop_expired(storage: &dyn Storage, list: &mut Vec<Segment>, size: u64) -> Result<(), ReadError> {
    let mut expired = 0;
    for segment in list.iter() {
        match header(storage, &segment.name)? {
            Some(line) if line.seq < size => expired += 1,
            _ => break,
        }
    }
    list.drain(..expired);
    Ok(())
}

/// Takes trailing segments off the list whose first line was never finished.
fn drop_stubs(storage: &dyn Storage, list: &mut Vec<Segment>) -> Result<Vec<String>, ReadError> {
    let mut stubs = Vec::new();
    while let Some(segment) = list.last() {
        if first_line_ends(storage, &segment.name)? {
            break;
        }
        stubs.extend(list.pop().map(|segment| segment.name.to_string()));
    }
    Ok(stubs)
}
