//! What a shelf takes and what it refuses, on a real directory.
#![expect(clippy::unwrap_used, reason = "test helpers")]

mod common;

use archive::{Credentials, Location, Meta, ShelfError, Store, StoreError};
use common::{id, made, with_key, witness};
use recording::SigningKey;
use recording::note::countersigned_head;

struct Place {
    dir: tempfile::TempDir,
    store: Store,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let location = Location::folder(dir.path()).unwrap();
    let store = Store::open(&location, &Credentials::None).unwrap();
    Place { dir, store }
}

#[tokio::test]
async fn a_recording_goes_in_and_again() {
    let (place, made, witness) = (place(), made(60), witness());
    place.store.probe().await.unwrap();
    assert!(made.segments.len() >= 4 && made.notes.len() >= 5);
    let shelf = place.store.shelf(&id("u-1"));
    assert!(matches!(shelf.standing().await, Err(ShelfError::NotBegun)));
    let standing = made.store(&shelf, &witness).await;
    assert_eq!(standing.archived, made.size());
    assert_eq!(standing.countersigned, made.notes.last().unwrap().head.size);
    assert!(standing.orderly_stop);
    assert_eq!(standing.next_segment, u64::try_from(made.segments.len()).unwrap() + 1);

    // The same again: from the start, with a handle that knows nothing, and nothing is written.
    let before = files(place.dir.path());
    let again = place.store.shelf(&id("u-1"));
    assert_eq!(again.begin(&made.meta()).await.unwrap(), standing);
    for segment in &made.segments {
        assert_eq!(again.keep(segment).await.unwrap(), standing);
    }
    let last = made.notes.last().unwrap();
    let answer = again.countersign(&last.note, &[], &witness).await.unwrap();
    assert_eq!(countersigned_head(&answer, witness.public()), Some(last.head));
    assert_eq!(countersigned_head(&answer, &made.key), Some(last.head));
    assert_eq!(files(place.dir.path()), before);
    // Heads that segments cover are not heaped up.
    let heads = before.iter().filter(|(name, _)| name.contains("heads")).count();
    assert_eq!(heads, 1, "{before:?}");

    let mut pages = place.store.recordings();
    assert_eq!(pages.next().await.unwrap(), Some(vec![id("u-1")]));
    assert_eq!(pages.next().await.unwrap(), None);
    assert!(shelf.mark("incomplete").await.unwrap());
    assert!(!again.mark("incomplete").await.unwrap());
    assert!(matches!(again.mark("../x").await, Err(ShelfError::Refused(_))));
}

#[tokio::test]
async fn a_recording_keeps_its_key() {
    let (place, made) = (place(), made(1));
    let shelf = place.store.shelf(&id("u-1"));
    shelf.begin(&made.meta()).await.unwrap();
    let other = SigningKey::generate("agentaccess-00000002").unwrap();
    let begun_anew = Meta { key: other.public().clone(), ..made.meta() };
    let error = place.store.shelf(&id("u-1")).begin(&begun_anew).await.unwrap_err();
    assert!(matches!(&error, ShelfError::OtherKey { .. }), "{error}");
    let renamed = Meta { service_account: "admin".into(), ..made.meta() };
    assert!(matches!(shelf.begin(&renamed).await, Err(ShelfError::Refused(_))));
    shelf.begin(&made.meta()).await.unwrap();
    // Another pod's recording is another shelf.
    place.store.shelf(&id("u-2")).begin(&begun_anew).await.unwrap();
}

#[tokio::test]
async fn only_an_extension_is_countersigned() {
    let (place, made, witness) = (place(), made(40), witness());
    let shelf = place.store.shelf(&id("u-1"));
    shelf.begin(&made.meta()).await.unwrap();
    let (first, second) = (&made.notes[1], &made.notes[2]);
    let (a, b) = (first.head.size, second.head.size);

    let error = shelf.countersign(&first.note, &made.hashes(1, a), &witness).await.unwrap_err();
    assert!(matches!(error, ShelfError::OutOfStep { expected: 0, offered: 1, .. }), "{error}");
    shelf.countersign(&first.note, &made.hashes(0, a), &witness).await.unwrap();

    // Lines that are not those of the note.
    let mut forked = made.hashes(a, b);
    forked[0] = recording::chain::Hash::of(b"another line");
    let error = shelf.countersign(&second.note, &forked, &witness).await.unwrap_err();
    assert!(matches!(error, ShelfError::NotAnExtension(_)), "{error}");
    shelf.countersign(&second.note, &made.hashes(a, b), &witness).await.unwrap();
    let error = shelf.countersign(&first.note, &[], &witness).await.unwrap_err();
    assert!(matches!(error, ShelfError::NotAnExtension(_)), "{error}");

    // Not one bit of a note, and no note of another key.
    let good = &made.notes[3];
    let lines = made.hashes(b, good.head.size);
    for at in 0..good.note.len() {
        let mut bytes = good.note.clone().into_bytes();
        bytes[at] ^= 1;
        let Ok(note) = String::from_utf8(bytes) else { continue };
        assert!(shelf.countersign(&note, &lines, &witness).await.is_err(), "byte {at}");
    }
    let other = common::made(40);
    let error = shelf.countersign(&other.notes[3].note, &lines, &witness).await.unwrap_err();
    assert!(matches!(error, ShelfError::Refused(_)), "{error}");
    shelf.countersign(&good.note, &lines, &witness).await.unwrap();
}

#[tokio::test]
async fn a_recording_that_was_written_anew_is_evidence() {
    let (place, witness) = (place(), witness());
    let dir = tempfile::tempdir().unwrap();
    let key = || SigningKey::load_or_create(&dir.path().join("key")).unwrap();
    let entries = |table: &str| {
        let mut entries = vec![common::open("s-1", "orders")];
        for n in 0..40 {
            let op = format!("o-{n}");
            entries.extend([common::intent("s-1", &op, table), common::outcome("s-1", &op)]);
        }
        entries
    };
    let (true_one, rewritten) = (with_key(key(), entries("users")), with_key(key(), entries("orders")));
    let shelf = place.store.shelf(&id("u-1"));
    let note = &true_one.notes[2];
    shelf.begin(&true_one.meta()).await.unwrap();
    shelf.countersign(&note.note, &true_one.hashes(0, note.head.size), &witness).await.unwrap();

    // Signed by the same key, whole and sound in itself.
    let first = &rewritten.segments[0];
    let error = match shelf.keep(first).await {
        // It ends before what was countersigned: then the next one shows it.
        Ok(_) => shelf.keep(&rewritten.segments[1]).await.unwrap_err(),
        Err(error) => error,
    };
    assert!(matches!(error, ShelfError::NotAnExtension(_)), "{error}");
    let longer = rewritten.notes.last().unwrap();
    let lines = rewritten.hashes(note.head.size, longer.head.size);
    let error = shelf.countersign(&longer.note, &lines, &witness).await.unwrap_err();
    assert!(matches!(error, ShelfError::NotAnExtension(_)), "{error}");
}

#[tokio::test]
async fn segments_come_in_order() {
    let (place, made, witness) = (place(), made(60), witness());
    let shelf = place.store.shelf(&id("u-1"));
    shelf.begin(&made.meta()).await.unwrap();
    let error = shelf.keep(&made.segments[1]).await.unwrap_err();
    assert!(matches!(error, ShelfError::OutOfStep { expected: 0, .. }), "{error}");
    shelf.keep(&made.segments[0]).await.unwrap();
    let error = shelf.keep(&made.segments[2]).await.unwrap_err();
    assert!(matches!(error, ShelfError::OutOfStep { .. }), "{error}");
    // A part of one, where the whole is kept.
    let cut = made.segments[0].split_inclusive(|b| *b == b'\n').take(2).flatten().copied().collect::<Vec<u8>>();
    let error = shelf.keep(&cut).await.unwrap_err();
    assert!(matches!(error, ShelfError::NotAnExtension(_)), "{error}");
    let standing = made.store(&shelf, &witness).await;
    assert_eq!(standing.archived, made.size());
}

#[tokio::test]
async fn two_replicas_take_the_same_at_once() {
    let (place, made, witness) = (place(), made(40), witness());
    let shelf = place.store.shelf(&id("u-1"));
    shelf.begin(&made.meta()).await.unwrap();
    for segment in &made.segments {
        let replicas = (0..4).map(|_| place.store.shelf(&id("u-1"))).collect::<Vec<_>>();
        let mut tasks = tokio::task::JoinSet::new();
        for replica in replicas {
            let segment = segment.clone();
            tasks.spawn(async move { replica.keep(&segment).await });
        }
        while let Some(kept) = tasks.join_next().await {
            kept.unwrap().unwrap();
        }
    }
    assert_eq!(shelf.standing().await.unwrap().archived, made.size());
    assert_eq!(
        shelf.standing().await.unwrap().next_segment,
        u64::try_from(made.segments.len()).unwrap() + 1,
        "none is kept twice"
    );
    let note = made.notes.last().unwrap();
    let mut tasks = tokio::task::JoinSet::new();
    let witness = std::sync::Arc::new(witness);
    for _ in 0..4 {
        let (shelf, witness) = (place.store.shelf(&id("u-1")), std::sync::Arc::clone(&witness));
        let (note, lines) = (note.note.clone(), made.hashes(0, note.head.size));
        tasks.spawn(async move { shelf.countersign(&note, &lines, &witness).await });
    }
    let mut answers = Vec::new();
    while let Some(answer) = tasks.join_next().await {
        answers.push(answer.unwrap().unwrap());
    }
    assert!(answers.iter().all(|answer| *answer == answers[0]), "one answer: Ed25519 has one signature");
}

#[tokio::test]
async fn an_index_that_is_missing_or_damaged_is_made_again() {
    let (place, made, witness) = (place(), made(40), witness());
    let shelf = place.store.shelf(&id("u-1"));
    let standing = made.store(&shelf, &witness).await;
    let before = files(place.dir.path());
    let segments = place.dir.path().join("recordings/agents/u-1/segments");
    for (n, name) in before.iter().map(|(name, _)| name).filter(|name| name.ends_with(".index.zst")).enumerate() {
        let file = segments.join(name.rsplit('/').next().unwrap());
        if n % 2 == 0 { std::fs::remove_file(file).unwrap() } else { std::fs::write(file, b"no index").unwrap() }
    }
    assert_eq!(shelf.standing().await.unwrap(), standing);
    assert_eq!(shelf.keep(made.segments.last().unwrap()).await.unwrap(), standing);
}

#[tokio::test]
async fn what_a_store_cannot_do_is_told_apart() {
    let missing = Location::folder(std::path::Path::new("/nowhere/recordings")).unwrap();
    assert!(matches!(Store::open(&missing, &Credentials::None), Err(StoreError::Unfit(_))));
    let bucket: Location = "s3://recordings".parse().unwrap();
    assert!(matches!(Store::open(&bucket, &Credentials::None), Err(StoreError::Unfit(_))));

    let (place, made, witness) = (place(), made(40), witness());
    let shelf = place.store.shelf(&id("u-1"));
    made.store(&shelf, &witness).await;
    let segment = place.dir.path().join("recordings/agents/u-1/segments/0000000000000001.jsonl.zst");
    std::fs::remove_file(segment).unwrap();
    // One that begins to look, as a replica that was just started. One that saw later segments goes on from there, and
    // `verify` says what is missing.
    let store = Store::open(&Location::folder(place.dir.path()).unwrap(), &Credentials::None).unwrap();
    let error = store.shelf(&id("u-1")).standing().await.unwrap_err();
    assert!(matches!(&error, ShelfError::Store(StoreError::Damaged { .. })), "{error}");
    assert!(error.to_string().contains("0000000000000001.jsonl.zst"), "{error}");
}

/// In a folder others may write too: a link leads out of it, and a pipe is never at its end.
#[tokio::test]
async fn what_is_no_plain_file_is_not_read() {
    let (place, made, witness) = (place(), made(40), witness());
    made.store(&place.store.shelf(&id("u-1")), &witness).await;
    let meta = place.dir.path().join("recordings/agents/u-1/meta.json");
    let elsewhere = place.dir.path().join("elsewhere");
    std::fs::rename(&meta, &elsewhere).unwrap();
    let read = async || place.store.shelf(&id("u-1")).meta().await.unwrap_err().to_string();
    std::os::unix::fs::symlink(&elsewhere, &meta).unwrap();
    assert!(read().await.contains("it is no plain file"));
    std::fs::remove_file(&meta).unwrap();
    assert!(std::process::Command::new("mkfifo").arg(&meta).status().unwrap().success());
    let begun = std::time::Instant::now();
    assert!(read().await.contains("it is no plain file"));
    assert!(begun.elapsed().as_secs() < 5, "{:?}", begun.elapsed());
}

/// Every file below `dir`, with its bytes.
fn files(dir: &std::path::Path) -> Vec<(String, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.display().to_string(), std::fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}
