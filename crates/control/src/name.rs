//! The name that the operator writes into a pod's certificate, and by which it knows the pod afterwards.

use std::fmt;
use std::str::FromStr;

/// One pod over its whole life: `agentaccess://NAMESPACE/POD-UID`, a URI among the certificate's subject alternative
/// names (RFC 5280, section 4.2.1.6).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodName {
    namespace: String,
    uid: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not the name of a pod: agentaccess://NAMESPACE/POD-UID is")]
pub struct NotAPodName;

const SCHEME: &str = "agentaccess://";

impl PodName {
    /// `namespace` must be a DNS label (RFC 1123), `uid` a UUID in lower case, as the API server makes them.
    pub fn new(namespace: &str, uid: &str) -> Result<Self, NotAPodName> {
        match is_label(namespace) && is_uuid(uid) {
            true => Ok(Self { namespace: namespace.to_owned(), uid: uid.to_owned() }),
            false => Err(NotAPodName),
        }
    }

    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    pub fn uid(&self) -> &str {
        &self.uid
    }
}

impl fmt::Display for PodName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{SCHEME}{}/{}", self.namespace, self.uid)
    }
}

impl FromStr for PodName {
    type Err = NotAPodName;

    fn from_str(text: &str) -> Result<Self, NotAPodName> {
        let (namespace, uid) = text.strip_prefix(SCHEME).and_then(|rest| rest.split_once('/')).ok_or(NotAPodName)?;
        Self::new(namespace, uid)
    }
}

fn is_label(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte != b'-');
    text.len() <= 63 && text.bytes().all(inner) && edge(text.bytes().next()) && edge(text.bytes().next_back())
}

fn is_uuid(text: &str) -> bool {
    text.len() == 36
        && text.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte),
        })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const UID: &str = "0f8b1c9e-6a0d-4a57-9c1d-0123456789ab";

    #[test]
    fn what_is_not_exactly_ours_is_no_name() {
        for text in [
            "",
            "agentaccess://",
            "agentaccess://shop",
            &format!("agentaccess:///{UID}"),
            &format!("agentaccess://shop/{UID}/"),
            &format!("agentaccess://shop/x/{UID}"),
            &format!("agentaccess://Shop/{UID}"),
            &format!("agentaccess://-shop/{UID}"),
            &format!("agentaccess://shop./{UID}"),
            &format!("agentaccess://{}/{UID}", "a".repeat(64)),
            &format!("agentaccess://shop/{}", UID.to_uppercase()),
            &format!("spiffe://shop/{UID}"),
            &format!(" agentaccess://shop/{UID}"),
            &format!("agentaccess://shop/{UID}\0"),
        ] {
            assert_eq!(text.parse::<PodName>(), Err(NotAPodName), "{text:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(namespace in "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?") {
            let name = PodName::new(&namespace, UID).unwrap();
            prop_assert_eq!(name.to_string().parse(), Ok(name));
        }

        #[test]
        fn two_names_are_never_written_alike(a in "[a-z0-9/:-]{1,8}", b in "[a-z0-9/:-]{1,8}") {
            if let (Ok(a), Ok(b)) = (PodName::new(&a, UID), PodName::new(&b, UID)) {
                prop_assert_eq!(a == b, a.to_string() == b.to_string());
            }
        }
    }
}
