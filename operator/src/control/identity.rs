//! Who may have a pod's certificate: a judgement of what the API server says, without IO.
//!
//! Refused: a token that is not for us or not bound to a pod; a pod that is gone, ending, not injected or another than
//! the token says; and everybody but the first who claimed the pod, until its proxy container has started anew.
//! Invariant: at any time one key at most is entitled to a pod's name.

use std::fmt;

use control::PodName;
use k8s_openapi::api::authentication::v1::TokenReview;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Pod;

/// What a token says about its pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bearer {
    pub pod: PodName,
    pub pod_name: String,
    pub service_account: String,
}

/// A claim as it was recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// See `ClientKey::id`.
    pub key: String,
    /// Starts of the proxy container that had ended when the claim was made.
    pub restarts: i32,
}

/// What is to be done about a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entitled {
    /// Nobody claimed the pod yet.
    First,
    /// It is the one who did.
    Again,
    /// The container that did has ended; the one that took its place asks.
    Successor,
}

/// Why somebody gets no certificate. The words are for the sidecar's log; none of them is the caller's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    #[error("the token is not valid, or not for this audience")]
    Token,
    #[error("the token is not bound to a pod")]
    Unbound,
    #[error("the token's pod does not live any more")]
    Gone,
    #[error("the token's pod is not governed")]
    NotGoverned,
    #[error("the pod is claimed by another: its proxy container has to start anew first")]
    Claimed,
    #[error("the pod's record of who claimed it cannot be read")]
    Record,
}

const POD_NAME: &str = "authentication.kubernetes.io/pod-name";
const POD_UID: &str = "authentication.kubernetes.io/pod-uid";

// === impl Refusal ===

impl Refusal {
    /// For metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Unbound => "unbound",
            Self::Gone => "gone",
            Self::NotGoverned => "not_governed",
            Self::Claimed => "claimed",
            Self::Record => "record",
        }
    }
}

impl fmt::Display for Entitled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

impl Entitled {
    /// For metrics and logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Again => "again",
            Self::Successor => "successor",
        }
    }
}

/// Whom the review proves, if it is for `audience`.
///
/// # Errors
/// See [`Refusal`].
pub fn bearer(review: &TokenReview, audience: &str) -> Result<Bearer, Refusal> {
    let status = review.status.as_ref().ok_or(Refusal::Token)?;
    // An API server that does not know of audiences names none: that is no proof that it looked.
    let ours = status.audiences.iter().flatten().any(|one| one == audience);
    if status.authenticated != Some(true) || status.error.as_ref().is_some_and(|error| !error.is_empty()) || !ours {
        return Err(Refusal::Token);
    }
    let user = status.user.as_ref().ok_or(Refusal::Token)?;
    let account = user.username.as_deref().and_then(|name| name.strip_prefix("system:serviceaccount:"));
    let (namespace, account) = account.and_then(|rest| rest.split_once(':')).ok_or(Refusal::Unbound)?;
    let one = |key: &str| match user.extra.as_ref()?.get(key)?.as_slice() {
        [one] if !one.is_empty() => Some(one.as_str()),
        _ => None,
    };
    let (name, uid) = one(POD_NAME).zip(one(POD_UID)).ok_or(Refusal::Unbound)?;
    let pod = PodName::new(namespace, uid).map_err(|_| Refusal::Unbound)?;
    Ok(Bearer { pod, pod_name: name.to_owned(), service_account: account.to_owned() })
}

/// How often the proxy of the living pod has started anew, if it is the bearer's and governed.
///
/// # Errors
/// See [`Refusal`].
pub fn restarts(pod: Option<&Pod>, bearer: &Bearer) -> Result<i32, Refusal> {
    let pod = pod.filter(|pod| {
        pod.metadata.uid.as_deref() == Some(bearer.pod.uid())
            && pod.metadata.namespace.as_deref() == Some(bearer.pod.namespace())
            && pod.metadata.deletion_timestamp.is_none()
    });
    let pod = pod.ok_or(Refusal::Gone)?;
    let status = pod.status.as_ref();
    match status.and_then(|status| status.phase.as_deref()) {
        Some("Pending" | "Running") => {}
        _ => return Err(Refusal::Gone),
    }
    let injected = pod.metadata.labels.as_ref().and_then(|all| all.get(crds::pod::INJECTED_LABEL));
    let account = pod.spec.as_ref().and_then(|spec| spec.service_account_name.as_deref());
    if injected.map(String::as_str) != Some("true") || account != Some(&bearer.service_account) {
        return Err(Refusal::NotGoverned);
    }
    let mut containers = status.and_then(|status| status.init_container_statuses.as_ref()).into_iter().flatten();
    // The kubelet says it only after the container began; until then none has ended.
    Ok(containers.find(|one| one.name == crds::pod::PROXY).map_or(0, |proxy| proxy.restart_count))
}

/// Whether the holder of `key` may have the pod's name now.
///
/// # Errors
/// [`Refusal::Claimed`].
pub fn entitled(recorded: Option<&Claim>, key: &str, restarts: i32) -> Result<Entitled, Refusal> {
    match recorded {
        None => Ok(Entitled::First),
        Some(claim) if claim.key == key => Ok(Entitled::Again),
        Some(claim) if restarts > claim.restarts => Ok(Entitled::Successor),
        Some(_) => Err(Refusal::Claimed),
    }
}

// === impl Claim ===

impl Claim {
    /// # Errors
    /// [`Refusal::Record`]: what cannot be read entitles nobody.
    pub fn read(lease: &Lease) -> Result<Self, Refusal> {
        let spec = lease.spec.as_ref().ok_or(Refusal::Record)?;
        let key = spec.holder_identity.as_ref().filter(|key| !key.is_empty()).ok_or(Refusal::Record)?;
        let restarts = spec.lease_transitions.filter(|count| *count >= 0).ok_or(Refusal::Record)?;
        Ok(Self { key: key.clone(), restarts })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const UID: &str = "0f8b1c9e-6a0d-4a57-9c1d-0123456789ab";

    fn good() -> Value {
        json!({
            "authenticated": true,
            "audiences": ["agentaccess.dev"],
            "user": {
                "username": "system:serviceaccount:shop:agent",
                "extra": {POD_NAME: ["agent-0"], POD_UID: [UID]},
            },
        })
    }

    fn judged(status: Value) -> Result<Bearer, Refusal> {
        bearer(&serde_json::from_value(json!({"spec": {}, "status": status})).unwrap(), "agentaccess.dev")
    }

    fn expected() -> Bearer {
        Bearer {
            pod: PodName::new("shop", UID).unwrap(),
            pod_name: "agent-0".to_owned(),
            service_account: "agent".to_owned(),
        }
    }

    #[test]
    fn a_token_counts_only_for_us_and_only_from_a_pod() {
        assert_eq!(judged(good()), Ok(expected()));
        let extra = "/user/extra";
        for (at, value, refusal) in [
            ("/authenticated", json!(false), Refusal::Token),
            ("/authenticated", json!(null), Refusal::Token),
            ("/audiences", json!(null), Refusal::Token),
            ("/audiences", json!([]), Refusal::Token),
            ("/audiences", json!(["https://kubernetes.default.svc"]), Refusal::Token),
            ("/user", json!(null), Refusal::Token),
            ("/user/username", json!("alice"), Refusal::Unbound),
            ("/user/username", json!("system:serviceaccount:shop"), Refusal::Unbound),
            ("/user/username", json!("system:serviceaccount:../x:agent"), Refusal::Unbound),
            (extra, json!(null), Refusal::Unbound),
            (extra, json!({POD_NAME: ["agent-0"]}), Refusal::Unbound),
            (extra, json!({POD_UID: [UID]}), Refusal::Unbound),
            (extra, json!({POD_NAME: ["agent-0"], POD_UID: []}), Refusal::Unbound),
            (extra, json!({POD_NAME: ["agent-0"], POD_UID: [UID, UID]}), Refusal::Unbound),
            (extra, json!({POD_NAME: [""], POD_UID: [UID]}), Refusal::Unbound),
            (extra, json!({POD_NAME: ["agent-0"], POD_UID: ["x"]}), Refusal::Unbound),
        ] {
            let mut status = good();
            *status.pointer_mut(at).unwrap() = value.clone();
            assert_eq!(judged(status), Err(refusal), "{at} {value}");
        }
        let mut failed = good();
        failed["error"] = json!("expired");
        assert_eq!(judged(failed), Err(Refusal::Token));
        assert_eq!(bearer(&TokenReview::default(), "agentaccess.dev"), Err(Refusal::Token));
    }

    fn pod() -> Value {
        json!({
            "metadata": {"name": "agent-0", "namespace": "shop", "uid": UID, "labels": {"agentaccess.dev/injected": "true"}},
            "spec": {"serviceAccountName": "agent", "containers": []},
            "status": {"phase": "Running", "initContainerStatuses": [
                {"name": "agentaccess-init", "restartCount": 9, "image": "", "imageID": "", "ready": true},
                {"name": "agentaccess-proxy", "restartCount": 2, "image": "", "imageID": "", "ready": true},
            ]},
        })
    }

    fn living(pod: Value) -> Result<i32, Refusal> {
        restarts(Some(&serde_json::from_value(pod).unwrap()), &expected())
    }

    #[test]
    fn the_pod_lives_and_is_governed_and_is_the_token_s() {
        assert_eq!(living(pod()), Ok(2));
        let mut young = pod();
        young["status"] = json!({"phase": "Pending"});
        assert_eq!(living(young), Ok(0));
        assert_eq!(restarts(None, &expected()), Err(Refusal::Gone));
        for (at, value, refusal) in [
            ("/metadata/uid", json!("ffffffff-6a0d-4a57-9c1d-0123456789ab"), Refusal::Gone),
            ("/metadata/namespace", json!("bank"), Refusal::Gone),
            ("/status/phase", json!("Succeeded"), Refusal::Gone),
            ("/status/phase", json!("Failed"), Refusal::Gone),
            ("/status/phase", json!("Unknown"), Refusal::Gone),
            ("/status", json!(null), Refusal::Gone),
            ("/metadata/labels", json!({}), Refusal::NotGoverned),
            ("/metadata/labels", json!({"agentaccess.dev/injected": "false"}), Refusal::NotGoverned),
            ("/spec/serviceAccountName", json!("other"), Refusal::NotGoverned),
            ("/spec/serviceAccountName", json!(null), Refusal::NotGoverned),
        ] {
            let mut changed = pod();
            *changed.pointer_mut(at).unwrap() = value.clone();
            assert_eq!(living(changed), Err(refusal), "{at} {value}");
        }
        let mut ending = pod();
        ending["metadata"]["deletionTimestamp"] = json!("2027-01-15T07:59:50Z");
        assert_eq!(living(ending), Err(Refusal::Gone));
    }

    #[test]
    fn the_first_who_claims_a_pod_keeps_it_until_its_container_starts_anew() {
        let claim = Claim { key: "one".to_owned(), restarts: 1 };
        for (recorded, key, restarts, verdict) in [
            (None, "one", 0, Ok(Entitled::First)),
            (Some(&claim), "one", 1, Ok(Entitled::Again)),
            (Some(&claim), "one", 2, Ok(Entitled::Again)),
            (Some(&claim), "two", 1, Err(Refusal::Claimed)),
            (Some(&claim), "two", 0, Err(Refusal::Claimed)),
            (Some(&claim), "two", 2, Ok(Entitled::Successor)),
        ] {
            assert_eq!(entitled(recorded, key, restarts), verdict, "{key} {restarts}");
        }
    }

    #[test]
    fn a_record_that_says_nothing_entitles_nobody() {
        let read = |spec: Value| Claim::read(&serde_json::from_value(json!({"metadata": {}, "spec": spec})).unwrap());
        let whole = Claim { key: "k".to_owned(), restarts: 0 };
        assert_eq!(read(json!({"holderIdentity": "k", "leaseTransitions": 0})), Ok(whole));
        for spec in [
            json!(null),
            json!({}),
            json!({"holderIdentity": "k"}),
            json!({"leaseTransitions": 0}),
            json!({"holderIdentity": "", "leaseTransitions": 0}),
            json!({"holderIdentity": "k", "leaseTransitions": -1}),
        ] {
            assert_eq!(read(spec.clone()), Err(Refusal::Record), "{spec}");
        }
    }
}
