//! Lines that come before they are sealed: what is acknowledged is there for good, in one order, whoever sends it how
//! often, and goes only when a segment holds it. On a real directory, and in a bucket of a real server.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test helpers")]

mod common;

use std::ops::{ControlFlow, Range};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use archive::{Audit, Credentials, Found, Library, Location, Query, Shelf, ShelfError, Store, StoreError};
use bytes::Bytes;
use common::{Made, id, made, with_key, witness};
use recording::chain::Hash;
use recording::verify::Verdict;
use recording::{Fault, SigningKey};
use tokio::runtime::Runtime;

struct Place {
    dir: tempfile::TempDir,
    library: Library,
    runtime: Runtime,
    witness: SigningKey,
}

impl Place {
    fn new(made: &Made) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let library = Library::open(&Location::folder(dir.path()).unwrap(), &Credentials::None).unwrap();
        let place = Self { dir, library, runtime: Runtime::new().unwrap(), witness: witness() };
        place.runtime.block_on(place.replica().begin(&made.meta())).unwrap();
        place
    }

    /// As one that knows nothing of the others.
    fn replica(&self) -> Shelf {
        self.replica_of("u-1")
    }

    fn replica_of(&self, uid: &str) -> Shelf {
        let location = Location::folder(self.dir.path()).unwrap();
        Store::open(&location, &Credentials::None).unwrap().shelf(&id(uid))
    }

    fn send(&self, shelf: &Shelf, made: &Made, range: Range<usize>) -> Result<u64, ShelfError> {
        let from = u64::try_from(range.start).unwrap();
        self.runtime.block_on(shelf.replicate(from, lines(made, range))).map(|end| end.size)
    }

    /// The first line of each object that is there.
    fn objects(&self) -> Vec<u64> {
        let Ok(files) = std::fs::read_dir(self.folder()) else { return Vec::new() };
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut all: Vec<u64> = names.map(|name| name.strip_suffix(".jsonl").unwrap().parse().unwrap()).collect();
        all.sort_unstable();
        all
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("recordings/agents/u-1/tails")
    }

    fn object(&self, first: u64) -> PathBuf {
        self.folder().join(format!("{first:016}.jsonl"))
    }

    fn audit(&self) -> Audit {
        self.library.audit(&id("u-1"), self.witness.public()).unwrap()
    }

    /// `seq` of every entry that a reader gets.
    fn entries(&self) -> Vec<u64> {
        let stored = self.library.stored(&id("u-1")).unwrap();
        recording::reader::entries(&stored).unwrap().map(|line| line.unwrap().seq).collect()
    }

    fn found(&self) -> usize {
        let mut found = 0;
        let mut each = |_: Found| {
            found += 1;
            ControlFlow::Continue(())
        };
        self.library.search(None, &Query::default(), &mut each).unwrap();
        found
    }
}

fn lines(made: &Made, range: Range<usize>) -> Bytes {
    made.lines[range].concat().into()
}

/// Where each segment begins, and the end.
fn borders(made: &Made) -> Vec<usize> {
    let count = |segment: &Vec<u8>| segment.iter().filter(|byte| **byte == b'\n').count();
    let mut at = vec![0];
    at.extend(made.segments.iter().scan(0, |sum, segment| {
        *sum += count(segment);
        Some(*sum)
    }));
    at
}

#[test]
fn what_is_sent_comes_in_order_and_once() {
    let (made, count) = (made(30), 40);
    let place = Place::new(&made);
    let shelf = place.replica();
    // Nothing yet, and then in stretches of every length.
    let end = place.runtime.block_on(shelf.replicate(0, Bytes::new())).unwrap();
    assert_eq!((end.size, end.last), (0, Hash::default()));
    let mut at = 0;
    for step in [1, 2, 3, 5, 8, 13, 8] {
        assert_eq!(place.send(&shelf, &made, at..at + step).unwrap(), u64::try_from(at + step).unwrap());
        at += step;
    }
    assert_eq!((at, place.objects().len()), (count, 7));
    let end = place.runtime.block_on(place.replica().replicate(0, Bytes::new())).unwrap();
    assert_eq!((end.size, end.last), (40, Hash::of(&made.lines[39])));
    assert_eq!(place.entries(), (0..40).collect::<Vec<_>>());

    // Again, in other stretches, by one that remembers and one that does not: acknowledged, and nothing is written.
    for shelf in [&shelf, &place.replica()] {
        for range in [0..1, 0..40, 3..17, 39..40, 6..11] {
            let end = u64::try_from(range.end).unwrap();
            assert_eq!(place.send(shelf, &made, range).unwrap(), end);
        }
    }
    assert_eq!(place.objects().len(), 7);
    // What goes beyond is kept, and only that.
    assert_eq!(place.send(&place.replica(), &made, 30..44).unwrap(), 44);
    assert_eq!(place.objects().last(), Some(&40));
    // Ahead of it, nothing.
    let error = place.send(&shelf, &made, 46..50).unwrap_err();
    assert!(matches!(error, ShelfError::OutOfStep { expected: 44, offered: 46, .. }), "{error}");
    assert_eq!(place.send(&shelf, &made, 44..46).unwrap(), 46);
    assert_eq!(place.entries(), (0..46).collect::<Vec<_>>());
}

#[test]
fn what_does_not_continue_is_refused() {
    let key = SigningKey::generate_text("agentaccess-00000001").unwrap();
    let entries = |table: &str| {
        let mut entries = vec![common::open("s-1", "orders")];
        entries.extend((0..20).map(|n| common::intent("s-1", &format!("o-{n}"), table)));
        entries
    };
    let copy = || SigningKey::from_text(&key).unwrap();
    let (made, other) = (with_key(copy(), entries("users")), with_key(copy(), entries("others")));
    let place = Place::new(&made);
    let shelf = place.replica();
    assert_eq!(place.send(&shelf, &made, 0..12).unwrap(), 12);
    let before = place.objects();
    let send = |from: u64, lines: Bytes| place.runtime.block_on(shelf.replicate(from, lines));
    let refused = |answer: Result<_, ShelfError>| matches!(answer, Err(ShelfError::Refused(_)));
    let another = |answer: Result<_, ShelfError>| matches!(answer, Err(ShelfError::NotAnExtension(_)));
    // Other lines where there are some, from the start, in the middle and beyond.
    assert!(another(send(4, lines(&other, 4..8))) && another(send(4, lines(&other, 4..16))));
    assert!(another(send(12, lines(&other, 12..14))), "it continues other lines");
    let mixed: Bytes = [lines(&made, 8..12), lines(&other, 12..14)].concat().into();
    assert!(another(send(8, mixed)));
    // Half a line, none, one left out, two changed places.
    let whole = lines(&made, 12..16);
    for cut in [whole.len() - 1, whole.len() / 2, 7] {
        assert!(refused(send(12, whole.slice(..cut))), "{cut}");
    }
    assert!(refused(send(12, Bytes::from_static(b"{}\n"))) && refused(send(12, Bytes::from_static(b"\n"))));
    let left_out: Bytes = [lines(&made, 12..13), lines(&made, 14..15)].concat().into();
    assert!(refused(send(12, left_out)));
    let swapped: Bytes = [lines(&made, 13..14), lines(&made, 12..13)].concat().into();
    assert!(another(send(12, swapped)));
    assert!(refused(send(12, vec![b'x'; archive::MAX_STRETCH + 1].into())));
    assert_eq!(place.objects(), before, "nothing of it was kept");
    assert_eq!(place.send(&shelf, &made, 12..16).unwrap(), 16);
    // Of a recording that was never begun nothing is kept.
    let nobody = place.replica_of("u-2");
    assert!(matches!(place.send(&nobody, &made, 0..1), Err(ShelfError::NotBegun)));
}

#[test]
fn a_pod_that_vanished_is_read_up_to_the_last_line_that_was_acknowledged() {
    let made = made(60);
    let at = borders(&made);
    for kept in [0, 1, 2] {
        // Two segments more are sealed and not kept, and a part of a third.
        let end = at[kept + 2] + 3;
        let place = Place::new(&made);
        let shelf = place.replica();
        for segment in &made.segments[..kept] {
            place.runtime.block_on(shelf.keep(segment)).unwrap();
        }
        let mut from = at[kept];
        while from < end {
            // A stretch that crosses from one segment into the next is one object.
            let to = (from + 7).min(end);
            place.send(&shelf, &made, from..to).unwrap();
            from = to;
        }
        let note = made.notes.iter().rfind(|note| usize::try_from(note.head.size).unwrap() < end).unwrap();
        let hashes = made.hashes(0, note.head.size);
        place.runtime.block_on(shelf.countersign(&note.note, &hashes, &place.witness)).unwrap();
        let standing = place.runtime.block_on(place.replica().standing()).unwrap();
        let (archived, replicated) = (usize::try_from(standing.archived), usize::try_from(standing.replicated));
        assert_eq!((archived, replicated, standing.orderly_stop), (Ok(at[kept]), Ok(end), false));

        let audit = place.audit();
        assert!(matches!(audit.report.verdict, Verdict::UnsignedTail { .. }), "{kept}: {}", audit.report.verdict);
        assert_eq!(usize::try_from(audit.report.entries).unwrap(), end);
        assert!(!audit.report.orderly_stop);
        assert_eq!(place.entries().len(), end);
        let intents =
            made.lines[..end].iter().filter(|line| line.windows(16).any(|w| w == b"\"kind\":\"intent\",")).count();
        assert_eq!((place.found(), intents > 2), (intents, true));

        // Nobody comes any more: it is made whole, is found as before, and nothing else comes in its place.
        let standing = place.runtime.block_on(shelf.complete()).unwrap();
        assert_eq!((usize::try_from(standing.archived).unwrap(), place.objects()), (end, Vec::new()));
        let after = place.audit();
        assert_eq!((after.report.verdict, after.report.entries), (audit.report.verdict, audit.report.entries));
        assert_eq!((place.entries().len(), place.found()), (end, intents));
        assert_eq!(place.runtime.block_on(shelf.complete()).unwrap(), standing, "once");
        let tomorrow = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
        place.runtime.block_on(shelf.expire(tomorrow, &place.witness)).unwrap();
        assert_eq!(place.audit().report.expired, Some(u64::try_from(end).unwrap()));
    }
}

#[test]
fn what_was_countersigned_beyond_it_is_missing_and_said_so() {
    let made = made(60);
    let place = Place::new(&made);
    let shelf = place.replica();
    place.send(&shelf, &made, 0..9).unwrap();
    let note = made.notes.iter().find(|note| note.head.size > 9).unwrap();
    place.runtime.block_on(shelf.countersign(&note.note, &made.hashes(0, note.head.size), &place.witness)).unwrap();
    assert_eq!(place.audit().report.verdict, Verdict::Truncated { size: 9, expected: note.head.size });
}

#[test]
fn its_objects_go_when_a_segment_holds_their_lines_and_not_before() {
    let made = made(60);
    let at = borders(&made);
    let place = Place::new(&made);
    let shelf = place.replica();
    // One that ends with the first segment, and one that begins in the second and ends in the third.
    let (first, crossing) = (at[1], at[2] - 2);
    for range in [0..3, 3..first, first..crossing, crossing..at[2] + 4] {
        place.send(&shelf, &made, range).unwrap();
    }
    assert_eq!(place.objects().len(), 4);
    place.runtime.block_on(place.replica().keep(&made.segments[0])).unwrap();
    let left: Vec<u64> = [first, crossing].map(|at| u64::try_from(at).unwrap()).into();
    assert_eq!(place.objects(), left);
    assert_eq!(place.entries().len(), at[2] + 4);
    place.runtime.block_on(shelf.keep(&made.segments[1])).unwrap();
    assert_eq!(place.objects(), left[1..], "a part of it is in no segment");
    assert_eq!(place.entries(), (0..u64::try_from(at[2] + 4).unwrap()).collect::<Vec<_>>());
    // It goes on behind the one that crosses, by a replica that remembers and by one that does not.
    place.send(&shelf, &made, at[2] + 4..at[2] + 5).unwrap();
    place.send(&place.replica(), &made, at[2] + 5..at[2] + 6).unwrap();
    for segment in &made.segments[2..] {
        place.runtime.block_on(shelf.keep(segment)).unwrap();
    }
    assert_eq!(place.objects(), Vec::<u64>::new());
    assert_eq!((place.audit().report.verdict, place.audit().report.entries), (Verdict::Intact, made.size()));
    // What comes late is in a segment, or continues it.
    let error = place.send(&shelf, &made, 0..2).unwrap_err();
    assert!(matches!(error, ShelfError::OutOfStep { .. }), "{error}");
    let end = place.runtime.block_on(shelf.replicate(0, Bytes::new())).unwrap();
    assert_eq!((end.size, end.last), (made.size(), Hash::of(made.lines.last().unwrap())));
    // One that a crash left behind is nothing, and goes with the next look.
    std::fs::create_dir_all(place.folder()).unwrap();
    std::fs::write(place.object(3), made.lines[3..first].concat()).unwrap();
    assert_eq!(place.entries().len(), made.lines.len());
    let yesterday = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24);
    place.runtime.block_on(shelf.expire(yesterday, &place.witness)).unwrap();
    assert_eq!(place.objects(), Vec::<u64>::new());
}

/// The key of the sidecar makes any segment; not one that leaves out what was acknowledged.
#[test]
fn a_segment_without_what_was_acknowledged_is_refused() {
    let key = SigningKey::generate_text("agentaccess-00000001").unwrap();
    let entries = |left_out: usize| {
        let mut entries = vec![common::open("s-1", "orders")];
        let ops = (0..8).filter(|n| *n != left_out);
        entries.extend(ops.flat_map(|n| {
            let op = format!("o-{n}");
            [common::intent("s-1", &op, "users"), common::outcome("s-1", &op)]
        }));
        entries
    };
    let copy = || SigningKey::from_text(&key).unwrap();
    let (made, forged) = (with_key(copy(), entries(99)), with_key(copy(), entries(1)));
    let first = borders(&made)[1];
    for acknowledged in 1..first {
        let place = Place::new(&made);
        let shelf = place.replica();
        place.send(&shelf, &made, 0..acknowledged).unwrap();
        // The header is another already: it says when it was written.
        let error = place.runtime.block_on(shelf.keep(&forged.segments[0])).unwrap_err();
        assert!(matches!(error, ShelfError::NotAnExtension(_)), "{acknowledged}: {error}");
        assert_eq!(place.entries().len(), acknowledged, "it is still there");
        place.runtime.block_on(shelf.keep(&made.segments[0])).unwrap();
    }
}

#[test]
fn whatever_is_done_to_them_shows() {
    let made = made(60);
    let end = borders(&made)[2] + 3;
    let whole = |place: &Place| {
        let shelf = place.replica();
        for from in (0..end).step_by(5) {
            place.send(&shelf, &made, from..(from + 5).min(end)).unwrap();
        }
    };
    let fault = |place: &Place| match place.audit().report.verdict {
        Verdict::Fault { fault, .. } => Some(fault),
        _ => None,
    };
    let count = end.div_ceil(5);
    for at in 0..count {
        let first = u64::try_from(at * 5).unwrap();
        // One is missing: a gap there, and an end that is not known where it is the last.
        let place = Place::new(&made);
        whole(&place);
        std::fs::remove_file(place.object(first)).unwrap();
        match fault(&place) {
            None => assert_eq!(at, count - 1),
            Some(fault) => assert!(
                matches!(fault, Fault::Gap { seq } | Fault::SegmentMissing { from: seq, .. } if seq == first),
                "{fault}"
            ),
        }
        // A byte of its first line is another; of the very last line nobody could tell.
        let place = Place::new(&made);
        whole(&place);
        let mut bytes = std::fs::read(place.object(first)).unwrap();
        bytes[40] ^= 1;
        std::fs::write(place.object(first), bytes).unwrap();
        assert!(fault(&place).is_some() || end == at * 5 + 1, "object {at}");
        // It is torn.
        let place = Place::new(&made);
        whole(&place);
        let bytes = std::fs::read(place.object(first)).unwrap();
        std::fs::write(place.object(first), &bytes[..bytes.len() - 9]).unwrap();
        match place.audit().report {
            report if at == count - 1 => assert!(report.torn_bytes > 0, "{report:?}"),
            report => assert!(matches!(report.verdict, Verdict::Fault { .. }), "{}", report.verdict),
        }
        if at == count - 1 {
            let error = place.runtime.block_on(place.replica().replicate(0, Bytes::new())).unwrap_err();
            assert!(matches!(error, ShelfError::Store(StoreError::Damaged { .. })), "{error}");
        }
    }
}

#[test]
fn of_replicas_that_race_all_get_the_same_answer() {
    let made = made(60);
    let place = Place::new(&made);
    race(&made, &place.runtime, || place.replica());
    assert_eq!(place.entries(), (0..made.size()).collect::<Vec<_>>());
    for segment in &made.segments {
        place.runtime.block_on(place.replica().keep(segment)).unwrap();
    }
    assert_eq!((place.objects(), place.audit().report.verdict), (Vec::new(), Verdict::Intact));
}

/// Three send the same, in stretches of their own.
fn race(made: &Made, runtime: &Runtime, replica: impl Fn() -> Shelf) {
    let shelves = [replica(), replica(), replica()];
    runtime.block_on(async {
        let mut from = 0;
        while from < made.lines.len() {
            let mut tasks = tokio::task::JoinSet::new();
            for (shelf, step) in shelves.iter().zip([3, 5, 4]) {
                let (shelf, to) = (shelf.clone(), (from + step).min(made.lines.len()));
                let (at, lines) = (u64::try_from(from).unwrap(), lines(made, from..to));
                tasks.spawn(async move { (to, shelf.replicate(at, lines).await) });
            }
            for (to, answer) in tasks.join_all().await {
                assert_eq!(usize::try_from(answer.unwrap().size).unwrap(), to);
            }
            from = (from + 5).min(made.lines.len());
        }
    });
}

#[test]
fn in_a_bucket_it_is_the_same() {
    let (server, dir) = (e2e::bucket::Server::start().unwrap(), tempfile::tempdir().unwrap());
    std::fs::write(dir.path().join("accessKeyId"), "AKIAEXAMPLE\n").unwrap();
    std::fs::write(dir.path().join("secretAccessKey"), "hunter2\n").unwrap();
    let credentials = Credentials::Folder(dir.path().to_owned());
    let location: Location = server.location("cluster-1").parse().unwrap();
    let library = Library::open(&location, &credentials).unwrap();
    let replica = || Store::open(&location, &credentials).unwrap().shelf(&id("u-1"));
    let (made, witness, runtime) = (made(30), witness(), Runtime::new().unwrap());
    runtime.block_on(replica().begin(&made.meta())).unwrap();
    race(&made, &runtime, replica);
    let count = || {
        let stored = library.stored(&id("u-1")).unwrap();
        recording::reader::entries(&stored).unwrap().map(Result::unwrap).count()
    };
    assert_eq!(count(), made.lines.len());
    let audit = || library.audit(&id("u-1"), witness.public()).unwrap().report;
    assert_eq!((audit().verdict, audit().entries), (Verdict::Intact, made.size()), "all of it, to the last checkpoint");
    let (first, rest) = made.segments.split_first().unwrap();
    runtime.block_on(async {
        let shelf = replica();
        assert_eq!(shelf.keep(first).await.unwrap().archived, u64::try_from(borders(&made)[1]).unwrap());
        let end = shelf.replicate(0, Bytes::new()).await.unwrap();
        assert_eq!((end.size, end.last), (made.size(), Hash::of(made.lines.last().unwrap())));
    });
    assert_eq!((count(), audit().entries), (made.lines.len(), made.size()));
    runtime.block_on(async {
        let shelf = replica();
        for segment in rest {
            shelf.keep(segment).await.unwrap();
        }
    });
    assert_eq!((audit().verdict, audit().entries, count()), (Verdict::Intact, made.size(), made.lines.len()));
}

/// Beside the operator its group may read, and nobody else.
#[test]
fn files_of_a_directory_are_not_for_everybody() {
    let made = made(30);
    let place = Place::new(&made);
    let shelf = place.replica();
    place.runtime.block_on(made.store(&shelf, &place.witness));
    place.runtime.block_on(shelf.mark("incomplete")).unwrap();
    let (files, folders) = below(&place.dir.path().join("recordings"));
    assert!(files.len() > 5 && folders.len() > 5, "{files:?}");
    let mode = |path: &Path| std::fs::metadata(path).unwrap().mode() & 0o777;
    for (paths, most) in [(&files, 0o640), (&folders, 0o750)] {
        for path in paths {
            assert_eq!(mode(path) & !most, 0, "{path:?} has mode {:o}", mode(path));
        }
    }
}

fn below(folder: &Path) -> (Vec<PathBuf>, Vec<PathBuf>) {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            let (more, deeper) = below(&path);
            files.extend(more);
            folders.extend(deeper);
        } else {
            files.push(path);
        }
    }
    (files, folders)
}
