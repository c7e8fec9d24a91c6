//! Reads a recording while it is written, for who keeps it elsewhere too: hashes of lines up to a checkpoint, whole
//! segments that nobody writes to any more, and lines that were asked for by `seq` before they are sealed.
//!
//! Nothing is verified here; who gets it does. Refused: a line that is not the next one, too many lines without a
//! checkpoint, and lines that were removed here before they were asked for. Invariant: what is given out is never taken
//! back by the writer: it stops before the first checkpoint that was not told, a segment is sealed only when the header
//! of the next one stands, and of lines by `seq` the caller asks up to one that the writer acknowledged as synced.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::sync::Arc;

use crate::chain::Hash;
use crate::entry::{Body, Line, MAX_LINE};
use crate::reader::{ReadError, Segment, header, segments};
use crate::spool::Storage;
use crate::walk::Lean;

/// A checkpoint and what leads to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof {
    /// The signed note, over the first `size` lines.
    pub note: String,
    pub size: u64,
    /// Of the lines from where was asked for up to `size`.
    pub hashes: Vec<Hash>,
}

/// A segment that nobody writes to any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// `seq` of its header.
    pub first: u64,
    name: Arc<str>,
    /// What counts of it, where its end failed.
    bytes: Option<u64>,
}

#[derive(Debug, thiserror::Error)]
pub enum OutgoingError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error("entries from {from} on are wanted, but here is nothing before {first}: those between were removed")]
    Removed { from: u64, first: u64 },
    #[error("entries from {from} on are wanted, which is in the middle of the segment that begins with {first}")]
    Within { from: u64, first: u64 },
    #[error("no checkpoint stands in {0} lines")]
    NoCheckpoint(usize),
    #[error("segment `{name}` has {bytes} bytes: it may have {most}")]
    TooLarge { name: String, bytes: u64, most: u64 },
}

/// Where a line begins.
#[derive(Clone, Copy, Debug)]
struct Place {
    number: u64,
    offset: u64,
    seq: u64,
}

/// Reads what is to go out. Every call blocks on the disk.
#[derive(Debug)]
pub struct Outgoing {
    storage: Arc<dyn Storage>,
    /// Of the last checkpoint that was given out, so that it need not be looked for again.
    at: Option<Place>,
    /// Behind the last line of the last stretch.
    stretched: Option<Place>,
}

/// The checkpoint that is the newest so far.
struct Newest {
    note: String,
    place: Place,
}

impl Outgoing {
    pub fn new(storage: Arc<dyn Storage>) -> Self {
        Self { storage, at: None, stretched: None }
    }

    /// How many segments there are.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn segments(&self) -> Result<usize, OutgoingError> {
        Ok(segments(&*self.storage)?.len())
    }

    /// The newest checkpoint over more than `from` lines and at most `told`, and at most `most` lines after `from`.
    ///
    /// # Errors
    /// See [`OutgoingError`].
    pub fn proof(&mut self, from: u64, told: u64, most: usize) -> Result<Option<Proof>, OutgoingError> {
        let all = segments(&*self.storage)?;
        let known = self.at.filter(|at| at.seq == from && all.iter().any(|s| s.number == at.number));
        let Some(start) = known.map_or_else(|| self.find(&all, from), |place| Ok(Some(place)))? else {
            return Ok(None);
        };
        let mut hashes = Vec::new();
        let mut newest: Option<Newest> = None;
        let mut seq = start.seq;
        let mut rest = all.iter().skip_while(|s| s.number != start.number).peekable();
        'all: while let Some(segment) = rest.next() {
            let next = rest.peek().map(|next| header(&*self.storage, &next.name)).transpose()?.flatten();
            let mut offset = if segment.number == start.number { start.offset } else { 0 };
            let mut lines = self.lines(segment, next.as_ref(), offset)?;
            while let Some(line) = lines.next(next.is_some(), seq)? {
                if seq >= from {
                    if let Some(note) = checkpoint(&line, segment, seq)? {
                        if seq > told {
                            break 'all;
                        }
                        let place = Place { number: segment.number, offset, seq };
                        newest = Some(Newest { note, place }).filter(|_| seq > from).or(newest);
                    }
                    if hashes.len() == most {
                        break 'all;
                    }
                    hashes.push(Hash::of(&line));
                }
                seq = seq.saturating_add(1);
                offset = offset.saturating_add(len(line.len()));
            }
            if next.is_none() {
                break;
            }
        }
        let Some(Newest { note, place }) = newest else {
            return if hashes.len() == most { Err(OutgoingError::NoCheckpoint(most)) } else { Ok(None) };
        };
        hashes.truncate(usize::try_from(place.seq.saturating_sub(from)).unwrap_or(usize::MAX));
        self.at = Some(place);
        Ok(Some(Proof { note, size: place.seq, hashes }))
    }

    /// The lines from `from` up to `until`, as they were written, and no more of them than `most` bytes hold: one at
    /// least, where there is one. The caller knows that the writer takes none of them back.
    ///
    /// # Errors
    /// See [`OutgoingError`].
    pub fn stretch(&mut self, from: u64, until: u64, most: usize) -> Result<Vec<u8>, OutgoingError> {
        let all = segments(&*self.storage)?;
        let known = self.stretched.filter(|at| at.seq == from && all.iter().any(|s| s.number == at.number));
        let Some(start) = known.map_or_else(|| self.find(&all, from), |place| Ok(Some(place)))? else {
            return Ok(Vec::new());
        };
        let mut stretch = Vec::new();
        let mut at = start;
        let mut rest = all.iter().skip_while(|s| s.number != start.number).peekable();
        'all: while let Some(segment) = rest.next() {
            let next = rest.peek().map(|next| header(&*self.storage, &next.name)).transpose()?.flatten();
            at =
                Place { number: segment.number, offset: if at.number == segment.number { at.offset } else { 0 }, ..at };
            let mut lines = self.lines(segment, next.as_ref(), at.offset)?;
            while at.seq < until
                && let Some(line) = lines.next(next.is_some(), at.seq)?
            {
                if at.seq >= from {
                    if !stretch.is_empty() && stretch.len().saturating_add(line.len()) > most {
                        break 'all;
                    }
                    stretch.extend_from_slice(&line);
                }
                at = Place { offset: at.offset.saturating_add(len(line.len())), seq: at.seq.saturating_add(1), ..at };
            }
            if next.is_none() || at.seq >= until {
                break;
            }
        }
        self.stretched = Some(at).filter(|at| at.seq >= from);
        Ok(stretch)
    }

    /// The hash of the line before `size`, which the line with that `seq` has to continue; none when neither is here.
    ///
    /// # Errors
    /// See [`OutgoingError`].
    pub fn behind(&mut self, size: u64) -> Result<Option<Hash>, OutgoingError> {
        let Some(last) = size.checked_sub(1) else { return Ok(Some(Hash::default())) };
        match self.stretch(last, size, 0) {
            Ok(line) if line.is_empty() => Ok(None),
            Ok(line) => Ok(Some(Hash::of(&line))),
            // It was removed here; the first line that is left says what it continues.
            Err(OutgoingError::Removed { first, .. }) if first == size => {
                let name = segments(&*self.storage)?.into_iter().next().map(|segment| segment.name);
                let header = name.map(|name| header(&*self.storage, &name)).transpose()?.flatten();
                Ok(header.filter(|header| header.seq == size).and_then(|header| Hash::from_prev(&header.prev)))
            }
            Err(error) => Err(error),
        }
    }

    /// The segment that begins with entry `from`, once nobody writes to it: the next one has begun, or the writer is
    /// `closed`.
    ///
    /// # Errors
    /// See [`OutgoingError`].
    pub fn sealed(&self, from: u64, closed: bool) -> Result<Option<Sealed>, OutgoingError> {
        let all = segments(&*self.storage)?;
        let mut next: Option<Line> = None;
        for segment in all.iter().rev() {
            // One that has just been made holds no header yet, and seals nothing.
            let Some(line) = header(&*self.storage, &segment.name)? else { continue };
            let first = line.seq;
            if first > from {
                next = Some(line);
                continue;
            }
            let bytes = match next.as_ref().map(|next| &next.body) {
                Some(Body::Header(header)) => header.previous_bytes,
                _ => None,
            };
            return match (first == from, next.is_some()) {
                (true, sealed) if sealed || closed => {
                    Ok(Some(Sealed { first, name: Arc::clone(&segment.name), bytes }))
                }
                (true, _) | (false, false) => Ok(None),
                (false, true) => Err(OutgoingError::Within { from, first }),
            };
        }
        next.map_or(Ok(None), |line| Err(OutgoingError::Removed { from, first: line.seq }))
    }

    /// All of it, as it was written.
    ///
    /// # Errors
    /// Also when it has more than `most` bytes.
    pub fn read(&self, sealed: &Sealed, most: u64) -> Result<Vec<u8>, OutgoingError> {
        let io = |source| ReadError::Io { file: sealed.name.to_string(), source };
        let reader = self.storage.read(&sealed.name).map_err(io)?;
        let mut bytes = Vec::new();
        reader
            .take(sealed.bytes.unwrap_or(u64::MAX).min(most.saturating_add(1)))
            .read_to_end(&mut bytes)
            .map_err(io)?;
        match len(bytes.len()) {
            bytes if bytes > most => Err(OutgoingError::TooLarge { name: sealed.name.to_string(), bytes, most }),
            _ => Ok(bytes),
        }
    }

    /// The segment that holds entry `from`.
    fn find(&self, all: &[Segment], from: u64) -> Result<Option<Place>, OutgoingError> {
        let mut oldest = None;
        for segment in all.iter().rev() {
            let Some(Line { seq, .. }) = header(&*self.storage, &segment.name)? else { continue };
            if seq <= from {
                return Ok(Some(Place { number: segment.number, offset: 0, seq }));
            }
            oldest = Some(seq);
        }
        oldest.map_or(Ok(None), |first| Err(OutgoingError::Removed { from, first }))
    }

    /// The lines of a segment from `offset` on, up to where the header after it says that it ends.
    fn lines(&self, segment: &Segment, next: Option<&Line>, offset: u64) -> Result<Lines, OutgoingError> {
        let cut = match next.map(|next| &next.body) {
            Some(Body::Header(header)) => header.previous_bytes,
            _ => None,
        };
        let io = |source| ReadError::Io { file: segment.name.to_string(), source };
        let reader = self.storage.read_from(&segment.name, offset).map_err(io)?;
        let left = cut.map_or(u64::MAX, |cut| cut.saturating_sub(offset));
        Ok(Lines { name: Arc::clone(&segment.name), reader: BufReader::with_capacity(128 * 1024, reader.take(left)) })
    }
}

struct Lines {
    name: Arc<str>,
    reader: BufReader<io::Take<Box<dyn io::Read + Send>>>,
}

impl Lines {
    /// The next whole line. Half a one is the end of what is being written; in a sealed segment it is damage.
    fn next(&mut self, sealed: bool, seq: u64) -> Result<Option<Vec<u8>>, ReadError> {
        let mut line = Vec::new();
        let io = |source| ReadError::Io { file: self.name.to_string(), source };
        (&mut self.reader).take(len(MAX_LINE)).read_until(b'\n', &mut line).map_err(io)?;
        match line.last() {
            Some(b'\n') => Ok(Some(line)),
            Some(_) if sealed => Err(damaged(&self.name, seq, "the line does not end")),
            _ => Ok(None),
        }
    }
}

/// The note of a line that is a checkpoint.
fn checkpoint(line: &[u8], segment: &Segment, seq: u64) -> Result<Option<String>, ReadError> {
    let bad = |what: &str| damaged(&segment.name, seq, what);
    let lean: Lean<'_> = serde_json::from_slice(line).map_err(|error| bad(&error.to_string()))?;
    if lean.seq != seq {
        return Err(bad(&format!("it says that it is {}", lean.seq)));
    }
    if lean.kind != "checkpoint" {
        return Ok(None);
    }
    match serde_json::from_slice::<Line>(line) {
        Ok(Line { body: Body::Checkpoint(checkpoint), .. }) => Ok(Some(checkpoint.note)),
        _ => Err(bad("it is not the checkpoint that it says it is")),
    }
}

fn damaged(file: &str, seq: u64, what: &str) -> ReadError {
    ReadError::Damaged { file: file.to_owned(), seq, what: what.to_owned() }
}

fn len(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}
