//! What the last scan's listing said of files, so that the next one need only
//! show whether a file is still what it was.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use super::listing::Signs;
use super::mirror::{Key, key};
use super::records::{self, Magic};
use crate::fsys::{Kind, Meta};

/// What [`Recalled::save`] writes before everything else.
const MAGIC: Magic = *b"listed2\n";
/// A key; permissions, owner and group, links.
const RECORD: usize = 16 + 4 + 4 + 4 + 8;
/// More files than most devices have; others are listed anew.
const MAX: usize = 1_000_000;

/// Files of one device as they were.
#[derive(Debug, Default)]
pub(crate) struct Recalled {
    /// By path, size, times and inode.
    known: HashMap<Key, Rest>,
}

/// What signs do not tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rest {
    mode: u32,
    uid: u32,
    gid: u32,
    links: u64,
}

impl Rest {
    fn of(meta: &Meta) -> Self {
        Self { mode: meta.mode, uid: meta.uid, gid: meta.gid, links: meta.links }
    }

    fn read(record: &[u8]) -> Option<(Key, Self)> {
        let (key, rest) = record.split_first_chunk()?;
        let (mode, rest) = rest.split_first_chunk()?;
        let (uid, rest) = rest.split_first_chunk()?;
        let (gid, rest) = rest.split_first_chunk()?;
        let links = rest.first_chunk()?;
        let this = Self {
            mode: u32::from_le_bytes(*mode),
            uid: u32::from_le_bytes(*uid),
            gid: u32::from_le_bytes(*gid),
            links: u64::from_le_bytes(*links),
        };
        Some((*key, this))
    }

    fn write(&self, key: &Key, out: &mut Vec<u8>) {
        out.extend(key);
        for word in [self.mode, self.uid, self.gid] {
            out.extend(word.to_le_bytes());
        }
        out.extend(self.links.to_le_bytes());
    }
}

impl Recalled {
    /// What was saved; nothing when it is not there or not to be understood.
    pub(crate) fn load(from: &Path) -> Self {
        let bytes = records::load(from, MAGIC, RECORD, MAX);
        Self { known: bytes.chunks_exact(RECORD).filter_map(Rest::read).collect() }
    }

    /// Keeps these files for the next scan, and no others; nothing is written
    /// when they are those of the last.
    ///
    /// # Errors
    /// The system's.
    pub(crate) fn save<'f>(
        &mut self,
        to: &Path,
        files: impl Iterator<Item = (PathBuf, &'f Meta)>,
    ) -> io::Result<()> {
        let files = files.filter(|(_, meta)| meta.kind == Kind::File).take(MAX);
        let now: HashMap<Key, Rest> = files.map(|(path, meta)| (key(&path, meta), Rest::of(meta))).collect();
        if now == self.known {
            return Ok(());
        }
        let mut out = Vec::new();
        for (key, rest) in &now {
            rest.write(key, &mut out);
        }
        self.known = now;
        records::save(to, MAGIC, &out)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// All of a file that is still what it was, on the file system `dev`.
    pub(crate) fn recognise(&self, path: &Path, signs: &Signs, dev: u64) -> Option<Meta> {
        let mut found = Meta {
            kind: Kind::File,
            size: signs.size,
            mtime_ns: signs.mtime_ns,
            atime_ns: signs.atime_ns,
            ctime_ns: signs.ctime_ns,
            dev,
            ino: signs.ino,
            mode: 0,
            flags: 0,
            uid: 0,
            gid: 0,
            links: 0,
            allocated: signs.size,
        };
        let Rest { mode, uid, gid, links } = *self.known.get(&key(path, &found))?;
        (found.mode, found.uid, found.gid, found.links) = (mode, uid, gid, links);
        Some(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;

    #[test]
    fn a_file_is_recognised_until_anything_of_it_changes() {
        let tmp = tempfile::tempdir().unwrap();
        let at = tmp.path().join("listed");
        std::fs::write(tmp.path().join("a"), "content").unwrap();
        let real = Meta::of(&File::open(tmp.path().join("a")).unwrap()).unwrap();
        let meta = Meta { mtime_ns: -5, uid: 10_123, gid: 20_123, mode: 0o640, ..real };
        let path = PathBuf::from("/data/data/a.b/files/\u{e9}\n");
        let mut recalled = Recalled::load(&at);
        assert!(recalled.is_empty());
        recalled.save(&at, [(path.clone(), &meta)].into_iter()).unwrap();
        let recalled = Recalled::load(&at);
        let Meta { mtime_ns, ino, ctime_ns, size, .. } = meta;
        let signs = Signs { atime_ns: 77, mtime_ns, ino, ctime_ns, size };
        let found = recalled.recognise(&path, &signs, 9).unwrap();
        assert_eq!(found, Meta { atime_ns: 77, dev: 9, flags: 0, allocated: meta.size, ..meta });
        for changed in [
            Signs { ino: signs.ino + 1, ..signs },
            Signs { ctime_ns: signs.ctime_ns + 1, ..signs },
            Signs { mtime_ns: signs.mtime_ns + 1, ..signs },
            Signs { size: signs.size + 1, ..signs },
        ] {
            assert_eq!(recalled.recognise(&path, &changed, 9), None);
        }
        assert_eq!(recalled.recognise(Path::new("/data/data/a.b/files/b"), &signs, 9), None);
        // One that was cut short counts for what is whole in it.
        let bytes = std::fs::read(&at).unwrap();
        std::fs::write(&at, &bytes[..bytes.len() - 1]).unwrap();
        assert!(Recalled::load(&at).is_empty());
        std::fs::write(&at, b"something else").unwrap();
        assert!(Recalled::load(&at).is_empty());
    }

    #[test]
    fn what_is_the_same_is_not_written_again() {
        let tmp = tempfile::tempdir().unwrap();
        let at = tmp.path().join("listed");
        std::fs::write(tmp.path().join("a"), "content").unwrap();
        let meta = Meta::of(&File::open(tmp.path().join("a")).unwrap()).unwrap();
        let folder = Meta { kind: Kind::Dir, ..meta };
        let all = [("/d/a", &meta), ("/d", &folder)].map(|(path, meta)| (PathBuf::from(path), meta));
        Recalled::default().save(&at, all.clone().into_iter()).unwrap();
        assert_eq!(std::fs::metadata(&at).unwrap().len(), (MAGIC.len() + RECORD) as u64);
        let mut recalled = Recalled::load(&at);
        std::fs::remove_file(&at).unwrap();
        recalled.save(&at, all.clone().into_iter()).unwrap();
        assert!(!at.exists());
        recalled.save(&at, std::iter::empty()).unwrap();
        assert!(at.exists() && recalled.is_empty());
    }
}
