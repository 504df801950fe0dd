//! `DiskLruCache` folders: `OkHttp`'s response cache, Glide's image cache and
//! their relatives.
//!
//! The journal names every entry and the length of each of its values; the
//! values are files `<key>.<n>`. The library drops the whole cache when the
//! journal's header or a line of it is malformed, drops entries that were
//! being written, and takes a missing value for a miss (JakeWharton
//! DiskLruCache, OkHttp `DiskLruCache`, Glide `DiskLruCacheWrapper`).

mod journal;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::io::{self, Read as _};

use self::journal::{Journal, Line, MAGIC, MAX_VALUES, Malformed, NEWER, parse};
use super::source::Source;
use super::tally::Tally;
use super::{CacheEntries, CacheEntry, Check, Clearable, Format, Glimpse, Level, Shape, StoreError, Subject};
use crate::control::Control;
use crate::fsys::{Kind, Named, RelPath, printable};
use crate::model::{Finding, Remedy, Severity, StoreKind};

const JOURNAL: &str = "journal";
const BACKUP: &str = "journal.bkp";
const SCRATCH: &str = "journal.tmp";
/// `OkHttp`'s application version; its first value is the response's head.
const OKHTTP: &str = "201105";
/// Longest journal that is read.
const MAX_JOURNAL: u64 = 256 << 20;

/// Whether a folder is one: its journal says so.
pub(super) fn recognise(subject: Subject<'_>, glimpse: &Glimpse) -> io::Result<bool> {
    for name in [JOURNAL, BACKUP] {
        if !glimpse.has_file(name) {
            continue;
        }
        let Ok(path) = subject.path.join(name) else { continue };
        let mut head = Vec::new();
        subject.dir.open_file(&path)?.take(MAGIC.len() as u64 + 1).read_to_end(&mut head)?;
        if head.strip_prefix(MAGIC.as_bytes()) == Some(b"\n") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Checks the folder at `subject.path`.
///
/// # Errors
/// When it cannot be read, changes meanwhile, or is beyond a bound.
pub fn check(subject: Subject<'_>, level: Level, control: &Control) -> Result<Check, StoreError> {
    tally(subject, level, control).map(Tally::done)
}

pub(super) fn tally(subject: Subject<'_>, level: Level, control: &Control) -> Result<Tally, StoreError> {
    let mut tally = Tally::new(StoreKind::DiskLruCache, "journal grammar and lengths");
    let files = list(subject)?;
    let Some((name, source)) = journal(subject)? else {
        if files.keys().any(|name| value_name(name).is_some()) {
            tally.finding(Finding::new(
                "disklru.no-journal",
                Severity::Error,
                Remedy::ClearStore,
                "the cache has no journal: its library cannot use any of its files",
            ));
        }
        return Ok(tally);
    };
    tally.seen(source.len());
    let parsed = parse(source.reader(), control).map_err(|e| e.into_store(&source))?;
    source.unchanged()?;
    let journal = match parsed {
        Ok(journal) => journal,
        Err(Malformed(code, _, _, found)) if code == NEWER => {
            let what = format!("its journal has a version of the format that is not known: {found}");
            return Err(StoreError::UnknownForm { path: subject.shown(), what });
        }
        Err(Malformed(code, at, expected, found)) => {
            let message =
                "the journal is malformed: the library will drop the whole cache when the app starts";
            tally.finding(
                Finding::new(code, Severity::Error, Remedy::ClearStore, message)
                    .in_file(name)
                    .at(at)
                    .expected_found(expected, found),
            );
            return Ok(tally);
        }
    };
    // The application's own version on line 3 is free; the rest is fixed.
    let version_line = MAGIC.len() as u64 + 3;
    tally.vouch(Some(&name), 0..version_line);
    tally.not_checked("the content of entries: the journal keeps only their lengths");
    if let Some(at) = journal.unterminated {
        let message = "the journal's last line is incomplete; the library leaves it out";
        let finding = Finding::new("disklru.unterminated", Severity::Info, Remedy::None, message);
        tally.finding(finding.in_file(name.clone()).at(at));
    }

    let mut evicted: Option<(u64, u64)> = None;
    let mut lines: Vec<_> = journal.lines.iter().collect();
    lines.sort_by_key(|(_, line)| line.range.start);
    for (key, line) in lines {
        control.safe_point()?;
        if line.clean {
            clean_entry(subject, level, &journal, (key, line), &files, &name, &mut evicted, &mut tally)?;
        } else {
            unfinished(key, line, &journal, &files, &name, &mut tally);
        }
    }
    if let Some((count, at)) = evicted {
        let message =
            format!("{count} entries of the journal have no files; the library takes them for misses");
        let finding = Finding::new("disklru.evicted", Severity::Info, Remedy::None, message);
        tally.finding(finding.in_file(name).at(at));
    }
    for (file, entry) in &files {
        let orphan = value_name(file).is_some_and(|v| {
            !v.scratch && journal.lines.get(v.key).is_none_or(|l| v.index >= l.lengths.len() && l.clean)
        });
        if orphan && entry.meta.kind == Kind::File {
            let message = "the journal does not know this file: the library never uses nor deletes it";
            tally.finding(on_file(
                Finding::new("disklru.orphan", Severity::Warning, Remedy::ClearEntry, message),
                file,
            ));
        }
    }
    Ok(tally)
}

/// Judges an entry that the journal calls whole.
fn clean_entry(
    subject: Subject<'_>,
    level: Level,
    journal: &Journal,
    (key, line): (&str, &Line),
    files: &HashMap<String, Named>,
    journal_name: &RelPath,
    evicted: &mut Option<(u64, u64)>,
    tally: &mut Tally,
) -> Result<(), StoreError> {
    let present: Vec<(String, Option<&Named>)> = (0..line.lengths.len())
        .map(|n| format!("{key}.{n}"))
        .map(|file| (file.clone(), files.get(&file).filter(|e| e.meta.kind == Kind::File)))
        .collect();
    if present.iter().all(|(_, entry)| entry.is_none()) {
        evicted.get_or_insert((0, line.range.start)).0 += 1;
        return Ok(());
    }
    let mut whole = true;
    for ((file, entry), &length) in present.iter().zip(&line.lengths) {
        let Some(entry) = entry else {
            whole = false;
            let message = "one value of the entry is missing: the library takes the entry for a miss";
            tally.finding(on_file(
                Finding::new("disklru.missing-value", Severity::Error, Remedy::ClearEntry, message),
                file,
            ));
            continue;
        };
        tally.seen(entry.meta.size);
        if entry.meta.size != length {
            whole = false;
            let message = "the value is not as long as the journal says: the app would read a broken entry";
            let finding = Finding::new("disklru.length", Severity::Error, Remedy::ClearEntry, message)
                .at(entry.meta.size.min(length))
                .expected_found(format!("{length} bytes"), format!("{} bytes", entry.meta.size));
            tally.finding(on_file(finding, file));
        }
    }
    if whole {
        // The word and the key; of a wrong length nothing says whether the
        // journal or the file is at fault.
        let start = line.range.start;
        tally.vouch(Some(journal_name), start..start + ("CLEAN ".len() + key.len()) as u64);
        if level == Level::Deep && journal.app_version == OKHTTP && journal.values == 2 {
            okhttp_head(subject, &format!("{key}.0"), tally)?;
        }
    }
    Ok(())
}

/// Names what is left of an entry that was being written.
fn unfinished(
    key: &str,
    line: &Line,
    journal: &Journal,
    files: &HashMap<String, Named>,
    journal_name: &RelPath,
    tally: &mut Tally,
) {
    let mut left = false;
    let names = (0..journal.values).flat_map(|n| [format!("{key}.{n}"), format!("{key}.{n}.tmp")]);
    for file in names.filter(|f| files.contains_key(f)) {
        left = true;
        let message = "the entry was being written when the app ended: the library will delete it";
        tally.finding(on_file(
            Finding::new("disklru.unfinished", Severity::Warning, Remedy::ClearEntry, message),
            &file,
        ));
    }
    if !left {
        let message = "an entry was being written when the app ended; nothing of it is left";
        let finding = Finding::new("disklru.unfinished", Severity::Info, Remedy::None, message);
        tally.finding(finding.in_file(journal_name.clone()).at(line.range.start));
    }
}

/// Lists the entries that can be cleared one by one. The journal may keep its
/// lines about them: the library takes a missing file for a miss.
///
/// # Errors
/// When the folder or its journal cannot be read.
pub fn entries(subject: Subject<'_>, control: &Control) -> Result<Clearable, StoreError> {
    let files = list(subject)?;
    let journal = match journal(subject)? {
        Some((_, source)) => parse(source.reader(), control).map_err(|e| e.into_store(&source))?.ok(),
        None => None,
    };
    // Without a journal the files mean nothing to the library.
    let Some(journal) = journal else { return Ok(Clearable::WholeOnly) };
    let mut out = CacheEntries::default();
    let mut by_key: HashMap<&str, CacheEntry> = HashMap::new();
    let mut names: Vec<_> = files.iter().collect();
    names.sort_by_key(|(name, _)| *name);
    for (name, entry) in names {
        let Ok(path) = RelPath::root().join(name) else { continue };
        if entry.meta.kind != Kind::File {
            out.unknown.push(path);
            continue;
        }
        let single = |path| CacheEntry {
            files: vec![path],
            last_used_ns: entry.meta.mtime_ns,
            bytes: entry.meta.size,
        };
        match (name.as_str(), value_name(name)) {
            (JOURNAL, _) => out.control.push(path),
            (BACKUP, _) if !files.contains_key(JOURNAL) => out.control.push(path),
            (BACKUP | SCRATCH, _) => out.leftovers.push(single(path)),
            (_, Some(value)) => match journal.lines.get(value.key) {
                Some(line) if line.clean && !value.scratch && value.index < line.lengths.len() => {
                    let whole = by_key.entry(value.key).or_insert_with(|| CacheEntry {
                        files: Vec::new(),
                        last_used_ns: i128::MIN,
                        bytes: 0,
                    });
                    whole.files.push(path);
                    whole.bytes += entry.meta.size;
                    whole.last_used_ns = whole.last_used_ns.max(entry.meta.mtime_ns);
                }
                _ => out.leftovers.push(single(path)),
            },
            _ => out.unknown.push(path),
        }
    }
    out.entries = by_key.into_values().collect();
    out.entries.sort_by(|a, b| a.files.cmp(&b.files));
    Ok(Clearable::ByEntry(out))
}

/// `<key>.<n>` or `<key>.<n>.tmp`.
struct ValueName<'a> {
    key: &'a str,
    index: usize,
    scratch: bool,
}

fn value_name(name: &str) -> Option<ValueName<'_>> {
    let (rest, scratch) = name.strip_suffix(".tmp").map_or((name, false), |rest| (rest, true));
    let (key, index) = rest.rsplit_once('.')?;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'_' | b'-');
    let index = index.parse().ok().filter(|&n| n < MAX_VALUES)?;
    ((1..=120).contains(&key.len()) && key.bytes().all(plain)).then_some(ValueName { key, index, scratch })
}

/// The folder's entries by name; names that are not UTF-8 are none of ours.
fn list(subject: Subject<'_>) -> Result<HashMap<String, Named>, StoreError> {
    let failed = |source| StoreError::Read { path: subject.shown(), source };
    let entries = subject.dir.dir(subject.path).and_then(|d| d.listed()).map_err(failed)?;
    Ok(entries.iter().filter_map(|e| Some((e.name.to_str()?.to_owned(), e.clone()))).collect())
}

/// The journal that the library would read, with its name.
fn journal(subject: Subject<'_>) -> Result<Option<(RelPath, Source)>, StoreError> {
    for name in [JOURNAL, BACKUP] {
        let name = RelPath::root().join(OsStr::new(name)).unwrap_or_default();
        if let Some(source) = Source::open(subject.dir, &subject.path.join_rel(&name))? {
            source.at_most(MAX_JOURNAL)?;
            return Ok(Some((name, source)));
        }
    }
    Ok(None)
}

fn on_file(finding: Finding, name: &str) -> Finding {
    match RelPath::root().join(name) {
        Ok(path) => finding.in_file(path),
        Err(_) => finding,
    }
}

/// Judges the head of a cached response (OkHttp `Cache.Entry`): URL, method,
/// varying headers, status line, headers.
fn okhttp_head(subject: Subject<'_>, name: &str, tally: &mut Tally) -> Result<(), StoreError> {
    /// Longest head that is read.
    const MAX_HEAD: u64 = 1 << 20;
    let Ok(path) = RelPath::root().join(name) else { return Ok(()) };
    let Some(source) = Source::open(subject.dir, &subject.path.join_rel(&path))? else { return Ok(()) };
    let mut head = Vec::new();
    source.reader().take(MAX_HEAD).read_to_end(&mut head).map_err(|e| source.error(e))?;
    if let Err((expected, found)) = response_head(&head) {
        let message = "the head of the cached response is malformed: the library takes the entry for a miss";
        let finding = Finding::new("disklru.response-head", Severity::Error, Remedy::ClearEntry, message);
        tally.finding(finding.in_file(path).expected_found(expected, printable(&found)));
    }
    Ok(())
}

fn response_head(head: &[u8]) -> Result<(), (&'static str, String)> {
    let mut lines = head.split(|&b| b == b'\n').map(String::from_utf8_lossy);
    let mut next = |expected: &'static str| {
        lines
            .next()
            .map(|l| l.chars().take(80).collect::<String>())
            .ok_or((expected, "the end of the file".to_owned()))
    };
    let url = next("a URL")?;
    if !(url.starts_with("http://") || url.starts_with("https://")) {
        return Err(("a URL", url));
    }
    let method = next("a method")?;
    if method.is_empty() || !method.bytes().all(|b| b.is_ascii_uppercase()) {
        return Err(("a method", method));
    }
    let headers = |expected: &'static str, next: &mut dyn FnMut(&'static str) -> Result<String, _>| {
        let count = next(expected)?;
        let Some(count) = count.parse::<u32>().ok().filter(|&n| n < 10_000) else {
            return Err((expected, count));
        };
        for _ in 0..count {
            let line = next("a header line")?;
            if !line.contains(':') {
                return Err(("a header line", line));
            }
        }
        Ok(())
    };
    headers("the number of varying headers", &mut next)?;
    let status = next("a status line")?;
    if !status.starts_with("HTTP/") && !status.starts_with("ICY ") && !status.starts_with("h2 ") {
        return Err(("a status line", status));
    }
    headers("the number of headers", &mut next)
}

/// The table's line for this kind.
pub(super) struct DiskLru;

impl Format for DiskLru {
    fn kind(&self) -> StoreKind {
        StoreKind::DiskLruCache
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

    fn entries(&self, subject: Subject<'_>, control: &Control) -> Result<Clearable, StoreError> {
        entries(subject, control)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::super::damage::{Bench, Checked};
    use super::*;
    use crate::sample::{Tree, disk_lru as sample, media};

    fn check(subject: Subject<'_>) -> Checked {
        tally(subject, Level::Deep, &Control::default())
    }

    fn glide() -> Bench {
        let bench = Bench::new("c");
        let tree = Tree::new(&bench.path().join("c"), SystemTime::now());
        let images: Vec<_> =
            (0..8).map(|n| (format!("u{n}"), media::webp(&format!("{n}"), 600), n)).collect();
        let images: Vec<_> = images.iter().map(|(u, b, d)| (u.as_str(), b.clone(), *d)).collect();
        sample::glide(&tree, &images).unwrap();
        bench
    }

    fn okhttp() -> Bench {
        let bench = Bench::new("c");
        let tree = Tree::new(&bench.path().join("c"), SystemTime::now());
        sample::okhttp(&tree, &[("https://a.b/1", 0), ("https://a.b/2", 40), ("https://a.b/3", 1)]).unwrap();
        bench
    }

    fn journal_text(bench: &Bench) -> String {
        std::fs::read_to_string(bench.path().join("c/journal")).unwrap()
    }

    #[test]
    fn a_version_of_a_newer_library_is_neither_sound_nor_damaged() {
        let bench = glide();
        let text = journal_text(&bench);
        bench.write("c/journal", text.replacen("\n1\n", "\n2\n", 1));
        assert!(matches!(bench.run(&check), Err(StoreError::UnknownForm { .. })));
        for odd in ["0", "-1", "700", "02", "two"] {
            bench.write("c/journal", text.replacen("\n1\n", &format!("\n{odd}\n"), 1));
            assert_eq!(bench.codes(&check)[0], "disklru.header", "{odd}");
        }
    }

    #[test]
    fn damage_in_the_journal_is_found() {
        glide().every_damage_is_found(4, &check);
        okhttp().every_damage_is_found(5, &check);
    }

    #[test]
    fn each_state_of_an_entry_has_its_finding() {
        let bench = okhttp();
        let text = journal_text(&bench);
        let key = |n: usize| text.lines().filter_map(|l| l.strip_prefix("DIRTY ")).nth(n).unwrap().to_owned();
        let file = |name: &str| bench.path().join("c").join(name);
        std::fs::remove_file(file(&format!("{}.1", key(0)))).unwrap();
        assert_eq!(bench.codes(&check), ["disklru.missing-value"]);
        std::fs::remove_file(file(&format!("{}.0", key(0)))).unwrap();
        assert_eq!(bench.codes(&check), ["disklru.evicted"]);
        bench.write(&format!("c/{}.0", key(1)), "no head at all\n");
        assert_eq!(bench.codes(&check), ["disklru.evicted", "disklru.length"]);
        bench.write("c/journal", format!("{text}DIRTY {}\n", key(1)));
        assert_eq!(bench.codes(&check), ["disklru.evicted", "disklru.unfinished", "disklru.unfinished"]);
        bench.write("c/journal", format!("{text}REMOVE {}\nREAD", key(1)));
        assert_eq!(
            bench.codes(&check),
            ["disklru.evicted", "disklru.orphan", "disklru.orphan", "disklru.unterminated"]
        );
    }

    #[test]
    fn a_malformed_journal_costs_the_cache() {
        for (damage, code) in [
            (String::new(), "disklru.header"),
            ("libcore.io.DiskLruCache\n0\n1\n1\n\n".to_owned(), "disklru.header"),
            ("libcore.io.DiskLruCache\n1\n1\n0\n\n".to_owned(), "disklru.header"),
            ("libcore.io.DiskLruCache\n1\n1\n1\n\nCLEAN k\n".to_owned(), "disklru.journal"),
            ("libcore.io.DiskLruCache\n1\n1\n1\n\nCLEAN k 1 2\n".to_owned(), "disklru.journal"),
            ("libcore.io.DiskLruCache\n1\n1\n1\n\nCLEEN k 1\n".to_owned(), "disklru.journal"),
            (format!("libcore.io.DiskLruCache\n1\n1\n1\n\n{}", "x".repeat(20_000)), "disklru.journal"),
        ] {
            let bench = glide();
            bench.write("c/journal", &damage);
            let findings = bench.findings(&check);
            assert_eq!(findings.len(), 1, "{damage}");
            assert_eq!((findings[0].code.as_str(), findings[0].remedy), (code, Remedy::ClearStore));
        }
        let bench = glide();
        std::fs::remove_file(bench.path().join("c/journal")).unwrap();
        assert_eq!(bench.codes(&check), ["disklru.no-journal"]);
    }

    #[test]
    fn the_backup_is_the_journal_when_alone() {
        let bench = glide();
        std::fs::rename(bench.path().join("c/journal"), bench.path().join("c/journal.bkp")).unwrap();
        assert_eq!(bench.codes(&check), [""; 0]);
    }

    #[test]
    fn entries_go_with_all_their_values() {
        let bench = okhttp();
        bench.write("c/journal.tmp", "x").write("c/feedfeed.0.tmp", "half").write("c/notes.txt", "mine");
        let dir = crate::fsys::Dir::open(bench.path()).unwrap();
        let path = RelPath::new("c").unwrap();
        let found = entries(Subject { dir: &dir, path: &path }, &Control::default()).unwrap();
        let Clearable::ByEntry(found) = found else { panic!("{found:?}") };
        assert_eq!(found.entries.iter().map(|e| e.files.len()).collect::<Vec<_>>(), [2, 2, 2]);
        assert!(found.entries.iter().all(|e| e.bytes > 400 && e.last_used_ns > 0));
        let names = |list: &[RelPath]| list.iter().map(RelPath::to_text).collect::<Vec<_>>();
        assert_eq!(names(&found.control), ["journal"]);
        assert_eq!(names(&found.unknown), ["notes.txt"]);
        let leftovers: Vec<_> = found.leftovers.iter().flat_map(|e| names(&e.files)).collect();
        assert_eq!(leftovers, ["feedfeed.0.tmp", "journal.tmp"]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_judged(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
            prop_assert!(parse(bytes.as_slice(), &Control::default()).is_ok());
            let _ = response_head(&bytes);
        }

        #[test]
        fn any_lines_are_judged(lines in prop::collection::vec("(CLEAN|DIRTY|READ|REMOVE) [ab]( [0-9]{1,3}){0,2}", 0..12)) {
            let text = format!("libcore.io.DiskLruCache\n1\n1\n1\n\n{}", lines.join("\n"));
            prop_assert!(parse(text.as_bytes(), &Control::default()).is_ok());
        }
    }
}
