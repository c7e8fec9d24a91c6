//! Opening: read the tail, cut what is torn, say what was interrupted, continue the chain in a new segment.
//!
//! Read are the last segment and, where no checkpoint vouches for its header, older ones until one does; so opening
//! costs no more however long the recording is. Sealed segments before that are not looked at: the tree that is
//! continued is the one that was signed over what they held, so an edit of theirs stays where `verify` finds it.
//!
//! Refused: anything but a torn tail, and a segment that is not there. To continue a tail that does not verify would
//! bury the damage under a fresh signature.

use std::sync::Arc;

use super::budget::Budget;
use super::core::Core;
use super::unfinished::{Effect, Unfinished};
use super::{Checkpointed, OpenError, Recovery, WriterConfig};
use crate::chain::Chain;
use crate::entry::{Body, Close, Entry, Marker, Outcome, Status, What};
use crate::keys::SigningKey;
use crate::reader::{ReadError, segments};
use crate::spool::Storage;
use crate::walk::{Fault, Sound, Step, Walk};

/// What reading found.
struct Found {
    chain: Chain,
    entries: u64,
    unfinished: Unfinished,
    /// A checkpoint vouches for where the reading began.
    proven: bool,
    /// A segment and where its half line begins.
    torn: Option<(String, u64)>,
    stubs: Vec<String>,
}

pub(super) fn open(
    config: WriterConfig,
    storage: Arc<dyn Storage>,
    key: SigningKey,
) -> Result<(Core, Recovery, Checkpointed), OpenError> {
    let found = read(&*storage, &key)?;
    let cut_bytes = repair(&*storage, &found)?;
    let recovery = Recovery {
        cut_bytes,
        interrupted: count(found.unfinished.ops.len()),
        sessions: count(found.unfinished.sessions.len()),
        entries: found.entries,
    };
    let all = segments(&*storage).map_err(OpenError::Damaged)?;
    let used = all.iter().map(|s| s.bytes).fold(0, u64::saturating_add);
    let free = storage.free_space().map_err(OpenError::Io)?;
    let number = all.last().map_or(0, |s| s.number);
    let fresh = found.chain.size() == 0 && cut_bytes == 0;
    let budget = Budget::new(&config, used, free);
    let file_name = crate::reader::segment_name(number.saturating_add(1));
    let mut core = Core::new(config, Arc::clone(&storage), key, found.chain, number, budget);
    core.resume_with(&found.unfinished);
    let file = storage.create(&file_name).map_err(OpenError::Io)?;
    let first = if fresh { None } else { Some(restart(cut_bytes)) };
    core.begin(file, first.into_iter().collect(), false).map_err(OpenError::Unwritable)?;
    core.own(interrupted(found.unfinished), false).map_err(OpenError::Unwritable)?;
    let (first, _, file) = core.checkpoint().map_err(OpenError::Unwritable)?;
    file.sync().map_err(OpenError::Io)?;
    Ok((core, recovery, first))
}

fn read(storage: &dyn Storage, key: &SigningKey) -> Result<Found, OpenError> {
    let mut back: usize = 1;
    while let Some((walk, resume)) = Walk::near_end(storage, key.public(), back).map_err(OpenError::Damaged)? {
        match follow(walk, Unfinished::resumed(resume), key) {
            Ok(found) if found.proven => return Ok(found),
            // Twice as far each time, so that all tries together read no more than four times what had to be read.
            Ok(_) => back = back.saturating_mul(2),
            // Read from the start, the damage is named where it is.
            Err(_) => break,
        }
    }
    follow(Walk::new(storage, key.public()).map_err(OpenError::Damaged)?, Unfinished::default(), key)
}

/// Reads to the end from where `walk` stands, `unfinished` being what was open there.
fn follow(mut walk: Walk<'_>, mut unfinished: Unfinished, key: &SigningKey) -> Result<Found, OpenError> {
    let mut torn = None;
    loop {
        match walk.step().map_err(OpenError::Damaged)? {
            Step::Line(Sound { lean, .. }) => {
                unfinished.apply(&Effect::read(&lean.kind, lean.session.as_deref(), lean.op.as_deref()));
            }
            Step::Torn { segment, offset } => torn = Some((segment, offset)),
            Step::Fault { fault: Fault::WrongKey { recorded }, .. } => return Err(wrong_key(recorded, key)),
            Step::Fault { segment, fault } => {
                let seq = walk.chain().size();
                return Err(OpenError::Damaged(ReadError::Damaged { file: segment, seq, what: fault.to_string() }));
            }
            Step::End => break,
        }
    }
    // Before the first checkpoint only the header tells.
    match walk.recorded_key() {
        Some(recorded) if recorded != key.public().to_string() => Err(wrong_key(recorded.to_owned(), key)),
        _ => {
            let chain = walk.chain().clone();
            let expired = walk.pruned().map_or(0, |pruned| pruned.chain.size());
            let entries = chain.size().saturating_sub(expired);
            let proven = walk.checkpoints() > 0;
            Ok(Found { chain, entries, unfinished, proven, torn, stubs: walk.stubs().to_vec() })
        }
    }
}

fn wrong_key(recorded: String, key: &SigningKey) -> OpenError {
    OpenError::WrongKey { recorded, ours: key.public().to_string() }
}

/// Cuts what was found torn; gives the number of bytes. The rest is durable afterwards: the new segment is synced soon,
/// and power loss must not leave it standing after lines that were lost.
fn repair(storage: &dyn Storage, found: &Found) -> Result<u64, OpenError> {
    let files = storage.list().map_err(OpenError::Io)?;
    let size = |name: &str| files.iter().find(|f| f.name == name).map_or(0, |f| f.bytes);
    let mut cut: u64 = 0;
    for stub in &found.stubs {
        cut = cut.saturating_add(size(stub));
        storage.remove(stub).map_err(OpenError::Io)?;
    }
    if let Some((segment, offset)) = &found.torn {
        cut = cut.saturating_add(size(segment).saturating_sub(*offset));
        storage.truncate(segment, *offset).map_err(OpenError::Io)?;
    }
    if let Some(last) = segments(storage).map_err(OpenError::Damaged)?.last() {
        storage.sync(&last.name).map_err(OpenError::Io)?;
    }
    Ok(cut)
}

fn restart(cut_bytes: u64) -> Entry {
    let detail = (cut_bytes > 0).then(|| format!("{cut_bytes} bytes of a torn tail were cut"));
    Entry::global(Body::Marker(Marker { what: What::Restart, count: Some(cut_bytes), detail }))
}

fn interrupted(Unfinished { sessions, ops }: Unfinished) -> Vec<Entry> {
    let outcomes = ops
        .into_iter()
        .map(|(session, op)| Entry::operation(session, op, Body::Outcome(Outcome::bare(Status::Interrupted))));
    let closes = sessions.into_iter().map(|session| {
        let reason = "the recorder was restarted".to_owned();
        Entry::session(session, Body::Close(Close { reason, ..Close::default() }))
    });
    outcomes.chain(closes).collect()
}

fn count(items: usize) -> u64 {
    u64::try_from(items).unwrap_or(u64::MAX)
}
