//! A vote as it is stored: the value of one annotation, signed.
//!
//! Refused is everything but the very text that we write: other orders, other spaces, a key twice, unknown keys. So one
//! record has one text, and the signature is over that text with all that is in it: who, what, why, when, on which
//! policies, and of which request. `user` comes first, for the second wall compares it there.

use aws_lc_rs::hmac;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::hex;

/// What is signed besides the record, so that no other signature of ours with this key could be one.
const PURPOSE: &[u8] = b"agentaccess.dev/v1alpha1 approval record\n";
const BEFORE_MAC: &str = ",\"mac\":\"hmac-sha256:";
const AFTER_MAC: &str = "\"}";
const MAC_DIGITS: usize = 64;
/// Longer than any that we write.
const LONGEST: usize = 16 * 1024;

/// Of the installation; signs and proves.
#[derive(Clone)]
pub(super) struct Key(hmac::Key);

#[derive(Serialize, Deserialize, Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "lowercase")]
pub(super) enum Word {
    Approve,
    Deny,
    Revoke,
    #[serde(rename = "break-glass")]
    BreakGlass,
}

/// What one person said about one request. The order of the fields is the order in the text.
#[derive(Serialize, Deserialize, Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    pub(super) user: String,
    /// Empty for users of certificates.
    pub(super) uid: String,
    /// `sha256:HEX` of what the API server says of the credential, or empty.
    pub(super) credential: String,
    pub(super) decision: Word,
    /// For which it counts, as `Kind/name`.
    pub(super) policies: Vec<String>,
    /// Empty: none was given.
    pub(super) reason: String,
    /// For how long it grants at most, as a length of time; empty: as long as the policy lets it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) grant: String,
    /// RFC 3339.
    pub(super) time: String,
    /// UID of the ApprovalRequest.
    pub(super) request: String,
    /// `sha256:HEX` of its spec.
    pub(super) spec: String,
}

/// Why a record does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NotOurs {
    #[error("it is not written as we write it")]
    Form,
    #[error("its signature is not ours")]
    Signature,
    #[error("it belongs to another request")]
    Elsewhere,
}

// === impl Key ===

impl Key {
    pub(super) const BYTES: usize = 32;

    pub(super) fn new(bytes: &[u8; Self::BYTES]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, bytes))
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("<secret>")
    }
}

// === impl Record ===

impl Record {
    /// The text of the annotation.
    pub(super) fn sign(&self, key: &Key) -> Result<String, serde_json::Error> {
        let text = serde_json::to_string(self)?;
        let mac = hmac::sign(&key.0, &signed(&text));
        let open = text.strip_suffix('}').unwrap_or(&text);
        Ok([open, BEFORE_MAC, &hex(mac.as_ref()), AFTER_MAC].concat())
    }

    /// A record of ours of the request with this uid and spec.
    pub(super) fn read(text: &str, key: &Key, request: &str, spec: &str) -> Result<Self, NotOurs> {
        let (claims, mac) = split(text).ok_or(NotOurs::Form)?;
        let record: Self = serde_json::from_str(&claims).map_err(|_| NotOurs::Form)?;
        if serde_json::to_string(&record).ok().as_ref() != Some(&claims) {
            return Err(NotOurs::Form);
        }
        hmac::verify(&key.0, &signed(&claims), &mac).map_err(|_| NotOurs::Signature)?;
        if record.request != request || record.spec != spec {
            return Err(NotOurs::Elsewhere);
        }
        record.at().ok_or(NotOurs::Form)?;
        Ok(record)
    }

    pub(super) fn at(&self) -> Option<Timestamp> {
        self.time.parse().ok()
    }

    /// Under the same name, or under the same uid: the stricter reading of "one person counts once".
    pub(super) fn is_by(&self, user: &str, uid: &str) -> bool {
        self.user == user || (!uid.is_empty() && self.uid == uid)
    }
}

fn signed(claims: &str) -> Vec<u8> {
    [PURPOSE, claims.as_bytes()].concat()
}

/// The record without its signature, and the signature.
fn split(text: &str) -> Option<(String, Vec<u8>)> {
    if text.len() > LONGEST {
        return None;
    }
    let rest = text.strip_suffix(AFTER_MAC)?;
    let (rest, digits) = rest.split_at_checked(rest.len().checked_sub(MAC_DIGITS)?)?;
    let open = rest.strip_suffix(BEFORE_MAC)?;
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => byte.checked_sub(b'0'),
        b'a'..=b'f' => byte.checked_sub(b'a')?.checked_add(10),
        _ => None,
    };
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    };
    let mac: Option<Vec<u8>> = digits.as_bytes().chunks(2).map(pair).collect();
    Some((format!("{open}}}"), mac?))
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in crate::approvals) fn key(seed: u8) -> Key {
        Key::new(&[seed; 32])
    }

    pub(in crate::approvals) fn record(user: &str, decision: Word) -> Record {
        Record {
            user: user.to_owned(),
            uid: format!("uid-of-{user}"),
            credential: String::new(),
            decision,
            policies: vec!["AgentAccessPolicy/support".to_owned()],
            reason: "INC-1".to_owned(),
            grant: String::new(),
            time: "2027-01-15T08:00:00.000Z".to_owned(),
            request: "r-1".to_owned(),
            spec: "sha256:00".to_owned(),
        }
    }

    fn read(text: &str) -> Result<Record, NotOurs> {
        Record::read(text, &key(1), "r-1", "sha256:00")
    }

    #[test]
    fn what_is_signed_is_read_and_begins_with_the_user() {
        for user in ["alice", "CORP\\alice", "o\"brien", "zoë", "{\"user\":\"x\"}"] {
            let record = record(user, Word::Approve);
            let text = record.sign(&key(1)).unwrap();
            let name = user.replace('\\', "\\\\").replace('"', "\\\"");
            // Rule 3 of the second wall.
            assert!(text.starts_with(&format!("{{\"user\":\"{name}\",")), "{text}");
            assert_eq!(read(&text), Ok(record));
        }
    }

    #[test]
    fn a_record_of_an_earlier_version_still_counts() {
        let text = record("alice", Word::Approve).sign(&key(1)).unwrap();
        assert!(!text.contains("grant"), "{text}");
        let shorter = Record { grant: "10m".to_owned(), ..record("alice", Word::BreakGlass) };
        let text = shorter.sign(&key(1)).unwrap();
        // What the second wall looks for.
        assert!(text.contains("\"decision\":\"break-glass\""), "{text}");
        assert_eq!(read(&text), Ok(shorter));
        // No text of a person's can look like it.
        let quoted = Record { reason: "\"decision\":\"break-glass\"".to_owned(), ..record("alice", Word::Approve) };
        assert!(!quoted.sign(&key(1)).unwrap().contains("\"decision\":\"break-glass\""));
    }

    #[test]
    fn only_our_own_text_is_a_record() {
        let text = record("alice", Word::Approve).sign(&key(1)).unwrap();
        let mac = text.rsplit(':').next().unwrap();
        let table = [
            (String::new(), NotOurs::Form),
            ("{}".to_owned(), NotOurs::Form),
            (format!(" {text}"), NotOurs::Form),
            (format!("{text} "), NotOurs::Form),
            (text.replacen("\"user\":\"alice\",", "\"user\":\"alice\",\"user\":\"alice\",", 1), NotOurs::Form),
            (text.replacen("\"user\":\"alice\",", "\"user\":\"bob\",\"user\":\"alice\",", 1), NotOurs::Form),
            (text.replacen("\"reason\"", "\"more\":1,\"reason\"", 1), NotOurs::Form),
            (text.replacen(",\"reason\":\"INC-1\"", "", 1), NotOurs::Form),
            (text.replacen("\"reason\":\"INC-1\",", "", 1).replacen('{', "{\"reason\":\"INC-1\",", 1), NotOurs::Form),
            (text.replacen(':', ": ", 1), NotOurs::Form),
            (text.replacen("alice", "\\u0061lice", 1), NotOurs::Form),
            (text.replacen("approve", "repeal", 1), NotOurs::Form),
            (text.replacen("\"INC-1\",", "\"INC-1\",\"grant\":\"\",", 1), NotOurs::Form),
            (text.replacen("\"INC-1\",", "\"INC-1\",\"grant\":\"1h\",", 1), NotOurs::Signature),
            (text.replacen("approve", "revoke", 1), NotOurs::Signature),
            (text.replacen("approve", "break-glass", 1), NotOurs::Signature),
            (text.replace(mac, &mac.to_uppercase()), NotOurs::Form),
            (text.replacen("INC-1", "INC-2", 1), NotOurs::Signature),
            (text.replacen("approve", "deny", 1), NotOurs::Signature),
            (text.replacen("alice", "bob", 1), NotOurs::Signature),
            (text.replacen("support", "other", 1), NotOurs::Signature),
            (record("alice", Word::Approve).sign(&key(2)).unwrap(), NotOurs::Signature),
        ];
        for (text, why) in table {
            assert_eq!(read(&text), Err(why), "{text}");
        }
        // With a signature of ours, but for another request or another spec.
        assert_eq!(Record::read(&text, &key(1), "r-2", "sha256:00"), Err(NotOurs::Elsewhere));
        assert_eq!(Record::read(&text, &key(1), "r-1", "sha256:01"), Err(NotOurs::Elsewhere));
        let undated = Record { time: "soon".to_owned(), ..record("alice", Word::Approve) };
        assert_eq!(read(&undated.sign(&key(1)).unwrap()), Err(NotOurs::Form));
    }

    proptest! {
        #[test]
        fn any_edited_byte_fails(user in ".{1,20}", reason in ".{0,20}", at in any::<prop::sample::Index>(), to in any::<u8>()) {
            let record = Record { reason, ..record(&user, Word::Approve) };
            let text = record.sign(&key(1)).unwrap();
            prop_assert_eq!(read(&text), Ok(record));
            let mut bytes = text.clone().into_bytes();
            let at = at.index(bytes.len());
            prop_assume!(bytes[at] != to);
            bytes[at] = to;
            if let Ok(edited) = String::from_utf8(bytes) {
                prop_assert!(read(&edited).is_err(), "{}", edited);
            }
        }

        #[test]
        fn two_records_never_have_one_text(a in "[a\",\\\\]{0,6}", b in "[a\",\\\\]{0,6}", c in "[a\",\\\\]{0,6}", d in "[a\",\\\\]{0,6}") {
            let of = |user: &str, uid: &str| Record { uid: uid.to_owned(), ..record(user, Word::Approve) }.sign(&key(1)).unwrap();
            prop_assert_eq!(of(&a, &b) == of(&c, &d), (a, b) == (c, d));
        }

        #[test]
        fn no_text_panics(text in ".{0,200}") {
            prop_assert!(read(&text).is_err());
        }
    }
}
