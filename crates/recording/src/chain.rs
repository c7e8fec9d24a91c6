//! The hash chain over lines and the Merkle tree over their hashes.
//!
//! `prev` of a line is the SHA-256 of the line before as written, newline included. The tree is that of RFC 6962
//! section 2.1; its leaf N is the hash of the line with `seq` N, so a tree of size S covers the lines 0 to S-1. Only
//! O(log n) hashes are held.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256, digest};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// A SHA-256 value.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// SHA-256 of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_slice(digest(&SHA256, bytes).as_ref())
    }

    fn of_parts(parts: &[&[u8]]) -> Self {
        let mut context = Context::new(&SHA256);
        parts.iter().for_each(|part| context.update(part));
        Self::from_slice(context.finish().as_ref())
    }

    fn from_slice(bytes: &[u8]) -> Self {
        let mut out = [0; 32];
        out.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        Self(out)
    }

    /// 64 lower case hexadecimal digits.
    pub fn to_hex(&self) -> String {
        const DIGITS: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
        let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or_default();
        self.0.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
    }

    /// From 64 lower case hexadecimal digits; anything else is none.
    pub fn from_hex(text: &str) -> Option<Self> {
        let nibble = |c: &u8| match c {
            b'0'..=b'9' => Some(c - b'0'),
            b'a'..=b'f' => Some(c - b'a' + 10),
            _ => None,
        };
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
        let bytes: Option<Vec<u8>> = pairs.iter().map(|[hi, lo]| Some((nibble(hi)? << 4) | nibble(lo)?)).collect();
        bytes?.try_into().ok().map(Self)
    }

    /// From the `prev` of a line.
    pub(crate) fn from_prev(text: &str) -> Option<Self> {
        text.strip_prefix("sha256:").and_then(Self::from_hex)
    }

    /// As C2SP writes a root: standard base64, padded.
    pub fn to_base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    pub fn from_base64(text: &str) -> Option<Self> {
        STANDARD.decode(text).ok()?.try_into().ok().map(Self)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "sha256:{}", self.to_hex())
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How long the recording is and the Merkle root over it; `SIZE:ROOT` when shown, the root in base64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// How many lines.
    pub size: u64,
    pub root: Hash,
}

impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.size, self.root.to_base64())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a head is written SIZE:ROOT, as printed at each checkpoint")]
pub struct HeadError;

impl std::str::FromStr for Head {
    type Err = HeadError;

    fn from_str(text: &str) -> Result<Self, HeadError> {
        let (size, root) = text.split_once(':').ok_or(HeadError)?;
        Ok(Self { size: size.parse().map_err(|_| HeadError)?, root: Hash::from_base64(root).ok_or(HeadError)? })
    }
}

/// Where the chain stands: next `seq`, hash of the last line, and the tree over all lines.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    size: u64,
    last: Hash,
    /// Roots of the perfect subtrees that cover the lines, largest first; one for each bit set in `size`.
    frontier: Vec<Hash>,
}

impl Chain {
    /// As it stands after `size` lines, the hash of the last of which is `last`. None when the frontier does not fit.
    pub fn resume(size: u64, last: Hash, frontier: Vec<Hash>) -> Option<Self> {
        let fits = u32::try_from(frontier.len()).is_ok_and(|n| n == size.count_ones());
        fits.then_some(Self { size, last, frontier })
    }

    /// `seq` of the next line, which is the number of lines.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Hash of the last line; `prev` of the next.
    pub fn last(&self) -> Hash {
        self.last
    }

    pub fn frontier(&self) -> &[Hash] {
        &self.frontier
    }

    /// Adds one line, given with its newline.
    pub fn push(&mut self, line: &[u8]) {
        self.push_hash(Hash::of(line));
    }

    /// Adds one line by its hash.
    pub fn push_hash(&mut self, line: Hash) {
        self.last = line;
        let mut node = Hash::of_parts(&[&[0], &line.0]);
        for _ in 0..self.size.trailing_ones() {
            if let Some(left) = self.frontier.pop() {
                node = Hash::of_parts(&[&[1], &left.0, &node.0]);
            }
        }
        self.frontier.push(node);
        self.size += 1;
    }

    /// RFC 6962 root; that of the empty tree is the hash of nothing.
    pub fn root(&self) -> Hash {
        let mut right_to_left = self.frontier.iter().rev();
        let Some(&last) = right_to_left.next() else { return Hash::of(b"") };
        right_to_left.fold(last, |node, left| Hash::of_parts(&[&[1], &left.0, &node.0]))
    }

    pub fn head(&self) -> Head {
        Head { size: self.size, root: self.root() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6962 section 2.1, word for word.
    fn reference(leaves: &[Hash]) -> Hash {
        match leaves {
            [] => Hash::of(b""),
            [one] => Hash::of_parts(&[&[0], &one.0]),
            many => {
                let k = many.len().next_power_of_two() / 2;
                Hash::of_parts(&[&[1], &reference(&many[..k]).0, &reference(&many[k..]).0])
            }
        }
    }

    #[test]
    fn incremental_root_equals_the_definition() {
        let mut chain = Chain::default();
        let mut leaves = Vec::new();
        for n in 0..300_u32 {
            assert_eq!(chain.root(), reference(&leaves), "size {n}");
            let line = n.to_be_bytes();
            leaves.push(Hash::of(&line));
            chain.push(&line);
            let again = Chain::resume(chain.size(), chain.last(), chain.frontier().to_vec());
            assert_eq!(again.as_ref(), Some(&chain));
        }
    }

    #[test]
    fn text_forms_round_trip_and_refuse_the_rest() {
        let head = Head { size: 7, root: Hash::of(b"x") };
        assert_eq!(head.to_string().parse(), Ok(head));
        assert_eq!(Hash::from_hex(&head.root.to_hex()), Some(head.root));
        for bad in ["", "7", "7:", "x:AAAA", "-1:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="] {
            assert_eq!(bad.parse::<Head>(), Err(HeadError), "{bad}");
        }
        assert_eq!(Hash::from_hex(&"AB".repeat(32)), None, "one spelling only");
        assert_eq!(Hash::from_hex("ab"), None);
    }

    #[test]
    fn a_frontier_that_does_not_fit_is_refused() {
        assert_eq!(Chain::resume(3, Hash::default(), vec![Hash::default()]), None);
    }
}
