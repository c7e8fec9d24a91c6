//! Opening: read everything, cut a torn tail, say what was interrupted, continue the chain in a new segment.
//!
//! Refused: anything but a torn tail. To continue a damaged recording would bury the damage under a fresh signature.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::budget::{Budget, OpKey};
use super::core::Core;
use super::{Checkpointed, OpenError, Recovery, WriterConfig};
use crate::chain::Chain;
use crate::entry::{Body, Close, Entry, Marker, Outcome, Status, What};
use crate::keys::SigningKey;
use crate::reader::{ReadError, segments};
use crate::spool::Storage;
use crate::walk::{Fault, Step, Walk};

/// What reading found.
struct Found {
    chain: Chain,
    entries: u64,
    open: BTreeSet<OpKey>,
    sessions: BTreeSet<String>,
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
        interrupted: count(found.open.len()),
        sessions: count(found.sessions.len()),
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
    let file = storage.create(&file_name).map_err(OpenError::Io)?;
    let first = if fresh { None } else { Some(restart(cut_bytes)) };
    core.begin(file, first.into_iter().collect(), false).map_err(OpenError::Unwritable)?;
    core.own(interrupted(found.open, found.sessions), false).map_err(OpenError::Unwritable)?;
    let (first, _, file) = core.checkpoint().map_err(OpenError::Unwritable)?;
    file.sync().map_err(OpenError::Io)?;
    Ok((core, recovery, first))
}

fn read(storage: &dyn Storage, key: &SigningKey) -> Result<Found, OpenError> {
    let mut walk = Walk::new(storage, key.public()).map_err(OpenError::Damaged)?;
    let (mut open, mut sessions, mut torn, mut entries) = (BTreeSet::new(), BTreeSet::new(), None, 0);
    loop {
        match walk.step().map_err(OpenError::Damaged)? {
            Step::Line(sound) => {
                entries += 1;
                let session = sound.lean.session.map(String::from);
                let op = session.clone().zip(sound.lean.op.map(String::from));
                match (&*sound.lean.kind, op, session) {
                    ("intent", Some(op), _) => drop(open.insert(op)),
                    ("outcome", Some(op), _) => drop(open.remove(&op)),
                    ("open", _, Some(session)) => drop(sessions.insert(session)),
                    ("close", _, Some(session)) => drop(sessions.remove(&session)),
                    _ => {}
                }
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
        _ => Ok(Found { chain: walk.chain().clone(), entries, open, sessions, torn, stubs: walk.stubs().to_vec() }),
    }
}

fn wrong_key(recorded: String, key: &SigningKey) -> OpenError {
    OpenError::WrongKey { recorded, ours: key.public().to_string() }
}

/// Cuts what was found torn; gives the number of bytes.
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
    Ok(cut)
}

fn restart(cut_bytes: u64) -> Entry {
    let detail = (cut_bytes > 0).then(|| format!("{cut_bytes} bytes of a torn tail were cut"));
    Entry::global(Body::Marker(Marker { what: What::Restart, count: Some(cut_bytes), detail }))
}

fn interrupted(open: BTreeSet<OpKey>, sessions: BTreeSet<String>) -> Vec<Entry> {
    let outcomes = open
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
