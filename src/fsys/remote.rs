//! A file system of another device, behind the same [`Dir`](super::Dir): the
//! rooms above work on it as on this machine's.
//!
//! Its paths begin with `/adb:NAME/`, which no folder of this machine is ever
//! looked for under: while the device is not mounted here, such a path is an
//! error.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use super::{Attributes, Digest, Entry, Ident, Meta, RelPath, Space};

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
    /// The processes of the app whose folder it is, by id and name.
    fn users(&self, path: &Path) -> io::Result<Vec<(u32, String)>>;
    /// Everything is looked up anew from now on.
    fn forget(&self);
}

static MOUNTED: RwLock<BTreeMap<String, Arc<dyn Remote>>> = RwLock::new(BTreeMap::new());

/// Makes a device's files reachable below `/adb:NAME/` until the guard is
/// dropped.
pub fn mount(name: &str, remote: Arc<dyn Remote>) -> Mounted {
    let mut all = MOUNTED.write().unwrap_or_else(PoisonError::into_inner);
    all.insert(name.to_owned(), remote);
    Mounted { name: name.to_owned() }
}

/// Keeps a device mounted.
#[derive(Debug)]
pub struct Mounted {
    name: String,
}

impl Mounted {
    /// Where a path of the device is reached.
    #[must_use]
    pub fn path(&self, on_device: &Path) -> PathBuf {
        let top = Path::new("/").join(format!("{REMOTE}{}", self.name));
        top.join(on_device.strip_prefix("/").unwrap_or(on_device))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        MOUNTED.write().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

/// Whether a path is on another device.
#[must_use]
pub fn is_remote(path: &Path) -> bool {
    split(path).is_some()
}

/// The device and the path on it, for a path on another device.
pub(super) fn find(path: &Path) -> Option<io::Result<(Arc<dyn Remote>, PathBuf)>> {
    let (name, rest) = split(path)?;
    if rest.components().any(|c| !matches!(c, Component::RootDir | Component::Normal(_))) {
        return Some(Err(io::Error::new(io::ErrorKind::InvalidInput, "the path is not plain")));
    }
    let all = MOUNTED.read().unwrap_or_else(PoisonError::into_inner);
    Some(all.get(&name).map(|r| (Arc::clone(r), rest)).ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotConnected, format!("the device {name} is not connected"))
    }))
}

/// The processes of the app whose folder on another device it is; `None` for
/// a path of this machine.
#[must_use]
pub fn users_of(path: &Path) -> Option<io::Result<Vec<(u32, String)>>> {
    Some(find(path)?.and_then(|(there, on)| there.users(&on)))
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
