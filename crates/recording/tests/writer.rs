//! The writer: order, durability, limits, faults.
#![expect(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use common::{config, data, intent, key, key_file, marker, open, open_any, open_session, outcome, refusal, write};
use recording::entry::{Body, Status, What};
use recording::reader::entries;
use recording::spool::faulty::{EIO, ENOSPC, EROFS, FaultyStorage};
use recording::verify::{Verdict, verify};
use recording::{Durability, FsStorage, Line, OpenError, SigningKey, Storage, WriteError, Writer, WriterConfig};

fn lines(storage: &dyn Storage) -> Vec<Line> {
    entries(storage).unwrap().map(Result::unwrap).collect()
}

fn markers(storage: &dyn Storage, what: What) -> Vec<Option<u64>> {
    let of = |line: Line| match line.body {
        Body::Marker(m) if m.what == what => Some(m.count),
        _ => None,
    };
    lines(storage).into_iter().filter_map(of).collect()
}

fn until(mut holds: impl FnMut() -> bool) -> Duration {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(5), "not within 5 s");
        std::thread::sleep(Duration::from_millis(5));
    }
    start.elapsed()
}

#[test]
fn a_closed_recording_is_intact_and_its_head_is_told() {
    let storage = FaultyStorage::new();
    let key = key();
    let public = key.public().clone();
    let told = Arc::new(Heads::default());
    let sink = Arc::clone(&told);
    let witness = Box::new(move |c: &recording::writer::Checkpointed| sink.push(c.head));
    let (writer, recovery) = Writer::open(config(), Arc::new(storage.clone()), key, witness).unwrap();
    assert_eq!(recovery, recording::Recovery::default());
    write(&writer, open_session("s-1"), Durability::Written).unwrap();
    write(&writer, intent(1), Durability::Synced).unwrap();
    write(&writer, outcome(1), Durability::Written).unwrap();
    let head = writer.close().unwrap();
    assert_eq!(writer.close(), Err(WriteError::Closed));
    assert!(writer.submit(marker(), Durability::Written, |_| {}).is_err());
    let report = verify(&storage, &public, Some(head)).unwrap();
    assert_eq!(report.verdict, Verdict::Intact);
    assert_eq!(report.head, head);
    for head in told.all() {
        assert_eq!(verify(&storage, &public, Some(head)).unwrap().verdict, Verdict::Intact, "{head}");
    }
    let codes: Vec<String> = lines(&storage).into_iter().map(|l| l.code).collect();
    let expected =
        ["SEGMENT_HEADER", "CHECKPOINT", "SESSION_OPEN", "OP_INTENT", "OP_OUTCOME", "MARKER_DRAIN", "CHECKPOINT"];
    assert_eq!(codes, expected);
}

/// Heads in the order they were told.
#[derive(Default)]
struct Heads(parking_lot::Mutex<Vec<recording::Head>>);

impl Heads {
    fn push(&self, head: recording::Head) {
        self.0.lock().push(head);
    }

    fn all(&self) -> Vec<recording::Head> {
        self.0.lock().clone()
    }
}

#[test]
fn the_line_is_as_documented() {
    let storage = FaultyStorage::new();
    let (writer, _) = open(&storage, key(), config());
    write(&writer, intent(7), Durability::Written).unwrap();
    let (_, content) = storage.files().remove(0);
    let text = String::from_utf8(content).unwrap();
    let line = text.lines().last().unwrap();
    assert!(line.starts_with(r#"{"v":1,"seq":2,"code":"OP_INTENT","mono_ns":"#), "{line}");
    let rest = r#""session":"s-1","op":"o-7","kind":"intent","protocol":"postgres","action":"SELECT","resources":["Read Relation public.users (id, email)"],"digest":"hmac-sha256:9c1e","display":"SELECT id, email FROM users WHERE name = '?'","decision":"Allow","rules":["default/read-users"],"revision":"sha256:51aa","obligations":["mask:email"],"durability":"written","prev":"sha256:"#;
    assert!(line.contains(rest), "{line}");
}

#[test]
fn answers_come_in_order_of_seq_from_many_threads() {
    for fast in [false, true] {
        let storage = FaultyStorage::new();
        storage.set(|f| f.fast = fast);
        let key = key();
        let public = key.public().clone();
        let config = WriterConfig { segment_bytes: 64 * 1024, checkpoint_entries: 100, queue: 100, ..config() };
        let (writer, _) = open(&storage, key, config);
        let answers = Arc::new(parking_lot::Mutex::new(Vec::new()));
        let threads: Vec<_> = (0..4)
            .map(|thread| {
                let (writer, answers) = (writer.clone(), Arc::clone(&answers));
                std::thread::spawn(move || {
                    let mut sent = 0;
                    while sent < 1_000 {
                        let answers = Arc::clone(&answers);
                        let durability = if sent % 50 == 0 { Durability::Synced } else { Durability::Written };
                        let n = sent;
                        let taken = writer.submit(marker(), durability, move |answer| {
                            answers.lock().push((thread, n, answer.unwrap().seq));
                        });
                        match taken {
                            Ok(()) => sent += 1,
                            Err(_) => std::thread::yield_now(),
                        }
                    }
                })
            })
            .collect();
        threads.into_iter().for_each(|t| t.join().unwrap());
        writer.close().unwrap();
        let answers = answers.lock();
        assert_eq!(answers.len(), 4_000);
        assert!(answers.is_sorted_by_key(|(_, _, seq)| *seq), "answers in order of seq, fast {fast}");
        for thread in 0..4 {
            let own: Vec<_> = answers.iter().filter(|(t, _, _)| *t == thread).map(|(_, n, _)| *n).collect();
            assert!(own.is_sorted(), "entries of one caller keep their order, fast {fast}");
        }
        assert_eq!(verify(&storage, &public, None).unwrap().verdict, Verdict::Intact);
        assert!(storage.files().len() > 5, "segments were sealed by size");
    }
}

#[test]
fn synced_entries_survive_power_loss_and_share_a_sync() {
    let storage = FaultyStorage::new();
    let (_dir, key) = key_file();
    let (writer, _) = open(&storage, key(), config());
    let (_, before) = storage.calls();
    storage.set(|f| f.stall_sync = true);
    let (tx, rx) = mpsc::sync_channel(100);
    for n in 0..50 {
        let tx = tx.clone();
        writer.submit(intent(n), Durability::Synced, move |a| tx.send(a.unwrap().seq).unwrap()).unwrap();
    }
    assert!(rx.recv_timeout(Duration::from_millis(100)).is_err(), "not answered before the sync");
    storage.set(|f| f.stall_sync = false);
    let last = (0..50).map(|_| rx.recv_timeout(Duration::from_secs(5)).unwrap()).max().unwrap();
    let (_, after) = storage.calls();
    assert!(after - before <= 3, "{} syncs for 50 entries", after - before);
    let lost = storage.power_lost();
    assert!(lines(&lost).iter().any(|l| l.seq == last));
    let (_, recovery) = open(&lost, key(), config());
    assert_eq!(recovery.interrupted, 50);
}

#[test]
fn a_failure_fails_all_that_follows_until_a_segment_begins() {
    for (name, fast, fault) in [
        ("EIO", false, (0, EIO)),
        ("short write", false, (100, ENOSPC)),
        ("read-only", true, (0, EROFS)),
        ("a line and a half", true, (900, EIO)),
    ] {
        let storage = FaultyStorage::new();
        storage.set(|f| f.fast = fast);
        let (_dir, key) = key_file();
        let public = key().public().clone();
        let (writer, _) = open(&storage, key(), config());
        write(&writer, intent(1), Durability::Written).unwrap();
        storage.set(|f| {
            f.append = Some(fault);
            f.create = Some(ENOSPC);
        });
        for n in 2..6 {
            let start = Instant::now();
            assert!(matches!(write(&writer, intent(n), Durability::Written), Err(WriteError::Failed(_))), "{name}");
            assert!(start.elapsed() < Duration::from_secs(1), "{name}");
        }
        until(|| writer.ready().is_err());
        writer.note_unrecorded_refusal();
        writer.note_unrecorded_refusal();
        storage.set(|f| (f.append, f.create) = (None, None));
        let took = until(|| write(&writer, refusal(6), Durability::Written).is_ok());
        assert!(took < Duration::from_secs(1), "{name}: {took:?}");
        write(&writer, outcome(1), Durability::Written).unwrap();
        until(|| markers(&storage, What::UnrecordedRefusals) == [Some(2)]);
        until(|| writer.ready().is_ok());
        let head = writer.close().unwrap();
        assert_eq!(verify(&storage, &public, Some(head)).unwrap().verdict, Verdict::Intact, "{name}");
        assert_eq!(markers(&storage, What::SegmentFailed).len(), 1, "{name}");
        let intents = lines(&storage).iter().filter(|l| matches!(l.body, Body::Intent(_))).count();
        assert_eq!(intents, 1, "{name}: what was refused is not in the recording");
        let (_, recovery) = open(&storage, key(), config());
        assert_eq!((recovery.interrupted, recovery.cut_bytes), (0, 0), "{name}");
    }
}

#[test]
fn a_failed_segment_that_cannot_be_cut_is_cut_by_the_next_header() {
    let storage = FaultyStorage::new();
    let (_dir, key) = key_file();
    let (writer, _) = open(&storage, key(), config());
    storage.set(|f| {
        f.append = Some((1_000, EIO));
        f.truncate = Some(EIO);
        f.create = Some(EIO);
    });
    for n in 0..3 {
        assert!(write(&writer, intent(n), Durability::Written).is_err());
    }
    storage.set(|f| (f.append, f.create) = (None, None));
    until(|| write(&writer, marker(), Durability::Written).is_ok());
    let head = writer.close().unwrap();
    let report = verify(&storage, key().public(), Some(head)).unwrap();
    assert_eq!(report.verdict, Verdict::Intact);
    assert!(lines(&storage).iter().all(|l| !matches!(l.body, Body::Intent(_))));
    open(&storage, key(), config());
}

#[test]
fn a_header_that_fails_is_taken_away_before_the_next_try() {
    let storage = FaultyStorage::new();
    let (_dir, key) = key_file();
    let (writer, _) = open(&storage, key(), config());
    storage.set(|f| {
        f.append = Some((30, EIO));
        f.remove = Some(EIO);
    });
    assert!(write(&writer, intent(0), Durability::Written).is_err());
    std::thread::sleep(Duration::from_millis(100));
    let killed = storage.killed();
    let (_, recovery) = open(&killed, key(), config());
    assert!(recovery.cut_bytes > 0, "killed in this state, it opens");
    storage.set(|f| f.append = None);
    std::thread::sleep(Duration::from_millis(100));
    assert!(write(&writer, intent(1), Durability::Written).is_err(), "half a header is in the way");
    storage.set(|f| f.remove = None);
    until(|| write(&writer, marker(), Durability::Written).is_ok());
    let head = writer.close().unwrap();
    assert_eq!(verify(&storage, key().public(), Some(head)).unwrap().verdict, Verdict::Intact);
}

#[test]
fn a_failed_sync_is_never_a_success_and_its_intents_were_not_sent() {
    let storage = FaultyStorage::new();
    let (_dir, key) = key_file();
    let (writer, _) = open(&storage, key(), config());
    storage.set(|f| f.sync = Some(EIO));
    assert!(write(&writer, intent(1), Durability::Synced).is_err());
    assert!(write(&writer, intent(2), Durability::Written).is_err(), "the segment is not used again");
    let (_, syncs) = storage.calls();
    storage.set(|f| f.sync = None);
    until(|| write(&writer, intent(3), Durability::Synced).is_ok());
    assert!(storage.calls().1 > syncs);
    write(&writer, outcome(3), Durability::Written).unwrap();
    let head = writer.close().unwrap();
    assert_eq!(verify(&storage, key().public(), Some(head)).unwrap().verdict, Verdict::Intact);
    let not_sent: Vec<_> = lines(&storage)
        .into_iter()
        .filter_map(|l| matches!(&l.body, Body::Outcome(o) if o.status == Status::NotSent).then(|| l.op.unwrap()))
        .collect();
    assert_eq!(not_sent, ["o-1"]);
    let (_, recovery) = open(&storage, key(), config());
    assert_eq!(recovery.interrupted, 0);
}

#[test]
fn a_stalled_storage_never_blocks_a_caller_and_the_queue_is_bounded() {
    let storage = FaultyStorage::new();
    let (writer, _) = open(&storage, key(), WriterConfig { queue: 100, ..config() });
    storage.set(|f| f.stall_append = true);
    let (tx, rx) = mpsc::sync_channel(1_000);
    let start = Instant::now();
    let mut taken = 0;
    for n in 0..1_000 {
        let tx = tx.clone();
        taken += usize::from(writer.submit(intent(n), Durability::Written, move |a| tx.send(a).unwrap()).is_ok());
    }
    assert!(start.elapsed() < Duration::from_millis(500), "{:?}", start.elapsed());
    assert!((100..=300).contains(&taken), "{taken}");
    assert!(rx.try_recv().is_err(), "nothing is acknowledged");
    storage.set(|f| f.stall_append = false);
    for _ in 0..taken {
        rx.recv_timeout(Duration::from_secs(5)).unwrap().unwrap();
    }
    assert!(rx.try_recv().is_err());
}

#[test]
fn waiting_bytes_are_bounded_too() {
    let storage = FaultyStorage::new();
    let (writer, _) = open(&storage, key(), config());
    storage.set(|f| f.stall_append = true);
    let big = vec![b'x'; 64 * 1024];
    let taken = (0..1_000).filter(|_| writer.submit(data(&big), Durability::Written, |_| {}).is_ok()).count();
    assert!(taken < 300, "{taken} entries of 64 KiB wait");
    storage.set(|f| f.stall_append = false);
}

#[test]
fn a_fast_storage_that_stalls_holds_up_one_caller_only() {
    let storage = FaultyStorage::new();
    storage.set(|f| f.fast = true);
    let (writer, _) = open(&storage, key(), config());
    storage.set(|f| f.stall_append = true);
    let first = {
        let writer = writer.clone();
        std::thread::spawn(move || writer.submit(intent(1), Durability::Written, |_| {}))
    };
    std::thread::sleep(Duration::from_millis(50));
    let start = Instant::now();
    for n in 2..50 {
        writer.submit(intent(n), Durability::Written, |_| {}).unwrap();
    }
    assert!(start.elapsed() < Duration::from_millis(50), "{:?}", start.elapsed());
    assert!(!first.is_finished());
    storage.set(|f| f.stall_append = false);
    first.join().unwrap().unwrap();
    write(&writer, marker(), Durability::Written).unwrap();
}

#[test]
fn at_max_bytes_intents_are_refused_and_outcomes_are_not() {
    let storage = FaultyStorage::new();
    let (_dir, key) = key_file();
    let config = WriterConfig { max_bytes: 64 * 1024, segment_bytes: 4 * 1024, ..config() };
    let (writer, _) = open(&storage, key(), config);
    let mut admitted = 0;
    let full = loop {
        match write(&writer, intent(admitted), Durability::Written) {
            Ok(_) => admitted += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(full, WriteError::Full { max: 65_536, .. }), "{full}");
    assert!(admitted > 10, "{admitted}");
    // A refusal sets nothing aside, so some may fit where no intent does.
    let full = (0..100).find_map(|n| write(&writer, refusal(n), Durability::Written).err());
    assert!(matches!(full, Some(WriteError::Full { .. })), "{full:?}");
    until(|| matches!(writer.ready(), Err(WriteError::Full { .. })));
    for n in 0..admitted {
        write(&writer, outcome(n), Durability::Written).unwrap();
    }
    let bytes: usize = storage.files().iter().map(|(_, c)| c.len()).sum();
    assert!(bytes <= 64 * 1024, "{bytes}");
    // Pruning makes room for a writer that runs.
    let later = jiff::Timestamp::now() + Duration::from_secs(10);
    let removed = recording::prune::prune(&storage, &key(), later).unwrap();
    assert!(removed.segments > 2, "{removed:?}");
    until(|| write(&writer, intent(1_000), Durability::Written).is_ok());
    let head = writer.close().unwrap();
    assert_eq!(verify(&storage, key().public(), Some(head)).unwrap().verdict, Verdict::Intact);
}

/// Whoever prunes in time is refused nothing, however much is written in all.
#[test]
fn what_was_pruned_in_time_is_not_held_against_the_next() {
    let folder = tempfile::tempdir().unwrap();
    let (_dir, key) = key_file();
    let storage: Arc<dyn Storage> = Arc::new(FsStorage::open(folder.path()).unwrap());
    let config = WriterConfig { max_bytes: 32 << 20, segment_bytes: 1 << 20, ..config() };
    let (writer, _) = open_any(Arc::clone(&storage), key(), config);
    let block = vec![0; 32 * 1024];
    for turn in 0..8 {
        for _ in 0..(6 << 20) / block.len() {
            write(&writer, data(&block), Durability::Written).unwrap_or_else(|error| panic!("turn {turn}: {error}"));
        }
        let later = jiff::Timestamp::now() + Duration::from_secs(10);
        recording::prune::prune(&*storage, &key(), later).unwrap();
    }
}

#[test]
fn below_the_floor_intents_are_refused_and_outcomes_are_not() {
    let storage = FaultyStorage::new();
    let (writer, _) = open(&storage, key(), WriterConfig { free_floor: 1 << 20, ..config() });
    write(&writer, intent(1), Durability::Written).unwrap();
    storage.set(|f| f.free = Some((1 << 20) + 100));
    until(|| matches!(write(&writer, intent(2), Durability::Written), Err(WriteError::NoSpace { .. })));
    assert!(matches!(writer.ready(), Err(WriteError::NoSpace { .. })));
    write(&writer, outcome(1), Durability::Written).unwrap();
    storage.set(|f| f.free = None);
    until(|| write(&writer, intent(3), Durability::Written).is_ok());
}

#[test]
fn segments_and_checkpoints_come_by_age_too() {
    let storage = FaultyStorage::new();
    let key = key();
    let public = key.public().clone();
    let config =
        WriterConfig { segment_age: Duration::from_millis(200), checkpoint_age: Duration::from_millis(50), ..config() };
    let (writer, _) = open(&storage, key, config);
    let (before, _) = (verify(&storage, &public, None).unwrap().checkpoints, ());
    write(&writer, marker(), Durability::Written).unwrap();
    until(|| verify(&storage, &public, None).unwrap().checkpoints > before);
    until(|| storage.files().len() == 2);
    let idle = storage.files();
    std::thread::sleep(Duration::from_millis(1_500));
    assert_eq!(storage.files(), idle, "nothing is written while nothing happens");
}

#[test]
fn the_writers_own_kinds_and_oversized_entries_are_refused() {
    let storage = FaultyStorage::new();
    let (writer, _) = open(&storage, key(), config());
    let forged = recording::Entry::global(Body::Checkpoint(recording::entry::Checkpoint { note: "x".into() }));
    assert_eq!(write(&writer, forged, Durability::Written), Err(WriteError::Reserved("CHECKPOINT")));
    let mut hostile = intent(1);
    let Body::Intent(i) = &mut hostile.body else { panic!("an intent") };
    i.decided.display = Some("\u{1}".repeat(1 << 20));
    i.decided.resources = vec!["\"".repeat(10_000); 500];
    write(&writer, hostile, Durability::Written).unwrap();
    assert!(storage.files()[0].1.len() < 1 << 20);
    let line = lines(&storage).pop().unwrap();
    let Body::Intent(i) = line.body else { panic!("an intent") };
    assert!(i.decided.display.unwrap().ends_with("[1048576 bytes in all]"));
    assert_eq!(i.decided.resources.last().unwrap(), "... and 436 more");
}

#[test]
fn opening_says_what_is_wrong() {
    let storage = FaultyStorage::new();
    let (_dir, load) = key_file();
    let (writer, _) = open(&storage, load(), config());
    let open_again = |storage: &FaultyStorage, key: SigningKey| {
        Writer::open(config(), Arc::new(storage.clone()), key, Box::new(|_| {})).map(|_| ()).unwrap_err()
    };
    assert!(matches!(open_again(&storage, load()), OpenError::InUse));
    write(&writer, intent(1), Durability::Written).unwrap();
    writer.close().unwrap();
    let error = open_again(&storage, key()).to_string();
    assert!(error.contains("was made with the key") && error.contains(&load().public().to_string()), "{error}");
    let (name, mut content) = storage.files().remove(0);
    let at = String::from_utf8(content.clone()).unwrap().find("SELECT id").unwrap();
    content[at] = b'D';
    storage.put(&name, content);
    let error = open_again(&storage, load());
    assert!(matches!(error, OpenError::Damaged(_)));
    let text = error.to_string();
    assert!(text.contains(&name) && text.contains("edited at seq 2") && text.contains("moving it away"), "{text}");
}

#[test]
fn a_real_directory_is_locked_private_and_continued() {
    let dir = tempfile::tempdir().unwrap();
    let (_keys, key) = key_file();
    let storage: Arc<dyn Storage> = Arc::new(FsStorage::create(&dir.path().join("recordings")).unwrap());
    let (writer, _) = open_any(Arc::clone(&storage), key(), config());
    let again = Writer::open(config(), Arc::clone(&storage), key(), Box::new(|_| {})).map(|_| ());
    assert!(matches!(again, Err(OpenError::InUse)));
    for n in 0..100 {
        write(&writer, intent(n), Durability::Written).unwrap();
        write(&writer, outcome(n), Durability::Synced).unwrap();
    }
    let first = writer.close().unwrap();
    let (writer, recovery) = open_any(Arc::clone(&storage), key(), config());
    assert_eq!((recovery.entries, recovery.interrupted, recovery.cut_bytes), (first.size, 0, 0));
    let second = writer.close().unwrap();
    for head in [first, second] {
        assert_eq!(verify(&*storage, key().public(), Some(head)).unwrap().verdict, Verdict::Intact);
    }
    use std::os::unix::fs::PermissionsExt;
    for file in std::fs::read_dir(dir.path().join("recordings")).unwrap() {
        assert_eq!(file.unwrap().metadata().unwrap().permissions().mode() & 0o777, 0o600);
    }
}
