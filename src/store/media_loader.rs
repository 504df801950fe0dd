//! The ByteDance media loader's cache: `<name>.mdl` with a video's bytes and
//! `<name>.mdlnodeconf` with what is known of them.
//!
//! The app takes a video for cached when both files of that name exist, or,
//! in older builds, any `.mdlnodeconf` whose name begins with the same key
//! (labcif FAMA `mdlfixer`). No checksum is known. The head of an MP4 may lie
//! in either file, and the content may be encrypted, so that only presence,
//! emptiness and zeroing can be judged.

use std::collections::BTreeMap;
use std::io;

use super::read_at::{self, ReadAt as _};
use super::tally::Tally;
use super::{CacheEntries, CacheEntry, Check, Clearable, Format, Glimpse, Level, Shape, StoreError, Subject};
use crate::control::Control;
use crate::fsys::{Brief, Kind, RelPath};
use crate::model::{Finding, Remedy, Severity, StoreKind};

const BODY: &str = ".mdl";
const CONF: &str = ".mdlnodeconf";

/// Whether a folder holds such files.
pub(super) fn recognise(glimpse: &Glimpse) -> bool {
    glimpse.entries.iter().any(|e| {
        e.meta.kind == Kind::File && e.name.to_str().is_some_and(|n| n.ends_with(BODY) || n.ends_with(CONF))
    })
}

/// The files of one video.
#[derive(Debug, Default)]
struct Video {
    bodies: Vec<(RelPath, Brief)>,
    confs: Vec<(RelPath, Brief)>,
}

/// Checks the folder at `subject.path`.
///
/// # Errors
/// When it cannot be read, or the run was cancelled.
pub fn check(subject: Subject<'_>, level: Level, control: &Control) -> Result<Check, StoreError> {
    tally(subject, level, control).map(Tally::done)
}

pub(super) fn tally(subject: Subject<'_>, level: Level, control: &Control) -> Result<Tally, StoreError> {
    let mut tally = Tally::new(StoreKind::MediaLoader, "pairs of files, none empty or zeroed");
    let (videos, _) = list(subject)?;
    for (key, video) in &videos {
        control.safe_point()?;
        let pair = [(&video.bodies, CONF, &video.confs), (&video.confs, BODY, &video.bodies)];
        for (files, partner, partners) in pair {
            for (path, file) in files {
                tally.seen(file.size);
                if partners.is_empty() {
                    let message =
                        "the cached video lacks its other half: the app cannot play it from the cache";
                    tally.finding(
                        Finding::new("mdl.unpaired", Severity::Error, Remedy::ClearEntry, message)
                            .in_file(path.clone())
                            .expected_found(format!("a file {key}*{partner}"), "none"),
                    );
                }
                if let Some(found) = hollow(subject, path, level, control)? {
                    let message = "the cached video has no content";
                    tally.finding(
                        Finding::new("mdl.empty", Severity::Error, Remedy::ClearEntry, message)
                            .in_file(path.clone())
                            .at(0)
                            .expected_found("content", found),
                    );
                }
            }
        }
    }
    tally.not_checked("the content of cached videos: no checksum of it is known");
    Ok(tally)
}

/// Lists the videos, each with both its files.
///
/// # Errors
/// When the folder cannot be read.
pub fn entries(subject: Subject<'_>) -> Result<CacheEntries, StoreError> {
    let (videos, unknown) = list(subject)?;
    let mut out = CacheEntries { unknown, ..CacheEntries::default() };
    for video in videos.into_values() {
        let whole = !video.bodies.is_empty() && !video.confs.is_empty();
        let mut entry = CacheEntry { files: Vec::new(), last_used_ns: i128::MIN, bytes: 0 };
        for (path, file) in video.bodies.into_iter().chain(video.confs) {
            entry.bytes += file.size;
            entry.last_used_ns = entry.last_used_ns.max(file.mtime_ns);
            entry.files.push(path);
        }
        entry.files.sort();
        // A half alone is of no use, but may be one that is being written.
        if whole { out.entries.push(entry) } else { out.leftovers.push(entry) }
    }
    Ok(out)
}

/// The videos by key, and every other name.
fn list(subject: Subject<'_>) -> Result<(BTreeMap<String, Video>, Vec<RelPath>), StoreError> {
    let mut videos: BTreeMap<String, Video> = BTreeMap::new();
    let mut unknown = Vec::new();
    for (path, entry) in subject.listed(&RelPath::root())? {
        let name = entry.name.to_str().filter(|_| entry.meta.kind == Kind::File).unwrap_or_default();
        let key = |stem: &str| stem.split('_').next().unwrap_or(stem).to_owned();
        if let Some(stem) = name.strip_suffix(BODY) {
            videos.entry(key(stem)).or_default().bodies.push((path, entry.meta));
        } else if let Some(stem) = name.strip_suffix(CONF) {
            videos.entry(key(stem)).or_default().confs.push((path, entry.meta));
        } else {
            unknown.push(path);
        }
    }
    Ok((videos, unknown))
}

/// Says how a file is empty, when it is: no bytes, or (its first ones at the
/// fast level) zero bytes only.
fn hollow(
    subject: Subject<'_>,
    path: &RelPath,
    level: Level,
    control: &Control,
) -> Result<Option<String>, StoreError> {
    let Some(source) = read_at::open(subject, path)? else { return Ok(None) };
    let len = source.len();
    if len == 0 {
        return Ok(Some("an empty file".to_owned()));
    }
    let look = if level == Level::Deep { len } else { len.min(read_at::WHOLE) };
    let mut at = 0;
    while at < look {
        control.safe_point()?;
        let step = (look - at).min(read_at::CHUNK as u64);
        let mut content = false;
        read_at::stream(&source, at, step, |bytes| content |= bytes.iter().any(|&b| b != 0)).map_err(
            |e| {
                // Shorter than it was a moment ago.
                if e.kind() == io::ErrorKind::UnexpectedEof {
                    StoreError::Busy { path: subject.shown_file(path) }
                } else {
                    subject.read_error(path, e)
                }
            },
        )?;
        if content {
            return Ok(None);
        }
        at += step;
    }
    Ok((look == len).then(|| format!("{len} zero bytes")))
}

/// The table's line for this kind.
pub(super) struct MediaLoader;

impl Format for MediaLoader {
    fn kind(&self) -> StoreKind {
        StoreKind::MediaLoader
    }

    fn shape(&self) -> Shape {
        Shape::Folder
    }

    fn recognise(&self, _subject: Subject<'_>, glimpse: &Glimpse) -> io::Result<bool> {
        Ok(recognise(glimpse))
    }

    fn check(&self, subject: Subject<'_>, level: Level, control: &Control) -> Result<Check, StoreError> {
        check(subject, level, control)
    }

    fn entries(&self, subject: Subject<'_>, _control: &Control) -> Result<Clearable, StoreError> {
        Ok(Clearable::ByEntry(entries(subject)?))
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::damage::{Bench, Checked};
    use super::*;
    use crate::sample::{Tree, media_loader as sample};

    fn check(subject: Subject<'_>) -> Checked {
        tally(subject, Level::Fast, &Control::default())
    }

    #[test]
    fn any_damage_is_survived() {
        let bench = Bench::new("c");
        for name in ["a", "b"] {
            bench
                .write(&format!("c/{name}.mdl"), vec![7; 900])
                .write(&format!("c/{name}.mdlnodeconf"), [3; 90]);
        }
        bench.any_damage_is_survived(83, &check);
    }

    #[test]
    fn halves_and_hollow_files_are_found() {
        let bench = Bench::new("cachev2");
        let tree = Tree::new(&bench.path().join("cachev2"), SystemTime::now());
        let stems: Vec<_> = (0..4).map(|n| sample::pair(&tree, &format!("v{n}"), n).unwrap()).collect();
        let run = bench.run(&check).unwrap().done();
        assert_eq!((run.findings, run.coverage.bytes_verified), (vec![], 0));
        assert_eq!(run.not_checked.len(), 1, "nothing is called sound that no rule covers");

        std::fs::remove_file(bench.path().join(format!("cachev2/{}.mdlnodeconf", stems[0]))).unwrap();
        bench.write(&format!("cachev2/{}.mdl", stems[1]), "");
        bench.write(&format!("cachev2/{}.mdl", stems[2]), vec![0; 5000]);
        assert_eq!(bench.codes(&check), ["mdl.empty", "mdl.empty", "mdl.unpaired"]);
        bench.write("cachev2/.nomedia", "");
        let dir = crate::fsys::Dir::open(bench.path()).unwrap();
        let path = RelPath::new("cachev2").unwrap();
        let found = entries(Subject { dir: &dir, path: &path }).unwrap();
        assert_eq!((found.entries.len(), found.leftovers.len(), found.unknown.len()), (3, 1, 1));
        assert!(found.entries.iter().all(|e| e.files.len() == 2));
    }
}
