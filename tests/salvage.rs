//! Salvage, scored on damaged databases from seeds.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use shopmend::exit::Exit;
use shopmend::sqlite::Control;
use shopmend::sqlite::recover::{SalvageOptions, salvage};
use shopmend::store::sqlite::exit;

use crate::support::skip::skipped;
use crate::support::sqlite_gen::damage::{CLASSES, Case, Damaged, apply, recut};
use crate::support::sqlite_gen::make::Beside;
use crate::support::sqlite_gen::score::Score;
use crate::support::sqlite_gen::{Dice, score};

#[test]
fn the_generator_knows_every_row_and_damages_in_every_class() {
    let dir = tempfile::tempdir().unwrap();
    let mut hit_rows = 0;
    for (class, (name, beside)) in CLASSES.iter().enumerate() {
        let case = Case::new(class as u64, *beside, dir.path());
        let path = dir.path().join("sound.db");
        std::fs::write(&path, &case.made.files.db).unwrap();
        for (suffix, bytes) in [("-wal", &case.made.files.wal), ("-journal", &case.made.files.journal)] {
            let side = dir.path().join(format!("sound.db{suffix}"));
            let _ = std::fs::remove_file(&side);
            if let Some(bytes) = bytes {
                std::fs::write(side, bytes).unwrap();
            }
        }
        // SQLite counts as many rows as the walker found.
        let db = rusqlite::Connection::open(&path).unwrap();
        for (spec, rows) in case.made.tables.iter().zip(&case.rows) {
            let n: i64 =
                db.query_row(&format!("SELECT count(*) FROM {}", spec.name), [], |r| r.get(0)).unwrap();
            assert_eq!(n as usize, rows.len(), "{name}: {} of {}", spec.name, case.made.describe);
        }
        drop(db);
        let damaged = apply(class, &case, &mut Dice::new(class as u64));
        let alive: usize = score::survivors(&case, &damaged).iter().flatten().filter(|a| **a).count();
        let all: usize = case.rows.iter().map(Vec::len).sum();
        assert!(all > 150, "{name}: {all} rows, {}", case.made.describe);
        hit_rows += all - alive;
        let key = name.split(' ').next().unwrap();
        match key {
            "none" | "S0" | "S11" => assert!(damaged.files == case.made.files),
            "A1" | "A2" | "A3" | "B1" | "B2" | "E2" | "F1" | "F3" | "F7" | "F8" | "G1" | "S5" | "S6"
            | "S7" | "S12" | "S13" => {
                assert_eq!(alive, all, "{name} destroys no row");
                assert!(damaged.files != case.made.files, "{name}");
            }
            // A database may have no overflow page with a successor.
            "D1" | "D2" | "D3" => {}
            _ => assert!(damaged.files != case.made.files, "{name}"),
        }
        if matches!(*beside, Beside::Nothing) && key == "B5" {
            assert!(alive < all && alive > 0);
        }
    }
    assert!(hit_rows > 1000, "{hit_rows}");
}

/// Salvages one damaged case and scores it; asserts that the input stays as it was.
fn run(case: &Case, damaged: &Damaged, dir: &Path) -> Score {
    let (input, output) = (dir.join("in.db"), dir.join("out.db"));
    let from = dir.join("healthy.db");
    let sides = [("-wal", &damaged.files.wal), ("-journal", &damaged.files.journal)];
    std::fs::write(&input, &damaged.files.db).unwrap();
    for (suffix, bytes) in &sides {
        let path = dir.join(format!("in.db{suffix}"));
        let _ = std::fs::remove_file(&path);
        if let Some(bytes) = bytes {
            std::fs::write(path, bytes).unwrap();
        }
    }
    let _ = std::fs::remove_file(&output);
    std::fs::write(&from, &case.made.schema_only).unwrap();
    let options = SalvageOptions {
        schema_from: damaged.schema_from.then_some(from.as_path()),
        ..SalvageOptions::default()
    };
    let before: BTreeSet<_> = listing(dir);
    let result = salvage(&input, &output, &options, &Control::default());
    let mut after = listing(dir);
    after.remove("out.db");
    assert_eq!(before, after, "files beside the input");
    assert!(std::fs::read(&input).unwrap() == damaged.files.db, "the input changed");
    for (suffix, bytes) in &sides {
        let now = std::fs::read(dir.join(format!("in.db{suffix}"))).ok();
        assert!(now == **bytes, "{suffix} changed");
    }
    let mut score = score::score(case, damaged, &output);
    match result {
        Err(e) => score.examples.insert(0, format!("{e}")),
        Ok(report) => {
            if report.integrity != "ok" {
                score.unsound = Some(report.integrity.clone());
            }
            let lost = score.lost + score.doubtful + score.aside + score.gone > 0;
            score.silent = usize::from(exit(report.outcome()) == Exit::Ok && lost);
        }
    }
    score
}

/// A table in one leaf page, with an index or without, of which a part is
/// destroyed: the page is its root, so that no hole in a tree tells of it.
#[test]
fn half_a_page_that_is_lost_is_never_silent() {
    for (index, page_size) in [(false, 32768), (true, 32768), (false, 4096), (true, 4096)] {
        let dir = tempfile::tempdir().unwrap();
        let sound = dir.path().join("sound.db");
        let db = rusqlite::Connection::open(&sound).unwrap();
        db.execute_batch(&format!(
            "PRAGMA page_size={page_size}; CREATE TABLE places(id INTEGER PRIMARY KEY, url TEXT, title TEXT);
             CREATE TABLE other(a);"
        ))
        .unwrap();
        if index {
            db.execute_batch("CREATE INDEX places_url ON places(url)").unwrap();
        }
        for i in 0..20 {
            let row = (format!("https://shop.example/{i}"), format!("Order number {i}"));
            db.execute("INSERT INTO places(url,title) VALUES(?1,?2)", row).unwrap();
        }
        let root: usize = db
            .query_row("SELECT rootpage FROM sqlite_schema WHERE name='places'", [], |r| r.get::<_, i64>(0))
            .unwrap() as usize;
        drop(db);
        let bytes = std::fs::read(&sound).unwrap();
        let (start, half) = ((root - 1) * page_size, page_size / 2);
        let noise: Vec<u8> = Dice::new(1).bytes(page_size);
        for (name, from, to, fill) in [
            ("first half zeroed", 0, half, false),
            ("second half zeroed", half, page_size, false),
            ("all zeroed", 0, page_size, false),
            ("first half random", 0, half, true),
            ("second half random", half, page_size, true),
            ("header zeroed", 0, 8, false),
            ("first sector zeroed", 0, 512, false),
            ("last sector zeroed", page_size - 512, page_size, false),
        ] {
            let mut damaged = bytes.clone();
            for (i, byte) in damaged[start + from..start + to].iter_mut().enumerate() {
                *byte = if fill { noise[i] } else { 0 };
            }
            let (input, output) = (dir.path().join("in.db"), dir.path().join("out.db"));
            std::fs::write(&input, damaged).unwrap();
            let _ = std::fs::remove_file(&output);
            let report = salvage(&input, &output, &SalvageOptions::default(), &Control::default()).unwrap();
            let what = format!("{name}, page {page_size}, index {index}:\n{}", report.text());
            assert_eq!(exit(report.outcome()), Exit::Left, "{what}");
            let places = report.tables.iter().find(|t| t.name == "places").unwrap();
            let here = places.recovered + places.doubtful + places.partial + places.set_aside;
            assert!(here == 20 || places.lost > 0 || places.untold_pages > 0, "{what}");
            if index {
                // The index says how many rows there were.
                assert_eq!(here + places.lost, 20, "{what}");
                assert_eq!(places.lost, 0, "columns of every row are in the index: {what}");
            }
        }
    }
}

fn listing(dir: &Path) -> BTreeSet<String> {
    std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect()
}

/// The scoreboard: every class of damage in turn, over as many seeds as
/// `SHOPMEND_SEEDS` says (60 without), from `SHOPMEND_FIRST_SEED` on.
/// `SHOPMEND_SEED` runs a single one, `SHOPMEND_SCORE_ONLY` prints without
/// judging, and `SHOPMEND_KEEP` names a folder that gets every case's files.
#[test]
fn scoreboard() {
    let number = |name: &str| std::env::var(name).ok().and_then(|v| v.parse::<u64>().ok());
    let first = number("SHOPMEND_FIRST_SEED").unwrap_or(0);
    let one = number("SHOPMEND_SEED").map(|one| one..one + 1);
    let seeds = one.unwrap_or(first..first + number("SHOPMEND_SEEDS").unwrap_or(60));
    let next = AtomicU64::new(seeds.start);
    let results = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let dir = tempfile::tempdir().unwrap();
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= seeds.end {
                        break;
                    }
                    let class = (seed % CLASSES.len() as u64) as usize;
                    let (name, beside) = CLASSES[class];
                    let mut case = Case::new(seed, beside, dir.path());
                    let damaged = apply(class, &case, &mut Dice::new(!seed));
                    if name.starts_with("S9 ") {
                        case = recut(case, &damaged);
                    }
                    let in_dir = dir.path().join("run");
                    std::fs::create_dir_all(&in_dir).unwrap();
                    let _ = std::fs::remove_file(in_dir.join("out.db"));
                    let caught = catch_unwind(AssertUnwindSafe(|| run(&case, &damaged, &in_dir)));
                    let describe = case.made.describe.clone();
                    if let Some(keep) = std::env::var_os("SHOPMEND_KEEP") {
                        let keep = Path::new(&keep).join(seed.to_string());
                        std::fs::create_dir_all(&keep).unwrap();
                        for entry in std::fs::read_dir(&in_dir).unwrap() {
                            let from = entry.unwrap().path();
                            std::fs::copy(&from, keep.join(from.file_name().unwrap())).unwrap();
                        }
                        std::fs::write(keep.join("sound.db"), &case.made.files.db).unwrap();
                    }
                    let other = reference(&damaged, &case, &in_dir);
                    results.lock().unwrap().push((seed, class, caught, describe, other));
                }
            });
        }
    });
    let mut results = results.into_inner().unwrap();
    results.sort_by_key(|r| r.0);
    let (mut by_class, mut others): (BTreeMap<String, (usize, Score)>, BTreeMap<_, _>) = Default::default();
    let mut failures = Vec::new();
    for (seed, class, caught, describe, other) in results {
        let (name, _) = CLASSES[class];
        let score = caught.unwrap_or_else(|panic| {
            let text = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
                .unwrap_or_default();
            failures.push(format!("seed {seed} ({name}; {describe}): {text}"));
            Score::default()
        });
        if let Some(unsound) = &score.unsound {
            failures
                .push(format!("seed {seed} ({name}; {describe}): the new database is unsound: {unsound}"));
        }
        if score.silent > 0 {
            failures.push(format!("seed {seed} ({name}; {describe}): rows are lost, but the exit code is 0"));
        }
        if score.wrong > 0 || score.exact < score.surviving {
            let shown = score.examples.join("\n      ");
            println!(
                "seed {seed} ({name}; {describe}): {} of {} exact, {} doubtful, {} aside, {} lost, {} wrong\n      {shown}",
                score.exact, score.surviving, score.doubtful, score.aside, score.lost, score.wrong
            );
        }
        if let Some(other) = &other
            && other.exact > score.exact
        {
            failures.push(format!(
                "seed {seed} ({name}; {describe}): .recover has {} rows, this {}",
                other.exact, score.exact
            ));
        }
        let total = by_class.entry(name.to_owned()).or_default();
        total.0 += 1;
        total.1.add(&score);
        if let Some(other) = other {
            let total = others.entry(name.to_owned()).or_insert((0, Score::default()));
            total.0 += 1;
            total.1.add(&other);
        }
    }
    println!("{}", score::table(&by_class, &others));
    let (mut named, mut wrong) = ((0, 0), 0);
    for (name, (_, s)) in &by_class {
        wrong += s.wrong;
        // Without a schema there is no right table: whole rows count wherever they are.
        let found = if name.starts_with("E1n") { s.exact + s.aside } else { s.exact };
        named = (named.0 + found, named.1 + s.surviving);
    }
    if std::env::var_os("SHOPMEND_SCORE_ONLY").is_some() {
        println!("{}", failures.join("\n"));
        return;
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(named.0 * 100 >= named.1 * 98, "{} of {} surviving rows are back", named.0, named.1);
    assert_eq!(wrong, 0, "wrong rows that are not listed as doubtful");
    if std::env::var_os("SHOPMEND_SQLITE3").is_none() {
        let reason = "SHOPMEND_SQLITE3 names no shell with a working .recover (scripts/get-sqlite3)";
        skipped("salvage beside .recover", reason);
    }
}

/// What `sqlite3 .recover` makes of the same files, when a shell that has it
/// is at hand.
fn reference(damaged: &Damaged, case: &Case, dir: &Path) -> Option<Score> {
    let shell = std::env::var_os("SHOPMEND_SQLITE3")?;
    let (input, output) = (dir.join("ref.db"), dir.join("ref-out.db"));
    for (suffix, bytes) in [
        ("", Some(&damaged.files.db)),
        ("-wal", damaged.files.wal.as_ref()),
        ("-journal", damaged.files.journal.as_ref()),
    ] {
        let path = dir.join(format!("ref.db{suffix}"));
        let _ = std::fs::remove_file(&path);
        if let Some(bytes) = bytes {
            std::fs::write(path, bytes).unwrap();
        }
    }
    let _ = std::fs::remove_file(&output);
    let sql = std::process::Command::new(&shell).arg(&input).arg(".recover").output().unwrap().stdout;
    let mut load = std::process::Command::new(&shell)
        .arg(&output)
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let _ = std::io::Write::write_all(&mut load.stdin.take().unwrap(), &sql);
    load.wait().unwrap();
    let mut score = score::score(case, damaged, &output);
    score.unsound = None;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.file_name().unwrap().to_str().unwrap().starts_with("ref") {
            std::fs::remove_file(path).unwrap();
        }
    }
    Some(score)
}
