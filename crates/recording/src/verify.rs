//! Says offline, from the public key alone, whether a recording is what was written.
//!
//! Every change before the last checkpoint is found and located. What follows it is chained but not signed: an edit
//! there is found too unless it is in the very last line or the chain was made anew, and a cut at the end is found only
//! with a head that was kept elsewhere. The verdict says which of these it is.

use std::fmt;

use crate::chain::{Chain, Head};
use crate::keys::VerifyingKey;
use crate::reader::{Lines, ReadError, segments};
use crate::spool::Storage;
use crate::walk::{self, Fault, Step, Walk};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Intact,
    /// Whole lines from `since` on, or half a line, stand after the last checkpoint.
    UnsignedTail {
        since: u64,
    },
    /// Shorter than a head that was kept elsewhere.
    Truncated {
        size: u64,
        expected: u64,
    },
    /// Its root at the size of the head is another: it is not the recording of which the head was kept.
    OtherHead {
        size: u64,
    },
    Fault {
        file: String,
        fault: Fault,
    },
}

impl Verdict {
    /// Exit status of `agentaccess verify`: 0 intact; 10 edited; 11 gap or reorder; 12 truncated; 13 unsigned tail;
    /// 14 segment missing; 15 wrong key; 16 another recording than the head's; 17 version not known.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Intact => 0,
            Self::Fault { fault: Fault::Edited { .. } | Fault::Expiry, .. } => 10,
            Self::Fault { fault: Fault::Gap { .. }, .. } => 11,
            Self::Truncated { .. } => 12,
            Self::UnsignedTail { .. } => 13,
            Self::Fault { fault: Fault::SegmentMissing { .. }, .. } => 14,
            Self::Fault { fault: Fault::WrongKey { .. }, .. } => 15,
            Self::OtherHead { .. } => 16,
            Self::Fault { fault: Fault::Version { .. }, .. } => 17,
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Intact => write!(f, "intact"),
            Self::UnsignedTail { since } => write!(f, "unsigned tail since seq {since}"),
            Self::Truncated { size, expected } => write!(f, "truncated: {size} entries, the head tells of {expected}"),
            Self::OtherHead { size } => {
                write!(f, "not the recording of this head: its first {size} entries have another root")
            }
            Self::Fault { file, fault } => write!(f, "{fault} (file `{file}`)"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub verdict: Verdict,
    /// Lines that were found sound, those that expired not counted.
    pub entries: u64,
    pub checkpoints: u64,
    /// Lines that a valid checkpoint covers, its own included.
    pub signed: u64,
    /// Bytes of half a line at the end.
    pub torn_bytes: u64,
    /// Lines that were pruned: `seq` 0 up to this were removed by the holder of the key.
    pub expired: Option<u64>,
    /// Where the sound part ends.
    pub head: Head,
    /// It ends as a writer that is closed leaves it. Without this it runs still, was killed, or its end was cut off.
    pub orderly_stop: bool,
    /// A head was given and lies in what expired without a kept checkpoint: it could not be compared.
    pub head_expired: bool,
}

/// Verifies what stands in `storage` against `key`, and `head` when one was kept elsewhere.
///
/// # Errors
/// Only when files cannot be read; everything that is wrong with their content is a verdict.
pub fn verify(storage: &dyn Storage, key: &VerifyingKey, head: Option<Head>) -> Result<Report, ReadError> {
    witnessed(storage, key, None, head)
}

/// The same for a store, in which segments expire by the hand of `witness`.
///
/// # Errors
/// As [`verify`].
pub fn witnessed(
    storage: &dyn Storage,
    key: &VerifyingKey,
    witness: Option<&VerifyingKey>,
    head: Option<Head>,
) -> Result<Report, ReadError> {
    let mut walk = Walk::witnessed(storage, key, witness)?;
    let expired = walk.pruned().map(|p| p.chain.size());
    let mut other_head = false;
    let mut head_expired = false;
    match (head, walk.pruned()) {
        (Some(head), Some(pruned)) if head.size <= pruned.chain.size() => match pruned.head_at(head.size) {
            Some(root) => other_head = root != head.root,
            None => head_expired = true,
        },
        _ => {}
    }
    let (mut drained, mut orderly_stop) = (false, false);
    let mut before = Before::at(walk.chain());
    let files = storage.list().map_err(|source| ReadError::Io { file: ".".to_owned(), source })?;
    let bytes = |name: &str| files.iter().find(|f| f.name == name).map_or(0, |f| f.bytes);
    let mut torn_bytes = walk.stubs().iter().map(|stub| bytes(stub)).fold(0, u64::saturating_add);
    let mut fault = None;
    loop {
        let here = walk.chain().clone();
        match walk.step()? {
            Step::Line(line) => {
                // The stop, and the checkpoint over it.
                orderly_stop = line.lean.kind == "checkpoint" && drained;
                drained =
                    line.lean.code == "MARKER_DRAIN" || (drained && line.lean.code == "MARKER_UNRECORDED_REFUSALS");
                before.last = here;
            }
            // It may have grown since it was listed; torn it is all the same.
            Step::Torn { segment, offset } => torn_bytes += bytes(&segment).saturating_sub(offset).max(1),
            Step::Fault { segment, fault: found } => {
                fault = Some((segment, found));
                break;
            }
            Step::End => break,
        }
        if walk.trusted() == walk.chain().size() {
            before.signed = walk.chain().clone();
        }
        if let Some(head) = head.filter(|head| head.size == walk.chain().size()) {
            other_head |= head.root != walk.chain().root();
        }
    }
    let size = walk.chain().size();
    let signed = walk.trusted();
    let verdict = match (fault, head) {
        (Some((file, fault)), _) => Verdict::Fault { file, fault },
        (None, Some(head)) if other_head => Verdict::OtherHead { size: head.size },
        (None, Some(head)) if head.size > size => Verdict::Truncated { size, expected: head.size },
        _ if signed < size || torn_bytes > 0 || size == 0 => Verdict::UnsignedTail { since: signed },
        _ => Verdict::Intact,
    };
    orderly_stop &= torn_bytes == 0 && !matches!(verdict, Verdict::Fault { .. });
    let checkpoints = walk.checkpoints();
    let sound = match &verdict {
        Verdict::Fault { fault: Fault::Edited { seq, .. }, .. } => before.of(*seq, walk.chain()),
        _ => walk.chain(),
    };
    let entries = sound.size().saturating_sub(expired.unwrap_or(0));
    let head = sound.head();
    Ok(Report { verdict, entries, checkpoints, signed, torn_bytes, expired, head, orderly_stop, head_expired })
}

/// The head under the newest checkpoint that `key` signed: what is to be kept elsewhere, for [`verify`] later.
///
/// Nothing else is verified. None when there is no such checkpoint.
///
/// # Errors
/// When files cannot be read.
pub fn newest_head(storage: &dyn Storage, key: &VerifyingKey) -> Result<Option<Head>, ReadError> {
    for segment in segments(storage)?.into_iter().rev() {
        let mut lines = Lines::new(storage, vec![segment]);
        let mut newest = None;
        while let Some(raw) = lines.next()? {
            newest = walk::signed_head(&raw, key).or(newest);
        }
        if newest.is_some() {
            return Ok(newest);
        }
    }
    Ok(None)
}

/// How the recording stood before lines that were walked already: an edit is often found only after its line.
struct Before {
    /// Before the last line that was taken.
    last: Chain,
    /// Under the last checkpoint, its own line included.
    signed: Chain,
}

impl Before {
    fn at(start: &Chain) -> Self {
        Self { last: start.clone(), signed: start.clone() }
    }

    /// The newest state that holds nothing from `seq` on.
    fn of<'a>(&'a self, seq: u64, now: &'a Chain) -> &'a Chain {
        [now, &self.last, &self.signed].into_iter().find(|chain| chain.size() <= seq).unwrap_or(&self.signed)
    }
}
