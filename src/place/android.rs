//! Android's way of laying out apps' data, in a data partition or a part of one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use quick_xml::Reader;
use quick_xml::events::Event;

use super::look::Look;
use super::scope::{BaseFolder, Scope};
use crate::model::Platform;

/// Largest list of packages that is read.
const MAX_PACKAGES: u64 = 32 << 20;

/// What an app's private folder holds, and a shared one does not.
const PRIVATE: &[&str] = &["databases", "shared_prefs", "code_cache", "no_backup", "app_webview"];
/// What both may hold.
const EITHER: &[&str] = &["cache", "files"];

/// The users of a data partition (Android's `/data`).
///
/// `data` holds the private folders of user 0, `user/N` those of user N,
/// `user_de/N` those readable before the first unlock, `media/N` the shared
/// storage. On a device `user/0` is `data` under another name; in a copy either
/// may be there.
pub(crate) fn data_partition(data: &Path, look: &mut Look) -> Vec<Scope> {
    let mut users = BTreeSet::new();
    if look.folder(data, "data").is_some() {
        users.insert(0u32);
    }
    for group in ["user", "user_de", "media"] {
        if let Some(group) = look.has_any(data, &[group]).then(|| data.join(group)) {
            for folder in look.folders(&group) {
                users.extend(folder.file_name().and_then(|n| n.to_str()).and_then(|n| n.parse::<u32>().ok()));
            }
        }
    }
    if users.is_empty() {
        return Vec::new();
    }
    let updates = packages_file(&data.join("system/packages.xml"));
    let mut out = Vec::new();
    for user in users {
        let mut scope = Scope::new(Platform::Android, &data.join(format!("user/{user}")));
        scope.user = Some(user.to_string());
        scope.updates.clone_from(&updates);
        let mut private = Vec::new();
        if user == 0 {
            private.extend(look.folder(data, "data"));
        }
        // A link on a device; `data` is then what it leads to.
        if private.is_empty() || look.has_any(data, &[&format!("user/{user}")]) {
            private.extend(look.folder(data, &format!("user/{user}")));
        }
        for path in private {
            scope.base("DATA", BaseFolder::found(path));
        }
        if let Some(path) = look.folder(data, &format!("user_de/{user}")) {
            scope.base("DATA_DE", BaseFolder::found(path));
        }
        if let Some(path) = look.folder(data, &format!("media/{user}/Android/data")) {
            scope.base("EXTERNAL", BaseFolder::found(path));
        }
        if !scope.bases.is_empty() {
            out.push(scope);
        }
    }
    out
}

/// The users of a tree that holds Android data in any of the forms in which it
/// is copied: a whole device, a data partition, a shared storage, a folder of
/// app folders, one app's folder.
pub(crate) fn image(dir: &Path, sure: bool, look: &mut Look) -> Vec<Scope> {
    let partition = ["data", "user", "user_de", "media"];
    if look.has_any(dir, &["data/data", "data/user", "data/user_de", "data/media"]) {
        let mut scopes = data_partition(&dir.join("data"), look);
        adopted(dir, &mut scopes, look);
        for scope in &mut scopes {
            let user = scope.user.clone().unwrap_or_default();
            let mut shared = vec![format!("storage/emulated/{user}/Android/data")];
            if user == "0" {
                shared.push("sdcard/Android/data".to_owned());
            }
            for path in shared.iter().filter(|&s| look.has_any(dir, &[s])).map(|s| dir.join(s)) {
                scope.base("EXTERNAL", BaseFolder::found(path));
            }
        }
        scopes.extend(cards(dir, look));
        return scopes;
    }
    // A folder named `data` alone is no sign of Android.
    let apps = look.has_any(dir, &["data"]) && look.folders(&dir.join("data")).iter().any(|p| is_package(p));
    if apps
        || look.has_any(dir, &["user/0", "user_de/0", "media/0"])
        || (sure && look.has_any(dir, &partition))
    {
        return data_partition(dir, look);
    }
    let mut scope = Scope::new(Platform::Android, dir);
    if let Some(path) = look.folder(dir, "Android/data") {
        scope.base("EXTERNAL", BaseFolder::found(path));
        return vec![scope];
    }
    let children = look.folders(dir);
    let mut children = children.iter().filter(|p| is_package(p)).peekable();
    if children.peek().is_some() {
        let all: Vec<_> = children.collect();
        if all.iter().any(|p| look.has_any(p, PRIVATE)) {
            scope.base("DATA", BaseFolder::found(dir));
            return vec![scope];
        }
        if all.iter().any(|p| look.has_any(p, EITHER)) {
            scope.base("EXTERNAL", BaseFolder::found(dir));
            return vec![scope];
        }
    }
    // Only what was named is looked at, not the apps beside it.
    if let (true, Some(parent), Some(name)) = (is_package(dir), dir.parent(), dir.file_name()) {
        let only = BaseFolder { only: Some(name.to_owned()), ..BaseFolder::found(parent) };
        if look.has_any(dir, PRIVATE) {
            scope.base("DATA", only);
            return vec![scope];
        }
        if look.has_any(dir, EITHER) {
            scope.base("EXTERNAL", only);
            return vec![scope];
        }
    }
    Vec::new()
}

/// Adds the storage that was adopted, `mnt/expand/UUID`, where an app can be
/// moved to: it is laid out like the data partition.
fn adopted(dir: &Path, scopes: &mut Vec<Scope>, look: &mut Look) {
    if !look.has_any(dir, &["mnt/expand"]) {
        return;
    }
    for volume in look.folders(&dir.join("mnt/expand")) {
        for more in data_partition(&volume, look) {
            match scopes.iter_mut().find(|s| s.user == more.user) {
                Some(scope) => {
                    for (name, folders) in more.bases {
                        for folder in folders {
                            scope.base(name, folder);
                        }
                    }
                }
                None => scopes.push(more),
            }
        }
    }
}

/// The cards that other devices can read as well, each a place of its own:
/// `storage/ABCD-1234/Android/data`.
fn cards(dir: &Path, look: &mut Look) -> Vec<Scope> {
    let mut out = Vec::new();
    if !look.has_any(dir, &["storage"]) {
        return out;
    }
    for card in look.folders(&dir.join("storage")) {
        let own = card.file_name().is_some_and(|n| n == "emulated" || n == "self");
        if !own && look.has_any(&card, &["Android/data"]) {
            let mut scope = Scope::new(Platform::Android, &card);
            scope.base("EXTERNAL", BaseFolder::found(card.join("Android/data")));
            out.push(scope);
        }
    }
    out
}

/// Whether a folder is named like an app's package: at least two parts of
/// letters, digits and `_`, with `.` between.
fn is_package(path: &Path) -> bool {
    let Some(name) = path.file_name().and_then(|n| n.to_str()) else { return false };
    let part = |p: &str| {
        p.starts_with(|c: char| c.is_ascii_alphabetic())
            && p.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
    };
    name.contains('.') && name.split('.').all(part)
}

/// When each app was last updated, by Android's own list; empty when there is
/// none that can be read as text.
fn packages_file(path: &Path) -> BTreeMap<String, i128> {
    let mut bytes = Vec::new();
    let plain = std::fs::symlink_metadata(path).is_ok_and(|m| m.is_file());
    let read = plain
        && File::open(path).and_then(|f| f.take(MAX_PACKAGES + 1).read_to_end(&mut bytes)).is_ok()
        && bytes.len() as u64 <= MAX_PACKAGES;
    if read { packages(&bytes) } else { BTreeMap::new() }
}

/// Reads `packages.xml`: `<package name="…" ut="…">`, where `ut` is the time of
/// the last update in milliseconds since 1970, in hex (Android's `Settings.java`,
/// `writePackageLPr`). From Android 12 on the file is usually binary XML, which
/// is not read.
fn packages(bytes: &[u8]) -> BTreeMap<String, i128> {
    let mut out = BTreeMap::new();
    if bytes.starts_with(b"ABX\0") {
        return out;
    }
    let mut reader = Reader::from_reader(bytes);
    while let Ok(event) = reader.read_event() {
        let (Event::Start(tag) | Event::Empty(tag)) = event else {
            if matches!(event, Event::Eof) {
                break;
            }
            continue;
        };
        if tag.name().as_ref() != "package" {
            continue;
        }
        let (mut name, mut time) = (None, None);
        for attribute in tag.attributes().flatten() {
            match attribute.key.as_ref() {
                "name" => name = Some(attribute.value.into_owned()),
                "ut" => time = i64::from_str_radix(&attribute.value, 16).ok(),
                _ => {}
            }
        }
        if let (Some(name), Some(ms)) = (name, time)
            && ms > 0
        {
            out.insert(name, i128::from(ms) * 1_000_000);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn update_times_are_read_from_the_package_list() {
        let xml = br#"<?xml version='1.0' encoding='utf-8' standalone='yes' ?>
<packages><version sdkVersion="30" />
<package name="com.tiktokshop.seller" codePath="/data/app/x" ft="17f0c3b2a40" it="17f0c3b2a40" ut="18c2a5e3d80" version="100600">
<sigs count="1"/></package>
<package name="no.time" /><package name="bad" ut="zz"/></packages>"#;
        let map = packages(xml);
        assert_eq!(map.len(), 1);
        assert_eq!(map["com.tiktokshop.seller"], 0x18c_2a5e_3d80 * 1_000_000);
        assert!(packages(b"ABX\0\x01").is_empty());
    }

    #[test]
    fn package_names_are_told_from_others() {
        for good in ["com.tiktokshop.seller", "a.b"] {
            assert!(is_package(Path::new(good)));
        }
        for bad in ["data", ".config", "a.", "com.x y", "1.2", "x.tar.gz/.."] {
            assert!(!is_package(Path::new(bad)), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_as_a_package_list(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = packages(&bytes);
        }
    }
}
