//! Fresco's image cache: `v2.ols100.<version>/<shard>/<resource id>.cnt`.
//!
//! There is no index and no checksum; the shard is |Java's string hash of the
//! resource id modulo 100| and a file being written ends in `.tmp` (Fresco
//! `DefaultDiskStorage`). What can be judged is the place of each file and the
//! picture in it.

use super::tally::Tally;
use super::{
    CacheEntries, CacheEntry, Check, Clearable, Format, Glimpse, Level, Shape, StoreError, Subject, media,
};
use crate::control::Control;
use crate::fsys::{Brief, Kind, RelPath};
use crate::model::{Finding, Remedy, Severity, StoreKind};
use std::io;

/// How the folder of one version of the layout begins.
const VERSION_PREFIX: &str = "v2.ols100.";
const CONTENT: &str = ".cnt";
const SCRATCH: &str = ".tmp";
/// Java's `String.hashCode` modulo this is the shard.
const SHARDS: i32 = 100;

/// Whether a folder is one, or is the folder of one version.
pub(super) fn recognise(subject: Subject<'_>, glimpse: &Glimpse) -> bool {
    let own_name = subject.path.file_name().or_else(|| subject.dir.path().file_name());
    own_name.and_then(|n| n.to_str()).is_some_and(is_version)
        || glimpse.entries.iter().any(|e| e.meta.kind == Kind::Dir && e.name.to_str().is_some_and(is_version))
}

fn is_version(name: &str) -> bool {
    name.strip_prefix(VERSION_PREFIX).is_some_and(|v| !v.is_empty() && v.bytes().all(|b| b.is_ascii_digit()))
}

/// One file of the cache.
struct Found {
    path: RelPath,
    meta: Brief,
    what: What,
}

enum What {
    /// A cached picture in the shard where it belongs.
    Content,
    /// A cached picture in a shard where Fresco never looks for it.
    Misplaced {
        shard: i32,
    },
    /// A file that was being written.
    Scratch,
    Unknown,
}

/// Checks the folder at `subject.path`.
///
/// # Errors
/// When it cannot be read, or the run was cancelled.
pub fn check(subject: Subject<'_>, level: Level, control: &Control) -> Result<Check, StoreError> {
    tally(subject, level, control).map(Tally::done)
}

pub(super) fn tally(subject: Subject<'_>, level: Level, control: &Control) -> Result<Tally, StoreError> {
    let mut tally = Tally::new(StoreKind::Fresco, "place of each picture and its structure");
    let mut known = 0_usize;
    let mut strange = Vec::new();
    for found in walk(subject, control)? {
        control.safe_point()?;
        match found.what {
            What::Content => {
                if media::file(subject, Some(&found.path), level, &mut tally, control)? {
                    known += 1;
                } else {
                    strange.push(found.path);
                }
            }
            What::Misplaced { shard } => {
                let message = "the picture lies in a folder where the library never looks for it";
                let at =
                    found.path.parent().and_then(|p| Some(p.file_name()?.to_string_lossy().into_owned()));
                tally.finding(
                    Finding::new("fresco.shard", Severity::Warning, Remedy::ClearEntry, message)
                        .expected_found(
                            format!("folder {shard}"),
                            format!("folder {}", at.unwrap_or_default()),
                        )
                        .in_file(found.path),
                );
            }
            What::Scratch | What::Unknown => {}
        }
    }
    // An app may keep pictures of a form of its own; a few strangers among
    // many pictures are damaged ones.
    if strange.len() * 3 <= known {
        for path in strange {
            let message = "the file does not begin like any picture, though most others of the cache do";
            let finding = Finding::new("fresco.no-picture", Severity::Warning, Remedy::ClearEntry, message);
            tally.finding(finding.in_file(path).at(0));
        }
    }
    tally.not_checked("the pictures' coded data: the cache has no checksum of it");
    Ok(tally)
}

/// Lists the pictures, each an entry.
///
/// # Errors
/// When the folder cannot be read, or the run was cancelled.
pub fn entries(subject: Subject<'_>, control: &Control) -> Result<CacheEntries, StoreError> {
    let mut out = CacheEntries::default();
    for found in walk(subject, control)? {
        let entry = CacheEntry {
            files: vec![found.path],
            // Fresco itself goes by the modification time, which it sets anew
            // whenever it reads the file.
            last_used_ns: found.meta.mtime_ns,
            bytes: found.meta.size,
        };
        match found.what {
            What::Content | What::Misplaced { .. } => out.entries.push(entry),
            What::Scratch => out.leftovers.push(entry),
            What::Unknown => out.unknown.extend(entry.files),
        }
    }
    Ok(out)
}

/// Everything below the version folders, in order.
fn walk(subject: Subject<'_>, control: &Control) -> Result<Vec<Found>, StoreError> {
    let root = RelPath::root();
    let mut out = Vec::new();
    let own_name = subject.path.file_name().or_else(|| subject.dir.path().file_name());
    if own_name.and_then(|n| n.to_str()).is_some_and(is_version) {
        version(subject, &root, &mut out, control)?;
    } else {
        for (path, entry) in subject.listed(&root)? {
            if entry.meta.kind == Kind::Dir && entry.name.to_str().is_some_and(is_version) {
                version(subject, &path, &mut out, control)?;
            } else {
                out.push(Found { path, meta: entry.meta, what: What::Unknown });
            }
        }
    }
    Ok(out)
}

/// Everything in the folder of one version.
fn version(
    subject: Subject<'_>,
    base: &RelPath,
    out: &mut Vec<Found>,
    control: &Control,
) -> Result<(), StoreError> {
    for (path, shard) in subject.listed(base)? {
        control.safe_point()?;
        let number = shard.name.to_str().and_then(|n| n.parse().ok()).filter(|n| (0..SHARDS).contains(n));
        let (Some(number), Kind::Dir) = (number, shard.meta.kind) else {
            out.push(Found { path, meta: shard.meta, what: What::Unknown });
            continue;
        };
        for (path, entry) in subject.listed(&path)? {
            let name = entry.name.to_str().unwrap_or_default();
            let what = match (name.strip_suffix(CONTENT), name.ends_with(SCRATCH)) {
                _ if entry.meta.kind != Kind::File => What::Unknown,
                (Some(id), _) if shard_of(id) == number => What::Content,
                (Some(id), _) => What::Misplaced { shard: shard_of(id) },
                (None, true) => What::Scratch,
                (None, false) => What::Unknown,
            };
            out.push(Found { path, meta: entry.meta, what });
        }
    }
    Ok(())
}

/// The folder where Fresco keeps `id`.
fn shard_of(id: &str) -> i32 {
    let hash = id.encode_utf16().fold(0_i32, |h, unit| h.wrapping_mul(31).wrapping_add(i32::from(unit)));
    (hash % SHARDS).abs()
}

/// The table's line for this kind.
pub(super) struct Fresco;

impl Format for Fresco {
    fn kind(&self) -> StoreKind {
        StoreKind::Fresco
    }

    fn shape(&self) -> Shape {
        Shape::Folder
    }

    fn recognise(&self, subject: Subject<'_>, glimpse: &Glimpse) -> io::Result<bool> {
        Ok(recognise(subject, glimpse))
    }

    fn check(&self, subject: Subject<'_>, level: Level, control: &Control) -> Result<Check, StoreError> {
        check(subject, level, control)
    }

    fn entries(&self, subject: Subject<'_>, control: &Control) -> Result<Clearable, StoreError> {
        Ok(Clearable::ByEntry(entries(subject, control)?))
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::damage::{Bench, Checked};
    use super::*;
    use crate::fsys::Dir;
    use crate::sample::{Tree, fresco as sample, media as pictures};

    fn check(subject: Subject<'_>) -> Checked {
        tally(subject, Level::Deep, &Control::default())
    }

    fn bench() -> Bench {
        let bench = Bench::new("fresco_cache");
        let tree = Tree::new(&bench.path().join("fresco_cache"), SystemTime::now());
        let images: Vec<_> =
            [pictures::png("1", 700), pictures::jpeg("2", 600), pictures::webp("3", 0), pictures::heic()]
                .into_iter()
                .zip(0..)
                .map(|(bytes, n)| (sample::resource_id(&n.to_string()), bytes, n))
                .collect();
        sample::cache(&tree, &images).unwrap();
        bench
    }

    #[test]
    fn any_damage_is_survived() {
        bench().any_damage_is_survived(82, &check);
    }

    #[test]
    fn the_shard_is_javas() {
        // "polygenelubricants".hashCode() is Integer.MIN_VALUE; "a" is 97.
        assert_eq!(shard_of("polygenelubricants"), 48);
        assert_eq!(shard_of("a"), 97);
        assert_eq!(shard_of("Aa"), shard_of("BB"));
    }

    #[test]
    fn damaged_pictures_are_found() {
        bench().parsed().every_damage_is_found(6, &check);
    }

    #[test]
    fn misplaced_and_empty_files_are_found() {
        let bench = bench();
        bench.write("fresco_cache/v2.ols100.1/3/Aa.cnt", pictures::gif());
        bench.write("fresco_cache/v2.ols100.1/12/Aa.cnt", "");
        bench.write("fresco_cache/v2.ols100.1/12/Aa.123.tmp", "half");
        let findings = bench.findings(&check);
        let codes: Vec<_> = findings.iter().map(|f| (f.code.as_str(), f.remedy)).collect();
        let expected = format!("folder {}", shard_of("Aa"));
        assert!(codes.contains(&("fresco.shard", Remedy::ClearEntry)), "{codes:?}");
        assert!(findings.iter().any(|f| f.evidence.expected.as_deref() == Some(expected.as_str())));
        let dir = Dir::open(bench.path()).unwrap();
        let path = RelPath::new("fresco_cache").unwrap();
        let found = entries(Subject { dir: &dir, path: &path }, &Control::default()).unwrap();
        assert_eq!((found.entries.len(), found.leftovers.len(), found.unknown.len()), (6, 1, 0));
        assert!(found.entries.iter().all(|e| e.files.len() == 1));
    }
}
