//! What changes a disk: create, rename, remove, sync. Everything is relative
//! to an open [`Dir`], nothing follows a link, and nothing replaces what it
//! was not told to replace.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read as _};

use serde::{Deserialize, Serialize};

use super::remote::{Doomed, NewFile};
use super::{Attributes, Digest, Dir, Kind, Meta, RelPath, fault, sys};

/// Which file or folder it is, whatever it is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ident {
    pub dev: u64,
    pub ino: u64,
}

impl Meta {
    /// Which file or folder it is.
    #[must_use]
    pub fn ident(&self) -> Ident {
        Ident { dev: self.dev, ino: self.ino }
    }
}

/// Room on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// Bytes that this user may still write.
    pub free: u64,
    /// Bytes in all.
    pub total: u64,
    /// Files that may still be made; `None` where the file system has no
    /// such limit.
    pub free_files: Option<u64>,
    /// Whether nothing can be written.
    pub read_only: bool,
}

impl Dir {
    /// What is known of the directory itself.
    ///
    /// # Errors
    /// The system's error.
    pub fn meta(&self) -> io::Result<Meta> {
        self.stat(&RelPath::root())
    }

    /// Makes a new, empty file with exactly these permission bits, open for
    /// reading and writing.
    ///
    /// # Errors
    /// `AlreadyExists` when anything has that name, a link included.
    pub fn create_file(&self, rel: &RelPath, mode: u32) -> io::Result<File> {
        fault::point("create file")?;
        let (parent, name) = self.parent_of(rel)?;
        sys::create_file(parent.fd()?, name, mode)
    }

    /// Opens a file for appending; it must be there.
    ///
    /// # Errors
    /// The system's error.
    pub fn append_file(&self, rel: &RelPath) -> io::Result<File> {
        fault::point("open to append")?;
        let (parent, name) = self.parent_of(rel)?;
        let file = sys::append_file(parent.fd()?, name)?;
        if Meta::of(&file)?.kind != Kind::File {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(file)
    }

    /// Whether names in this folder may be changed: its file system is not
    /// read-only and its mode, owner and flags allow it. On another device
    /// that is seen by trying.
    ///
    /// # Errors
    /// The system's reason why not.
    pub fn may_change(&self) -> io::Result<()> {
        if self.is_remote() { Ok(()) } else { sys::may_change(self.fd()?) }
    }

    /// Makes a new folder with exactly these permission bits.
    ///
    /// # Errors
    /// `AlreadyExists` when anything has that name.
    pub fn make_dir(&self, rel: &RelPath, mode: u32) -> io::Result<Self> {
        fault::point("make folder")?;
        if let Some((there, on)) = self.there(rel) {
            there.make_dir(&on, mode)?;
            return self.dir(rel);
        }
        let (parent, name) = self.parent_of(rel)?;
        sys::make_dir(parent.fd()?, name, mode)?;
        let dir = parent.dir(&name_of(name)?)?;
        sys::set_mode(dir.fd()?, mode)?;
        Ok(dir)
    }

    /// Opens the folder, making what is missing of it private to this user.
    ///
    /// # Errors
    /// The system's error; a link on the way is refused.
    pub fn make_dirs(&self, rel: &RelPath) -> io::Result<Self> {
        match self.dir(rel) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let mut at = RelPath::root();
        for name in rel.components() {
            at = at.join(name).map_err(io::Error::other)?;
            match self.make_dir(&at, 0o700) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(e),
            }
        }
        self.dir(rel)
    }

    /// As [`Dir::make_dirs`]; what was made is durable when this returns.
    ///
    /// # Errors
    /// As [`Dir::make_dirs`] and [`Dir::sync`].
    pub fn make_dirs_durable(&self, rel: &RelPath) -> io::Result<Self> {
        let mut above = rel.clone();
        while !above.is_root() && !self.exists(&above)? {
            above = above.parent().unwrap_or_default();
        }
        let dir = self.make_dirs(rel)?;
        let mut at = rel.clone();
        while at != above {
            at = at.parent().unwrap_or_default();
            self.dir(&at)?.sync()?;
        }
        Ok(dir)
    }

    /// Renames to a name that must be free, in one step where the file system
    /// can do that.
    ///
    /// # Errors
    /// `AlreadyExists` when the new name is taken; `CrossesDevices` when the
    /// two places are on different file systems.
    pub fn rename_new(&self, from: &RelPath, to_dir: &Self, to: &RelPath) -> io::Result<()> {
        match (self.there(from), to_dir.there(to)) {
            (Some((there, from)), Some((_, to))) => return there.rename_new(&[(from, to)]),
            (None, None) => {}
            _ => return Err(io::ErrorKind::CrossesDevices.into()),
        }
        let (from_dir, from_name) = self.parent_of(from)?;
        let (to_dir, to_name) = to_dir.parent_of(to)?;
        rename_new_in(&from_dir, from_name, &to_dir, to_name)
    }

    /// Renames over what has the new name, in one step.
    ///
    /// # Errors
    /// The system's error.
    pub fn rename_over(&self, from: &RelPath, to_dir: &Self, to: &RelPath) -> io::Result<()> {
        fault::point("rename over")?;
        let (from_dir, from_name) = self.parent_of(from)?;
        let (to_dir, to_name) = to_dir.parent_of(to)?;
        sys::rename_over(from_dir.fd()?, from_name, to_dir.fd()?, to_name)
    }

    /// Lets two names change places in one step; neither is ever absent.
    ///
    /// # Errors
    /// `Unsupported` where the file system cannot do that; nothing is changed.
    pub fn exchange(&self, a: &RelPath, b: &RelPath) -> io::Result<()> {
        fault::point("exchange")?;
        let (a_dir, a_name) = self.parent_of(a)?;
        let (b_dir, b_name) = self.parent_of(b)?;
        sys::exchange(a_dir.fd()?, a_name, b_dir.fd()?, b_name)
    }

    /// Removes a file or link, if it still is the one that is meant.
    ///
    /// # Errors
    /// `InvalidData` when something else has the name now; the system's error.
    pub fn unlink(&self, rel: &RelPath, which: Ident) -> io::Result<()> {
        if let Some((there, on)) = self.there(rel) {
            return there.unlink(&on, which);
        }
        let (parent, name) = self.parent_of(rel)?;
        let now = parent.stat(&name_of(name)?)?;
        if now.ident() != which || now.kind == Kind::Dir {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not the same file any more"));
        }
        fault::point("unlink")?;
        sys::unlink(parent.fd()?, name, which)
    }

    /// Whether a program, this one included, has a file open in a way that
    /// keeps others from replacing it. On systems where nothing does, no file
    /// ever has.
    ///
    /// # Errors
    /// The system's error; a file that is not there is not open.
    pub fn is_open(&self, rel: &RelPath) -> io::Result<bool> {
        if self.is_remote() {
            return Ok(false);
        }
        let (parent, name) = self.parent_of(rel)?;
        sys::is_open(parent.fd()?, name)
    }

    /// The programs that have a file open, by process id and name, as far as
    /// the system tells; see [`Dir::is_open`].
    #[must_use]
    pub fn holders(&self, rel: &RelPath) -> Vec<(u32, String)> {
        let holders = || -> io::Result<_> {
            let (parent, name) = self.parent_of(rel)?;
            Ok(sys::holders(parent.fd()?, name))
        };
        holders().unwrap_or_default()
    }

    /// Removes an empty folder.
    ///
    /// # Errors
    /// `DirectoryNotEmpty`, or the system's error.
    pub fn remove_dir(&self, rel: &RelPath) -> io::Result<()> {
        fault::point("remove folder")?;
        if let Some((there, on)) = self.there(rel) {
            return there.remove_dir(&on);
        }
        let (parent, name) = self.parent_of(rel)?;
        sys::remove_dir(parent.fd()?, name)
    }

    /// Sets the permission bits of this directory.
    ///
    /// # Errors
    /// The system's error.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        fault::point("set mode")?;
        if let Some((there, on)) = self.there(&RelPath::root()) {
            return there.set_mode(&on, mode);
        }
        sys::set_mode(self.fd()?, mode)
    }

    /// Sets access and modification time of directories of one device, in
    /// nanoseconds since 1970.
    ///
    /// # Errors
    /// The system's error.
    pub fn set_times_of(all: &[(Self, i128, i128)]) -> io::Result<()> {
        let mut far = Vec::new();
        for (dir, atime_ns, mtime_ns) in all {
            fault::point("set times")?;
            match dir.there(&RelPath::root()) {
                Some((_, on)) => far.push((on, *atime_ns, *mtime_ns)),
                None => sys::set_times(dir.fd()?, *atime_ns, *mtime_ns)?,
            }
        }
        match all.first().and_then(|(dir, ..)| dir.there(&RelPath::root())) {
            Some((there, _)) => there.set_times(&far),
            None => Ok(()),
        }
    }

    /// Makes the names in this directory durable.
    ///
    /// # Errors
    /// The system's error. After a failure nothing is known: the caller must
    /// not believe a second try.
    pub fn sync(&self) -> io::Result<()> {
        fault::point("sync folder")?;
        if let Some((there, _)) = self.there(&RelPath::root()) {
            return there.sync();
        }
        if fault::wrong_order(fault::WrongOrder::FoldersUnsynced) {
            return Ok(());
        }
        sys::sync_dir(self.fd()?)
    }

    /// Makes everything on this directory's file system durable; cheaper than
    /// [`Dir::sync`] on each of very many folders.
    ///
    /// # Errors
    /// As [`Dir::sync`]; `Unsupported` where the system cannot report errors.
    pub fn sync_file_system(&self) -> io::Result<()> {
        fault::point("sync file system")?;
        if let Some((there, _)) = self.there(&RelPath::root()) {
            return there.sync();
        }
        if fault::wrong_order(fault::WrongOrder::FoldersUnsynced) {
            return Ok(());
        }
        sys::sync_file_system(self.fd()?)
    }

    /// How much room its file system has.
    ///
    /// # Errors
    /// The system's error.
    pub fn space(&self) -> io::Result<Space> {
        if let Some((there, on)) = self.there(&RelPath::root()) {
            return there.space(&on);
        }
        sys::space(self.fd()?)
    }

    /// Makes new files in a folder on another device, each with its content
    /// and attributes, verified, and durable after the next [`Dir::sync`].
    ///
    /// # Errors
    /// The device's error; `Unsupported` for a directory of this machine.
    pub fn put(&self, folder: &RelPath, new: &mut [NewFile], times: bool) -> io::Result<Vec<(Meta, Digest)>> {
        let (there, on) = self.there(folder).ok_or(io::ErrorKind::Unsupported)?;
        there.put(&on, new, times)
    }

    /// Makes one new file so.
    ///
    /// # Errors
    /// As [`Dir::put`].
    pub fn put_one(
        &self,
        rel: &RelPath,
        from: File,
        like: &Attributes,
        times: bool,
    ) -> io::Result<(Meta, Digest)> {
        let name = rel.file_name().ok_or_else(|| io::Error::other("a name below the folder is needed"))?;
        let mut new = [NewFile { name: name.to_owned(), from, like }];
        let made = self.put(&rel.parent().unwrap_or_default(), &mut new, times)?;
        made.into_iter().next().ok_or_else(|| io::Error::other("the new file is not there"))
    }

    /// Renames many below this directory of another device, in that order, to
    /// names that must be free.
    ///
    /// # Errors
    /// As [`Dir::rename_new`]; those after the first that fails keep their
    /// names. `Unsupported` for a directory of this machine.
    pub fn rename_all_new(&self, pairs: &[(&RelPath, &RelPath)]) -> io::Result<()> {
        let Some((there, top)) = self.there(&RelPath::root()) else {
            return Err(super::remote::unsupported());
        };
        let on = |rel: &RelPath| top.join(rel.as_path());
        there.rename_new(&pairs.iter().map(|(from, to)| (on(from), on(to))).collect::<Vec<_>>())
    }

    /// Looks at many entries of another device at once; the answers hold until
    /// the next change. Of this machine's there is nothing to do.
    ///
    /// # Errors
    /// The device's error.
    pub fn look_ahead<'a>(&self, rels: impl Iterator<Item = &'a RelPath>) -> io::Result<()> {
        match self.there(&RelPath::root()) {
            None => Ok(()),
            Some((there, top)) => there.look_ahead(&rels.map(|r| top.join(r.as_path())).collect::<Vec<_>>()),
        }
    }

    /// Removes many files, and folders that are empty by then, from another
    /// device, each only if it still is what it was; says for each that stays
    /// why.
    ///
    /// # Errors
    /// The device's error; `Unsupported` for a directory of this machine.
    pub fn remove_all(&self, doomed: Vec<(RelPath, Doomed)>) -> io::Result<Vec<(RelPath, String)>> {
        let Some((there, top)) = self.there(&RelPath::root()) else {
            return Err(super::remote::unsupported());
        };
        let all: Vec<Doomed> =
            doomed.into_iter().map(|(rel, d)| Doomed { path: top.join(rel.as_path()), ..d }).collect();
        let kept = there.remove_all(&all)?;
        kept.into_iter()
            .map(|(path, why)| {
                let rel = path.strip_prefix(&top).map_err(io::Error::other)?;
                Ok((RelPath::new(rel).map_err(io::Error::other)?, why))
            })
            .collect()
    }

    /// Copies the contents of many files of another device here at once; of
    /// this machine's there is nothing to do.
    ///
    /// # Errors
    /// The device's error.
    pub fn fetch<'a>(&self, files: impl Iterator<Item = &'a RelPath>) -> io::Result<()> {
        match self.there(&RelPath::root()) {
            None => Ok(()),
            Some((there, top)) => there.fetch(&files.map(|f| top.join(f.as_path())).collect::<Vec<_>>()),
        }
    }

    /// Whether reading the file costs no transfer.
    #[must_use]
    pub fn is_here(&self, rel: &RelPath) -> bool {
        self.there(rel).is_none_or(|(there, on)| there.is_here(&on))
    }

    /// Looks at everything below a folder of another device at once; the
    /// answers hold until the next change.
    ///
    /// # Errors
    /// The device's error.
    pub fn preload(&self, rel: &RelPath) -> io::Result<()> {
        self.there(rel).map_or(Ok(()), |(there, on)| there.preload(&on))
    }

    /// Looks everything of another device up anew from now on.
    pub fn forget(&self) {
        if let Some((there, _)) = self.there(&RelPath::root()) {
            there.forget();
        }
    }

    /// Whether a file begins with these bytes.
    ///
    /// # Errors
    /// The system's error.
    pub fn begins_with(&self, rel: &RelPath, magic: &[u8]) -> io::Result<bool> {
        if let Some((there, on)) = self.there(rel) {
            return there.begins_with(&on, magic);
        }
        let mut start = vec![0; magic.len()];
        match self.open_file(rel)?.read_exact(&mut start) {
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
            other => other.map(|()| start == magic),
        }
    }

    /// What is known of a file that was opened as `file` from here.
    ///
    /// # Errors
    /// The system's error.
    pub fn meta_of(&self, rel: &RelPath, file: &File) -> io::Result<Meta> {
        if self.is_remote() { self.stat(rel) } else { Meta::of(file) }
    }

    /// All that a file opened as `file` from here carries besides its content.
    ///
    /// # Errors
    /// The system's error.
    pub fn attributes_of(&self, rel: &RelPath, file: &File) -> io::Result<Attributes> {
        if self.is_remote() { Ok(Attributes::of_meta(&self.stat(rel)?)) } else { Attributes::of(file) }
    }

    /// The folder that holds `rel`, opened, and its last name.
    pub(crate) fn parent_of<'a>(&self, rel: &'a RelPath) -> io::Result<(Self, &'a OsStr)> {
        let name = rel.file_name().ok_or_else(|| io::Error::other("a name below the folder is needed"))?;
        Ok((self.dir(&rel.parent().unwrap_or_default())?, name))
    }
}

/// [`Dir::rename_new`] for callers that already hold both folders open, which
/// saves two look-ups a file when there are tens of thousands.
pub(crate) fn rename_new_in(from_dir: &Dir, from: &OsStr, to_dir: &Dir, to: &OsStr) -> io::Result<()> {
    fault::point("rename")?;
    if from_dir.is_remote() || to_dir.is_remote() {
        return from_dir.rename_new(&name_of(from)?, to_dir, &name_of(to)?);
    }
    sys::rename_new(from_dir.fd()?, from, to_dir.fd()?, to)
}

fn name_of(name: &OsStr) -> io::Result<RelPath> {
    RelPath::root().join(name).map_err(io::Error::other)
}

/// Whether the system refused because there is a link on the way.
#[must_use]
pub fn is_link_refusal(e: &io::Error) -> bool {
    let refusal = sys::link_refusal();
    e.raw_os_error().is_some() && e.raw_os_error() == refusal.raw_os_error()
}

/// The error for a link where none may be.
pub(crate) fn link_refusal() -> io::Error {
    sys::link_refusal()
}

/// Makes a file's content durable, as far as its medium can.
///
/// # Errors
/// The system's error. After a failure the content is unknown: write it anew
/// to another file.
pub fn sync_file(file: &File) -> io::Result<()> {
    fault::point("sync file")?;
    sys::sync_file(file)
}

/// Gives an empty file room on the disk and that length.
///
/// # Errors
/// When there is not so much.
pub fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    sys::allocate(file, bytes)
}

/// Asks the system to forget what it holds of the file in memory, so that
/// reading it again reads the medium. A hint: never fails.
pub fn forget_cached(file: &File) {
    sys::forget_cached(file);
}

#[cfg(test)]
#[cfg(unix)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt as _, symlink};

    fn rel(text: &str) -> RelPath {
        RelPath::new(text).unwrap()
    }

    fn dir() -> (tempfile::TempDir, Dir) {
        let tmp = tempfile::tempdir().unwrap();
        let dir = Dir::open(&tmp.path().canonicalize().unwrap()).unwrap();
        (tmp, dir)
    }

    #[test]
    fn nothing_is_replaced_by_accident() {
        let (tmp, dir) = dir();
        fs::write(tmp.path().join("a"), "a").unwrap();
        fs::write(tmp.path().join("b"), "b").unwrap();
        symlink("nowhere", tmp.path().join("l")).unwrap();
        for taken in ["b", "l"] {
            let e = dir.rename_new(&rel("a"), &dir, &rel(taken)).unwrap_err();
            assert_eq!(e.kind(), io::ErrorKind::AlreadyExists);
            assert!(dir.create_file(&rel(taken), 0o600).is_err());
            assert!(dir.make_dir(&rel(taken), 0o700).is_err());
        }
        assert_eq!(fs::read(tmp.path().join("b")).unwrap(), b"b");
        dir.rename_new(&rel("a"), &dir, &rel("c")).unwrap();
        dir.exchange(&rel("b"), &rel("c")).unwrap();
        assert_eq!(fs::read(tmp.path().join("b")).unwrap(), b"a");
        assert!(!tmp.path().join("a").exists());
    }

    #[test]
    fn only_the_meant_file_is_unlinked() {
        let (tmp, dir) = dir();
        fs::write(tmp.path().join("a"), "a").unwrap();
        fs::write(tmp.path().join("b"), "b").unwrap();
        let a = dir.stat(&rel("a")).unwrap().ident();
        assert!(dir.unlink(&rel("b"), a).is_err());
        dir.unlink(&rel("a"), a).unwrap();
        assert!(dir.unlink(&rel("a"), a).is_err());
        assert!(tmp.path().join("b").exists());
    }

    #[test]
    fn modes_do_not_depend_on_the_mask() {
        let (tmp, dir) = dir();
        dir.create_file(&rel("f"), 0o666).unwrap();
        dir.make_dir(&rel("d"), 0o777).unwrap();
        dir.make_dirs(&rel("p/q")).unwrap();
        let mode = |name: &str| fs::metadata(tmp.path().join(name)).unwrap().mode() & 0o7777;
        assert_eq!([mode("f"), mode("d"), mode("p"), mode("p/q")], [0o666, 0o777, 0o700, 0o700]);
    }

    #[test]
    fn a_link_on_the_way_is_refused_when_writing_too() {
        let (tmp, dir) = dir();
        fs::create_dir(tmp.path().join("real")).unwrap();
        fs::write(tmp.path().join("real/f"), "f").unwrap();
        symlink("real", tmp.path().join("l")).unwrap();
        let f = dir.stat(&rel("real/f")).unwrap().ident();
        assert!(dir.create_file(&rel("l/x"), 0o600).is_err());
        assert!(dir.make_dirs(&rel("l/x/y")).is_err());
        assert!(dir.unlink(&rel("l/f"), f).is_err());
        assert!(dir.rename_new(&rel("l/f"), &dir, &rel("g")).is_err());
        assert!(dir.append_file(&rel("l/f")).is_err());
        assert!(tmp.path().join("real/f").exists());
    }

    #[test]
    fn a_test_can_make_any_operation_fail() {
        use crate::fsys::{Fault, fault_count, with_faults};
        let (tmp, dir) = dir();
        let work = || {
            dir.create_file(&rel("a"), 0o600)?;
            dir.rename_new(&rel("a"), &dir, &rel("b"))?;
            dir.unlink(&rel("b"), dir.stat(&rel("b"))?.ident())
        };
        assert_eq!(with_faults(Fault::Never, || (work().is_ok(), fault_count())), (true, 3));
        let e = with_faults(Fault::Once(2, rustix::io::Errno::NOSPC.raw_os_error()), work).unwrap_err();
        assert_eq!(e.kind(), io::ErrorKind::StorageFull);
        assert!(tmp.path().join("a").exists());
        assert!(with_faults(Fault::From(1), || dir.unlink(&rel("a"), dir.stat(&rel("a"))?.ident())).is_err());
        assert!(tmp.path().join("a").exists());
    }

    #[test]
    fn space_is_told() {
        let (_tmp, dir) = dir();
        let space = dir.space().unwrap();
        assert!(space.total >= space.free && space.total > 0 && !space.read_only);
    }
}
