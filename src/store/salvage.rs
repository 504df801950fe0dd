//! Brings what can be read of one loose store into a new one. A database has a
//! salvage of its own, with more to say; the other kinds that can be rebuilt
//! go through their rebuild, on a private copy.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};

use super::{Identity, Part, RebuildRequest, Rebuilt, StoreError, Subject, identify, part_of};
use crate::control::Control;
use crate::fsys::{Dir, Kind, RelPath, real_path, shown};
use crate::model::{Remedy, StoreKind};

/// What a path that is to be salvaged is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A SQLite database, or what may still be one: everything else.
    Database,
    /// A log or journal whose database is missing.
    LogAlone {
        /// What it adds to the database's name: `-wal`.
        ending: &'static str,
    },
    /// A store of another kind, at that path.
    Other(StoreKind, PathBuf),
}

/// Says how `path` is to be salvaged.
///
/// # Errors
/// The system's error when it cannot be looked at.
pub fn target(path: &Path) -> io::Result<Target> {
    let (dir, rel) = opened(path)?;
    let subject = Subject { dir: &dir, path: &rel };
    let other = |kind: StoreKind, rel: &RelPath| match kind {
        StoreKind::Leveldb | StoreKind::Mmkv | StoreKind::SharedPrefs => {
            Target::Other(kind, dir.path().join(rel.as_path()))
        }
        _ => Target::Database,
    };
    if dir.stat(&rel)?.kind == Kind::File {
        match part_of(subject)? {
            Some(Part::Of(owner, kind)) => return Ok(other(kind, &owner)),
            Some(Part::LogAlone(_)) => {
                let name = rel.to_text();
                let ending = crate::model::SQLITE_SIDECARS.into_iter().find(|end| name.ends_with(end));
                return Ok(ending.map_or(Target::Database, |ending| Target::LogAlone { ending }));
            }
            None => {}
        }
    }
    Ok(match identify(subject)? {
        Some(Identity::Store { kind, .. }) => other(kind, &rel),
        _ => Target::Database,
    })
}

fn opened(path: &Path) -> io::Result<(Dir, RelPath)> {
    let path = std::path::absolute(path)?;
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Ok((Dir::open(&path)?, RelPath::root()));
    };
    Ok((Dir::open(&real_path(parent)?)?, RelPath::new(name).map_err(io::Error::other)?))
}

/// A private folder for temporary files, which goes with the value.
///
/// # Errors
/// [`StoreError::Write`].
pub fn workshop() -> Result<tempfile::TempDir, StoreError> {
    tempfile::Builder::new()
        .prefix("salvage-")
        .tempdir()
        .map_err(|source| StoreError::Write { path: shown(&tempfile::env::temp_dir()), source })
}

/// Rebuilds the store at `damaged` into `output`, at which nothing may exist.
/// The damaged store is only read.
///
/// # Errors
/// [`StoreError::CannotRebuild`] when nothing could be brought back; reading,
/// writing and cancellation.
pub fn salvage(
    kind: StoreKind,
    damaged: &Path,
    output: &Path,
    control: &Control,
) -> Result<Rebuilt, StoreError> {
    let shop = workshop()?;
    let copy = shop.path().join("store");
    let read = |source| StoreError::Read { path: shown(damaged), source };
    if damaged.is_dir() {
        fs::create_dir(&copy).map_err(read)?;
        for entry in fs::read_dir(damaged).map_err(read)? {
            control.safe_point()?;
            let entry = entry.map_err(read)?;
            // What is neither a file nor of this format stays where it is.
            if entry.file_type().map_err(read)?.is_file() {
                fs::copy(entry.path(), copy.join(entry.file_name())).map_err(read)?;
            }
        }
    } else {
        for ending in std::iter::once("").chain(kind.sidecars().iter().copied()) {
            let beside = |path: &Path| {
                let mut name = path.as_os_str().to_owned();
                name.push(ending);
                PathBuf::from(name)
            };
            match fs::copy(beside(damaged), beside(&copy)) {
                Ok(_) => {}
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(read(e)),
            }
        }
    }
    super::rebuild(
        kind,
        &RebuildRequest { copy: &copy, out: output, how: Remedy::Rebuild, known: None, control },
    )
}

/// Lays a log by itself beside an empty database in a private folder, so that
/// its pages can be read; gives the database's path there.
///
/// # Errors
/// Reading and writing.
pub fn lone_log(log: &Path, ending: &str, workshop: &Path) -> Result<PathBuf, StoreError> {
    let database = workshop.join("database");
    let write = |source| StoreError::Write { path: shown(workshop), source };
    OpenOptions::new().write(true).create_new(true).open(&database).map_err(write)?;
    let read = |source| StoreError::Read { path: shown(log), source };
    fs::copy(log, workshop.join(format!("database{ending}"))).map_err(read)?;
    Ok(database)
}
