//! What both sides call one form of an object, and one snapshot, without sending it.

use aws_lc_rs::digest;

const ALGORITHM: &str = "sha256:";
/// Of an object: enough to tell its forms apart, short enough to be read.
const SHORT: usize = 12;

/// Of an object of a snapshot, over the bytes in which it is sent.
pub fn object_revision(json: &[u8]) -> String {
    let hash = digest::digest(&digest::SHA256, json);
    let hex: String = hash.as_ref().iter().map(|byte| format!("{byte:02x}")).take(SHORT / 2).collect();
    format!("{ALGORITHM}{hex}")
}

/// Of the roots that come with a certificate, in their order.
pub fn roots_mark<T: AsRef<[u8]>>(roots: impl IntoIterator<Item = T>) -> Vec<u8> {
    let mut hash = digest::Context::new(&digest::SHA256);
    for root in roots {
        // Each apart: the hash of a hash has one length.
        hash.update(digest::digest(&digest::SHA256, root.as_ref()).as_ref());
    }
    hash.finish().as_ref().to_vec()
}

/// The beginning of a snapshot's revision, which says for which pod and what content it is. No two snapshots that
/// anybody meets have one mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark(pub [u8; Self::BYTES]);

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this is not a revision: sha256: and 64 digits of a-f and 0-9 are")]
pub struct NotARevision;

impl Mark {
    pub const BYTES: usize = 12;
}

impl std::str::FromStr for Mark {
    type Err = NotARevision;

    fn from_str(text: &str) -> Result<Self, NotARevision> {
        let hex = text.strip_prefix(ALGORITHM).ok_or(NotARevision)?.as_bytes();
        let digit = |byte: u8| match byte {
            b'0'..=b'9' => Ok(byte.wrapping_sub(b'0')),
            b'a'..=b'f' => Ok(byte.wrapping_sub(b'a').wrapping_add(10)),
            _ => Err(NotARevision),
        };
        if hex.len() != 64 || hex.iter().any(|byte| digit(*byte).is_err()) {
            return Err(NotARevision);
        }
        let mut mark = [0; Self::BYTES];
        let (pairs, _) = hex.as_chunks::<2>();
        for (to, [high, low]) in mark.iter_mut().zip(pairs) {
            *to = digit(*high)? << 4 | digit(*low)?;
        }
        Ok(Self(mark))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_roots_and_another_order_of_them_have_another_mark() {
        let mark = |roots: &[&str]| roots_mark(roots);
        assert_eq!(mark(&["a", "b"]), mark(&["a", "b"]));
        let all = [mark(&[]), mark(&["a"]), mark(&["ab"]), mark(&["a", "b"]), mark(&["b", "a"])];
        let apart: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!((apart.len(), all[0].len()), (all.len(), 32));
    }

    #[test]
    fn a_form_of_an_object_has_one_short_name() {
        assert_eq!(object_revision(b"{}"), "sha256:44136fa355b3");
        assert_ne!(object_revision(b"{ }"), object_revision(b"{}"));
    }

    #[test]
    fn only_a_whole_revision_has_a_mark() {
        let hex = "00ff1234567890abcdef0011".to_owned() + &"e".repeat(40);
        let mark: Mark = format!("sha256:{hex}").parse().unwrap();
        assert_eq!(mark.0, [0x00, 0xff, 0x12, 0x34, 0x56, 0x78, 0x90, 0xab, 0xcd, 0xef, 0x00, 0x11]);
        for wrong in [
            "",
            "sha256:",
            &hex,
            &format!("sha256:{}", hex.trim_start_matches('0')),
            &format!("sha256:{hex}0"),
            &format!("sha256:{}", hex.to_uppercase()),
            &format!("sha256:{}", hex.replace("00ff", "00fg")),
            &format!("sha512:{hex}"),
        ] {
            assert_eq!(wrong.parse::<Mark>(), Err(NotARevision), "{wrong}");
        }
    }
}
