//! What is kept verifies, whatever is done to the store shows, what expired is said to have expired, and search finds.
#![expect(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use archive::{Countersigned, Credentials, Found, Library, Location, Query, RowKind, Shelf, Store};
use common::{Made, id, made, witness};
use recording::entry::Decision;
use recording::verify::Verdict;
use recording::{Fault, SigningKey, VerifyingKey};
use tokio::runtime::Runtime;

struct Place {
    dir: tempfile::TempDir,
    store: Store,
    library: Library,
    runtime: Runtime,
    witness: SigningKey,
    /// Whom `verdict` believes.
    trusted: VerifyingKey,
}

impl Place {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let location = Location::folder(dir.path()).unwrap();
        let store = Store::open(&location, &Credentials::None).unwrap();
        let library = Library::open(&location, &Credentials::None).unwrap();
        let witness = witness();
        let trusted = witness.public().clone();
        Self { dir, store, library, runtime: Runtime::new().unwrap(), witness, trusted }
    }

    fn with(made: &Made) -> Self {
        let place = Self::new();
        place.runtime.block_on(made.store(&place.shelf(), &place.witness));
        place
    }

    /// The same store elsewhere, to do something to.
    fn copied(&self) -> Self {
        let place = Self::new();
        copy(self.dir.path(), place.dir.path());
        Self { trusted: self.trusted.clone(), ..place }
    }

    fn shelf(&self) -> Shelf {
        self.store.shelf(&id("u-1"))
    }

    fn folder(&self) -> PathBuf {
        self.dir.path().join("recordings/agents/u-1")
    }

    fn segment(&self, number: u64) -> PathBuf {
        self.folder().join(format!("segments/{number:016}.jsonl.zst"))
    }

    fn verdict(&self) -> Verdict {
        self.library.audit(&id("u-1"), &self.trusted).unwrap().report.verdict
    }
}

#[test]
fn a_whole_recording_is_intact_and_countersigned() {
    let made = made(60);
    let place = Place::with(&made);
    let audit = place.library.audit(&id("u-1"), place.witness.public()).unwrap();
    assert_eq!(audit.report.verdict, Verdict::Intact);
    assert_eq!(audit.report.entries, made.size());
    assert!(audit.report.orderly_stop);
    let head = made.notes.last().unwrap().head;
    assert_eq!(audit.countersigned, Countersigned::Head(head));
    assert_eq!(audit.meta, made.meta());
    // Another witness, and what a witness said of another pod.
    let other = witness();
    let audit = place.library.audit(&id("u-1"), other.public()).unwrap();
    assert_eq!(audit.countersigned, Countersigned::Forged);
    copy(&place.folder(), &place.dir.path().join("recordings/agents/u-2"));
    let moved = place.library.audit(&id("u-2"), place.witness.public()).unwrap();
    assert_eq!(moved.countersigned, Countersigned::Forged, "it was countersigned for u-1");
    std::fs::remove_dir_all(place.folder().join("heads")).unwrap();
    let audit = place.library.audit(&id("u-1"), place.witness.public()).unwrap();
    assert_eq!(audit.countersigned, Countersigned::Never);
}

#[test]
fn what_was_countersigned_and_never_came_is_counted() {
    let made = made(60);
    let place = Place::new();
    let shelf = place.shelf();
    let last = made.notes.last().unwrap();
    place.runtime.block_on(async {
        shelf.begin(&made.meta()).await.unwrap();
        shelf.countersign(&last.note, &made.hashes(0, last.head.size), &place.witness).await.unwrap();
    });
    assert_eq!(place.verdict(), Verdict::Truncated { size: 0, expected: last.head.size });
    let mut size = 0;
    for segment in made.segments.iter().take(2) {
        size = place.runtime.block_on(shelf.keep(segment)).unwrap().archived;
    }
    assert_eq!(place.verdict(), Verdict::Truncated { size, expected: last.head.size });
}

#[test]
fn whatever_is_done_to_the_segments_of_a_store_shows() {
    let made = made(60);
    let count = u64::try_from(made.segments.len()).unwrap();
    assert!(count >= 4);
    let whole = Place::with(&made);
    assert_eq!(whole.copied().verdict(), Verdict::Intact);
    // Removed: any one, the first ones, the last ones.
    for number in 1..=count {
        let place = whole.copied();
        std::fs::remove_file(place.segment(number)).unwrap();
        match place.verdict() {
            Verdict::Truncated { .. } => assert_eq!(number, count),
            Verdict::Fault { fault: Fault::SegmentMissing { .. }, .. } => assert!(number < count),
            other => panic!("segment {number} removed: {other}"),
        }
    }
    // Changed places, and put twice.
    for number in 1..count {
        let place = whole.copied();
        let (a, b) = (place.segment(number), place.segment(number + 1));
        let (one, two) = (std::fs::read(&a).unwrap(), std::fs::read(&b).unwrap());
        std::fs::write(&a, &two).unwrap();
        std::fs::write(&b, &one).unwrap();
        assert!(matches!(place.verdict(), Verdict::Fault { .. }), "{number} and the next changed places");
        std::fs::write(&a, &one).unwrap();
        assert!(matches!(place.verdict(), Verdict::Fault { .. }), "{number} stands twice");
    }
    // A line of each segment changed, whatever it is that the store says beside it.
    for number in 1..=count {
        let place = whole.copied();
        let mut lines = made.segments[usize::try_from(number).unwrap() - 1].clone();
        let at = lines.len() / 2;
        lines[at] ^= 1;
        std::fs::write(place.segment(number), zstd::encode_all(lines.as_slice(), 3).unwrap()).unwrap();
        assert!(matches!(place.verdict(), Verdict::Fault { .. }), "segment {number}");
    }
}

#[test]
fn every_bit_of_a_stored_segment_counts() {
    let made = made(6);
    let place = Place::with(&made);
    let path = place.segment(1);
    let good = std::fs::read(&path).unwrap();
    let lines = zstd::decode_all(good.as_slice()).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        // A bit that the decompressor does not look at changes nothing that was recorded.
        if zstd::decode_all(bad.as_slice()).is_ok_and(|out| out == lines) {
            continue;
        }
        std::fs::write(&path, &bad).unwrap();
        let audit = place.library.audit(&id("u-1"), place.witness.public());
        assert!(!audit.is_ok_and(|audit| audit.report.verdict == Verdict::Intact), "byte {at}");
    }
}

#[test]
fn every_change_of_a_segment_is_refused_at_the_door() {
    let made = made(12);
    let place = Place::new();
    let last = made.notes.last().unwrap();
    let shelf = place.shelf();
    place.runtime.block_on(async {
        shelf.begin(&made.meta()).await.unwrap();
        shelf.countersign(&last.note, &made.hashes(0, last.head.size), &place.witness).await.unwrap();
        let segment = &made.segments[0];
        // Bits: all bytes, one bit each.
        for at in 0..segment.len() {
            let mut bad = segment.clone();
            bad[at] ^= 1 << (at % 8);
            let kept = shelf.keep(&bad).await;
            // The last line, if no other follows and nothing was signed over it, is not proven: it is a header or the
            // checkpoint that seals, which its signature fixes.
            assert!(kept.is_err(), "byte {at} of {}: {:?}", segment.len(), kept.ok());
        }
        // Prefixes: half a line never; whole lines are a shorter segment, and the standing says how short.
        for cut in (0..segment.len()).filter(|cut| *cut == 0 || segment[cut - 1] != b'\n') {
            assert!(shelf.keep(&segment[..cut]).await.is_err(), "{cut} bytes");
        }
        // Order: each two neighbours.
        let lines: Vec<&[u8]> = segment.split_inclusive(|b| *b == b'\n').collect();
        for at in 1..lines.len() {
            let mut other = lines.clone();
            other.swap(at - 1, at);
            assert!(shelf.keep(&other.concat()).await.is_err(), "lines {} and {at}", at - 1);
            let mut other = lines.clone();
            other.remove(at - 1);
            assert!(shelf.keep(&other.concat()).await.is_err(), "without line {}", at - 1);
        }
        assert_eq!(shelf.standing().await.unwrap().archived, 0, "nothing of all this was kept");
        shelf.keep(segment).await.unwrap();
    });
}

#[test]
fn what_expired_is_not_missing() {
    let made = made(60);
    let place = Place::with(&made);
    let shelf = place.shelf();
    let count = made.segments.len();
    let tomorrow = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
    let yesterday = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24);
    let before = place.runtime.block_on(shelf.standing()).unwrap();
    let nothing = place.runtime.block_on(shelf.expire(yesterday, &place.witness)).unwrap();
    assert_eq!(nothing, archive::Expired::default());
    // Up to the time of a line in the third segment.
    let third: recording::Line =
        serde_json::from_slice(made.segments[2].split(|b| *b == b'\n').next().unwrap()).unwrap();
    let expired = place.runtime.block_on(shelf.expire(third.wall.parse().unwrap(), &place.witness)).unwrap();
    assert!((1..=2).contains(&expired.segments), "{expired:?}");
    assert!(!place.segment(1).exists());
    let audit = place.library.audit(&id("u-1"), place.witness.public()).unwrap();
    assert_eq!(audit.report.verdict, Verdict::Intact);
    assert_eq!(audit.report.expired, Some(expired.entries));
    assert_eq!(audit.report.entries + expired.entries, made.size());
    assert_eq!(place.runtime.block_on(place.shelf().standing()).unwrap(), before, "the standing does not change");
    // What is sent again after it expired is accepted and not kept.
    place.runtime.block_on(shelf.keep(&made.segments[0])).unwrap();
    assert!(!place.segment(1).exists());

    // The note is the witness's, and over this recording.
    let other = witness();
    assert_eq!(place.library.audit(&id("u-1"), other.public()).unwrap().report.verdict.exit_code(), 10);
    // All of it; then nothing is missing still, and what comes next has its place.
    let rest = place.runtime.block_on(shelf.expire(tomorrow, &place.witness)).unwrap();
    assert_eq!(usize::try_from(expired.segments + rest.segments).unwrap(), count);
    let audit = place.library.audit(&id("u-1"), place.witness.public()).unwrap();
    assert_eq!(audit.report.expired, Some(made.size()));
    assert!(
        !matches!(audit.report.verdict, Verdict::Truncated { .. } | Verdict::Fault { .. }),
        "{}",
        audit.report.verdict
    );
    let after = place.runtime.block_on(place.shelf().standing()).unwrap();
    assert_eq!((after.archived, after.next_segment), (before.archived, before.next_segment));
    assert_eq!(place.runtime.block_on(shelf.expire(tomorrow, &place.witness)).unwrap(), archive::Expired::default());
}

/// Rewrites the first line of an index.
fn edit(index: &Path, edit: impl FnOnce(&mut serde_json::Value)) {
    let text = zstd::decode_all(std::fs::read(index).unwrap().as_slice()).unwrap();
    let (first, rest) = text.split_at(text.iter().position(|b| *b == b'\n').unwrap());
    let mut summary: serde_json::Value = serde_json::from_slice(first).unwrap();
    edit(&mut summary);
    let text = [summary.to_string().as_bytes(), rest].concat();
    std::fs::write(index, zstd::encode_all(text.as_slice(), 3).unwrap()).unwrap();
}

#[test]
fn whoever_writes_to_the_store_makes_nothing_expire() {
    let made = made(60);
    let whole = Place::with(&made);
    let yesterday = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24);
    let index = |place: &Place, n: u64| place.folder().join(format!("segments/{n:016}.index.zst"));
    let old = |place: &Place| {
        for number in 1..=3 {
            edit(&index(place, number), |summary| summary["until"] = "2020-01-01T00:00:00Z".into());
        }
    };
    // The indexes say that it is old.
    let place = whole.copied();
    old(&place);
    let expired = place.runtime.block_on(place.shelf().expire(yesterday, &whole.witness)).unwrap();
    assert_eq!(expired, archive::Expired::default());
    assert!(place.segment(1).exists() && place.verdict() == Verdict::Intact);
    // And what is to be hidden is gone: then nobody signs that it expired.
    let place = whole.copied();
    old(&place);
    std::fs::remove_file(place.segment(1)).unwrap();
    std::fs::write(place.segment(2), std::fs::read(place.segment(3)).unwrap()).unwrap();
    assert!(place.runtime.block_on(place.shelf().expire(yesterday, &whole.witness)).is_ok_and(|e| e.segments == 0));
    std::fs::write(place.segment(1), b"x").unwrap();
    place.runtime.block_on(place.shelf().expire(yesterday, &whole.witness)).unwrap_err();
    let audit = place.library.audit(&id("u-1"), &place.trusted);
    assert!(!audit.is_ok_and(|audit| audit.report.verdict == Verdict::Intact));
    // A note about what expired that is nobody's removes nothing.
    let place = whole.copied();
    let summary = zstd::decode_all(std::fs::read(index(&place, 2)).unwrap().as_slice()).unwrap();
    let summary: serde_json::Value = serde_json::from_slice(summary.split(|b| *b == b'\n').next().unwrap()).unwrap();
    let note = serde_json::json!({
        "version": 1, "next": 3, "chain": summary["end"], "note": "nobody's", "checkpoints": [], "sessions": {},
    });
    std::fs::create_dir_all(place.folder().join("expired")).unwrap();
    std::fs::write(place.folder().join("expired/0000000000000001.json"), note.to_string()).unwrap();
    place.runtime.block_on(place.shelf().expire(yesterday, &whole.witness)).unwrap();
    assert!(place.segment(1).exists() && place.segment(2).exists());
    assert!(matches!(place.verdict(), Verdict::Fault { .. }), "{}", place.verdict());
}

#[test]
fn a_crash_amid_expiry_leaves_nothing_behind() {
    let made = made(60);
    let place = Place::with(&made);
    let tomorrow = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(24);
    let kept: Vec<_> =
        [2, 3].map(|number| (place.segment(number), std::fs::read(place.segment(number)).unwrap())).into();
    place.runtime.block_on(place.shelf().expire(tomorrow, &place.witness)).unwrap();
    // As if it had ended after the first was removed.
    let last = u64::try_from(made.segments.len()).unwrap();
    let top: Vec<u64> = (2..=last).collect();
    for number in &top {
        std::fs::write(place.segment(*number), &kept[0].1).unwrap();
    }
    assert!(!matches!(place.verdict(), Verdict::Fault { .. }), "they count as expired");
    place.runtime.block_on(place.shelf().expire(tomorrow, &place.witness)).unwrap();
    assert!(top.iter().all(|number| !place.segment(*number).exists()));
}

#[test]
fn search_finds_who_did_what_when() {
    let mut entries = vec![common::open("s-1", "orders"), common::open("s-2", "billing")];
    for n in 0..30 {
        let (a, b) = (format!("o-{n}"), format!("p-{n}"));
        entries.extend([common::intent("s-1", &a, "users"), common::outcome("s-1", &a)]);
        entries.extend([common::intent("s-2", &b, "invoices"), common::outcome("s-2", &b)]);
    }
    entries.extend([common::refusal("s-2", "p-99", "invoices"), common::granted("areq-7", "alice@example.com")]);
    entries.extend([common::approved("s-2", "p-100", "invoices", "areq-7"), common::outcome("s-2", "p-100")]);
    entries.extend([common::close("s-1"), common::close("s-2")]);
    let made = common::of(entries);
    assert!(made.segments.len() >= 4);
    let place = Place::with(&made);
    let find = |query: &Query| {
        let mut found: Vec<Found> = Vec::new();
        let mut each = |row: Found| {
            found.push(row);
            ControlFlow::Continue(())
        };
        place.library.search(None, query, &mut each).unwrap();
        found
    };
    let all = find(&Query::default());
    assert_eq!(all.len(), 63);
    assert!(all.is_sorted_by_key(|found| found.row.seq));
    // The target is known in segments that do not hold the opening of the session.
    let target = |name: &str| find(&Query { target: Some(name.into()), ..Query::default() });
    assert_eq!((target("orders").len(), target("BILLING").len(), target("nowhere").len()), (30, 32, 0));
    let what = |text: &str| find(&Query { what: Some(text.into()), ..Query::default() }).len();
    assert_eq!((what("select"), what("public.invoices"), what("DROP")), (60, 32, 1));
    let who = |text: &str| find(&Query { who: Some(text.into()), ..Query::default() }).len();
    assert_eq!((who("reporter-1"), who("agents"), who("alice"), who("mallory")), (63, 63, 1, 0));
    let denied = find(&Query { decision: Some(Decision::Deny), ..Query::default() });
    assert_eq!(
        (denied.len(), denied[0].row.kind, denied[0].row.reason.as_deref()),
        (1, RowKind::Refusal, Some("no rule"))
    );
    let approval = find(&Query { approval: Some("areq-7".into()), ..Query::default() });
    assert_eq!(
        approval.iter().map(|found| found.row.kind).collect::<Vec<_>>(),
        [RowKind::Approval, RowKind::Operation]
    );
    assert_eq!(approval[0].row.reviewer.as_deref(), Some("alice@example.com"));

    let middle: jiff::Timestamp = all[31].row.time.parse().unwrap();
    let (since, until) = (
        find(&Query { since: Some(middle), ..Query::default() }),
        find(&Query { until: Some(middle), ..Query::default() }),
    );
    assert_eq!(since.len() + until.len(), 63);
    assert!(since.iter().all(|found| found.row.time >= all[31].row.time) && !until.is_empty());
    // It ends when it is told to.
    let mut seen = 0;
    let mut each = |_: Found| {
        seen += 1;
        if seen == 5 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    place.library.search(Some(&id("u-1")), &Query::default(), &mut each).unwrap();
    assert_eq!(seen, 5);
}

#[test]
fn rows_that_have_no_room_in_the_index_are_found_in_the_segment() {
    let made = made(60);
    let place = Place::with(&made);
    let folder = place.folder().join("segments");
    let mut cut = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if !path.display().to_string().ends_with(".index.zst") {
            continue;
        }
        let text = zstd::decode_all(std::fs::read(&path).unwrap().as_slice()).unwrap();
        let first = text.split(|b| *b == b'\n').next().unwrap();
        let mut summary: serde_json::Value = serde_json::from_slice(first).unwrap();
        summary["partial"] = true.into();
        let text = format!("{summary}\n");
        std::fs::write(&path, zstd::encode_all(text.as_bytes(), 3).unwrap()).unwrap();
        cut += 1;
    }
    assert!(cut >= 4);
    let mut found = 0;
    let mut each = |_: Found| {
        found += 1;
        ControlFlow::Continue(())
    };
    place.library.search(None, &Query { target: Some("orders".into()), ..Query::default() }, &mut each).unwrap();
    assert_eq!(found, 60);
}

#[test]
fn a_store_is_read_a_page_at_a_time() {
    let place = Place::new();
    let made = made(1);
    for n in 0..1_003 {
        std::fs::create_dir_all(place.dir.path().join(format!("recordings/agents/u-{n:04}"))).unwrap();
    }
    std::fs::create_dir_all(place.dir.path().join("recordings/Not_A_Namespace/u")).unwrap();
    place.runtime.block_on(place.store.shelf(&common::id("u-0007")).begin(&made.meta())).unwrap();
    let pages: Vec<_> = place.library.recordings().collect::<Result<_, _>>().unwrap();
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [1_000, 3]);
    assert!(pages.concat().is_sorted());
    // A folder without a beginning is no recording, and no reason to stop.
    place.library.search(None, &Query::default(), &mut |_| ControlFlow::Continue(())).unwrap();
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, &target).unwrap();
        }
    }
}
