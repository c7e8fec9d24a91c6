//! `requests/NAME.yaml`: what people and tools read. These files decide nothing; an edit is overwritten and recorded.
//!
//! Writing never keeps a session waiting: the newest text of each file is kept until the writer comes to it. What lies
//! here and is not a plain file is never opened: a FIFO would hold us up, a link lead elsewhere.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crds::approval::ApprovalRequest;
use parking_lot::Mutex;
use recording::entry::What;
use rustix::fs::{Mode, OFlags};
use tokio::sync::Notify;

use crate::ledger::Ledger;
use crate::state::{beside, write_whole};
use crate::vital;

/// How soon an edit is found.
const COMPARE: Duration = Duration::from_secs(1);
const MODE: u32 = 0o640;
/// A file that we wrote is smaller.
const LARGEST: u64 = 4 << 20;
/// Files of an earlier life that are looked at; we leave fewer.
const MOST: usize = 2_000;

/// The files as they must be; one entry for each request that is kept.
#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    wanted: Mutex<Wanted>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct Wanted {
    texts: BTreeMap<String, Arc<str>>,
    unwritten: BTreeSet<String>,
}

// === impl Files ===

impl Files {
    pub(super) fn new(folder: PathBuf) -> Self {
        Self { folder, wanted: Mutex::default(), wake: Notify::new() }
    }

    /// The files of an earlier life, by name. What cannot be read is left out, and removed later as not ours.
    pub(super) fn earlier(&self) -> io::Result<Vec<(String, ApprovalRequest)>> {
        let mut found = Vec::new();
        for name in names(&self.folder)?.into_iter().filter(|name| is_name(name)).take(MOST) {
            let Ok(text) = read(&self.path(&name)) else { continue };
            if let Ok(object) = serde_yaml::from_str::<ApprovalRequest>(&text)
                && object.metadata.name.as_deref() == Some(name.as_str())
            {
                found.push((name, object));
            }
        }
        Ok(found)
    }

    pub(super) fn put(&self, name: &str, object: &ApprovalRequest) {
        let text = match serde_yaml::to_string(object) {
            Ok(text) => text,
            Err(error) => {
                tracing::error!(event = "request_file", request = name, %error, "the object cannot be shown as YAML");
                return;
            }
        };
        let mut wanted = self.wanted.lock();
        wanted.texts.insert(name.to_owned(), text.into());
        wanted.unwritten.insert(name.to_owned());
        self.wake.notify_one();
    }

    pub(super) fn remove(&self, name: &str) {
        let mut wanted = self.wanted.lock();
        wanted.texts.remove(name);
        wanted.unwritten.insert(name.to_owned());
        self.wake.notify_one();
    }

    /// Writes what is wanted and undoes what others did, until the runtime ends.
    pub(super) fn follow(self: Arc<Self>, ledger: Arc<dyn Ledger>) {
        vital::spawn("request files", async move {
            let mut compare = tokio::time::interval(COMPARE);
            compare.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            let mut failing = false;
            loop {
                // Both arms are cancel-safe: a permit of `Notify` and a tick are taken only by the arm that wins.
                tokio::select! {
                    () = self.wake.notified() => {}
                    _ = compare.tick() => {}
                }
                let files = Arc::clone(&self);
                let pass = vital::blocking("request files", move || (files.write(), files.compare())).await;
                let (wrote, edited) = pass;
                for name in edited {
                    tracing::warn!(event = "request_edited", file = name, "an edited request file was overwritten");
                    ledger.marker(What::Malformed, format!("requests/{name} was edited or added by others; undone"));
                }
                match wrote {
                    Err(error) if !failing => {
                        tracing::error!(event = "request_file", folder = %self.folder.display(), %error);
                        failing = true;
                    }
                    Err(_) => {}
                    Ok(()) => failing = false,
                }
            }
        });
    }

    /// What fails stays unwritten and is tried again at the next tick; it keeps no other file from being written.
    fn write(&self) -> io::Result<()> {
        let names: Vec<String> = self.wanted.lock().unwritten.iter().cloned().collect();
        let mut result = Ok(());
        for name in names {
            let text = self.wanted.lock().texts.get(&name).cloned();
            if let Err(error) = self.write_one(&name, text.as_deref()) {
                result = Err(error);
                continue;
            }
            let mut wanted = self.wanted.lock();
            // A newer text may have come meanwhile; its wake is on the way.
            if wanted.texts.get(&name) == text.as_ref() {
                wanted.unwritten.remove(&name);
            }
        }
        result
    }

    fn write_one(&self, name: &str, text: Option<&str>) -> io::Result<()> {
        let path = self.path(name);
        let Some(text) = text else { return remove(&path) };
        for place in [&path, &beside(&path)] {
            if is_folder(place) {
                remove(place)?;
            }
        }
        write_whole(&path, MODE, text.as_bytes())
    }

    /// Names the files that others changed, removed or added, and puts them right.
    fn compare(&self) -> Vec<String> {
        let (texts, unwritten) = {
            let wanted = self.wanted.lock();
            (wanted.texts.clone(), wanted.unwritten.clone())
        };
        let mut edited = Vec::new();
        for (name, text) in &texts {
            if !unwritten.contains(name) && read(&self.path(name)).ok().as_deref() != Some(text.as_ref()) {
                edited.push(format!("{name}.yaml"));
                self.wanted.lock().unwritten.insert(name.clone());
            }
        }
        for name in names(&self.folder).unwrap_or_default() {
            let ours =
                texts.contains_key(&name) || unwritten.contains(&name) || self.wanted.lock().texts.contains_key(&name);
            if !ours && remove(&self.path(&name)).is_ok() {
                edited.push(format!("{name}.yaml"));
            }
        }
        if !edited.is_empty() {
            self.wake.notify_one();
        }
        edited
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.yaml"))
    }
}

/// `areq-` and 6 characters of base32.
pub(super) fn is_name(name: &str) -> bool {
    let base32 = |b: u8| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b);
    name.strip_prefix("areq-").is_some_and(|rest| rest.len() == 6 && rest.bytes().all(base32))
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let name = entry?.file_name();
        names.extend(name.to_str().and_then(|n| n.strip_suffix(".yaml")).map(str::to_owned));
    }
    Ok(names)
}

fn read(path: &Path) -> io::Result<String> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = std::fs::File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut text = String::new();
    file.take(LARGEST).read_to_string(&mut text)?;
    Ok(text)
}

/// Whatever it is, no link followed.
fn remove(path: &Path) -> io::Result<()> {
    let removed = if is_folder(path) { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
    match removed {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
        _ => Ok(()),
    }
}

fn is_folder(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|about| about.is_dir())
}
