//! What a scan did not look at is part of its result: each situation names the
//! place, why, and what would make it visible.

use std::path::Path;

use serde_json::Value;

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
        std::fs::set_permissions(home.join(rel), std::os::unix::fs::PermissionsExt::from_mode(0)).unwrap();
    }
    let Some(report) = as_nobody(&run, &["scan", "--format", "json"]) else { return };
    let told = told(&report);
    for rel in closed {
        let why = about(&told, &home.join(rel));
        assert!(why.contains("ermission denied") && why.contains("as its owner"), "{rel}: {why}");
    }
    assert_eq!(told.len(), closed.len(), "{told:#?}");
}
