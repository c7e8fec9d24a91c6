//! Every recording that the tests on the cluster have made, from the store: none was edited, none has a gap, none was
//! begun anew. Pods were killed in every way, so the end of some is missing, and then that is what is said.
//!
//! Not run by `make test`: the feature `cluster` builds it, `make e2e` runs it, when all but the chart's own tests are
//! over.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

#[path = "cluster_governed/store.rs"]
mod store;

use std::collections::BTreeMap;

use archive::Countersigned;
use e2e::cluster::Cluster;
use recording::verify::Verdict;
use store::Recordings;

/// A run has hundreds; fewer say that nothing arrives.
const LEAST: usize = 20;

#[test]
fn every_recording_verifies() {
    let recordings = Recordings::open(&Cluster::connect().unwrap());
    let (mut found, mut wrong) = (BTreeMap::<String, usize>::new(), Vec::new());
    let (mut entries, mut orderly) = (0, 0);
    for page in recordings.library.recordings() {
        for id in page.unwrap() {
            let audit = recordings.audit(&id).unwrap_or_else(|error| panic!("{id}: {error}"));
            entries += audit.report.entries;
            orderly += usize::from(audit.report.orderly_stop);
            let sound = match &audit.report.verdict {
                Verdict::Intact => "intact",
                // Nothing arrived but the first word, or what came after the last checkpoint.
                Verdict::UnsignedTail { .. } => "unsigned tail",
                Verdict::Truncated { .. } => "truncated",
                other => {
                    wrong.push(format!("{id}: {other}"));
                    "wrong"
                }
            };
            if audit.countersigned == Countersigned::Forged {
                wrong.push(format!("{id}: {}", audit.countersigned));
            }
            *found.entry(sound.to_owned()).or_default() += 1;
        }
    }
    println!("{found:?}, {orderly} ended in order, {entries} entries");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(found.values().sum::<usize>() >= LEAST && orderly > 0, "{found:?}");
}
