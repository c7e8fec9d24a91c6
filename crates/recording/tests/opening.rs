//! Opening reads the unsealed tail, trusts of the rest only what a signature vouches for, and forgets nothing.
#![expect(clippy::unwrap_used, clippy::panic, reason = "test helpers")]

mod common;

use std::any::Any;
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{config, key_file, marker, open, open_any, outcome, write};
use proptest::prelude::*;
use recording::chain::Hash;
use recording::entry::{Body, Close, Intent, Outcome, Status};
use recording::reader::entries;
use recording::spool::faulty::{EIO, FaultyStorage};
use recording::spool::{FileInfo, SegmentFile};
use recording::verify::{Verdict, verify};
use recording::{Durability, Entry, Fault, OpenError, SigningKey, Storage, Writer, WriterConfig};

/// Counts the bytes that are read.
#[derive(Debug)]
struct Counting {
    inner: FaultyStorage,
    read: Arc<AtomicU64>,
}

struct CountingRead {
    inner: Box<dyn Read + Send>,
    read: Arc<AtomicU64>,
}

impl Read for CountingRead {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

impl Storage for Counting {
    fn exclusive(&self) -> io::Result<Box<dyn Any + Send>> {
        self.inner.exclusive()
    }
    fn list(&self) -> io::Result<Vec<FileInfo>> {
        self.inner.list()
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn SegmentFile>> {
        self.inner.create(name)
    }
    fn read(&self, name: &str) -> io::Result<Box<dyn Read + Send>> {
        Ok(Box::new(CountingRead { inner: self.inner.read(name)?, read: Arc::clone(&self.read) }))
    }
    fn truncate(&self, name: &str, bytes: u64) -> io::Result<()> {
        self.inner.truncate(name, bytes)
    }
    fn sync(&self, name: &str) -> io::Result<()> {
        self.inner.sync(name)
    }
    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        self.inner.replace(name, content)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.inner.remove(name)
    }
    fn free_space(&self) -> io::Result<u64> {
        self.inner.free_space()
    }
}

const SEGMENT: u64 = 8 * 1024;

fn small() -> WriterConfig {
    WriterConfig { segment_bytes: SEGMENT, ..config() }
}

fn opened(session: &str) -> Entry {
    common::open_session(session)
}

fn closed(session: &str) -> Entry {
    Entry::session(session, Body::Close(Close::default()))
}

fn begun(session: &str, op: u64) -> Entry {
    Entry::operation(session, format!("o-{op}"), Body::Intent(Box::<Intent>::default()))
}

fn ended(session: &str, op: u64) -> Entry {
    Entry::operation(session, format!("o-{op}"), Body::Outcome(Outcome::bare(Status::Ok)))
}

/// Writes until there are `segments` of them.
fn fill(writer: &Writer, storage: &FaultyStorage, segments: usize) {
    let mut n = 0;
    while storage.files().len() < segments {
        write(writer, marker(), Durability::Written).unwrap();
        n += 1;
        assert!(n < 1_000 * segments, "segments are sealed at {SEGMENT} bytes");
    }
}

/// Many sealed segments with something open since the first, and an unsealed one. The process was killed.
fn long() -> (FaultyStorage, tempfile::TempDir, impl Fn() -> SigningKey) {
    killed_with(40)
}

fn killed_with(segments: usize) -> (FaultyStorage, tempfile::TempDir, impl Fn() -> SigningKey) {
    let storage = FaultyStorage::new();
    let (dir, key) = key_file();
    let (writer, _) = open(&storage, key(), small());
    for entry in [opened("s-1"), opened("s-2"), begun("s-1", 1), begun("s-1", 2), ended("s-1", 1), closed("s-2")] {
        write(&writer, entry, Durability::Written).unwrap();
    }
    fill(&writer, &storage, segments);
    (storage.killed(), dir, key)
}

fn text(content: &[u8]) -> String {
    String::from_utf8(content.to_vec()).unwrap()
}

/// Chains the lines of a file anew, from the line `from` on.
fn chained(content: &[u8], from: usize) -> Vec<u8> {
    let mut out = String::new();
    let mut prev: Option<String> = None;
    for (at, line) in text(content).split_inclusive('\n').enumerate() {
        let line = match prev.filter(|_| at >= from) {
            Some(prev) => format!("{}\"prev\":\"{prev}\"}}\n", line.split_at(line.rfind("\"prev\":\"").unwrap()).0),
            None => line.to_owned(),
        };
        prev = Some(Hash::of(line.as_bytes()).to_string());
        out.push_str(&line);
    }
    out.into_bytes()
}

fn refused(storage: &FaultyStorage, key: SigningKey) -> String {
    let opened = Writer::open(small(), Arc::new(storage.clone()), key, Box::new(|_| {}));
    match opened {
        Err(error @ OpenError::Damaged(_)) => error.to_string(),
        other => panic!("{:?}", other.map(|(_, recovery)| recovery)),
    }
}

#[test]
fn no_more_is_read_than_the_unsealed_tail() {
    let (storage, _dir, key) = long();
    let total: usize = storage.files().iter().map(|(_, content)| content.len()).sum();
    assert!(total as u64 > 35 * SEGMENT);
    let before = verify(&storage, key().public(), None).unwrap();
    let read = Arc::new(AtomicU64::new(0));
    let counting = Arc::new(Counting { inner: storage.clone(), read: Arc::clone(&read) });
    let (writer, recovery) = open_any(counting, key(), small());
    // Headers are looked at more than once, the lines of two segments at most are read.
    assert!(read.load(Ordering::Relaxed) < 6 * SEGMENT, "{} of {total} bytes", read.load(Ordering::Relaxed));
    assert_eq!(recovery.entries, before.entries);
    let head = writer.close().unwrap();
    assert_eq!(verify(&storage, key().public(), Some(head)).unwrap().verdict, Verdict::Intact);
}

#[test]
fn what_was_left_open_in_a_sealed_segment_is_still_marked() {
    let (storage, _dir, key) = long();
    let (writer, recovery) = open(&storage, key(), small());
    assert_eq!((recovery.interrupted, recovery.sessions), (1, 1));
    writer.close().unwrap();
    let ends: Vec<_> = entries(&storage)
        .unwrap()
        .map(Result::unwrap)
        .filter_map(|line| match line.body {
            Body::Outcome(o) if o.status == Status::Interrupted => Some((line.session, line.op)),
            Body::Close(c) if c.reason.contains("restarted") => Some((line.session, None)),
            _ => None,
        })
        .collect();
    let name = |text: &str| Some(text.to_owned());
    assert_eq!(ends, [(name("s-1"), name("o-2")), (name("s-1"), None)]);
    let (_, again) = open(&storage, key(), small());
    assert_eq!((again.interrupted, again.sessions), (0, 0), "it is marked once");
}

#[test]
fn an_edit_in_a_sealed_segment_is_not_buried_by_going_on() {
    let (storage, _dir, key) = long();
    let (name, content) = storage.files().remove(5);
    let edited = text(&content).replacen("limit_hit", "limit_hot", 1);
    let line = text(&content).lines().position(|line| line.contains("limit_hit")).unwrap() as u64;
    let first = storage.files().iter().take(5).map(|(_, c)| text(c).matches('\n').count() as u64).sum::<u64>();
    storage.put(&name, edited.into_bytes());
    let seq = first + line;
    for _ in 0..2 {
        let (writer, _) = open(&storage, key(), small());
        write(&writer, marker(), Durability::Written).unwrap();
        writer.close().unwrap();
        let verdict = verify(&storage, key().public(), None).unwrap().verdict;
        assert_eq!(verdict, Verdict::Fault { file: name.clone(), fault: Fault::Edited { seq, until: seq } });
    }
}

#[test]
fn an_edit_in_the_tail_is_never_continued() {
    let (storage, _dir, key) = killed_with(3);
    let (writer, _) = open(&storage, key(), small());
    write(&writer, marker(), Durability::Written).unwrap();
    writer.close().unwrap();
    let (name, content) = storage.files().pop().unwrap();
    assert!(storage.files().len() > 2 && text(&content).contains(r#""resume":{"#));
    // The very last newline taken away is a torn tail.
    for bit in (0..content.len() * 8 - 8).step_by(5) {
        let mut bad = content.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let forged = storage.killed();
        forged.put(&name, bad);
        let why = refused(&forged, key());
        assert!(why.contains("edited at seq"), "bit {bit}: {why}");
        assert_eq!(forged.files().len(), storage.files().len(), "nothing is written after it");
    }
}

#[test]
fn a_forged_point_to_resume_at_is_refused_even_with_the_chain_made_anew() {
    let (storage, _dir, key) = long();
    let forgeries =
        [(r#""sessions":["s-1"]"#, r#""sessions":[]"#), (r#"["s-1","o-2"]"#, ""), (r#""tree":[""#, r#""tree":["A"#)];
    for (from, to) in forgeries {
        let forged = storage.killed();
        // Both of the last segments, so that neither vouches for the other.
        let files = forged.files();
        for (name, content) in files.iter().skip(files.len() - 2) {
            let text = text(content);
            assert!(text.contains(from), "{from} is in no header");
            forged.put(name, chained(text.replacen(from, to, 1).as_bytes(), 1));
        }
        refused(&forged, key());
    }
}

#[test]
fn without_a_signature_in_the_last_segment_the_one_before_vouches() {
    let (storage, _dir, key) = long();
    let (name, content) = storage.files().pop().unwrap();
    // The header alone: killed right after a segment was sealed.
    let header = text(&content).split_inclusive('\n').next().unwrap().to_owned();
    assert!(!text(&content).is_empty() && header.contains(r#""sessions":["s-1"]"#));
    storage.put(&name, header.clone().into_bytes());
    let (_, recovery) = open(&storage.killed(), key(), small());
    assert_eq!((recovery.interrupted, recovery.sessions), (1, 1));
    storage.put(&name, header.replacen(r#""sessions":["s-1"]"#, r#""sessions":[]"#, 1).into_bytes());
    let (_, recovery) = open(&storage.killed(), key(), small());
    assert_eq!(recovery.sessions, 1, "an unsigned header does not say what is open");
    storage.put(&name, header.into_bytes());
    let (before, content) = storage.files().into_iter().rev().nth(1).unwrap();
    storage.put(&before, text(&content).replacen("limit_hit", "limit_hot", 1).into_bytes());
    assert!(refused(&storage, key()).contains("edited at seq"));
}

#[test]
fn a_missing_segment_is_refused_wherever_it_was() {
    let (storage, _dir, key) = long();
    let names: Vec<String> = storage.files().into_iter().map(|(name, _)| name).collect();
    for name in [&names[0], &names[7], &names[names.len() - 2]] {
        let without = storage.killed();
        without.delete(name);
        assert!(refused(&without, key()).contains("segment missing"), "{name}");
    }
}

#[test]
fn what_does_not_fit_into_a_header_is_read_from_the_lines() {
    let storage = FaultyStorage::new();
    let (_dir, key) = key_file();
    let (writer, _) = open(&storage, key(), WriterConfig { segment_bytes: 256 * 1024, ..config() });
    let sessions = 20_000_u64;
    for n in 0..sessions {
        writer
            .submit(opened(&format!("s-{n}")), Durability::Written, |answer| {
                answer.unwrap();
            })
            .unwrap();
        if n % 1_000 == 0 {
            write(&writer, marker(), Durability::Written).unwrap();
        }
    }
    write(&writer, marker(), Durability::Written).unwrap();
    let killed = storage.killed();
    assert!(killed.files().len() > 10);
    assert!(!text(&killed.files().pop().unwrap().1).contains(r#""resume":{"#));
    let (_, recovery) = open(&killed, key(), config());
    assert_eq!(recovery.sessions, sessions);
}

#[test]
fn what_is_continued_is_made_durable_before_it_is_built_upon() {
    let storage = FaultyStorage::new();
    let (_dir, key) = key_file();
    let (writer, _) = open(&storage, key(), config());
    for n in 0..20 {
        write(&writer, begun("s-1", n), Durability::Written).unwrap();
    }
    // Killed, started again, and then the power is lost: the sync of the new segment must not outlive the old one's lines.
    let killed = storage.killed();
    let (_, recovery) = open(&killed, key(), config());
    assert_eq!(recovery.interrupted, 20);
    let lost = killed.power_lost();
    let report = verify(&lost, key().public(), None).unwrap();
    assert!(matches!(report.verdict, Verdict::Intact | Verdict::UnsignedTail { .. }), "{}", report.verdict);
    assert_eq!(open(&lost, key(), config()).1.interrupted, 0);
}

/// One thing that happens to a recording.
#[derive(Clone, Copy, Debug)]
enum Event {
    Open(u8),
    Close(u8),
    Intent(u8, u8),
    Outcome(u8, u8),
    AppendFails,
    SyncFails,
    Restart,
    /// Killed, and of the last segment this many bytes never came.
    Kill(usize),
    Fill,
}

fn event() -> impl Strategy<Value = Event> {
    let (session, op) = (0..4_u8, 0..4_u8);
    prop_oneof![
        4 => session.clone().prop_map(Event::Open),
        3 => session.clone().prop_map(Event::Close),
        6 => (session.clone(), op.clone()).prop_map(|(s, o)| Event::Intent(s, o)),
        5 => (session, op).prop_map(|(s, o)| Event::Outcome(s, o)),
        1 => Just(Event::AppendFails),
        1 => Just(Event::SyncFails),
        1 => Just(Event::Restart),
        1 => Just(Event::Kill(0)),
        1 => (1_usize..1500).prop_map(Event::Kill),
        3 => Just(Event::Fill),
    ]
}

/// Operations and sessions without an end, as the lines tell from the first one on.
fn unfinished(storage: &FaultyStorage) -> (u64, u64) {
    let (mut ops, mut sessions) = (BTreeSet::new(), BTreeSet::new());
    for line in entries(storage).unwrap().map(Result::unwrap) {
        let (session, op) = (line.session.unwrap_or_default(), line.op.unwrap_or_default());
        match line.body {
            Body::Intent(_) => drop(ops.insert((session, op))),
            Body::Outcome(_) => drop(ops.remove(&(session, op))),
            Body::Open(_) => drop(sessions.insert(session)),
            Body::Close(_) => drop(sessions.remove(&session)),
            _ => {}
        }
    }
    (ops.len() as u64, sessions.len() as u64)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever happened before, opening knows what was open.
    #[test]
    fn opening_forgets_nothing(events in proptest::collection::vec(event(), 1..60)) {
        let (_dir, key) = key_file();
        let config = || WriterConfig { segment_bytes: 1024, probe: std::time::Duration::from_millis(1), ..config() };
        let mut storage = FaultyStorage::new();
        let (mut writer, _) = open(&storage, key(), config());
        let submit = |writer: &Writer, entry, durability| drop(write(writer, entry, durability));
        for event in events {
            match event {
                Event::Open(s) => submit(&writer, opened(&format!("s-{s}")), Durability::Written),
                Event::Close(s) => submit(&writer, closed(&format!("s-{s}")), Durability::Written),
                Event::Intent(s, o) => submit(&writer, begun(&format!("s-{s}"), o.into()), Durability::Written),
                Event::Outcome(s, o) => submit(&writer, ended(&format!("s-{s}"), o.into()), Durability::Written),
                Event::Fill => (0..3).for_each(|n| submit(&writer, outcome(100 + n), Durability::Written)),
                Event::AppendFails => {
                    storage.set(|f| f.append = Some((17, EIO)));
                    submit(&writer, begun("s-1", 50), Durability::Written);
                    storage.set(|f| f.append = None);
                }
                Event::SyncFails => {
                    storage.set(|f| f.sync = Some(EIO));
                    submit(&writer, begun("s-1", 60), Durability::Synced);
                    storage.set(|f| f.sync = None);
                }
                Event::Restart | Event::Kill(_) => {
                    if matches!(event, Event::Restart) {
                        drop(writer.close());
                    }
                    storage = storage.killed();
                    if let Event::Kill(lost) = event {
                        let (name, mut content) = storage.files().pop().unwrap();
                        content.truncate(content.len().saturating_sub(lost));
                        storage.put(&name, content);
                    }
                    let expected = unfinished(&storage);
                    let (next, recovery) = open(&storage, key(), config());
                    prop_assert_eq!((recovery.interrupted, recovery.sessions), expected);
                    writer = next;
                }
            }
        }
        storage = storage.killed();
        let expected = unfinished(&storage);
        let (writer, recovery) = open(&storage, key(), config());
        prop_assert_eq!((recovery.interrupted, recovery.sessions), expected);
        let head = writer.close().unwrap();
        prop_assert_eq!(verify(&storage, key().public(), Some(head)).unwrap().verdict, Verdict::Intact);
    }
}
