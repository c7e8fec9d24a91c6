//! What counts for this pod, as the operator says it, compiled again here.
//!
//! Refused as a whole: an object that is not understood, that does not compile, or that is no kind of ours; more of
//! them, or longer ones, than the contract allows; a subject without a name. Nothing of a refused snapshot counts.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use control::v1;
use crds::manifest::{self, Kind, MAX_OBJECT_BYTES, Manifest, Secret, SecretBytes};
use policy::subject::Subject;

use super::report::Forms;
use crate::objects::Objects;
use crate::secret::Held;

/// Ages beyond these are not meant: an operator that is away for a day has no say, and one second is a storm.
const AGES: std::ops::RangeInclusive<u32> = 10..=24 * 60 * 60;

/// A snapshot that may be put in force.
#[derive(Debug)]
pub struct Received {
    /// The operator's word for it, said back to it.
    pub revision: String,
    pub subject: Subject,
    pub held: Held,
    pub max_age: Duration,
    /// The form of each policy, for what is said back of its rules.
    pub(super) forms: Forms,
}

/// Everything that is wrong with a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unusable(pub Vec<String>);

impl std::error::Error for Unusable {}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the operator's snapshot is not usable: {}", self.0.join("; "))
    }
}

impl TryFrom<v1::Snapshot> for Received {
    type Error = Unusable;

    fn try_from(snapshot: v1::Snapshot) -> Result<Self, Unusable> {
        let v1::Snapshot { revision, subject, objects, secrets, max_policy_age_seconds } = snapshot;
        let mut wrong = Vec::new();
        if objects.len() > control::OBJECTS {
            return Err(Unusable(vec![format!("{} objects, of {} at most", objects.len(), control::OBJECTS)]));
        }
        let subject = subject.map(subject_of).unwrap_or_default();
        if subject.namespace.is_empty() || subject.service_account.is_empty() || subject.pod_uid.is_none() {
            wrong.push("subject: it must name namespace, service account and pod".to_owned());
        }
        if !AGES.contains(&max_policy_age_seconds) {
            let (least, most) = (AGES.start(), AGES.end());
            wrong.push(format!("max_policy_age_seconds: {max_policy_age_seconds} is not within {least} to {most}"));
        }
        let (mut read, mut forms) = (Objects::default(), Forms::new());
        for (index, object) in objects.iter().enumerate() {
            match object_of(object) {
                Ok(manifest) => {
                    let cluster = manifest.kind() == Kind::ClusterAgentAccessPolicy;
                    if cluster || manifest.kind() == Kind::AgentAccessPolicy {
                        forms.insert((cluster, manifest.name().to_owned()), control::object_revision(object));
                    }
                    read.add(manifest);
                }
                Err(error) => wrong.push(format!("objects[{index}]: {error}")),
            }
        }
        for v1::Secret { namespace, name, data } in secrets {
            let data = data.into_iter().map(|(key, value)| (key, SecretBytes::new(value))).collect();
            read.add(Manifest::Secret(Secret { namespace, name, data }));
        }
        let Objects { input, secrets } = read;
        match policy::compile(&input) {
            Ok(set) if wrong.is_empty() => {
                let max_age = Duration::from_secs(max_policy_age_seconds.into());
                Ok(Self { revision, subject, held: Held { set, secrets }, max_age, forms })
            }
            Ok(_) => Err(Unusable(wrong)),
            Err(errors) => {
                wrong.extend(errors.iter().map(ToString::to_string));
                Err(Unusable(wrong))
            }
        }
    }
}

fn subject_of(subject: v1::Subject) -> Subject {
    let some = |text: String| (!text.is_empty()).then_some(text);
    Subject {
        namespace: subject.namespace,
        service_account: subject.service_account,
        labels: subject.labels.into_iter().collect(),
        namespace_labels: subject.namespace_labels.into_iter().collect(),
        pod: some(subject.pod),
        pod_uid: some(subject.pod_uid),
    }
}

/// One object, as JSON. Secrets have a place of their own, so that none is ever parsed as text.
fn object_of(json: &[u8]) -> Result<Manifest, String> {
    if json.len() > MAX_OBJECT_BYTES {
        return Err(format!("{} bytes, of {MAX_OBJECT_BYTES} at most", json.len()));
    }
    let text = std::str::from_utf8(json).map_err(|_| "it is not UTF-8".to_owned())?;
    // JSON is read by JSON's rules first: the reader of files takes all of YAML.
    serde_json::from_str::<serde::de::IgnoredAny>(text).map_err(|error| format!("it is not JSON: {error}"))?;
    let mut found = manifest::parse(text, Path::new("the operator"), "").map_err(|errors| {
        errors.0.iter().map(|error| format!("{} {}", error.path, error.problem)).collect::<Vec<_>>().join("; ")
    })?;
    match (found.pop().map(|located| located.manifest), found.is_empty()) {
        (Some(Manifest::Secret(_)), _) => Err("it is a Secret".to_owned()),
        (Some(manifest), true) => Ok(manifest),
        _ => Err("it is not one object".to_owned()),
    }
}
