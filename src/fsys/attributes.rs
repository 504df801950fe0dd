//! Times, mode, owner and extended attributes: all that a file or folder
//! carries besides its content and name.

use std::fmt::Write as _;
use std::fs::File;
use std::io;

use serde::{Deserialize, Serialize};

use super::{Dir, Meta, RelPath, fault, sys};

/// What `undo` brings back besides the content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attributes {
    /// Permission bits (`07777`).
    pub mode: u32,
    /// File attributes of Windows, such as hidden; 0 on other systems.
    #[serde(default, skip_serializing_if = "is_none")]
    pub flags: u32,
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
            flags: meta.flags,
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
        Ok(Self { xattrs: sys::xattrs(file)?, ..Self::of_meta(&Meta::of(file)?) })
    }

    /// Those of an open folder.
    ///
    /// # Errors
    /// The system's error.
    pub fn of_dir(dir: &Dir) -> io::Result<Self> {
        let xattrs = if dir.is_remote() { Vec::new() } else { sys::xattrs(dir.fd()?)? };
        Ok(Self { xattrs, ..Self::of_meta(&dir.meta()?) })
    }

    /// Gives them to an open file; `times` is for content that is the old
    /// one, a rebuilt file keeps the time it was made.
    ///
    /// # Errors
    /// The system's error, also when the owner differs and may not be set.
    pub fn apply(&self, file: &File, times: bool) -> io::Result<()> {
        fault::point("set attributes")?;
        sys::apply(file, self, times)
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
        fault::point("set attributes")?;
        sys::apply(dir.fd()?, self, times)
    }
}

// Serde gives a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_none(flags: &u32) -> bool {
    *flags == 0
}

/// File attributes of Windows for content that is elsewhere: `OFFLINE`,
/// `RECALL_ON_OPEN` and `RECALL_ON_DATA_ACCESS` (Microsoft, "File Attribute
/// Constants").
#[cfg(not(target_vendor = "apple"))]
pub(super) const ELSEWHERE: u32 = 0x1000 | 0x0004_0000 | 0x0040_0000;

impl Dir {
    /// Whether only the name of a file is on this disk and a cloud drive keeps
    /// its content: to read it would fetch it, to delete it would delete it
    /// everywhere. `meta` is what is known of it.
    ///
    /// # Errors
    /// The system's error.
    pub fn is_placeholder(&self, rel: &RelPath, meta: &Meta) -> io::Result<bool> {
        if self.is_remote() { Ok(false) } else { sys::is_placeholder(self.fd()?, rel, meta) }
    }
}

/// Lower-case hexadecimal.
#[must_use]
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, b| {
        let _ = write!(out, "{b:02x}");
        out
    })
}

pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes().chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mode_and_times_are_carried_over() {
        let tmp = tempfile::tempdir().unwrap();
        let old = File::create(tmp.path().join("old")).unwrap();
        // As fine as the coarsest of the systems keeps them.
        sys::set_times(&old, 1_000_000_700, -500).unwrap();
        let attributes = Attributes::of(&old).unwrap();
        assert_eq!((attributes.mtime_ns, attributes.atime_ns), (-500, 1_000_000_700));

        let new = File::create(tmp.path().join("new")).unwrap();
        attributes.apply(&new, true).unwrap();
        assert_eq!(Attributes::of(&new).unwrap(), attributes);
        let json = serde_json::to_string(&attributes).unwrap();
        assert_eq!(serde_json::from_str::<Attributes>(&json).unwrap(), attributes);
    }

    #[test]
    fn hex_is_reversible() {
        assert_eq!(from_hex(&to_hex(b"\0\xff")).unwrap(), b"\0\xff");
        for bad in ["0", "zz", "\u{e9}0"] {
            assert!(from_hex(bad).is_none(), "{bad}");
        }
    }
}
