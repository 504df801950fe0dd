//! A folder tree being built.

use std::fs::{self, File, FileTimes, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// A folder below which sample files are made. Files are only ever made new.
#[derive(Debug, Clone)]
pub struct Tree {
    root: PathBuf,
    now: SystemTime,
}

impl Tree {
    /// Builds below `root`, in a world in which it is `now`.
    pub fn new(root: &Path, now: SystemTime) -> Self {
        Self { root: root.to_path_buf(), now }
    }

    /// The same world, one folder deeper.
    #[must_use]
    pub fn below(&self, path: &str) -> Self {
        Self { root: self.root.join(path), now: self.now }
    }

    /// Where it is built.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The moment that the tree shows.
    #[must_use]
    pub fn now(&self) -> SystemTime {
        self.now
    }

    /// Makes a file that was last written `days` before now, and its folders.
    ///
    /// # Errors
    /// The system's error; also when the file is there already.
    pub fn file(&self, path: &str, bytes: impl AsRef<[u8]>, days: u64) -> io::Result<()> {
        let path = self.root.join(path);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent)?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        file.write_all(bytes.as_ref())?;
        self.age(&file, days)
    }

    /// Makes an empty folder.
    ///
    /// # Errors
    /// The system's error.
    pub fn folder(&self, path: &str) -> io::Result<()> {
        fs::create_dir_all(self.root.join(path))
    }

    /// Sets a file's times to `days` before now.
    pub(super) fn age(&self, file: &File, days: u64) -> io::Result<()> {
        let then = self.now.checked_sub(Duration::from_secs(days * 86_400)).unwrap_or(SystemTime::UNIX_EPOCH);
        file.set_times(FileTimes::new().set_accessed(then).set_modified(then))
    }

    /// Milliseconds since 1970, `days` before now: what Java programs store.
    #[must_use]
    pub fn millis(&self, days: u64) -> i64 {
        let since = self.now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX) - i64::try_from(days).unwrap_or(0) * 86_400_000
    }
}
