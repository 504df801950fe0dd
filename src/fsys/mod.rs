//! The only code that touches a target's disk.
//!
//! Everything is done relative to a directory handle ([`Dir`]) that was opened
//! without following a link, by a [`RelPath`] that cannot leave it. Paths are
//! kept beside the handle for messages only.

mod attributes;
mod copy;
mod dir;
mod entries;
mod fault;
mod listing;
mod owner;
mod rel;
mod remote;
mod room;
mod tree;
#[cfg(unix)]
mod unix;
mod walk;
#[cfg(windows)]
mod windows;
mod write;

#[cfg(unix)]
use unix as sys;
#[cfg(windows)]
use windows as sys;

pub use attributes::{Attributes, to_hex};
pub use copy::{Digest, append_all, copy_hashed, hash_file, write_all};
pub use dir::{Dir, Entry, Kind, Meta};
#[cfg(test)]
pub(crate) use fault::{Fault, count as fault_count, with as with_faults};
pub(crate) use fault::{WrongOrder, wrong_order};
pub use listing::{Brief, Listings, Named};
pub use owner::effective_user;
pub use rel::{BadPath, RelPath, by_names, path_from_text, path_text, path_to_text};
pub use remote::{Disk, Doomed, Listed, NewFile, REMOTE, Remote, is_remote, split as split_remote};
pub use room::{Room, RoomCount};
#[cfg(any(target_os = "linux", target_os = "android"))]
pub(crate) use tree::has_inode;
pub use tree::{remove_tree, tree};
pub use walk::{MAX_DEPTH, Step, Unreadable, Walk, Walked};
pub use write::{Ident, Space, allocate, forget_cached, is_link_refusal, sync_file};
pub(crate) use write::{link_refusal, rename_new_in};

use std::ffi::{OsStr, OsString};
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

/// Where a path really leads, links resolved, as people write it.
///
/// # Errors
/// The system's error.
pub fn real_path(path: &Path) -> io::Result<PathBuf> {
    sys::real_path(path)
}

/// A name without its ending, whatever its bytes; `None` when it ends otherwise.
#[must_use]
pub fn without_ending(name: &OsStr, ending: &str) -> Option<OsString> {
    let rest = name.as_encoded_bytes().strip_suffix(ending.as_bytes())?;
    sys::os_string(rest.to_vec())
}

/// Text from the system without its beginning, whatever its bytes; `None` when
/// it begins otherwise.
#[must_use]
pub fn without_beginning(text: &OsStr, beginning: &str) -> Option<OsString> {
    let rest = text.as_encoded_bytes().strip_prefix(beginning.as_bytes())?;
    sys::os_string(rest.to_vec())
}

/// A path made safe to print: control, bidirectional and zero-width
/// characters and bytes that are not UTF-8 are shown as escapes.
#[must_use]
pub fn shown(path: &Path) -> String {
    printable(&String::from_utf8_lossy(path.as_os_str().as_encoded_bytes()))
}

/// Text from outside made safe to print on a terminal, in one line.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        let hidden = c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}' | '\u{61c}');
        if hidden {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
        } else {
            out.push(c);
        }
    }
    out
}
