//! `repair` and `demo` on databases that SQLite cannot open any more.

use std::path::Path;

use rusqlite::Connection;
use serde_json::Value;
use shopmend::exit::Exit;

use crate::support::run::Run;
use crate::support::shop::Shop;
use crate::support::tree::Snapshot;

fn zero(path: &Path, page: usize) {
    let mut bytes = std::fs::read(path).unwrap();
    bytes[page * 4096..(page + 1) * 4096].fill(0);
    std::fs::write(path, bytes).unwrap();
}

/// What the repair says of the one database.
fn rebuilt(report: &Value) -> &Value {
    let actions = report["repair"]["actions"].as_array().unwrap();
    let of = |a: &&Value| a["path"].as_str().is_some_and(|p| p.ends_with("messages.db"));
    &actions.iter().find(of).unwrap()["rebuilt"]
}

/// The first page and with it the schema is gone: names, columns and the
/// number of rows are those of the last healthy scan.
#[test]
fn a_lost_schema_comes_from_the_last_healthy_scan() {
    let shop = Shop::new();
    let db = shop.at("messages.db");
    shop.run.call(shop.args(&["scan", "--deep"])).expect(Exit::Ok);
    zero(&db, 0);
    let before = Snapshot::of(shop.home.path());
    assert!(Connection::open(&db).unwrap().query_row("SELECT count(*) FROM msg", [], |_| Ok(())).is_err());
    let arguments = ["repair", "--only", "rebuild", "--yes", "--format", "json"];
    let report = shop.run.call(shop.args(&arguments)).json();
    let rebuilt = rebuilt(&report);
    assert_eq!(rebuilt["method"], "salvage", "{report:#}");
    let table = &rebuilt["details"]["tables"].as_array().unwrap()[0];
    assert_eq!((&table["name"], &table["expected"], &table["lost"]), (&"msg".into(), &500.into(), &0.into()));
    assert_eq!(table["schema"], "given", "{table:#}");
    {
        let db = Connection::open(&db).unwrap();
        let sum = |sql: &str| db.query_row(sql, [], |r| r.get::<_, i64>(0)).unwrap();
        assert_eq!(sum("SELECT count(*) FROM msg WHERE body = 'text ' || (id - 1)"), 500);
        assert_eq!(sum("SELECT count(*) FROM sqlite_schema WHERE name='by_sender'"), 1);
    }
    // The database is damaged again.
    shop.run.call(["undo"]).expect(Exit::Left);
    before.assert_same(&Snapshot::of(shop.home.path()));
}

/// Rows of a destroyed page count as lost or doubtful against what was there.
#[test]
fn lost_rows_are_counted_against_the_last_healthy_scan() {
    let shop = Shop::new();
    let path = shop.at("messages.db");
    {
        let db = Connection::open(&path).unwrap();
        db.execute_batch("DROP INDEX by_sender; VACUUM").unwrap();
    }
    shop.run.call(shop.args(&["scan", "--deep"])).expect(Exit::Ok);
    let pages = std::fs::metadata(&path).unwrap().len() as usize / 4096;
    zero(&path, pages - 1);
    let arguments = ["repair", "--only", "rebuild", "--yes", "--format", "json"];
    let report = shop.run.call(shop.args(&arguments)).json();
    let rebuilt = rebuilt(&report);
    assert_eq!(rebuilt["method"], "salvage", "{report:#}");
    let here = Connection::open(&path)
        .unwrap()
        .query_row("SELECT count(*) FROM msg", [], |r| r.get::<_, i64>(0))
        .unwrap();
    assert!(here > 0 && here < 500);
    let table = &rebuilt["details"]["tables"].as_array().unwrap()[0];
    assert_eq!((&table["expected"], &table["lost"]), (&500.into(), &(500 - here).into()), "{table:#}");
}

/// The demo's drafts lost their header: no lossless way is left for them.
#[test]
fn the_demo_salvages_what_sqlite_cannot_open() {
    let run = Run::new();
    let outcome = run.call(["demo", "--keep"]).expect(Exit::Ok);
    let text = outcome.stdout.replace('\\', "/");
    let kept = text.lines().find_map(|l| l.strip_prefix("The sample device is in ")).unwrap();
    let device = Path::new(kept).join("device");
    let found = walk(&device).into_iter().find(|p| p.ends_with("databases/aweme.db")).unwrap();
    // Undone at the end: what the repair had before it is there again.
    let broken = Connection::open(&found).unwrap().query_row("SELECT 1 FROM sqlite_schema", [], |_| Ok(()));
    std::fs::remove_dir_all(kept).unwrap();
    assert!(broken.is_err());
    let mut lines =
        text.lines().skip_while(|l| !(l.contains("rebuild") && l.contains("databases/aweme.db (")));
    lines.next().unwrap();
    let outcome = lines.next().unwrap().trim();
    assert!(outcome.starts_with("by salvage: ") && outcome.ends_with(" kept, 0 lost"), "{outcome}");
}

fn walk(dir: &Path) -> Vec<std::path::PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            out.extend(walk(&path));
        } else {
            out.push(path);
        }
    }
    out
}

/// The app's own order of text, as Android's `LOCALIZED` is one.
fn in_the_app(path: &Path) -> Connection {
    let db = Connection::open(path).unwrap();
    let reversed = |a: &str, b: &str| a.chars().rev().cmp(b.chars().rev());
    db.create_collation("LOCALIZED", reversed).unwrap();
    db
}

/// A table with an index in that order, another whose index entries are off.
fn with_an_index_of_the_apps_own(index: &str) -> (Shop, std::path::PathBuf) {
    let shop = Shop::new();
    let path = shop.at("messages.db");
    let db = in_the_app(&path);
    let sql = format!("CREATE TABLE people(id INTEGER PRIMARY KEY, name TEXT COLLATE LOCALIZED); {index}");
    db.execute_batch(&sql).unwrap();
    for i in 0..300 {
        db.execute("INSERT INTO people(name) VALUES(?1)", [format!("name {i}")]).unwrap();
    }
    db.close().unwrap();
    shop.break_index();
    (shop, path)
}

/// Only the app can sort by its own order: the repair is held back, and a
/// salvage leaves the index out where that is possible.
#[test]
fn what_is_in_the_apps_own_order_is_not_put_in_place() {
    for index in [
        "CREATE INDEX by_name ON people(name);",
        "CREATE UNIQUE INDEX by_name ON people(name);",
        "CREATE TABLE tags(tag TEXT COLLATE LOCALIZED PRIMARY KEY) WITHOUT ROWID;",
        "CREATE TABLE tags(tag TEXT COLLATE LOCALIZED UNIQUE);",
    ] {
        let (shop, path) = with_an_index_of_the_apps_own(index);
        let before = Snapshot::of(shop.home.path());
        let said = shop.run.call(shop.args(&["repair", "--only", "rebuild", "--yes"]));
        let said = said.expect_one_of(&[Exit::Left, Exit::RolledBack]).stdout;
        let words = said.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(words.contains("which only the app has") && words.contains("shopmend salvage"), "{said}");
        before.assert_same(&Snapshot::of(shop.home.path()));

        let new = shop.run.state_path().with_extension("db");
        let arguments = [Path::new("salvage"), &path, Path::new("-o"), &new];
        let said = shop.run.call(arguments).expect(Exit::Left).stdout;
        assert!(said.contains("only the app has collation LOCALIZED"), "{said}");
        let db = in_the_app(&new);
        for i in 0..300 {
            let name = format!("name {i}");
            let sql = "SELECT count(*) FROM people NOT INDEXED WHERE name = ?1";
            assert_eq!(db.query_row(sql, [&name], |r| r.get::<_, i64>(0)).unwrap(), 1, "{name}");
        }
    }
}
