//! Android devices over adb: a test device that the real `adb` client talks to.
//!
//! The test device shows that a behaviour is handled, never that a phone has it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::Value;
use shopmend::exit::Exit;
use shopmend::sample::android::{TIKTOK, USER};
use shopmend::sample::harm::Harm;

use crate::support::device::{AdbServer, Lie, Model, Su, TestDevice, lacking, own};
use crate::support::run::{Outcome, Run};
use crate::support::skip::skipped;
use crate::support::tree::Snapshot;

/// Whether test devices can be made here; says it loudly where not.
fn can(test: &str) -> bool {
    match lacking() {
        None => true,
        Some(why) => {
            skipped(test, &why);
            false
        }
    }
}

/// A device with a damaged message database, torn preferences, and stale
/// caches.
fn damaged(model: Model) -> TestDevice {
    let device = TestDevice::with_tiktok(model);
    for harm in [Harm::MessagesPage, Harm::PrefsTorn] {
        harm.apply(&device.tiktok()).unwrap();
    }
    own(device.root());
    device
}

fn messages() -> String {
    format!("data/data/{TIKTOK}/databases/{USER}_im.db")
}

/// Files that no repair may ever change: drafts and what they are made of,
/// the session, the other preferences.
fn precious(device: &TestDevice) -> Vec<(PathBuf, Vec<u8>)> {
    let data = device.tiktok().data;
    let all = [
        "databases/aweme.db",
        "shared_prefs/ttnetCookieStore.xml",
        "shared_prefs/search.xml",
        "files/draft/0003/video.mp4",
    ];
    all.iter().map(|p| data.join(p)).map(|p| (p.clone(), fs::read(&p).unwrap())).collect()
}

#[track_caller]
fn still_precious(precious: &[(PathBuf, Vec<u8>)]) {
    for (path, content) in precious {
        assert!(fs::read(path).unwrap() == *content, "{} was changed", path.display());
    }
}

fn verdict(document: &Value, path: &str) -> String {
    let stores = document["targets"].as_array().unwrap().iter().flat_map(|t| t["stores"].as_array().unwrap());
    let mut hits = stores.filter(|s| s["path"].as_str().unwrap().ends_with(path));
    hits.next().map_or("absent", |s| s["verdict"].as_str().unwrap()).to_owned()
}

/// Calls the program on one device.
fn on(run: &Run, device: &TestDevice, root: bool, command: &[&str]) -> Outcome {
    let named = format!("--device={}", device.address());
    let mut all: Vec<&str> = command.to_vec();
    all.push(&named);
    if root {
        all.push("--root");
    }
    run.call(all)
}

/// Nothing of ours is left on the device.
#[track_caller]
fn tidy(device: &TestDevice) {
    let left: Vec<_> = walkdir::WalkDir::new(device.data())
        .into_iter()
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().contains("shopmend"))
        .map(|e| e.path().to_path_buf())
        .collect();
    assert!(left.is_empty(), "left on the device: {left:?}");
}

fn as_root(model: Model) {
    let device = damaged(model);
    let (before, precious) = (Snapshot::of(&device.data()), precious(&device));
    let old = fs::metadata(device.root().join(messages())).unwrap();
    fs::write(device.root().join("etc/running"), format!("71 {TIKTOK}\n72 {TIKTOK}:push\n")).unwrap();
    let adb = AdbServer::start();
    adb.connect(&device.address(), "device");
    let run = adb.run();
    let listed = run.call(["devices", "--root"]).expect(Exit::Ok);
    assert!(listed.stdout.contains("root"), "{listed}");
    let scan = on(&run, &device, true, &["scan", "--format", "json"]).expect(Exit::Findings).json();
    for (path, expected) in [
        (format!("databases/{USER}_im.db"), "damaged"),
        ("shared_prefs/aweme_user.xml".to_owned(), "damaged"),
        ("databases/aweme.db".to_owned(), "healthy"),
        ("cache/picture/fresco_cache".to_owned(), "stale"),
        ("cache/cachev2".to_owned(), "stale"),
    ] {
        assert_eq!(verdict(&scan, &path), expected, "{path}");
    }
    assert_eq!(scan["device"]["tier"], "root");
    assert_eq!(scan["targets"][0]["running"].as_array().unwrap().len(), 2);
    before.assert_same(&Snapshot::of(&device.data()));

    on(&run, &device, true, &["repair", "--yes"]).expect(Exit::Ok);
    still_precious(&precious);
    let new = fs::metadata(device.root().join(messages())).unwrap();
    assert_eq!((new.uid(), new.gid(), new.mode()), (old.uid(), old.gid(), old.mode()));
    let database = rusqlite::Connection::open_with_flags(
        device.root().join(messages()),
        rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
    )
    .unwrap();
    let rows: i64 = database.query_row("SELECT count(*) FROM msg", [], |r| r.get(0)).unwrap();
    assert!(rows >= 590, "{rows} messages are left of about 600");
    drop(database);
    assert!(device.says("etc/am.log").contains(TIKTOK), "the app was not stopped first");
    assert!(device.says("etc/restorecon.log").contains(".shopmend-"), "the new file got no label");
    assert!(device.says("etc/sync.log").contains("sync"));
    tidy(&device);
    on(&run, &device, true, &["scan"]).expect(Exit::Ok);
    on(&run, &device, true, &["undo"]).expect(Exit::Ok);
    before.assert_same(&Snapshot::of(&device.data()));
    nothing_was_wiped(&device);
}

#[track_caller]
fn nothing_was_wiped(device: &TestDevice) {
    assert_eq!(device.says("etc/wiped"), "");
    assert!(!device.commands().contains("pm clear"));
}

#[test]
fn as_root_by_magisk_on_android_10_and_14() {
    if can("as_root_by_magisk_on_android_10_and_14") {
        as_root(Model::new("M10", 29).su(Su::Magisk));
        as_root(Model::new("M14", 34).su(Su::Magisk));
    }
}

#[test]
fn as_root_by_androids_own_su_on_android_11() {
    if can("as_root_by_androids_own_su_on_android_11") {
        as_root(Model::new("A11", 30).su(Su::Aosp));
    }
}

#[test]
fn as_root_by_adb_root_on_android_13() {
    if can("as_root_by_adb_root_on_android_13") {
        as_root(Model::new("U13", 33).userdebug());
    }
}

#[test]
fn through_run_as_where_the_app_lets_itself_be_debugged() {
    if !can("through_run_as_where_the_app_lets_itself_be_debugged") {
        return;
    }
    for api in [29, 34] {
        let device = damaged(Model::new("D1", api).debuggable());
        let (before, precious) = (Snapshot::of(&device.tiktok().data), precious(&device));
        let adb = AdbServer::start();
        adb.connect(&device.address(), "device");
        let run = adb.run();
        assert!(run.call(["devices"]).expect(Exit::Ok).stdout.contains("run-as"));
        let scan = on(&run, &device, false, &["scan", "--format", "json"]).expect(Exit::Findings).json();
        assert_eq!(scan["device"]["tier"], "run-as");
        assert_eq!(verdict(&scan, &format!("databases/{USER}_im.db")), "damaged");
        on(&run, &device, false, &["repair", "--yes", "--only", "rebuild"]);
        still_precious(&precious);
        tidy(&device);
        let scan = on(&run, &device, false, &["scan", "--format", "json"]).json();
        assert_eq!(verdict(&scan, &format!("databases/{USER}_im.db")), "healthy");
        on(&run, &device, false, &["undo"]).expect(Exit::Ok);
        before.assert_same(&Snapshot::of(&device.tiktok().data));
        nothing_was_wiped(&device);
    }
}

#[test]
fn without_root_only_the_shared_storage_is_cleared_and_the_rest_is_said() {
    if !can("without_root_only_the_shared_storage_is_cleared_and_the_rest_is_said") {
        return;
    }
    for api in [30, 33] {
        let device = damaged(Model::new("S1", api).su(Su::Denied));
        let private = Snapshot::of(&device.tiktok().data);
        let shared = Snapshot::of(&device.tiktok().external);
        let adb = AdbServer::start();
        adb.connect(&device.address(), "device");
        let run = adb.run();
        let scan = on(&run, &device, false, &["scan", "--format", "json"]).expect(Exit::Findings).json();
        assert_eq!(scan["device"]["tier"], "shell");
        assert_eq!(verdict(&scan, "cache/picture/fresco_cache"), "stale");
        assert_eq!(verdict(&scan, &format!("databases/{USER}_im.db")), "absent");
        let said = scan["device"]["not_checked"].to_string();
        assert!(said.contains("messages") && said.contains("--root"), "{said}");
        // That something stays unchecked is no success.
        let repair = on(&run, &device, false, &["repair", "--yes"]).expect(Exit::Skipped);
        assert!(repair.stdout.contains("done         clear"), "{repair}");
        let scan = on(&run, &device, false, &["scan", "--format", "json"]).expect(Exit::Ok).json();
        assert_eq!(verdict(&scan, "cache/picture/fresco_cache"), "healthy");
        private.assert_same(&Snapshot::of(&device.tiktok().data));
        on(&run, &device, false, &["undo"]).expect(Exit::Ok);
        // The times of folders are the storage layer's own.
        assert_eq!(shared.contents(), Snapshot::of(&device.tiktok().external).contents());
        on(&run, &device, true, &["scan"]).expect(Exit::Failed);
        nothing_was_wiped(&device);
    }
}

#[test]
fn a_device_that_is_not_ready_is_said_and_nothing_is_done() {
    if !can("a_device_that_is_not_ready_is_said_and_nothing_is_done") {
        return;
    }
    let device = damaged(Model::new("N1", 33).su(Su::Magisk));
    let before = Snapshot::of(&device.data());
    let adb = AdbServer::start();
    let run = adb.run();
    run.call(["scan", "--device=absent"]).expect(Exit::Device);
    device.faults().unauthorised.store(true, Ordering::SeqCst);
    adb.connect(&device.address(), "unauthorized");
    let said = on(&run, &device, true, &["repair", "--yes"]).expect(Exit::Device);
    assert!(said.stderr.contains("unauthorized") && said.stderr.contains("allow USB debugging"), "{said}");
    device.faults().heal();
    device.faults().shell_v1_only.store(true, Ordering::SeqCst);
    adb.connect(&device.address(), "device");
    let said = on(&run, &device, true, &["repair", "--yes"]).expect(Exit::Device);
    assert!(said.stderr.contains("old shell protocol"), "{said}");
    device.faults().heal();
    adb.connect(&device.address(), "device");
    device.faults().frozen.store(true, Ordering::SeqCst);
    on(&run, &device, true, &["scan"]).expect(Exit::Device);
    device.faults().heal();
    before.assert_same(&Snapshot::of(&device.data()));
}

#[test]
fn a_listing_that_lies_is_not_believed() {
    if !can("a_listing_that_lies_is_not_believed") {
        return;
    }
    let device = damaged(Model::new("L1", 34).su(Su::Magisk));
    let before = Snapshot::of(&device.data());
    let adb = AdbServer::start();
    adb.connect(&device.address(), "device");
    for lie in [Lie::DotDot, Lie::Elsewhere, Lie::Nul, Lie::Huge] {
        *device.faults().lie.lock().unwrap() = Some(lie);
        let run = adb.run();
        for command in [&["scan"][..], &["repair", "--yes"]] {
            let said = on(&run, &device, true, command);
            assert_ne!(said.code, Some(0), "{lie:?}: {said}");
            assert!(said.code == Some(i32::from(Exit::Device.code())), "{lie:?}: {said}");
        }
        let escaped: Vec<_> = walkdir::WalkDir::new(run.home_path()).into_iter().flatten().skip(1).collect();
        assert!(escaped.is_empty(), "{lie:?} wrote {escaped:?}");
        assert!(!Path::new("/tmp/shopmend-escaped").exists(), "{lie:?} wrote outside");
    }
    before.assert_same(&Snapshot::of(&device.data()));
}

/// Calls the program on the device, attached anew as often as the connection
/// is lost: what a person does.
fn until_done(run: &Run, device: &TestDevice, adb: &AdbServer, command: &[&str]) -> Outcome {
    for _ in 0..4 {
        let said = on(run, device, true, command);
        if said.code != Some(i32::from(Exit::Device.code())) {
            return said;
        }
        device.daemon.cut();
        adb.connect(&device.address(), "device");
    }
    on(run, device, true, command)
}

/// Breaks the connection at one point of a repair, in one way; whatever the
/// point, the next run finishes the work and nothing is lost.
fn broken(
    device: &TestDevice,
    adb: &AdbServer,
    before: &Snapshot,
    name: &str,
    set: &dyn Fn(&TestDevice),
) -> bool {
    adb.connect(&device.address(), "device");
    let run = adb.run();
    set(device);
    let said = on(&run, device, true, &["repair", "--yes", "--only", "rebuild"]);
    let survived = said.code == Some(0);
    device.faults().heal();
    if !survived {
        let code = said.code.unwrap();
        assert!([12, 4, 5, 3, 11].contains(&code), "{name}: {said}");
        // A copy of every message database exists at any moment.
        let place = device.root().join(messages());
        let held =
            walkdir::WalkDir::new(run.state_path()).into_iter().flatten().any(|e| e.file_type().is_file());
        assert!(place.exists() || held, "{name}: lost");
        device.daemon.cut();
        adb.connect(&device.address(), "device");
        until_done(&run, device, adb, &["repair", "--yes", "--only", "rebuild"]).expect(Exit::Ok);
    }
    tidy(device);
    let scan = until_done(&run, device, adb, &["scan", "--format", "json"]).json();
    assert_eq!(verdict(&scan, &format!("databases/{USER}_im.db")), "healthy", "{name}");
    // What was done before the break is in a run of its own.
    let runs = run.state_path().join("devices").join(&device.daemon.shared.model.serial).join("runs");
    let mut runs: Vec<_> = fs::read_dir(runs).unwrap().flatten().map(|e| e.file_name()).collect();
    runs.sort();
    let mut told = String::new();
    for id in runs.iter().rev() {
        let undone = until_done(&run, device, adb, &["undo", id.to_str().unwrap()]);
        told.push_str(&undone.to_string());
        // One that was taken back or did nothing cannot be undone.
        assert!([0, 64].contains(&undone.code.unwrap()), "{name}: {undone}\n{said}");
    }
    assert!(
        before.diff(&Snapshot::of(&device.data())).is_empty(),
        "{name}: {:?}\n{told}\n{said}",
        before.diff(&Snapshot::of(&device.data()))
    );
    survived
}

#[test]
fn a_lost_cable_at_any_phase_loses_nothing_and_the_next_run_goes_on() {
    if !can("a_lost_cable_at_any_phase_loses_nothing_and_the_next_run_goes_on") {
        return;
    }
    let device = damaged(Model::new("C1", 33).su(Su::Magisk));
    let before = Snapshot::of(&device.data());
    let adb = AdbServer::start();
    for n in [12, 38, 54, 75] {
        broken(&device, &adb, &before, &format!("cut before {n}"), &|d| d.faults().cut_before.set(n));
        if n > 12 {
            broken(&device, &adb, &before, &format!("cut after {n}"), &|d| d.faults().cut_after.set(n));
        }
    }
    broken(&device, &adb, &before, "cut after bytes", &|d| d.faults().cut_bytes.set(300_000));
    broken(&device, &adb, &before, "frozen", &|d| d.faults().freeze_at.set(50));
    assert!(broken(&device, &adb, &before, "slow", &|d| d.faults().slow_ms.store(5, Ordering::SeqCst)));
    nothing_was_wiped(&device);
}

#[test]
fn a_full_device_takes_nothing_and_loses_nothing() {
    if !can("a_full_device_takes_nothing_and_loses_nothing") {
        return;
    }
    let device = damaged(Model::new("F1", 33).su(Su::Magisk));
    let before = Snapshot::of(&device.data());
    device.becomes_full();
    let adb = AdbServer::start();
    adb.connect(&device.address(), "device");
    let run = adb.run();
    let said =
        on(&run, &device, true, &["repair", "--yes", "--only", "rebuild", "--store", &id_of(&run, &device)]);
    let said = said.expect(Exit::RolledBack);
    assert!(said.stdout.contains("No space left on device"), "{said}");
    tidy(&device);
    before.assert_same(&Snapshot::of(&device.data()));
}

/// The id of the message database.
fn id_of(run: &Run, device: &TestDevice) -> String {
    let scan = on(run, device, true, &["scan", "--format", "json"]).json();
    let stores = scan["targets"].as_array().unwrap().iter().flat_map(|t| t["stores"].as_array().unwrap());
    let hit = stores.into_iter().find(|s| s["path"].as_str().unwrap().ends_with("_im.db")).unwrap();
    hit["id"].as_str().unwrap().to_owned()
}

#[test]
fn pm_clear_would_wipe_and_is_nowhere() {
    let sources = walkdir::WalkDir::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).into_iter().flatten();
    for source in sources.filter(|e| e.path().extension().is_some_and(|x| x == "rs")) {
        let text = fs::read_to_string(source.path()).unwrap();
        for form in ["pm clear", "package clear", "cache-only", "trim-caches"] {
            assert!(!text.contains(form), "{} has {form:?}", source.path().display());
        }
    }
    if !can("pm_clear_would_wipe_and_is_nowhere") {
        return;
    }
    for (api, command) in
        [(29, "pm clear --cache-only"), (30, "pm clear"), (33, "pm clear"), (34, "cmd package clear")]
    {
        let device = TestDevice::with_tiktok(Model::new("P1", api));
        let adb = AdbServer::start();
        adb.connect(&device.address(), "device");
        let out = adb.adb(&["shell", &format!("{command} {TIKTOK}")]);
        assert!(String::from_utf8_lossy(&out.stdout).contains("Success"));
        assert!(device.says("etc/wiped").contains(TIKTOK), "API {api}: {command}");
        assert!(!device.root().join(messages()).exists(), "API {api}: it would not have shown");
    }
}

#[test]
fn a_bench_of_twenty_with_three_faulty_ones() {
    if !can("a_bench_of_twenty_with_three_faulty_ones") {
        return;
    }
    // A phone answers in tens of milliseconds; the copies here would answer at
    // once and then wait for the same two cores.
    let phone = |n: u32| {
        let device = damaged(Model::new(&format!("B{n:02}"), 33).su(Su::Magisk));
        device.faults().slow_ms.store(40, Ordering::SeqCst);
        device
    };
    let adb = AdbServer::start();
    let one = phone(99);
    adb.connect(&one.address(), "device");
    let run = adb.run();
    let out = tempfile::tempdir().unwrap();
    let report = |name: &str| out.path().join(name).display().to_string();
    let began = Instant::now();
    run.call(["batch", "repair", "--all-devices", "--root", "--report", &report("one")]).expect(Exit::Ok);
    let single = began.elapsed();
    adb.adb(&["disconnect", &one.address()]);

    let devices: Vec<TestDevice> = (0..20).map(phone).collect();
    devices[3].faults().unauthorised.store(true, Ordering::SeqCst);
    for (n, device) in devices.iter().enumerate() {
        adb.connect(&device.address(), if n == 3 { "unauthorized" } else { "device" });
    }
    devices[7].faults().frozen.store(true, Ordering::SeqCst);
    devices[11].faults().cut_before.set(40);
    let all = report("all");
    let began = Instant::now();
    let batch = ["batch", "repair", "--all-devices", "--root", "--jobs", "20", "--report", all.as_str()];
    let said = run.call(batch);
    let took = began.elapsed();
    println!("one: {single:?}, twenty: {took:?}, ratio {:.2}", took.as_secs_f64() / single.as_secs_f64());
    let summary: Value =
        serde_json::from_slice(&fs::read(out.path().join("all/summary.json")).unwrap()).unwrap();
    let list = summary["devices"].as_array().unwrap();
    assert_eq!(list.len(), 20, "{said}");
    let good = list.iter().filter(|d| d["exit"] == 0).count();
    assert_eq!(good, 17, "{said}\n{summary:#}");
    assert_ne!(said.code, Some(0));
    assert_eq!(fs::read_to_string(out.path().join("all/summary.csv")).unwrap().lines().count(), 21);
    for (n, device) in devices.iter().enumerate().filter(|(n, _)| ![3, 7, 11].contains(n)) {
        assert!(out.path().join(format!("all/B{n:02}.json")).is_file());
        assert!(out.path().join(format!("all/B{n:02}.txt")).is_file());
        tidy(device);
    }
    // Once they are well, the same command does the three that failed.
    for n in [3, 7, 11] {
        devices[n].faults().heal();
        devices[n].daemon.cut();
        adb.connect(&devices[n].address(), "device");
    }
    let again = run.call(batch).expect(Exit::Ok);
    let summary: Value =
        serde_json::from_slice(&fs::read(out.path().join("all/summary.json")).unwrap()).unwrap();
    let list = summary["devices"].as_array().unwrap();
    assert_eq!(list.iter().filter(|d| d["earlier"] == true).count(), 17, "{again}");
    assert!(list.iter().all(|d| d["exit"] == 0), "{summary:#}");
    // Figures for `scripts/bench`; no assertion on a machine that others use.
    if let Some(path) = std::env::var_os("SHOPMEND_BENCH_OUT") {
        fs::write(path, format!("{} {}", single.as_secs_f64(), took.as_secs_f64())).unwrap();
    }
}

/// Figures for `scripts/bench`: 5,000 small files and 200 MB on one device.
#[test]
#[ignore = "a measurement; scripts/bench runs it"]
fn measure_against_adb_pull() {
    let device = TestDevice::with_tiktok(Model::new("X1", 33).userdebug());
    let cache = device.tiktok().external.join("cache/cache");
    for n in 0..5000u32 {
        let folder = cache.join(format!("{:02}", n % 50));
        fs::create_dir_all(&folder).unwrap();
        fs::write(
            folder.join(format!("{n:08x}")),
            shopmend::sample::noise(&n.to_string(), 500 + (n as usize * 7) % 15_500),
        )
        .unwrap();
    }
    fs::write(cache.join("video"), shopmend::sample::noise("video", 200_000_000)).unwrap();
    own(device.root());
    let adb = AdbServer::start();
    adb.connect(&device.address(), "device");
    adb.adb(&["-s", &device.address(), "root"]);
    std::thread::sleep(Duration::from_millis(500));
    adb.connect(&device.address(), "device");
    let time = |what: &mut dyn FnMut()| {
        let began = Instant::now();
        what();
        began.elapsed().as_secs_f64()
    };
    let to = tempfile::tempdir().unwrap();
    let pull = time(&mut || {
        for (n, tree) in [format!("/data/data/{TIKTOK}"), format!("/data/media/0/Android/data/{TIKTOK}")]
            .iter()
            .enumerate()
        {
            let to = to.path().join(n.to_string());
            let out = adb.adb(&["-s", &device.address(), "pull", tree, to.to_str().unwrap()]);
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        }
    });
    let run = adb.run();
    let scan = || drop(on(&run, &device, true, &["scan"]));
    let first = time(&mut || scan());
    let again = (0..3).map(|_| time(&mut || scan())).fold(f64::MAX, f64::min);
    println!("pull {pull:.3} first {first:.3} again {again:.3}");
    if let Some(path) = std::env::var_os("SHOPMEND_BENCH_OUT") {
        fs::write(path, format!("{pull} {first} {again}")).unwrap();
    }
}

#[test]
#[ignore = "a look at what is asked of a device"]
fn print_what_is_asked() {
    let device = damaged(Model::new("Q1", 33).su(Su::Magisk));
    let adb = AdbServer::start();
    adb.connect(&device.address(), "device");
    let run = adb.run();
    for command in [&["scan"][..], &["scan"], &["repair", "--yes"], &["undo"]] {
        device.daemon.shared.asked.lock().unwrap().clear();
        let began = Instant::now();
        let said = on(&run, &device, true, command);
        let asked = device.daemon.shared.asked.lock().unwrap().clone();
        println!("=== {command:?} {:?} {} asked, {:?}", said.code, asked.len(), began.elapsed());
        for one in asked {
            println!("{}", one.replace(|c: char| c.is_control(), " "));
        }
    }
}
