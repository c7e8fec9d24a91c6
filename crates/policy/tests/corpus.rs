//! The committed fuzz corpus of `decide` and `policy_compile`.
#![expect(clippy::unwrap_used, reason = "test helpers")]

mod checks;
#[expect(dead_code, reason = "the laws use the rest")]
mod world;

#[test]
fn the_corpus_is_replayed() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus");
    for (target, check) in [
        ("decide", checks::laws::decide as fn(&[u8])),
        ("policy_compile", checks::manifest::policy_compile as fn(&[u8])),
    ] {
        let files: Vec<_> = std::fs::read_dir(root.join(target)).expect("a committed corpus").flatten().collect();
        assert!(files.len() >= 5, "{target} has a corpus");
        for file in files {
            check(&std::fs::read(file.path()).expect("a readable file"));
        }
    }
}
