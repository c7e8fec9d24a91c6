//! Where a walk may begin other than at the start: at a header that says how the recording stands before it.
//!
//! What the header says is a claim. It is proven when the walk meets a valid checkpoint, whose root covers the header
//! and cannot be computed from another tree; a walk that ends before one has proven nothing.

use crate::chain::{Chain, Hash};
use crate::entry::{Body, Resume};
use crate::reader::{ReadError, Segment, header};
use crate::spool::Storage;

/// A header to begin at.
pub(super) struct Start {
    /// Its segment's place in the list.
    pub(super) at: usize,
    pub(super) chain: Chain,
    pub(super) resume: Resume,
}

/// The header of the segment that is `back` from the end of `list`, where `start` is the state before the first one.
/// None when the walk has to begin at the start, also because a segment is missing, which it then says.
pub(super) fn find(
    storage: &dyn Storage,
    list: &[Segment],
    start: &Chain,
    back: usize,
) -> Result<Option<Start>, ReadError> {
    let Some(at) = list.len().checked_sub(back).filter(|at| *at > 0) else { return Ok(None) };
    let (Some(first), Some(segment)) = (list.first(), list.get(at)) else { return Ok(None) };
    let complete = list.iter().zip(list.iter().skip(1)).all(|(a, b)| a.number.checked_add(1) == Some(b.number));
    let begins = header(storage, &first.name)?.is_some_and(|line| line.seq == start.size());
    if !complete || !begins {
        return Ok(None);
    }
    let Some(line) = header(storage, &segment.name)? else { return Ok(None) };
    let (Body::Header(header), Some(prev)) = (line.body, Hash::from_prev(&line.prev)) else { return Ok(None) };
    let Some(resume) = header.resume.filter(|_| header.segment == segment.number) else { return Ok(None) };
    let tree: Option<Vec<Hash>> = resume.tree.iter().map(|root| Hash::from_base64(root)).collect();
    let chain = tree.and_then(|tree| Chain::resume(line.seq, prev, tree));
    Ok(chain.filter(|chain| chain.size() > start.size()).map(|chain| Start { at, chain, resume }))
}
