//! The triage of a phone without root, over the real `adb`: what it asks, what
//! it makes of the answers, and what it never does.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use shopmend::exit::Exit;

use crate::support::canned::{APP, Canned, PLANTS, SHAPES, others};
use crate::support::device::{AdbServer, Model, Su, TestDevice};
use crate::support::phone::{can, nothing_was_wiped, on};
use crate::support::run::Run;
use crate::support::tree::Snapshot;

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()).unwrap()
}

fn canned(api: u32) -> Canned {
    let shape = SHAPES.iter().find(|s| s.api == api).unwrap();
    Canned::healthy(*shape, now())
}

/// Lays the answers down on the device.
fn lay(device: &TestDevice, canned: &Canned) {
    let folder = device.root().join("etc/canned");
    for (name, text) in &canned.all {
        fs::write(folder.join(name.replace(' ', ".")), text).unwrap();
    }
    fs::write(device.root().join("proc/meminfo"), &canned.all["memory"]).unwrap();
    fs::set_permissions(device.root().join("proc/meminfo"), fs::Permissions::from_mode(0o444)).unwrap();
}

/// A phone with TikTok, and adb's server.
fn phone(api: u32, damaged: bool) -> (AdbServer, TestDevice, Run) {
    let model = Model::new(&format!("T{api}"), api);
    let device = if damaged { TestDevice::damaged(model) } else { TestDevice::with_tiktok(model) };
    let adb = AdbServer::start();
    adb.connect(&device.address(), "device");
    let run = adb.run();
    (adb, device, run)
}

fn codes(document: &Value, answer: &str) -> Vec<String> {
    let all = document["statements"].as_array().unwrap().iter().filter(|s| s["answer"] == answer);
    all.map(|s| s["code"].as_str().unwrap().to_owned()).collect()
}

fn plant(code: &str, nth: usize, canned: &mut Canned) {
    let plant = PLANTS.iter().filter(|p| p.code == code).nth(nth).unwrap();
    assert!((plant.put)(canned));
}

#[test]
fn a_phone_with_nothing_wrong_is_told_in_one_screen_and_left_as_it_was() {
    if !can("a_phone_with_nothing_wrong_is_told_in_one_screen_and_left_as_it_was") {
        return;
    }
    let (_adb, device, run) = phone(34, false);
    let mut answers = canned(34);
    others(&mut answers);
    lay(&device, &answers);
    let before = Snapshot::of(&device.data());
    let said = on(&run, &device, false, &["triage"]).expect(Exit::Incomplete);
    assert!(said.stdout.contains("Nothing that was looked at on this phone explains it."), "{said}");
    assert!(said.stdout.contains("only root reaches the databases"), "{said}");
    assert!(said.stdout.contains("the network was not asked"), "{said}");
    assert!(said.stdout.lines().count() <= 24, "{said}");
    assert!(said.stdout.lines().all(|l| l.chars().count() <= 80), "{said}");
    assert_eq!(before.diff(&Snapshot::of(&device.data())), Vec::<String>::new());
    nothing_was_wiped(&device);
    let commands = device.commands();
    // It runs code in the app: once.
    assert_eq!(commands.matches("dumpsys -t 6 dbinfo").count(), 1, "{commands}");
    for never in [
        "pm ",
        "am start",
        "am force-stop",
        "am kill",
        "settings put",
        "appops set",
        "dumpsys account",
        "dumpsys wifi",
        "dumpsys netpolicy",
        "dumpsys notification",
        "dumpsys location",
        "bugreport",
        "content ",
        "svc ",
        "su ",
    ] {
        let sent = commands.lines().filter(|l| !l.contains("export LC_ALL")).any(|l| l.contains(never));
        assert!(!sent, "{never} was sent:\n{commands}");
    }
}

/// Three ways in which Android tells of a damaged database, and each leads to
/// the same answer with a next step.
#[test]
fn damage_that_android_reports_is_found_without_root() {
    if !can("damage_that_android_reports_is_found_without_root") {
        return;
    }
    let (_adb, device, run) = phone(33, false);
    for (code, nth, next) in [
        ("data.failing", 0, "--root"),
        ("data.renewed", 0, "update the app and open it once"),
        ("data.reported", 1, "update the app and open it once"),
    ] {
        let mut answers = canned(33);
        plant(code, nth, &mut answers);
        others(&mut answers);
        lay(&device, &answers);
        let said = on(&run, &device, false, &["triage", "--format", "json"]).expect(Exit::Findings);
        let document = said.json();
        assert_eq!(document["top"], code, "{said}");
        assert_eq!(document["causes"][8]["answer"], "found", "{said}");
        let top = &document["statements"][0];
        assert!(top["next"].as_str().unwrap().contains(next), "{said}");
        assert_eq!(top["app"], APP);
        assert_eq!(codes(&document, "found"), [code]);
    }
}

#[test]
fn damage_that_nobody_can_see_is_never_called_healthy() {
    if !can("damage_that_nobody_can_see_is_never_called_healthy") {
        return;
    }
    let (adb, device, run) = phone(34, true);
    lay(&device, &canned(34));
    let said = on(&run, &device, false, &["triage", "--format", "json"])
        .expect_one_of(&[Exit::Incomplete, Exit::Findings]);
    let document = said.json();
    assert_ne!(document["causes"][8]["answer"], "nothing-found", "{said}");
    assert!(codes(&document, "not-looked-at").contains(&"data.scan".to_owned()), "{said}");
    assert!(!said.stdout.to_lowercase().contains("healthy"), "{said}");
    // The same damage, where root reaches it.
    let rooted = TestDevice::damaged(Model::new("R34", 34).su(Su::Magisk));
    lay(&rooted, &canned(34));
    adb.connect(&rooted.address(), "device");
    let said = on(&run, &rooted, true, &["triage", "--format", "json"]).expect(Exit::Findings);
    assert_eq!(said.json()["top"], "data.damaged", "{said}");
}

#[test]
fn a_phone_that_answers_nothing_is_said_to_be_so() {
    if !can("a_phone_that_answers_nothing_is_said_to_be_so") {
        return;
    }
    let (_adb, device, run) = phone(29, false);
    // Its services refuse, each in its own words; that the app is old is known from when it was found.
    let said = on(&run, &device, false, &["triage", "--format", "json"]).expect(Exit::Findings);
    let document = said.json();
    assert!(codes(&document, "found").is_empty(), "{said}");
    assert_eq!(codes(&document, "hint"), ["app.old"]);
    for n in [0, 8] {
        assert_eq!(document["causes"][n]["answer"], "not-looked-at", "{said}");
    }
}

/// Long enough for any machine, and shorter than what never answers.
const AN_END: Duration = Duration::from_mins(2);

#[test]
fn silence_and_floods_are_bounded() {
    if !can("silence_and_floods_are_bounded") {
        return;
    }
    let (_adb, device, run) = phone(34, false);
    let mut answers = canned(34);
    plant("data.failing", 0, &mut answers);
    lay(&device, &answers);
    let folder = device.root().join("etc/canned");
    // 50 MB of nought behind an answer.
    let flood = fs::OpenOptions::new().append(true).open(folder.join("dnsresolver")).unwrap();
    flood.set_len(50 << 20).unwrap();
    // And one service that never answers.
    fs::write(folder.join("webview.silent"), "").unwrap();
    let began = Instant::now();
    let said = on(&run, &device, false, &["triage", "--format", "json"]).expect(Exit::Findings);
    assert!(began.elapsed() < AN_END, "{:?}", began.elapsed());
    let document = said.json();
    assert_eq!(document["top"], "data.failing", "{said}");
    let left = codes(&document, "not-looked-at");
    assert!(
        left.contains(&"phone.answer-cut".to_owned()) && left.contains(&"app.webview".to_owned()),
        "{said}"
    );
    // All silent that only this asks: it gives up, and does not wait for each.
    for name in
        answers.all.keys().filter(|n| !["package", "diskstats"].contains(&n.split(' ').next().unwrap()))
    {
        fs::write(folder.join(name.replace(' ', ".") + ".silent"), "").unwrap();
    }
    let began = Instant::now();
    let said = on(&run, &device, false, &["triage", "--format", "json"]).expect(Exit::Incomplete);
    assert!(began.elapsed() < AN_END, "{:?}", began.elapsed());
    assert!(codes(&said.json(), "found").is_empty(), "{said}");
}

/// Whether a file below a folder holds a text.
fn holds(folder: &Path, text: &str) -> Option<String> {
    let files = walkdir::WalkDir::new(folder).into_iter().flatten().filter(|e| e.file_type().is_file());
    let has = |path: &Path| memchr::memmem::find(&fs::read(path).unwrap(), text.as_bytes()).is_some();
    files.map(|e| e.path().to_path_buf()).find(|p| has(p)).map(|p| p.display().to_string())
}

#[test]
fn answers_of_a_phone_reach_no_file_and_no_output() {
    if !can("answers_of_a_phone_reach_no_file_and_no_output") {
        return;
    }
    let (_adb, device, run) = phone(33, false);
    let mut answers = canned(33);
    plant("data.failing", 0, &mut answers);
    plant("dns.private-filter", 0, &mut answers);
    others(&mut answers);
    lay(&device, &answers);
    let out = tempfile::tempdir().unwrap();
    let log = out.path().join("log").display().to_string();
    let report = |name: &str| out.path().join(name).display().to_string();
    let (json, html, text) = (report("a.json"), report("a.html"), report("a.txt"));
    let calls: [&[&str]; 4] = [
        &["triage", "-vv", "--log", &log, "--format", "json", "--report", &json],
        &["triage", "--log", &log, "--format", "html", "--report", &html],
        &["triage", "-v", "--report", &text],
        &["triage", "--summary"],
    ];
    for call in calls {
        let said = on(&run, &device, false, call).expect(Exit::Findings);
        for secret in ["planted", "Planted", "10.77.66", "02:00:5e", "7012345678901234567", "nextdns.io"] {
            assert!(!said.stdout.contains(secret) && !said.stderr.contains(secret), "{secret} in {said}");
        }
        // On a cable adb calls a phone by its serial number.
        assert!(!said.stdout.replace("Report written", "").contains(&device.address()), "{said}");
        if call.contains(&"--summary") {
            assert_eq!(said.stdout.lines().count(), 1, "{said}");
            assert!(said.stdout.contains("data.failing") && said.stdout.contains("38.1.2"), "{said}");
            assert!(!said.stdout.contains("T33"), "the serial number: {said}");
        }
    }
    assert!(fs::read_to_string(&html).unwrap().starts_with("<!doctype html>"));
    for secret in ["planted", "Planted", "10.77.66", "02:00:5e", "nextdns.io"] {
        assert_eq!(holds(out.path(), secret), None, "{secret}");
        assert_eq!(holds(run.state_path(), secret), None, "{secret}");
    }
    for report in [&json, &html, &text] {
        let text = fs::read_to_string(report).unwrap();
        assert!(!text.contains("T33") && !text.contains(&device.address()), "the serial number in {report}");
    }
}

#[test]
fn the_page_of_the_next_step_is_opened_only_when_asked_for() {
    if !can("the_page_of_the_next_step_is_opened_only_when_asked_for") {
        return;
    }
    let (_adb, device, run) = phone(34, false);
    let mut answers = canned(34);
    plant("app.disabled", 0, &mut answers);
    lay(&device, &answers);
    on(&run, &device, false, &["triage"]).expect(Exit::Findings);
    assert_eq!(device.says("etc/am.log"), "");
    let said = on(&run, &device, false, &["triage", "--open"]).expect(Exit::Findings);
    assert!(said.stdout.contains("Opened on the phone: the app's settings"), "{said}");
    let page = format!("start --user 0 -a android.settings.APPLICATION_DETAILS_SETTINGS -d package:{APP}\n");
    assert_eq!(device.says("etc/am.log"), page);
    fs::write(device.root().join("etc/no-pages"), "").unwrap();
    let said = on(&run, &device, false, &["triage", "--open"]).expect(Exit::Findings);
    assert!(said.stdout.contains("has no page for this"), "{said}");
    run.call(["triage", "--open"]).expect(Exit::Usage);
}

/// After the person acted, the same command says what changed.
#[test]
fn the_same_again_says_what_changed() {
    if !can("the_same_again_says_what_changed") {
        return;
    }
    let (_adb, device, run) = phone(34, false);
    let mut answers = canned(34);
    plant("network.proxy", 0, &mut answers);
    lay(&device, &answers);
    let said = on(&run, &device, false, &["triage"]).expect(Exit::Findings);
    assert!(!said.stdout.contains("Since "), "{said}");
    let mut answers = canned(34);
    plant("app.old", 0, &mut answers);
    lay(&device, &answers);
    let said = on(&run, &device, false, &["triage"]).expect(Exit::Findings);
    assert!(said.stdout.contains("gone: network.proxy; new: app.old"), "{said}");
    let said = on(&run, &device, false, &["triage", "--format", "json"]).expect(Exit::Findings);
    assert_eq!(said.json()["change"]["still"][0], "app.old", "{said}");
}

#[test]
fn acts_need_a_yes_and_nothing_that_deletes_data_is_ever_sent() {
    if !can("acts_need_a_yes_and_nothing_that_deletes_data_is_ever_sent") {
        return;
    }
    let (_adb, device, run) = phone(34, false);
    lay(&device, &canned(34));
    let before = Snapshot::of(&device.data());
    let acts: [&[&str]; 3] = [
        &["phone", "trim-caches"],
        &["phone", "force-stop", "--app", APP],
        &["phone", "reset-compiled", "--app", APP],
    ];
    for act in acts {
        // There is nobody to ask.
        let said = on(&run, &device, false, act).expect(Exit::Usage);
        assert!(said.stderr.contains("--yes"), "{said}");
    }
    assert_eq!((device.says("etc/pm.log"), device.says("etc/am.log")), (String::new(), String::new()));
    let yes = |act: &[&str]| on(&run, &device, false, &[act, &["--yes"]].concat());
    let said = yes(acts[0]).expect_one_of(&[Exit::Ok, Exit::Left]);
    assert!(said.stdout.contains("ALL apps and users"), "{said}");
    yes(acts[1]).expect(Exit::Ok);
    yes(acts[2]).expect(Exit::Ok);
    yes(&["phone", "force-stop", "--app", "com.example.unknown"]).expect(Exit::Usage);
    // What is free, and the caches that Android counted: 50 MiB and 7 bytes.
    let log = device.says("etc/pm.log");
    let wanted: u64 = log.lines().next().unwrap().strip_prefix("trim-caches ").unwrap().parse().unwrap();
    assert!(wanted > 52_428_807, "{log}");
    assert_eq!(log.lines().nth(1), Some(format!("compile --reset {APP}").as_str()));
    assert_eq!(device.says("etc/am.log"), format!("force-stop {APP}\n"));
    assert_eq!(before.diff(&Snapshot::of(&device.data())), Vec::<String>::new());
    nothing_was_wiped(&device);
    assert!(!device.commands().contains("uninstall"));
}

/// Neither clearing an app's data nor removing its updates, which deletes them
/// as well, is anywhere in the program.
#[test]
fn the_program_has_no_words_that_delete_data() {
    let program = fs::read(env!("CARGO_BIN_EXE_shopmend")).unwrap();
    for word in ["pm clear", "package clear", "uninstall-system-updates", "--cache-only", "pm uninstall"] {
        assert!(memchr::memmem::find(&program, word.as_bytes()).is_none(), "{word}");
    }
    // It would be seen: another word of the same kind is there.
    assert!(memchr::memmem::find(&program, b"trim-caches").is_some());
}

#[test]
fn a_bench_tells_which_phone_is_behind() {
    if !can("a_bench_tells_which_phone_is_behind") {
        return;
    }
    let adb = AdbServer::start();
    let devices: Vec<TestDevice> =
        (0..3).map(|n| TestDevice::with_tiktok(Model::new(&format!("F{n}"), 34))).collect();
    for (n, device) in devices.iter().enumerate() {
        let mut answers = canned(34);
        if n == 1 {
            let text = answers.all[&format!("package {APP}")].replace("38.1.2", "36.9.1");
            answers.set(&format!("package {APP}"), text);
            plant("network.proxy", 0, &mut answers);
        }
        lay(device, &answers);
        adb.connect(&device.address(), "device");
    }
    let run = adb.run();
    let out = tempfile::tempdir().unwrap();
    let report = out.path().join("bench").display().to_string();
    let said = run.call(["batch", "triage", "--all-devices", "--report", &report]).expect(Exit::Findings);
    assert!(
        said.stdout.contains("F1: com.zhiliaoapp.musically is 36.9.1 here, and 38.1.2 on others"),
        "{said}"
    );
    assert!(said.stdout.contains("F1: this phone alone has network.proxy"), "{said}");
    assert!(!said.stdout.contains("F0: this") && !said.stdout.contains("F2: this"), "{said}");
    let summary: Value =
        serde_json::from_slice(&fs::read(out.path().join("bench/summary.json")).unwrap()).unwrap();
    assert_eq!(summary["fleet"].as_array().unwrap().len(), 2, "{summary:#}");
    assert_eq!(summary["devices"][1]["triage"]["hints"][0], "network.proxy");
    for device in &devices {
        nothing_was_wiped(device);
    }
}
