//! Compares a store with what the last healthy scan saw of it: a database that
//! opens without a complaint and holds no rows any more is as lost as a
//! damaged one.
//!
//! Nothing here is about caches: an app empties those by itself.

use std::collections::BTreeMap;
use std::io::{self, Read as _};

use super::baseline::LastHealthy;
use super::collect::{is_sqlite, record, with_sidecars};
use super::{BUSY, Store, UNKNOWN, UNREADABLE, hash};
use crate::control::Control;
use crate::fsys::{Dir, Kind, RelPath};
use crate::model::{Class, Condition, Finding, Remedy, Severity, StoreKind, Verdict, day_and_time};
use crate::place::Root;
use crate::store::{self, Level, SqliteFacts, Subject};

/// It held something and holds nothing any more.
pub const EMPTIED: &str = "store.emptied";
/// Something else is in its place.
pub const REPLACED: &str = "store.replaced";
/// It is gone.
pub const VANISHED: &str = "store.vanished";
/// What the last healthy scan saw of a store that is damaged now.
pub const LAST_HEALTHY: &str = "store.last-healthy";
/// The app keeps a second copy of the store, and it is sound.
pub const SECOND_COPY: &str = "store.second-copy";

/// Tables in which an app notes things about the database itself: one that is
/// made anew has rows in them from the start.
const BOOKKEEPING: [&str; 9] = [
    "android_metadata",
    "meta",
    "metadata",
    "moz_meta",
    "room_master_table",
    "schema_version",
    "sqlite_sequence",
    "sqlite_stat1",
    "sqlite_stat4",
];

/// A `state` database of fewer rows is often a queue, and a queue runs dry.
const QUEUE_ROWS: u64 = 20;

/// Of so many rows at least, losing nine tenths at once is no tidying up when
/// the tables are others than before: the app made its database anew.
const MANY_ROWS: u64 = 100;

/// A `state` file so long has so many entries that an app does not reset it by
/// itself.
const MANY_ENTRIES: u64 = 1024;

/// Longest file of which it is looked at whether it is all zeros. Other files
/// are known by their first bytes.
const MOST_ZEROS: u64 = 64 << 20;

/// Endings by which apps name a second copy that they keep beside a file:
/// Chromium's `Bookmarks.bak`, the `state.vscdb.backup` of Electron apps,
/// Android's and Firefox's `.bak`.
const SECOND_COPIES: [&str; 3] = [".bak", ".backup", ".old"];

/// Whether a finding came from comparing with an earlier scan, and so is made
/// anew at each scan.
pub(super) fn is_from_memory(finding: &Finding) -> bool {
    [EMPTIED, REPLACED, VANISHED, LAST_HEALTHY, SECOND_COPY].contains(&finding.code.as_str())
}

/// Whether a finding says that what a store held is lost.
#[must_use]
pub fn is_loss(finding: &Finding) -> bool {
    [EMPTIED, REPLACED, VANISHED].contains(&finding.code.as_str())
}

/// What a store has lost since its last healthy scan, if it has.
pub(super) fn compare(dir: &Dir, store: &Store, last: &LastHealthy) -> Option<Finding> {
    if store.class == Class::Cache || last.class == Class::Cache || !last.held_anything() {
        return None;
    }
    // What could not be looked at has not changed as far as anybody knows.
    if [UNREADABLE, BUSY, hash::CHANGING].iter().any(|code| store.has(code)) {
        return None;
    }
    let loss = |code, what: String| Some(finding(store, last, code, &what));
    let now: Option<SqliteFacts> = serde_json::from_value(store.facts.clone()).ok();
    match (&last.facts, &now) {
        (Some(before), Some(now)) => {
            let (had, has) = (content(before), content(now));
            let queue = store.class == Class::State && had < QUEUE_ROWS && same_tables(before, now);
            if had > 0 && has == 0 && !queue {
                let what = match now.rows.is_empty() {
                    true if store.bytes() == 0 => "it is empty (0 bytes)",
                    true => "it has no tables any more",
                    false => "its tables are empty",
                };
                return loss(EMPTIED, what.to_owned());
            }
            let lost_most = had >= MANY_ROWS && has <= had / 10;
            if lost_most && !same_tables(before, now) {
                return loss(REPLACED, format!("another database is in its place, with {}", rows(has)));
            }
            return None;
        }
        _ if store.bytes() == 0 => return loss(EMPTIED, "it is empty (0 bytes)".to_owned()),
        _ => {}
    }
    if all_zeros(dir, store) {
        return loss(EMPTIED, "it is nothing but zeros".to_owned());
    }
    if has_no_entries(dir, store, last) {
        return loss(EMPTIED, "it is sound and has no entries any more".to_owned());
    }
    let formatless = store.kind == StoreKind::Files || store.has(UNKNOWN);
    // A damaged store that can be rebuilt is still the same store.
    let rebuilt = matches!(
        store.remedy(),
        Remedy::RebuildIndexes | Remedy::Vacuum | Remedy::Rebuild | Remedy::RestoreBackup
    );
    let other = match last.kind {
        StoreKind::Files => false,
        StoreKind::Sqlite => !rebuilt && !is_sqlite(dir, &store.path),
        _ => formatless && !store.findings.iter().any(|f| f.severity == Severity::Error),
    };
    other
        .then(|| finding(store, last, REPLACED, &format!("what is in its place is no {}", last.kind.title())))
}

/// What the last healthy scan saw, for a person who has a damaged store.
pub(super) fn remembered(store: &Store, last: &LastHealthy) -> Option<Finding> {
    let wrong = matches!(store.verdict, Verdict::Damaged | Verdict::Unreadable);
    let told = store.findings.iter().any(is_loss);
    if store.class == Class::Cache || !wrong || told || !last.held_anything() {
        return None;
    }
    let message =
        format!("when it was last healthy, on {}, it held {}", day_and_time(last.at_ns), last.amount());
    Some(Finding::new(LAST_HEALTHY, Severity::Info, Remedy::None, message).in_file(store.path.clone()))
}

/// A store of the last healthy scan that this one did not meet, when it is gone
/// or is no store any more.
pub(super) fn missing(
    dir: &Dir,
    (index, root): (usize, &Root),
    last: &LastHealthy,
    met: &[Store],
    known: &[LastHealthy],
) -> Option<Store> {
    if last.class == Class::Cache || !last.held_anything() {
        return None;
    }
    let rule = [false, true].into_iter().find_map(|is_dir| root.rules.find(&last.path, is_dir));
    let rule = rule.map(|found| found.rule.clone());
    if rule.as_ref().is_some_and(|r| r.class == Class::Cache || comes_and_goes(last, &r.paths)) {
        return None;
    }
    let mut store = Store::new(last.store.clone(), index, last.path.clone(), rule.map(std::sync::Arc::new));
    store.kind = last.kind;
    let (code, what) = match dir.stat(&last.path) {
        // Looked for and not there: nothing that could not be read counts.
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            if moved(last, &store, met, known) {
                return None;
            }
            (VANISHED, "it is gone".to_owned())
        }
        Ok(meta) if meta.kind == Kind::File && last.kind == StoreKind::Sqlite => {
            if is_sqlite(dir, &last.path) {
                // Another store has it now.
                return None;
            }
            // They go aside when a copy is put back.
            store.files = with_sidecars(&last.path)
                .into_iter()
                .filter_map(|path| Some(record(path.clone(), &dir.stat(&path).ok()?)))
                .collect();
            match meta.size {
                0 => (EMPTIED, "it is empty (0 bytes)".to_owned()),
                size if zeros(dir, &last.path, size) => (EMPTIED, "it is nothing but zeros".to_owned()),
                _ => (REPLACED, "what is in its place is not a database".to_owned()),
            }
        }
        Ok(_) | Err(_) => return None,
    };
    let finding = finding(&store, last, code, &what);
    store.findings.push(finding);
    Some(store)
}

/// Whether the app makes and removes stores of such names all the time: a site's
/// own storage in a browser comes and goes with the site. A database with rows,
/// and settings, do not.
fn comes_and_goes(last: &LastHealthy, patterns: &[String]) -> bool {
    let lasting =
        matches!(last.kind, StoreKind::Sqlite | StoreKind::SharedPrefs | StoreKind::Mmkv | StoreKind::Keva);
    !lasting && patterns.iter().all(|p| p.contains('*') || p.contains('?'))
}

/// Whether the app moved it to another folder, as Chromium moved `Cookies` to
/// `Network/Cookies`: a store of the same rule and name is new.
fn moved(last: &LastHealthy, gone: &Store, met: &[Store], known: &[LastHealthy]) -> bool {
    let rule = |store: &Store| store.rule.as_ref().map(|r| r.id.clone());
    met.iter().any(|s| {
        s.path.file_name() == last.path.file_name()
            && rule(s) == rule(gone)
            && !known.iter().any(|k| k.store == s.id)
    })
}

/// The app's own second copy of a file that is damaged or lost, when it is sound.
pub(super) fn second_copy(dir: &Dir, store: &Store, control: &Control) -> Option<Finding> {
    let wrong = matches!(store.verdict, Verdict::Damaged | Verdict::Unreadable);
    let is_folder = store.folders.iter().any(|f| f.path == store.path);
    if store.class == Class::Cache || !wrong || is_folder || store.remedy() == Remedy::RestoreBackup {
        return None;
    }
    SECOND_COPIES
        .iter()
        .map(|ending| store.path.with_suffix(ending))
        .chain(firefox_logins(&store.path))
        .find_map(|path| {
            let meta = dir.stat(&path).ok().filter(|m| m.kind == Kind::File && m.size > 0)?;
            let check = store::check(store.kind, Subject { dir, path: &path }, Level::Fast, control).ok()?;
            if check.findings.iter().any(|f| f.severity == Severity::Error) {
                return None;
            }
            let condition = Condition {
                verdict: Verdict::Healthy,
                scanned_ns: meta.mtime_ns,
                rows: serde_json::from_value(check.facts).map(|facts: SqliteFacts| facts.rows).ok(),
            };
            let rows = condition.total_rows().map(|n| format!(" with {}", rows(n))).unwrap_or_default();
            let message = format!(
                "the app's own second copy of it, {path}, written on {}{rows}, is sound",
                day_and_time(meta.mtime_ns)
            );
            Some(Finding::new(SECOND_COPY, Severity::Info, Remedy::None, message).in_file(path))
        })
}

/// Firefox puts the word in the middle of the name.
fn firefox_logins(path: &RelPath) -> Option<RelPath> {
    let is = path.file_name().is_some_and(|name| name == "logins.json");
    is.then(|| path.parent()?.join("logins-backup.json").ok()).flatten()
}

fn finding(store: &Store, last: &LastHealthy, code: &str, what: &str) -> Finding {
    let held = last.amount();
    let message = format!(
        "{what}; when it was last healthy, on {}, it held {held} (if this is as it should be: shopmend scan \
         --accept {})",
        day_and_time(last.at_ns),
        store.id
    );
    // What no rule covers may be something that the app does not need any more.
    let severity = if store.rule.is_some() { Severity::Error } else { Severity::Warning };
    Finding::new(code, severity, Remedy::Report, message)
        .in_file(store.path.clone())
        .expected_found(held, what)
}

impl LastHealthy {
    fn held_anything(&self) -> bool {
        match &self.facts {
            Some(facts) => facts.rows.values().any(|n| *n > 0),
            None => self.bytes > 0,
        }
    }

    /// For a person: `2020 rows in 3 tables`.
    fn amount(&self) -> String {
        let Some(facts) = &self.facts else {
            return bytesize::ByteSize::b(self.bytes).display().iec().to_string();
        };
        let total = facts.rows.values().fold(0, |sum: u64, n| sum.saturating_add(*n));
        let tables = facts.rows.values().filter(|n| **n > 0).count();
        format!("{} in {tables} {}", rows(total), if tables == 1 { "table" } else { "tables" })
    }
}

fn rows(n: u64) -> String {
    if n == 1 { "1 row".to_owned() } else { format!("{n} rows") }
}

/// Rows that a user or an app put there, not those about the database itself;
/// all of them where there is nothing else.
fn content(facts: &SqliteFacts) -> u64 {
    let sum = |rows: &mut dyn Iterator<Item = (&String, &u64)>| {
        rows.fold(0, |sum: u64, (_, n)| sum.saturating_add(*n))
    };
    let is_content = |name: &str| !BOOKKEEPING.contains(&name.to_ascii_lowercase().as_str());
    if facts.rows.keys().any(|name| is_content(name)) {
        sum(&mut facts.rows.iter().filter(|(name, _)| is_content(name)))
    } else {
        sum(&mut facts.rows.iter())
    }
}

/// Whether the tables that held something are all there still.
fn same_tables(before: &SqliteFacts, now: &SqliteFacts) -> bool {
    let held: BTreeMap<_, _> = before.rows.iter().filter(|(_, n)| **n > 0).collect();
    held.keys().all(|name| now.rows.contains_key(*name))
}

/// Whether settings that had entries are whole and have none: Android takes a
/// file that it cannot parse for an empty map and writes that, without a word.
/// What a `state` file of a few entries holds an app may well reset by itself.
fn has_no_entries(dir: &Dir, store: &Store, last: &LastHealthy) -> bool {
    let least = if store.class == Class::State { MANY_ENTRIES } else { 0 };
    // So long is a file of no entries at most.
    let empty = match store.kind {
        StoreKind::Json => 16,
        StoreKind::SharedPrefs => 80,
        StoreKind::Plist => 300,
        _ => return false,
    };
    // A backup beside it is what the app will read.
    let only_file = store.files.iter().all(|f| f.path == store.path || f.size == 0);
    if !only_file || store.bytes() > empty || last.bytes <= empty.max(least) {
        return false;
    }
    let look = || -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        dir.open_file(&store.path)?.take(empty).read_to_end(&mut out)?;
        Ok(out)
    };
    let Ok(bytes) = look() else { return false };
    let has = |what: &[u8]| memchr::memmem::find(&bytes, what).is_some();
    match store.kind {
        StoreKind::Json => {
            let text: Vec<u8> = bytes.iter().copied().filter(|b| !b.is_ascii_whitespace()).collect();
            let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text);
            matches!(text, b"{}" | b"[]" | b"null")
        }
        StoreKind::SharedPrefs => has(b"<map") && !has(b"name="),
        // A binary list of no entries is its head, one object, and its end.
        _ => {
            if bytes.starts_with(b"bplist") {
                bytes.len() <= 42
            } else {
                has(b"<plist") && !has(b"<key>")
            }
        }
    }
}

/// Whether every file of a store that has content is nothing but zeros.
fn all_zeros(dir: &Dir, store: &Store) -> bool {
    let mut with_content = store.files.iter().filter(|f| f.size > 0).peekable();
    with_content.peek().is_some() && with_content.all(|f| zeros(dir, &f.path, f.size))
}

fn zeros(dir: &Dir, path: &RelPath, size: u64) -> bool {
    let look = || -> io::Result<bool> {
        if size > MOST_ZEROS {
            return Ok(false);
        }
        let mut file = dir.open_file(path)?.take(size);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(true),
                n if buffer.get(..n).is_some_and(|b| b.iter().all(|b| *b == 0)) => {}
                _ => return Ok(false),
            }
        }
    };
    look().unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(rows: &[(&str, u64)]) -> SqliteFacts {
        SqliteFacts {
            rows: rows.iter().map(|(t, n)| ((*t).to_owned(), *n)).collect(),
            ..SqliteFacts::default()
        }
    }

    /// The verdict on a database of class `class` with `rule`.
    fn lost(class: Class, before: &[(&str, u64)], now: &[(&str, u64)]) -> Option<&'static str> {
        let tmp = tempfile::tempdir().unwrap();
        let dir = Dir::open(&tmp.path().canonicalize().unwrap()).unwrap();
        let path = RelPath::new("x.db").unwrap();
        let mut store = Store::new("id".into(), 0, path.clone(), None);
        store.class = class;
        store.kind = StoreKind::Sqlite;
        store.facts = serde_json::to_value(facts(now)).unwrap();
        let last = LastHealthy {
            store: "id".into(),
            path,
            kind: StoreKind::Sqlite,
            class,
            bytes: 4096,
            at_ns: 0,
            facts: Some(facts(before)),
        };
        let found = compare(&dir, &store, &last)?;
        [EMPTIED, REPLACED, VANISHED].into_iter().find(|code| *code == found.code)
    }

    #[test]
    fn a_database_whose_rows_are_gone_is_a_finding() {
        let before = [("msg", 2000), ("meta", 20)];
        assert_eq!(lost(Class::User, &before, &[("msg", 0), ("meta", 20)]), Some(EMPTIED));
        assert_eq!(lost(Class::User, &before, &[]), Some(EMPTIED));
        assert_eq!(lost(Class::State, &before, &[("msg", 0), ("meta", 0)]), Some(EMPTIED));
        assert_eq!(lost(Class::User, &[("msg", 1)], &[("msg", 0)]), Some(EMPTIED));
        assert_eq!(lost(Class::User, &before, &[("other", 3), ("meta", 20)]), Some(REPLACED));
    }

    #[test]
    fn what_an_app_does_by_itself_is_none() {
        let before = [("msg", 2000), ("meta", 20)];
        assert_eq!(lost(Class::Cache, &before, &[]), None);
        // The user tidied up.
        assert_eq!(lost(Class::User, &before, &[("msg", 3), ("meta", 20)]), None);
        assert_eq!(lost(Class::User, &before, &[("msg", 2001), ("meta", 20)]), None);
        // A queue ran dry.
        assert_eq!(lost(Class::State, &[("task", 5)], &[("task", 0)]), None);
        // There was nothing to lose.
        assert_eq!(lost(Class::User, &[("msg", 0)], &[("msg", 0)]), None);
    }

    /// The verdict on settings of `class`, `before` bytes long when they were
    /// healthy, that hold `now`.
    fn reset(class: Class, kind: StoreKind, before: u64, now: &str) -> bool {
        let tmp = tempfile::tempdir().unwrap();
        std::fs::write(tmp.path().join("x"), now).unwrap();
        let dir = Dir::open(&tmp.path().canonicalize().unwrap()).unwrap();
        let path = RelPath::new("x").unwrap();
        let mut store = Store::new("id".into(), 0, path.clone(), None);
        (store.class, store.kind) = (class, kind);
        store.files = vec![record(path.clone(), &dir.stat(&path).unwrap())];
        let last =
            LastHealthy { store: "id".into(), path, kind, class, bytes: before, at_ns: 0, facts: None };
        compare(&dir, &store, &last).is_some_and(|f| f.code == EMPTIED)
    }

    #[test]
    fn settings_that_are_whole_and_empty_are_a_finding_when_they_had_entries() {
        let no_map = "<?xml version='1.0' encoding='utf-8' standalone='yes' ?>\n<map />\n";
        let map =
            "<?xml version='1.0' encoding='utf-8' standalone='yes' ?>\n<map><int name='a' value='1' /></map>";
        use StoreKind::{Json, Plist, SharedPrefs};
        for (kind, now, lost) in [
            (SharedPrefs, no_map, true),
            (SharedPrefs, map, false),
            (Json, "{}", true),
            (Json, " [ ]\n", true),
            (Json, "{\"a\":1}", false),
            (Json, "", true),
            (Plist, "<?xml version=\"1.0\"?><plist version=\"1.0\"><dict/></plist>", true),
            (Plist, "<?xml version=\"1.0\"?><plist><dict><key>a</key><true/></dict></plist>", false),
        ] {
            assert_eq!(reset(Class::User, kind, 5000, now), lost, "{kind} {now:?}");
            assert_eq!(reset(Class::State, kind, 5000, now), lost, "{kind} {now:?}");
        }
        // They were empty before, or held next to nothing.
        assert!(!reset(Class::User, SharedPrefs, 65, no_map));
        assert!(!reset(Class::State, Json, 200, "{}"));
        assert!(reset(Class::User, Json, 200, "{}"));
    }

    #[test]
    fn rows_about_the_database_itself_do_not_hide_that_it_was_emptied() {
        let before = [("android_metadata", 1), ("room_master_table", 1), ("chat", 40)];
        let now = [("android_metadata", 1), ("room_master_table", 1), ("chat", 0)];
        assert_eq!(lost(Class::User, &before, &now), Some(EMPTIED));
        // A database of nothing else.
        assert_eq!(lost(Class::User, &[("meta", 4)], &[("meta", 0)]), Some(EMPTIED));
    }
}
