//! Random sessions against a small server, honest or hostile, and the committed fuzz corpus.

mod support;

use proptest::prelude::*;
use support::checks;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn sessions_stay_in_step(
        mode in 0..4_u8,
        // Mostly the agent, the server often enough, no hostile answers.
        script in proptest::collection::vec((0..245_u8, any::<u8>()), 0..60),
    ) {
        let bytes: Vec<u8> = std::iter::once(mode).chain(script.into_iter().flat_map(|(a, b)| [a, b])).collect();
        checks::machine(&bytes);
    }

    #[test]
    fn hostile_answers_are_refused_or_attributed(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        checks::machine(&bytes);
    }

    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        checks::frontend(&bytes);
        checks::backend(&bytes);
    }
}

#[test]
fn the_corpus_is_replayed() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (target, check) in
        [("frontend", checks::frontend as fn(&[u8])), ("backend", checks::backend), ("machine", checks::machine)]
    {
        let files: Vec<_> = std::fs::read_dir(root.join(target)).expect("a committed corpus").flatten().collect();
        assert!(files.len() >= 5, "{target} has a corpus");
        for file in files {
            check(&std::fs::read(file.path()).expect("a readable file"));
        }
    }
}
