//! A recording that was edited, cut, reordered or has a bit flipped, and what `verify` says of it.

use std::path::Path;

use recording::entry::{Marker, What};
use recording::{Body, Entry, Head, SigningKey, WriterConfig};

use crate::common::{Ran, State, record, run};

fn entries(n: u64) -> Vec<Entry> {
    let marker = |count| Marker { what: What::LimitHit, count: Some(count), detail: Some("x".repeat(40)) };
    (0..n).map(|i| Entry::session("s-1", Body::Marker(marker(i)))).collect()
}

fn made() -> (State, Head) {
    record(entries(20), WriterConfig { checkpoint_entries: 5, ..WriterConfig::default() })
}

fn small_segments() -> WriterConfig {
    WriterConfig { segment_bytes: 2_048, inline: false, ..WriterConfig::default() }
}

fn verify(state: &State, more: &[&str]) -> Ran {
    let path = state.path();
    let mut arguments = vec!["verify", "--state-dir", &path, "--key", &state.key];
    arguments.extend(more);
    run(&arguments)
}

fn lines(file: &Path) -> Vec<String> {
    std::fs::read_to_string(file).unwrap().lines().map(str::to_owned).collect()
}

fn write(file: &Path, lines: &[String]) {
    std::fs::write(file, lines.iter().map(|l| format!("{l}\n")).collect::<String>()).unwrap();
}

#[test]
fn each_damage_has_its_words_and_its_status() {
    type Damage = fn(&mut Vec<String>);
    let table: [(&str, Damage, i32, &str); 6] = [
        ("untouched", |_| {}, 0, "intact"),
        ("edited", |l| l[4] = l[4].replacen("xx", "xy", 1), 10, "edited at seq 4"),
        ("a line removed", |l| drop(l.remove(6)), 11, "gap or reorder at seq 6"),
        ("two lines swapped", |l| l.swap(7, 8), 11, "gap or reorder at seq 7"),
        ("a line doubled", |l| l.insert(5, l[5].clone()), 11, "gap or reorder at seq 6"),
        ("its end cut off", |l| l.truncate(9), 13, "unsigned tail since seq "),
    ];
    for (what, damage, status, words) in table {
        let (state, _) = made();
        let file = &state.segments()[0];
        let mut content = lines(file);
        damage(&mut content);
        write(file, &content);
        let ran = verify(&state, &[]);
        assert_eq!(ran.status, status, "{what}: {}{}", ran.out, ran.err);
        assert!(ran.out.starts_with(words), "{what}: {}", ran.out);
        let json = verify(&state, &["-o", "json"]);
        assert_eq!(json.status, status);
        let json: serde_json::Value = serde_json::from_str(&json.out).unwrap();
        assert_eq!((json["exitStatus"].as_i64(), json["intact"].as_bool()), (Some(status.into()), Some(status == 0)));
    }
}

#[test]
fn a_flipped_bit_is_found_wherever_it_is() {
    let (state, head) = made();
    let file = &state.segments()[0];
    let good = std::fs::read(file).unwrap();
    for step in 0..24 {
        let at = step * (good.len() - 1) / 23;
        let mut bad = good.clone();
        bad[at] ^= 1 << (step % 7);
        std::fs::write(file, &bad).unwrap();
        let ran = verify(&state, &["--head", &head.to_string()]);
        assert!((10..=17).contains(&ran.status), "byte {at}: {} {}{}", ran.status, ran.out, ran.err);
    }
}

#[test]
fn a_head_that_was_kept_finds_a_cut_that_nothing_else_shows() {
    let (state, head) = made();
    let file = &state.segments()[0];
    let content = lines(file);
    let cut = content.iter().position(|l| l.contains("\"kind\":\"checkpoint\"") && !l.contains("\"seq\":1,")).unwrap();
    let whole = verify(&state, &[]);
    assert!(whole.out.contains("without --head") && !whole.out.contains("no orderly stop"), "{}", whole.out);
    let whole = verify(&state, &["--head", &head.to_string()]);
    assert!(whole.status == 0 && !whole.out.contains("without --head"), "{}", whole.out);
    write(file, &content[..=cut]);
    // What it cannot see it says, and what makes one look.
    let ran = verify(&state, &[]);
    assert!(ran.status == 0 && ran.out.contains("without --head"), "{}", ran.out);
    assert!(ran.out.contains("no orderly stop"), "{}", ran.out);
    let json: serde_json::Value = serde_json::from_str(&verify(&state, &["-o", "json"]).out).unwrap();
    assert_eq!((&json["headCompared"], &json["orderlyStop"]), (&false.into(), &false.into()));
    let ran = verify(&state, &["--head", &head.to_string()]);
    assert_eq!(ran.status, 12, "{}", ran.out);
    assert!(ran.out.starts_with(&format!("truncated: {} entries, the head tells of {}", cut + 1, head.size)));
    let other = Head { size: 3, root: head.root };
    let ran = verify(&state, &["--head", &other.to_string()]);
    assert_eq!(ran.status, 16, "{}", ran.out);
}

#[test]
fn a_segment_that_is_missing_or_was_pruned() {
    let (state, _) = record(entries(40), small_segments());
    let segments = state.segments();
    assert!(segments.len() > 3);
    let path = state.path();
    let pruned = run(&["recordings", "prune", "--state-dir", &path, "--before", "2000-01-01", "--yes"]);
    assert!(pruned.out.starts_with("nothing to remove") && pruned.status == 0, "{}{}", pruned.out, pruned.err);
    let unasked = run(&["recordings", "prune", "--state-dir", &path, "--before", "0s"]);
    assert!(unasked.status == 1 && unasked.err.contains("give --yes"), "{}", unasked.err);
    let pruned = run(&["recordings", "prune", "--state-dir", &path, "--before", "0s", "--yes"]);
    assert!(pruned.out.starts_with("removed ") && pruned.status == 0, "{}{}", pruned.out, pruned.err);
    let ran = verify(&state, &[]);
    assert!(ran.status == 0 && ran.out.contains("were pruned by the holder of the key"), "{}", ran.out);

    let (state, _) = record(entries(40), small_segments());
    std::fs::remove_file(&state.segments()[1]).unwrap();
    let ran = verify(&state, &[]);
    assert_eq!(ran.status, 14, "{}", ran.out);
    assert!(ran.out.starts_with("segment missing: seq "), "{}", ran.out);
}

#[test]
fn the_key_comes_from_elsewhere_and_is_the_right_one() {
    let (state, _) = made();
    let path = state.path();
    for folder in [state.recordings(), state.dir.path().to_owned()] {
        let file = folder.join("key.pub");
        std::fs::write(&file, &state.key).unwrap();
        let ran = run(&["verify", "--state-dir", &path, "--key", &file.display().to_string()]);
        assert_eq!(ran.status, 2);
        assert!(ran.err.contains("lies beside the recording"), "{}", ran.err);
        std::fs::remove_file(file).unwrap();
    }
    let elsewhere = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(elsewhere.path(), format!("{}\n", state.key)).unwrap();
    let file = elsewhere.path().display().to_string();
    assert_eq!(run(&["verify", "--state-dir", &path, "--key", &file]).status, 0);
    assert_eq!(run(&["verify", "--state-dir", &path]).status, 2, "--key is required");
    let ran = run(&["verify", "--state-dir", &path, "--key", "nothing"]);
    assert!(ran.status == 2 && ran.err.contains("neither a public key"), "{}", ran.err);
    let other = SigningKey::generate("other").unwrap().public().to_string();
    let ran = run(&["verify", "--state-dir", &path, "--key", &other]);
    assert_eq!(ran.status, 15, "{}", ran.out);
    assert!(ran.out.starts_with("wrong key: ") && ran.out.contains(&state.key), "{}", ran.out);
}

#[test]
fn what_is_no_recording_is_called_so() {
    let (state, _) = made();
    let empty = tempfile::tempdir().unwrap();
    let folder = empty.path().display().to_string();
    let ran = run(&["verify", "--key", &state.key, "--recordings", &folder]);
    assert!(ran.status == 18 && ran.out.starts_with("not a recording"), "{} {}", ran.status, ran.out);
    let file = data_file(empty.path());
    let ran = run(&["verify", "--key", &state.key, "--recordings", &file]);
    assert!(ran.status == 18 && ran.out.contains("is not a folder"), "{} {}", ran.status, ran.out);
    let ran = run(&["verify", "--key", &state.key, "--recordings", &format!("{folder}/none")]);
    assert!(ran.status == 1 && ran.err.contains("there is no recording in"), "{}", ran.err);
}

fn data_file(folder: &Path) -> String {
    let file = folder.join("file");
    std::fs::write(&file, "x").unwrap();
    file.display().to_string()
}

#[test]
fn keys_shows_the_newest_head_and_it_finds_a_cut() {
    let (state, _) = made();
    let path = state.path();
    let keys = run(&["keys", "--state-dir", &path, "-o", "json"]);
    let keys: serde_json::Value = serde_json::from_str(&keys.out).unwrap();
    let head = keys["head"].as_str().unwrap().to_owned();
    assert!(run(&["keys", "--state-dir", &path]).out.contains(&format!("newest head     {head}\n")));
    assert_eq!(verify(&state, &["--head", &head]).status, 0);
    // A note that another key signed, or none, is no head to keep.
    let file = &state.segments()[0];
    let content = lines(file);
    let last = content.iter().rposition(|l| l.contains("\"kind\":\"checkpoint\"")).unwrap();
    let mut forged = content.clone();
    forged[last] = forged[last].replacen("\\n\\n", "\\n9\\n\\n", 1);
    assert_ne!(forged[last], content[last]);
    write(file, &forged);
    let keys: serde_json::Value =
        serde_json::from_str(&run(&["keys", "--state-dir", &path, "-o", "json"]).out).unwrap();
    let older = keys["head"].as_str().unwrap().to_owned();
    assert_ne!(older, head);
    write(file, &content[..last - 1]);
    assert_eq!(verify(&state, &["--head", &head]).status, 12);
    std::fs::remove_dir_all(state.recordings()).unwrap();
    let ran = run(&["keys", "--state-dir", &path]);
    assert!(ran.status == 0 && ran.out.contains("newest head     none"), "{}{}", ran.out, ran.err);
}
