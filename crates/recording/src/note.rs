//! Checkpoints as C2SP signed notes (`c2sp.org/tlog-checkpoint`, `c2sp.org/signed-note`).
//!
//! The body is origin, size, root and one extension line with the times of the entry that carries it, so that the
//! signature fixes every byte of that entry. Further signature lines, such as a countersignature, are carried.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::chain::{Hash, Head};
use crate::keys::{SigningKey, VerifyingKey, valid_name};

/// Most signature lines in a note (C2SP asks for at least 16).
const MAX_SIGNATURES: usize = 16;
const DASH: &str = "\u{2014} ";

/// Text and its signature lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedNote {
    /// Ends in a newline.
    text: String,
    signatures: Vec<Signature>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Signature {
    name: String,
    id: u32,
    bytes: Vec<u8>,
}

/// What a key says of a note.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signed {
    Valid,
    /// It carries a signature in the name of this key that is not one.
    Invalid,
    /// No signature line is in the name of this key.
    Absent,
}

impl SignedNote {
    /// Signs `text`, which must end in a newline.
    pub fn sign(text: String, key: &SigningKey) -> Self {
        let mut note = Self { text, signatures: Vec::new() };
        note.add(key);
        note
    }

    /// Adds a signature line, for example that of a witness.
    pub fn add(&mut self, key: &SigningKey) {
        let public = key.public();
        let bytes = key.sign(self.text.as_bytes());
        self.signatures.push(Signature { name: public.name().to_owned(), id: public.id(), bytes });
    }

    /// Reads a note; none when it is not one, to the letter.
    pub fn parse(note: &str) -> Option<Self> {
        let (text, signatures) = note.rsplit_once("\n\n")?;
        let signatures =
            signatures.strip_suffix('\n')?.split('\n').map(Signature::parse).collect::<Option<Vec<_>>>()?;
        let control = text.chars().any(|c| c.is_control() && c != '\n');
        let fits = !control && !text.is_empty() && signatures.len() <= MAX_SIGNATURES;
        fits.then(|| Self { text: format!("{text}\n"), signatures })
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// How many signature lines it carries.
    pub fn signatures(&self) -> usize {
        self.signatures.len()
    }

    pub fn signed(&self, key: &VerifyingKey) -> Signed {
        let ours = || self.signatures.iter().filter(|s| s.name == key.name() && s.id == key.id());
        match ours().next() {
            None => Signed::Absent,
            Some(_) if ours().all(|s| key.verify(self.text.as_bytes(), &s.bytes)) => Signed::Valid,
            Some(_) => Signed::Invalid,
        }
    }
}

impl std::fmt::Display for SignedNote {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{}", self.text)?;
        self.signatures.iter().try_for_each(|s| {
            let bytes = [s.id.to_be_bytes().as_slice(), s.bytes.as_slice()].concat();
            writeln!(f, "{DASH}{} {}", s.name, STANDARD.encode(bytes))
        })
    }
}

impl Signature {
    fn parse(line: &str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(DASH)?.split_once(' ')?;
        let bytes = STANDARD.decode(encoded).ok()?;
        let (id, bytes) = bytes.split_first_chunk()?;
        valid_name(name).then(|| Self { name: name.to_owned(), id: u32::from_be_bytes(*id), bytes: bytes.to_vec() })
    }
}

/// The body of a checkpoint note.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointText {
    /// Name of the key that signs.
    pub origin: String,
    pub head: Head,
    /// Times of the entry that carries the note.
    pub mono_ns: u64,
    pub wall: String,
}

impl CheckpointText {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let (origin, size, root, times) = (lines.next()?, lines.next()?, lines.next()?, lines.next()?);
        let (mono, wall) = times.strip_prefix("agentaccess.dev/entry ")?.split_once(' ')?;
        let parsed = Self {
            origin: origin.to_owned(),
            head: Head { size: size.parse().ok()?, root: Hash::from_base64(root)? },
            mono_ns: mono.parse().ok()?,
            wall: wall.to_owned(),
        };
        // One spelling only: `+7` and `007` are numbers to the parser but not what we write.
        (lines.next().is_none() && parsed.to_string() == text).then_some(parsed)
    }
}

impl std::fmt::Display for CheckpointText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { origin, head, mono_ns, wall } = self;
        writeln!(f, "{origin}\n{}\n{}\nagentaccess.dev/entry {mono_ns} {wall}", head.size, head.root.to_base64())
    }
}

/// The head that a note of a witness vouches for, as `verify` takes it.
///
/// None unless `note` is a checkpoint with a valid signature of `witness`.
pub fn countersigned_head(note: &str, witness: &VerifyingKey) -> Option<Head> {
    let note = SignedNote::parse(note)?;
    let text = CheckpointText::parse(note.text())?;
    (note.signed(witness) == Signed::Valid).then_some(text.head)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(key: &SigningKey) -> CheckpointText {
        let head = Head { size: 12, root: Hash::of(b"r") };
        let wall = "2026-11-21T09:14:03.120Z".to_owned();
        CheckpointText { origin: key.public().name().to_owned(), head, mono_ns: 5, wall }
    }

    #[test]
    fn round_trip_and_countersignature() {
        let (ours, witness) = (SigningKey::generate("ours").unwrap(), SigningKey::generate("witness").unwrap());
        let text = text(&ours);
        let mut note = SignedNote::sign(text.to_string(), &ours);
        assert_eq!(note.signed(witness.public()), Signed::Absent);
        assert_eq!(countersigned_head(&note.to_string(), witness.public()), None);
        note.add(&witness);
        let parsed = SignedNote::parse(&note.to_string()).unwrap();
        assert_eq!(parsed, note);
        assert_eq!(parsed.signed(ours.public()), Signed::Valid);
        assert_eq!(CheckpointText::parse(parsed.text()).unwrap(), text);
        assert_eq!(countersigned_head(&note.to_string(), witness.public()), Some(text.head));
    }

    #[test]
    fn every_bit_of_a_note_counts() {
        let key = SigningKey::generate("ours").unwrap();
        let note = SignedNote::sign(text(&key).to_string(), &key).to_string().into_bytes();
        for at in 0..note.len() * 8 {
            let mut bad = note.clone();
            bad[at / 8] ^= 1 << (at % 8);
            let valid = String::from_utf8(bad)
                .ok()
                .and_then(|n| SignedNote::parse(&n))
                .is_some_and(|n| n.signed(key.public()) == Signed::Valid);
            assert!(!valid, "bit {at}");
        }
    }
}
