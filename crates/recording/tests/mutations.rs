//! Every change of a finished recording is found, and located where it was made.
#![expect(clippy::unwrap_used, reason = "test helpers")]

mod common;

use std::sync::OnceLock;

use common::{config, data, intent, key, key_file, marker, open, open_session, outcome, write};
use proptest::prelude::*;
use recording::chain::{Chain, Head};
use recording::spool::faulty::FaultyStorage;
use recording::verify::{Report, Verdict, verify};
use recording::{Durability, Fault, VerifyingKey, WriterConfig};

/// Three or more segments, several checkpoints, one restart; ends in a checkpoint.
struct Made {
    storage: FaultyStorage,
    key: VerifyingKey,
    head: Head,
    /// Segment, and each line with its newline.
    lines: Vec<(String, Vec<u8>)>,
}

fn make() -> Made {
    let storage = FaultyStorage::new();
    let (_dir, key) = key_file();
    let config = WriterConfig { segment_bytes: 4 * 1024, checkpoint_entries: 15, ..config() };
    let mut head = None;
    for round in 0..2 {
        let (writer, _) = open(&storage, key(), config.clone());
        write(&writer, open_session("s-1"), Durability::Written).unwrap();
        for n in 0..6 {
            write(&writer, intent(round * 10 + n), Durability::Written).unwrap();
            write(&writer, data(b"a\tb\n\x01"), Durability::Written).unwrap();
            write(&writer, outcome(round * 10 + n), Durability::Written).unwrap();
        }
        head = Some(writer.close().unwrap());
    }
    let mut lines = Vec::new();
    for (name, content) in storage.files() {
        lines.extend(content.split_inclusive(|b| *b == b'\n').map(|line| (name.clone(), line.to_vec())));
    }
    Made { storage, key: key().public().clone(), head: head.unwrap(), lines }
}

/// The recording with other lines in it.
fn with(made: &Made, lines: &[(String, Vec<u8>)]) -> FaultyStorage {
    let storage = FaultyStorage::new();
    for (name, _) in made.storage.files() {
        let content: Vec<u8> = lines.iter().filter(|(n, _)| *n == name).flat_map(|(_, l)| l.clone()).collect();
        if !content.is_empty() {
            storage.put(&name, content);
        }
    }
    storage
}

fn judge(made: &Made, lines: &[(String, Vec<u8>)]) -> Report {
    verify(&with(made, lines), &made.key, Some(made.head)).unwrap()
}

fn head_of(lines: &[(String, Vec<u8>)]) -> Head {
    let mut chain = Chain::default();
    lines.iter().for_each(|(_, line)| chain.push(line));
    chain.head()
}

fn all() -> bool {
    std::env::var("RECORDING_MUTATIONS").is_ok_and(|which| which == "all")
}

fn is_checkpoint(line: &[u8]) -> bool {
    String::from_utf8_lossy(line).contains(r#""kind":"checkpoint""#)
}

#[test]
fn every_prefix_that_ends_in_a_checkpoint_is_intact_and_no_other_is() {
    let made = make();
    assert!(made.storage.files().len() >= 3);
    assert_eq!(judge(&made, &made.lines).verdict, Verdict::Intact);
    for end in 1..made.lines.len() {
        let prefix = &made.lines[..end];
        let report = verify(&with(&made, prefix), &made.key, None).unwrap();
        let sealed = is_checkpoint(&prefix[end - 1].1);
        let signed = prefix.iter().rposition(|(_, l)| is_checkpoint(l)).map_or(0, |at| at as u64 + 1);
        let expected = if sealed { Verdict::Intact } else { Verdict::UnsignedTail { since: signed } };
        assert_eq!(report.verdict, expected, "{end} lines");
        let with_head = judge(&made, prefix).verdict;
        assert_eq!(with_head, Verdict::Truncated { size: end as u64, expected: made.head.size });
    }
}

#[test]
fn every_flipped_bit_is_found_in_its_line() {
    let made = make();
    let mut tried = 0;
    for at in 0..made.lines.len() {
        let bits = made.lines[at].1.len() * 8;
        // `RECORDING_MUTATIONS=all` tries every bit; otherwise all of the first and last lines and a spread of the rest.
        let step = if all() || at < 2 || at + 2 > made.lines.len() { 1 } else { 37 };
        for bit in (0..bits).step_by(step) {
            let mut lines = made.lines.clone();
            lines[at].1[bit / 8] ^= 1 << (bit % 8);
            tried += 1;
            let report = judge(&made, &lines);
            let Verdict::Fault { fault: Fault::Edited { seq, until }, .. } = report.verdict else {
                let newline = bit / 8 + 1 == made.lines[at].1.len() && at + 1 == made.lines.len();
                assert!(newline && report.verdict.exit_code() != 0, "line {at} bit {bit}: {}", report.verdict);
                continue;
            };
            assert!(seq == at as u64 && until == seq, "line {at} bit {bit}: found at {seq} to {until}");
            let sound = (report.entries, report.head);
            assert_eq!(sound, (at as u64, head_of(&made.lines[..at])), "line {at} bit {bit}: what is before it");
        }
    }
    assert!(tried > 8_000, "{tried}");
}

#[test]
fn every_removed_doubled_or_moved_line_is_found() {
    let made = make();
    let count = made.lines.len();
    for at in 0..count {
        let mut lines = made.lines.clone();
        lines.remove(at);
        let report = judge(&made, &lines);
        assert_eq!((report.entries, report.head), (at as u64, head_of(&made.lines[..at])));
        let verdict = report.verdict;
        if at + 1 == count {
            assert!(matches!(verdict, Verdict::Truncated { .. }), "{verdict}");
        } else {
            assert!(
                matches!(verdict, Verdict::Fault { fault: Fault::Gap { seq }, .. } if seq == at as u64),
                "{at}: {verdict}"
            );
        }
        let mut lines = made.lines.clone();
        lines.insert(at, lines[at].clone());
        let verdict = judge(&made, &lines).verdict;
        assert!(
            matches!(verdict, Verdict::Fault { fault: Fault::Gap { seq }, .. } if seq == at as u64 + 1),
            "{at}: {verdict}"
        );
        for to in [at + 1, at + 7] {
            if to < count {
                let mut lines = made.lines.clone();
                let (a, b) = (lines[at].1.clone(), lines[to].1.clone());
                (lines[at].1, lines[to].1) = (b, a);
                let verdict = judge(&made, &lines).verdict;
                assert!(
                    matches!(verdict, Verdict::Fault { fault: Fault::Gap { seq } , .. } if seq == at as u64),
                    "{at} {to}: {verdict}"
                );
            }
        }
    }
}

#[test]
fn removed_segments_are_named() {
    let made = make();
    let names: Vec<String> = made.storage.files().into_iter().map(|(name, _)| name).collect();
    for (at, name) in names.iter().enumerate() {
        let kept: Vec<_> = made.lines.iter().filter(|(n, _)| n != name).cloned().collect();
        let from = made.lines.iter().position(|(n, _)| n == name).unwrap() as u64;
        let to = made.lines.iter().rposition(|(n, _)| n == name).unwrap() as u64;
        let verdict = judge(&made, &kept).verdict;
        if at + 1 == names.len() {
            assert!(matches!(verdict, Verdict::Truncated { .. }), "{verdict}");
        } else {
            let missing = Fault::SegmentMissing { from, to };
            assert!(matches!(&verdict, Verdict::Fault { fault, .. } if *fault == missing), "{verdict}");
            assert_eq!(verdict.exit_code(), 14);
        }
    }
}

#[test]
fn a_chain_made_anew_is_found_by_the_signed_root() {
    let made = make();
    let (mut forged, mut prev) = (Vec::new(), String::new());
    for (at, (name, line)) in made.lines.iter().enumerate() {
        let mut text = String::from_utf8(line.clone()).unwrap();
        if at == 3 {
            text = text.replace("SELECT id, email", "SELECT id, phone");
            assert_ne!(text.as_bytes(), line);
        }
        if at > 3 {
            let cut = text.rfind(r#""prev":""#).unwrap();
            text = format!("{}\"prev\":\"{prev}\"}}\n", text.split_at(cut).0);
        }
        prev = recording::chain::Hash::of(text.as_bytes()).to_string();
        forged.push((name.clone(), text.into_bytes()));
    }
    let report = judge(&made, &forged);
    let Verdict::Fault { fault: Fault::Edited { seq, until }, .. } = report.verdict else {
        panic!("{}", report.verdict)
    };
    assert!(seq <= 3 && 3 <= until, "{seq} to {until}");
    let sound = usize::try_from(seq).unwrap();
    assert_eq!((report.entries, report.head), (seq, head_of(&made.lines[..sound])), "no more than is signed is sound");
}

#[test]
fn another_key_and_another_head_are_told_apart() {
    let made = make();
    let verdict = verify(&made.storage, key().public(), None).unwrap().verdict;
    let recorded = made.key.to_string();
    assert!(
        matches!(&verdict, Verdict::Fault { fault: Fault::WrongKey { recorded: r }, .. } if *r == recorded),
        "{verdict}"
    );
    assert_eq!(verdict.exit_code(), 15);
    let other = Head { size: 5, root: made.head.root };
    assert_eq!(verify(&made.storage, &made.key, Some(other)).unwrap().verdict, Verdict::OtherHead { size: 5 });
}

#[test]
fn what_follows_the_last_checkpoint_is_chained_and_called_unsigned() {
    let storage = FaultyStorage::new();
    let key = key();
    let public = key.public().clone();
    let (writer, _) = open(&storage, key, config());
    for _ in 0..5 {
        write(&writer, marker(), Durability::Written).unwrap();
    }
    let (name, content) = storage.files().remove(0);
    let tail = storage.killed();
    let report = verify(&tail, &public, None).unwrap();
    assert_eq!((report.verdict.clone(), report.signed, report.entries), (Verdict::UnsignedTail { since: 2 }, 2, 7));
    assert_eq!(report.verdict.exit_code(), 13);
    let text = String::from_utf8(content).unwrap();
    tail.put(&name, text.replacen("limit_hit", "limit_hot", 1).into_bytes());
    let verdict = verify(&tail, &public, None).unwrap().verdict;
    assert!(matches!(verdict, Verdict::Fault { fault: Fault::Edited { seq: 2, .. }, .. }), "{verdict}");
    tail.put(&name, text.as_bytes()[..text.len() - 10].to_vec());
    let report = verify(&tail, &public, None).unwrap();
    assert_eq!(report.verdict, Verdict::UnsignedTail { since: 2 });
    assert!(report.torn_bytes > 100);
}

#[test]
fn cut_at_any_byte_it_opens_with_a_clean_prefix_and_a_marker() {
    let made = {
        let storage = FaultyStorage::new();
        let (dir, key) = key_file();
        let config = WriterConfig { segment_bytes: 2 * 1024, ..config() };
        let (writer, _) = open(&storage, key(), config);
        for n in 0..4 {
            write(&writer, intent(n), Durability::Written).unwrap();
            write(&writer, outcome(n), Durability::Written).unwrap();
        }
        (storage.killed(), key, dir)
    };
    let (storage, key, _dir) = made;
    let files = storage.files();
    assert!(files.len() >= 2);
    let total: usize = files.iter().map(|(_, c)| c.len()).sum();
    for keep in 0..=total {
        let cut = FaultyStorage::new();
        let mut left = keep;
        let mut whole = 0;
        for (name, content) in &files {
            let here = left.min(content.len());
            if here > 0 || left > 0 {
                cut.put(name, content[..here].to_vec());
            }
            whole += content[..here].iter().filter(|b| **b == b'\n').count() as u64;
            left -= here;
        }
        let before: usize = cut.files().iter().map(|(_, c)| c.len()).sum();
        let whole_bytes: usize =
            cut.files().iter().map(|(_, c)| c.iter().rposition(|b| *b == b'\n').map_or(0, |p| p + 1)).sum();
        let (writer, recovery) = open(&cut, key(), config());
        assert_eq!(recovery.entries, whole, "cut at {keep}");
        assert_eq!(recovery.cut_bytes, (before - whole_bytes) as u64, "cut at {keep}");
        assert!(recovery.interrupted <= 1);
        let head = writer.close().unwrap();
        let report = verify(&cut, key().public(), Some(head)).unwrap();
        assert_eq!(report.verdict, Verdict::Intact, "cut at {keep}");
        if keep > 0 {
            let text: String = cut.files().into_iter().map(|(_, c)| String::from_utf8(c).unwrap()).collect();
            assert!(text.contains(&format!(r#""what":"restart","count":{}"#, recovery.cut_bytes)), "cut at {keep}");
        }
    }
}

#[test]
fn blocks_that_never_reached_the_disk_are_a_torn_tail() {
    let storage = FaultyStorage::new();
    let (_dir, key) = key_file();
    let (writer, _) = open(&storage, key(), config());
    for n in 0..20 {
        write(&writer, intent(n), Durability::Written).unwrap();
    }
    let (name, mut content) = storage.files().remove(0);
    let lost = storage.killed();
    content[4096..8192].fill(0);
    lost.put(&name, content);
    let (_, recovery) = open(&lost, key(), config());
    assert!(recovery.cut_bytes > 4096 && recovery.entries > 4, "{recovery:?}");
}

#[test]
fn pruned_segments_are_expired_and_nobody_else_can_say_so() {
    let made = {
        let storage = FaultyStorage::new();
        let (dir, key) = key_file();
        let config = WriterConfig { segment_bytes: 2 * 1024, ..config() };
        let (writer, _) = open(&storage, key(), config);
        for n in 0..8 {
            write(&writer, intent(n), Durability::Written).unwrap();
            write(&writer, outcome(n), Durability::Written).unwrap();
        }
        let head = writer.close().unwrap();
        (storage, key, dir, head)
    };
    let (storage, key, _dir, head) = made;
    let before = storage.killed();
    let long_ago = "2020-01-01T00:00:00Z".parse().unwrap();
    assert_eq!(recording::prune::prune(&storage, &key(), long_ago).unwrap().segments, 0);
    let later = jiff::Timestamp::now() + std::time::Duration::from_secs(5);
    let removed = recording::prune::prune(&storage, &key(), later).unwrap();
    assert!(removed.segments >= 2 && removed.entries > 8, "{removed:?}");
    let report = verify(&storage, key().public(), Some(head)).unwrap();
    assert_eq!((report.verdict, report.expired), (Verdict::Intact, Some(removed.entries)));
    assert_eq!(recording::prune::prune(&storage, &key(), later).unwrap(), recording::prune::Removed::default());
    // A crash between note and removal.
    let half = before.killed();
    for (name, content) in storage.files().into_iter().filter(|(name, _)| name.starts_with("expired")) {
        half.put(&name, content);
    }
    assert_eq!(verify(&half, key().public(), Some(head)).unwrap().verdict, Verdict::Intact);
    assert!(recording::prune::prune(&half, &key(), later).unwrap().segments >= 2);
    // Every bit of the note counts.
    let (name, note) = storage.files().into_iter().find(|(name, _)| name == "expired.note").unwrap();
    for bit in 0..note.len() * 8 {
        let mut bad = note.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        let forged = storage.killed();
        forged.put(&name, bad);
        assert_ne!(verify(&forged, key().public(), Some(head)).unwrap().verdict, Verdict::Intact, "bit {bit}");
    }
    storage.delete(&name);
    let verdict = verify(&storage, key().public(), Some(head)).unwrap().verdict;
    assert!(matches!(verdict, Verdict::Fault { fault: Fault::SegmentMissing { from: 0, .. }, .. }), "{verdict}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: if all() { 60_000 } else { 1_500 }, failure_persistence: None, ..ProptestConfig::default() })]

    /// Bytes taken out, put in or overwritten anywhere.
    #[test]
    fn any_mutation_is_found(
        at: prop::sample::Index,
        remove in 0_usize..40,
        insert in proptest::collection::vec(any::<u8>(), 0..40),
    ) {
        static MADE: OnceLock<Made> = OnceLock::new();
        let made = MADE.get_or_init(make);
        let files = made.storage.files();
        let whole: Vec<u8> = files.iter().flat_map(|(_, c)| c.clone()).collect();
        let at = at.index(whole.len());
        let end = (at + remove).min(whole.len());
        prop_assume!(whole[at..end] != insert[..]);
        let mut start = 0;
        let storage = FaultyStorage::new();
        for (name, content) in &files {
            let (from, to) = (start, start + content.len());
            start = to;
            let mut changed = whole[from..at.clamp(from, to)].to_vec();
            if (from..to).contains(&at) {
                changed.extend_from_slice(&insert);
            }
            changed.extend_from_slice(&whole[end.clamp(from, to)..to]);
            storage.put(name, changed);
        }
        let verdict = verify(&storage, &made.key, Some(made.head)).unwrap().verdict;
        prop_assert_ne!(&verdict, &Verdict::Intact, "at {} to {} put {:?}", at, end, insert);
    }
}
