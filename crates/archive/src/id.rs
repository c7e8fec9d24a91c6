//! Which recording: a pod, by namespace and UID.
//!
//! Refused: anything that is not letters, digits and hyphens, so that no id leads out of its folder or into another.

use std::fmt;
use std::str::FromStr;

/// Longest UID; that of a static pod is shorter still.
const MAX_UID: usize = 64;
/// Longest name of a namespace, as Kubernetes has it.
const MAX_NAMESPACE: usize = 63;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    #[error("a namespace is 1 to 63 lower case letters, digits and hyphens")]
    Namespace,
    #[error("a pod's UID is 1 to 64 letters, digits and hyphens")]
    PodUid,
    #[error("a recording is named NAMESPACE/POD-UID")]
    Form,
}

/// A pod whose recording is kept. Shown as `NAMESPACE/POD-UID`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordingId {
    namespace: String,
    pod_uid: String,
}

impl RecordingId {
    pub fn new(namespace: &str, pod_uid: &str) -> Result<Self, IdError> {
        let fits = |text: &str, most: usize| (1..=most).contains(&text.len());
        let lower = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if !fits(namespace, MAX_NAMESPACE) || !namespace.chars().all(lower) {
            return Err(IdError::Namespace);
        }
        if !fits(pod_uid, MAX_UID) || !pod_uid.chars().all(|c| c.is_ascii_alphanumeric() || c == '-') {
            return Err(IdError::PodUid);
        }
        Ok(Self { namespace: namespace.to_owned(), pod_uid: pod_uid.to_owned() })
    }

    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    pub fn pod_uid(&self) -> &str {
        &self.pod_uid
    }
}

impl fmt::Display for RecordingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.pod_uid)
    }
}

impl FromStr for RecordingId {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        let (namespace, pod_uid) = text.split_once('/').ok_or(IdError::Form)?;
        Self::new(namespace, pod_uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_its_folder() {
        let id: RecordingId = "agents/5f0c2a4e-7b1d-4c8e-9a63-0d2f6e1b7c55".parse().unwrap();
        assert_eq!(id.to_string().parse(), Ok(id));
        let long = "a".repeat(64);
        for (namespace, uid, error) in [
            ("", "u", IdError::Namespace),
            ("..", "u", IdError::Namespace),
            ("A", "u", IdError::Namespace),
            (long.as_str(), "u", IdError::Namespace),
            ("a", "", IdError::PodUid),
            ("a", "..", IdError::PodUid),
            ("a", "u/../v", IdError::PodUid),
            ("a", "u%2f", IdError::PodUid),
            ("a", "u\0", IdError::PodUid),
        ] {
            assert_eq!(RecordingId::new(namespace, uid), Err(error), "{namespace}/{uid}");
        }
        assert_eq!("agents".parse::<RecordingId>(), Err(IdError::Form));
        assert_eq!("a/b/c".parse::<RecordingId>(), Err(IdError::PodUid));
    }
}
