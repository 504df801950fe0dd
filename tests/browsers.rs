//! The real Chromium and Firefox: what they wrote is what the program reads,
//! and what the program repaired is what they go on with.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use shopmend::exit::Exit;
use shopmend::sqlite::format::MAGIC;

use crate::faults::trace;
use crate::support::browsers::{Browser, End, FilledHome, Open, as_filled, filled_home, read_back, visit};
use crate::support::run::Run;
use crate::support::skip::skipped;
use crate::support::tree::Snapshot;

/// Where every version of the browsers keeps what pages and the person store;
/// what else a version keeps for itself changes from one to the next.
const KEPT: [&str; 12] = [
    "Default/Cookies",
    "Default/History",
    "Default/Login Data",
    "Default/Web Data",
    "Default/Local Storage/",
    "Default/Session Storage",
    "Default/IndexedDB/",
    "Default/Service Worker/Database",
    "/places.sqlite",
    "/cookies.sqlite",
    "/favicons.sqlite",
    "/storage/default/",
];

const DAY: u64 = 24 * 60 * 60;

/// The other tests here compare what the browsers hold before and after; that
/// means something only if an untouched copy reads back unchanged.
#[test]
fn an_untouched_copy_reads_back_as_it_was_filled() {
    let Some(home) = filled_home("an_untouched_copy_reads_back_as_it_was_filled") else { return };
    for browser in Browser::BOTH {
        let filled = as_filled(browser);
        let shop = &filled["seller-us.tiktok.com"];
        assert_eq!(shop["indexedDB"]["records"], 1500, "{shop:#}");
        assert_eq!(shop["localStorage"]["keys"], 150, "{shop:#}");
        assert_eq!(shop["login"]["session"], true, "{shop:#}");
        assert_eq!(visit(home.path(), browser, End::Kill), filled, "{browser:?}, to be killed");
        assert_eq!(read_back(home.path(), browser), filled, "{browser:?}, after it was killed");
    }
}

#[test]
fn a_scan_classes_what_the_browsers_wrote_and_changes_nothing() {
    let Some(home) = filled_home("a_scan_classes_what_the_browsers_wrote_and_changes_nothing") else {
        return;
    };
    // Blobs and other files without a format cannot be judged, and that is said.
    let report = scan_unchanged(&home, &[Exit::Incomplete]);
    let verdicts = &report["summary"]["by_verdict"];
    for bad in ["damaged", "unreadable", "stale"] {
        assert!(verdicts[bad].is_null() || verdicts[bad] == 0, "{bad}: {:#?}", findings(&report));
    }
}

/// Both browsers are killed in mid-use, as a crash leaves them: databases with
/// hot write-ahead logs and rollback journals, LevelDB logs without an end. All
/// that may be damaged is an entry of a cache that was being written just then.
#[test]
fn a_scan_after_a_crash_reports_no_damage_and_leaves_the_journals_hot() {
    let Some(home) = filled_home("a_scan_after_a_crash_reports_no_damage_and_leaves_the_journals_hot") else {
        return;
    };
    let started = SystemTime::now() - Duration::from_secs(1);
    for browser in Browser::BOTH {
        visit(home.path(), browser, End::Kill);
    }
    let hot = hot_journals(home.path());
    // Which of its databases Firefox had written to by then differs.
    let of_firefox = |p: &&PathBuf| p.starts_with(home.firefox()) && p.to_string_lossy().ends_with("-wal");
    assert!(hot.iter().any(|p| of_firefox(&p)), "{hot:?}");
    let report = scan_unchanged(&home, &[Exit::Incomplete, Exit::Findings]);
    for store in stores(&report) {
        if store["verdict"] == "damaged" {
            assert_eq!(store["class"], "cache", "{store:#}");
            for finding in store["findings"].as_array().unwrap() {
                assert_eq!(finding["remedy"], "clear-entry", "{store:#}");
                let rel = finding["evidence"]["file"].as_str().unwrap();
                let entry = PathBuf::from(store["path"].as_str().unwrap());
                let entry = entry.ancestors().map(|a| a.join(rel)).find(|p| p.is_file()).unwrap();
                assert!(entry.metadata().unwrap().modified().unwrap() > started, "{store:#}");
            }
        } else {
            assert_eq!(store["verdict"], crate::support::browsers::verdict_when_sound(store), "{store:#}");
        }
    }
}

/// Damage in a database's index, a torn page in another, and stale caches: the
/// preview shows what is done, that is what is done, the browsers go on with
/// everything the page stored, and the undo brings every byte back.
#[test]
fn a_repair_does_what_its_preview_showed_and_the_browsers_go_on() {
    let Some(home) = filled_home("a_repair_does_what_its_preview_showed_and_the_browsers_go_on") else {
        return;
    };
    let cookies = home.chromium().join("Default/Cookies");
    let places = home.firefox().join("places.sqlite");
    damage_an_index(&cookies, "cookies_unique_index");
    tear_a_page(&places, "moz_places");
    age(&home.at(".cache"), 400 * DAY);
    age(&home.http_cache(), 400 * DAY);
    let before = Snapshot::of(home.path());
    let run = Run::new().home(home.path());

    let scan = run.call(["scan", "--format", "json"]).expect(Exit::Findings).json();
    for damaged in [&cookies, &places] {
        assert_eq!(store_at(&scan, damaged)["verdict"], "damaged", "{:#}", store_at(&scan, damaged));
    }
    let preview = run.call(["repair", "--dry-run", "--format", "json"]).expect(Exit::Findings).json();
    before.assert_same(&Snapshot::of(home.path()));
    let planned = planned_paths(&preview);
    assert!(planned.contains(&cookies) && planned.contains(&places), "{planned:#?}");
    assert!(planned.iter().any(|p| p.starts_with(home.http_cache())), "{planned:#?}");
    assert!(planned.iter().any(|p| p.starts_with(home.at(".cache/mozilla"))), "{planned:#?}");

    let repair = run.call(["repair", "--yes", "--format", "json"]);
    let repair = repair.expect_one_of(&[Exit::Ok, Exit::Left]).json();
    assert_eq!(preview["plan"]["hash"], repair["plan"]["hash"]);
    let after = Snapshot::of(home.path());
    only_planned_changed(home.path(), &before, &after, &planned);
    for path in &planned {
        let is_database = [&cookies, &places].contains(&path);
        assert!(is_database || !path.exists(), "{} was to be cleared or swapped", path.display());
    }
    assert_eq!(judge(&cookies), ("ok".to_owned(), false));
    // Visits whose page was on the torn page still point at it: nothing is dropped for that.
    assert_eq!(judge(&places).0, "ok");
    let again = run.call(["scan", "--format", "json"]).json();
    for store in stores(&again) {
        assert!(store["verdict"] != "damaged" && store["verdict"] != "stale", "{store:#}");
    }

    let used = home.copy();
    for browser in Browser::BOTH {
        assert_eq!(read_back(used.path(), browser), as_filled(browser), "{browser:?} after the repair");
    }

    // What was damaged is damaged again.
    run.call(["undo"]).expect(Exit::Left);
    before.assert_same(&Snapshot::of(home.path()));
}

/// A repair while Chromium runs is refused without a write; asked to, it ends
/// Chromium, repairs, and Chromium goes on with everything it had.
#[test]
fn a_repair_waits_for_an_open_chromium_or_asks_it_to_end() {
    let test = "a_repair_waits_for_an_open_chromium_or_asks_it_to_end";
    let Some(home) = filled_home(test) else { return };
    if !trace::available() {
        return skipped(test, "strace is missing or may not trace");
    }
    let cookies = home.chromium().join("Default/Cookies");
    // Sound: a browser that runs on a damaged database of cookies may begin a new one by itself.
    age(&home.http_cache(), 400 * DAY);
    let run = Run::new().home(home.path());
    let mut chromium = Open::chromium(&home);
    let file = run.state_path().with_file_name("trace");
    for command in [&["repair", "--yes", "--app", "chromium"][..], &["backup", "--app", "chromium"]] {
        let refused = trace::noted(&run.command(command), &file);
        assert_eq!(refused.code, Some(i32::from(Exit::AppRunning.code())), "{command:?}: {}", refused.said);
        // A headless shell has a name of its own.
        let is_named = ["chromium", "headless_shell"].iter().any(|name| refused.said.contains(name));
        assert!(is_named, "{}", refused.said);
        let writes = refused.calls(home.path());
        assert!(writes.is_empty(), "{command:?}: {:?}", writes.first());
        assert!(chromium.ended().is_none());
    }
    let done = run.call(["repair", "--yes", "--stop-app", "--app", "chromium"]);
    let done = done.expect_one_of(&[Exit::Incomplete, Exit::Left]);
    assert!(done.stdout.contains("has ended"), "{done}");
    let ended = chromium.ended();
    assert!(ended.is_some(), "it still runs");
    drop(chromium);
    assert_eq!(judge(&cookies), ("ok".to_owned(), false), "{done}");
    assert_eq!(read_back(home.path(), Browser::Chromium), as_filled(Browser::Chromium), "{done}");
}

/// Scans as a person would and compares the whole tree, change times included.
#[track_caller]
fn scan_unchanged(home: &FilledHome, exits: &[Exit]) -> Value {
    let run = Run::new().home(home.path());
    let before = (Snapshot::of(home.path()), change_times(home.path()));
    let mut reports = Vec::new();
    for depth in [&["scan", "--format", "json"][..], &["scan", "--deep", "--rehash", "--format", "json"]] {
        let report = run.call(depth).expect_one_of(exits).json();
        before.0.assert_same(&Snapshot::of(home.path()));
        assert_eq!(before.1, change_times(home.path()));
        let apps: BTreeSet<&str> = targets(&report).map(|t| t["app"].as_str().unwrap()).collect();
        assert_eq!(apps, BTreeSet::from(["chromium", "firefox"]));
        let covered: Vec<PathBuf> =
            stores(&report).map(|s| PathBuf::from(s["path"].as_str().unwrap())).collect();
        let (mut kept, mut others) = (0, Vec::new());
        for database in databases(home) {
            let is_covered = covered.iter().any(|c| database.starts_with(c));
            let is_kept = KEPT.iter().any(|kept| database.to_string_lossy().contains(kept));
            assert!(is_covered || !is_kept, "no store covers {}", database.display());
            kept += usize::from(is_kept);
            others.extend((!is_covered).then_some(database));
        }
        assert!(kept > 15, "the browsers keep what pages and the person store in many databases: {kept}");
        println!("databases under no rule: {others:?}");
        for store in stores(&report) {
            assert!(store["rule"].is_object(), "covered by no rule: {store:#}");
            assert!(["cache", "state", "user"].contains(&store["class"].as_str().unwrap()), "{store:#}");
        }
        reports.push(report);
    }
    reports.pop().unwrap()
}

fn targets(report: &Value) -> impl Iterator<Item = &Value> {
    report["targets"].as_array().unwrap().iter()
}

fn stores(report: &Value) -> impl Iterator<Item = &Value> {
    targets(report).flat_map(|t| t["stores"].as_array().unwrap())
}

/// What a failed test shows.
fn findings(report: &Value) -> Vec<String> {
    let bad = stores(report).filter(|s| s["verdict"] != "healthy");
    bad.map(|s| format!("{} {} {:#}", s["verdict"], s["path"], s["findings"])).collect()
}

#[track_caller]
fn store_at<'a>(report: &'a Value, path: &Path) -> &'a Value {
    let found = stores(report).find(|s| Path::new(s["path"].as_str().unwrap()) == path);
    found.unwrap_or_else(|| panic!("no store at {}", path.display()))
}

/// Every SQLite database and LevelDB folder below the browsers' own folders.
fn databases(home: &FilledHome) -> Vec<PathBuf> {
    let roots = [home.chromium(), home.at(".cache/chromium"), home.firefox(), home.at(".cache/mozilla")];
    let mut out = Vec::new();
    for entry in roots.iter().filter(|root| root.is_dir()).flat_map(walkdir::WalkDir::new) {
        let path = entry.unwrap().into_path();
        if path.is_file() && fs::read(&path).unwrap().starts_with(MAGIC) || path.join("CURRENT").is_file() {
            out.push(path);
        }
    }
    assert!(out.len() > 20, "the browsers keep many databases: {out:?}");
    out
}

fn hot_journals(home: &Path) -> Vec<PathBuf> {
    let files = walkdir::WalkDir::new(home).into_iter().map(|e| e.unwrap().into_path());
    let journals =
        files.filter(|p| p.to_string_lossy().ends_with("-wal") || p.to_string_lossy().ends_with("-journal"));
    journals.filter(|p| p.metadata().unwrap().len() > 0).collect()
}

/// Status change times: they show a write whose modification time was set back.
fn change_times(root: &Path) -> BTreeMap<PathBuf, (i64, i64)> {
    let entries = walkdir::WalkDir::new(root).into_iter().map(Result::unwrap);
    entries
        .map(|e| {
            let meta = e.metadata().unwrap();
            (e.into_path(), (meta.ctime(), meta.ctime_nsec()))
        })
        .collect()
}

/// Every file that the plan's actions clear or replace.
fn planned_paths(report: &Value) -> BTreeSet<PathBuf> {
    let mut out = BTreeSet::new();
    for action in report["plan"]["actions"].as_array().unwrap() {
        let root = Path::new(action["root"].as_str().unwrap());
        for list in ["files", "members"] {
            for item in action[list].as_array().into_iter().flatten() {
                out.insert(root.join(item["path"].as_str().unwrap()));
            }
        }
    }
    out
}

/// Nothing but the planned files differs, and folders above them by their time.
#[track_caller]
fn only_planned_changed(home: &Path, before: &Snapshot, after: &Snapshot, planned: &BTreeSet<PathBuf>) {
    let all: BTreeSet<&Path> = before.paths().chain(after.paths()).collect();
    for rel in all {
        let path = home.join(rel);
        let (was, is) = (before.get(rel), after.get(rel));
        if was == is || planned.contains(&path) {
            continue;
        }
        let folder = was.or(is).unwrap().kind == "folder";
        assert!(
            folder && planned.iter().any(|p| p.starts_with(&path)),
            "{} changed unplanned",
            path.display()
        );
    }
}

fn page_size(database: &Path) -> usize {
    let bytes = fs::read(database).unwrap();
    match u16::from_be_bytes([bytes[16], bytes[17]]) {
        1 => 65536,
        size => usize::from(size),
    }
}

/// Root pages by the condition on the schema's rows, found on a private copy.
pub(crate) fn root_pages(database: &Path, condition: &str) -> Vec<usize> {
    let tmp = tempfile::tempdir().unwrap();
    let copy = tmp.path().join("copy");
    fs::copy(database, &copy).unwrap();
    let db = Connection::open_with_flags(&copy, OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    let sql = format!("SELECT rootpage FROM sqlite_master WHERE {condition} ORDER BY rootpage");
    let mut statement = db.prepare(&sql).unwrap();
    let pages = statement.query_map([], |r| r.get::<_, u32>(0)).unwrap();
    let pages: Vec<usize> = pages.map(|p| p.unwrap() as usize).collect();
    assert!(!pages.is_empty(), "nothing in {} where {condition}", database.display());
    pages
}

/// Overwrites the root page of an index; the table stays whole.
pub(crate) fn damage_an_index(database: &Path, index: &str) {
    let page = root_pages(database, &format!("type = 'index' AND name = '{index}'"))[0];
    let (mut bytes, size) = (fs::read(database).unwrap(), page_size(database));
    bytes[(page - 1) * size..page * size].fill(0xA5);
    fs::write(database, bytes).unwrap();
}

/// As after a power cut in mid-write: the second half of a table's root page
/// is not there.
fn tear_a_page(database: &Path, table: &str) {
    let page = root_pages(database, &format!("type = 'table' AND name = '{table}'"))[0];
    let (mut bytes, size) = (fs::read(database).unwrap(), page_size(database));
    bytes[page * size - size / 2..page * size].fill(0);
    fs::write(database, bytes).unwrap();
}

/// Makes every file and folder below that much older.
pub(crate) fn age(folder: &Path, seconds: u64) {
    let entries = walkdir::WalkDir::new(folder).contents_first(true);
    for entry in entries.into_iter().map(Result::unwrap) {
        if !entry.path_is_symlink() {
            let then =
                entry.metadata().unwrap().modified().unwrap() - std::time::Duration::from_secs(seconds);
            fs::File::open(entry.path()).unwrap().set_modified(then).unwrap();
        }
    }
}

/// What SQLite itself says of a private copy: its integrity check, and whether
/// a foreign key points nowhere.
fn judge(database: &Path) -> (String, bool) {
    let tmp = tempfile::tempdir().unwrap();
    let copy = tmp.path().join("copy");
    fs::copy(database, &copy).unwrap();
    let db = Connection::open(&copy).unwrap();
    let verdict = db.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
    let broken = db.prepare("PRAGMA foreign_key_check").unwrap().query([]).unwrap().next().unwrap().is_some();
    (verdict, broken)
}
