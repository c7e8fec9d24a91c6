//! The committed fuzz corpus of `classify` and `substitute`, and random mixtures in the manner of the second.
#![allow(clippy::unwrap_used, unreachable_pub, dead_code, reason = "test helpers; each file uses some of them")]

mod checks;
mod support;

use proptest::prelude::*;

#[test]
fn the_corpus_is_replayed() {
    checks::watch();
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (target, check) in
        [("classify", checks::classify as fn(&[u8])), ("substitute", checks::substitute as fn(&[u8]))]
    {
        let files: Vec<_> = std::fs::read_dir(root.join(target)).expect("a committed corpus").flatten().collect();
        assert!(files.len() >= 5, "{target} has a corpus");
        for file in files {
            check(&std::fs::read(file.path()).expect("a readable file"));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(2_000) })]

    #[test]
    fn mixtures_are_sent_as_they_were_meant(bytes in proptest::collection::vec(any::<u8>(), 2..24)) {
        checks::substitute(&bytes);
    }
}

/// Every statement that the tests know.
#[test]
fn known_statements_are_sent_as_they_were_meant() {
    checks::watch();
    for text in [include_str!("data/canary.sql"), include_str!("data/psql.txt"), include_str!("data/drivers.txt")] {
        text.lines().for_each(|line| checks::classify(line.as_bytes()));
    }
}
