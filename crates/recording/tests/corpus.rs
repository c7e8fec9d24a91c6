//! The committed fuzz corpus of `recording_read`, and random changes in its manner.

mod checks;

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_change_is_called_intact(bytes in proptest::collection::vec(any::<u8>(), 0..24)) {
        checks::recording_read(&bytes);
    }
}

#[test]
fn the_corpus_is_replayed() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/recording_read");
    let files: Vec<_> = std::fs::read_dir(folder).expect("a committed corpus").flatten().collect();
    assert!(files.len() >= 5);
    for file in files {
        checks::recording_read(&std::fs::read(file.path()).expect("a readable file"));
    }
}
