//! Apps that write while their database is repaired or put back: whenever one
//! starts, what it committed is in the database or in what was set aside, and
//! no success is reported over a file that it has open.

use std::collections::BTreeSet;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::support::shop::Shop;

/// Set for a child of this test binary: the database that it writes to.
const DATABASE: &str = "SHOPMEND_TEST_WRITER";
/// From which number it counts.
const FROM: &str = "SHOPMEND_TEST_WRITER_FROM";
/// How long a writer lives.
const LIFE: Duration = Duration::from_millis(250);

/// What a child process does; nothing in an ordinary run of the tests.
#[test]
fn child() {
    let Some(database) = std::env::var_os(DATABASE) else { return };
    let from: i64 = std::env::var(FROM).unwrap().parse().unwrap();
    let began = Instant::now();
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_WRITE;
    // It may not be there for a moment, or be locked.
    let open = || rusqlite::Connection::open_with_flags(&database, flags).ok();
    let mut db = open();
    let mut committed = 0;
    while began.elapsed() < LIFE {
        db = db.or_else(open);
        let Some(db) = &db else { continue };
        let _ = db.busy_timeout(Duration::from_millis(5));
        if db.execute("INSERT INTO log VALUES(?1)", [from + committed]).is_ok() {
            committed += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    drop(db);
    println!("committed {committed} rows");
}

/// How an app and the repair stand to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Where {
    Same,
    /// The app has its files under another path, in a mount namespace.
    OtherMounts,
    /// The repair does not see the app's processes.
    OtherProcesses,
}

fn writer(database: &Path, from: i64, at: Where) -> Child {
    let me = std::env::current_exe().unwrap();
    let args = ["--exact", "writers::child", "--nocapture"];
    let mut command;
    if at == Where::OtherMounts {
        let folder = database.parent().unwrap();
        let other = folder.parent().unwrap().parent().unwrap().join("mounted");
        let script = "mkdir -p \"$2\" && mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"";
        command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]).arg(folder).arg(&other).arg(me).args(args);
        command.env(DATABASE, other.join(database.file_name().unwrap()));
    } else {
        command = Command::new(me);
        command.args(args).env(DATABASE, database);
    }
    command.env(FROM, from.to_string()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    command.spawn().unwrap()
}

/// How many rows it says that it committed.
fn ended(mut writer: Child) -> i64 {
    let mut said = String::new();
    writer.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    writer.wait().unwrap();
    let count = said.lines().find_map(|l| l.strip_prefix("committed ")?.strip_suffix(" rows"));
    count.unwrap_or_else(|| panic!("{said}")).parse().unwrap()
}

/// The rows of the log in every database at or below a path.
fn rows_in(path: &Path, out: &mut BTreeSet<i64>) {
    for entry in walkdir::WalkDir::new(path).into_iter().flatten().filter(|e| e.file_type().is_file()) {
        let content = std::fs::read(entry.path()).unwrap_or_default();
        if !content.starts_with(b"SQLite format 3\0") {
            continue;
        }
        // A copy: looking at it in place would leave files beside it.
        let tmp = tempfile::tempdir().unwrap();
        let copy = tmp.path().join("copy.db");
        std::fs::write(&copy, content).unwrap();
        for suffix in ["-wal", "-journal"] {
            let beside = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
            let _ = std::fs::copy(beside(entry.path()), beside(&copy));
        }
        let Ok(db) = rusqlite::Connection::open(&copy) else { continue };
        let Ok(mut all) = db.prepare("SELECT n FROM log") else { continue };
        out.extend(all.query_map([], |r| r.get::<_, i64>(0)).unwrap().flatten());
    }
}

#[derive(Debug, Default)]
struct Tally {
    starts: u32,
    refused: u32,
    committed: i64,
    lost: Vec<String>,
}

impl Tally {
    /// Starts a writer at a moment around a command.
    fn start(&mut self, shop: &Shop, args: &[&str], at: Where, luck: &mut ChaCha8Rng, what: &str) {
        let from = i64::from(self.starts) * 1_000_000;
        let plain = shop.run.command(args);
        let mut command = if at == Where::OtherProcesses {
            let mut apart = Command::new("unshare");
            apart.args(["--pid", "--fork", "--mount-proc"]).arg(plain.get_program()).args(plain.get_args());
            shop.run.at_home(&mut apart);
            apart.env("PATH", std::env::var_os("PATH").unwrap_or_default());
            apart
        } else {
            plain
        };
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Now and then the app is there first.
        let delay = Duration::from_millis(luck.random_range(0..400));
        let (running, app);
        if luck.random_range(0..4) == 0 {
            app = writer(&shop.at("messages.db"), from, at);
            std::thread::sleep(delay / 4);
            running = command.spawn().unwrap();
        } else {
            running = command.spawn().unwrap();
            std::thread::sleep(delay);
            app = writer(&shop.at("messages.db"), from, at);
        }
        let out = running.wait_with_output().unwrap();
        let committed = ended(app);
        let mut there = BTreeSet::new();
        rows_in(&shop.at("messages.db"), &mut there);
        if !(from..from + committed).all(|n| there.contains(&n)) && args[0] == "undo" {
            // What was written since the repair is set aside, and said.
            rows_in(shop.run.state_path(), &mut there);
        }
        let gone = (from..from + committed).filter(|n| !there.contains(n)).count();
        self.starts += 1;
        self.committed += committed;
        self.refused += u32::from(out.status.code() == Some(11));
        if gone > 0 {
            let said = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
            self.lost.push(format!(
                "{what}, {at:?}, after {delay:?}: {gone} of {committed} rows, exit {:?}\n{said}",
                out.status.code()
            ));
        }
    }
}

fn starts(count: u32, seed: u64) {
    let mut luck = ChaCha8Rng::seed_from_u64(seed);
    let mut tally = Tally::default();
    let is_root = rustix::process::geteuid().is_root();
    let ways: &[Where] =
        if is_root { &[Where::Same, Where::OtherMounts, Where::OtherProcesses] } else { &[Where::Same] };
    let mut round = 0;
    while tally.starts < count {
        let mode = if round % 2 == 0 { "DELETE" } else { "WAL" };
        let at = ways[round / 2 % ways.len()];
        round += 1;
        let shop = Shop::new();
        let db = rusqlite::Connection::open(shop.at("messages.db")).unwrap();
        db.execute_batch(&format!("PRAGMA journal_mode={mode}; CREATE TABLE log(n);")).unwrap();
        db.close().unwrap();
        shop.break_index();
        let shop = shop.aged();
        let repair = shop.args(&["repair", "--yes", "--only", "rebuild"]);
        let repair: Vec<&str> = repair.iter().map(String::as_str).collect();
        tally.start(&shop, &repair, at, &mut luck, &format!("a repair in {mode} mode"));
        // What was refused is done now that nobody writes.
        shop.run.call(&repair);
        tally.start(&shop, &["undo"], at, &mut luck, &format!("an undo in {mode} mode"));
    }
    println!(
        "writers that start around a repair or an undo: {} cases, {} refused, {} rows committed, {} lost",
        tally.starts,
        tally.refused,
        tally.committed,
        tally.lost.len()
    );
    assert!(tally.lost.is_empty(), "{}", tally.lost.join("\n\n"));
    assert!(tally.committed > i64::from(count) && tally.refused > 0 && tally.refused < count, "{tally:?}");
}

#[test]
fn whenever_an_app_starts_what_it_commits_is_kept() {
    starts(24, 5);
}

#[test]
#[ignore = "some ten minutes; scripts/faults runs it"]
fn of_five_hundred_starts_none_loses_a_row() {
    starts(500, 6);
}
