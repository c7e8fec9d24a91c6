//! The committed fuzz corpus of `mask_rows`, and random rows in its manner.

mod rows;

use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_keep_their_form(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        rows::mask_rows(&bytes);
    }
}

#[test]
fn the_corpus_is_replayed() {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus/mask_rows");
    let files: Vec<_> = std::fs::read_dir(folder).expect("a committed corpus").flatten().collect();
    assert!(files.len() >= 5);
    for file in files {
        rows::mask_rows(&std::fs::read(file.path()).expect("a readable file"));
    }
}
