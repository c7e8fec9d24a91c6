//! What the fuzz target `control` checks, for any bytes. The corpus is replayed through the same functions on the stable
//! compiler.
#![expect(clippy::expect_used, clippy::panic, unreachable_pub, reason = "a check fails by panicking")]

mod wire;

use control::{Mark, PodName, object_revision, v1};

/// The first byte says which message, the second how the body comes in pieces; the rest is the body of a call.
pub fn control(data: &[u8]) {
    let [which, piece, rest @ ..] = data else { return };
    let piece = usize::from(*piece).max(1);
    match which % 20 {
        0 => wire::body::<v1::Update>(rest, piece),
        1 => wire::body::<v1::Question>(rest, piece),
        2 => wire::body::<v1::Standing>(rest, piece),
        3 => wire::body::<v1::ConsumeRequest>(rest, piece),
        4 => wire::body::<v1::Consumed>(rest, piece),
        5 => wire::body::<v1::ReportRequest>(rest, piece),
        6 => wire::body::<v1::Certificate>(rest, piece),
        7 => wire::body::<v1::CountersignRequest>(rest, piece),
        8 => wire::body::<v1::ReplicateRequest>(rest, piece),
        9 => wire::body::<v1::IssueRequest>(rest, piece),
        10 => wire::message::<v1::Update>(rest),
        11 => wire::message::<v1::Question>(rest),
        12 => wire::message::<v1::Standing>(rest),
        13 => wire::message::<v1::ConsumeRequest>(rest),
        14 => wire::message::<v1::Consumed>(rest),
        15 => wire::message::<v1::ReportRequest>(rest),
        16 => wire::message::<v1::RecordingStanding>(rest),
        17 => wire::message::<v1::Replicated>(rest),
        18 => names(rest),
        _ => revisions(rest),
    }
}

/// What is taken for a pod's name is written alike.
fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(name) = text.parse::<PodName>() else { return };
    assert_eq!(name.to_string(), text);
    assert_eq!(PodName::new(name.namespace(), name.uid()).as_ref(), Ok(&name));
    assert!(!name.namespace().contains('/') && !name.uid().contains('/'));
}

/// What is taken for a snapshot's revision begins as its mark says; an object's is none.
fn revisions(data: &[u8]) {
    let short = object_revision(data);
    assert!(short.len() == 19 && short.starts_with("sha256:"));
    assert!(short.parse::<Mark>().is_err());
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(mark) = text.parse::<Mark>() else { return };
    let hex: String = mark.0.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(text.len() == 71 && text.starts_with(&format!("sha256:{hex}")), "{text}");
}
