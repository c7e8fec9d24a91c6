//! One sealed segment by itself, judged against where its recording stands before it.
//!
//! Refused: what does not continue the chain, half a line, a line that is no entry, a checkpoint that the key did not
//! sign or whose root is another. Invariant: what passes here passes `verify` too, in its place.

use std::io::{self, Cursor, Read};
use std::sync::Arc;

use crate::chain::Chain;
use crate::entry::{Body, Line};
use crate::keys::VerifyingKey;
use crate::reader::{ReadError, segment_name};
use crate::spool::{FileInfo, ReadOnly};
use crate::walk::{Fault, Step, Walk};

#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    #[error("{0}")]
    Fault(Fault),
    #[error("half a line stands at byte {offset}: only whole lines are kept")]
    Torn { offset: u64 },
    #[error("the line with seq {seq} is no entry: {why}")]
    Line { seq: u64, why: String },
    #[error("it holds no line")]
    Empty,
    #[error("{0}")]
    Read(#[from] ReadError),
}

/// Where the recording stands after a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    pub chain: Chain,
    /// Number of the segment, as its header says.
    pub number: u64,
    /// It ends as a writer that is closed leaves it.
    pub orderly_stop: bool,
}

/// Judges the lines of one segment, which must follow `start`. `each` gets every line and the chain after it.
///
/// # Errors
/// With the first thing that is wrong. What `each` got before it is sound as far as it goes.
pub fn check(
    segment: Arc<[u8]>,
    start: &Chain,
    key: &VerifyingKey,
    each: &mut dyn FnMut(&Chain, Line),
) -> Result<Checked, SegmentError> {
    let storage = One { segment };
    let mut walk = Walk::following(&storage, key, start.clone())?;
    let mut number = None;
    let (mut drained, mut orderly_stop) = (false, false);
    loop {
        let line = match walk.step()? {
            Step::Line(sound) => {
                sound.raw.parse().map_err(|why| SegmentError::Line { seq: sound.lean.seq, why: why.to_string() })?
            }
            Step::Torn { offset, .. } => return Err(SegmentError::Torn { offset }),
            Step::Fault { fault, .. } => return Err(SegmentError::Fault(fault)),
            Step::End => break,
        };
        if let (None, Body::Header(header)) = (number, &line.body) {
            number = Some(header.segment);
        }
        orderly_stop = drained && matches!(line.body, Body::Checkpoint(_));
        drained = line.code == "MARKER_DRAIN" || (drained && line.code == "MARKER_UNRECORDED_REFUSALS");
        each(walk.chain(), line);
    }
    let number = number.ok_or(SegmentError::Empty)?;
    Ok(Checked { chain: walk.chain().clone(), number, orderly_stop })
}

/// A storage of this one segment.
#[derive(Debug)]
struct One {
    segment: Arc<[u8]>,
}

impl ReadOnly for One {
    fn list(&self) -> io::Result<Vec<FileInfo>> {
        let bytes = u64::try_from(self.segment.len()).map_err(io::Error::other)?;
        Ok(vec![FileInfo { name: segment_name(1), bytes }])
    }

    fn read(&self, _name: &str) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(Cursor::new(Arc::clone(&self.segment))))
    }
}
