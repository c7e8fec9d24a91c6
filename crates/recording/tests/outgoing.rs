//! What goes out of a recording that is being written: proofs that extend each other, segments that are whole, and room
//! that what is kept elsewhere makes.
#![expect(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{config, intent, key_file, marker, outcome, write};
use recording::chain::{Chain, Hash};
use recording::note::countersigned_head;
use recording::outgoing::{Outgoing, OutgoingError};
use recording::spool::faulty::{EIO, ENOSPC, FaultyStorage};
use recording::verify::{Verdict, verify};
use recording::{Durability, Storage, WriteError, Writer, WriterConfig};

const MOST: usize = 10_000;

struct Recorded {
    writer: Writer,
    outgoing: Outgoing,
    told: Arc<AtomicU64>,
}

fn small() -> WriterConfig {
    WriterConfig { segment_bytes: 8 * 1024, checkpoint_entries: 7, ..config() }
}

fn record(storage: &FaultyStorage, key: recording::SigningKey, config: WriterConfig) -> Recorded {
    let told = Arc::new(AtomicU64::new(0));
    let tell = Arc::clone(&told);
    let storage: Arc<dyn Storage> = Arc::new(storage.clone());
    let witness = Box::new(move |c: &recording::writer::Checkpointed| tell.store(c.head.size, Ordering::SeqCst));
    let (writer, _) = Writer::open(config, Arc::clone(&storage), key, witness).unwrap();
    Recorded { writer, outgoing: Outgoing::new(storage), told }
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < Duration::from_secs(10), "in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

impl Recorded {
    fn write(&self, operations: std::ops::Range<u64>) {
        for n in operations {
            write(&self.writer, intent(n), Durability::Written).unwrap();
            write(&self.writer, outcome(n), Durability::Written).unwrap();
        }
    }

    fn told(&self) -> u64 {
        self.told.load(Ordering::SeqCst)
    }

    /// Everything that can be proven; each note must vouch for the chain that the hashes make.
    fn prove(&mut self, chain: &mut Chain, key: &recording::VerifyingKey, most: usize) {
        while let Some(proof) = self.outgoing.proof(chain.size(), self.told(), most).unwrap() {
            proof.hashes.iter().for_each(|hash| chain.push_hash(*hash));
            assert_eq!(countersigned_head(&proof.note, key), Some(chain.head()));
            assert_eq!(proof.size, chain.size());
        }
    }

    /// Every segment that is sealed, one after the other; gives how many lines they hold.
    fn ship(&mut self, chain: &mut Chain, closed: bool) -> usize {
        let mut segments = 0;
        while let Some(sealed) = self.outgoing.sealed(chain.size(), closed).unwrap() {
            assert_eq!(sealed.first, chain.size());
            let bytes = self.outgoing.read(&sealed, 1 << 20).unwrap();
            bytes.split_inclusive(|b| *b == b'\n').for_each(|line| chain.push(line));
            segments += 1;
        }
        segments
    }
}

#[test]
fn proofs_and_segments_follow_each_other_to_the_end() {
    let (_dir, key) = key_file();
    let storage = FaultyStorage::new();
    let public = key().public().clone();
    let mut recorded = record(&storage, key(), small());
    let (mut proven, mut shipped) = (Chain::default(), Chain::default());
    for round in 0..20 {
        recorded.write(round * 10..round * 10 + 10);
        recorded.prove(&mut proven, &public, if round % 2 == 0 { MOST } else { 16 });
        recorded.ship(&mut shipped, false);
    }
    let told = recorded.told();
    assert!(proven.size() >= 200 && shipped.size() > 100, "{} {}", proven.size(), shipped.size());
    assert!(recorded.outgoing.proof(proven.size(), told, MOST).unwrap().is_none());
    let before = shipped.size();
    let head = recorded.writer.close().unwrap();
    recorded.prove(&mut proven, &public, MOST);
    assert_eq!(proven.size() + 1, head.size, "all but the checkpoint's own line");
    assert!(recorded.ship(&mut shipped, true) >= 1 && shipped.size() > before);
    assert_eq!(shipped.head(), head);
    assert!(recorded.outgoing.sealed(shipped.size(), true).unwrap().is_none());

    // A restart goes on where it was, and seals what was last before.
    let mut recorded = record(&storage, key(), small());
    recorded.write(200..210);
    recorded.prove(&mut proven, &public, MOST);
    recorded.ship(&mut shipped, false);
    assert!(proven.size() > head.size && shipped.size() >= head.size);
}

#[test]
fn nothing_goes_out_that_was_not_told_or_may_still_change() {
    let (_dir, key) = key_file();
    let storage = FaultyStorage::new();
    let mut recorded = record(&storage, key(), WriterConfig { checkpoint_entries: 1_000_000, ..small() });
    recorded.write(0..3);
    // The first checkpoint, of the opening, and no more.
    let told = recorded.told();
    assert!(recorded.outgoing.proof(told, told, MOST).unwrap().is_none());
    assert!(recorded.outgoing.proof(0, told.saturating_sub(1), MOST).unwrap().is_none());
    assert!(recorded.outgoing.sealed(0, false).unwrap().is_none());
    // Half a line is not one yet.
    let (name, mut bytes) = storage.files().pop().unwrap();
    bytes.extend_from_slice(b"{\"v\":1,");
    storage.put(&name, bytes);
    assert_eq!(recorded.outgoing.proof(0, told, MOST).unwrap().unwrap().size, told);
    assert!(matches!(recorded.outgoing.proof(0, u64::MAX, 0), Err(OutgoingError::NoCheckpoint(0))));
}

#[test]
fn a_segment_whose_end_failed_ends_where_the_next_one_says() {
    let (_dir, key) = key_file();
    let storage = FaultyStorage::new();
    let public = key().public().clone();
    let mut recorded = record(&storage, key(), small());
    recorded.write(0..4);
    storage.set(|faults| {
        faults.append = Some((40, ENOSPC));
        faults.truncate = Some(ENOSPC);
    });
    assert!(write(&recorded.writer, marker(), Durability::Written).is_err());
    storage.set(|faults| faults.append = None);
    until("it writes again", || write(&recorded.writer, marker(), Durability::Written).is_ok());
    recorded.write(4..30);
    let head = recorded.writer.close().unwrap();
    let (mut proven, mut shipped) = (Chain::default(), Chain::default());
    recorded.prove(&mut proven, &public, MOST);
    recorded.ship(&mut shipped, true);
    assert_eq!((proven.size() + 1, shipped.head()), (head.size, head));
}

#[test]
fn what_is_stored_makes_room_before_anything_is_refused() {
    let (_dir, key) = key_file();
    let storage = FaultyStorage::new();
    let public = key().public().clone();
    let max_bytes = 256 * 1024;
    let mut recorded = record(&storage, key(), WriterConfig { max_bytes, ..small() });
    let mut shipped = Chain::default();
    for round in 0..60_u64 {
        recorded.write(round * 20..round * 20 + 20);
        recorded.ship(&mut shipped, false);
        let (used, max) = recorded.writer.usage();
        assert_eq!(max, max_bytes);
        if used > max / 2 {
            let removed = recorded.writer.remove_stored(shipped.size()).unwrap();
            assert!(removed.segments > 0 && removed.bytes > 0);
            let (now, _) = recorded.writer.usage();
            let there: usize = storage.files().iter().filter(|f| f.0.starts_with("segment-")).map(|f| f.1.len()).sum();
            assert_eq!(now, u64::try_from(there).unwrap(), "what is counted is what is there");
            assert!(now < used);
        }
    }
    assert!(storage.files().iter().all(|(name, _)| name != "segment-0000000001.jsonl"), "it went round");
    let head = recorded.writer.close().unwrap();
    let report = verify(&storage, &public, Some(head)).unwrap();
    assert_eq!(report.verdict, Verdict::Intact);
    assert!(report.expired.unwrap() > 0);
    recorded.ship(&mut shipped, true);
    assert_eq!(shipped.head(), head);

    // What is gone cannot be asked for, by neither.
    assert!(matches!(recorded.outgoing.proof(0, u64::MAX, MOST), Err(OutgoingError::Removed { from: 0, .. })));
    assert!(matches!(recorded.outgoing.sealed(0, true), Err(OutgoingError::Removed { from: 0, .. })));
    let inside = report.expired.unwrap() + 1;
    assert!(matches!(recorded.outgoing.sealed(inside, true), Err(OutgoingError::Within { .. })));
}

#[test]
fn without_a_store_the_spool_fills_and_then_refuses() {
    let (_dir, key) = key_file();
    let storage = FaultyStorage::new();
    let recorded = record(&storage, key(), WriterConfig { max_bytes: 64 * 1024, ..small() });
    let refused = (0..10_000).find_map(|n| write(&recorded.writer, intent(n), Durability::Written).err());
    let Some(WriteError::Full { .. }) = refused else { panic!("{refused:?}") };
    // Nothing is stored: nothing goes, and nothing is admitted.
    assert_eq!(recorded.writer.remove_stored(0).unwrap().segments, 0);
    assert!(write(&recorded.writer, intent(10_001), Durability::Written).is_err());
    let chain = recorded.outgoing.sealed(0, false).unwrap().map(|sealed| sealed.first);
    assert_eq!(chain, Some(0));
}

/// Everything up to `until`, in stretches of at most `most` bytes.
fn stretch(recorded: &mut Recorded, sent: &mut Vec<Vec<u8>>, until: u64, most: usize) {
    let size = |sent: &Vec<Vec<u8>>| u64::try_from(sent.len()).unwrap();
    while size(sent) < until {
        let lines = recorded.outgoing.stretch(size(sent), until, most).unwrap();
        let count = lines.split_inclusive(|byte| *byte == b'\n').count();
        assert!(count == 1 || (count > 1 && lines.len() <= most), "{count} lines of {} bytes", lines.len());
        sent.extend(lines.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec));
    }
    let last = sent.last().map_or(Hash::default(), |line| Hash::of(line));
    assert_eq!(recorded.outgoing.behind(size(sent)).unwrap(), Some(last));
}

fn all_lines(storage: &FaultyStorage) -> Vec<Vec<u8>> {
    let all: Vec<u8> = storage.files().into_iter().flat_map(|(_, content)| content).collect();
    all.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect()
}

#[test]
fn lines_that_are_to_be_replicated_are_synced_first_and_never_taken_back() {
    let (_dir, key) = key_file();
    let storage = FaultyStorage::new();
    storage.set(|faults| faults.fast = true);
    let mut sent = Vec::new();
    // Over segments, and over restarts, at each of which power is lost.
    let mut disk = storage.clone();
    for life in 0..3_u64 {
        let mut recorded = record(&disk, key(), small());
        for n in 0..60 {
            let n = life * 100 + n;
            let level = if n % 3 == 0 { Durability::Replicated } else { Durability::Written };
            let position = write(&recorded.writer, intent(n), level).unwrap();
            write(&recorded.writer, outcome(n), Durability::Written).unwrap();
            if level == Durability::Replicated {
                stretch(&mut recorded, &mut sent, position.seq + 1, if n % 2 == 0 { 100_000 } else { 700 });
                let left = all_lines(&disk.power_lost());
                assert!(left.starts_with(&sent), "{n}: what went out would be gone after power loss");
            }
        }
        assert!(recorded.outgoing.segments().unwrap() > 3);
        disk = disk.power_lost();
    }
    assert!(sent.len() > 200);
    // Less than what went out is here: there is no line before it.
    let mut short = record(&FaultyStorage::new(), key(), small());
    assert_eq!(short.outgoing.behind(u64::try_from(sent.len()).unwrap()).unwrap(), None);
    assert!(short.outgoing.stretch(50, 60, MOST).unwrap().is_empty());
}

#[test]
fn a_line_that_could_not_be_synced_does_not_count_and_what_went_out_stays() {
    type Break = fn(&mut recording::spool::faulty::Faults);
    let breaks: [(&str, Break); 3] = [
        ("sync fails", |faults| faults.sync = Some(EIO)),
        ("no space after half a line", |faults| faults.append = Some((40, ENOSPC))),
        ("an error after whole lines", |faults| faults.append = Some((100_000, EIO))),
    ];
    for (what, fault) in breaks {
        let (_dir, key) = key_file();
        let storage = FaultyStorage::new();
        let public = key().public().clone();
        let mut recorded = record(&storage, key(), config());
        let mut sent = Vec::new();
        let position = write(&recorded.writer, intent(1), Durability::Replicated).unwrap();
        stretch(&mut recorded, &mut sent, position.seq + 1, MOST);
        storage.set(fault);
        assert!(write(&recorded.writer, intent(2), Durability::Replicated).is_err(), "{what}");
        storage.set(|faults| *faults = Default::default());
        until("it goes on", || write(&recorded.writer, intent(3), Durability::Replicated).is_ok());
        let position = write(&recorded.writer, intent(4), Durability::Replicated).unwrap();
        stretch(&mut recorded, &mut sent, position.seq + 1, MOST);
        recorded.writer.close().unwrap();
        assert_eq!(verify(&storage, &public, None).unwrap().verdict, Verdict::Intact, "{what}");
        // What went out is the recording, in the order of its numbers, without what was cut.
        let seqs: Vec<u64> =
            sent.iter().map(|line| serde_json::from_slice::<recording::Line>(line).unwrap().seq).collect();
        assert_eq!(seqs, (0..u64::try_from(sent.len()).unwrap()).collect::<Vec<_>>(), "{what}");
        let end = recording::tail::follow(&sent.concat(), recording::tail::End::default()).unwrap();
        assert_eq!(usize::try_from(end.size).unwrap(), sent.len());
    }
}

#[test]
fn what_is_kept_elsewhere_and_was_removed_here_is_still_continued() {
    let (_dir, key) = key_file();
    let storage = FaultyStorage::new();
    let mut recorded = record(&storage, key(), small());
    recorded.write(0..100);
    let (mut sent, mut shipped) = (Vec::new(), Chain::default());
    let position = write(&recorded.writer, intent(500), Durability::Replicated).unwrap();
    stretch(&mut recorded, &mut sent, position.seq + 1, 5_000);
    recorded.ship(&mut shipped, false);
    assert!(shipped.size() > 50);
    recorded.writer.remove_stored(shipped.size()).unwrap();
    assert_eq!(recorded.outgoing.behind(shipped.size()).unwrap(), Some(shipped.last()));
    assert!(matches!(recorded.outgoing.stretch(3, 9, MOST), Err(OutgoingError::Removed { from: 3, .. })));
    assert!(matches!(recorded.outgoing.behind(3), Err(OutgoingError::Removed { .. })));
    recorded.write(101..110);
    let position = write(&recorded.writer, intent(501), Durability::Replicated).unwrap();
    stretch(&mut recorded, &mut sent, position.seq + 1, 5_000);
}
