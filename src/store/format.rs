//! What a store kind has to offer, and the table of all kinds: a new one is a
//! file with an implementation of [`Format`], and a line in [`FORMATS`].

use std::io;

use super::{
    Check, Clearable, Family, Foreign, Glimpse, Level, RebuildRequest, Rebuilt, StoreError, Subject,
};
use super::{
    blockfile, cache_storage, disk_lru, exo, firefox_cache, fresco, json, keva, leveldb, media, media_loader,
    mmkv, plist, shared_prefs, simple_cache, sql_cache, sqlite,
};
use crate::control::Control;
use crate::fsys::RelPath;
use crate::model::{Severity, StoreKind};

/// What a store is on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// A file, with what belongs to it beside it.
    File,
    /// A folder.
    Folder,
}

/// A store kind.
pub(super) trait Format: Sync {
    /// The word for it.
    fn kind(&self) -> StoreKind;

    /// Whether it is a file or a folder.
    fn shape(&self) -> Shape;

    /// Whether `subject`, which has the shape, is one by its content.
    ///
    /// # Errors
    /// The system's error.
    fn recognise(&self, subject: Subject<'_>, glimpse: &Glimpse) -> io::Result<bool>;

    /// Checks the store. It never writes.
    ///
    /// # Errors
    /// When the store cannot be read, is being changed, or is beyond a bound.
    fn check(&self, subject: Subject<'_>, level: Level, control: &Control) -> Result<Check, StoreError>;

    /// Lists what can be cleared of a cache.
    ///
    /// # Errors
    /// When it cannot be read, or is no cache that knows its entries.
    fn entries(&self, subject: Subject<'_>, _control: &Control) -> Result<Clearable, StoreError> {
        Err(StoreError::NoCheck { path: subject.shown(), kind: self.kind() })
    }

    /// Rebuilds a private copy into a new store.
    ///
    /// # Errors
    /// When nothing could be brought back, the disk fails, the run was
    /// cancelled, or the kind cannot be rebuilt.
    fn rebuild(&self, request: &RebuildRequest<'_>) -> Result<Rebuilt, StoreError> {
        Err(StoreError::CannotRebuild {
            path: crate::fsys::shown(request.copy),
            reason: format!("stores of kind {} are not rebuilt", self.kind()),
        })
    }

    /// The other engine's format that a store has in which the check found
    /// damage.
    ///
    /// # Errors
    /// The system's error.
    fn other_engine(&self, _subject: Subject<'_>) -> io::Result<Option<Foreign>> {
        Ok(None)
    }
}

/// Every kind; of each shape the one with the most specific signature first.
const FORMATS: [&dyn Format; 17] = [
    &leveldb::Leveldb,
    &simple_cache::SimpleCache,
    &sql_cache::SqlCache,
    &cache_storage::CacheStorage,
    &blockfile::Blockfile,
    &firefox_cache::FirefoxCache,
    &disk_lru::DiskLru,
    &fresco::Fresco,
    &exo::Exo,
    &keva::Keva,
    &media_loader::MediaLoader,
    &sqlite::Sqlite,
    &plist::Plist,
    &shared_prefs::SharedPrefs,
    &json::Json,
    &mmkv::Mmkv,
    &media::Media,
];

/// The implementation of `kind`; `None` for plain files.
fn of(kind: StoreKind) -> Option<&'static dyn Format> {
    FORMATS.into_iter().find(|f| f.kind() == kind)
}

/// Says what kind of store `subject` is, by its content and never by its name
/// alone. `None` is what no kind claims: plain files, mixed folders.
///
/// # Errors
/// The system's error when it cannot be looked at.
pub fn recognise(subject: Subject<'_>) -> io::Result<Option<StoreKind>> {
    recognise_glimpse(subject, &Glimpse::of(subject)?)
}

/// The same for what was looked at already.
pub(super) fn recognise_glimpse(subject: Subject<'_>, glimpse: &Glimpse) -> io::Result<Option<StoreKind>> {
    let shape = match (glimpse.is_dir(), glimpse.is_file()) {
        (true, _) => Shape::Folder,
        (_, true) => Shape::File,
        _ => return Ok(None),
    };
    for format in FORMATS.into_iter().filter(|f| f.shape() == shape) {
        if format.recognise(subject, glimpse)? {
            return Ok(Some(format.kind()));
        }
    }
    Ok(None)
}

/// Says what kind of file `subject` is by nothing but its own first bytes: for a
/// file on another device, where each look at a neighbour takes a trip.
///
/// # Errors
/// The system's error when it cannot be looked at.
pub fn recognise_alone(subject: Subject<'_>) -> io::Result<Option<StoreKind>> {
    let glimpse = Glimpse::of(subject)?;
    let alone = FORMATS.into_iter().filter(|f| f.shape() == Shape::File && f.kind().sidecars().is_empty());
    for format in alone.filter(|_| glimpse.is_file()) {
        if format.recognise(subject, &glimpse)? {
            return Ok(Some(format.kind()));
        }
    }
    Ok(None)
}

/// Checks the store at `subject` as `kind`. Damage is believed only of what is
/// no other format: a RocksDB database is no damaged LevelDB.
///
/// # Errors
/// When the store cannot be read, is being changed, is beyond a bound, is of
/// another format than `kind`, or when no check exists for the kind. Damage is
/// a finding, not an error.
pub fn check(
    kind: StoreKind,
    subject: Subject<'_>,
    level: Level,
    control: &Control,
) -> Result<Check, StoreError> {
    let format = of(kind).ok_or_else(|| StoreError::NoCheck { path: subject.shown(), kind })?;
    let check = format.check(subject, level, control)?;
    if check.findings.iter().any(|f| f.severity == Severity::Error) {
        let foreign = format.other_engine(subject).map_err(|e| subject.read_error(&RelPath::root(), e))?;
        if let Some(foreign) = foreign.filter(|f| f.family == Family::Database) {
            return Err(StoreError::Foreign { path: subject.shown(), foreign });
        }
    }
    Ok(check)
}

/// Lists what can be cleared of the cache at `subject`, entry by entry.
///
/// # Errors
/// When it cannot be read, or when `kind` is no cache that knows its entries.
pub fn entries(kind: StoreKind, subject: Subject<'_>, control: &Control) -> Result<Clearable, StoreError> {
    of(kind).ok_or_else(|| StoreError::NoCheck { path: subject.shown(), kind })?.entries(subject, control)
}

/// Rebuilds a private copy of a store of `kind` into a new one.
///
/// # Errors
/// When nothing could be brought back, the disk fails, the run was cancelled,
/// or the kind cannot be rebuilt.
pub fn rebuild(kind: StoreKind, request: &RebuildRequest<'_>) -> Result<Rebuilt, StoreError> {
    let path = || crate::fsys::shown(request.copy);
    let format = of(kind).ok_or_else(|| StoreError::CannotRebuild {
        path: path(),
        reason: format!("stores of kind {kind} are not rebuilt"),
    })?;
    format.rebuild(request)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_but_plain_files_is_in_the_table_once() {
        for kind in StoreKind::ALL {
            let lines = FORMATS.into_iter().filter(|f| f.kind() == kind).count();
            assert_eq!(lines, usize::from(kind != StoreKind::Files), "{kind}");
        }
    }
}
