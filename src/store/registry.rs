//! From a kind to the code that knows it: recognise, check, entries, rebuild.

use std::io;

use super::foreign::{Family, Foreign};
use super::{Check, Clearable, Glimpse, Level, RebuildRequest, Rebuilt, StoreError, Subject};
use super::{
    blockfile, cache_storage, disk_lru, exo, firefox_cache, foreign, fresco, json, keva, leveldb, media,
    media_loader, mmkv, plist, shared_prefs, simple_cache, sql_cache, sqlite,
};
use crate::control::Control;
use crate::fsys::RelPath;
use crate::model::{Severity, StoreKind};

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
    Ok(if glimpse.is_dir() {
        recognise_folder(subject, glimpse)?
    } else if glimpse.is_file() {
        recognise_file(subject, glimpse)?
    } else {
        None
    })
}

/// Folder kinds, the most specific signature first.
fn recognise_folder(subject: Subject<'_>, glimpse: &Glimpse) -> io::Result<Option<StoreKind>> {
    // Begun as a copy of LevelDB, and much like it from outside.
    if foreign::is_rocksdb(subject, glimpse)? {
        return Ok(None);
    }
    if leveldb::recognise(subject, glimpse)? {
        return Ok(Some(StoreKind::Leveldb));
    }
    if simple_cache::recognise(subject, glimpse)? {
        return Ok(Some(StoreKind::SimpleCache));
    }
    if sql_cache::recognise(subject, glimpse)? {
        return Ok(Some(StoreKind::SqlCache));
    }
    if cache_storage::recognise(subject, glimpse)? {
        return Ok(Some(StoreKind::CacheStorage));
    }
    if blockfile::recognise(subject, glimpse)? {
        return Ok(Some(StoreKind::BlockfileCache));
    }
    if firefox_cache::recognise(subject, glimpse)? {
        return Ok(Some(StoreKind::FirefoxCache));
    }
    if disk_lru::recognise(subject, glimpse)? {
        return Ok(Some(StoreKind::DiskLruCache));
    }
    Ok(if fresco::recognise(subject, glimpse) {
        Some(StoreKind::Fresco)
    } else if exo::recognise(glimpse) {
        Some(StoreKind::ExoCache)
    } else if keva::recognise(subject, glimpse) {
        Some(StoreKind::Keva)
    } else if media_loader::recognise(glimpse) {
        Some(StoreKind::MediaLoader)
    } else {
        None
    })
}

/// File kinds, the most specific signature first.
fn recognise_file(subject: Subject<'_>, glimpse: &Glimpse) -> io::Result<Option<StoreKind>> {
    Ok(if glimpse.head.starts_with(b"SQLite format 3\0") {
        Some(StoreKind::Sqlite)
    } else if plist::recognise(glimpse) {
        Some(StoreKind::Plist)
    } else if shared_prefs::recognise(glimpse) {
        Some(StoreKind::SharedPrefs)
    } else if json::recognise(glimpse) {
        Some(StoreKind::Json)
    } else if mmkv::recognise(subject, glimpse.meta.size)? {
        Some(StoreKind::Mmkv)
    } else if media::recognise(glimpse) {
        Some(StoreKind::Media)
    } else {
        None
    })
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
    let check = check_as(kind, subject, level, control)?;
    if check.findings.iter().any(|f| f.severity == Severity::Error)
        && let Some(foreign) =
            other_engine(kind, subject).map_err(|e| subject.read_error(&RelPath::root(), e))?
    {
        return Err(StoreError::Foreign { path: subject.shown(), foreign });
    }
    Ok(check)
}

/// The other engine's format that the store at `subject` has.
fn other_engine(kind: StoreKind, subject: Subject<'_>) -> io::Result<Option<Foreign>> {
    let found = match kind {
        StoreKind::Json => json::dialect(subject)?,
        StoreKind::Sqlite | StoreKind::Leveldb | StoreKind::SharedPrefs | StoreKind::Mmkv => {
            match Glimpse::of(subject) {
                Ok(glimpse) => foreign::recognise(subject, &glimpse)?,
                // Preferences of which only the backup is there.
                Err(e) if e.kind() == io::ErrorKind::NotFound => None,
                Err(e) => return Err(e),
            }
        }
        _ => None,
    };
    Ok(found.filter(|f| f.family == Family::Database))
}

fn check_as(
    kind: StoreKind,
    subject: Subject<'_>,
    level: Level,
    control: &Control,
) -> Result<Check, StoreError> {
    match kind {
        StoreKind::Sqlite => sqlite::check(subject, level, control),
        StoreKind::SharedPrefs => shared_prefs::check(subject, level, control),
        StoreKind::Leveldb => leveldb::check(subject, level, control),
        StoreKind::BlockfileCache => blockfile::check(subject, level, control),
        StoreKind::SqlCache => sql_cache::check(subject, level, control),
        StoreKind::CacheStorage => cache_storage::check(subject, level, control),
        StoreKind::FirefoxCache => firefox_cache::check(subject, level, control),
        StoreKind::SimpleCache => simple_cache::check(subject, level, control),
        StoreKind::Plist => plist::check(subject, level, control),
        StoreKind::Json => json::check(subject, level, control),
        StoreKind::Mmkv => mmkv::check(subject, level, control),
        StoreKind::DiskLruCache => disk_lru::check(subject, level, control),
        StoreKind::Fresco => fresco::check(subject, level, control),
        StoreKind::ExoCache => exo::check(subject, level, control),
        StoreKind::Keva => keva::check(subject, level, control),
        StoreKind::MediaLoader => media_loader::check(subject, level, control),
        StoreKind::Media => media::check(subject, level, control),
        StoreKind::Files => Err(StoreError::NoCheck { path: subject.shown(), kind }),
    }
}

/// Lists what can be cleared of the cache at `subject`, entry by entry.
///
/// # Errors
/// When it cannot be read, or when `kind` is no cache that knows its entries.
pub fn entries(kind: StoreKind, subject: Subject<'_>, control: &Control) -> Result<Clearable, StoreError> {
    match kind {
        StoreKind::FirefoxCache => Ok(Clearable::ByEntry(firefox_cache::entries(subject)?)),
        StoreKind::SimpleCache => Ok(Clearable::ByEntry(simple_cache::entries(subject)?)),
        StoreKind::DiskLruCache => disk_lru::entries(subject, control),
        StoreKind::Fresco => Ok(Clearable::ByEntry(fresco::entries(subject, control)?)),
        StoreKind::ExoCache => exo::entries(subject, control),
        StoreKind::MediaLoader => Ok(Clearable::ByEntry(media_loader::entries(subject)?)),
        StoreKind::Media => Ok(Clearable::ByEntry(media::entries(subject)?)),
        StoreKind::BlockfileCache | StoreKind::SqlCache => Ok(Clearable::WholeOnly),
        _ => Err(StoreError::NoCheck { path: subject.shown(), kind }),
    }
}

/// Rebuilds a private copy of a store of `kind` into a new one.
///
/// # Errors
/// When nothing could be brought back, the disk fails, the run was cancelled,
/// or the kind cannot be rebuilt.
pub fn rebuild(kind: StoreKind, request: &RebuildRequest<'_>) -> Result<Rebuilt, StoreError> {
    match kind {
        StoreKind::Sqlite => sqlite::rebuild(request),
        StoreKind::Leveldb => leveldb::rebuild(request),
        StoreKind::Mmkv => mmkv::rebuild(request),
        _ => Err(StoreError::CannotRebuild {
            path: crate::fsys::shown(request.copy),
            reason: format!("stores of kind {kind} are not rebuilt"),
        }),
    }
}
