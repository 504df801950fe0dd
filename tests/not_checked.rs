//! What a scan did not look at is part of its result: each situation names the
//! place, why, and what would make it visible.

use std::path::Path;

use serde_json::Value;
use shopmend::exit::Exit;

use crate::support::run::Run;
use crate::support::tree::Snapshot;

/// A home with a Chromium profile: `Local State`, settings, a cache.
fn home_with_chromium(run: &Run) {
    let home = run.home_path();
    put(home, ".config/chromium/Local State", "{}");
    put(home, ".config/chromium/Default/Preferences", "{}");
    put(home, ".cache/chromium/Default/Cache/Cache_Data/index", "");
}

fn put(top: &Path, rel: &str, content: impl AsRef<[u8]>) {
    let path = top.join(rel);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

fn link(to: &Path, at: &Path) {
    std::os::unix::fs::symlink(to, at).unwrap();
}

/// Everything that a report says was not looked at, `what: why; how` each.
fn told(report: &Value) -> Vec<String> {
    let mut out = Vec::new();
    gather(report, &mut out);
    out.sort();
    out.dedup();
    out
}

fn gather(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::String(text) => out.extend(text.strip_prefix("not checked: ").map(str::to_owned)),
        Value::Array(all) => all.iter().for_each(|v| gather(v, out)),
        Value::Object(map) => {
            if let (Some(what), Some(why)) = (map.get("what"), map.get("why")) {
                let how = map.get("how_to_see").and_then(Value::as_str);
                let how = how.map(|h| format!("; {h}")).unwrap_or_default();
                out.push(format!("{}: {}{how}", what.as_str().unwrap(), why.as_str().unwrap()));
            }
            map.values().for_each(|v| gather(v, out));
        }
        _ => {}
    }
}

fn scan(run: &Run, more: &[&str]) -> Value {
    run.call([&["scan", "--format", "json"], more].concat()).json()
}

/// The one entry about that path.
#[track_caller]
fn about(told: &[String], path: &Path) -> String {
    let start = format!("{}: ", path.display());
    let mut hits = told.iter().filter(|t| t.starts_with(&start));
    let hit = hits.next().unwrap_or_else(|| panic!("nothing about {}: {told:#?}", path.display()));
    assert!(hits.next().is_none(), "{told:#?}");
    hit[start.len()..].to_owned()
}

#[test]
fn a_sound_home_has_nothing_unchecked() {
    let run = Run::new();
    home_with_chromium(&run);
    // What a browser marks its folder with while it runs: a link, but no path.
    link(Path::new("host-4711"), &run.home_path().join(".config/chromium/SingletonLock"));
    put(run.home_path(), ".mozilla/firefox/abc.default/prefs.js", "");
    link(Path::new("127.0.1.1:+4711"), &run.home_path().join(".mozilla/firefox/abc.default/lock"));
    assert_eq!(told(&scan(&run, &[])), [""; 0]);
}

#[test]
fn links_inside_a_cache_are_left_alone_and_no_gap_but_a_store_that_is_a_link_is_one() {
    let run = Run::new();
    home_with_chromium(&run);
    let home = run.home_path();
    put(home, "Documents/paper", "mine");
    put(home, "disk/brave/Cache_Data/index", "");
    put(home, "disk/chrome/Default/Cache/Cache_Data/index", "");
    put(home, "disk/profile/Preferences", "{}");
    // Inside a cache: the person's folder, a person's file, a link by an entry's name.
    let cache = home.join(".cache/chromium/Default/Cache");
    link(&home.join("Documents"), &cache.join("Cache_Data/old"));
    link(&home.join("Documents/paper"), &cache.join("Cache_Data/0123456789abcdef_0"));
    link(&home.join("Documents"), &cache.join("Old_Cache"));
    // A whole cache, a whole profile, and an app's whole folder are links.
    put(home, ".cache/BraveSoftware/Brave-Browser/Default/Cache/x", "");
    let brave = home.join(".cache/BraveSoftware/Brave-Browser/Default/Cache/Cache_Data");
    link(&home.join("disk/brave/Cache_Data"), &brave);
    let profile = home.join(".config/chromium/Profile 1");
    link(&home.join("disk/profile"), &profile);
    let chrome = home.join(".cache/google-chrome");
    link(&home.join("disk/chrome"), &chrome);

    let before = Snapshot::of(home);
    let told = told(&scan(&run, &[]));
    before.assert_same(&Snapshot::of(home));
    assert_eq!(told.len(), 3, "{told:#?}");
    for (at, to) in [(&brave, "disk/brave/Cache_Data"), (&profile, "disk/profile"), (&chrome, "disk/chrome")]
    {
        let why = about(&told, at);
        assert!(why.starts_with("it is a link"), "{why}");
        let to = format!("`shopmend check {}`", home.join(to).display());
        assert!(why.contains(&to), "{why}");
    }
}

/// Runs as `nobody`, whom the permission bits bind; only root can become them.
fn as_nobody(run: &Run, args: &[&str]) -> Option<Value> {
    if !rustix::process::geteuid().is_root() {
        crate::support::skip::skipped("not_checked", "only root can run a program as another user");
        return None;
    }
    let own = |path: &Path| std::os::unix::fs::chown(path, Some(65534), Some(65534)).unwrap();
    std::fs::create_dir_all(run.state_path()).unwrap();
    own(run.state_path());
    own(run.home_path());
    let top = run.home_path().parent().unwrap();
    std::fs::set_permissions(top, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let mut command = run.command(args);
    std::os::unix::process::CommandExt::uid(&mut command, 65534);
    std::os::unix::process::CommandExt::gid(&mut command, 65534);
    let out = command.output().unwrap();
    Some(serde_json::from_slice(&out.stdout).unwrap_or_else(|e| panic!("{e}: {out:?}")))
}

#[test]
fn a_folder_and_a_file_that_cannot_be_read_are_named_with_what_helps() {
    let run = Run::new();
    home_with_chromium(&run);
    let home = run.home_path();
    put(home, ".config/chromium/Default/IndexedDB/https_shop_0.indexeddb.leveldb/CURRENT", "x");
    put(home, ".config/chromium/Default/other.file", "this could be a database");
    put(home, ".config/google-chrome/Default/Preferences", "{}");
    let closed = [
        ".config/chromium/Default/IndexedDB",
        ".config/chromium/Default/other.file",
        ".config/google-chrome",
    ];
    for rel in closed {
        std::fs::set_permissions(home.join(rel), std::os::unix::fs::PermissionsExt::from_mode(0o0)).unwrap();
    }
    let Some(report) = as_nobody(&run, &["scan", "--format", "json"]) else { return };
    let told = told(&report);
    for rel in closed {
        let why = about(&told, &home.join(rel));
        assert!(why.contains("ermission denied") && why.contains("as its owner"), "{rel}: {why}");
    }
    assert_eq!(told.len(), closed.len(), "{told:#?}");
}

/// The paths of the stores of a report that end so.
fn stores(report: &Value) -> Vec<String> {
    let all = report["targets"].as_array().unwrap().iter().flat_map(|t| t["stores"].as_array().unwrap());
    all.map(|s| s["path"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
fn has_store(report: &Value, path: &Path) {
    let path = path.display().to_string().replace('%', "%25");
    let all = stores(report);
    assert!(all.contains(&path), "{path} is not among {all:#?}");
}

#[test]
fn profiles_that_the_browsers_own_list_names_are_looked_at_whatever_they_are_called() {
    let run = Run::new();
    home_with_chromium(&run);
    let home = run.home_path();
    let names = ["Work", "Profil \u{fc}%20 [x]{y},*"];
    let members: Vec<String> = names.iter().map(|n| format!("{}:{{}}", serde_json::json!(n))).collect();
    let list = format!("{{\"profile\":{{\"info_cache\":{{\"Default\":{{}},{}}}}}}}", members.join(","));
    put(home, ".config/chromium/Local State", list);
    for name in names {
        put(home, &format!(".config/chromium/{name}/Preferences"), "{}");
        put(home, &format!(".cache/chromium/{name}/Cache/Cache_Data/index"), "");
    }
    let report = scan(&run, &[]);
    assert_eq!(told(&report), [""; 0]);
    for name in names {
        has_store(&report, &home.join(".config/chromium").join(name).join("Preferences"));
        has_store(&report, &home.join(".cache/chromium").join(name).join("Cache/Cache_Data"));
    }
    // The same rules for whoever asks about one path.
    let path = home.join(".cache/chromium/Work/Cache/Cache_Data/index");
    let said = run.call(["profile", "explain", path.to_str().unwrap()]);
    assert!(said.stdout.contains("http-cache"), "{said}");
}

#[test]
fn a_list_of_profiles_that_cannot_be_understood_is_a_gap() {
    let run = Run::new();
    home_with_chromium(&run);
    put(run.home_path(), ".config/chromium/Local State", "{\"profile\":");
    let told = told(&scan(&run, &[]));
    let why = about(&told, &run.home_path().join(".config/chromium/Local State"));
    assert!(why.contains("says which folders the app uses"), "{why}");
}

#[test]
fn firefox_profiles_in_places_of_their_own_are_looked_at_or_named() {
    let run = Run::new();
    let home = run.home_path();
    let outside = tempfile::tempdir().unwrap();
    let far = shopmend::fsys::real_path(outside.path()).unwrap();
    for profile in
        [home.join("work/firefox"), home.join("Documents/ff"), home.join("work/other"), far.clone()]
    {
        put(&profile, "storage.sqlite", "");
        put(&profile, "cache2/index", "");
        if !profile.ends_with("other") {
            put(&profile, "prefs.js", "");
        }
    }
    put(home, ".mozilla/firefox/sub/deep/prefs.js", "");
    put(home, ".mozilla/firefox/sub/deep/cookies.sqlite", "");
    let ini = |at: &str| format!("[Profile{}]\nIsRelative=0\nPath={at}\n", at.len());
    let list = [
        "[General]\nVersion=2\n[Profile0]\nIsRelative=1\nPath=sub/deep\n".to_owned(),
        ini(&home.join("work/firefox").display().to_string()),
        ini(&home.join("Documents/ff").display().to_string()),
        ini(&home.join("gone/profile").display().to_string()),
        ini(&far.display().to_string()),
    ];
    put(home, ".mozilla/firefox/profiles.ini", list.concat());
    let other = format!("[4F96D1932A9F858E]\nDefault={}\n", home.join("work/other").display());
    put(home, ".mozilla/firefox/installs.ini", other);
    let report = scan(&run, &[]);
    has_store(&report, &home.join("work/firefox/cache2"));
    has_store(&report, &home.join(".mozilla/firefox/sub/deep/cookies.sqlite"));
    let told = told(&report);
    assert_eq!(told.len(), 3, "{told:#?}");
    let list = home.join(".mozilla/firefox/profiles.ini").display().to_string();
    let why = about(&told, &home.join("Documents/ff"));
    assert!(why.contains(&list) && why.contains("`Documents`") && why.contains("shopmend check"), "{why}");
    let why = about(&told, &far);
    assert!(why.contains("none of this person's own folders") && why.contains("shopmend check"), "{why}");
    let why = about(&told, &home.join("work/other"));
    assert!(why.contains("installs.ini") && why.contains("no prefs.js"), "{why}");
}

/// In an image the list says where its own machine had the folder.
#[test]
fn a_list_in_an_image_is_read_as_its_own_machine_wrote_it() {
    let run = Run::new();
    let image = crate::support::tree::Tree::new();
    let top = image.path();
    put(
        top,
        "home/ann/.mozilla/firefox/profiles.ini",
        "[Profile0]\nIsRelative=0\nPath=/home/ann/work/firefox\n[Profile1]\nPath=/srv/ff\n",
    );
    put(top, "home/ann/work/firefox/prefs.js", "");
    put(top, "home/ann/work/firefox/cache2/index", "");
    let on_windows = "Users/Ann/AppData/Roaming/Mozilla/Firefox";
    put(
        top,
        &format!("{on_windows}/profiles.ini"),
        "[Profile0]\r\nIsRelative=0\r\nPath=C:\\Users\\Ann\\Work\\sub\\ff\r\n",
    );
    put(top, &format!("{on_windows}/Profiles/x/prefs.js"), "");
    put(top, "Users/Ann/work/sub/ff/prefs.js", "");
    put(top, "Users/Ann/work/sub/ff/cache2/index", "");
    let report = scan(&run, &["--image", top.to_str().unwrap()]);
    has_store(&report, &top.join("home/ann/work/firefox/cache2"));
    has_store(&report, &top.join("Users/Ann/work/sub/ff/cache2"));
    let told = told(&report);
    assert!(about(&told, Path::new("/srv/ff")).contains("profiles.ini"));
    assert_eq!(told.len(), 1, "{told:#?}");
}

/// A program that runs in this home under another's name; ends with the test.
struct Running(std::process::Child);

impl Running {
    fn start(run: &Run, name: &str, args: &[&str], env: &[(&str, &Path)]) -> Self {
        let program = run.home_path().parent().unwrap().join(name);
        std::fs::copy("/bin/sh", &program).unwrap();
        let mut command = std::process::Command::new(&program);
        run.at_home(&mut command);
        // A shell that waits for its input, which never comes.
        command.args(["-c", "read -r never", "sh"]).args(args).envs(env.iter().copied());
        Self(command.stdin(std::process::Stdio::piped()).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_user_data_folder_of_a_running_browser_is_looked_at_or_named() {
    let run = Run::new();
    let home = run.home_path();
    let outside = tempfile::tempdir().unwrap();
    let far = shopmend::fsys::real_path(outside.path()).unwrap();
    for top in [home.join(".config/shop-browser"), far.join("data")] {
        put(&top, "Local State", "{\"profile\":{\"info_cache\":{\"Shop\":{}}}}");
        put(&top, "Shop/Preferences", "{}");
    }
    put(home, ".cache/shop-browser/Shop/Cache/Cache_Data/index", "");
    let near = format!("--user-data-dir={}", home.join(".config/shop-browser").display());
    let there = format!("--user-data-dir={}", far.join("data").display());
    let _near = Running::start(&run, "chromium", &[&near], &[]);
    let _there = Running::start(&run, "chromium-browser", &[&there, "--type=x"], &[]);
    // Another person's browser on this machine is none of this scan's business.
    let other = Run::new();
    let _other = Running::start(&other, "chromium", &[&there], &[]);
    let report = scan(&run, &[]);
    has_store(&report, &home.join(".config/shop-browser/Shop/Preferences"));
    has_store(&report, &home.join(".cache/shop-browser/Shop/Cache/Cache_Data"));
    let told = told(&report);
    assert!(about(&told, &far.join("data")).contains("--user-data-dir of the running process"), "{told:?}");
    assert_eq!(told.len(), 1, "{told:#?}");
}

#[test]
fn base_folders_that_only_the_session_or_only_the_timer_has_are_named() {
    let run = Run::new();
    home_with_chromium(&run);
    let tmp = tempfile::tempdir().unwrap();
    let fast = shopmend::fsys::real_path(tmp.path()).unwrap();
    put(&fast, "chromium/Default/Cache/Cache_Data/index", "");
    // As a timer: the variable is not set, but the desktop's programs have it.
    let session = Running::start(&run, "desktop", &[], &[("XDG_CACHE_HOME", &fast)]);
    let told_by_timer = told(&scan(&run, &[]));
    let why = about(&told_by_timer, &fast.join("chromium"));
    assert!(why.contains(&format!("run shopmend with XDG_CACHE_HOME={}", fast.display())), "{why}");
    assert_eq!(told_by_timer.len(), 1, "{told_by_timer:#?}");
    drop(session);
    // Nothing runs, and no scan has seen it: nobody can know.
    assert_eq!(told(&scan(&run, &[])), [""; 0]);
    // As in the session: the folder that is used without the variable is there too.
    let run = run.env("XDG_CACHE_HOME", &fast);
    let told_by_session = told(&scan(&run, &[]));
    let why = about(&told_by_session, &run.home_path().join(".cache/chromium"));
    assert!(why.contains("run shopmend with XDG_CACHE_HOME not set"), "{why}");
    assert_eq!(told_by_session.len(), 1, "{told_by_session:#?}");
    // An empty folder is no gap.
    std::fs::remove_dir_all(run.home_path().join(".cache/chromium/Default")).unwrap();
    assert_eq!(told(&scan(&run, &[])), [""; 0]);
    // The timer's next scan knows from the one before.
    let run = run.env("XDG_CACHE_HOME", "");
    let why = about(&told(&scan(&run, &[])), &fast.join("chromium"));
    assert!(why.contains("an earlier scan looked at it"), "{why}");
    std::fs::remove_dir_all(fast.join("chromium")).unwrap();
    assert_eq!(told(&scan(&run, &[])), [""; 0]);
}

/// Whose data there is in an image is not only what lies in the usual folder.
#[test]
fn homes_beside_the_usual_folder_and_behind_links_are_found_or_named() {
    let run = Run::new();
    let image = crate::support::tree::Tree::new();
    let top = image.path();
    for home in ["home/ann", "home/dom.example/carl", "export/people/dora", "root"] {
        put(top, &format!("{home}/.config/chromium/Default/Preferences"), "{}");
    }
    put(top, "home/lost+found/x", "");
    put(top, "var/lib/service/.config/chromium/Default/x", "");
    std::fs::create_dir_all(top.join("srv/disk/eve/.config")).unwrap();
    link(Path::new("/srv/disk/eve"), &top.join("home/eve"));
    link(Path::new("ann"), &top.join("home/ann.old"));
    link(Path::new("/srv/run"), &top.join("run"));
    let accounts = [
        "root:x:0:0::/root:/bin/sh",
        "daemon:x:1:1::/run/daemon:/usr/sbin/nologin",
        "dora:x:1002:1002::/export/people/dora:/bin/sh",
        "eve:x:1003:1003::/home/eve:/bin/sh",
        "odd:x:1004:1004::/../../etc:/bin/sh",
        "gone:x:1005:1005::/home/gone:/bin/sh",
        "bad line",
    ];
    put(top, "etc/passwd", accounts.join("\n"));
    let report = scan(&run, &["--image", top.to_str().unwrap(), "--platform", "linux"]);
    let users: Vec<&str> =
        report["targets"].as_array().unwrap().iter().map(|t| t["user"].as_str().unwrap()).collect();
    for user in ["ann", "carl", "dora", "root"] {
        assert!(users.contains(&user), "{user}: {users:?}");
    }
    let told = told(&report);
    assert!(about(&told, &top.join("home/eve")).starts_with("it is a link"));
    assert_eq!(told.len(), 1, "{told:#?}");
}

#[test]
fn users_of_a_windows_image_whose_folders_are_links_are_named() {
    let run = Run::new();
    let image = crate::support::tree::Tree::new();
    let top = image.path();
    put(top, "Users/Ann/AppData/Local/Google/Chrome/User Data/Default/Preferences", "{}");
    link(Path::new("Ann"), &top.join("Users/Ann.old"));
    link(Path::new("C:\\ProgramData"), &top.join("Users/All Users"));
    std::fs::create_dir_all(top.join("Users/Cara/AppData")).unwrap();
    link(Path::new("../../Ann/AppData/Local"), &top.join("Users/Cara/AppData/Local"));
    std::fs::create_dir_all(top.join("Users/Dan")).unwrap();
    link(Path::new("D:\\AppData"), &top.join("Users/Dan/AppData"));
    link(Path::new("D:\\Eve"), &top.join("Users/Eve"));
    let report = scan(&run, &["--image", top.to_str().unwrap(), "--platform", "windows"]);
    has_store(&report, &top.join("Users/Ann/AppData/Local/Google/Chrome/User Data/Default/Preferences"));
    let told = told(&report);
    for at in ["Users/Cara/AppData/Local", "Users/Dan/AppData", "Users/Eve"] {
        assert!(about(&told, &top.join(at)).contains("--image"), "{told:#?}");
    }
    assert_eq!(told.len(), 3, "{told:#?}");
}

#[test]
fn storage_that_a_phone_adopted_and_cards_in_it_are_part_of_its_copy() {
    let run = Run::new();
    let image = crate::support::tree::Tree::new();
    let top = image.path();
    let app = "com.zhiliaoapp.musically";
    put(top, "data/data/org.example.other/databases/x.db", "");
    put(top, &format!("mnt/expand/5af0/user/0/{app}/shared_prefs/a.xml"), "<map />");
    put(top, &format!("storage/1A2B-3C4D/Android/data/{app}/cache/picture/x"), "x");
    let report = scan(&run, &["--image", top.to_str().unwrap(), "--platform", "android"]);
    has_store(&report, &top.join(format!("mnt/expand/5af0/user/0/{app}/shared_prefs/a.xml")));
    let roots: Vec<String> =
        report["targets"].as_array().unwrap().iter().map(|t| t["roots"].to_string()).collect();
    assert!(roots.iter().any(|r| r.contains("storage/1A2B-3C4D")), "{roots:?}");
    assert_eq!(told(&report), [""; 0]);
}

/// A path is written alike by every command, whatever is in it.
#[test]
fn a_path_has_one_spelling_in_every_command() {
    let run = Run::new();
    let home = run.home_path().join("hom e/Zo\u{eb} 100%20 [x]{y},*");
    std::fs::create_dir_all(&home).unwrap();
    let run = run.home(&home);
    home_with_chromium(&run);
    let cache = home.join(".cache/chromium");
    let path = cache.join("Default/Cache/Cache_Data/index");
    let spelled = cache.display().to_string();
    for said in [
        run.call(["scan"]),
        run.call(["scan", "-v"]),
        run.call(["profile", "explain", path.to_str().unwrap()]),
        run.call(["scan", "--format", "html"]),
    ] {
        let text = said.stdout.replace('\n', " ");
        assert!(text.contains(&spelled), "{spelled}: {said}");
        assert!(!text.contains("%2520"), "{said}");
    }
}

#[test]
fn what_lies_under_no_rule_is_listed_by_size() {
    let run = Run::new();
    home_with_chromium(&run);
    let home = run.home_path();
    put(home, ".config/chromium/Default/a new store/deep/one", vec![0; 5000]);
    put(home, ".config/chromium/Default/a new store/two", vec![0; 3000]);
    put(home, ".config/chromium/Default/odd.bin", vec![0; 300]);
    let said = run.call(["profile", "check-coverage"]).expect(Exit::Ok);
    let lines: Vec<&str> = said.stdout.lines().map(str::trim).collect();
    let at =
        |end: &str| lines.iter().position(|l| l.ends_with(end)).unwrap_or_else(|| panic!("{end}: {said}"));
    assert!(at("2 files      data:Default/a new store/") < at("data:Default/odd.bin"), "{said}");
    assert!(lines[at("a new store/")].starts_with("7.8 KiB"), "{said}");
    assert!(!said.stdout.contains("Preferences") && !said.stdout.contains("Cache_Data"), "{said}");
    assert!(said.stdout.contains("under no rule: 8.1 KiB (3 files)"), "{said}");
}
