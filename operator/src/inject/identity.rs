//! The user that only the sidecar runs as, chosen by us for each pod.
//!
//! Invariant: nobody but us chooses it. An image that is started as that user passes the fence, so a pod that brings a
//! user along, by a container called like ours, is not believed. Another webhook may have us called twice for one pod;
//! the user is kept then, which a signature proves that is good for one namespace and for as long as an admission takes.

use std::collections::BTreeSet;
use std::fmt;

use aws_lc_rs::{constant_time, hmac};
use k8s_openapi::api::core::v1::PodSpec;
use serde_json::Value;

use super::{Moment, Refused, containers};

/// The whole admission of a pod takes no longer: the API server gives a request 34 seconds.
const ADMISSION: u64 = 60;
/// Between the clocks of two replicas.
const SKEW: u64 = 5;
const USERS: (u32, u32) = (1_000_000_000, 2_000_000_000);
/// With `hostUsers: false` the pod has 65,536 users.
const USERS_OF_NAMESPACE: (u32, u32) = (30_000, 60_000);

/// Signs the users that we chose. All replicas have the same key.
#[derive(Clone)]
pub struct Seal(hmac::Key);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Identity {
    /// The sidecar's.
    pub(super) user: u32,
    /// Of `agentaccess-verify`: neither the sidecar's nor one that the pod names.
    pub(super) verifier: u32,
    /// By which the sidecar proves to `verify` who it is.
    pub(super) nonce: String,
    pub(super) annotation: String,
    /// Chosen by an earlier injection of the same admission.
    pub(super) kept: bool,
}

/// Chooses the pod's users, or keeps those of an earlier injection.
///
/// # Errors
/// When the pod names so many that none is left.
pub(super) fn choose(pod: &Value, spec: &PodSpec, namespace: &str, moment: &Moment<'_>) -> Result<Identity, Refused> {
    let (first, end) = if spec.host_users == Some(false) { USERS_OF_NAMESPACE } else { USERS };
    let named = named(spec);
    let free = |user: &u32| (first..end).contains(user) && !named.contains(&i64::from(*user));
    let annotation = pod.pointer("/metadata/annotations").and_then(|all| all.get(crds::pod::USER_ANNOTATION));
    let earlier = annotation.and_then(Value::as_str).and_then(|text| moment.seal.open(text, namespace, moment.now));
    let earlier = earlier.filter(|(user, _)| free(user));
    let kept = earlier.is_some();

    let none = || Refused::one("spec", "names too many users: none is left for the sidecar");
    let (user, issued) = match earlier {
        Some(earlier) => earlier,
        None => {
            let start = u32::try_from(moment.draw % u64::from(end - first)).unwrap_or_default();
            ((first + start..end).chain(first..end).find(free).ok_or_else(none)?, moment.now)
        }
    };
    let verifier = (user + 1..end).chain(first..end).find(|other| *other != user && free(other)).ok_or_else(none)?;
    let nonce = hex(moment.seal.sign("nonce", namespace, user, issued).as_ref(), 16);
    let annotation = moment.seal.seal(namespace, user, issued);
    Ok(Identity { user, verifier, nonce, annotation, kept })
}

/// Every user and group that the pod names: none may be the sidecar's.
fn named(spec: &PodSpec) -> BTreeSet<i64> {
    let mut named = BTreeSet::new();
    if let Some(context) = &spec.security_context {
        named.extend([context.run_as_user, context.run_as_group, context.fs_group].into_iter().flatten());
        named.extend(context.supplemental_groups.iter().flatten());
    }
    for (_, container) in containers(spec) {
        let context = container.security_context.iter();
        named.extend(context.flat_map(|context| [context.run_as_user, context.run_as_group]).flatten());
    }
    named
}

// === impl Seal ===

impl Seal {
    /// From a secret that all replicas share.
    pub fn new(secret: &[u8]) -> Self {
        let root = hmac::Key::new(hmac::HMAC_SHA256, secret);
        // A key of its own, whatever else the secret is used for.
        let derived = hmac::sign(&root, b"agentaccess users of sidecars");
        Self(hmac::Key::new(hmac::HMAC_SHA256, derived.as_ref()))
    }

    fn sign(&self, what: &str, namespace: &str, user: u32, issued: u64) -> hmac::Tag {
        hmac::sign(&self.0, message(what, namespace, user, issued).as_bytes())
    }

    fn seal(&self, namespace: &str, user: u32, issued: u64) -> String {
        format!("{user}.{issued}.{}", hex(self.sign("user", namespace, user, issued).as_ref(), 32))
    }

    /// The user and when it was chosen, if we chose it just now for a pod of this namespace.
    fn open(&self, text: &str, namespace: &str, now: u64) -> Option<(u32, u64)> {
        let mut parts = text.split('.');
        let user = parts.next()?.parse().ok()?;
        let issued: u64 = parts.next()?.parse().ok()?;
        let recent = issued <= now.saturating_add(SKEW) && now <= issued.saturating_add(ADMISSION);
        // The whole text: `+7` and `07` are numbers too.
        let expected = self.seal(namespace, user, issued);
        let ours = constant_time::verify_slices_are_equal(expected.as_bytes(), text.as_bytes()).is_ok();
        (recent && ours).then_some((user, issued))
    }
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("<secret>")
    }
}

fn message(what: &str, namespace: &str, user: u32, issued: u64) -> String {
    // No part can hold a line end: a namespace is a DNS label.
    format!("{what}\n{namespace}\n{user}\n{issued}")
}

fn hex(bytes: &[u8], most: usize) -> String {
    bytes.iter().take(most).map(|byte| format!("{byte:02x}")).collect()
}
