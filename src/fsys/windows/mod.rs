//! The system's calls on Windows: everything relative to an open folder, no
//! junction or other link followed, names exactly as they are.
//!
//! A file that another program has open is waited for, a short time only, and
//! then refused by name: what holds it is asked of the Restart Manager.

mod holders;
mod nt;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::windows::io::{AsHandle, BorrowedHandle, OwnedHandle};
use std::path::{Path, PathBuf};
use std::time::Duration;

use windows_sys::Wdk::Storage::FileSystem::{
    FILE_CREATE, FILE_DIRECTORY_FILE, FILE_NON_DIRECTORY_FILE, FILE_OPEN,
};
use windows_sys::Win32::Foundation::FILETIME;
use windows_sys::Win32::Storage::FileSystem as fs;

use self::nt::{Ask, SHARE_ALL, whole_name, wide};
use super::attributes::{ELSEWHERE, from_hex, to_hex};
use super::{Attributes, Entry, Ident, Kind, Meta, RelPath, Space};

/// An open folder.
pub(super) type Handle = OwnedHandle;

/// How long reading waits for a program that lets nobody else read.
const READ_WAITS: [u64; 4] = [10, 20, 40, 80];
/// How long a change waits: virus scanners and indexers open what is new for
/// a moment.
const CHANGE_WAITS: [u64; 6] = [10, 20, 40, 80, 160, 320];

/// `ERROR_SHARING_VIOLATION`, `ERROR_LOCK_VIOLATION` and, of a file that is
/// mapped into memory, `ERROR_USER_MAPPED_FILE`.
const IN_USE: [i32; 3] = [32, 33, 1224];

/// Cloud drives' kinds of links: `IO_REPARSE_TAG_CLOUD` and its fifteen
/// relatives (`winnt.h`).
const CLOUD: u32 = 0x9000_001a;
const CLOUD_MASK: u32 = 0xffff_0fff;
/// The bit of a link's kind that says that it stands for another name.
const SURROGATE: u32 = 0x2000_0000;

/// The system counts 100 ns from 1601; so many to 1970.
const EPOCH: i64 = 116_444_736_000_000_000;

/// The name under which [`xattrs`] keeps the creation time: eight bytes, the
/// system's count.
const CREATED: &str = "windows.creation-time";

fn ask(access: u32, options: u32) -> Ask {
    Ask { access, share: SHARE_ALL, disposition: FILE_OPEN, options }
}

fn ask_dir() -> Ask {
    ask(fs::FILE_LIST_DIRECTORY | fs::FILE_TRAVERSE | fs::FILE_READ_ATTRIBUTES, FILE_DIRECTORY_FILE)
}

/// Opens the folder that a path names; a last link is refused.
pub(super) fn open_dir(path: &Path) -> io::Result<Handle> {
    let name = whole_name(path)?;
    // The top of a drive is no entry of anything.
    if path.file_name().is_some() && is_link(nt::attributes_of_name(&name)?) {
        return Err(link_refusal());
    }
    real_dir(None, &name)
}

/// Opens a folder right in another one.
pub(super) fn enter(dir: &Handle, name: &OsStr) -> io::Result<Handle> {
    let name = wide(name);
    if is_hidden_link(dir, &name)? {
        return Err(link_refusal());
    }
    real_dir(Some(dir.as_handle()), &name)
}

/// Opens a folder unless it is a link.
fn real_dir(at: Option<BorrowedHandle<'_>>, name: &[u16]) -> io::Result<Handle> {
    let handle = patiently(&READ_WAITS, || nt::open(at, name, ask_dir()))?;
    if is_link(nt::facts(handle.as_handle())?.by_handle.dwFileAttributes) {
        return Err(link_refusal());
    }
    Ok(handle)
}

fn is_link(attributes: u32) -> bool {
    attributes & fs::FILE_ATTRIBUTE_REPARSE_POINT != 0
}

/// Whether a name is one of Wine's folder links: it follows them even when
/// asked not to, and only the listing shows them. Its users' folders have
/// links into the real home.
fn is_hidden_link(dir: &Handle, name: &[u16]) -> io::Result<bool> {
    Ok(nt::is_wine()
        && is_link(nt::attributes_in_listing(again(dir, fs::FILE_LIST_DIRECTORY)?.as_handle(), name)?))
}

/// Opens a folder below another one; every way onto another volume is a link.
pub(super) fn dir_below(dir: &Handle, rel: &RelPath) -> io::Result<Handle> {
    let mut at = dir.try_clone()?;
    for name in rel.components() {
        at = enter(&at, name)?;
    }
    Ok(at)
}

/// Opens a regular file below a folder for reading.
pub(super) fn file_below(dir: &Handle, rel: &RelPath) -> io::Result<File> {
    let (parent, name) = parent_below(dir, rel)?;
    let ask = ask(fs::FILE_GENERIC_READ, FILE_NON_DIRECTORY_FILE);
    let open = patiently(&READ_WAITS, || nt::open(Some(parent.as_handle()), &wide(name), ask))?;
    if meta_of(&open)?.kind != Kind::File {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(File::from(open))
}

fn parent_below<'a>(dir: &Handle, rel: &'a RelPath) -> io::Result<(Handle, &'a OsStr)> {
    let name = rel.file_name().ok_or_else(|| io::Error::other("a name below the folder is needed"))?;
    Ok((dir_below(dir, &rel.parent().unwrap_or_default())?, name))
}

/// What is known of an open file or folder.
pub(super) fn meta_of(open: impl AsHandle) -> io::Result<Meta> {
    let facts = nt::facts(open.as_handle())?;
    let info = facts.by_handle;
    let join = |high: u32, low: u32| u64::from(high) << 32 | u64::from(low);
    let time = |t: FILETIME| join(t.dwHighDateTime, t.dwLowDateTime) as i64;
    let kind = kind(info.dwFileAttributes, facts.tag);
    Ok(Meta {
        kind,
        size: if kind == Kind::Dir { 0 } else { join(info.nFileSizeHigh, info.nFileSizeLow) },
        mtime_ns: ns(time(info.ftLastWriteTime)),
        atime_ns: ns(time(info.ftLastAccessTime)),
        ctime_ns: ns(facts.basic.ChangeTime),
        dev: u64::from(info.dwVolumeSerialNumber),
        ino: join(info.nFileIndexHigh, info.nFileIndexLow),
        mode: mode(info.dwFileAttributes),
        flags: info.dwFileAttributes,
        uid: 0,
        gid: 0,
        links: u64::from(info.nNumberOfLinks),
        allocated: u64::try_from(facts.allocated).unwrap_or(0),
    })
}

/// What is known of an entry of a folder, a link not followed.
pub(super) fn meta_at(dir: &Handle, name: &OsStr) -> io::Result<Meta> {
    let name = wide(name);
    let open = nt::open(Some(dir.as_handle()), &name, ask(fs::FILE_READ_ATTRIBUTES, 0))?;
    let mut meta = meta_of(&open)?;
    if meta.kind == Kind::Dir && is_hidden_link(dir, &name)? {
        meta.kind = Kind::Link;
    }
    Ok(meta)
}

fn kind(attributes: u32, tag: u32) -> Kind {
    let is_dir = attributes & fs::FILE_ATTRIBUTE_DIRECTORY != 0;
    if attributes & fs::FILE_ATTRIBUTE_REPARSE_POINT == 0 {
        return match attributes {
            _ if is_dir => Kind::Dir,
            a if a & fs::FILE_ATTRIBUTE_DEVICE != 0 => Kind::Other,
            _ => Kind::File,
        };
    }
    // A file of a cloud drive is a file, if perhaps one without its content;
    // to list a folder of one could fetch it.
    match tag {
        0 => Kind::Link,
        t if t & CLOUD_MASK == CLOUD && !is_dir => Kind::File,
        t if t & SURROGATE != 0 => Kind::Link,
        _ => Kind::Other,
    }
}

/// As permission bits what comes nearest: everything else is inherited from
/// the folder.
fn mode(attributes: u32) -> u32 {
    match attributes {
        a if a & fs::FILE_ATTRIBUTE_DIRECTORY != 0 => 0o700,
        a if a & fs::FILE_ATTRIBUTE_READONLY != 0 => 0o400,
        _ => 0o600,
    }
}

fn ns(time: i64) -> i128 {
    (i128::from(time) - i128::from(EPOCH)) * 100
}

fn time(ns: i128) -> io::Result<i64> {
    i64::try_from(ns.div_euclid(100) + i128::from(EPOCH))
        .ok()
        // To the system 0 and less mean "leave it as it is".
        .filter(|t| *t > 0)
        .ok_or_else(|| io::Error::other("a time is out of range"))
}

/// All entries of a folder, with everything that is to be known of them.
pub(super) fn list(dir: &Handle) -> io::Result<Option<Vec<Entry>>> {
    let volume = nt::facts(dir.as_handle())?.by_handle.dwVolumeSerialNumber;
    let own = again(dir, fs::FILE_LIST_DIRECTORY)?;
    let mut out = Vec::new();
    nt::list(own.as_handle(), |e| {
        let kind = kind(e.attributes, e.tag);
        let bytes = |n: i64| u64::try_from(n).unwrap_or(0);
        let [_, access, write, change] = e.times;
        let meta = Meta {
            kind,
            size: if kind == Kind::Dir { 0 } else { bytes(e.size) },
            mtime_ns: ns(write),
            atime_ns: ns(access),
            ctime_ns: ns(change),
            dev: u64::from(volume),
            ino: e.index as u64,
            mode: mode(e.attributes),
            flags: e.attributes,
            uid: 0,
            gid: 0,
            // A listing does not tell; what is deleted is looked at anew.
            links: 1,
            allocated: bytes(e.allocated),
        };
        out.push(Entry { name: e.name, meta });
    })?;
    Ok(Some(out))
}

/// The names in a folder with their kinds.
pub(super) fn each_name(dir: &Handle, mut each: impl FnMut(&OsStr, Option<Kind>)) -> io::Result<()> {
    nt::list(again(dir, fs::FILE_LIST_DIRECTORY)?.as_handle(), |e| {
        each(&e.name, Some(kind(e.attributes, e.tag)))
    })
}

/// The same file or folder, opened once more for something else.
fn again(open: impl AsHandle, access: u32) -> io::Result<OwnedHandle> {
    patiently(&CHANGE_WAITS, || nt::open(Some(open.as_handle()), &[], ask(access, 0)))
}

/// Makes a new, empty file; who may read it is inherited from the folder.
pub(super) fn create_file(dir: &Handle, name: &OsStr, _mode: u32) -> io::Result<File> {
    let access = fs::FILE_GENERIC_READ | fs::FILE_GENERIC_WRITE;
    let ask = Ask { disposition: FILE_CREATE, ..ask(access, FILE_NON_DIRECTORY_FILE) };
    Ok(File::from(nt::open(Some(dir.as_handle()), &wide(name), ask)?))
}

/// Opens a file for reading and for writing at its end, to which the writer has
/// to go: a right to append alone would not allow to cut the file.
pub(super) fn append_file(dir: &Handle, name: &OsStr) -> io::Result<File> {
    let ask = ask(fs::FILE_GENERIC_READ | fs::FILE_GENERIC_WRITE, FILE_NON_DIRECTORY_FILE);
    Ok(File::from(changing(dir, name, || nt::open(Some(dir.as_handle()), &wide(name), ask))?))
}

/// Makes a new folder.
pub(super) fn make_dir(dir: &Handle, name: &OsStr, _mode: u32) -> io::Result<()> {
    let ask = Ask { disposition: FILE_CREATE, ..ask_dir() };
    nt::open(Some(dir.as_handle()), &wide(name), ask).map(drop)
}

/// Renames over what has the new name.
pub(super) fn rename_over(from_dir: &Handle, from: &OsStr, to_dir: &Handle, to: &OsStr) -> io::Result<()> {
    changing(from_dir, from, || rename(from_dir, from, to_dir, to, true))
}

/// Renames to a name that must be free, in one step.
pub(super) fn rename_new(from_dir: &Handle, from: &OsStr, to_dir: &Handle, to: &OsStr) -> io::Result<()> {
    changing(from_dir, from, || rename(from_dir, from, to_dir, to, false))
}

fn rename(from_dir: &Handle, from: &OsStr, to_dir: &Handle, to: &OsStr, over: bool) -> io::Result<()> {
    let open =
        nt::open(Some(from_dir.as_handle()), &wide(from), ask(fs::DELETE | fs::FILE_READ_ATTRIBUTES, 0))?;
    nt::rename(open.as_handle(), to_dir.as_handle(), &wide(to), over)
}

/// No file system of Windows can do that.
pub(super) fn exchange(_a_dir: &Handle, _a: &OsStr, _b_dir: &Handle, _b: &OsStr) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Removes a file or link, if it is the one with that identity.
pub(super) fn unlink(dir: &Handle, name: &OsStr, which: Ident) -> io::Result<()> {
    changing(dir, name, || {
        let open = nt::open(
            Some(dir.as_handle()),
            &wide(name),
            ask(fs::DELETE | fs::FILE_READ_ATTRIBUTES | fs::FILE_WRITE_ATTRIBUTES, 0),
        )?;
        let meta = meta_of(&open)?;
        if meta.ident() != which || meta.kind == Kind::Dir {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not the same file any more"));
        }
        nt::delete(open.as_handle())
    })
}

/// Removes an empty folder.
pub(super) fn remove_dir(dir: &Handle, name: &OsStr) -> io::Result<()> {
    changing(dir, name, || {
        let access = fs::DELETE | fs::FILE_READ_ATTRIBUTES | fs::FILE_WRITE_ATTRIBUTES;
        let open = nt::open(Some(dir.as_handle()), &wide(name), ask(access, FILE_DIRECTORY_FILE))?;
        if meta_of(&open)?.kind != Kind::Dir {
            return Err(link_refusal());
        }
        nt::delete(open.as_handle())
    })
}

/// Who may use a folder is inherited here: nothing to set.
pub(super) fn set_mode(_dir: &Handle, _mode: u32) -> io::Result<()> {
    Ok(())
}

/// Makes the names in a folder durable, where the file system takes orders
/// for that.
pub(super) fn sync_dir(dir: &Handle) -> io::Result<()> {
    let flushed =
        again(dir, fs::FILE_ADD_FILE | fs::FILE_ADD_SUBDIRECTORY).and_then(|d| nt::flush(d.as_handle()));
    match flushed {
        // Not ours to write, or nothing to sync in a folder.
        Err(e) if matches!(e.raw_os_error(), Some(1 | 5 | 6 | 50 | 87)) => Ok(()),
        other => other,
    }
}

/// Only an administrator may ask for that.
pub(super) fn sync_file_system(_dir: &Handle) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Makes a file's content durable.
pub(super) fn sync_file(file: &File) -> io::Result<()> {
    file.sync_all()
}

/// There is no such request on Windows.
pub(super) fn forget_cached(_file: &File) {}

/// How much room the volume of a folder has.
pub(super) fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    // A file that is not sparse has its room at once.
    file.set_len(bytes)
}

pub(super) fn space(dir: &Handle) -> io::Result<Space> {
    let (free, total, read_only) = nt::space(dir.as_handle())?;
    Ok(Space { free, total, free_files: None, read_only })
}

/// Which folders a folder lies in, itself first, up to the top of its drive.
pub(super) fn ancestry(dir: &Handle) -> io::Result<Vec<Ident>> {
    let path = nt::final_path(dir.as_handle())?;
    let mut out = vec![meta_of(dir)?.ident()];
    for above in path.ancestors().skip(1) {
        let name = whole_name(above)?;
        match nt::open(None, &name, ask(fs::FILE_READ_ATTRIBUTES, FILE_DIRECTORY_FILE)) {
            Ok(open) => out.push(meta_of(&open)?.ident()),
            // A folder that may not even be looked at; those above it may.
            Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {}
            Err(e) => return Err(e),
        }
    }
    Ok(out)
}

/// Users have no numbers here.
pub(super) fn effective_user() -> Option<u32> {
    None
}

/// The error for a link where none may be: `ERROR_STOPPED_ON_SYMLINK`.
pub(super) fn link_refusal() -> io::Error {
    io::Error::from_raw_os_error(681)
}

/// A name from its bytes.
pub(super) fn os_string(bytes: Vec<u8>) -> Option<OsString> {
    String::from_utf8(bytes).ok().map(OsString::from)
}

/// Gives an open file or folder its attributes, its creation time and, when
/// `times` is set, the other times.
pub(super) fn apply(open: impl AsHandle, like: &Attributes, times: bool) -> io::Result<()> {
    let mut info = fs::FILE_BASIC_INFO {
        // No attribute at all is spelled "normal".
        FileAttributes: if like.flags == 0 { fs::FILE_ATTRIBUTE_NORMAL } else { like.flags },
        ..Default::default()
    };
    if times {
        info.LastAccessTime = time(like.atime_ns)?;
        info.LastWriteTime = time(like.mtime_ns)?;
    }
    for (name, value) in like.xattrs.iter().filter(|(name, _)| name == CREATED) {
        let bytes = from_hex(value).and_then(|v| <[u8; 8]>::try_from(v).ok());
        let bytes = bytes.ok_or_else(|| io::Error::other(format!("malformed value of {name}")))?;
        info.CreationTime = i64::from_be_bytes(bytes);
    }
    nt::set_basic(again(open, fs::FILE_WRITE_ATTRIBUTES)?.as_handle(), &info)
}

/// Sets access and modification time, in nanoseconds since 1970.
pub(super) fn set_times(open: impl AsHandle, atime_ns: i128, mtime_ns: i128) -> io::Result<()> {
    let info = fs::FILE_BASIC_INFO {
        LastAccessTime: time(atime_ns)?,
        LastWriteTime: time(mtime_ns)?,
        ..Default::default()
    };
    nt::set_basic(again(open, fs::FILE_WRITE_ATTRIBUTES)?.as_handle(), &info)
}

/// Whether only the name of a file is on this disk.
pub(super) fn is_placeholder(_dir: &Handle, _rel: &RelPath, meta: &Meta) -> io::Result<bool> {
    Ok(meta.kind == Kind::File && meta.flags & ELSEWHERE != 0)
}

/// What a file or folder carries besides what [`Meta`] knows: its creation time.
pub(super) fn xattrs(open: impl AsHandle) -> io::Result<Vec<(String, String)>> {
    let created = nt::facts(open.as_handle())?.basic.CreationTime;
    Ok(vec![(CREATED.to_owned(), to_hex(&created.to_be_bytes()))])
}

/// Whether a program, this one included, has a file open: then it cannot be
/// opened by one who lets nobody else have it.
pub(super) fn is_open(dir: &Handle, name: &OsStr) -> io::Result<bool> {
    let alone = Ask { share: 0, ..ask(fs::FILE_READ_DATA, FILE_NON_DIRECTORY_FILE) };
    match nt::open(Some(dir.as_handle()), &wide(name), alone) {
        Ok(_) => Ok(false),
        Err(e) if is_in_use(&e) => Ok(true),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => Ok(false),
        Err(e) => Err(e),
    }
}

/// Whether names in an open folder may be changed; here that is seen by trying.
pub(super) fn may_change(_dir: &Handle) -> io::Result<()> {
    Ok(())
}

/// Which programs have it open, where the system tells.
pub(super) fn holders(dir: &Handle, name: &OsStr) -> Vec<(u32, String)> {
    match nt::final_path(dir.as_handle()) {
        Ok(path) => holders::holders(&[&plain(&path.join(name))]),
        Err(_) => Vec::new(),
    }
}

fn is_in_use(e: &io::Error) -> bool {
    e.raw_os_error().is_some_and(|code| IN_USE.contains(&code))
}

/// Tries again for a short time while another program has it open.
fn patiently<T>(waits: &[u64], mut open: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    for wait in waits {
        match open() {
            Err(e) if is_in_use(&e) => std::thread::sleep(Duration::from_millis(*wait)),
            other => return other,
        }
    }
    open().map_err(|e| if is_in_use(&e) { busy(&[]) } else { e })
}

/// A change of an entry; who has it open is named when it cannot be done.
fn changing<T>(dir: &Handle, name: &OsStr, change: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    patiently(&CHANGE_WAITS, change)
        .map_err(|e| if e.kind() == io::ErrorKind::ResourceBusy { busy(&holders(dir, name)) } else { e })
}

fn busy(holders: &[(u32, String)]) -> io::Error {
    let by = match holders.first() {
        Some((pid, name)) => format!("{} (process {pid})", super::printable(name)),
        None => "another program".to_owned(),
    };
    io::Error::new(io::ErrorKind::ResourceBusy, format!("{by} has it open"))
}

/// A path with its links resolved, written as people write it.
pub(super) fn real_path(path: &Path) -> io::Result<PathBuf> {
    Ok(plain(&path.canonicalize()?))
}

/// `\\?\C:\x` as `C:\x` and `\\?\UNC\s\t\x` as `\\s\t\x`.
fn plain(path: &Path) -> PathBuf {
    use std::path::{Component, Prefix};
    let mut parts = path.components();
    let mut out = match parts.next() {
        Some(Component::Prefix(prefix)) => match prefix.kind() {
            Prefix::VerbatimDisk(letter) => PathBuf::from(format!("{}:", char::from(letter))),
            Prefix::VerbatimUNC(server, share) => {
                let mut text = OsString::from(r"\\");
                text.push(server);
                text.push(r"\");
                text.push(share);
                PathBuf::from(text)
            }
            _ => return path.to_path_buf(),
        },
        _ => return path.to_path_buf(),
    };
    out.push(r"\");
    out.push(parts.as_path().strip_prefix(r"\").unwrap_or(parts.as_path()));
    out
}
