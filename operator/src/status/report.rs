//! What one replica tells the others of its sidecars, as it stands in a Lease of the operator's namespace: marks of the
//! snapshots that are in force, and rules that were used. No IO.
//!
//! A Lease, because it is what replicas have and renew already: no right and no kind of object more than for claims and
//! the leader. A mark is of one pod and one content, so that a pod that two replicas speak of counts once.

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use control::Mark;
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::{Value, json};

use super::acks::Used;
use crate::index::{Key, Kind};

/// Begins the name of the Lease; the replica's own ends it.
pub(super) const PREFIX: &str = "report-";
pub(super) const LABEL: &str = "agentaccess.dev/report";
const IN_FORCE: &str = "agentaccess.dev/in-force";
const USED: &str = "agentaccess.dev/used";
/// For how long a report counts, in seconds.
pub(super) const COUNTS: u32 = 90;
/// Marks in a report: annotations have 256 KiB in all.
const MARKS: usize = 10_000;
/// Bytes of the text about rules.
const BYTES: usize = 64 * 1024;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Report {
    pub(super) in_force: BTreeSet<Mark>,
    pub(super) used: Used,
}

// === impl Report ===

impl Report {
    /// As it is applied.
    pub(super) fn lease(&self, identity: &str, renewed: &str) -> Value {
        let marks: Vec<u8> = self.in_force.iter().take(MARKS).flat_map(|mark| mark.0).collect();
        json!({
            "apiVersion": "coordination.k8s.io/v1", "kind": "Lease",
            "metadata": {
                "name": format!("{PREFIX}{identity}"), "labels": {LABEL: "true"},
                "annotations": {IN_FORCE: STANDARD.encode(marks), USED: self.used_text()},
            },
            "spec": {"holderIdentity": identity, "leaseDurationSeconds": COUNTS, "renewTime": renewed},
        })
    }

    /// Whether all of it fits.
    pub(super) fn fits(&self) -> bool {
        self.in_force.len() <= MARKS
    }

    /// What does not fit now does when the first ones are known to all.
    fn used_text(&self) -> String {
        let mut text = String::from("[");
        for (Key { kind, namespace, name }, (revision, rules)) in &self.used {
            let line = json!([*kind == Kind::ClusterPolicy, namespace, name, revision, rules]).to_string();
            if text.len().saturating_add(line.len()) >= BYTES {
                break;
            }
            let comma = if text.len() > 1 { "," } else { "" };
            text.push_str(comma);
            text.push_str(&line);
        }
        text.push(']');
        text
    }
}

/// What cannot be read says nothing.
impl From<&Lease> for Report {
    fn from(lease: &Lease) -> Self {
        let text = |key: &str| lease.metadata.annotations.as_ref().and_then(|all| all.get(key));
        let marks = text(IN_FORCE).and_then(|text| STANDARD.decode(text).ok()).unwrap_or_default();
        let (marks, _) = marks.as_chunks::<{ Mark::BYTES }>();
        let in_force = marks.iter().take(MARKS).map(|mark| Mark(*mark)).collect();
        let used = text(USED).filter(|text| text.len() <= BYTES);
        type Line = (bool, String, String, String, BTreeSet<String>);
        let used: Vec<Line> = used.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let used: BTreeMap<_, _> = used
            .into_iter()
            .map(|(cluster, namespace, name, revision, rules)| {
                let kind = if cluster { Kind::ClusterPolicy } else { Kind::Policy };
                (Key { kind, namespace, name }, (revision, rules))
            })
            .collect();
        Self { in_force, used }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(value: Value) -> Lease {
        serde_json::from_value(value).unwrap()
    }

    fn mark(n: u32) -> Mark {
        let mut mark = [7; Mark::BYTES];
        mark.iter_mut().zip(n.to_be_bytes()).for_each(|(to, from)| *to = from);
        Mark(mark)
    }

    fn key(name: &str, namespace: &str) -> Key {
        let kind = if namespace.is_empty() { Kind::ClusterPolicy } else { Kind::Policy };
        Key { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let rules = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let used = Used::from([
            (key("g", ""), ("sha256:aa".to_owned(), rules(&["r"]))),
            (key("p", "shop"), ("sha256:bb".to_owned(), rules(&["a", "b"]))),
        ]);
        let report = Report { in_force: [mark(1), mark(2)].into(), used };
        let value = report.lease("operator-0", "2026-11-21T10:00:00.000000Z");
        assert_eq!(Report::from(&lease(value.clone())), report);
        assert_eq!(value["metadata"]["name"], "report-operator-0");
        assert_eq!(value["spec"]["renewTime"], "2026-11-21T10:00:00.000000Z");
        let empty = Report::default();
        assert_eq!(Report::from(&lease(empty.lease("a", "2026-11-21T10:00:00.000000Z"))), empty);
    }

    #[test]
    fn what_cannot_be_read_says_nothing() {
        for annotations in [json!({}), json!({IN_FORCE: "!", USED: "{"}), json!({IN_FORCE: "AAAA", USED: "[[1]]"})] {
            let lease = lease(json!({"metadata": {"name": "report-a", "annotations": annotations}}));
            assert_eq!(Report::from(&lease), Report::default(), "{annotations}");
        }
    }

    /// Annotations have 256 KiB in all.
    #[test]
    fn the_largest_report_fits_into_an_object() {
        let long = |n: usize| format!("{n:0>253}");
        let rules: BTreeSet<String> = (0..256).map(|n| format!("{n:0>63}")).collect();
        let used = (0..50).map(|n| (key(&long(n), &"n".repeat(63)), ("sha256:000000000000".to_owned(), rules.clone())));
        let report = Report { in_force: (0..20_000).map(mark).collect(), used: used.collect() };
        assert!(!report.fits());
        let value = report.lease("a", "2026-11-21T10:00:00.000000Z");
        let bytes: usize =
            value["metadata"]["annotations"].as_object().unwrap().values().map(|v| v.as_str().unwrap().len()).sum();
        assert!((200 * 1024..250 * 1024).contains(&bytes), "{bytes}");
        let read = Report::from(&lease(value));
        assert!(read.in_force.len() == MARKS && !read.used.is_empty());
    }
}
