//! What the topics about Android devices over adb share: calls, verdicts, and
//! what may never change.
#![allow(dead_code, unreachable_pub)]

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;

use serde_json::Value;
use shopmend::exit::Exit;
use shopmend::sample::android::{TIKTOK, USER};

use super::device::{TestDevice, lacking};
use super::run::{Outcome, Run};
use super::skip::{has, skipped};
use super::tree::Snapshot;

/// Whether test devices can be made here; says it loudly where not.
pub fn can(test: &str) -> bool {
    match lacking() {
        None => true,
        Some(why) => {
            skipped(test, &why);
            false
        }
    }
}

/// The message database below the device's root.
pub fn messages() -> String {
    format!("data/data/{TIKTOK}/databases/{USER}_im.db")
}

/// Calls the program on one device.
pub fn on(run: &Run, device: &TestDevice, root: bool, command: &[&str]) -> Outcome {
    let named = format!("--device={}", device.address());
    let mut all: Vec<&str> = command.to_vec();
    all.push(&named);
    if root {
        all.push("--root");
    }
    run.call(all)
}

/// The exit code as one of ours.
#[track_caller]
pub fn exit_of(said: &Outcome) -> Exit {
    let code = said.code.and_then(|c| u8::try_from(c).ok());
    let known = Exit::ALL.into_iter().find(|e| Some(e.code()) == code);
    known.unwrap_or_else(|| panic!("no exit code of ours: {said}"))
}

/// The verdict of the store whose path ends so; `absent` when there is none.
pub fn verdict(document: &Value, path: &str) -> String {
    let stores = document["targets"].as_array().unwrap().iter().flat_map(|t| t["stores"].as_array().unwrap());
    let mut hits = stores.filter(|s| s["path"].as_str().unwrap().ends_with(path));
    hits.next().map_or("absent", |s| s["verdict"].as_str().unwrap()).to_owned()
}

/// Files that no repair may ever change: drafts and what they are made of,
/// the session, the other preferences.
pub struct Precious(Vec<(PathBuf, Vec<u8>)>);

impl Precious {
    pub fn of(device: &TestDevice) -> Self {
        let data = device.tiktok().data;
        let all = [
            "databases/aweme.db",
            "shared_prefs/ttnetCookieStore.xml",
            "shared_prefs/search.xml",
            "files/draft/0003/video.mp4",
        ];
        Self(all.iter().map(|p| data.join(p)).map(|p| (p.clone(), fs::read(&p).unwrap())).collect())
    }

    #[track_caller]
    pub fn assert_untouched(&self) {
        for (path, content) in &self.0 {
            assert!(fs::read(path).unwrap() == *content, "{} was changed", path.display());
        }
    }
}

/// Nothing of ours is left on the device.
#[track_caller]
pub fn tidy(device: &TestDevice) {
    let left: Vec<_> = walkdir::WalkDir::new(device.data())
        .into_iter()
        .flatten()
        .filter(|e| e.file_name().to_string_lossy().contains("shopmend"))
        .map(|e| e.path().to_path_buf())
        .collect();
    assert!(left.is_empty(), "left on the device: {left:?}");
}

/// No form of Android's own clearing was ever called.
#[track_caller]
pub fn nothing_was_wiped(device: &TestDevice) {
    assert_eq!(device.says("etc/wiped"), "");
    assert!(!device.commands().contains("pm clear"));
}

/// The rebuilt message database is in place, as the old one was owned, and
/// SQLite's own program reads it.
#[track_caller]
pub fn messages_are_well(device: &TestDevice, old: &fs::Metadata) {
    let path = device.root().join(messages());
    let new = fs::metadata(&path).unwrap();
    assert_eq!((new.uid(), new.gid(), new.mode()), (old.uid(), old.gid(), old.mode()));
    // A copy: reading a database in place would leave files beside it.
    let tmp = tempfile::tempdir().unwrap();
    let copy = tmp.path().join("copy.db");
    fs::copy(&path, &copy).unwrap();
    let ask = "PRAGMA integrity_check; SELECT count(*) FROM msg;";
    let (sound, rows) = if has("sqlite3") {
        let out = std::process::Command::new("sqlite3").arg(&copy).arg(ask).output().unwrap();
        let text = String::from_utf8(out.stdout).unwrap();
        let (sound, rows) = text.trim().split_once('\n').unwrap();
        (sound.to_owned(), rows.parse::<i64>().unwrap())
    } else {
        let db = rusqlite::Connection::open(&copy).unwrap();
        let sound = db.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
        (sound, db.query_row("SELECT count(*) FROM msg", [], |r| r.get(0)).unwrap())
    };
    assert_eq!(sound, "ok");
    assert!(rows >= 590, "{rows} messages are left of about 600");
}

/// What differs from before, but for the stores that a rebuild is about.
pub fn others_changed(device: &TestDevice, before: &Snapshot) -> Vec<String> {
    let mut out = before.diff(&Snapshot::of(&device.data()));
    out.retain(|line| line.contains(TIKTOK));
    let of_theirs = [format!("{USER}_im.db"), "shared_prefs/aweme_user.xml".to_owned()];
    out.retain(|line| !of_theirs.iter().any(|name| line.contains(name.as_str())));
    // Folders in which something was put in place have a new time.
    out.retain(|line| !["databases: time", "shared_prefs: time"].iter().any(|name| line.contains(name)));
    out
}
