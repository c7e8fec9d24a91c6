//! The committed fuzz corpus of `control`, and random bytes in its manner.

mod support;

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        support::control(&bytes);
    }
}

#[test]
fn the_corpus_is_replayed() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/control");
    let files: Vec<_> = std::fs::read_dir(folder).expect("a committed corpus").flatten().collect();
    assert!(files.len() >= 5);
    for file in files {
        support::control(&std::fs::read(file.path()).expect("a readable file"));
    }
}
