//! A directory handle and what can be read through it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::entries::Entries;
use super::remote::{self, Remote};
use super::sys::{self, Handle};
use super::{Brief, Listings, Named, RelPath};

/// What a directory entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    File,
    Dir,
    Link,
    /// FIFO, socket or device: never opened.
    Other,
}

/// What the file system says of one entry, a link never followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Meta {
    pub kind: Kind,
    /// Length in bytes.
    pub size: u64,
    /// Modification time in nanoseconds since 1970.
    pub mtime_ns: i128,
    /// Access time in nanoseconds since 1970.
    pub atime_ns: i128,
    /// Status change time in nanoseconds since 1970; 0 where unknown.
    pub ctime_ns: i128,
    pub dev: u64,
    pub ino: u64,
    /// Permission bits (`07777`).
    pub mode: u32,
    /// File attributes of Windows, such as hidden; 0 on other systems.
    pub flags: u32,
    pub uid: u32,
    pub gid: u32,
    /// Number of hard links.
    pub links: u64,
    /// Bytes allocated on disk.
    pub allocated: u64,
}

/// One name in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub name: OsString,
    pub meta: Meta,
}

/// An open directory; everything below it is reached without following a
/// link and without leaving its file system.
#[derive(Debug)]
pub struct Dir {
    at: At,
    path: PathBuf,
    /// Listings that were made before, and where this directory lies in them.
    known: Option<(Arc<Listings>, RelPath)>,
}

/// Where an open directory is.
#[derive(Debug, Clone)]
enum At {
    Here(Arc<Handle>),
    /// On another device, at that path there.
    There(Arc<dyn Remote>, PathBuf),
}

impl Dir {
    /// Opens `path` itself, which must be an absolute path to a real directory
    /// of this machine: a link in its last component is refused, however the
    /// path is written. [`super::Disk::open`] opens those of a place.
    ///
    /// # Errors
    /// The system's error; `ELOOP` or `ENOTDIR` for a link.
    pub fn open(path: &Path) -> io::Result<Self> {
        // Rebuilt by component, so that `link/` cannot mean the link's target.
        let path: PathBuf = path.components().collect();
        if let Some((name, _)) = remote::split(&path) {
            return Err(remote::not_connected(&name));
        }
        if !path.is_absolute() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path is not absolute"));
        }
        Ok(Self { at: At::Here(Arc::new(sys::open_dir(&path)?)), path, known: None })
    }

    /// Opens a directory of another device, which is written `path` here.
    pub(super) fn on(there: Arc<dyn Remote>, on: PathBuf, path: &Path) -> io::Result<Self> {
        there.enter(&on)?;
        Ok(Self { at: At::There(there, on), path: path.components().collect(), known: None })
    }

    /// The same directory, whose [`Dir::listed`] answers from listings that a
    /// walk of it has made. For one scan only: what is acted on is looked at anew.
    #[must_use]
    pub fn with_listings(&self, listings: Listings) -> Self {
        let known = Some((Arc::new(listings), RelPath::root()));
        Self { at: self.at.clone(), path: self.path.clone(), known }
    }

    /// The path it was opened by, for messages only.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The handle, for the write half of this room.
    ///
    /// # Errors
    /// `Unsupported` for a directory on another device.
    pub(super) fn fd(&self) -> io::Result<&Handle> {
        match &self.at {
            At::Here(fd) => Ok(fd),
            At::There(..) => Err(remote::unsupported()),
        }
    }

    /// The other device, and the path on it of what is at `rel`; `None` for a
    /// directory of this machine.
    pub(super) fn there(&self, rel: &RelPath) -> Option<(&dyn Remote, PathBuf)> {
        match &self.at {
            At::Here(_) => None,
            // Joining nothing would add a slash.
            At::There(there, on) if rel.is_root() => Some((there.as_ref(), on.clone())),
            At::There(there, on) => Some((there.as_ref(), on.join(rel.as_path()))),
        }
    }

    /// Whether it is on another device.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        matches!(self.at, At::There(..))
    }

    /// A directory below this one.
    ///
    /// # Errors
    /// The system's error; a link or mount point on the way is refused.
    pub fn dir(&self, rel: &RelPath) -> io::Result<Self> {
        let path = self.path.join(rel.as_path());
        let at = match &self.at {
            At::There(there, on) => {
                let on = if rel.is_root() { on.clone() } else { on.join(rel.as_path()) };
                there.enter(&on)?;
                At::There(Arc::clone(there), on)
            }
            here @ At::Here(_) if rel.is_root() => here.clone(),
            At::Here(fd) => At::Here(Arc::new(sys::dir_below(fd, rel)?)),
        };
        let known = self.known.as_ref().map(|(all, here)| (Arc::clone(all), here.join_rel(rel)));
        Ok(Self { at, path, known })
    }

    /// A directory right in this one, also one that another file system is
    /// mounted on: for walking down to a root, not below it.
    ///
    /// # Errors
    /// The system's error; a link is refused.
    pub(super) fn enter(&self, name: &OsStr) -> io::Result<Self> {
        let fd = sys::enter(self.fd()?, name)?;
        Ok(Self { at: At::Here(Arc::new(fd)), path: self.path.join(name), known: None })
    }

    /// A regular file below this one, for reading.
    ///
    /// # Errors
    /// The system's error; `InvalidInput` for what is no regular file. Never
    /// blocks on a FIFO.
    ///
    /// On another device it is a private copy of the content.
    pub fn open_file(&self, rel: &RelPath) -> io::Result<File> {
        if let Some((there, on)) = self.there(rel) {
            return there.open(&on);
        }
        sys::file_below(self.fd()?, rel)
    }

    /// What is known of an entry below this one; a last link is not followed.
    ///
    /// # Errors
    /// The system's error.
    pub fn stat(&self, rel: &RelPath) -> io::Result<Meta> {
        if let Some((there, on)) = self.there(rel) {
            return there.stat(&on);
        }
        let fd = self.fd()?;
        let Some(name) = rel.file_name() else { return sys::meta_of(fd) };
        let parent = rel.parent().unwrap_or_default();
        // Tens of thousands of these are asked for with the folder at hand.
        if parent.is_root() { sys::meta_at(fd, name) } else { sys::meta_at(self.dir(&parent)?.fd()?, name) }
    }

    /// Whether an entry of that name is there, whatever it is.
    ///
    /// # Errors
    /// The system's error, except "not found".
    pub fn exists(&self, rel: &RelPath) -> io::Result<bool> {
        match self.stat(rel) {
            Ok(_) => Ok(true),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(e) => Err(e),
        }
    }

    /// The entries of this directory, sorted by name.
    ///
    /// # Errors
    /// The system's error: a listing that failed is never an empty one. An
    /// entry that vanished between listing and looking is left out.
    pub fn list(&self) -> io::Result<Vec<Entry>> {
        self.entries()?.collect()
    }

    /// As [`Dir::list`], one after the other. An error is that of the whole
    /// folder: what came before it is not all there is.
    pub(super) fn entries(&self) -> io::Result<Entries> {
        if let Some((there, on)) = self.there(&RelPath::root()) {
            return Ok(Entries::known(there.list(&on)?));
        }
        let At::Here(fd) = &self.at else { return Err(remote::unsupported()) };
        if let Some(mut all) = sys::list(fd)? {
            all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            return Ok(Entries::known(all));
        }
        let mut names = Vec::new();
        sys::each_name(fd, |name, _| names.push(name.to_owned()))?;
        let fd = Arc::clone(fd);
        Ok(Entries::of(names, move |name| match sys::meta_at(&fd, name) {
            Ok(meta) => Ok(Some(meta)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        }))
    }

    /// The entries of this directory, sorted by name, with what a store's
    /// check needs to know of them.
    ///
    /// # Errors
    /// As [`Dir::list`].
    pub fn listed(&self) -> io::Result<Arc<[Named]>> {
        if let Some((all, here)) = &self.known
            && let Some(entries) = all.get(here)
        {
            return Ok(Arc::clone(entries));
        }
        let brief = |e: Entry| Named { meta: Brief::from(&e.meta), name: e.name.into() };
        Ok(self.list()?.into_iter().map(brief).collect())
    }

    /// The names in this directory, sorted, with their kind where the listing
    /// itself tells it: much cheaper than [`Dir::list`].
    ///
    /// # Errors
    /// As [`Dir::list`].
    pub fn names(&self) -> io::Result<Vec<(OsString, Option<Kind>)>> {
        if self.is_remote() {
            return Ok(self.list()?.into_iter().map(|e| (e.name, Some(e.meta.kind))).collect());
        }
        let mut out = Vec::new();
        sys::each_name(self.fd()?, |name, kind| out.push((name.to_owned(), kind)))?;
        out.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Ok(out)
    }
}

#[cfg(any(target_os = "linux", target_os = "android"))]
impl Dir {
    /// Each name in this directory with its kind and inode, as the listing
    /// itself tells them.
    ///
    /// # Errors
    /// As [`Dir::list`].
    pub(super) fn each_inode(&self, each: impl FnMut(&std::ffi::OsStr, Option<Kind>, u64)) -> io::Result<()> {
        sys::each_inode(self.fd()?, each)
    }
}

impl Meta {
    /// What an open file says of itself.
    ///
    /// # Errors
    /// The system's error.
    pub fn of(file: &File) -> io::Result<Self> {
        sys::meta_of(file)
    }
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn rel(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    #[test]
    fn links_are_refused_at_every_place() {
        let tmp = tempfile::tempdir().unwrap();
        let base = tmp.path().canonicalize().unwrap();
        std::fs::create_dir_all(base.join("real/sub")).unwrap();
        std::fs::write(base.join("real/sub/f"), "x").unwrap();
        symlink(base.join("real"), base.join("link")).unwrap();
        symlink("sub", base.join("real/inner")).unwrap();
        symlink("sub/f", base.join("real/flink")).unwrap();

        assert!(Dir::open(&base.join("link")).is_err());
        assert!(Dir::open(&base.join("link/")).is_err());
        let dir = Dir::open(&base.join("real")).unwrap();
        assert!(dir.open_file(&rel("sub/f")).is_ok());
        for bad in ["inner/f", "flink"] {
            assert!(dir.open_file(&rel(bad)).is_err(), "{bad}");
        }
        assert_eq!(dir.stat(&rel("flink")).unwrap().kind, Kind::Link);
        assert!(dir.stat(&rel("inner/f")).is_err());
    }
}
