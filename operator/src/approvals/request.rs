//! An ApprovalRequest as it is counted: its spec with the digest that votes are bound to, its records as text, and the
//! words of its status that close it.

use std::collections::{BTreeMap, BTreeSet};

use crds::approval::{
    ApprovalRequest, ApprovalRequestSpec, ApprovalRequestStatus, LAST_RECORD, PolicyRef, RECORD_PREFIX,
};
use jiff::Timestamp;
use kube::ResourceExt as _;

use super::sha256;

/// Namespace and name.
pub(super) type Id = (String, String);

#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) id: Id,
    pub(super) uid: String,
    pub(super) version: String,
    pub(super) spec: ApprovalRequestSpec,
    /// `sha256:HEX` of the spec, taken before anything of it was left out.
    pub(super) digest: String,
    pub(super) expires: Timestamp,
    /// By the API server's clock.
    pub(super) created: Option<Timestamp>,
    /// By their number; what is written there is not proven yet.
    pub(super) records: BTreeMap<u32, String>,
    pub(super) status: Option<ApprovalRequestStatus>,
}

/// An object that counts as no request: nothing is decided on it.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unfit {
    #[error("the request has no namespace, uid or resourceVersion")]
    Unstored,
    #[error("its spec cannot be hashed: {0}")]
    Spec(#[from] serde_json::Error),
    #[error("its expiresAt is not a moment")]
    Expiry,
}

// === impl Request ===

impl Request {
    pub(super) fn read(object: &ApprovalRequest) -> Result<Self, Unfit> {
        let stored = || {
            let version = object.resource_version().filter(|version| !version.is_empty())?;
            Some((object.namespace()?, object.uid().filter(|uid| !uid.is_empty())?, version))
        };
        let (namespace, uid, version) = stored().ok_or(Unfit::Unstored)?;
        Ok(Self {
            id: (namespace, object.name_any()),
            uid,
            version,
            digest: sha256(&serde_json::to_vec(&object.spec)?),
            created: object.metadata.creation_timestamp.as_ref().map(|time| time.0),
            expires: object.spec.expires_at.parse().map_err(|_| Unfit::Expiry)?,
            records: records(object.annotations()),
            spec: object.spec.clone(),
            status: object.status.clone(),
        })
    }

    /// Without what is large and not needed for counting.
    pub(super) fn slim(mut self) -> Self {
        self.spec.statement = String::new();
        self.spec.action.resources = Vec::new();
        self
    }

    /// Whether it has waited for four fifths of its time. One without a beginning never has.
    pub(super) fn late(&self, now: Timestamp) -> bool {
        let Some(created) = self.created else { return false };
        let (waited, whole) =
            (now.duration_since(created).as_millis(), self.expires.duration_since(created).as_millis());
        waited.saturating_mul(5) >= whole.saturating_mul(4)
    }

    pub(super) fn policies(&self) -> BTreeSet<String> {
        self.spec.policy_refs.iter().map(policy_name).collect()
    }

    /// Whether this is of a later moment than `other`. Versions of one object can be compared since Kubernetes 1.35 by
    /// contract, and were numbers before.
    pub(super) fn newer_than(&self, other: &Self) -> bool {
        match (self.version.parse::<u64>(), other.version.parse::<u64>()) {
            (Ok(own), Ok(other)) => own > other,
            _ => false,
        }
    }
}

/// As records name it.
pub(super) fn policy_name(policy: &PolicyRef) -> String {
    format!("{}/{}", policy.kind, policy.name)
}

/// Those annotations that may hold a record.
pub(super) fn records(annotations: &BTreeMap<String, String>) -> BTreeMap<u32, String> {
    let record = |(key, text): (&String, &String)| Some((number(key)?, text.clone()));
    annotations.iter().filter_map(record).collect()
}

fn number(key: &str) -> Option<u32> {
    let digits = key.strip_prefix(RECORD_PREFIX)?;
    let number: u32 = digits.parse().ok()?;
    (number.to_string() == digits && (1..=LAST_RECORD).contains(&number)).then_some(number)
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::*;

    /// A stored request that needs two approvals and expires at 08:15; 08:00 is when everything happens.
    pub(in crate::approvals) fn object(policies: &[&str]) -> ApprovalRequest {
        let refs: Vec<_> = policies
            .iter()
            .map(|policy| {
                let (kind, name) = policy.split_once('/').unwrap();
                json!({"kind": kind, "name": name, "rule": "fixes", "revision": "sha256:0123456789ab"})
            })
            .collect();
        serde_json::from_value(json!({
            "apiVersion": "agentaccess.dev/v1alpha1", "kind": "ApprovalRequest",
            "metadata": {"name": "areq-0a1b2c3d", "namespace": "agents", "uid": "r-1", "resourceVersion": "7"},
            "spec": {
                "subject": {"namespace": "agents", "serviceAccount": "agent", "pod": "agent-0", "podUID": "p-1"},
                "target": {"name": "orders", "host": "orders.example", "port": 5432},
                "protocol": "Postgres", "action": {"verb": "UPDATE", "resources": ["table public.orders"]},
                "summary": "UPDATE", "statement": "UPDATE public.orders",
                "digest": format!("hmac-sha256:{}", "0".repeat(64)), "policyRefs": refs, "reason": "Optional",
                "requiredApprovals": 2, "denyThreshold": 1, "scope": "Once", "expiresAt": "2027-01-15T08:15:00Z",
            },
        }))
        .unwrap()
    }

    /// The same of this scope, for an hour.
    pub(in crate::approvals) fn granting(policies: &[&str], scope: &str) -> ApprovalRequest {
        let mut object = serde_json::to_value(object(policies)).unwrap();
        object["spec"]["scope"] = json!(scope);
        object["spec"]["cover"] = json!({"action": "UPDATE", "database": "shop", "uses": [
            {"verb": "Update", "kind": "Relation", "path": ["public", "orders"], "columns": ["state"], "bounded": true}]});
        if scope != "Once" {
            object["spec"]["grant"] = json!({"means": "UPDATE by pod agent-0", "maxDuration": "1h"});
        }
        serde_json::from_value(object).unwrap()
    }

    pub(in crate::approvals) fn request(policies: &[&str]) -> Request {
        Request::read(&object(policies)).unwrap()
    }

    #[test]
    fn the_digest_is_of_the_whole_spec_and_stays() {
        let object = object(&["AgentAccessPolicy/support"]);
        let request = Request::read(&object).unwrap();
        let digest = request.digest.clone();
        assert_eq!(request.slim().digest, digest);
        let mut other = object.clone();
        other.spec.statement.push(' ');
        assert_ne!(Request::read(&other).unwrap().digest, digest);
        let mut other = object;
        other.spec.required_approvals = 1;
        assert_ne!(Request::read(&other).unwrap().digest, digest);
    }

    #[test]
    fn what_is_not_stored_or_never_ends_is_no_request() {
        let mut unstored = object(&[]);
        unstored.metadata.uid = Some(String::new());
        assert!(matches!(Request::read(&unstored), Err(Unfit::Unstored)));
        let mut endless = object(&[]);
        endless.spec.expires_at = "never".to_owned();
        assert!(matches!(Request::read(&endless), Err(Unfit::Expiry)));
    }

    #[test]
    fn records_stand_under_numbers() {
        let keys = ["1", "9", "999", "0", "01", "1000", "+1", "1 ", "x", "", "-1"];
        let annotations = keys.iter().map(|key| (format!("{RECORD_PREFIX}{key}"), String::new())).collect();
        assert_eq!(records(&annotations).into_keys().collect::<Vec<_>>(), [1, 9, 999]);
    }
}
