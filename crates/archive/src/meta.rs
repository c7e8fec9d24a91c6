//! Whose recording it is: written once, at first contact.
//!
//! The store could be made to say another key. So the witness signs, with each head, a note that binds the key to the
//! pod: [`Meta::bound`] renders it and [`Meta::is_bound`] reads it.

use jiff::Timestamp;
use recording::note::{Signed, SignedNote};
use recording::{SigningKey, VerifyingKey};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::id::RecordingId;

pub(crate) const VERSION: u8 = 1;
/// Longest name that Kubernetes gives anything, and room.
const MAX_NAME: usize = 512;

/// What is known of a recording before its first entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Name of the pod.
    pub pod: String,
    pub service_account: String,
    /// Signs the checkpoints of the recording.
    pub key: VerifyingKey,
    /// Time of first contact.
    pub begun: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Text {
    version: u8,
    pod: String,
    service_account: String,
    key: String,
    begun: String,
}

impl Meta {
    pub(crate) fn is_sane(&self) -> bool {
        let plain = |text: &str| text.len() <= MAX_NAME && !text.chars().any(char::is_control);
        plain(&self.pod) && plain(&self.service_account)
    }

    pub(crate) fn render(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(&Text {
            version: VERSION,
            pod: self.pod.clone(),
            service_account: self.service_account.clone(),
            key: self.key.to_string(),
            begun: self.begun.to_string(),
        })
    }

    pub(crate) fn parse(object: &str, bytes: &[u8]) -> Result<Self, StoreError> {
        let damaged = |what: String| StoreError::Damaged { object: object.to_owned(), what };
        let text: Text = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        if text.version != VERSION {
            return Err(newer(object, text.version));
        }
        let key = text.key.parse().map_err(|_| damaged("its key is none".to_owned()))?;
        let begun = text.begun.parse().map_err(|_| damaged("its time is none".to_owned()))?;
        let meta = Self { pod: text.pod, service_account: text.service_account, key, begun };
        if meta.is_sane() { Ok(meta) } else { Err(damaged("a name in it is too long".to_owned())) }
    }

    /// A note of the witness: the recording of this pod is that of this key.
    pub(crate) fn bound(&self, id: &RecordingId, witness: &SigningKey) -> String {
        SignedNote::sign(self.binding(id), witness).to_string()
    }

    /// Whether `note` is one of `witness` that binds this key to this pod.
    pub(crate) fn is_bound(&self, id: &RecordingId, note: &str, witness: &VerifyingKey) -> bool {
        SignedNote::parse(note)
            .is_some_and(|note| note.text() == self.binding(id) && note.signed(witness) == Signed::Valid)
    }

    fn binding(&self, id: &RecordingId) -> String {
        let Self { pod, service_account, key, begun } = self;
        format!("agentaccess.dev/recording\n{id}\n{pod}\n{service_account}\n{key}\n{begun}\n")
    }
}

pub(crate) fn newer(object: &str, version: u8) -> StoreError {
    let what = format!("it has version {version} of the format, this program knows {VERSION}: use a newer one");
    StoreError::Damaged { object: object.to_owned(), what }
}
