//! A recording that was made once, by a writer that was closed twice, in files: four segments, some checkpoints in each. `KEY`
//! verifies it; what it was signed with is not kept.

use recording::chain::Chain;
use recording::{Head, VerifyingKey};

const KEY: &str = include_str!("good/key");
const SEGMENTS: &[(&str, &[u8])] = &[
    ("segment-0000000001.jsonl", include_bytes!("good/segment-0000000001.jsonl")),
    ("segment-0000000002.jsonl", include_bytes!("good/segment-0000000002.jsonl")),
    ("segment-0000000003.jsonl", include_bytes!("good/segment-0000000003.jsonl")),
    ("segment-0000000004.jsonl", include_bytes!("good/segment-0000000004.jsonl")),
];

/// Name and content of a file.
pub(super) type Files = Vec<(String, Vec<u8>)>;

pub(super) fn files() -> Files {
    SEGMENTS.iter().map(|(name, content)| ((*name).to_owned(), content.to_vec())).collect()
}

pub(super) fn key() -> VerifyingKey {
    KEY.parse().expect("a verifying key")
}

/// What was kept elsewhere when the writer was closed.
pub(super) fn head() -> Head {
    let mut chain = Chain::default();
    SEGMENTS.iter().flat_map(|(_, content)| content.split_inclusive(|byte| *byte == b'\n')).for_each(|l| chain.push(l));
    chain.head()
}
