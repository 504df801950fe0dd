//! Is a store in use: by what it is, never by how its path is written.
//!
//! A path names a file in one mount namespace only, and an app may reach the
//! same file by another one: in a container, through a bind mount, by a
//! second name. So a process counts when it has a file of the same device and
//! inode open or mapped. Where processes cannot be seen, locks still can:
//! SQLite, LevelDB, Firefox and Chromium lock byte ranges of their files, and
//! the kernel tells of a lock whoever holds it. Where neither tells, that is
//! the answer, and nobody guesses.

#[cfg(unix)]
mod locks;
mod markers;
#[cfg(any(target_os = "linux", target_os = "android"))]
mod proc;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};

pub(crate) use markers::beside as markers_beside;

#[cfg(not(any(target_os = "linux", target_os = "android")))]
use super::Processes;
use super::Running;
use crate::error::{Error, Result};
use crate::fsys::{Dir, Ident, Kind, Meta, RelPath, tree};
use crate::model::SQLITE_SIDECARS;

/// In so many files every one is asked for locks; in more only those that
/// apps lock by custom. A whole browser profile has some ten thousand.
const LOCKS_OF_ALL: usize = 20_000;

/// What is asked about.
#[derive(Debug, Clone, Copy, Default)]
pub struct Question<'a> {
    /// Whether the files belong to this machine's running system. Of an image
    /// the names of processes and the app's own marks mean nothing; its files
    /// can be open here all the same.
    pub live: bool,
    /// Folders below which nothing may be open, by path.
    pub roots: &'a [&'a Path],
    /// Stores, each below its root: everything in them and beside them.
    pub stores: &'a [(&'a Path, &'a RelPath)],
    /// Files that were moved from their places just now, with the folder whose
    /// file system they are on. When there are any, nothing but them is asked
    /// about: what took their places may be opened.
    pub moved: Option<(&'a Path, &'a [Ident])>,
    /// Names of the app's processes, in lower case.
    pub names: Option<&'a HashSet<String>>,
    /// Files by which the app says that it runs.
    pub markers: &'a [PathBuf],
}

/// Whether it is in use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InUse {
    No,
    /// By these processes; one whose number is 0 cannot be named.
    By(Vec<Running>),
    /// Nothing was seen, but somebody may use it unseen.
    CannotTell {
        /// What it is about.
        file: PathBuf,
        /// For a person, as the end of a sentence: `it lies on …`.
        why: String,
    },
}

/// The processes that the app's own markers name, for showing.
pub(crate) fn marked(markers: &[PathBuf], names: Option<&HashSet<String>>) -> Vec<Running> {
    let of = |marker: &PathBuf| match markers::read(marker, names) {
        InUse::By(running) => running,
        _ => Vec::new(),
    };
    markers.iter().flat_map(of).collect()
}

/// Asks now.
///
/// # Errors
/// When the system does not show its processes or a store cannot be looked
/// at: then nothing may be concluded.
pub fn ask(question: &Question) -> Result<InUse> {
    let found = if may_be_in_use(question)? { Wanted::find(question)? } else { Wanted::default() };
    let mut by: Vec<Running> = Vec::new();
    let mut unsure: Option<(PathBuf, String)> = None;
    seen(question, &found, &mut by)?;
    #[cfg(unix)]
    if by.is_empty() && question.moved.is_none() {
        by.extend(locks::held(&found.lockable));
    }
    if by.is_empty() && question.live && question.moved.is_none() {
        for marker in question.markers {
            match markers::read(marker, question.names) {
                InUse::No => {}
                InUse::By(running) => by.extend(running),
                InUse::CannotTell { file, why } => unsure = Some((file, why)),
            }
        }
    }
    if !by.is_empty() {
        by.sort_by_key(|r| r.pid);
        by.dedup_by_key(|r| r.pid);
        return Ok(InUse::By(by));
    }
    if unsure.is_none() && question.moved.is_none() {
        let folders: BTreeSet<&Path> =
            question.roots.iter().copied().chain(question.stores.iter().map(|(root, _)| *root)).collect();
        unsure = folders.iter().find_map(|root| Some((root.to_path_buf(), hidden(root)?)));
    }
    Ok(unsure.map_or(InUse::No, |(file, why)| InUse::CannotTell { file, why }))
}

/// The files that the question is about.
#[derive(Debug, Default)]
struct Wanted {
    /// Where each was found, by device and inode.
    idents: HashMap<(u64, u64), PathBuf>,
    /// Folders of the file systems they are on.
    on: BTreeSet<PathBuf>,
    /// Files that may be locked.
    lockable: Vec<(PathBuf, RelPath)>,
}

impl Wanted {
    fn find(question: &Question) -> Result<Self> {
        let mut out = Self::default();
        if let Some((root, moved)) = question.moved {
            out.on.insert(root.to_path_buf());
            out.idents.extend(moved.iter().map(|i| ((i.dev, i.ino), root.to_path_buf())));
            return Ok(out);
        }
        for (root, path) in question.stores {
            let all = files_of(root, path).map_err(|e| {
                Error::io("cannot tell whether the files are in use", &root.join(path.as_path()), e)
            })?;
            out.on.insert(root.to_path_buf());
            let few = all.len() <= LOCKS_OF_ALL;
            for (path, meta) in all {
                out.idents.insert((meta.dev, meta.ino), root.join(path.as_path()));
                if meta.kind == Kind::File && (few || is_locked_by_custom(&path)) {
                    out.lockable.push((root.to_path_buf(), path));
                }
            }
        }
        Ok(out)
    }
}

/// Everything of a store: the file and what is named like it with an ending
/// of SQLite's, or the folder with all in it. A store that is gone has none.
fn files_of(root: &Path, path: &RelPath) -> std::io::Result<Vec<(RelPath, Meta)>> {
    let gone = |e: &std::io::Error| {
        // Nothing is done through a link either.
        matches!(e.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory)
            || crate::fsys::is_link_refusal(e)
    };
    let dir = match Dir::open(root) {
        Ok(dir) => dir,
        Err(e) if gone(&e) => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut out = Vec::new();
    match dir.stat(path) {
        Ok(meta) if meta.kind == Kind::Dir => return everything(&dir, path),
        Ok(meta) => out.push((path.clone(), meta)),
        Err(e) if gone(&e) => {}
        Err(e) => return Err(e),
    }
    for suffix in SQLITE_SIDECARS {
        let sidecar = path.with_suffix(suffix);
        match dir.stat(&sidecar) {
            Ok(meta) => out.push((sidecar, meta)),
            Err(e) if gone(&e) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(out)
}

/// A folder with what is in it. What may not be read, is mounted there or
/// vanishes meanwhile is left out: nothing of it will be touched either.
fn everything(dir: &Dir, at: &RelPath) -> std::io::Result<Vec<(RelPath, Meta)>> {
    if let Ok(mut all) = tree(dir, at, usize::MAX) {
        all.push((at.clone(), dir.stat(at)?));
        return Ok(all);
    }
    let top = dir.stat(at)?;
    let mut out = vec![(at.clone(), top)];
    let mut todo = vec![at.clone()];
    while let Some(folder) = todo.pop() {
        let Ok(entries) = dir.dir(&folder).and_then(|d| d.list()) else { continue };
        for entry in entries.iter().filter(|e| e.meta.dev == top.dev) {
            let Ok(path) = folder.join(&entry.name) else { continue };
            if entry.meta.kind == Kind::Dir {
                todo.push(path.clone());
            }
            out.push((path, entry.meta));
        }
    }
    Ok(out)
}

/// Files that apps lock: LevelDB's and Chromium's own, and SQLite's by the
/// ending that its index of a log has.
fn is_locked_by_custom(path: &RelPath) -> bool {
    let name = path.file_name().map(std::ffi::OsStr::as_encoded_bytes).unwrap_or_default();
    [&b"LOCK"[..], b"lockfile", b".parentlock", b"parent.lock"].contains(&name)
        || [&b"-shm"[..], b".db", b".sqlite", b".sqlite3"].iter().any(|ending| name.ends_with(ending))
}

/// Whether it needs to be known which files the question is about.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn may_be_in_use(question: &Question) -> Result<bool> {
    let roots: BTreeSet<&Path> = question.stores.iter().map(|(root, _)| *root).collect();
    if question.moved.is_some() {
        return Ok(true);
    }
    Ok(match proc::may_be_held(&roots.into_iter().collect::<Vec<_>>())? {
        proc::MayHold::Any => true,
        proc::MayHold::These(inodes) => {
            let has = |root: &Path, path: &RelPath| -> std::io::Result<bool> {
                let dir = Dir::open(root)?;
                // A file is soon looked at, with those beside it.
                let is_dir = path.is_root() || dir.stat(path)?.kind == Kind::Dir;
                Ok(!is_dir || crate::fsys::has_inode(&dir, path, &inodes)?)
            };
            let has = |(root, path): &(&Path, &RelPath)| has(root, path).unwrap_or(true);
            !inodes.is_empty() && question.stores.iter().any(has)
        }
    })
}

/// Whether it needs to be known which files the question is about.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn may_be_in_use(_question: &Question) -> Result<bool> {
    Ok(true)
}

/// The processes that are seen to have something of it.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn seen(question: &Question, wanted: &Wanted, by: &mut Vec<Running>) -> Result<()> {
    let roots = if question.moved.is_some() { &[][..] } else { question.roots };
    let names = if question.live && question.moved.is_none() { question.names } else { None };
    let devices = wanted.on.iter().filter_map(|root| proc::Device::of(root)).collect::<Vec<_>>();
    by.extend(proc::holders(roots, &wanted.idents, &devices, names)?);
    Ok(())
}

/// The processes that are seen to have something of it. These systems have no
/// mount namespaces: a path is the same for every process.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn seen(question: &Question, _wanted: &Wanted, by: &mut Vec<Running>) -> Result<()> {
    if question.moved.is_some() {
        return Ok(());
    }
    let none = HashSet::new();
    let names = if question.live { question.names.unwrap_or(&none) } else { &none };
    by.extend(Processes::look()?.holding_below(question.roots, names));
    for (root, path) in question.stores {
        if by.is_empty() && (cfg!(windows) || !path.is_root()) {
            by.extend(super::open_elsewhere(root, path)?);
        }
    }
    Ok(())
}

/// Why somebody may use what lies below `root` unseen, if so.
#[cfg(any(target_os = "linux", target_os = "android"))]
fn hidden(root: &Path) -> Option<String> {
    proc::hidden(root)
}

/// Why somebody may use what lies below `root` unseen, if so.
#[cfg(target_os = "macos")]
fn hidden(root: &Path) -> Option<String> {
    /// `MNT_LOCAL` of statfs(2).
    const LOCAL: u32 = 0x1000;
    let found = rustix::fs::statfs(root).ok()?;
    (found.f_flags & LOCAL == 0).then(|| NETWORK.to_owned())
}

/// Why somebody may use what lies below `root` unseen, if so. On Windows a
/// file that is open elsewhere cannot be replaced, wherever that is.
#[cfg(not(any(target_os = "linux", target_os = "android", target_os = "macos")))]
fn hidden(_root: &Path) -> Option<String> {
    None
}

/// Why the programs of other computers cannot be seen.
#[cfg_attr(windows, allow(dead_code))]
const NETWORK: &str = "it lies on a network file system, and the programs of other computers cannot be seen";
