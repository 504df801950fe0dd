//! Small files that a scan reads of stores which it otherwise only lists: the
//! journals and indexes of caches. They stay here from one scan to the next, so
//! that the scan of an unchanged device reads nothing of it.

use std::collections::HashSet;
use std::fs::{File, FileTimes};
use std::io;
use std::path::{Path, PathBuf};

use super::mirror::{key, time};
use crate::fsys::{Meta, to_hex};

/// Larger files are read anew.
const LARGEST: u64 = 1 << 20;
/// So much is kept of one device.
const MOST: u64 = 32 << 20;

/// Contents by path, length, times and inode of the file on the device.
#[derive(Debug)]
pub(crate) struct Kept {
    folder: PathBuf,
    /// What this scan met.
    met: HashSet<String>,
    bytes: u64,
}

impl Kept {
    /// What is kept in a folder of this user's alone; it need not be there.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, met: HashSet::new(), bytes: 0 }
    }

    /// The content of an unchanged file, if it was kept.
    pub(crate) fn get(&mut self, path: &Path, meta: &Meta) -> Option<File> {
        let name = name(path, meta);
        let file = File::open(self.folder.join(&name)).ok()?;
        let whole = file.metadata().is_ok_and(|m| m.is_file() && m.len() == meta.size);
        if !whole {
            return None;
        }
        self.meets(name, meta.size);
        Some(file)
    }

    /// Keeps a content that lies at `from`; one that is too large is not kept.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn put(&mut self, path: &Path, meta: &Meta, from: &Path) -> io::Result<()> {
        if meta.size > LARGEST || self.bytes.saturating_add(meta.size) > MOST {
            return Ok(());
        }
        std::fs::create_dir_all(&self.folder)?;
        let name = name(path, meta);
        let new = self.folder.join("new");
        std::fs::copy(from, &new)?;
        if let Some(time) = time(meta.mtime_ns) {
            File::options().write(true).open(&new)?.set_times(FileTimes::new().set_modified(time))?;
        }
        std::fs::rename(new, self.folder.join(&name))?;
        self.meets(name, meta.size);
        Ok(())
    }

    fn meets(&mut self, name: String, size: u64) {
        if self.met.insert(name) {
            self.bytes = self.bytes.saturating_add(size);
        }
    }

    /// Removes what this scan did not meet.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn tidy(&self) -> io::Result<()> {
        let entries = match std::fs::read_dir(&self.folder) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            if !entry.file_name().to_str().is_some_and(|n| self.met.contains(n)) {
                std::fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }
}

fn name(path: &Path, meta: &Meta) -> String {
    to_hex(&key(path, meta))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read as _;

    #[test]
    fn a_content_is_kept_until_its_file_changes_or_is_not_met_any_more() {
        let tmp = tempfile::tempdir().unwrap();
        let from = tmp.path().join("from");
        std::fs::write(&from, b"journal").unwrap();
        let meta = Meta::of(&File::open(&from).unwrap()).unwrap();
        let path = Path::new("/data/data/a.b/cache/journal");
        let read = |kept: &mut Kept, meta: &Meta| {
            let mut out = Vec::new();
            kept.get(path, meta)?.read_to_end(&mut out).unwrap();
            Some(out)
        };
        let open = || Kept::new(tmp.path().join("kept"));
        assert_eq!(read(&mut open(), &meta), None);
        open().put(path, &meta, &from).unwrap();
        let mut kept = open();
        assert_eq!(read(&mut kept, &meta).as_deref(), Some(&b"journal"[..]));
        for changed in [
            Meta { size: 8, ..meta },
            Meta { mtime_ns: meta.mtime_ns + 1, ..meta },
            Meta { ctime_ns: meta.ctime_ns + 1, ..meta },
            Meta { ino: meta.ino + 1, ..meta },
        ] {
            assert_eq!(read(&mut open(), &changed), None);
        }
        kept.tidy().unwrap();
        assert!(read(&mut open(), &meta).is_some());
        open().tidy().unwrap();
        assert_eq!(read(&mut open(), &meta), None);
        // A copy that is not whole does not count.
        open().put(path, &meta, &from).unwrap();
        let only = std::fs::read_dir(tmp.path().join("kept")).unwrap().next().unwrap().unwrap().path();
        File::options().write(true).open(only).unwrap().set_len(3).unwrap();
        assert_eq!(read(&mut open(), &meta), None);
    }
}
