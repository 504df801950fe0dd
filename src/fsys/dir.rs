//! A directory handle and what can be read through it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags};

use super::entries::Entries;
use super::remote::{self, Remote};
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
    Here(Arc<OwnedFd>),
    /// On another device, at that path there.
    There(Arc<dyn Remote>, PathBuf),
}

/// How many bytes of names the system is asked for at once.
const LISTING_BUFFER: usize = 64 * 1024;

const DIR_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

impl Dir {
    /// Opens `path` itself, which must be an absolute path to a real directory:
    /// a link in its last component is refused, however the path is written.
    ///
    /// # Errors
    /// The system's error; `ELOOP` or `ENOTDIR` for a link.
    pub fn open(path: &Path) -> io::Result<Self> {
        if !path.is_absolute() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path is not absolute"));
        }
        // Rebuilt by component, so that `link/` cannot mean the link's target.
        let path: PathBuf = path.components().collect();
        if let Some(found) = remote::find(&path) {
            let (there, on) = found?;
            there.enter(&on)?;
            return Ok(Self { at: At::There(there, on), path, known: None });
        }
        let fd = rustix::fs::open(&path, DIR_FLAGS, Mode::empty())?;
        Ok(Self { at: At::Here(Arc::new(fd)), path, known: None })
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
    pub(super) fn fd(&self) -> io::Result<&OwnedFd> {
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
            At::Here(_) => At::Here(Arc::new(self.open_below(rel, DIR_FLAGS)?)),
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
        let fd = rustix::fs::openat(self.fd()?, name, DIR_FLAGS, Mode::empty())?;
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
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = self.open_below(rel, flags)?;
        let stat = rustix::fs::fstat(&fd)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(File::from(fd))
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
        let Some(name) = rel.file_name() else {
            return Ok(meta(&rustix::fs::fstat(fd)?));
        };
        let parent = rel.parent().unwrap_or_default();
        // Tens of thousands of these are asked for with the folder at hand.
        let stat = if parent.is_root() {
            rustix::fs::statat(fd, name, AtFlags::SYMLINK_NOFOLLOW)?
        } else {
            rustix::fs::statat(self.dir(&parent)?.fd()?, name, AtFlags::SYMLINK_NOFOLLOW)?
        };
        Ok(meta(&stat))
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
        let mut names = Vec::new();
        self.each_name(|name, _| names.push(name.to_owned()))?;
        let At::Here(fd) = &self.at else { return Err(remote::unsupported()) };
        let fd = Arc::clone(fd);
        Ok(Entries::of(names, move |name| match rustix::fs::statat(&fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(meta(&stat))),
            Err(rustix::io::Errno::NOENT) => Ok(None),
            Err(e) => Err(e.into()),
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
        self.each_name(|name, kind| out.push((name.to_owned(), kind)))?;
        out.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        Ok(out)
    }

    fn each_name(&self, mut each: impl FnMut(&OsStr, Option<Kind>)) -> io::Result<()> {
        // A handle of its own, so that several listings do not share one position.
        let fd = rustix::fs::openat(self.fd()?, ".", DIR_FLAGS, Mode::empty())?;
        let mut buffer = Vec::with_capacity(LISTING_BUFFER);
        let mut items = RawDir::new(fd, buffer.spare_capacity_mut());
        while let Some(item) = items.next() {
            let item = item?;
            let name = OsStr::from_bytes(item.file_name().to_bytes());
            if name == "." || name == ".." {
                continue;
            }
            let kind = match item.file_type() {
                FileType::RegularFile => Some(Kind::File),
                FileType::Directory => Some(Kind::Dir),
                FileType::Symlink => Some(Kind::Link),
                FileType::Unknown => None,
                _ => Some(Kind::Other),
            };
            each(name, kind);
        }
        Ok(())
    }

    fn open_below(&self, rel: &RelPath, flags: OFlags) -> io::Result<OwnedFd> {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        {
            let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
            match rustix::fs::openat2(self.fd()?, rel.as_path(), flags, Mode::empty(), resolve) {
                Err(rustix::io::Errno::NOSYS | rustix::io::Errno::PERM) => {}
                other => return Ok(other?),
            }
        }
        self.open_by_component(rel, flags)
    }

    /// What `openat2` does, one component at a time, where it is missing.
    fn open_by_component(&self, rel: &RelPath, flags: OFlags) -> io::Result<OwnedFd> {
        let here = rustix::fs::fstat(self.fd()?)?.st_dev;
        let mut fd = self.fd()?.try_clone()?;
        let mut names = rel.components().peekable();
        while let Some(name) = names.next() {
            let flags = if names.peek().is_some() { DIR_FLAGS } else { flags | OFlags::NOFOLLOW };
            fd = rustix::fs::openat(fd.as_fd(), name, flags, Mode::empty())?;
            if rustix::fs::fstat(&fd)?.st_dev != here {
                return Err(io::Error::from(rustix::io::Errno::XDEV));
            }
        }
        Ok(fd)
    }
}

impl Meta {
    /// What an open file says of itself.
    ///
    /// # Errors
    /// The system's error.
    pub fn of(file: &File) -> io::Result<Self> {
        Ok(meta(&rustix::fs::fstat(file)?))
    }
}

#[allow(clippy::cast_sign_loss, clippy::unnecessary_cast, clippy::cast_lossless)]
fn meta(stat: &rustix::fs::Stat) -> Meta {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Dir,
        FileType::Symlink => Kind::Link,
        _ => Kind::Other,
    };
    let ns = |sec: i64, nsec: i64| i128::from(sec) * 1_000_000_000 + i128::from(nsec);
    Meta {
        kind,
        size: stat.st_size as u64,
        mtime_ns: ns(stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        atime_ns: ns(stat.st_atime as i64, stat.st_atime_nsec as i64),
        ctime_ns: ns(stat.st_ctime as i64, stat.st_ctime_nsec as i64),
        dev: stat.st_dev as u64,
        ino: stat.st_ino as u64,
        mode: (stat.st_mode as u32) & 0o7777,
        uid: stat.st_uid as u32,
        gid: stat.st_gid as u32,
        links: stat.st_nlink as u64,
        allocated: (stat.st_blocks as u64) * 512,
    }
}

#[cfg(test)]
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
            assert!(dir.open_by_component(&rel(bad), OFlags::RDONLY).is_err(), "{bad}");
        }
        assert_eq!(dir.stat(&rel("flink")).unwrap().kind, Kind::Link);
        assert!(dir.stat(&rel("inner/f")).is_err());
    }

    #[test]
    fn a_fifo_neither_blocks_nor_opens() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = Dir::open(tmp.path()).unwrap();
        rustix::fs::mknodat(dir.fd().unwrap(), "pipe", FileType::Fifo, Mode::from_raw_mode(0o600), 0)
            .unwrap();
        assert!(dir.open_file(&rel("pipe")).is_err());
    }
}
