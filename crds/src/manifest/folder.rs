//! A folder of manifests, as an editor leaves it or as Kubernetes mounts it.
//!
//! Read are the files `*.yaml` and `*.yml` of the folder itself, in the order of their names. Names that begin with a
//! dot, other endings and whatever is not a file are skipped; subfolders are not entered. Links to files are followed:
//! a mounted ConfigMap or Secret is a folder of links into `..data`.

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::error::{ManifestError, ManifestErrors, Problem};
use super::{Located, Read};

/// Files of one folder.
pub const MAX_FILES: usize = 1_000;
/// Bytes of one file.
pub const MAX_FILE_BYTES: usize = 4 * 1024 * 1024;

/// Reads all manifests of a folder.
///
/// # Errors
/// Everything that is wrong in any file; the folder itself when it cannot be read or has too many files.
pub fn read_folder(folder: &Path, default_namespace: &str) -> Result<Vec<Located>, ManifestErrors> {
    let files = names(folder).map_err(|problem| ManifestErrors(vec![ManifestError::of_file(folder, problem)]))?;
    let mut read = Read::default();
    for file in files {
        add(&mut read, &file, default_namespace);
    }
    read.finish()
}

/// Reads all manifests of one file, whatever its name is.
///
/// # Errors
/// Everything that is wrong in it.
pub fn read_file(file: &Path, default_namespace: &str) -> Result<Vec<Located>, ManifestErrors> {
    let mut read = Read::default();
    add(&mut read, file, default_namespace);
    read.finish()
}

fn names(folder: &Path) -> Result<Vec<PathBuf>, Problem> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(Problem::Unreadable)? {
        let path = entry.map_err(Problem::Unreadable)?.path();
        let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        let yaml = path.extension().is_some_and(|e| e == "yaml" || e == "yml");
        // A link that leads nowhere is kept: reading it then says so.
        let other = fs::metadata(&path).is_ok_and(|m| !m.is_file());
        if name.starts_with('.') || !yaml || other {
            continue;
        }
        if files.len() >= MAX_FILES {
            return Err(Problem::TooMany(MAX_FILES));
        }
        files.push(path);
    }
    files.sort();
    Ok(files)
}

fn add(read: &mut Read, file: &Path, default_namespace: &str) {
    match content(file) {
        Ok(bytes) => match std::str::from_utf8(&bytes) {
            Ok(text) => read.text(text, file, default_namespace),
            Err(_) => read.errors.push(ManifestError::of_file(file, Problem::NotText)),
        },
        Err(e) => read.errors.push(ManifestError::of_file(file, Problem::Unreadable(e))),
    }
}

/// One byte more than the bound at most: `Read::text` refuses it. Wiped, since the file may hold Secrets.
fn content(file: &Path) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let opened = File::open(file)?;
    let most = u64::try_from(MAX_FILE_BYTES).unwrap_or(u64::MAX).saturating_add(1);
    // With room for all of it from the start no copy stays behind unwiped.
    let expected = opened.metadata()?.len().saturating_add(1).min(most);
    let mut bytes = Zeroizing::new(Vec::with_capacity(usize::try_from(expected).unwrap_or(0)));
    opened.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}
