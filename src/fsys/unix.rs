//! The system's calls on Linux, macOS and Android: everything relative to an
//! open folder, no link followed.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{
    Access, AtFlags, FileType, Gid, Mode, OFlags, RenameFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::attributes::{from_hex, to_hex};
use super::{Attributes, Entry, Ident, Kind, Meta, RelPath, Space};

/// An open folder.
pub(super) type Handle = OwnedFd;

/// How many bytes of names the system is asked for at once.
#[cfg(any(target_os = "linux", target_os = "android"))]
const LISTING_BUFFER: usize = 64 * 1024;

/// Extended attributes longer than this in total are left out: no app that
/// this program knows keeps data there.
const XATTR_LIMIT: usize = 1 << 20;

const DIR_FLAGS: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// Opens the folder that a path names; a last link is refused.
pub(super) fn open_dir(path: &Path) -> io::Result<Handle> {
    Ok(rustix::fs::open(path, DIR_FLAGS, Mode::empty())?)
}

/// Opens a folder right in another one, also one that another file system is
/// mounted on.
pub(super) fn enter(dir: &Handle, name: &OsStr) -> io::Result<Handle> {
    Ok(rustix::fs::openat(dir, name, DIR_FLAGS, Mode::empty())?)
}

/// Opens a folder below another one on the same file system.
pub(super) fn dir_below(dir: &Handle, rel: &RelPath) -> io::Result<Handle> {
    open_below(dir, rel, DIR_FLAGS)
}

/// Opens a regular file below a folder, on the same file system, for reading.
/// Never blocks on a FIFO.
pub(super) fn file_below(dir: &Handle, rel: &RelPath) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let fd = open_below(dir, rel, flags)?;
    let stat = rustix::fs::fstat(&fd)?;
    if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(File::from(fd))
}

fn open_below(dir: &Handle, rel: &RelPath, flags: OFlags) -> io::Result<OwnedFd> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        use rustix::fs::ResolveFlags;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
        match rustix::fs::openat2(dir, rel.as_path(), flags, Mode::empty(), resolve) {
            Err(Errno::NOSYS | Errno::PERM) => {}
            other => return Ok(other?),
        }
    }
    open_by_component(dir, rel, flags)
}

/// What `openat2` does, one component at a time, where it is missing.
fn open_by_component(dir: &Handle, rel: &RelPath, flags: OFlags) -> io::Result<OwnedFd> {
    let here = rustix::fs::fstat(dir)?.st_dev;
    let mut fd = dir.try_clone()?;
    let mut names = rel.components().peekable();
    while let Some(name) = names.next() {
        let flags = if names.peek().is_some() { DIR_FLAGS } else { flags | OFlags::NOFOLLOW };
        fd = rustix::fs::openat(fd.as_fd(), name, flags, Mode::empty())?;
        if rustix::fs::fstat(&fd)?.st_dev != here {
            return Err(io::Error::from(Errno::XDEV));
        }
    }
    Ok(fd)
}

/// What is known of an open file or folder.
pub(super) fn meta_of(open: impl AsFd) -> io::Result<Meta> {
    Ok(meta(&rustix::fs::fstat(open)?))
}

/// What is known of an entry of a folder, a link not followed.
pub(super) fn meta_at(dir: &Handle, name: &OsStr) -> io::Result<Meta> {
    Ok(meta(&rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?))
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
        flags: 0,
        uid: stat.st_uid as u32,
        gid: stat.st_gid as u32,
        links: stat.st_nlink as u64,
        allocated: (stat.st_blocks as u64) * 512,
    }
}

/// All entries of a folder where a listing tells everything of them; here it
/// tells names, and [`meta_at`] the rest.
#[inline]
pub(super) fn list(_dir: &Handle) -> io::Result<Option<Vec<Entry>>> {
    Ok(None)
}

/// The names in a folder, with their kind where the listing itself tells it.
pub(super) fn each_name(dir: &Handle, mut each: impl FnMut(&OsStr, Option<Kind>)) -> io::Result<()> {
    each_inode(dir, |name, kind, _| each(name, kind))
}

/// As [`each_name`], with the inode that the folder has for each. On layered
/// file systems and in FUSE that need not be the file's own.
pub(super) fn each_inode(dir: &Handle, mut each: impl FnMut(&OsStr, Option<Kind>, u64)) -> io::Result<()> {
    // A handle of its own, so that several listings do not share one position.
    let fd = rustix::fs::openat(dir, ".", DIR_FLAGS, Mode::empty())?;
    let mut take = |name: &[u8], kind: FileType, inode: u64| {
        let name = OsStr::from_bytes(name);
        if name == "." || name == ".." {
            return;
        }
        let kind = match kind {
            FileType::RegularFile => Some(Kind::File),
            FileType::Directory => Some(Kind::Dir),
            FileType::Symlink => Some(Kind::Link),
            FileType::Unknown => None,
            _ => Some(Kind::Other),
        };
        each(name, kind, inode);
    };
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let mut buffer = Vec::with_capacity(LISTING_BUFFER);
        let mut items = rustix::fs::RawDir::new(fd, buffer.spare_capacity_mut());
        while let Some(item) = items.next() {
            let item = item?;
            take(item.file_name().to_bytes(), item.file_type(), item.ino());
        }
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    for item in rustix::fs::Dir::new(fd)? {
        let item = item?;
        take(item.file_name().to_bytes(), item.file_type(), item.ino());
    }
    Ok(())
}

/// Makes a new, empty file with exactly these permission bits.
pub(super) fn create_file(dir: &Handle, name: &OsStr, mode: u32) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    // Never more than asked for, not even for a moment: the mask of the
    // process can only take bits away, and they are set afterwards.
    let fd = rustix::fs::openat(dir, name, flags, Mode::from_raw_mode(mode as _))?;
    rustix::fs::fchmod(&fd, Mode::from_raw_mode(mode as _))?;
    Ok(File::from(fd))
}

/// Opens a file for reading and for writing at its end.
pub(super) fn append_file(dir: &Handle, name: &OsStr) -> io::Result<File> {
    let flags = OFlags::RDWR | OFlags::APPEND | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    Ok(File::from(rustix::fs::openat(dir, name, flags, Mode::empty())?))
}

/// Makes a new folder.
pub(super) fn make_dir(dir: &Handle, name: &OsStr, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::mkdirat(dir, name, Mode::from_raw_mode(mode as _))?)
}

/// Renames over what has the new name, in one step.
pub(super) fn rename_over(from_dir: &Handle, from: &OsStr, to_dir: &Handle, to: &OsStr) -> io::Result<()> {
    Ok(rustix::fs::renameat(from_dir, from, to_dir, to)?)
}

/// Renames to a name that must be free, in one step where the file system can
/// do that.
pub(super) fn rename_new(from_dir: &Handle, from: &OsStr, to_dir: &Handle, to: &OsStr) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    {
        let flags = RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(from_dir, from, to_dir, to, flags) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {}
            other => return Ok(other?),
        }
    }
    rename_new_by_hand(from_dir, from, to_dir, to)
}

/// Where the file system has no rename that refuses to replace: a second name
/// cannot replace anything either; a folder can at worst replace an empty one.
fn rename_new_by_hand(from_dir: &Handle, from: &OsStr, to_dir: &Handle, to: &OsStr) -> io::Result<()> {
    let meta = rustix::fs::statat(from_dir, from, AtFlags::SYMLINK_NOFOLLOW)?;
    let is_dir = FileType::from_raw_mode(meta.st_mode) == FileType::Directory;
    if !is_dir {
        match rustix::fs::linkat(from_dir, from, to_dir, to, AtFlags::empty()) {
            Ok(()) => return Ok(rustix::fs::unlinkat(from_dir, from, AtFlags::empty())?),
            // No second names there (FAT, exFAT).
            Err(Errno::PERM | Errno::NOTSUP | Errno::NOSYS) => {}
            Err(e) => return Err(e.into()),
        }
    }
    match rustix::fs::statat(to_dir, to, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => Ok(rustix::fs::renameat(from_dir, from, to_dir, to)?),
        Ok(_) => Err(io::ErrorKind::AlreadyExists.into()),
        Err(e) => Err(e.into()),
    }
}

/// Lets two names change places in one step.
pub(super) fn exchange(a_dir: &Handle, a: &OsStr, b_dir: &Handle, b: &OsStr) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
    {
        match rustix::fs::renameat_with(a_dir, a, b_dir, b, RenameFlags::EXCHANGE) {
            Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Err(io::ErrorKind::Unsupported.into()),
            other => Ok(other?),
        }
    }
    #[cfg(not(any(target_os = "linux", target_os = "android", target_vendor = "apple")))]
    {
        let _ = (a_dir, a, b_dir, b);
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Removes a file or link that was just seen to be the one with that identity.
pub(super) fn unlink(dir: &Handle, name: &OsStr, _which: Ident) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(dir, name, AtFlags::empty())?)
}

/// Removes an empty folder.
pub(super) fn remove_dir(dir: &Handle, name: &OsStr) -> io::Result<()> {
    Ok(rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)?)
}

/// Sets the permission bits of an open folder.
pub(super) fn set_mode(dir: &Handle, mode: u32) -> io::Result<()> {
    Ok(rustix::fs::fchmod(dir, Mode::from_raw_mode(mode as _))?)
}

/// Makes the names in a folder durable.
pub(super) fn sync_dir(dir: &Handle) -> io::Result<()> {
    match rustix::fs::fsync(dir) {
        // Some file systems have nothing to sync in a folder.
        Ok(()) | Err(Errno::INVAL) => Ok(()),
        Err(e) => Err(e.into()),
    }
}

/// Makes everything durable on the file system that a folder is on.
pub(super) fn sync_file_system(dir: &Handle) -> io::Result<()> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    return Ok(rustix::fs::syncfs(dir)?);
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    {
        // No other system reports what failed.
        let _ = dir;
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// Makes a file's content durable, as far as its medium can.
pub(super) fn sync_file(file: &File) -> io::Result<()> {
    match file.sync_all() {
        // macOS flushes the drive's own cache here, which network and exFAT
        // volumes refuse; the plain form is the best they have.
        Err(e) if cfg!(target_vendor = "apple") && e.raw_os_error() != Some(Errno::IO.raw_os_error()) => {
            Ok(rustix::fs::fsync(file)?)
        }
        other => other,
    }
}

/// Asks the system to forget what it holds of the file in memory.
pub(super) fn forget_cached(file: &File) {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    {
        let _hint = rustix::fs::fadvise(file, 0, None, rustix::fs::Advice::DontNeed);
    }
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let _ = file;
}

pub(super) fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    return Ok(rustix::fs::fallocate(file, rustix::fs::FallocateFlags::empty(), 0, bytes)?);
    #[cfg(not(target_os = "linux"))]
    io::Write::write_all(&mut { file }, &vec![0; usize::try_from(bytes).unwrap_or(usize::MAX)])
}

/// How much room the file system of a folder has.
#[allow(clippy::useless_conversion)]
pub(super) fn space(dir: &Handle) -> io::Result<Space> {
    let s = rustix::fs::fstatvfs(dir)?;
    let unit = if s.f_frsize > 0 { s.f_frsize } else { s.f_bsize };
    Ok(Space {
        free: u64::from(s.f_bavail).saturating_mul(unit),
        total: u64::from(s.f_blocks).saturating_mul(unit),
        // A file system without a table of files reports none at all.
        free_files: (s.f_files > 0).then_some(u64::from(s.f_favail)),
        read_only: s.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY),
    })
}

/// Which folders a folder lies in, itself first, up to the top.
pub(super) fn ancestry(dir: &Handle) -> io::Result<Vec<Ident>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let mut out = vec![meta_of(dir)?.ident()];
    let mut fd = rustix::fs::openat(dir, "..", flags, Mode::empty())?;
    loop {
        let ident = meta_of(&fd)?.ident();
        // The top is its own parent.
        if out.last() == Some(&ident) {
            return Ok(out);
        }
        out.push(ident);
        if out.len() > 4096 {
            return Err(io::Error::other("the folders are nested too deeply"));
        }
        fd = rustix::fs::openat(&fd, "..", flags, Mode::empty())?;
    }
}

/// The user that this process acts for.
pub(super) fn effective_user() -> Option<u32> {
    Some(rustix::process::geteuid().as_raw())
}

/// Where a path really leads, links resolved.
pub(super) fn real_path(path: &Path) -> io::Result<PathBuf> {
    path.canonicalize()
}

/// Whether another program keeps a file from being replaced by having it open:
/// none can here.
pub(super) fn is_open(_dir: &Handle, _name: &OsStr) -> io::Result<bool> {
    Ok(false)
}

/// Which programs have it open; see [`is_open`].
pub(super) fn holders(_dir: &Handle, _name: &OsStr) -> Vec<(u32, String)> {
    Vec::new()
}

/// The error for a link where none may be.
pub(super) fn link_refusal() -> io::Error {
    Errno::LOOP.into()
}

/// A name from its bytes.
pub(super) fn os_string(bytes: Vec<u8>) -> Option<OsString> {
    Some(OsString::from_vec(bytes))
}

/// Gives an open file or folder its owner, mode, extended attributes and,
/// when `times` is set, its times.
pub(super) fn apply(fd: impl AsFd, like: &Attributes, times: bool) -> io::Result<()> {
    let fd = fd.as_fd();
    let now = rustix::fs::fstat(fd)?;
    // The owner first: changing it clears the set-id bits.
    if (now.st_uid, now.st_gid) != (like.uid, like.gid) {
        rustix::fs::fchown(fd, Some(Uid::from_raw(like.uid)), Some(Gid::from_raw(like.gid)))?;
    }
    // A new file takes an access list from its folder's default one: none
    // stays none. Before the mode, of which a list takes the group's part.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    drop_access_lists(fd, like)?;
    rustix::fs::fchmod(fd, Mode::from_raw_mode(like.mode as _))?;
    for (name, value) in &like.xattrs {
        let value = from_hex(value).ok_or_else(|| io::Error::other("malformed attribute value"))?;
        match rustix::fs::fsetxattr(fd, name.as_str(), &value, XattrFlags::empty()) {
            Ok(()) => {}
            // Set by the system itself (a label of its default policy), or
            // not known on this file system.
            Err(Errno::PERM | Errno::ACCESS | Errno::NOTSUP) if has(fd, name, &value) => {}
            Err(e) => return Err(e.into()),
        }
    }
    if times { set_times(fd, like.atime_ns, like.mtime_ns) } else { Ok(()) }
}

/// Removes access control lists (acl(5)) that `like` does not have.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn drop_access_lists(fd: std::os::fd::BorrowedFd<'_>, like: &Attributes) -> io::Result<()> {
    const LISTS: [&str; 2] = ["system.posix_acl_access", "system.posix_acl_default"];
    for (name, _) in xattrs(fd)? {
        if LISTS.contains(&name.as_str()) && !like.xattrs.iter().any(|(n, _)| *n == name) {
            match rustix::fs::fremovexattr(fd, name.as_str()) {
                Ok(()) | Err(Errno::NODATA | Errno::NOTSUP) => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
    Ok(())
}

/// Whether names in an open folder may be changed.
pub(super) fn may_change(dir: &Handle) -> io::Result<()> {
    Ok(rustix::fs::accessat(dir, ".", Access::WRITE_OK | Access::EXEC_OK, AtFlags::EACCESS)?)
}

/// Sets access and modification time, in nanoseconds since 1970.
pub(super) fn set_times(fd: impl AsFd, atime_ns: i128, mtime_ns: i128) -> io::Result<()> {
    let spec = |ns: i128| {
        let sec = i64::try_from(ns.div_euclid(1_000_000_000));
        let sec = sec.map_err(|_| io::Error::other("a time is out of range"))?;
        Ok::<_, io::Error>(Timespec { tv_sec: sec as _, tv_nsec: ns.rem_euclid(1_000_000_000) as _ })
    };
    let times = Timestamps { last_access: spec(atime_ns)?, last_modification: spec(mtime_ns)? };
    Ok(rustix::fs::futimens(fd, &times)?)
}

/// macOS: `SF_DATALESS` in `st_flags` (`sys/stat.h`).
#[cfg(target_vendor = "apple")]
const DATALESS: u32 = 0x4000_0000;

/// Whether only the name of a file is on this disk; `meta` is what is known of it.
pub(super) fn is_placeholder(dir: &Handle, rel: &RelPath, meta: &Meta) -> io::Result<bool> {
    // Such a file takes no room here; few others do.
    if meta.kind != Kind::File || meta.size == 0 || meta.allocated > 0 {
        return Ok(false);
    }
    #[cfg(target_vendor = "apple")]
    {
        let name = rel.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = dir_below(dir, &rel.parent().unwrap_or_default())?;
        let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(stat.st_flags & DATALESS != 0)
    }
    #[cfg(not(target_vendor = "apple"))]
    {
        // A mounted disk of Windows shows them as an extended attribute.
        let file = file_below(dir, rel)?;
        let mut attributes = [0; 4];
        match rustix::fs::fgetxattr(&file, "system.ntfs_attrib_be", &mut attributes) {
            Ok(4) => Ok(u32::from_be_bytes(attributes) & super::attributes::ELSEWHERE != 0),
            _ => Ok(false),
        }
    }
}

/// The extended attributes of an open file or folder, values in hex.
pub(super) fn xattrs(fd: impl AsFd) -> io::Result<Vec<(String, String)>> {
    let fd = fd.as_fd();
    let mut names = vec![0u8; 4096];
    let len = loop {
        match rustix::fs::flistxattr(fd, names.as_mut_slice()) {
            Ok(len) => break len,
            Err(Errno::RANGE) if names.len() < XATTR_LIMIT => names.resize(names.len() * 4, 0),
            Err(Errno::NOTSUP | Errno::RANGE) => return Ok(Vec::new()),
            Err(e) => return Err(e.into()),
        }
    };
    let mut out = Vec::new();
    let mut total = 0;
    for name in names.get(..len).unwrap_or_default().split(|&b| b == 0) {
        // Every system uses ASCII names.
        let Ok(name) = std::str::from_utf8(name) else { continue };
        if name.is_empty() {
            continue;
        }
        let Some(value) = value(fd, name) else { continue };
        total += name.len() + value.len();
        if total > XATTR_LIMIT {
            break;
        }
        out.push((name.to_owned(), to_hex(&value)));
    }
    out.sort();
    Ok(out)
}

fn value(fd: impl AsFd, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0u8; 65536];
    let len = rustix::fs::fgetxattr(fd, name, value.as_mut_slice()).ok()?;
    value.truncate(len);
    Some(value)
}

fn has(fd: impl AsFd, name: &str, wanted: &[u8]) -> bool {
    value(fd, name).as_deref() == Some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn links_are_refused_without_openat2_too() {
        let tmp = tempfile::tempdir().unwrap();
        let base = tmp.path().canonicalize().unwrap();
        std::fs::create_dir_all(base.join("sub")).unwrap();
        std::fs::write(base.join("sub/f"), "x").unwrap();
        symlink("sub", base.join("inner")).unwrap();
        symlink("sub/f", base.join("flink")).unwrap();
        let dir = open_dir(&base).unwrap();
        let open = |rel: &str| open_by_component(&dir, &RelPath::new(rel).unwrap(), OFlags::RDONLY);
        assert!(open("sub/f").is_ok());
        for bad in ["inner/f", "flink"] {
            assert!(open(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_fifo_neither_blocks_nor_opens() {
        let tmp = tempfile::tempdir().unwrap();
        let dir = open_dir(tmp.path()).unwrap();
        let made = std::process::Command::new("mkfifo").arg(tmp.path().join("pipe")).status().unwrap();
        assert!(made.success());
        assert!(file_below(&dir, &RelPath::new("pipe").unwrap()).is_err());
    }

    #[test]
    fn nothing_is_replaced_where_the_system_cannot_refuse_it() {
        let tmp = tempfile::tempdir().unwrap();
        std::fs::write(tmp.path().join("a"), "a").unwrap();
        std::fs::write(tmp.path().join("b"), "b").unwrap();
        symlink("nowhere", tmp.path().join("l")).unwrap();
        let dir = open_dir(tmp.path()).unwrap();
        for taken in ["b", "l"] {
            let e = rename_new_by_hand(&dir, "a".as_ref(), &dir, taken.as_ref()).unwrap_err();
            assert_eq!(e.kind(), io::ErrorKind::AlreadyExists);
        }
        assert_eq!(std::fs::read(tmp.path().join("b")).unwrap(), b"b");
        rename_new_by_hand(&dir, "a".as_ref(), &dir, "c".as_ref()).unwrap();
        assert_eq!(std::fs::read(tmp.path().join("c")).unwrap(), b"a");
    }

    #[test]
    fn extended_attributes_are_carried_over() {
        let tmp = tempfile::tempdir().unwrap();
        let old = File::create(tmp.path().join("old")).unwrap();
        rustix::fs::fchmod(&old, Mode::from_raw_mode(0o640)).unwrap();
        // Not every file system has them; /tmp on a Linux tmpfs did not always.
        let with = rustix::fs::fsetxattr(&old, "user.shopmend", b"\0\xff", XattrFlags::empty()).is_ok();
        let attributes = Attributes::of(&old).unwrap();
        assert_eq!(attributes.mode, 0o640);
        let new = File::create(tmp.path().join("new")).unwrap();
        attributes.apply(&new, true).unwrap();
        assert_eq!(Attributes::of(&new).unwrap(), attributes);
        if with {
            assert_eq!(attributes.xattrs, [("user.shopmend".to_owned(), "00ff".to_owned())]);
        }
    }
}
