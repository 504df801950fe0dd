//! A file system of another device, behind the same [`Dir`](super::Dir): the
//! rooms above work on it as on this machine's.
//!
//! Its paths begin with `/adb:NAME/`, which no folder of this machine is ever
//! looked for under: only the [`Disk`] of that device opens such a path.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use super::{Attributes, Digest, Dir, Entry, Ident, Meta, RelPath, Space};

/// What the first name of a path on another device begins with.
pub const REMOTE: &str = "adb:";

/// One entry of a listing that goes into folders.
pub type Listed = Result<(RelPath, Meta), (RelPath, io::Error)>;

/// What must still be true of a file or folder when it is removed.
#[derive(Debug, Clone)]
pub struct Doomed {
    /// Absolute on the device.
    pub path: PathBuf,
    pub dir: bool,
    pub ident: Ident,
    pub size: u64,
    /// Nanoseconds since 1970.
    pub mtime_ns: i128,
}

/// A file that is to be made on another device.
#[derive(Debug)]
pub struct NewFile<'a> {
    /// Its name in its folder; nothing may have it yet.
    pub name: OsString,
    pub from: File,
    pub like: &'a Attributes,
}

/// The file system of another device. All paths are absolute on the device,
/// free of `.` and `..`; no link on the way is ever followed.
///
/// Device numbers that it gives have their highest bit set, so that they are
/// none of this machine's.
pub trait Remote: Send + Sync + std::fmt::Debug {
    /// What is known of an entry; a last link is not followed.
    fn stat(&self, path: &Path) -> io::Result<Meta>;
    /// Fails unless there is a real folder.
    fn enter(&self, path: &Path) -> io::Result<()>;
    /// Looks at many entries at once; [`Remote::stat`] answers from that until
    /// the next change.
    fn look_ahead(&self, paths: &[PathBuf]) -> io::Result<()>;
    /// The entries of a folder, sorted by name.
    fn list(&self, path: &Path) -> io::Result<Vec<Entry>>;
    /// Everything below a folder, each folder before what is in it.
    fn walk(&self, path: &Path) -> io::Result<Vec<Listed>>;
    /// Whether the file begins with these bytes.
    fn begins_with(&self, path: &Path, magic: &[u8]) -> io::Result<bool>;
    /// A private copy of a file's content, made now or since the last
    /// [`Remote::forget`].
    fn open(&self, path: &Path) -> io::Result<File>;
    /// Copies the contents of many files here at once, for [`Remote::open`].
    /// What cannot be copied is left out.
    fn fetch(&self, paths: &[PathBuf]) -> io::Result<()>;
    /// Whether the content is here already.
    fn is_here(&self, path: &Path) -> bool;
    /// Makes new files in a folder, each with its content and attributes, and
    /// verified by the device's own hash of it; with the old times when
    /// `times` is set.
    fn put(&self, folder: &Path, new: &mut [NewFile], times: bool) -> io::Result<Vec<(Meta, Digest)>>;
    /// Sets mode and owner, and the times as well when `times` is set.
    fn set_attributes(&self, path: &Path, like: &Attributes, times: bool) -> io::Result<()>;
    /// Sets permission bits.
    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// Sets access and modification times of folders, in nanoseconds since 1970.
    fn set_times(&self, all: &[(PathBuf, i128, i128)]) -> io::Result<()>;
    /// Makes a new folder.
    fn make_dir(&self, path: &Path, mode: u32) -> io::Result<()>;
    /// Removes an empty folder.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;
    /// Removes a file or link, if it still is the one that is meant.
    fn unlink(&self, path: &Path, which: Ident) -> io::Result<()>;
    /// Removes many, each only if it still is what it was; says for each that
    /// stays why.
    fn remove_all(&self, doomed: &[Doomed]) -> io::Result<Vec<(PathBuf, String)>>;
    /// Renames one after the other to names that must be free; ends at the
    /// first that fails.
    fn rename_new(&self, pairs: &[(PathBuf, PathBuf)]) -> io::Result<()>;
    /// Makes everything durable that was changed.
    fn sync(&self) -> io::Result<()>;
    /// How much room there is.
    fn space(&self, path: &Path) -> io::Result<Space>;
    /// Looks at everything below a folder at once and answers from that until
    /// the next change.
    fn preload(&self, path: &Path) -> io::Result<()>;
    /// Everything is looked up anew from now on.
    fn forget(&self);
}

/// The file system that the paths of a place are on: this machine's own, or
/// that of one other device. Whoever opens a path of a place does so here.
#[derive(Debug, Clone, Default)]
pub struct Disk {
    remote: Option<(String, Arc<dyn Remote>)>,
}

impl Disk {
    /// This machine's own file systems.
    #[must_use]
    pub fn here() -> Self {
        Self::default()
    }

    /// The files of another device, whose paths begin with `/adb:NAME/`.
    #[must_use]
    pub fn remote(name: &str, remote: Arc<dyn Remote>) -> Self {
        Self { remote: Some((name.to_owned(), remote)) }
    }

    /// Whether it is that of another device.
    #[must_use]
    pub fn is_remote(&self) -> bool {
        self.remote.is_some()
    }

    /// Where a path of the device is written on this machine; the same path
    /// for this machine's own.
    #[must_use]
    pub fn path(&self, on_device: &Path) -> PathBuf {
        let Some((name, _)) = &self.remote else { return on_device.to_path_buf() };
        let top = Path::new("/").join(format!("{REMOTE}{name}"));
        top.join(on_device.strip_prefix("/").unwrap_or(on_device))
    }

    /// Opens a folder as [`Dir::open`] does, one of the device as well.
    ///
    /// # Errors
    /// As [`Dir::open`]; `NotConnected` for a path of a device that is not
    /// this one.
    pub fn open(&self, path: &Path) -> io::Result<Dir> {
        let Some((name, on)) = split(path) else { return Dir::open(path) };
        if on.components().any(|c| !matches!(c, Component::RootDir | Component::Normal(_))) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the path is not plain"));
        }
        match &self.remote {
            Some((own, remote)) if *own == name => Dir::on(Arc::clone(remote), on, path),
            _ => Err(not_connected(&name)),
        }
    }
}

/// An error for a path of a device that nobody opened.
pub(super) fn not_connected(name: &str) -> io::Error {
    io::Error::new(io::ErrorKind::NotConnected, format!("the device {name} is not connected"))
}

/// Whether a path is on another device.
#[must_use]
pub fn is_remote(path: &Path) -> bool {
    split(path).is_some()
}

/// The name of the device that a path is on, and the path there.
#[must_use]
pub fn split(path: &Path) -> Option<(String, PathBuf)> {
    let mut parts = path.components();
    if parts.next() != Some(Component::RootDir) {
        return None;
    }
    let Some(Component::Normal(first)) = parts.next() else { return None };
    let name = first.to_str()?.strip_prefix(REMOTE)?.to_owned();
    Some((name, Path::new("/").join(parts.as_path())))
}

/// An error of a device for something that it cannot do.
pub(super) fn unsupported() -> io::Error {
    io::ErrorKind::Unsupported.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_on_a_device_is_never_one_of_this_machine() {
        let split = |p: &str| split(Path::new(p));
        assert_eq!(split("/adb:X1/data/data/a"), Some(("X1".into(), "/data/data/a".into())));
        assert_eq!(split("/data/adb:X1"), None);
        assert_eq!(split("adb:X1/data"), None);
        let gone = crate::fsys::Dir::open(Path::new("/adb:nobody/etc")).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotConnected);
    }
}
