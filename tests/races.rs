//! Somebody swaps folders for links, again and again, while the program scans,
//! repairs, backs up and undoes: nothing outside of the root is read into the
//! vault, moved, or changed. As the user of the tests, and for root as another
//! user too.
//!
//! `SHOPMEND_RACES=10000` takes so many tries instead of a few hundred.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use shopmend::control::Control;
use shopmend::engine::{self, Engine, How, Outcome};
use shopmend::model::Platform;
use shopmend::place::{ImagePlace, LocalPlace, Request};
use shopmend::plan::Choice;
use shopmend::profile::{Extra, Profiles};
use shopmend::repair::{Done, UndoOptions};
use shopmend::scan::{Depth, Options};
use shopmend::vault::{StateDir, object_path};

use crate::support::plans::open;
use crate::support::shop;
use crate::support::skip::skipped;
use crate::support::tree::{Snapshot, Tree};

/// Set for a child of this test binary: the folder with everything in it.
const CHILD: &str = "SHOPMEND_TEST_RACE";

fn tries() -> u64 {
    std::env::var("SHOPMEND_RACES").ok().and_then(|n| n.parse().ok()).unwrap_or(250)
}

/// A home, and beside it the same names with what must not be touched.
fn scenery(top: &Path) {
    let write = |path: &str, content: &[u8]| {
        let path = top.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    };
    for i in 0..6 {
        write(&format!("home/.cache/shop/cache/0/{i}"), format!("cached {i}").as_bytes());
        for outside in ["shop/cache/0", "cache", "shop/cache/1"] {
            write(&format!("outside/{outside}/{i}"), format!("precious {outside} {i}").as_bytes());
        }
    }
    write("home/.cache/shop/cache/1/x", b"cached x");
    for (place, rows) in [("home/.cache/shop/box", 20), ("outside/box", 21), ("outside/shop/box", 22)] {
        std::fs::create_dir_all(top.join(place)).unwrap();
        let path = top.join(place).join("messages.db");
        let db = rusqlite::Connection::open(&path).unwrap();
        db.execute_batch(&format!(
            "CREATE TABLE msg(id INTEGER PRIMARY KEY, body TEXT); CREATE INDEX b ON msg(body);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<{rows})
             INSERT INTO msg(body) SELECT 'text ' || i FROM n;"
        ))
        .unwrap();
        db.close().unwrap();
        shopmend::sample::harm::break_index(&path).unwrap();
    }
    for (link, to) in [("shop/cache/link", "cache"), ("shop/box-link", "box"), ("shop-link", "shop")] {
        std::os::unix::fs::symlink(top.join("outside").join(to), top.join("home/.cache").join(link)).unwrap();
    }
    write("profiles/shop.toml", shop::profile().replace("messages.db", "box/messages.db").as_bytes());
}

/// What changes places with a link.
fn swaps(top: &Path) -> [(PathBuf, PathBuf); 3] {
    let at = |path: &str| top.join("home/.cache").join(path);
    [
        (at("shop/cache/0"), at("shop/cache/link")),
        (at("shop/box"), at("shop/box-link")),
        (at("shop"), at("shop-link")),
    ]
}

fn exchange(a: &Path, b: &Path) {
    let _ = renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE);
}

/// How often each thing worked while the swapping went on.
#[derive(Default)]
struct Counts {
    cleared: u64,
    rebuilt: u64,
    undone: u64,
    backed_up: u64,
}

fn race(top: &Path, tries: u64) {
    let outside = Snapshot::of(&top.join("outside"));
    let extra =
        Extra { config_dir: None, dirs: vec![top.join("profiles")], platforms: vec![Platform::Linux] };
    let profiles = Profiles::load(&extra).unwrap();
    let (stop, swapped) = (AtomicBool::new(false), AtomicU64::new(0));
    // How long the last try took, in microseconds: the pauses are about as long,
    // so that some tries meet many swaps and some meet none.
    let pace = AtomicU64::new(20_000);
    let mut counts = Counts::default();
    let mut state = top.join("state-0");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 0_usize;
            while !stop.load(Ordering::Relaxed) {
                // Most of the time two of the three are as they belong.
                for (a, b) in swaps(top).iter().cycle().skip(n % 3).take(1) {
                    exchange(a, b);
                    std::thread::yield_now();
                    exchange(a, b);
                }
                n += 1;
                swapped.fetch_add(2, Ordering::Relaxed);
                if n.is_multiple_of(4) {
                    let pause = pace.load(Ordering::Relaxed) * (n as u64 / 4 % 9) / 4;
                    std::thread::sleep(std::time::Duration::from_micros(pause));
                }
            }
        });
        for i in 0..tries {
            if i % 100 == 99 {
                nothing_read_in(&state, &outside);
                state = top.join(format!("state-{i}"));
            }
            let began = std::time::Instant::now();
            attempt(top, &profiles, &state, i, &mut counts);
            pace.store(u64::try_from(began.elapsed().as_micros()).unwrap_or(20_000), Ordering::Relaxed);
        }
        stop.store(true, Ordering::Relaxed);
    });
    for (a, b) in swaps(top) {
        if a.symlink_metadata().is_ok_and(|m| m.is_symlink()) {
            exchange(&a, &b);
        }
    }
    engine::recover(&LocalPlace::by_records(), &open(&state))
        .unwrap_or_else(|e| panic!("{e} {:?}", e.hint_text()));
    nothing_read_in(&state, &outside);
    outside.assert_same(&Snapshot::of(&top.join("outside")));
    let Counts { cleared, rebuilt, undone, backed_up } = counts;
    let swapped = swapped.load(Ordering::Relaxed);
    println!(
        "{tries} tries, {swapped} swaps: {cleared} cleared, {rebuilt} rebuilt, {undone} undone, \
         {backed_up} backed up; nothing outside was read or changed"
    );
    assert!(swapped > tries / 2 && cleared + rebuilt > 0 && backed_up > 0, "there was no race");
}

/// Scans, and repairs or backs up what it found; then takes that back. All of
/// it through the engine, with its real guard and verification.
fn attempt(top: &Path, profiles: &Profiles, state: &Path, i: u64, counts: &mut Counts) {
    let control = Control::default();
    let home = top.join("home");
    let Ok(place) = ImagePlace::open(&home, Some(Platform::Linux)) else { return };
    let state = open(state);
    // The root may be elsewhere just now; the next try puts it in order.
    let _ = engine::recover(&place, &state);
    // Late enough that everything is old, and not so late that the clock is in doubt.
    let now_ns = jiff::Timestamp::now().as_nanosecond() + 400 * shopmend::scan::DAY_NS;
    let options = Options {
        depth: Depth::Fast,
        rehash: true,
        recall_hashes: false,
        older_than_ns: Some(1),
        now_ns,
        trust_ages: true,
    };
    let request = Request { apps: vec!["shop".into()], ..Request::default() };
    let mut engine = Engine::new(&place, profiles.clone(), request, None, &control);
    let Ok(found) = engine.scan(&options) else { return };
    let finished = |outcome: &Outcome, op: &str| {
        let done = outcome.done.iter().flat_map(|d| &d.actions);
        done.filter(|a| a.op == op && a.done == Done::Done).count() as u64
    };
    if i % 3 == 2 {
        if let Ok(outcome) = engine.backup(&found, &[], true, &How::default(), &state) {
            counts.backed_up += finished(&outcome, "backup");
        }
        return;
    }
    let proposal = engine.plan(&found, &Choice::default(), state.path());
    let Ok(outcome) = engine.execute(&found, proposal, &How::default(), &state) else { return };
    counts.cleared += finished(&outcome, "clear");
    counts.rebuilt += finished(&outcome, "rebuild");
    let Some(run) = outcome.done.map(|done| done.run) else { return };
    let undone = engine::undo(&place, &state, Some(&run), &UndoOptions::default(), &control);
    counts.undone += u64::from(undone.is_ok());
}

/// No copy of anything from outside is in the vault or set aside.
#[track_caller]
fn nothing_read_in(state: &Path, outside: &Snapshot) {
    let held = Snapshot::of(state);
    for content in outside.contents() {
        assert!(!state.join(object_path(blake3::hash(content).to_hex().as_str())).exists());
        assert!(!held.contents().contains(&content), "{}", String::from_utf8_lossy(content));
    }
    let listed = shopmend::vault::list(&StateDir::open(state).unwrap()).unwrap();
    assert!(listed.iter().all(|r| r.problem.is_none()), "{listed:?}");
}

/// What a child process does; nothing in an ordinary run of the tests.
#[test]
fn child() {
    if let Some(top) = std::env::var_os(CHILD) {
        scenery(Path::new(&top));
        race(Path::new(&top), tries());
    }
}

#[test]
fn folders_that_keep_turning_into_links_lead_nowhere() {
    let tree = Tree::new();
    scenery(tree.path());
    race(tree.path(), tries());
}

#[test]
fn folders_that_keep_turning_into_links_lead_nowhere_for_another_user() {
    let test = "folders_that_keep_turning_into_links_lead_nowhere_for_another_user";
    if !rustix::process::geteuid().is_root() {
        return skipped(test, "only root can become another user");
    }
    let tree = Tree::new();
    let program = tree.at("tests");
    std::fs::copy(std::env::current_exe().unwrap(), &program).unwrap();
    tree.dir("home-of-nobody");
    for path in [tree.path().to_path_buf(), tree.at("home-of-nobody")] {
        std::os::unix::fs::lchown(path, Some(65534), Some(65534)).unwrap();
    }
    let done = Command::new("setpriv")
        .args(["--reuid", "65534", "--regid", "65534", "--clear-groups", "--"])
        .arg(&program)
        .args(["--exact", "races::child", "--nocapture"])
        .env(CHILD, tree.at("home-of-nobody"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    print!("{said}");
    assert!(done.status.success() && said.contains("nothing outside was read"), "{said}");
}
