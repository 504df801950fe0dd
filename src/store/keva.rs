//! ByteDance Keva repositories: `<name>/<name>.{blk,chk,lxi}`.
//!
//! Their checksum and layout are not public. Only consistency is judged: the
//! three files are there, none is empty or all zero, each is a multiple of a
//! page, and each begins as its siblings on the same device do. A repository
//! holds the session and settings, so that it is reported and nothing else.

use std::collections::BTreeMap;
use std::io::{self, Read as _};

use super::source::Source;
use super::tally::Tally;
use super::{Check, Format, Glimpse, Level, Shape, StoreError, Subject};
use crate::control::Control;
use crate::fsys::{Dir, Kind, RelPath, printable};
use crate::model::{Finding, Remedy, Severity, StoreKind};

/// What the names of a repository's files add to its own.
const MEMBERS: [&str; 3] = [".blk", ".chk", ".lxi"];
/// The files are mapped into memory by whole pages.
const PAGE: u64 = 4096;
/// How much of a file's beginning is compared with its siblings'.
const MAGIC: usize = 4;
/// Most siblings that are looked at.
const MAX_SIBLINGS: usize = 200;

/// Whether a folder is a repository: a block file with the folder's own name.
pub(super) fn recognise(subject: Subject<'_>, glimpse: &Glimpse) -> bool {
    name_of(subject).is_some_and(|name| {
        let there = MEMBERS.iter().filter(|suffix| glimpse.has_file(&format!("{name}{suffix}"))).count();
        there >= 2
    })
}

fn name_of(subject: Subject<'_>) -> Option<String> {
    let name = subject.path.file_name().or_else(|| subject.dir.path().file_name())?;
    name.to_str().map(str::to_owned)
}

/// Checks the repository folder at `subject.path`.
///
/// # Errors
/// When it cannot be read, changes meanwhile, or the run was cancelled.
pub fn check(subject: Subject<'_>, _level: Level, control: &Control) -> Result<Check, StoreError> {
    tally(subject, control).map(Tally::done)
}

pub(super) fn tally(subject: Subject<'_>, control: &Control) -> Result<Tally, StoreError> {
    let mut tally = Tally::new(StoreKind::Keva, "presence, size and beginning of its files");
    tally.not_checked("the content: Keva's checksum is not public");
    let Some(name) = name_of(subject) else { return Ok(tally) };
    for suffix in MEMBERS {
        control.safe_point()?;
        let Ok(member) = RelPath::root().join(format!("{name}{suffix}")) else { return Ok(tally) };
        let report = |code, severity, message: &str| {
            Finding::new(code, severity, Remedy::Report, message).in_file(member.clone())
        };
        let Some(source) = Source::open(subject.dir, &subject.path.join_rel(&member))? else {
            let message = "the repository lacks one of its three files";
            tally.finding(report("keva.missing", Severity::Error, message));
            continue;
        };
        tally.seen(source.len());
        let state = look(&source, control)?;
        source.unchanged()?;
        if source.len() == 0 {
            tally.finding(report("keva.empty", Severity::Error, "the file is empty").at(0));
        } else if !state.content && suffix == ".blk" {
            let finding =
                report("keva.zeros", Severity::Error, "the repository's blocks are nothing but zeros");
            tally.finding(finding.at(0).expected_found("content", format!("{} zero bytes", source.len())));
        } else if source.len() % PAGE != 0 {
            let message = "the file is no multiple of a page: it was cut";
            let expected = format!("a multiple of {PAGE} bytes");
            let found = format!("{} bytes", source.len());
            tally.finding(
                report("keva.size", Severity::Error, message)
                    .at(source.len())
                    .expected_found(expected, found),
            );
        } else if let Some(usual) = usual_magic(subject, &name, suffix)?
            && state.magic != usual
        {
            let message = "the file does not begin as every other repository's does";
            let shown = |magic: &[u8]| printable(&magic.escape_ascii().to_string());
            let finding = report("keva.magic", Severity::Warning, message).at(0);
            tally.finding(finding.expected_found(shown(&usual), shown(&state.magic)));
        }
    }
    Ok(tally)
}

/// What a file begins with, and whether anything in it is not zero.
struct State {
    magic: [u8; MAGIC],
    content: bool,
}

fn look(source: &Source, control: &Control) -> Result<State, StoreError> {
    let mut reader = source.reader();
    let mut magic = [0; MAGIC];
    let mut buffer = [0; 16 * 1024];
    let mut content = false;
    let mut first = true;
    loop {
        control.safe_point()?;
        let n = reader.read(&mut buffer).map_err(|e| source.error(e))?;
        let read = buffer.get(..n).unwrap_or_default();
        if n == 0 {
            return Ok(State { magic, content });
        }
        if std::mem::take(&mut first) {
            magic = read.first_chunk().copied().unwrap_or_default();
        }
        content |= read.iter().any(|&b| b != 0);
    }
}

/// How the files with this suffix of the sibling repositories begin, when
/// there are three or more of them and all agree.
fn usual_magic(subject: Subject<'_>, own: &str, suffix: &str) -> Result<Option<[u8; MAGIC]>, StoreError> {
    let Some(parent) = subject.path.parent() else { return Ok(None) };
    let failed = |e| StoreError::Read { path: subject.shown(), source: e };
    let siblings = subject.dir.dir(&parent).map_err(failed)?;
    let mut seen: BTreeMap<[u8; MAGIC], usize> = BTreeMap::new();
    for entry in siblings.listed().map_err(failed)?.iter().take(MAX_SIBLINGS) {
        let Some(name) = entry.name.to_str().filter(|n| entry.meta.kind == Kind::Dir && *n != own) else {
            continue;
        };
        if let Some(magic) = magic_of(&siblings, name, suffix).map_err(failed)? {
            *seen.entry(magic).or_default() += 1;
        }
    }
    let mut seen = seen.into_iter();
    Ok(match (seen.next(), seen.next()) {
        (Some((magic, 3..)), None) if magic != [0; MAGIC] => Some(magic),
        _ => None,
    })
}

fn magic_of(siblings: &Dir, name: &str, suffix: &str) -> io::Result<Option<[u8; MAGIC]>> {
    let path = RelPath::root().join(name).and_then(|p| p.join(format!("{name}{suffix}")));
    let Ok(path) = path else { return Ok(None) };
    let mut magic = [0; MAGIC];
    match siblings.open_file(&path).and_then(|mut f| f.read_exact(&mut magic)) {
        Ok(()) => Ok(Some(magic)),
        Err(e) if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::UnexpectedEof) => Ok(None),
        Err(e) => Err(e),
    }
}

/// The table's line for this kind.
pub(super) struct Keva;

impl Format for Keva {
    fn kind(&self) -> StoreKind {
        StoreKind::Keva
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
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::super::damage::{Bench, Checked};
    use super::*;
    use crate::sample::{Tree, keva as sample};

    fn check(subject: Subject<'_>) -> Checked {
        tally(subject, &Control::default())
    }

    fn bench() -> Bench {
        let bench = Bench::new("repo/app");
        let tree = Tree::new(&bench.path().join("repo"), SystemTime::now());
        for name in ["app", "a", "b", "c"] {
            sample::repository(&tree, name, 1).unwrap();
        }
        bench
    }

    #[test]
    fn any_damage_is_survived() {
        bench().any_damage_is_survived(81, &check);
    }

    #[test]
    fn what_shows_is_reported_and_never_more() {
        let sound = bench().run(&check).unwrap().done();
        assert_eq!((sound.findings, sound.coverage.bytes_verified), (vec![], 0));
        assert_eq!(sound.not_checked, ["the content: Keva's checksum is not public"]);
        for (file, bytes, code) in [
            ("app.blk", vec![0; 8192], "keva.zeros"),
            ("app.blk", vec![], "keva.empty"),
            ("app.chk", vec![7; 4000], "keva.size"),
            ("app.blk", vec![7; 8192], "keva.magic"),
        ] {
            let bench = bench();
            bench.write(&format!("repo/app/{file}"), bytes);
            let findings = bench.findings(&check);
            assert_eq!(findings.iter().map(|f| f.code.as_str()).collect::<Vec<_>>(), [code]);
            assert!(findings.iter().all(|f| f.remedy == Remedy::Report));
        }
        let bench = bench();
        std::fs::remove_file(bench.path().join("repo/app/app.lxi")).unwrap();
        assert_eq!(bench.codes(&check), ["keva.missing"]);
    }

    #[test]
    fn a_repository_is_recognised_by_its_own_name() {
        let bench = bench();
        let dir = Dir::open(bench.path()).unwrap();
        let seen = |path: &str| {
            let path = RelPath::new(path).unwrap();
            let subject = Subject { dir: &dir, path: &path };
            recognise(subject, &Glimpse::of(subject).unwrap())
        };
        assert!(seen("repo/app") && !seen("repo"));
    }
}
