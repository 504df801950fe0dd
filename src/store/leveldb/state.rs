//! The state from which a damaged store is rebuilt: by the MANIFEST where one
//! can be believed, else only a hint.

use super::folder::{Folder, Listed, Name};
use super::manifest::Version;
use super::salvage::log::{self, Part};
use super::{Edits, open_listed};
use crate::store::read_at::{OpenFile, ReadAt as _, read_vec};
use crate::store::{StoreError, Subject};

/// What is known of the store's state.
pub(super) struct State {
    pub(super) version: Version,
    /// Whether the version is the store's last one, so that its levels and its
    /// lists hold.
    pub(super) trusted: bool,
}

impl State {
    /// The state by the MANIFEST that CURRENT names, else by the newest that
    /// fits what is there, else by what can be read of the newest.
    pub(super) fn find(subject: Subject<'_>, folder: &Folder) -> Result<Self, StoreError> {
        let mut numbers: Vec<u64> = folder.manifests.keys().rev().copied().collect();
        if let Some(named) = named_by_current(subject, folder)? {
            numbers.retain(|n| *n != named);
            numbers.insert(0, named);
        }
        let mut fallback: Option<Version> = None;
        for number in numbers {
            let Some((file, source)) = open_listed(subject, folder.manifests.get(&number))? else { continue };
            let (version, sound) = load(subject, folder, file, &source)?;
            if sound && version.missing_field().is_none() && fits(folder, &version) {
                return Ok(Self { version, trusted: true });
            }
            fallback.get_or_insert(version);
        }
        Ok(Self { version: fallback.unwrap_or_default(), trusted: false })
    }
}

/// The state by one MANIFEST, and whether every edit of it was read. A single
/// wrong bit is put right by its checksum and does no harm.
fn load(
    subject: Subject<'_>,
    folder: &Folder,
    file: &Listed,
    source: &OpenFile,
) -> Result<(Version, bool), StoreError> {
    let mut edits = Edits::new(folder);
    let mut sound = true;
    let read = log::read(source, &mut |part| {
        let applied = match part {
            Part::Write(edit) if edit.head && edit.tail && edit.proves(0..edit.data.len()) => {
                edits.apply(&edit.data).is_ok()
            }
            _ => false,
        };
        sound &= applied;
    });
    read.map_err(|e| subject.read_error(&file.rel, e))?;
    Ok((edits.done(subject, file)?, sound))
}

/// Whether the version explains the files that are there. One that misses
/// files while others are there of which it knows nothing is an old one.
fn fits(folder: &Folder, version: &Version) -> bool {
    let there = |n: &u64| folder.tables.contains_key(n) || folder.backups.contains_key(n);
    let log = version.log_number.unwrap_or_default();
    let complete = version.tables.keys().all(there) && (log == 0 || folder.logs.contains_key(&log));
    let unlisted =
        folder.tables.keys().any(|n| !version.tables.contains_key(n) && !version.removed.contains(n));
    complete || !unlisted
}

fn named_by_current(subject: Subject<'_>, folder: &Folder) -> Result<Option<u64>, StoreError> {
    let Some((file, source)) = open_listed(subject, folder.current.as_ref())? else { return Ok(None) };
    let bytes = read_vec(&source, 0, source.len().min(super::MAX_CURRENT) as usize)
        .map_err(|e| subject.read_error(&file.rel, e))?;
    let name = std::str::from_utf8(&bytes).ok().and_then(|t| Name::parse(t.trim_end()));
    Ok(match name {
        Some(Name::Manifest(n)) if folder.manifests.contains_key(&n) => Some(n),
        _ => None,
    })
}
