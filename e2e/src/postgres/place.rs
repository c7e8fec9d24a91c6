//! Where a server keeps its files. A data folder is a thousand small ones, which ext4 takes most of a second to make and
//! memory a tenth of that.

use std::env;
use std::path::{Path, PathBuf};

const SHARED_MEMORY: &str = "/dev/shm";
/// Bytes that must be free there, for as many servers as tests run at a time.
const ROOM: u64 = 2 << 30;

/// Where a server keeps its files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// In memory where there is room for it.
    #[default]
    Memory,
    /// For what runs long, whose log grows, or is measured.
    Disk,
}

// === impl Place ===

impl Place {
    pub(super) fn folder(self) -> PathBuf {
        let free = rustix::fs::statvfs(SHARED_MEMORY).map_or(0, |held| held.f_bavail.saturating_mul(held.f_frsize));
        match self {
            Self::Memory if free >= ROOM => Path::new(SHARED_MEMORY).to_owned(),
            Self::Memory | Self::Disk => env::temp_dir(),
        }
    }
}
