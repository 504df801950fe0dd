//! Chromium's Cache Storage of one origin: what web apps and their service
//! workers keep to work offline.
//!
//! A folder with `index.txt`, which names the caches, and a Simple cache in a
//! folder of its own for each. After Chromium's
//! `content/browser/cache_storage/README.md`. A site decides what lies here
//! and the browser cannot fetch it again by itself, so that damage is only
//! reported.

mod index;

use std::collections::BTreeSet;
use std::io::{self, Read as _};

use self::index::{Index, Wrong};
use super::tally::Tally;
use super::{Check, Format, Glimpse, Level, Shape, StoreError, Subject, simple_cache};
use crate::control::Control;
use crate::fsys::{Kind, RelPath};
use crate::model::{Finding, Remedy, Severity, StoreKind};

const INDEX: &str = "index.txt";
/// The largest index that is read; Chromium's own has a few hundred bytes.
const MAX_INDEX: u64 = 4 * 1024 * 1024;
/// How many folders `recognise` looks into.
const SAMPLE: usize = 4;

/// Whether the folder is an origin's Cache Storage: by an index that reads as
/// one, or by caches that lie beside a broken one.
///
/// # Errors
/// The system's error.
pub fn recognise(subject: Subject<'_>, glimpse: &Glimpse) -> io::Result<bool> {
    if !glimpse.has_file(INDEX) {
        return Ok(false);
    }
    let rel = subject.path.join(INDEX).map_err(io::Error::other)?;
    let mut bytes = Vec::new();
    subject.dir.open_file(&rel)?.take(MAX_INDEX).read_to_end(&mut bytes)?;
    if let Ok(index) = index::read(&bytes)
        && (index.origin.is_some_and(|o| o.contains("://")) || !index.caches.is_empty())
    {
        return Ok(true);
    }
    for folder in glimpse.entries.iter().filter(|e| e.meta.kind == Kind::Dir).take(SAMPLE) {
        let path = subject.path.join(&folder.name).map_err(io::Error::other)?;
        let inner = Subject { dir: subject.dir, path: &path };
        if simple_cache::recognise(inner, &Glimpse::of(inner)?)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Checks the index, that each cache it names is there, and each cache: at
/// [`Level::Fast`] the structure of its entries, at [`Level::Deep`] the
/// checksums of their streams.
///
/// # Errors
/// When a file cannot be read, or the run was cancelled.
pub fn check(subject: Subject<'_>, level: Level, control: &Control) -> Result<Check, StoreError> {
    examine(subject, level, control)?.finish(subject)
}

fn damage(code: &str, message: impl Into<String>) -> Finding {
    Finding::new(code, Severity::Error, Remedy::Report, message)
}

/// The check, before it is summed up.
pub(super) fn examine(subject: Subject<'_>, level: Level, control: &Control) -> Result<Tally, StoreError> {
    let root = RelPath::root();
    let fail = |e| subject.read_error(&root, e);
    let method = match level {
        Level::Fast => "cache storage index, simple cache structure",
        Level::Deep => "cache storage index, simple cache stream checksums",
    };
    let mut out = Tally::new(StoreKind::CacheStorage, method);
    let mut folders = BTreeSet::new();
    let (mut unknown, mut unknown_bytes) = (0, 0);
    let listed = subject.dir.dir(subject.path).and_then(|d| d.list()).map_err(fail)?;
    for item in &listed {
        match (item.meta.kind, item.name.to_str()) {
            (Kind::Dir, Some(name)) => {
                folders.insert(name.to_owned());
            }
            (Kind::File, Some(INDEX)) => {}
            _ => {
                unknown += 1;
                unknown_bytes += if item.meta.kind == Kind::File { item.meta.size } else { 0 };
            }
        }
    }
    let named = match read_index(subject, &mut out)? {
        Some(index) => compare(&index, &folders, &mut out),
        None => BTreeSet::new(),
    };
    for folder in &folders {
        control.safe_point()?;
        let rel = RelPath::new(folder).map_err(|e| fail(io::Error::other(e)))?;
        let path = subject.path.join_rel(&rel);
        let inner = Subject { dir: subject.dir, path: &path };
        let glimpse = Glimpse::of(inner).map_err(|e| subject.read_error(&rel, e))?;
        let is_cache = simple_cache::recognise(inner, &glimpse).map_err(|e| subject.read_error(&rel, e))?;
        if is_cache || named.contains(folder) {
            match simple_cache::examine(inner, level, control) {
                Ok(cache) => out.absorb(cache, &rel, |finding| Finding {
                    remedy: at_most_report(finding.remedy),
                    ..finding
                }),
                // The other caches of the site are judged all the same.
                Err(StoreError::UnknownForm { what, .. }) => {
                    let bytes = glimpse.entries.iter().map(|e| e.meta.size).sum();
                    out.unknown_form(bytes, format!("{rel}: {what}"));
                }
                Err(e) => return Err(e),
            }
        } else if !glimpse.entries.is_empty() {
            unknown += 1;
        }
    }
    if unknown > 0 {
        out.unknown_form(unknown_bytes, format!("{unknown} files or folders are not of this format"));
    }
    Ok(out)
}

/// What a cache is cleared for is only reported here.
fn at_most_report(remedy: Remedy) -> Remedy {
    if remedy == Remedy::None { Remedy::None } else { Remedy::Report }
}

/// Reads the index; `None` (with a finding) when it cannot be.
fn read_index(subject: Subject<'_>, out: &mut Tally) -> Result<Option<Index>, StoreError> {
    let rel = RelPath::new(INDEX).unwrap_or_default();
    let Some(source) = super::source::Source::open(subject.dir, &subject.path.join_rel(&rel))? else {
        let message = "the index is missing: the browser takes the site's caches for unused and deletes them";
        out.finding(damage("cache-storage.index", message).in_file(rel));
        return Ok(None);
    };
    let bytes = source.bytes(MAX_INDEX)?;
    out.seen(bytes.len() as u64);
    out.known_form(bytes.len() as u64);
    match index::read(&bytes) {
        Ok(index) if index.origin.is_some() || !index.caches.is_empty() => {
            out.not_checked("the names and sizes in the index: it has no checksum");
            Ok(Some(index))
        }
        Ok(_) => {
            let message = "the index names neither a site nor a cache";
            out.finding(damage("cache-storage.index", message).in_file(rel).at(0));
            Ok(None)
        }
        Err(Wrong { at, message }) => {
            source.unchanged()?;
            out.finding(
                damage("cache-storage.index", format!("the index cannot be read: {message}"))
                    .in_file(rel)
                    .at(at),
            );
            Ok(None)
        }
    }
}

/// That each cache has its folder, and each folder its cache; gives the folders
/// that the index names.
fn compare(index: &Index, folders: &BTreeSet<String>, out: &mut Tally) -> BTreeSet<String> {
    let file = RelPath::new(INDEX).unwrap_or_default();
    let mut named = BTreeSet::new();
    let mut unnamed = 0;
    for cache in &index.caches {
        let Some(folder) = &cache.folder else {
            unnamed += 1;
            continue;
        };
        named.insert(folder.clone());
        if folders.contains(folder) {
            // A changed name would lead nowhere.
            out.vouch(Some(&file), cache.folder_at.clone());
        } else {
            let name = crate::fsys::printable(&String::from_utf8_lossy(&cache.name));
            out.finding(
                damage("cache-storage.folder", format!("the folder of the cache {name} is missing"))
                    .in_file(file.clone())
                    .at(cache.folder_at.start)
                    .expected_found(format!("a folder {folder}"), "none"),
            );
        }
    }
    if unnamed > 0 {
        out.not_checked(format!("{unnamed} caches of an older format, without a folder of their own name"));
    }
    for folder in folders.iter().filter(|f| !named.contains(*f)) {
        let message = "no cache of the index has this folder; the browser deletes it when it next starts";
        let finding = Finding::new("cache-storage.orphan", Severity::Info, Remedy::None, message);
        out.finding(finding.in_file(RelPath::new(folder).unwrap_or_default()));
    }
    named
}

/// The table's line for this kind.
pub(super) struct CacheStorage;

impl Format for CacheStorage {
    fn kind(&self) -> StoreKind {
        StoreKind::CacheStorage
    }

    fn shape(&self) -> Shape {
        Shape::Folder
    }

    fn recognise(&self, subject: Subject<'_>, glimpse: &Glimpse) -> io::Result<bool> {
        recognise(subject, glimpse)
    }

    fn check(&self, subject: Subject<'_>, level: Level, control: &Control) -> Result<Check, StoreError> {
        check(subject, level, control)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsys::Dir;
    use crate::store::damage::Bench;
    use crate::store::simple_cache::tests::{index as cache_index, main_file, stem};

    fn sound() -> Bench {
        let bench = Bench::new("a1b2");
        bench.write(
            "a1b2/index.txt",
            index::tests::index(&[("assets", "61-22"), ("api", "2b-cb")], "https://a.b/"),
        );
        for folder in ["61-22", "2b-cb"] {
            bench.write(&format!("a1b2/{folder}/index"), cache_index());
            for (key, body) in [("https://a.b/1", vec![7; 900]), ("https://a.b/22", vec![8; 30])] {
                bench.write(&format!("a1b2/{folder}/{}_0", stem(key)), main_file(key, b"meta", &body, true));
            }
        }
        bench
    }

    fn deep(subject: Subject<'_>) -> Result<Tally, StoreError> {
        examine(subject, Level::Deep, &Control::default())
    }

    #[test]
    fn every_damage_under_a_checksum_is_found_in_the_right_file() {
        sound().every_damage_is_found(61, &deep);
    }

    #[test]
    fn any_damage_is_survived() {
        sound().any_damage_is_survived(85, &deep);
    }

    /// One cache of a newer program does not hide damage in another.
    #[test]
    fn a_cache_of_an_unknown_version_is_told_from_a_damaged_one() {
        let outcome = |bench: &Bench| {
            let dir = Dir::open(bench.path()).unwrap();
            check(
                Subject { dir: &dir, path: &RelPath::new("a1b2").unwrap() },
                Level::Deep,
                &Control::default(),
            )
        };
        let bench = sound();
        let mut newer = cache_index();
        newer[8] = 10;
        bench.write("a1b2/61-22/index", &newer);
        bench.write("a1b2/61-22/blob", vec![1; 9000]);
        assert!(matches!(outcome(&bench), Err(StoreError::UnknownForm { .. })));
        let mut bytes = main_file("https://a.b/1", b"meta", &[7; 900], true);
        bytes[60] ^= 1;
        bench.write(&format!("a1b2/2b-cb/{}_0", stem("https://a.b/1")), bytes);
        let check = outcome(&bench).unwrap();
        assert_eq!(check.findings.len(), 1, "{:?}", check.findings);
        assert!(check.not_checked.iter().any(|n| n.starts_with("61-22: ")), "{:?}", check.not_checked);
    }

    #[test]
    fn it_is_recognised_by_its_index_and_without_it() {
        let bench = sound();
        let kind = |bench: &Bench| {
            let dir = Dir::open(bench.path()).unwrap();
            crate::store::recognise(Subject { dir: &dir, path: &RelPath::new("a1b2").unwrap() }).unwrap()
        };
        assert_eq!(kind(&bench), Some(StoreKind::CacheStorage));
        bench.write("a1b2/index.txt", [0xff; 30]);
        assert_eq!(kind(&bench), Some(StoreKind::CacheStorage));
        assert_eq!(bench.codes(&deep), ["cache-storage.index"]);
        let bench = Bench::new("a1b2");
        bench.write("a1b2/index.txt", "a list of things");
        assert_eq!(kind(&bench), None);
    }

    #[test]
    fn nothing_here_is_ever_cleared() {
        let bench = sound();
        bench.write("a1b2/61-22/index", b"broken");
        let mut bytes = main_file("https://a.b/1", b"meta", &[7; 900], true);
        bytes[60] ^= 1;
        bench.write(&format!("a1b2/2b-cb/{}_0", stem("https://a.b/1")), bytes);
        let findings = bench.findings(&deep);
        assert_eq!(findings.len(), 2, "{findings:?}");
        assert!(findings.iter().all(|f| f.remedy == Remedy::Report), "{findings:?}");
    }

    #[test]
    fn a_lost_folder_and_a_lost_index_are_found() {
        let bench = sound();
        std::fs::remove_dir_all(bench.path().join("a1b2/61-22")).unwrap();
        assert_eq!(bench.codes(&deep), ["cache-storage.folder"]);
        let bench = sound();
        std::fs::remove_file(bench.path().join("a1b2/index.txt")).unwrap();
        assert_eq!(bench.codes(&deep), ["cache-storage.index"]);
        let bench = sound();
        bench.write("a1b2/ffff/index", cache_index());
        assert_eq!(bench.codes(&deep), ["cache-storage.orphan"]);
    }
}
