//! The key that signs checkpoints: made once, kept outside the recordings, in the text forms of C2SP signed-note.
//!
//! Refused: a key file that others may read, a name with a space or `+`, a key of another algorithm.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use aws_lc_rs::rand;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use zeroize::Zeroizing;

use crate::chain::Hash;

/// Ed25519 in C2SP signed-note.
const ALGORITHM: u8 = 1;
const PRIVATE: &str = "PRIVATE+KEY+";
/// A key file is about 130 bytes.
const MAX_FILE: u64 = 4096;

#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    #[error("key file `{}`: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("key file `{}` may be read by others (mode {mode:o}); set its mode to 600", path.display())]
    Exposed { path: PathBuf, mode: u32 },
    #[error("key file `{}` is not an Ed25519 signed-note key; restore it, or move it and the recordings away to start anew", path.display())]
    Malformed { path: PathBuf },
    #[error("`{0}` is not a public key of the form NAME+ID+BASE64; `agentaccess keys` prints it")]
    Public(String),
    #[error("`{0}` cannot name a key: use 1 to 100 visible characters without `+`")]
    Name(String),
    #[error("the system gave no randomness, so no key was made")]
    Randomness,
}

/// Signs checkpoints. The secret half is never shown.
pub struct SigningKey {
    pair: Ed25519KeyPair,
    public: VerifyingKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("public", &self.public).field("pair", &"<secret>").finish()
    }
}

impl SigningKey {
    /// The key in `path`; made there with mode 0600 when there is none, named `agentaccess-` and 8 random digits.
    ///
    /// Keep `path` outside the directory of the recordings: who can replace both can forge both.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyError> {
        match Self::load(path) {
            Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => Self::create(path),
            loaded => loaded,
        }
    }

    pub fn load(path: &Path) -> Result<Self, KeyError> {
        let io = |source| KeyError::Io { path: path.to_owned(), source };
        let file = File::open(path).map_err(io)?;
        let mode = file.metadata().map_err(io)?.mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeyError::Exposed { path: path.to_owned(), mode });
        }
        let mut text = Zeroizing::new(String::new());
        file.take(MAX_FILE).read_to_string(&mut text).map_err(io)?;
        Self::parse(text.trim_end()).ok_or_else(|| KeyError::Malformed { path: path.to_owned() })
    }

    /// A new key in memory.
    pub fn generate(name: &str) -> Result<Self, KeyError> {
        if !valid_name(name) {
            return Err(KeyError::Name(name.to_owned()));
        }
        let mut seed = Zeroizing::new([0; 32]);
        rand::fill(seed.as_mut()).map_err(|_| KeyError::Randomness)?;
        Self::from_seed(name, seed.as_ref()).ok_or(KeyError::Randomness)
    }

    /// A new key as the text that [`SigningKey::from_text`] reads; for who keeps it elsewhere than in a file.
    ///
    /// # Errors
    /// When the name cannot be one, or there is no randomness.
    pub fn generate_text(name: &str) -> Result<Zeroizing<String>, KeyError> {
        if !valid_name(name) {
            return Err(KeyError::Name(name.to_owned()));
        }
        let mut seed = Zeroizing::new([0; 32]);
        rand::fill(seed.as_mut()).map_err(|_| KeyError::Randomness)?;
        let key = Self::from_seed(name, seed.as_ref()).ok_or(KeyError::Randomness)?;
        Ok(key.text(seed.as_slice()))
    }

    /// The key that this text holds; none when it is not one. The text is in no error, for it is a secret.
    pub fn from_text(text: &str) -> Option<Self> {
        Self::parse(text.trim_end())
    }

    pub fn public(&self) -> &VerifyingKey {
        &self.public
    }

    fn text(&self, seed: &[u8]) -> Zeroizing<String> {
        let secret = Zeroizing::new([&[ALGORITHM], seed].concat());
        let encoded = Zeroizing::new(STANDARD.encode(secret.as_slice()));
        let (name, id) = (self.public.name(), self.public.id);
        Zeroizing::new(format!("{PRIVATE}{name}+{id:08x}+{}\n", encoded.as_str()))
    }

    pub(crate) fn sign(&self, message: &[u8]) -> Vec<u8> {
        self.pair.sign(message).as_ref().to_vec()
    }

    fn create(path: &Path) -> Result<Self, KeyError> {
        let io = |source| KeyError::Io { path: path.to_owned(), source };
        let mut id = [0; 4];
        rand::fill(&mut id).map_err(|_| KeyError::Randomness)?;
        let mut seed = Zeroizing::new([0; 32]);
        rand::fill(seed.as_mut()).map_err(|_| KeyError::Randomness)?;
        let name = format!("agentaccess-{:08x}", u32::from_be_bytes(id));
        let key = Self::from_seed(&name, seed.as_ref()).ok_or(KeyError::Randomness)?;
        let text = key.text(seed.as_slice());
        // Written aside and linked, so that a crash leaves no half key and a racing start does not replace one.
        let aside = path.with_extension(format!("new-{}", std::process::id()));
        let written = (|| {
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&aside)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            std::fs::hard_link(&aside, path)?;
            let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(parent)?.sync_all()
        })();
        // The link, when it was made, is the key; a leftover beside it harms nobody but must not stay readable twice.
        let removed = std::fs::remove_file(&aside);
        match written {
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => Self::load(path),
            Err(source) => Err(io(source)),
            Ok(()) => removed.map_err(io).map(|()| key),
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let (name, rest) = text.strip_prefix(PRIVATE)?.split_once('+')?;
        let (id, encoded) = rest.split_once('+')?;
        let secret = Zeroizing::new(STANDARD.decode(encoded).ok()?);
        let (&algorithm, seed) = secret.split_first()?;
        let key = (algorithm == ALGORITHM && valid_name(name)).then(|| Self::from_seed(name, seed))??;
        (format!("{:08x}", key.public.id) == id).then_some(key)
    }

    fn from_seed(name: &str, seed: &[u8]) -> Option<Self> {
        let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
        let public = VerifyingKey::new(name, pair.public_key().as_ref().try_into().ok()?);
        Some(Self { pair, public })
    }
}

/// The public half, written `NAME+ID+BASE64` (C2SP vkey). Its name is the origin of the checkpoints.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyingKey {
    name: String,
    id: u32,
    public: [u8; 32],
}

impl VerifyingKey {
    fn new(name: &str, public: [u8; 32]) -> Self {
        let hash = Hash::of(&[name.as_bytes(), b"\n", &[ALGORITHM], &public].concat());
        let id = hash.0.first_chunk().map_or(0, |first| u32::from_be_bytes(*first));
        Self { name: name.to_owned(), id, public }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// First four bytes of the hash of name and key, as signature lines carry them.
    pub fn id(&self) -> u32 {
        self.id
    }

    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ED25519, self.public).verify(message, signature).is_ok()
    }
}

impl fmt::Display for VerifyingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = STANDARD.encode([&[ALGORITHM], self.public.as_slice()].concat());
        write!(f, "{}+{:08x}+{key}", self.name, self.id)
    }
}

impl FromStr for VerifyingKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        let parse = || {
            let (name, rest) = text.trim().split_once('+')?;
            let (id, encoded) = rest.split_once('+')?;
            let key = STANDARD.decode(encoded).ok()?;
            let (&algorithm, public) = key.split_first()?;
            let key = (algorithm == ALGORITHM && valid_name(name)).then(|| public.try_into().ok())??;
            let key = Self::new(name, key);
            (format!("{:08x}", key.id) == id).then_some(key)
        };
        parse().ok_or_else(|| KeyError::Public(text.chars().take(200).collect()))
    }
}

/// C2SP: not empty, no space, no plus; ours are ASCII and short besides.
pub(crate) fn valid_name(name: &str) -> bool {
    (1..=100).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_graphic() && b != b'+')
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn made_once_and_loaded_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint.key");
        let made = SigningKey::load_or_create(&path).unwrap();
        let loaded = SigningKey::load_or_create(&path).unwrap();
        assert_eq!(made.public(), loaded.public());
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing beside it");
        assert!(made.public().verify(b"m", &loaded.sign(b"m")));
        assert!(!made.public().verify(b"n", &loaded.sign(b"m")));
        // Behind the name and the id of the key; the secret is base64, and may hold a `+` too.
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(!format!("{made:?}").contains(text.trim().splitn(5, '+').last().unwrap()));
    }

    #[test]
    fn a_readable_or_broken_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("checkpoint.key");
        SigningKey::load_or_create(&path).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = SigningKey::load_or_create(&path).unwrap_err().to_string();
        assert!(error.contains("may be read by others (mode 640)"), "{error}");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        let good = std::fs::read_to_string(&path).unwrap();
        for bad in [
            "",
            "x",
            &good.replace("PRIVATE", "PUBLIC"),
            &good.replace("agentaccess-", "agentaccess_"),
            good.split_at(60).0,
        ] {
            std::fs::write(&path, bad).unwrap();
            assert!(matches!(SigningKey::load_or_create(&path), Err(KeyError::Malformed { .. })), "{bad}");
        }
        assert!(matches!(SigningKey::load(&dir.path().join("none")), Err(KeyError::Io { .. })));
    }

    #[test]
    fn a_key_as_text_is_the_same_key() {
        let text = SigningKey::generate_text("agentaccess-witness").unwrap();
        let (one, two) = (SigningKey::from_text(&text).unwrap(), SigningKey::from_text(text.trim()).unwrap());
        assert!(one.public().verify(b"m", &two.sign(b"m")) && one.public() == two.public());
        assert!(SigningKey::from_text("").is_none() && SigningKey::from_text(text.split_at(50).0).is_none());
        assert!(SigningKey::generate_text("a b").is_err());
    }

    #[test]
    fn the_public_half_round_trips() {
        let key = SigningKey::generate("example.com/a").unwrap();
        let shown = key.public().to_string();
        assert_eq!(&shown.parse::<VerifyingKey>().unwrap(), key.public());
        for bad in ["", "a+b+c", &shown.replace("example", "exemple"), shown.split_at(shown.len() - 4).0] {
            assert!(bad.parse::<VerifyingKey>().is_err(), "{bad}");
        }
        assert!(SigningKey::generate("a b").is_err());
        assert!(SigningKey::generate("").is_err());
    }

    #[test]
    fn the_go_note_package_and_we_agree() {
        // The example key of golang.org/x/mod/sumdb/note.
        let text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        assert_eq!(text.parse::<VerifyingKey>().unwrap().to_string(), text);
    }
}
