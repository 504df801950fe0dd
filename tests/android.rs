//! Android devices over adb: what each access allows, on each level of Android,
//! on a test device that the real `adb` client talks to.
//!
//! The test device shows that a behaviour is handled, never that a phone has it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use shopmend::exit::Exit;
use shopmend::sample::android::{TIKTOK, USER};

use crate::support::device::{AdbServer, Model, Su, TestDevice, own};
use crate::support::phone::{
    Precious, can, messages, messages_are_well, nothing_was_wiped, on, tidy, verdict,
};
use crate::support::run::Run;
use crate::support::tree::Snapshot;

/// How far this computer reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Access {
    /// By that `su`.
    Root(Su),
    /// By `adb root`.
    RootDaemon,
    RunAs,
    Shell,
}

impl Access {
    fn model(self, api: u32) -> Model {
        let model = Model::new(&format!("T{api}"), api);
        match self {
            Self::Root(su) => model.su(su),
            Self::RootDaemon => model.userdebug(),
            Self::RunAs => model.debuggable(),
            // A person who said no.
            Self::Shell => model.su(Su::Denied),
        }
    }

    fn is_root(self) -> bool {
        matches!(self, Self::Root(_) | Self::RootDaemon)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Root(_) | Self::RootDaemon => "root",
            Self::RunAs => "run-as",
            Self::Shell => "shell",
        }
    }

    fn sees_private(self) -> bool {
        self != Self::Shell
    }
}

/// The whole way on one device: list, scan, repair, look at what is there,
/// undo, and everything is as it was.
fn whole_way(api: u32, access: Access) {
    println!("API {api}, {access:?}");
    let (device, root) = (TestDevice::damaged(access.model(api)), access.is_root());
    let before = Snapshot::of(&device.data());
    let private = Snapshot::of(&device.tiktok().data);
    let precious = Precious::of(&device);
    let old = fs::metadata(device.root().join(messages())).unwrap();
    fs::write(device.root().join("etc/running"), format!("71 {TIKTOK}\n72 {TIKTOK}:push\n")).unwrap();
    let adb = AdbServer::start();
    adb.connect(&device.address(), "device");
    let run = adb.run();
    let listed = run.call(if root { &["devices", "--root"][..] } else { &["devices"] }).expect(Exit::Ok);
    assert!(listed.stdout.contains(access.name()), "{listed}");

    let scan = on(&run, &device, root, &["scan", "--format", "json"]).expect(Exit::Findings).json();
    assert_eq!(scan["device"]["tier"], access.name());
    assert_eq!(scan["device"]["sdk"], api);
    let here = |verdict: &'static str| if access.sees_private() { verdict } else { "absent" };
    for (path, expected) in [
        (format!("databases/{USER}_im.db"), here("damaged")),
        ("shared_prefs/aweme_user.xml".to_owned(), here("damaged")),
        ("databases/aweme.db".to_owned(), here("healthy")),
        ("cache/picture/fresco_cache".to_owned(), "stale"),
        ("cache/cachev2".to_owned(), "stale"),
    ] {
        assert_eq!(verdict(&scan, &path), expected, "{path}");
    }
    assert_eq!(scan["targets"][0]["running"].as_array().unwrap().len(), 2);
    before.assert_same(&Snapshot::of(&device.data()));

    // Rows of the messages are lost; where they are out of reach, that is said.
    let done = if access.sees_private() { Exit::Left } else { Exit::Incomplete };
    let repair = on(&run, &device, root, &["repair", "--yes"]).expect(done);
    assert!(repair.stdout.contains("done         clear"), "{repair}");
    precious.assert_untouched();
    tidy(&device);
    assert!(device.says("etc/am.log").contains(TIKTOK), "the app was not stopped first");
    assert!(device.says("etc/sync.log").contains("sync"));
    if access.sees_private() {
        messages_are_well(&device, &old);
    } else {
        private.assert_same(&Snapshot::of(&device.tiktok().data));
        let said = scan["device"]["not_checked"].to_string();
        assert!(said.contains("messages") && said.contains("--root"), "{said}");
        on(&run, &device, true, &["scan"]).expect(Exit::Failed);
    }
    if root {
        assert!(device.says("etc/restorecon.log").contains(".shopmend-"), "the new file got no label");
    }
    // The content of caches stays on the device unless --deep asks for it.
    let scan = on(&run, &device, root, &["scan", "--format", "json"]).expect(Exit::Incomplete).json();
    assert_eq!(verdict(&scan, &format!("databases/{USER}_im.db")), here("healthy"));

    // What was damaged is damaged again.
    let undone = if access.sees_private() { Exit::Left } else { Exit::Incomplete };
    on(&run, &device, root, &["undo"]).expect(undone);
    if root {
        before.assert_same(&Snapshot::of(&device.data()));
    } else {
        private.assert_same(&Snapshot::of(&device.tiktok().data));
        // The times of folders in the shared storage are its own layer's.
        let mut left = before.diff(&Snapshot::of(&device.data()));
        left.retain(|line| !line.contains(": time was"));
        assert!(left.is_empty(), "{left:?}");
        assert_eq!(before.contents(), Snapshot::of(&device.data()).contents());
    }
    nothing_was_wiped(&device);
}

#[test]
fn an_app_that_is_started_while_its_files_are_replaced_keeps_them() {
    let test = "an_app_that_is_started_while_its_files_are_replaced_keeps_them";
    if !can(test) {
        return;
    }
    let device = TestDevice::damaged(Access::Root(Su::Aosp).model(33));
    let before = Snapshot::of(&device.data());
    // It opens the old database in the moment in which that gets another name.
    let mv = device.root().join("system/bin/mv");
    fs::remove_file(&mv).unwrap();
    let script = format!(
        "#!/system/bin/sh\ntoybox mv \"$@\" || exit 1\n\
         case $* in *_im.db) [ -e /etc/opened ] || echo '71 {TIKTOK}' >> /etc/running; echo >> /etc/opened;; esac\n"
    );
    fs::write(&mv, script).unwrap();
    fs::set_permissions(&mv, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    fs::write(device.root().join("etc/running"), "").unwrap();
    fs::set_permissions(device.root().join("etc"), std::os::unix::fs::PermissionsExt::from_mode(0o777))
        .unwrap();
    let adb = AdbServer::start();
    adb.connect(&device.address(), "device");
    let run = adb.run();
    let out = on(&run, &device, true, &["repair", "--yes"]);
    let said = out.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(device.root().join("etc/opened").exists(), "{out}");
    assert!(said.contains("the app was started while its files were being replaced"), "{out}");
    let database = before.get(messages().strip_prefix("data/").unwrap()).unwrap();
    assert!(fs::read(device.root().join(messages())).unwrap() == database.content, "{out}");
    // It is not started again, and the same command does it.
    on(&run, &device, true, &["repair", "--yes"]).expect(Exit::Left);
    assert!(fs::read(device.root().join(messages())).unwrap() != database.content);
    tidy(&device);
}

/// The commands that a run leaves for a person, run as they are written.
fn by_hand(api: u32, access: Access) {
    let (device, root) = (TestDevice::damaged(access.model(api)), access.is_root());
    let before = Snapshot::of(&device.data());
    let adb = AdbServer::start();
    adb.connect(&device.address(), "device");
    let run = adb.run();
    on(&run, &device, root, &["repair", "--yes"]).expect_one_of(&[Exit::Left, Exit::Incomplete]);
    assert!(!before.diff(&Snapshot::of(&device.data())).is_empty());
    let text = walkdir::WalkDir::new(run.state_path())
        .into_iter()
        .flatten()
        .find(|e| e.file_name() == "RESTORE.txt")
        .unwrap()
        .into_path();
    if access == Access::RootDaemon {
        adb.adb(&["-s", &device.address(), "root"]);
        adb.connect(&device.address(), "device");
    }
    let plain = adb.command(&[]);
    let mut shell = std::process::Command::new("bash");
    shell.arg(&text).env_clear().stdin(std::process::Stdio::null());
    shell.envs(plain.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let done = shell.output().unwrap();
    println!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    let mut left = before.diff(&Snapshot::of(&device.data()));
    if !root {
        // The times of folders in the shared storage are its own layer's.
        left.retain(|line| !line.contains(": time was"));
    }
    let commands = fs::read_to_string(&text).unwrap();
    assert!(left.is_empty(), "{}\n{commands}", left.join("\n"));
    tidy(&device);
}

#[test]
fn the_commands_by_hand_bring_everything_back_on_a_phone() {
    if can("the_commands_by_hand_bring_everything_back_on_a_phone") {
        for access in [Access::Root(Su::Magisk), Access::Root(Su::Aosp), Access::RootDaemon, Access::RunAs] {
            println!("{access:?}");
            by_hand(33, access);
        }
    }
}

fn every_access(test: &str, api: u32, root: Access) {
    if can(test) {
        for access in [root, Access::RunAs, Access::Shell] {
            whole_way(api, access);
        }
    }
}

#[test]
fn the_whole_way_on_android_10() {
    every_access("the_whole_way_on_android_10", 29, Access::Root(Su::Magisk));
}

#[test]
fn the_whole_way_on_android_11() {
    every_access("the_whole_way_on_android_11", 30, Access::Root(Su::Aosp));
}

#[test]
fn the_whole_way_on_android_13() {
    every_access("the_whole_way_on_android_13", 33, Access::RootDaemon);
}

#[test]
fn the_whole_way_on_android_14() {
    every_access("the_whole_way_on_android_14", 34, Access::Root(Su::Kernel));
}

/// A trip to a phone takes as long as tens of small commands on it: the number
/// of trips is what a repair costs.
#[test]
fn a_repair_and_its_undo_take_few_trips() {
    if !can("a_repair_and_its_undo_take_few_trips") {
        return;
    }
    let device = TestDevice::damaged(Model::new("Q1", 33).su(Su::Magisk));
    let adb = AdbServer::start();
    adb.connect(&device.address(), "device");
    let run = adb.run();
    // Of three trips for an unchanged device, two go at the same time. The look at what an undo
    // put back takes three.
    for (command, most) in [(&["scan"][..], 6), (&["scan"], 3), (&["repair", "--yes"], 160), (&["undo"], 210)]
    {
        device.daemon.shared.asked.lock().unwrap().clear();
        let began = Instant::now();
        let said = on(&run, &device, true, command);
        assert!(said.code.is_some_and(|c| c <= 3), "{said}");
        let asked = device.daemon.shared.asked.lock().unwrap().clone();
        println!("=== {command:?}: {} in {:?}", asked.len(), began.elapsed());
        if std::env::var_os("SHOPMEND_SHOW").is_some() {
            for one in &asked {
                println!("{}", one.replace(|c: char| c.is_control(), " "));
            }
        }
        assert!(asked.len() <= most, "{command:?} asks {} times", asked.len());
    }
}

/// Of a file that is what it was a second scan is shown no more than that. It
/// sees every change all the same, few or many, and what it took from the first
/// is good enough to put everything back.
#[test]
fn a_second_scan_sees_every_change() {
    if !can("a_second_scan_sees_every_change") {
        return;
    }
    use std::os::unix::fs::{PermissionsExt as _, chown};
    for (serial, many) in [("C1", false), ("C2", true)] {
        let device = TestDevice::damaged(Model::new(serial, 33).su(Su::Magisk));
        let cache = device.tiktok().external.join("cache/cache");
        let names = (0..600).map(|n| format!("{n:04}"));
        fill(&cache, names.clone().map(|name| (name, 300)));
        own(device.root());
        let adb = AdbServer::start();
        adb.connect(&device.address(), "device");
        let run = adb.run();
        let scan =
            |run: &Run| on(run, &device, true, &["scan", "--format", "json"]).expect(Exit::Findings).json();
        assert_eq!(verdict(&scan(&run), "shared_prefs/search.xml"), "healthy");

        // As long as before.
        let prefs = device.tiktok().data.join("shared_prefs/search.xml");
        fs::write(&prefs, vec![0; fs::metadata(&prefs).unwrap().len() as usize]).unwrap();
        fs::remove_file(cache.join("0003")).unwrap();
        fs::write(cache.join("0001\n2026-11-22"), "new").unwrap();
        fs::rename(cache.join("0005"), cache.join("0006")).unwrap();
        fs::remove_file(cache.join("0007")).unwrap();
        std::os::unix::fs::symlink("0008", cache.join("0007")).unwrap();
        fs::remove_file(cache.join("0009")).unwrap();
        fs::create_dir(cache.join("0009")).unwrap();
        own(device.root());
        // Of these nothing but the mode, or the owner.
        let set_mode = |name: &str, mode| {
            fs::set_permissions(cache.join(name), fs::Permissions::from_mode(mode)).unwrap();
        };
        set_mode("0001", 0o604);
        chown(cache.join("0002"), None, Some(9_998)).unwrap();
        if many {
            names.clone().skip(10).for_each(|name| set_mode(&name, 0o640));
        }

        let before = Snapshot::of(&device.data());
        let again = scan(&run);
        assert_eq!(verdict(&again, "shared_prefs/search.xml"), "damaged");
        // As one that knows of no other. Only the memory of healthy stores tells what was lost.
        let stores = |scan: &serde_json::Value| {
            let stores =
                scan["targets"].as_array().unwrap().iter().flat_map(|t| t["stores"].as_array().unwrap());
            let words = ["path", "verdict", "bytes", "files", "stale"];
            stores.map(|s| words.map(|w| s[w].to_string()).join(" ")).collect::<Vec<_>>()
        };
        assert_eq!(stores(&again), stores(&scan(&adb.run())));
        let cleared = on(&run, &device, true, &["repair", "--yes"]);
        assert!(cleared.code.is_some_and(|c| c <= 3), "{cleared}");
        assert!(!cache.join("0001").exists(), "{cleared}");
        on(&run, &device, true, &["undo"]).expect(Exit::Left);
        before.assert_same(&Snapshot::of(&device.data()));
    }
}

/// However it comes here: as root by `su`, or by adb's own transfer.
#[test]
fn a_large_file_hides_none_after_it_and_is_read_once() {
    if !can("a_large_file_hides_none_after_it_and_is_read_once") {
        return;
    }
    for model in [Model::new("L1", 33).userdebug(), Model::new("L2", 33).su(Su::Magisk)] {
        let device = TestDevice::with_tiktok(model);
        let large = device.tiktok().data.join("files/draft/0003/a_large_one.mp4");
        fs::File::create(&large).unwrap().set_len(80 << 20).unwrap();
        own(device.root());
        let adb = AdbServer::start();
        adb.connect(&device.address(), "device");
        let run = adb.run();
        let counted = || {
            let scan = on(&run, &device, true, &["scan", "--format", "json"]).expect(Exit::Findings).json();
            assert_eq!(verdict(&scan, "files/draft"), "unknown", "{scan:#}");
            let sent = device.daemon.shared.sent.swap(0, Ordering::SeqCst);
            (sent, scan["effort"]["hashed_bytes"].as_u64().unwrap())
        };
        let (first, hashed) = counted();
        assert!(first > 80 << 20 && hashed > 80 << 20, "{first} sent, {hashed} hashed");
        // Its listing, and what the device says of itself.
        let (again, hashed) = counted();
        assert!(again < 256 << 10 && hashed == 0, "{again} sent, {hashed} hashed");
        // Of what changed, that alone.
        fs::write(device.tiktok().data.join("shared_prefs/search.xml"), "<map></map>\n").unwrap();
        let (changed, hashed) = counted();
        assert!(changed < 256 << 10 && hashed == 12, "{changed} sent, {hashed} hashed");
    }
}

#[test]
fn pm_clear_would_wipe_and_is_nowhere() {
    let sources = walkdir::WalkDir::new(concat!(env!("CARGO_MANIFEST_DIR"), "/src")).into_iter().flatten();
    for source in sources.filter(|e| e.path().extension().is_some_and(|x| x == "rs")) {
        let text = fs::read_to_string(source.path()).unwrap();
        for form in ["pm clear", "package clear", "cache-only", "uninstall-system-updates"] {
            assert!(!text.contains(form), "{} has {form:?}", source.path().display());
        }
        // It clears caches of all apps: only the command that says so may send it.
        let own = source.path().ends_with("src/place/adb/acts.rs");
        assert!(own || !text.contains("\"trim-caches\""), "{} sends trim-caches", source.path().display());
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

/// Writes files of a size each below a folder, as old as caches that may go.
fn fill(folder: &Path, files: impl Iterator<Item = (String, usize)>) {
    let old = SystemTime::now() - Duration::from_hours(9600);
    for (name, size) in files {
        let path = folder.join(&name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, shopmend::sample::noise(&name, size)).unwrap();
        fs::File::options().write(true).open(path).unwrap().set_modified(old).unwrap();
    }
}

/// Writes messages until the database is so large.
fn grow(database: &Path, bytes: u64) {
    let db = rusqlite::Connection::open(database).unwrap();
    let text = "m".repeat(600);
    let mut n: i64 = db.query_row("SELECT count(*) FROM msg", [], |row| row.get(0)).unwrap();
    while fs::metadata(database).unwrap().len() < bytes {
        db.execute_batch("BEGIN").unwrap();
        for _ in 0..2000 {
            n += 1;
            let columns = "INSERT INTO msg (msg_uuid, conversation_id, type, status, content)";
            db.execute(&format!("{columns} VALUES ('more{n}', 'c{}', 7, 2, '{n} {text}')", n % 40), [])
                .unwrap();
        }
        db.execute_batch("COMMIT").unwrap();
    }
}

/// A heavily used app's caches: most of its 5,000 files, most of its 200 MB.
fn fill_caches(device: &TestDevice) -> PathBuf {
    let cache = device.tiktok().external.join("cache/cache");
    let small = |n: u32| 500 + (n as usize * 7) % 15_500;
    fill(&cache, (0..4600).map(|n| (format!("{:02}/{n:08x}", n % 50), small(n))));
    fill(&cache, std::iter::once(("video".to_owned(), 120_000_000)));
    own(device.root());
    cache
}

/// The rest of it: settings, and a database of messages of that many bytes.
fn fill_state(device: &TestDevice, messages_bytes: u64) {
    let settings = (0..400).map(|n| {
        let text = format!("<string name=\"k{n}\">{}</string>\n", "v".repeat(60)).repeat(1 + (n * 7) % 90);
        (format!("sp_{n:03}.xml"), format!("<?xml version='1.0' encoding='utf-8'?>\n<map>\n{text}</map>\n"))
    });
    for (name, text) in settings {
        fs::write(device.tiktok().data.join("shared_prefs").join(name), text).unwrap();
    }
    grow(&device.root().join(messages()), messages_bytes);
    own(device.root());
}

/// No test: devices for a person to try the program on, or to look at it with.
#[test]
#[ignore = "it waits for a line on standard input: with --nocapture it says how to reach its devices"]
fn devices_to_try_the_program_on() {
    let open = TestDevice::damaged(Model::new("ROOT01", 33).su(Su::Magisk));
    let closed = TestDevice::damaged(Model::new("SHELL02", 34).su(Su::Denied));
    fs::write(closed.root().join("etc/users"), "\tUserInfo{10:Work profile:1030} running\n").unwrap();
    let counted = format!(
        "Package Names: [\"{TIKTOK}\"]\nApp Sizes: [214000000]\nApp Data Sizes: [1500000000]\nCache Sizes: [350000000]\n"
    );
    fs::write(closed.root().join("etc/diskstats"), counted).unwrap();
    let full = TestDevice::with_tiktok(Model::new("FULL03", 33).userdebug());
    fs::remove_file(fill_caches(&full).join("video")).unwrap();
    fill_state(&full, 160_000_000);
    let stranger = TestDevice::damaged(Model::new("NEW04", 30));
    stranger.faults().unauthorised.store(true, std::sync::atomic::Ordering::SeqCst);
    let adb = AdbServer::start();
    for (device, state) in
        [(&open, "device"), (&closed, "device"), (&full, "device"), (&stranger, "unauthorized")]
    {
        adb.connect(&device.address(), state);
    }
    println!("export ANDROID_ADB_SERVER_PORT={}", adb.port());
    let _ = std::io::stdin().read_line(&mut String::new());
}

/// Figures for `scripts/bench`: a heavily used app of 5,000 small files and
/// 200 MB on one device. Most files are cache; a scan has to read settings and a
/// database of messages, which is most of the bytes, or, with a video among the
/// caches, a fifth of them, or not there yet.
#[test]
#[ignore = "a measurement; scripts/bench runs it"]
fn measure_against_adb_pull() {
    let device = TestDevice::with_tiktok(Model::new("X1", 33).userdebug());
    let cache = fill_caches(&device);
    let adb = AdbServer::start();
    adb.connect(&device.address(), "device");
    adb.adb(&["-s", &device.address(), "root"]);
    adb.connect(&device.address(), "device");
    let time = |what: &mut dyn FnMut()| {
        let began = Instant::now();
        what();
        began.elapsed().as_secs_f64()
    };
    // Each first scan in a state folder of its own; the best of five, so that
    // other work on the machine counts least.
    let scan = |run: &Run| drop(on(run, &device, true, &["scan"]).expect(Exit::Findings));
    let scans = || {
        // What was written to make the device is no part of it.
        assert!(std::process::Command::new("sync").status().unwrap().success());
        let runs: [Run; 5] = std::array::from_fn(|_| adb.run());
        let first = runs.iter().map(|run| time(&mut || scan(run))).fold(f64::MAX, f64::min);
        let again = runs.iter().map(|run| time(&mut || scan(run))).fold(f64::MAX, f64::min);
        println!("first {first:.3} again {again:.3}");
        let [run, ..] = runs;
        (run, first, again)
    };
    let (_, cache_first, cache_again) = scans();
    fill_state(&device, 40_000_000);
    let (run, mixed_first, mixed_again) = scans();
    let before = Snapshot::of(&cache);
    let clear =
        time(&mut || println!("{}", on(&run, &device, true, &["repair", "--yes", "--only", "clear"])));
    assert!(!cache.join("video").exists());
    let back = time(&mut || println!("{}", on(&run, &device, true, &["undo"])));
    assert_eq!(before.contents().len(), Snapshot::of(&cache).contents().len());
    before.assert_same(&Snapshot::of(&cache));
    println!("clear {clear:.3} undo {back:.3}");
    fs::remove_file(cache.join("video")).unwrap();
    fill_state(&device, 160_000_000);
    let (_, first, again) = scans();
    let to = tempfile::tempdir().unwrap();
    let pull = time(&mut || {
        let trees = [format!("/data/data/{TIKTOK}"), format!("/data/media/0/Android/data/{TIKTOK}")];
        for (n, tree) in trees.iter().enumerate() {
            let to = to.path().join(n.to_string());
            let out = adb.adb(&["-s", &device.address(), "pull", tree, to.to_str().unwrap()]);
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        }
    });
    println!("pull {pull:.3}");
    if let Some(path) = std::env::var_os("SHOPMEND_BENCH_OUT") {
        let figures = [pull, first, again, mixed_first, mixed_again, cache_first, cache_again, clear, back];
        fs::write(path, figures.map(|f| f.to_string()).join(" ")).unwrap();
    }
}

/// Android's own count is told of an app that is out of reach, and only then.
#[test]
fn what_android_counted_is_a_hint_where_nothing_better_is_in_reach() {
    if !can("what_android_counted_is_a_hint_where_nothing_better_is_in_reach") {
        return;
    }
    let device = TestDevice::damaged(Model::new("D1", 33).su(Su::Magisk));
    let counted = format!(
        "Latency: 0ms [512B Data Write]\nPackage Names: [\"a.b\",\"{TIKTOK}\"]\nApp Sizes: [1,200000000]\n\
         App Data Sizes: [1,1500000000]\nCache Sizes: [1,350000000]\n"
    );
    fs::write(device.root().join("etc/diskstats"), counted).unwrap();
    let adb = AdbServer::start();
    adb.connect(&device.address(), "device");
    let run = adb.run();
    let hint = "data 1.4 GiB, cache 333.8 MiB";
    let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let listed = run.call(["devices"]).expect(Exit::Ok);
    assert!(flat(&listed.stdout).contains(hint) && listed.stdout.contains(TIKTOK), "{listed}");
    let scan = on(&run, &device, false, &["scan"]).expect(Exit::Findings);
    assert!(flat(&scan.stdout).contains(hint) && scan.stdout.contains("may be days old"), "{scan}");
    assert!(!scan.stdout.contains("a.b"), "{scan}");
    let document = on(&run, &device, false, &["scan", "--format", "json"]).expect(Exit::Findings).json();
    assert_eq!(document["device"]["sizes"][TIKTOK]["cache"], 350_000_000);
    device.daemon.shared.commands.lock().unwrap().clear();
    let scan = on(&run, &device, true, &["scan"]).expect(Exit::Findings);
    assert!(!flat(&scan.stdout).contains("days old"), "{scan}");
    assert_eq!(document["volumes"][0]["path"], "/data", "{document:#}");
}

/// What a report says was not looked at, as text.
fn not_checked(report: &serde_json::Value) -> String {
    let all = report["summary"]["not_checked"].as_array().unwrap().iter();
    let lines: Vec<String> =
        all.map(|n| format!("{}: {}; {}\n", n["what"], n["why"], n["how_to_see"])).collect();
    lines.concat()
}

/// An app that was moved to adopted storage has nothing in the usual place. As
/// root it is looked at where the package manager says that it is; else that is
/// said.
#[test]
fn an_app_on_adopted_storage_is_looked_at_or_named() {
    if !can("an_app_on_adopted_storage_is_looked_at_or_named") {
        return;
    }
    let volume = "/mnt/expand/57f8f4bc-abf4-655f-bf67-946fc0f9f25b/user/0";
    for (access, serial) in [(Access::Root(Su::Magisk), "E1"), (Access::RunAs, "E2")] {
        let device = TestDevice::damaged(access.model(33));
        let there = device.root().join(&volume[1..]);
        fs::create_dir_all(&there).unwrap();
        fs::rename(device.tiktok().data, there.join(TIKTOK)).unwrap();
        let said = format!("    dataDir={volume}/{TIKTOK}\n    lastUpdateTime=2024-02-03 04:05:06\n");
        fs::write(device.root().join(format!("etc/package-{TIKTOK}")), said).unwrap();
        let adb = AdbServer::start();
        adb.connect(&device.address(), "device");
        let run = adb.run();
        let report = on(&run, &device, access.is_root(), &["scan", "--format", "json"]).json();
        let path = format!("{volume}/{TIKTOK}/databases/{USER}_im.db");
        let (expected, told) = if access.is_root() { ("damaged", false) } else { ("absent", true) };
        assert_eq!(verdict(&report, &path), expected, "{serial}: {report:#}");
        assert_eq!(not_checked(&report).contains(volume), told, "{serial}: {}", not_checked(&report));
    }
}

/// Cards that can be taken out, other users, and a cache that leads to a card.
#[test]
fn what_lies_beside_the_phones_own_storage_is_named() {
    if !can("what_lies_beside_the_phones_own_storage_is_named") {
        return;
    }
    let device = TestDevice::with_tiktok(Model::new("E3", 33).su(Su::Magisk));
    let card = format!("/storage/1A2B-3C4D/Android/data/{TIKTOK}");
    let on_card = device.root().join(&card[1..]);
    fs::create_dir_all(on_card.join("cache")).unwrap();
    fs::create_dir_all(device.root().join("storage/1A2B-3C4D/Android/data/org.example.other")).unwrap();
    fs::write(device.root().join("etc/users"), "\tUserInfo{10:Work profile:1030}\n").unwrap();
    let cache = device.tiktok().external.join("cache/picture/fresco_cache");
    fs::remove_dir_all(&cache).unwrap();
    std::os::unix::fs::symlink(format!("{card}/cache"), &cache).unwrap();
    // A phone in Persian writes its own digits.
    let updated = "    lastUpdateTime=\u{6f2}\u{6f0}\u{6f2}\u{6f5}-\u{6f0}\u{6f3}-\u{6f0}\u{6f4} \u{6f0}\u{6f5}:\u{6f0}\u{6f6}:\u{6f0}\u{6f7}\n";
    fs::write(device.root().join(format!("etc/package-{TIKTOK}")), updated).unwrap();
    let adb = AdbServer::start();
    adb.connect(&device.address(), "device");
    let report = on(&adb.run(), &device, true, &["scan", "--format", "json"]).json();
    let told = not_checked(&report);
    for what in [card.as_str(), "user 10 (Work profile)", "cache/picture/fresco_cache"] {
        assert!(told.contains(what), "{what}: {told}");
    }
    assert!(!told.contains("org.example.other"), "{told}");
    let said = report["targets"][0]["notes"].to_string();
    assert!(said.contains("updated 2025-03-0"), "{said}");
}
