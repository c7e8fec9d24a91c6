//! Lines of a recording, streamed: memory stays at one line, however long the recording or hostile its content.
//!
//! Nothing is verified here beyond that a line parses; see [`crate::verify`]. A line that is longer than
//! [`MAX_LINE`], or not an entry of a version and kind that are known, is an error, never skipped.

use std::io::{self, BufRead, BufReader, Read};
use std::sync::Arc;

use serde::Deserialize as _;

use crate::entry::{Body, Line, MAX_LINE, VERSION};
use crate::spool::Storage;

const PREFIX: &str = "segment-";
const SUFFIX: &str = ".jsonl";

#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("file `{file}`: {source}")]
    Io { file: String, source: io::Error },
    #[error("file `{file}`, seq {seq}: {what}")]
    Damaged { file: String, seq: u64, what: String },
    #[error("file `{file}` holds version {version} of the format, this program knows {VERSION}; use a newer one")]
    Version { file: String, version: u64 },
}

/// Name of segment `number`, so that the order of names is the order of segments.
pub fn segment_name(number: u64) -> String {
    format!("{PREFIX}{number:010}{SUFFIX}")
}

/// One segment file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    pub number: u64,
    pub name: Arc<str>,
    pub bytes: u64,
}

/// All segments in order. Other files are not looked at.
pub fn segments(storage: &dyn Storage) -> Result<Vec<Segment>, ReadError> {
    let files = storage.list().map_err(|source| ReadError::Io { file: ".".to_owned(), source })?;
    let mut segments: Vec<Segment> = files
        .into_iter()
        .filter_map(|file| {
            let number = file.name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX)?.parse().ok()?;
            (segment_name(number) == file.name).then(|| Segment { number, name: file.name.into(), bytes: file.bytes })
        })
        .collect();
    segments.sort_by_key(|s| s.number);
    Ok(segments)
}

/// One line as it stands in the file.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    pub(crate) segment: Arc<str>,
    /// Number in the name of the segment.
    pub(crate) number: u64,
    /// Where it starts in its segment.
    pub(crate) offset: u64,
    /// With its newline, unless the segment ends before.
    pub(crate) bytes: Vec<u8>,
    /// It is the first of its segment.
    pub(crate) first: bool,
    /// Its segment is the last one.
    pub(crate) last_segment: bool,
}

impl Raw {
    pub(crate) fn terminated(&self) -> bool {
        self.bytes.last() == Some(&b'\n')
    }

    pub(crate) fn parse(&self) -> Result<Line, serde_json::Error> {
        let mut json = serde_json::Deserializer::from_slice(&self.bytes);
        let line = Line::deserialize(&mut json)?;
        json.end().map(|()| line)
    }
}

/// Raw lines over a list of segments.
pub(crate) struct Lines<'a> {
    storage: &'a dyn Storage,
    segments: std::iter::Peekable<std::vec::IntoIter<Segment>>,
    open: Option<Open>,
}

struct Open {
    segment: Segment,
    reader: BufReader<io::Take<Box<dyn Read + Send>>>,
    offset: u64,
    last: bool,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(storage: &'a dyn Storage, segments: Vec<Segment>) -> Self {
        Self { storage, segments: segments.into_iter().peekable(), open: None }
    }

    pub(crate) fn next(&mut self) -> Result<Option<Raw>, ReadError> {
        loop {
            if self.open.is_none() {
                let Some(segment) = self.segments.next() else { return Ok(None) };
                // A segment whose end failed is cut by what the next header says; the chain vouches for that header.
                let next = self.segments.peek();
                let cut = next.map_or(Ok(None), |next| previous_bytes(self.storage, &next.name))?;
                let last = next.is_none();
                let io = |source| ReadError::Io { file: segment.name.to_string(), source };
                let reader = self.storage.read(&segment.name).map_err(io)?.take(cut.unwrap_or(u64::MAX));
                self.open =
                    Some(Open { segment, reader: BufReader::with_capacity(128 * 1024, reader), offset: 0, last });
            }
            let Some(open) = &mut self.open else { return Ok(None) };
            let mut bytes = Vec::new();
            let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
            let io = |source| ReadError::Io { file: open.segment.name.to_string(), source };
            (&mut open.reader).take(limit).read_until(b'\n', &mut bytes).map_err(io)?;
            if bytes.is_empty() {
                self.open = None;
                continue;
            }
            let offset = open.offset;
            open.offset = offset.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
            let segment = Arc::clone(&open.segment.name);
            let (number, last_segment) = (open.segment.number, open.last);
            return Ok(Some(Raw { segment, number, offset, bytes, first: offset == 0, last_segment }));
        }
    }
}

/// The header of a segment; none when its first line is not a whole one.
pub(crate) fn header(storage: &dyn Storage, segment: &str) -> Result<Option<Line>, ReadError> {
    let io = |source| ReadError::Io { file: segment.to_owned(), source };
    let limit = u64::try_from(MAX_LINE).unwrap_or(u64::MAX);
    let mut bytes = Vec::new();
    let reader = storage.read(segment).map_err(io)?.take(limit);
    BufReader::new(reader).read_until(b'\n', &mut bytes).map_err(io)?;
    let line = bytes.strip_suffix(b"\n").and_then(|line| serde_json::from_slice::<Line>(line).ok());
    Ok(line.filter(|line| matches!(line.body, Body::Header(_))))
}

/// Whether a segment holds one whole line, be it what it may.
pub(crate) fn first_line_ends(storage: &dyn Storage, segment: &str) -> Result<bool, ReadError> {
    let io = |source| ReadError::Io { file: segment.to_owned(), source };
    let mut bytes = Vec::new();
    let reader = storage.read(segment).map_err(io)?.take(u64::try_from(MAX_LINE).unwrap_or(u64::MAX));
    BufReader::new(reader).read_until(b'\n', &mut bytes).map_err(io)?;
    Ok(bytes.ends_with(b"\n") || bytes.len() >= MAX_LINE)
}

fn previous_bytes(storage: &dyn Storage, segment: &str) -> Result<Option<u64>, ReadError> {
    let Some(line) = header(storage, segment)? else { return Ok(None) };
    let Body::Header(header) = line.body else { return Ok(None) };
    Ok(header.previous_bytes)
}

/// Every entry in order, parsed but not verified. A torn last line ends it without an error.
pub struct Entries<'a> {
    lines: Lines<'a>,
    failed: bool,
}

impl std::fmt::Debug for Entries<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entries").field("failed", &self.failed).finish_non_exhaustive()
    }
}

/// Reads all segments of `storage`.
pub fn entries(storage: &dyn Storage) -> Result<Entries<'_>, ReadError> {
    Ok(Entries { lines: Lines::new(storage, segments(storage)?), failed: false })
}

impl Iterator for Entries<'_> {
    type Item = Result<Line, ReadError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let raw = match self.lines.next() {
            Ok(raw) => raw?,
            Err(error) => {
                self.failed = true;
                return Some(Err(error));
            }
        };
        if !raw.terminated() && raw.last_segment && raw.bytes.len() < MAX_LINE {
            return None;
        }
        let file = raw.segment.to_string();
        let line = match raw.parse() {
            Ok(line) if line.v == VERSION => Ok(line),
            Ok(line) => Err(ReadError::Version { file, version: line.v.into() }),
            Err(error) => {
                let what = format!("byte {} does not begin an entry ({error}); run `agentaccess verify`", raw.offset);
                Err(ReadError::Damaged { file, seq: 0, what })
            }
        };
        self.failed = line.is_err();
        Some(line)
    }
}
