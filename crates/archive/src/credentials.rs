//! What opens a bucket: nothing, the files of a folder, or the environment as every tool for AWS reads it.
//!
//! A folder is a mounted Secret. Its files are read again after [`KEPT`], so that a rotated secret is used without a
//! restart. Refused: a file that is missing, empty or no line. Nothing of it is ever shown.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use object_store::aws::AwsCredential;
use object_store::{CredentialProvider, Error, Result};
use parking_lot::Mutex;
use zeroize::Zeroizing;

/// How old credentials may be before their files are read again.
const KEPT: Duration = Duration::from_secs(5);
/// A session token is about 1 KiB.
const MAX_FILE: u64 = 16 << 10;

pub(crate) const ACCESS_KEY: &str = "accessKeyId";
pub(crate) const SECRET_KEY: &str = "secretAccessKey";
pub(crate) const TOKEN: &str = "sessionToken";

/// Where credentials come from.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub enum Credentials {
    /// A folder needs none.
    #[default]
    None,
    /// Files `accessKeyId`, `secretAccessKey` and, if there is one, `sessionToken`.
    Folder(PathBuf),
    /// `AWS_ACCESS_KEY_ID` and its kin, a web identity, or the role of the machine.
    Environment,
}

pub(crate) struct FromFolder {
    folder: PathBuf,
    read: Mutex<Option<(Instant, Arc<AwsCredential>)>>,
}

impl std::fmt::Debug for FromFolder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FromFolder").field("folder", &self.folder).field("read", &"<secret>").finish()
    }
}

impl FromFolder {
    pub(crate) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), read: Mutex::new(None) }
    }
}

#[async_trait]
impl CredentialProvider for FromFolder {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> Result<Arc<AwsCredential>> {
        if let Some((at, read)) = &*self.read.lock()
            && at.elapsed() < KEPT
        {
            return Ok(Arc::clone(read));
        }
        let folder = self.folder.clone();
        let read = tokio::task::spawn_blocking(move || load(&folder)).await?.map_err(unusable)?;
        let read = Arc::new(read);
        *self.read.lock() = Some((Instant::now(), Arc::clone(&read)));
        Ok(read)
    }
}

/// # Errors
/// With which file is wrong, and how; never with what is in it.
pub(crate) fn load(folder: &Path) -> std::result::Result<AwsCredential, String> {
    let needed = |name: &str| line(folder, name)?.ok_or_else(|| format!("there is no file `{name}`"));
    let in_folder = |why: String| format!("credentials in `{}`: {why}", folder.display());
    let key_id = needed(ACCESS_KEY).map_err(in_folder)?;
    let secret_key = needed(SECRET_KEY).map_err(in_folder)?;
    let token = line(folder, TOKEN).map_err(in_folder)?;
    Ok(AwsCredential { key_id, secret_key, token })
}

fn line(folder: &Path, name: &str) -> std::result::Result<Option<String>, String> {
    use std::io::Read as _;
    let file = match std::fs::File::open(folder.join(name)) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("`{name}`: {error}")),
    };
    let mut text = Zeroizing::new(String::new());
    file.take(MAX_FILE).read_to_string(&mut text).map_err(|error| format!("`{name}`: {error}"))?;
    let text = text.trim();
    let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
    if plain { Ok(Some(text.to_owned())) } else { Err(format!("`{name}` is empty or not one line of text")) }
}

fn unusable(why: String) -> Error {
    Error::Unauthenticated { path: String::new(), source: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_folder_is_said_without_its_content() {
        let dir = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        assert!(load(dir.path()).unwrap_err().contains("there is no file `accessKeyId`"));
        put(ACCESS_KEY, "AKIA1\n");
        put(SECRET_KEY, "hunter2\nhunter3");
        let error = load(dir.path()).unwrap_err();
        assert!(error.contains("`secretAccessKey` is empty or not one line") && !error.contains("hunter"), "{error}");
        put(SECRET_KEY, "hunter2\n");
        let read = load(dir.path()).unwrap();
        assert_eq!((read.key_id.as_str(), read.secret_key.as_str(), read.token), ("AKIA1", "hunter2", None));
        assert!(!format!("{:?}", FromFolder::new(dir.path())).contains("hunter"));
    }

    #[tokio::test]
    async fn a_rotated_secret_is_read_again() {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in [(ACCESS_KEY, "a"), (SECRET_KEY, "b")] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let folder = FromFolder::new(dir.path());
        assert_eq!(folder.get_credential().await.unwrap().secret_key, "b");
        std::fs::write(dir.path().join(SECRET_KEY), "c").unwrap();
        assert_eq!(folder.get_credential().await.unwrap().secret_key, "b", "not on every request");
        let old = Instant::now().checked_sub(KEPT).unwrap();
        folder.read.lock().as_mut().unwrap().0 = old;
        assert_eq!(folder.get_credential().await.unwrap().secret_key, "c");
    }
}
