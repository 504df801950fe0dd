//! Times, mode, owner and extended attributes: all that a file or folder
//! carries besides its content and name.

use std::fmt::Write as _;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use rustix::fs::{Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::{Dir, Kind, Meta, RelPath, fault};

/// Names and values longer than this in total are left out: no app that this
/// program knows keeps data there.
const XATTR_LIMIT: usize = 1 << 20;

/// What `undo` brings back besides the content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// Permission bits (`07777`).
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Nanoseconds since 1970.
    pub mtime_ns: i128,
    /// Nanoseconds since 1970.
    pub atime_ns: i128,
    /// Extended attributes: the name as the system writes it, the value in
    /// hex. Access control lists and security labels are among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub xattrs: Vec<(String, String)>,
}

impl Attributes {
    /// Those that `meta` knows: no extended attributes.
    #[must_use]
    pub fn of_meta(meta: &Meta) -> Self {
        Self {
            mode: meta.mode,
            uid: meta.uid,
            gid: meta.gid,
            mtime_ns: meta.mtime_ns,
            atime_ns: meta.atime_ns,
            xattrs: Vec::new(),
        }
    }

    /// Those of an open file.
    ///
    /// # Errors
    /// The system's error.
    pub fn of(file: &File) -> io::Result<Self> {
        Ok(Self { xattrs: xattrs(file)?, ..Self::of_meta(&Meta::of(file)?) })
    }

    /// Those of an open folder.
    ///
    /// # Errors
    /// The system's error.
    pub fn of_dir(dir: &Dir) -> io::Result<Self> {
        let xattrs = if dir.is_remote() { Vec::new() } else { xattrs(dir.fd()?)? };
        Ok(Self { xattrs, ..Self::of_meta(&dir.meta()?) })
    }

    /// Gives them to an open file; `times` is for content that is the old
    /// one, a rebuilt file keeps the time it was made.
    ///
    /// # Errors
    /// The system's error, also when the owner differs and may not be set.
    pub fn apply(&self, file: &File, times: bool) -> io::Result<()> {
        self.apply_fd(file, times)
    }

    /// Gives them to an open folder.
    ///
    /// # Errors
    /// As [`Attributes::apply`].
    pub fn apply_dir(&self, dir: &Dir, times: bool) -> io::Result<()> {
        if let Some((there, on)) = dir.there(&RelPath::root()) {
            fault::point("set attributes")?;
            return there.set_attributes(&on, self, times);
        }
        self.apply_fd(dir.fd()?, times)
    }

    fn apply_fd(&self, fd: impl AsFd, times: bool) -> io::Result<()> {
        fault::point("set attributes")?;
        let fd = fd.as_fd();
        let now = rustix::fs::fstat(fd)?;
        // The owner first: changing it clears the set-id bits.
        if (now.st_uid, now.st_gid) != (self.uid, self.gid) {
            rustix::fs::fchown(fd, Some(Uid::from_raw(self.uid)), Some(Gid::from_raw(self.gid)))?;
        }
        rustix::fs::fchmod(fd, Mode::from_raw_mode(self.mode as _))?;
        for (name, value) in &self.xattrs {
            let value = from_hex(value).ok_or_else(|| io::Error::other("malformed attribute value"))?;
            match rustix::fs::fsetxattr(fd, name.as_str(), &value, XattrFlags::empty()) {
                Ok(()) => {}
                // Set by the system itself (a label of its default policy), or
                // not known on this file system.
                Err(Errno::PERM | Errno::ACCESS | Errno::NOTSUP) if has(fd, name, &value) => {}
                Err(e) => return Err(e.into()),
            }
        }
        if times { set_times(fd, self.atime_ns, self.mtime_ns) } else { Ok(()) }
    }
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

/// File attributes of Windows for content that is elsewhere: `OFFLINE`,
/// `RECALL_ON_OPEN` and `RECALL_ON_DATA_ACCESS` (Microsoft, "File Attribute
/// Constants").
#[cfg(not(target_vendor = "apple"))]
const ELSEWHERE: u32 = 0x1000 | 0x0004_0000 | 0x0040_0000;

/// macOS: `SF_DATALESS` in `st_flags` (`sys/stat.h`).
#[cfg(target_vendor = "apple")]
const DATALESS: u32 = 0x4000_0000;

impl Dir {
    /// Whether only the name of a file is on this disk and a cloud drive keeps
    /// its content: to read it would fetch it, to delete it would delete it
    /// everywhere. `meta` is what is known of it.
    ///
    /// # Errors
    /// The system's error.
    pub fn is_placeholder(&self, rel: &RelPath, meta: &Meta) -> io::Result<bool> {
        // Such a file takes no room here; few others do.
        if meta.kind != Kind::File || meta.size == 0 || meta.allocated > 0 || self.is_remote() {
            return Ok(false);
        }
        #[cfg(target_vendor = "apple")]
        {
            let (parent, name) = self.parent_of(rel)?;
            let stat = rustix::fs::statat(parent.fd()?, name, rustix::fs::AtFlags::SYMLINK_NOFOLLOW)?;
            Ok(stat.st_flags & DATALESS != 0)
        }
        #[cfg(not(target_vendor = "apple"))]
        {
            // A mounted disk of Windows shows them as an extended attribute.
            let file = self.open_file(rel)?;
            let mut attributes = [0; 4];
            match rustix::fs::fgetxattr(&file, "system.ntfs_attrib_be", &mut attributes) {
                Ok(4) => Ok(u32::from_be_bytes(attributes) & ELSEWHERE != 0),
                _ => Ok(false),
            }
        }
    }
}

fn xattrs(fd: impl AsFd) -> io::Result<Vec<(String, String)>> {
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

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes().chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_times_and_attributes_are_carried_over() {
        let tmp = tempfile::tempdir().unwrap();
        let old = File::create(tmp.path().join("old")).unwrap();
        rustix::fs::fchmod(&old, Mode::from_raw_mode(0o640)).unwrap();
        set_times(&old, 1_000_000_007, -5).unwrap();
        // Not every file system has them; /tmp on a Linux tmpfs did not always.
        let flags = XattrFlags::empty();
        let with_xattrs = rustix::fs::fsetxattr(&old, "user.shopmend", b"\0\xff", flags).is_ok();
        let attributes = Attributes::of(&old).unwrap();
        assert_eq!((attributes.mode, attributes.mtime_ns, attributes.atime_ns), (0o640, -5, 1_000_000_007));

        let new = File::create(tmp.path().join("new")).unwrap();
        attributes.apply(&new, true).unwrap();
        assert_eq!(Attributes::of(&new).unwrap(), attributes);
        if with_xattrs {
            assert_eq!(attributes.xattrs, [("user.shopmend".to_owned(), "00ff".to_owned())]);
        }
        let json = serde_json::to_string(&attributes).unwrap();
        assert_eq!(serde_json::from_str::<Attributes>(&json).unwrap(), attributes);
    }
}
