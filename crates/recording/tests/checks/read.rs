//! Bytes change a good recording, or are one. No reader panics, a reader that streams ends, and nothing that was changed
//! is called intact.

use std::collections::BTreeMap;
use std::sync::Arc;

use recording::chain::Chain;
use recording::spool::faulty::FaultyStorage;
use recording::verify::{Verdict, newest_head, verify};
use recording::{outgoing, reader, segment, sessions};

use super::good::{self, Files};

/// Each may make it twice as long.
const CHANGES: usize = 6;

/// The first byte says whether the head is known and whether there is anything but the rest; then each change is a byte
/// that says which, two for the file and the place in it, and what the change takes.
pub(crate) fn recording_read(data: &[u8]) {
    let Some((&mode, mut rest)) = data.split_first() else { return };
    let good = good::files();
    let mut files = good.clone();
    if mode & 2 == 2 {
        // Any bytes as a folder of one segment.
        files = vec![(reader::segment_name(0), rest.to_vec())];
        rest = &[];
    }
    for _ in 0..CHANGES {
        let [what, file, high, low, after @ ..] = rest else { break };
        rest = change(&mut files, *what, usize::from(*file), usize::from(u16::from_be_bytes([*high, *low])), after);
    }
    // Of two with one name, the later one is there.
    let files: Files = files.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect();
    let storage = FaultyStorage::new();
    files.iter().for_each(|(name, content)| storage.put(name, content.clone()));
    judge(&storage, &good, &files, mode & 1 == 1);
    read(&storage, &files);
}

/// Makes one change and returns the bytes that it did not take.
fn change<'a>(files: &mut Files, what: u8, file: usize, at: usize, after: &'a [u8]) -> &'a [u8] {
    let count = files.len().max(1);
    let Some((name, content)) = files.get_mut(file % count) else { return &[] };
    let lines: Vec<Vec<u8>> = content.split_inclusive(|byte| *byte == b'\n').map(<[u8]>::to_vec).collect();
    let (size, line) = (content.len().max(1), at % lines.len().max(1));
    let mut again = |lines: Vec<Vec<u8>>| *content = lines.concat();
    match what % 12 {
        0 => content.get_mut(at % size).into_iter().for_each(|byte| *byte ^= 1 << (what / 12 % 8)),
        1 => content.truncate(at % size),
        2 => again(lines.iter().enumerate().filter(|(nth, _)| *nth != line).map(|(_, line)| line.clone()).collect()),
        3 => {
            let twice = |(nth, text): (usize, &Vec<u8>)| if nth == line { text.repeat(2) } else { text.clone() };
            again(lines.iter().enumerate().map(twice).collect());
        }
        4 => {
            let mut lines = lines;
            lines.rotate_left(line);
            again(lines);
        }
        5 => {
            files.remove(file % count);
        }
        6 => {
            let text = content.clone();
            files.push((reader::segment_name(u64::try_from(at).unwrap_or(0)), text));
        }
        7 => *name = reader::segment_name(u64::try_from(at % 8).unwrap_or(0)),
        8 => *name = "segment-1.jsonl".to_owned(),
        9 => content.push(low(at)),
        // A piece of the input itself.
        10 | 11 => {
            let (length, after) =
                after.split_first().map_or((0, after), |(length, after)| (usize::from(*length), after));
            let (piece, after) = after.split_at(length.min(after.len()));
            let end =
                if what % 12 == 10 { at % size } else { (at % size).saturating_add(piece.len()).min(content.len()) };
            content.splice((at % size).min(end)..end, piece.iter().copied());
            return after;
        }
        _ => {}
    }
    after
}

fn low(at: usize) -> u8 {
    u8::try_from(at % 256).unwrap_or(0)
}

/// What is in the segments, in order. Other files are not looked at; nor is what follows the end that the next segment
/// tells of, where an append failed.
fn recorded(good: &Files, files: &Files) -> Vec<u8> {
    let is_segment = |name: &str| {
        let number = name.strip_prefix("segment-").and_then(|rest| rest.strip_suffix(".jsonl")?.parse().ok());
        number.is_some_and(|number| reader::segment_name(number) == name)
    };
    let mut named: Vec<&(String, Vec<u8>)> = files.iter().filter(|(name, _)| is_segment(name)).collect();
    named.sort();
    let last = named.last().map(|(name, _)| name.clone());
    let whole = |file: &&(String, Vec<u8>)| -> Vec<u8> {
        let was =
            good.iter().find(|(name, text)| *name == file.0 && last.as_ref() != Some(name) && file.1.starts_with(text));
        was.map_or_else(|| file.1.clone(), |(_, text)| text.clone())
    };
    named.iter().flat_map(whole).collect()
}

fn judge(storage: &FaultyStorage, good: &Files, files: &Files, with_head: bool) {
    let head = with_head.then(good::head);
    let report = verify(storage, &good::key(), head).expect("all can be read");
    let (before, after) = (recorded(good, good), recorded(good, files));
    if files == good {
        assert_eq!(report.verdict, Verdict::Intact);
    } else if report.verdict == Verdict::Intact {
        // Cut off behind a checkpoint: only who knows of more can tell.
        assert!(!with_head || before == after, "changed and called intact");
        assert!(before.starts_with(&after) && after.ends_with(b"\n"), "changed and called intact");
    }
    assert!(report.verdict.exit_code() != 0 || report.verdict == Verdict::Intact);
    // No more is called sound than what is as it was.
    let sound = report.entries.min(report.head.size);
    let lines = |all: &[u8]| -> Vec<Vec<u8>> { all.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect() };
    let signed = usize::try_from(sound.min(report.signed)).unwrap_or(usize::MAX);
    let (was, is) = (lines(&before), lines(&after));
    assert_eq!(was.get(..signed), is.get(..signed), "{}", report.verdict);
    _ = newest_head(storage, &good::key());
}

/// Whoever reads without verifying ends, with what it read and at most one error.
fn read(storage: &FaultyStorage, files: &Files) {
    let bytes: usize = files.iter().map(|(_, content)| content.len()).sum();
    let mut read = 0;
    let mut failed = false;
    for line in reader::entries(storage).expect("all can be read") {
        assert!(!failed, "nothing follows an error");
        match line {
            // A line that is taken is written again.
            Ok(line) => drop(serde_json::to_vec(&line).expect("what was read can be written")),
            Err(error) => {
                assert!(error.to_string().len() < 1024, "{error}");
                failed = true;
            }
        }
        read += 1;
        assert!(read <= bytes, "it ends");
    }
    _ = sessions::sessions(storage);
    sessions::session(storage, "s-1").expect("all can be read").for_each(drop);
    let (key, mut chain) = (good::key(), Chain::default());
    for (_, content) in files {
        let each = &mut |_: &Chain, _: recording::Line| {};
        match segment::check(Arc::from(content.as_slice()), &chain, &key, each) {
            Ok(checked) => chain = checked.chain,
            Err(error) => assert!(error.to_string().len() < 1024, "{error}"),
        }
    }
    _ = outgoing::Outgoing::new(Arc::new(storage.clone())).segments();
}
