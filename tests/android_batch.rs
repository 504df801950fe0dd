//! A bench of phones: many devices at once, some of them faulty, some attached
//! later.

use std::fs;
use std::path::Path;
use std::process::Child;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::Value;
use shopmend::exit::Exit;

use crate::support::device::{AdbServer, Daemon, Mid, Model, Su, TestDevice};
use crate::support::phone::{Precious, can, messages, messages_are_well, on, tidy};
use crate::support::skip::{has, skipped};
use crate::support::terminal;
use crate::support::tree::Snapshot;

#[test]
fn a_bench_of_twenty_with_three_faulty_ones() {
    if !can("a_bench_of_twenty_with_three_faulty_ones") {
        return;
    }
    // A phone answers in tens of milliseconds; the copies here would answer at
    // once and then wait for the same two cores.
    let phone = |n: u32| {
        let device = TestDevice::damaged(Model::new(&format!("B{n:02}"), 33).su(Su::Magisk));
        device.faults().slow_ms.store(40, Ordering::SeqCst);
        device
    };
    let adb = AdbServer::start();
    let one = phone(99);
    adb.connect(&one.address(), "device");
    let measured = std::env::var_os("SHOPMEND_BENCH_OUT");
    let run = adb.run();
    let out = tempfile::tempdir().unwrap();
    let report = |name: &str| out.path().join(name).display().to_string();
    let began = Instant::now();
    run.call(["batch", "repair", "--all-devices", "--root", "--report", &report("one")]).expect(Exit::Left);
    let single = began.elapsed();
    // One of them freezes. A machine on which one repair takes long is busy, and
    // phones that are well seem silent on it.
    let patience = if measured.is_some() { 6 } else { (2 * single.as_secs()).clamp(15, 90) };
    let run = run.env("SHOPMEND_ADB_TIMEOUT", patience.to_string());
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
    let good = list.iter().filter(|d| d["exit"] == 3).count();
    assert_eq!(good, 17, "{said}\n{summary:#}");
    assert_ne!(said.code, Some(0));
    for device in list.iter().filter(|d| d["exit"] == 3) {
        assert!(device["lost"].as_u64() > Some(0), "rows were lost: {device:#}");
        assert!(device["verdicts"]["damaged"].is_null(), "as it is now: {device:#}");
    }
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
    let again = run.call(batch).expect(Exit::Left);
    let summary: Value =
        serde_json::from_slice(&fs::read(out.path().join("all/summary.json")).unwrap()).unwrap();
    let list = summary["devices"].as_array().unwrap();
    assert_eq!(list.iter().filter(|d| d["earlier"] == true).count(), 17, "{again}");
    assert!(list.iter().all(|d| d["exit"] == 3 && d["lost"].as_u64() > Some(0)), "{summary:#}");
    // Figures for `scripts/bench`; no assertion on a machine that others use.
    if let Some(path) = measured {
        fs::write(path, format!("{} {}", single.as_secs_f64(), took.as_secs_f64())).unwrap();
    }
}

/// Twenty phones of which nobody can see the databases: no line calls them
/// healthy without saying what was not looked at, and on a terminal, however
/// narrow, every phone's line is there at the end.
#[test]
fn twenty_phones_without_root_are_not_called_healthy() {
    let test = "twenty_phones_without_root_are_not_called_healthy";
    if !can(test) {
        return;
    }
    if !has("tmux") {
        return skipped(test, "tmux is missing, in which the terminal is looked at");
    }
    let adb = AdbServer::start();
    let devices: Vec<TestDevice> =
        (0..20).map(|n| TestDevice::with_tiktok(Model::new(&format!("U{n:02}"), 33))).collect();
    for device in &devices {
        adb.connect(&device.address(), "device");
    }
    let run = adb.run();
    let out = tempfile::tempdir().unwrap();
    for columns in [80, 60] {
        let report = out.path().join(columns.to_string());
        let command = run.command([
            "batch",
            "scan",
            "--all-devices",
            "--jobs",
            "20",
            "--report",
            report.to_str().unwrap(),
        ]);
        let screen = terminal::screen_after(&command, columns, &[]);
        for n in 0..20 {
            let lines: Vec<&str> = screen.lines().filter(|l| l.starts_with(&format!("U{n:02} "))).collect();
            let [line] = lines.as_slice() else { panic!("U{n:02}: {lines:?} in\n{screen}") };
            assert!(line.contains("not checked: databases, messages"), "{line}");
        }
        for device in summary(&report) {
            assert_ne!(device["exit"], 0, "{device:#}");
            assert!(!device["not_checked"].as_array().unwrap().is_empty(), "{device:#}");
        }
        let csv = fs::read_to_string(report.join("summary.csv")).unwrap();
        let column = csv.lines().next().unwrap().split(',').position(|name| name == "not checked").unwrap();
        assert!(csv.lines().skip(1).all(|l| l.split(',').nth(column) != Some("0")), "{csv}");
    }
}

/// The devices of a batch's summary.
fn summary(report: &Path) -> Vec<Value> {
    let document: Value = serde_json::from_slice(&fs::read(report.join("summary.json")).unwrap()).unwrap();
    document["devices"].as_array().unwrap().clone()
}

/// Waits until something holds, for as long as the batch runs.
fn until(batch: &mut Child, what: &str, holds: &dyn Fn() -> bool) {
    while !holds() {
        assert!(batch.try_wait().unwrap().is_none(), "the batch ended before {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn phones_that_are_plugged_in_later_or_again_have_their_turn() {
    if !can("phones_that_are_plugged_in_later_or_again_have_their_turn") {
        return;
    }
    let phone = |serial: &str| TestDevice::damaged(Model::new(serial, 33).su(Su::Magisk));
    let (first, later, lost) = (phone("W1"), phone("W2"), phone("W3"));
    let adb = AdbServer::start();
    adb.connect(&first.address(), "device");
    adb.connect(&lost.address(), "device");
    // In the middle of its scan, after the batch asked what it is.
    lost.faults().begin(2, Mid::Cut);
    let run = adb.run();
    let out = tempfile::tempdir().unwrap();
    let report = out.path().join("report");
    let wanted =
        ["batch", "scan", "--all-devices", "--root", "--wait", "5", "--report", report.to_str().unwrap()];
    let mut batch = run.command(wanted).spawn().unwrap();
    drop(batch.stdin.take());
    // The first one is done, the one that is lost has been asked.
    until(&mut batch, "the first was done", &|| report.join("W1.json").is_file());
    adb.connect(&later.address(), "device");
    until(&mut batch, "one was lost", &|| {
        let asked = lost.daemon.shared.asked.lock().unwrap().len();
        asked > 2
    });
    adb.connect(&lost.address(), "device");
    let ended = batch.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&ended.stdout).into_owned();
    assert_eq!(ended.status.code(), Some(i32::from(Exit::Findings.code())), "{said}");
    let devices = summary(&report);
    let serials: Vec<&str> = devices.iter().map(|d| d["serial"].as_str().unwrap()).collect();
    assert_eq!(serials, ["W1", "W2", "W3"], "{said}");
    assert!(devices.iter().all(|d| d["exit"] == 1 && d["verdicts"]["damaged"] == 2), "{devices:#?}");
}

#[test]
fn records_belong_to_the_phone_whatever_its_address() {
    if !can("records_belong_to_the_phone_whatever_its_address") {
        return;
    }
    let model = Model::new("H1", 33).su(Su::Magisk);
    let mut device = TestDevice::damaged(model.clone());
    let (before, precious) = (Snapshot::of(&device.data()), Precious::of(&device));
    let old = fs::metadata(device.root().join(messages())).unwrap();
    let adb = AdbServer::start();
    adb.connect(&device.address(), "device");
    let run = adb.run();
    // A copy of everything that is no cache, and nothing else.
    on(&run, &device, true, &["backup"]).expect(Exit::Findings);
    before.assert_same(&Snapshot::of(&device.data()));
    let listed = run.call(["vault", "list", "--device", "H1"]).expect(Exit::Ok);
    assert!(listed.stdout.contains("_im.db") && listed.stdout.contains("aweme.db"), "{listed}");
    on(&run, &device, true, &["repair", "--yes"]).expect(Exit::Left);
    messages_are_well(&device, &old);
    precious.assert_untouched();
    adb.adb(&["disconnect", &device.address()]);
    let root = device.root().to_path_buf();
    device.daemon = Daemon::start(&root, model);
    adb.connect(&device.address(), "device");
    // By the number that is on the phone itself.
    run.call(["undo", "--device=H1", "--root"]).expect(Exit::Left);
    before.assert_same(&Snapshot::of(&device.data()));
}

#[test]
fn the_backups_of_a_phone_are_looked_after_by_its_number() {
    if !can("the_backups_of_a_phone_are_looked_after_by_its_number") {
        return;
    }
    let device = TestDevice::damaged(Model::new("V1", 33).su(Su::Magisk));
    let before = Snapshot::of(&device.data());
    let adb = AdbServer::start();
    adb.connect(&device.address(), "device");
    let run = adb.run();
    on(&run, &device, true, &["repair", "--yes"]).expect(Exit::Left);
    let repaired = Snapshot::of(&device.data());
    let vault = |rest: &[&str]| run.call([&["vault"], rest].concat());
    // By adb's name while it is attached.
    let address = device.address();
    let listed = vault(&["list", "--device", &address, "--format", "json"]).expect(Exit::Ok).json();
    let id = listed["runs"][0]["run"].as_str().unwrap().to_owned();
    assert!(
        vault(&["list"]).expect(Exit::Ok).stdout.starts_with("No run"),
        "the others are not this machine's"
    );
    // From here on by its number, with nothing attached.
    adb.adb(&["disconnect", &address]);
    vault(&["--device", "V1", "verify"]).expect(Exit::Ok);
    let out = tempfile::tempdir().unwrap();
    let to = |name: &str| out.path().join(name).display().to_string();
    vault(&["restore", &id, "--to", &to("restored"), "--device", "V1"]).expect(Exit::Ok);
    vault(&["export", &id, &to("exported"), "--device", "V1"]).expect(Exit::Ok);
    for name in ["restored", "exported"] {
        let all = walkdir::WalkDir::new(out.path().join(name)).into_iter().flatten();
        assert!(all.filter(|e| e.file_type().is_file()).count() > 3, "{name}");
    }
    let freed = vault(&["prune", "--keep-last", "0", "--dry-run", "--device", "V1"]).expect(Exit::Ok);
    assert!(freed.stdout.contains("would be freed"), "{freed}");
    let said = vault(&["list", "--device", "V2"]).expect(Exit::Usage);
    assert!(said.stderr.contains("recorded are: V1"), "{said}");
    // Only putting it back needs the phone itself.
    vault(&["restore", &id, "--device", "V1", "--root"]).expect(Exit::Device);
    repaired.assert_same(&Snapshot::of(&device.data()));
    adb.connect(&address, "device");
    vault(&["restore", &id, "--device", "V1", "--root"]).expect(Exit::Left);
    let old = before.get(messages().strip_prefix("data/").unwrap()).unwrap().content.clone();
    assert!(fs::read(device.root().join(messages())).unwrap() == old);
    tidy(&device);
}
