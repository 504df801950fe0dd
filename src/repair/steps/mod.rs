//! The journal's steps on the disk: where they are done, and what of their
//! names is durable.
//!
//! `perform` does the steps, `reverse` takes them back.

mod perform;
mod reverse;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io;
use std::path::Path;

use crate::fsys::{Dir, Ident, Kind, Meta, RelPath};
use crate::plan::Item;
use crate::vault::{Base, LockedState, RunId, StateDir};

/// From so many folders on, one sync of the file system is cheaper.
const MANY_FOLDERS: usize = 32;

/// The places that the steps of one unit are about.
pub(crate) struct Hands<'a> {
    state: &'a LockedState,
    pub(crate) root: Dir,
    /// Folders in which names changed and are not durable yet.
    changed: BTreeSet<(BaseKey, RelPath)>,
}

/// [`Base`] with an order, for sets.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum BaseKey {
    Root,
    Held(RunId, u32),
}

impl From<&Base> for BaseKey {
    fn from(base: &Base) -> Self {
        match base {
            Base::Root => Self::Root,
            Base::Held { run, unit } => Self::Held(run.clone(), *unit),
        }
    }
}

/// Whether `meta` still is what the journal calls `item`; links and special
/// files are told by their identity alone.
pub(crate) fn still(item: &Item, meta: &Meta) -> bool {
    let same = Ident { dev: item.dev, ino: item.ino } == meta.ident();
    same && match meta.kind {
        Kind::Dir => item.dir,
        Kind::File => !item.dir && meta.size == item.size && meta.mtime_ns == item.mtime_ns,
        Kind::Link | Kind::Other => !item.dir,
    }
}

/// The folder in which a unit keeps what it moved aside.
pub(crate) fn quarantine_path(run: &RunId, unit: u32) -> RelPath {
    inside_run(run, &format!("quarantine/{unit}"))
}

/// A place of its own in a run's folder.
pub(crate) fn inside_run(run: &RunId, what: &str) -> RelPath {
    // Both are plain names.
    RelPath::new(Path::new(StateDir::run_path(run).as_path()).join(what)).unwrap_or_default()
}

impl<'a> Hands<'a> {
    pub(crate) fn new(state: &'a LockedState, root: Dir) -> Self {
        Self { state, root, changed: BTreeSet::new() }
    }

    fn base_path(base: &Base) -> Option<RelPath> {
        match base {
            Base::Root => None,
            Base::Held { run, unit } => Some(quarantine_path(run, *unit)),
        }
    }

    /// The folder that the base's paths are relative to.
    pub(crate) fn base(&self, base: &Base) -> io::Result<Dir> {
        match Self::base_path(base) {
            None => self.root.dir(&RelPath::root()),
            Some(path) => self.state.dir().dir(&path),
        }
    }

    /// What is at a path of a base; `None` for nothing.
    pub(crate) fn look(&self, base: &Base, path: &RelPath) -> io::Result<Option<Meta>> {
        let found = self.base(base).and_then(|dir| dir.stat(path));
        match found {
            Ok(meta) => Ok(Some(meta)),
            Err(e) if absent(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// A folder to move things into; a missing one is made in quarantine, but
    /// never below the root.
    fn folder(&mut self, base: &Base, path: &RelPath, make: bool) -> io::Result<Dir> {
        let Some(held) = Self::base_path(base) else { return self.root.dir(path) };
        let full = held.join_rel(path);
        match self.state.dir().dir(&full) {
            Err(e) if make && e.kind() == io::ErrorKind::NotFound => {}
            other => return other,
        }
        let dir = self.state.dir().make_dirs(&full)?;
        // Every folder that may have got a new name in it.
        for path in std::iter::once(path.clone()).chain(path.above()) {
            self.changed.insert((base.into(), path));
        }
        Ok(dir)
    }

    /// Remembers that the name at a path changed and is not durable yet.
    fn touch(&mut self, base: &Base, path: &RelPath) {
        self.changed.insert((base.into(), path.parent().unwrap_or_default()));
    }

    /// Makes all changed names durable.
    ///
    /// # Errors
    /// The system's error: what is durable is unknown then.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        let changed = std::mem::take(&mut self.changed);
        if changed.len() > MANY_FOLDERS {
            let both = self.state.dir().sync_file_system().and_then(|()| self.root.sync_file_system());
            match both {
                Err(e) if e.kind() == io::ErrorKind::Unsupported => {}
                other => return other,
            }
        }
        let sync = |dir: io::Result<Dir>| match dir {
            Ok(dir) => dir.sync(),
            // It was moved or removed after something in it changed.
            Err(e) if absent(&e) => Ok(()),
            Err(e) => Err(e),
        };
        // Where things were moved to comes before where they were: a name must
        // not be gone for good before the new one is there for good.
        let mut runs: BTreeSet<&RunId> = BTreeSet::new();
        for (base, path) in &changed {
            if let BaseKey::Held(run, unit) = base {
                sync(self.state.dir().dir(&quarantine_path(run, *unit).join_rel(path)))?;
                runs.insert(run);
            }
        }
        for run in runs {
            sync(self.state.dir().dir(&inside_run(run, "quarantine")))?;
            sync(self.state.dir().dir(&StateDir::run_path(run)))?;
        }
        for (_, path) in changed.iter().filter(|(base, _)| *base == BaseKey::Root) {
            sync(self.root.dir(path))?;
        }
        Ok(())
    }
}

fn ident(item: &Item) -> Ident {
    Ident { dev: item.dev, ino: item.ino }
}

/// The folder and the name in it.
fn split(path: &RelPath) -> io::Result<(RelPath, &OsStr)> {
    let name = path.file_name().ok_or_else(|| io::Error::other("the root itself is never moved"))?;
    Ok((path.parent().unwrap_or_default(), name))
}

/// Whether there is nothing at that path.
pub(crate) fn absent(e: &io::Error) -> bool {
    matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Why a single item is left alone; other errors are about the whole work.
pub(crate) fn refusal(e: io::Error) -> io::Result<String> {
    Ok(match e.kind() {
        io::ErrorKind::NotFound => "it is gone".to_owned(),
        io::ErrorKind::AlreadyExists => "its place is taken".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::ReadOnlyFilesystem => "its file system is read-only".to_owned(),
        io::ErrorKind::NotADirectory => "a folder on the way was replaced".to_owned(),
        _ if crate::fsys::is_link_refusal(&e) => "a folder on the way was replaced by a link".to_owned(),
        io::ErrorKind::ResourceBusy | io::ErrorKind::ExecutableFileBusy => "it is in use".to_owned(),
        io::ErrorKind::InvalidData => "it changed since the plan was made".to_owned(),
        io::ErrorKind::DirectoryNotEmpty => "it is not empty".to_owned(),
        _ => return Err(e),
    })
}
