//! A countersigned state: what the witness vouches for, and what it needs to judge the next.

use recording::chain::{Chain, Hash};
use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::meta::{VERSION, newer};

/// A note is about 400 bytes, the frontier at most 64 hashes.
pub(crate) const MAX_HEAD: u64 = 64 << 10;

/// State of a chain as it is stored.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ChainText {
    pub(crate) size: u64,
    last: String,
    frontier: Vec<String>,
}

impl From<&Chain> for ChainText {
    fn from(chain: &Chain) -> Self {
        let frontier = chain.frontier().iter().map(Hash::to_base64).collect();
        Self { size: chain.size(), last: chain.last().to_base64(), frontier }
    }
}

impl ChainText {
    pub(crate) fn chain(&self) -> Option<Chain> {
        let frontier = self.frontier.iter().map(|node| Hash::from_base64(node)).collect::<Option<_>>()?;
        Chain::resume(self.size, Hash::from_base64(&self.last)?, frontier)
    }
}

#[derive(Serialize, Deserialize, Clone, Debug)]
#[serde(rename_all = "camelCase")]
struct Text {
    version: u8,
    chain: ChainText,
    note: String,
    binding: String,
}

/// The chain at the size of `note`, which the key of the recording and the witness signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) chain: Chain,
    pub(crate) note: String,
    /// The witness's note about whose key it is.
    pub(crate) binding: String,
}

impl Head {
    pub(crate) fn render(&self) -> Result<Vec<u8>, serde_json::Error> {
        let (note, binding) = (self.note.clone(), self.binding.clone());
        serde_json::to_vec(&Text { version: VERSION, chain: (&self.chain).into(), note, binding })
    }

    pub(crate) fn parse(object: &str, bytes: &[u8]) -> Result<Self, StoreError> {
        let damaged = |what: String| StoreError::Damaged { object: object.to_owned(), what };
        let text: Text = serde_json::from_slice(bytes).map_err(|error| damaged(error.to_string()))?;
        if text.version != VERSION {
            return Err(newer(object, text.version));
        }
        let chain = text.chain.chain().ok_or_else(|| damaged("its frontier does not fit its size".to_owned()))?;
        Ok(Self { chain, note: text.note, binding: text.binding })
    }
}
