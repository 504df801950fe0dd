//! A bench of phones: many devices at once, some of them faulty, some attached
//! later.

use std::fs;
use std::sync::atomic::Ordering;
use std::time::Instant;

use serde_json::Value;
use shopmend::exit::Exit;

use crate::support::device::{AdbServer, Model, Su, TestDevice};
use crate::support::phone::{can, tidy};

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
    // One of them freezes.
    let run = adb.run().env("SHOPMEND_ADB_TIMEOUT", "6");
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
