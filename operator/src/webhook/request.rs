//! An AdmissionReview as it was sent: its request, and the objects in it untouched.

use kube::core::DynamicObject;
use kube::core::admission::{AdmissionRequest, AdmissionReview};
use serde::Deserialize as _;
use serde_json::Value;

/// The body is not an AdmissionReview with a request; there is nobody to answer to in its words.
#[derive(Debug, thiserror::Error)]
#[error("not an AdmissionReview of admission.k8s.io/v1: {0}")]
pub struct Unreadable(String);

/// The objects are `null` where there is none: a typed object would drop what it does not know.
#[derive(Debug)]
pub(crate) struct Sent {
    pub(crate) request: AdmissionRequest<DynamicObject>,
    pub(crate) object: Value,
    pub(crate) old: Value,
}

// === impl Sent ===

impl Sent {
    pub(crate) fn read(body: &[u8]) -> Result<Self, Unreadable> {
        let unreadable = |error: serde_json::Error| Unreadable(error.to_string());
        let mut body: Value = serde_json::from_slice(body).map_err(unreadable)?;
        let mut take = |path: &str| body.pointer_mut(path).map(Value::take).unwrap_or_default();
        let (object, old) = (take("/request/object"), take("/request/oldObject"));
        let review = AdmissionReview::<DynamicObject>::deserialize(body).map_err(unreadable)?;
        if review.types.api_version != "admission.k8s.io/v1" || review.types.kind != "AdmissionReview" {
            return Err(Unreadable(format!("it is a {} of {}", review.types.kind, review.types.api_version)));
        }
        let request = review.try_into().map_err(|_| Unreadable("it has no request".to_owned()))?;
        Ok(Self { request, object, old })
    }
}
