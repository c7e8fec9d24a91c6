//! How objects of a directory store are written: whole, for good, and not to be read by everybody.
//!
//! A file is written beside its place, flushed, linked into it, and the folder is flushed: what was answered survives
//! power loss, and what stands under its name is whole. Refused: to make the root, which a volume that is not mounted
//! would be. Invariant: files have mode 0640 and folders 0750 at most, so that beside the operator only its group reads
//! (of a mounted volume the `fsGroup`), whatever the umask; what is older keeps the mode it has.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{self, PathBuf};
use std::sync::Arc;

use aws_lc_rs::rand;
use object_store::path::Path;

const FILE: u32 = 0o640;
const FOLDER: u32 = 0o750;

/// The root of a store.
#[derive(Clone, Debug)]
pub(crate) struct Folder {
    root: Arc<PathBuf>,
}

impl Folder {
    pub(crate) fn new(root: &path::Path) -> Self {
        Self { root: Arc::new(root.to_owned()) }
    }

    /// Makes the object; false when there is one, which is then for good too. Blocks.
    pub(crate) fn create(&self, object: &Path, content: &[u8]) -> io::Result<bool> {
        let place = self.place(object);
        let aside = self.aside(&place, content)?;
        let linked = fs::hard_link(&aside, &place);
        let _ = fs::remove_file(&aside);
        let made = match linked {
            Ok(()) => true,
            // Whoever made it may have been cut off before it flushed the folder.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error),
        };
        match flush_folder(&place) {
            Ok(()) => Ok(made),
            Err(error) => {
                // It must not be found and taken for good by the next attempt.
                if made {
                    let _ = fs::remove_file(&place);
                }
                Err(error)
            }
        }
    }

    /// Makes the object, or puts it in the place of the one there is. Blocks.
    pub(crate) fn replace(&self, object: &Path, content: &[u8]) -> io::Result<()> {
        let place = self.place(object);
        let aside = self.aside(&place, content)?;
        fs::rename(&aside, &place).inspect_err(|_| drop(fs::remove_file(&aside)))?;
        flush_folder(&place)
    }

    /// Where it is as a file.
    pub(crate) fn place(&self, object: &Path) -> PathBuf {
        object.parts().fold(self.root.to_path_buf(), |path, part| path.join(part.as_ref()))
    }

    /// The content in a file beside `place`, flushed. Lists leave out a name that ends in `#` and digits.
    fn aside(&self, place: &path::Path, content: &[u8]) -> io::Result<PathBuf> {
        let mut random = [0; 8];
        rand::fill(&mut random).map_err(|_| io::Error::other("the system gave no randomness"))?;
        let mut name = place.file_name().unwrap_or_default().to_owned();
        name.push(format!("#{}", u64::from_be_bytes(random)));
        let aside = place.with_file_name(name);
        let mut options = OpenOptions::new();
        options.write(true).create_new(true).mode(FILE);
        let mut file = match options.open(&aside) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.make_folder(place.parent())?;
                options.open(&aside)?
            }
            opened => opened?,
        };
        let written = file.write_all(content).and_then(|()| file.sync_all());
        written.inspect_err(|_| drop(fs::remove_file(&aside)))?;
        Ok(aside)
    }

    /// Every folder below the root that leads to this one.
    fn make_folder(&self, folder: Option<&path::Path>) -> io::Result<()> {
        let below = folder.and_then(|folder| folder.strip_prefix(&*self.root).ok());
        let below = below.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        let mut at = self.root.to_path_buf();
        for part in below.components() {
            at.push(part);
            match DirBuilder::new().mode(FOLDER).create(&at) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                // Also of one that is there: another replica may have made it just now.
                Ok(()) | Err(_) => flush_folder(&at)?,
            }
        }
        Ok(())
    }
}

/// Flushes the folder that `path` stands in.
fn flush_folder(path: &path::Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::MetadataExt as _;

    use super::*;

    #[test]
    fn what_is_made_is_whole_and_not_for_everybody() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path());
        let object = Path::from("recordings/agents/u-1/tails/1.jsonl");
        assert!(folder.create(&object, b"one").unwrap());
        assert!(!folder.create(&object, b"two").unwrap());
        let place = dir.path().join(object.as_ref());
        assert_eq!(fs::read(&place).unwrap(), b"one");
        folder.replace(&object, b"three").unwrap();
        assert_eq!(fs::read(&place).unwrap(), b"three");
        let mode = |path: &path::Path| fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode(&place) & !FILE, 0, "{:o}", mode(&place));
        for above in place.ancestors().skip(1).take_while(|above| *above != dir.path()) {
            assert_eq!(mode(above) & !FOLDER, 0, "{above:?} {:o}", mode(above));
        }
        let beside = fs::read_dir(place.parent().unwrap()).unwrap().count();
        assert_eq!(beside, 1, "nothing is left beside it");
    }

    #[test]
    fn a_root_that_is_gone_is_not_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("store");
        let folder = Folder::new(&root);
        let object = Path::from("recordings/agents/u-1/meta.json");
        assert_eq!(folder.create(&object, b"x").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert!(!root.exists());
    }
}
