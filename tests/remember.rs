//! What an earlier scan and the vault know of a store becomes a finding and a
//! remedy: a store that held rows and is empty, random, replaced or gone.

use std::path::Path;

use serde_json::Value;
use shopmend::exit::Exit;

use crate::support::shop::Shop;
#[cfg(unix)]
use crate::support::tree::Snapshot;

/// What happens to `messages.db`.
/// A name, and what happens to the database.
type Situation = (&'static str, fn(&Path));

const SITUATIONS: [Situation; 6] = [
    ("no bytes", |db| std::fs::write(db, "").unwrap()),
    ("all zeros", |db| std::fs::write(db, vec![0; 40_960]).unwrap()),
    ("random", |db| std::fs::write(db, noise(40_960)).unwrap()),
    ("a fresh database of the app", |db| {
        std::fs::remove_file(db).unwrap();
        let new = rusqlite::Connection::open(db).unwrap();
        new.execute_batch(
            "CREATE TABLE msg(id INTEGER PRIMARY KEY, sender TEXT, body TEXT); CREATE INDEX by_sender ON msg(sender);",
        )
        .unwrap();
        new.close().unwrap();
    }),
    ("another database", |db| {
        std::fs::remove_file(db).unwrap();
        let new = rusqlite::Connection::open(db).unwrap();
        new.execute_batch("CREATE TABLE other(a); INSERT INTO other VALUES(1);").unwrap();
        new.close().unwrap();
    }),
    ("gone", |db| std::fs::remove_file(db).unwrap()),
];

/// Bytes without any structure.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[3]
    })
    .take(len)
    .collect()
}

fn scan(shop: &Shop, more: &[&str]) -> (Value, Option<i32>) {
    let mut args = shop.args(&["scan", "--format", "json"]);
    args.extend(more.iter().map(ToString::to_string));
    let done = shop.run.call(args).expect_one_of(&[Exit::Ok, Exit::Findings, Exit::Incomplete]);
    let code = done.code;
    (done.json(), code)
}

fn messages(document: &Value) -> Option<&Value> {
    let targets = document["targets"].as_array().unwrap();
    let mut stores = targets.iter().flat_map(|t| t["stores"].as_array().unwrap());
    stores.find(|s| s["path"].as_str().unwrap().ends_with("messages.db"))
}

/// The finding that something is lost, if there is one.
fn loss(document: &Value) -> Option<&Value> {
    let findings = messages(document)?["findings"].as_array().unwrap();
    findings.iter().find(|f| {
        ["store.emptied", "store.replaced", "store.vanished"].contains(&f["code"].as_str().unwrap())
    })
}

fn has(document: &Value, code: &str) -> bool {
    messages(document).is_some_and(|s| s["findings"].as_array().unwrap().iter().any(|f| f["code"] == code))
}

/// Cache that is not stale, so that the messages are all there is to find.
fn shop() -> Shop {
    let shop = Shop::new();
    std::fs::remove_dir_all(shop.at("cache")).unwrap();
    shop
}

#[test]
fn a_database_that_lost_what_it_held_is_found_and_the_copy_puts_it_back() {
    for (name, happens) in SITUATIONS {
        let shop = shop();
        let file = shop.at("messages.db");
        let healthy = std::fs::read(&file).unwrap();
        shop.run.call(shop.args(&["backup"])).expect(Exit::Ok);
        assert!(loss(&scan(&shop, &[]).0).is_none(), "{name}");
        happens(&file);
        let lost = std::fs::read(&file).ok();

        // Found, also by the scan after that, which reads nothing again.
        for _ in 0..2 {
            let (document, code) = scan(&shop, &[]);
            assert_eq!(code, Some(1), "{name}: {document:#}");
            let finding = loss(&document).unwrap_or_else(|| panic!("{name}: {document:#}"));
            assert_eq!(finding["severity"], "error", "{name}");
            assert!(finding["message"].as_str().unwrap().contains("500 rows"), "{name}: {finding}");
            assert!(has(&document, "vault.healthy-copy"), "{name}: {document:#}");
        }

        // Nothing is done about it unasked.
        shop.run.call(shop.args(&["repair", "--yes"])).expect(Exit::Left);
        assert_eq!(std::fs::read(&file).ok(), lost, "{name}");

        let (document, _) = scan(&shop, &[]);
        let store = messages(&document).unwrap();
        let id = store["id"].as_str().unwrap();
        let listed = shop.run.call(["vault", "list", "--format", "json"]).expect(Exit::Ok).json();
        let run = listed["runs"][0]["run"].as_str().unwrap();
        let preview = shop.run.call(shop.args(&["repair", "--store", id, "--from-vault", run, "--dry-run"]));
        assert!(preview.stdout.contains("500 rows"), "{name}: {preview}");
        shop.run.call(shop.args(&["repair", "--store", id, "--from-vault", run, "--yes"])).expect(Exit::Ok);
        assert_eq!(std::fs::read(&file).unwrap(), healthy, "{name}");
        let (document, code) = scan(&shop, &[]);
        assert_eq!((loss(&document), code), (None, Some(0)), "{name}");

        // It can be taken back, and what was there is missed again.
        shop.run.call(["undo"]).expect_one_of(&[Exit::Ok, Exit::Incomplete, Exit::Left]);
        assert_eq!(std::fs::read(&file).ok(), lost, "{name}");
        assert!(loss(&scan(&shop, &[]).0).is_some(), "{name}");
    }
}

#[test]
fn a_loss_is_a_finding_until_it_is_accepted() {
    for (name, happens) in SITUATIONS {
        let shop = shop();
        scan(&shop, &[]);
        happens(&shop.at("messages.db"));
        let (document, _) = scan(&shop, &[]);
        let id = messages(&document).unwrap()["id"].as_str().unwrap().to_owned();
        assert!(loss(&document).is_some(), "{name}");
        let (accepted, _) = scan(&shop, &["--accept", &id]);
        assert!(loss(&accepted).is_none(), "{name}: {accepted:#}");
        assert!(loss(&scan(&shop, &[]).0).is_none(), "{name}");
    }
}

#[test]
fn what_is_no_store_cannot_be_accepted() {
    let shop = shop();
    shop.run.call(shop.args(&["scan", "--accept", "00000000"])).expect(Exit::Usage);
    let (document, _) = scan(&shop, &[]);
    let id = messages(&document).unwrap()["id"].as_str().unwrap();
    let (document, _) = scan(&shop, &["--accept", id]);
    assert!(document["notes"].to_string().contains("nothing to accept"), "{document:#}");
}

/// What was healthy stays known, however often the damage is scanned.
#[test]
fn damage_does_not_make_the_last_healthy_state_forgotten() {
    let shop = shop();
    let file = shop.at("messages.db");
    let healthy = std::fs::read(&file).unwrap();
    scan(&shop, &[]);
    for damage in [vec![0; 4096], noise(healthy.len()), Vec::new(), vec![0; 40_960]] {
        std::fs::write(&file, &damage).unwrap();
        for _ in 0..2 {
            let (document, _) = scan(&shop, &[]);
            let told = loss(&document).is_some() || has(&document, "store.last-healthy");
            assert!(told && document.to_string().contains("500 rows"), "{document:#}");
        }
    }
    // Nor does a time in which it could not be judged.
    std::fs::write(&file, "").unwrap();
    assert!(loss(&scan(&shop, &[]).0).is_some());
    std::fs::write(&file, &healthy).unwrap();
    let (document, code) = scan(&shop, &[]);
    assert_eq!((loss(&document), code), (None, Some(0)), "{document:#}");
}

#[test]
fn tidying_up_and_caches_are_no_loss() {
    let shop = Shop::new();
    scan(&shop, &[]);
    let db = rusqlite::Connection::open(shop.at("messages.db")).unwrap();
    db.execute("DELETE FROM msg WHERE id > 3", []).unwrap();
    db.close().unwrap();
    std::fs::remove_dir_all(shop.at("cache")).unwrap();
    std::fs::create_dir(shop.at("cache")).unwrap();
    let (document, code) = scan(&shop, &[]);
    assert_eq!((loss(&document), code), (None, Some(0)), "{document:#}");
}

/// A copy that the app itself keeps beside a damaged file is a remedy, too.
#[test]
fn the_apps_own_second_copy_is_named_when_it_is_sound() {
    let shop = shop();
    let file = shop.at("messages.db");
    let healthy = std::fs::read(&file).unwrap();
    let mut damaged = healthy.clone();
    damaged[4096..8192].fill(0xaa);
    std::fs::write(&file, &damaged).unwrap();
    std::fs::write(shop.at("messages.db.backup"), &healthy).unwrap();
    let (document, _) = scan(&shop, &[]);
    assert!(has(&document, "store.second-copy"), "{document:#}");
    std::fs::write(shop.at("messages.db.backup"), &damaged).unwrap();
    assert!(!has(&scan(&shop, &[]).0, "store.second-copy"));
}

/// What changed after the preview of putting a copy back is left alone.
#[test]
fn a_copy_is_not_put_over_what_the_plan_does_not_know() {
    let shop = shop();
    shop.run.call(shop.args(&["backup"])).expect(Exit::Ok);
    let (document, _) = scan(&shop, &[]);
    let id = messages(&document).unwrap()["id"].as_str().unwrap();
    let listed = shop.run.call(["vault", "list", "--format", "json"]).expect(Exit::Ok).json();
    let run = listed["runs"][0]["run"].as_str().unwrap();
    // A run that holds nothing of it, and one that is none.
    let none = ["repair", "--store", "00000000", "--from-vault", run, "--yes"];
    shop.run.call(shop.args(&none)).expect(Exit::Usage);
    shop.run.call(shop.args(&["repair", "--store", id, "--from-vault", "x", "--yes"])).expect(Exit::Usage);
    // Without a store it is not clear what is meant.
    shop.run.call(shop.args(&["repair", "--from-vault", run, "--yes"])).expect(Exit::Usage);
}

/// How many cache files are there, and whether the scan says that ages could
/// not be judged.
fn cache(shop: &Shop) -> usize {
    walkdir::WalkDir::new(shop.at("cache"))
        .into_iter()
        .filter(|e| e.as_ref().unwrap().file_type().is_file())
        .count()
}

fn doubts(document: &Value) -> bool {
    document["summary"]["not_checked"].to_string().contains("the age of")
}

fn dated(path: &Path, seconds: i64) {
    let at = if seconds < 0 {
        std::time::UNIX_EPOCH - std::time::Duration::from_secs(seconds.unsigned_abs())
    } else {
        std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds.unsigned_abs())
    };
    std::fs::File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
}

/// A file of the future says that the clock is behind, or was ahead: nothing is
/// old then.
#[test]
fn nothing_is_cleared_by_age_while_files_are_of_the_future() {
    let shop = Shop::new().aged();
    let (document, _) = scan(&shop, &[]);
    assert!(!doubts(&document), "{document:#}");
    dated(&shop.at("cache/1/1.bin"), 4_200_000_000);
    let (document, code) = scan(&shop, &[]);
    assert!(doubts(&document), "{document:#}");
    assert_ne!(code, Some(0));
    shop.run.call(shop.args(&["repair", "--yes", "--only", "clear", "--older-than", "1d"]));
    assert_eq!(cache(&shop), 40);
    // With a time that can be right, all is as ever.
    dated(&shop.at("cache/1/1.bin"), 1_500_000_000);
    assert!(!doubts(&scan(&shop, &[]).0));
    shop.run.call(shop.args(&["repair", "--yes", "--only", "clear"]));
    assert_eq!(cache(&shop), 0);
}

/// What is dated before there were apps was written by a clock that was wrong,
/// maybe today.
#[test]
#[cfg(unix)]
fn what_is_dated_before_there_were_apps_is_not_old() {
    let shop = Shop::new().aged();
    dated(&shop.at("cache/1/1.bin"), 0);
    dated(&shop.at("cache/1/5.bin"), -86_400 * 365 * 20);
    let (document, _) = scan(&shop, &[]);
    assert!(doubts(&document), "{document:#}");
    shop.run.call(shop.args(&["repair", "--yes", "--only", "clear"]));
    assert_eq!(cache(&shop), 2);
    assert!(shop.at("cache/1/1.bin").exists() && shop.at("cache/1/5.bin").exists());
}

/// A database of which no name of a table is left: its rows under made-up names
/// are no use to the app, and are not put in place unasked.
#[test]
fn a_database_without_the_names_of_its_tables_is_not_put_in_place_unasked() {
    let shop = shop();
    let file = shop.at("messages.db");
    // Nothing is known from before: no scan has seen it.
    let mut bytes = std::fs::read(&file).unwrap();
    bytes[..4096].fill(0);
    std::fs::write(&file, &bytes).unwrap();
    let done = shop.run.call(shop.args(&["repair", "--yes"])).expect(Exit::Left);
    assert!(done.stdout.contains("--accept-unnamed-tables"), "{done}");
    assert_eq!(std::fs::read(&file).unwrap(), bytes);
    shop.run.call(shop.args(&["repair", "--yes", "--accept-unnamed-tables"]));
    let db = rusqlite::Connection::open(&file).unwrap();
    let sql =
        "SELECT name FROM sqlite_schema WHERE type='table' AND name LIKE 'table\\_%' ESCAPE '\\' LIMIT 1";
    let name: String = db.query_row(sql, [], |r| r.get(0)).unwrap();
    let rows: i64 = db.query_row(&format!("SELECT count(*) FROM {name}"), [], |r| r.get(0)).unwrap();
    assert_eq!(rows, 500);
}

/// A damaged database of which the vault has a healthy copy: the plan offers
/// both ways with what each holds, and the person at the terminal chooses.
#[cfg(unix)]
#[test]
fn at_a_terminal_a_person_chooses_between_the_salvage_and_the_healthy_copy() {
    let test = "at_a_terminal_a_person_chooses_between_the_salvage_and_the_healthy_copy";
    if !crate::support::skip::has("tmux") {
        return crate::support::skip::skipped(test, "tmux is missing, in which the question is answered");
    }
    let shop = shop();
    let healthy = Snapshot::of(shop.home.path());
    shop.run.call(shop.args(&["backup"])).expect(Exit::Ok);
    let db = shop.at("messages.db");
    let mut bytes = std::fs::read(&db).unwrap();
    let leaf = (1..bytes.len() / 4096).filter(|p| bytes[p * 4096] == 13).nth(2).unwrap();
    bytes[leaf * 4096..(leaf + 1) * 4096].fill(b'U');
    std::fs::write(&db, bytes).unwrap();

    let preview = shop.run.call(shop.args(&["repair", "--dry-run"])).expect(Exit::Findings);
    let offered = preview.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(offered.contains("c1. store") && offered.contains("with 500 rows"), "{offered}");
    let command = shop.run.command(shop.args(&["repair"]));
    let answers = [("Do this?", "c9"), ("Do this?", "c1"), ("Do this?", "y")];
    let screen = crate::support::terminal::screen_after(&command, 80, &answers);
    assert!(screen.contains("put back (sqlite from run"), "{screen}");
    assert!(screen.contains("everything known was looked at and is sound"), "{screen}");
    // The folder's own time is that of the last change in it.
    assert_eq!(healthy.contents(), Snapshot::of(shop.home.path()).contents());
    let rows = rusqlite::Connection::open(&db).unwrap();
    assert_eq!(rows.query_row("SELECT count(*) FROM msg", [], |r| r.get::<_, i64>(0)).unwrap(), 500);
}
