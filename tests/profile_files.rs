//! A person's own profile files: what is refused, at which line and why; what
//! they add and replace; and the answers of the `profile` commands.

use std::path::{Path, PathBuf};

use proptest::prelude::*;
use shopmend::error::Kind;
use shopmend::model::{Class, Platform};
use shopmend::place::{Filter, ImagePlace, explain, explain_text, locate};
use shopmend::profile::commands::{list, list_text, show, show_text, validate, validate_text};
use shopmend::profile::{Extra, Profiles};

const VALID: &str = r#"# A comment, so that line numbers are not trivial.
[[app]]
id = "demo"
name = "Demo"
platform = "linux"
processes = ["demo"]
running-markers = ["data:lock"]

[[app.install]]
id = "native"
roots = { data = "{XDG_CONFIG_HOME}/demo" }

[[app.rule]]
id = "pictures"
name = "Pictures"
kind = "files"
class = "cache"
roots = ["data"]
paths = ["cache/pictures"]
may = ["clear-entries"]
budget = "10 MiB"
max-age-days = 7
reason = "made again"
source = "its manual"
confidence = "confirmed"
matches = ["cache/pictures/1"]
not-matches = ["cache/other"]

[[app.rule]]
id = "orders"
name = "Orders"
kind = "sqlite"
class = "user"
roots = ["data"]
paths = ["orders.db"]
may = ["rebuild"]
reason = "the person's"
source = "its manual"
confidence = "confirmed"
matches = ["orders.db", "orders.db-wal"]
not-matches = ["cache/1"]
"#;

/// Line and reason of what is wrong with one profile text.
fn problems(text: &str) -> Vec<(usize, String)> {
    match Profiles::from_texts(&[("own.toml", text)]) {
        Ok(_) => Vec::new(),
        Err(problems) => problems
            .0
            .into_iter()
            .map(|p| {
                assert_eq!(p.file, "own.toml", "{p}");
                (p.line, p.reason)
            })
            .collect(),
    }
}

/// Replaces one piece of the valid text and says what that is refused for.
#[track_caller]
fn refused(from: &str, to: &str, line: usize, reason: &str) {
    assert_eq!(VALID.matches(from).count(), 1, "{from}");
    let found = problems(&VALID.replace(from, to));
    assert!(
        found.iter().any(|(at, why)| *at == line && why.contains(reason)),
        "wanted line {line}: {reason}\nfound {found:#?}"
    );
}

#[test]
fn a_valid_file_is_read() {
    assert_eq!(problems(VALID), []);
}

#[test]
fn unknown_and_missing_fields_are_refused() {
    refused("max-age-days = 7", "max-age = 7", 22, "unknown field `max-age`");
    refused("[[app.install]]", "[[app.instal]]", 9, "unknown field `instal`");
    refused("reason = \"made again\"\n", "", 13, "missing field `reason`");
    refused(
        "source = \"its manual\"\nconfidence = \"confirmed\"\nmatches = [\"cache",
        "confidence = \"confirmed\"\nmatches = [\"cache",
        13,
        "missing field `source`",
    );
    refused("reason = \"made again\"", "reason = \" \"", 23, "`reason` is empty");
    refused("class = \"user\"", "class = \"mine\"", 33, "unknown variant `mine`");
    refused("[[app]]", "[[app]", 2, "");
    refused("matches = [\"cache/pictures/1\"]", "matches = []", 14, "`matches` is empty");
    refused("not-matches = [\"cache/other\"]", "not-matches = []", 14, "`not-matches` is empty");
    refused("id = \"demo\"", "id = \"de mo\"", 3, "is no id");
    refused("budget = \"10 MiB\"", "budget = \"much\"", 21, "`budget` is no size");
}

#[test]
fn roots_that_are_no_apps_own_folder_are_refused() {
    for (to, reason) in [
        ("{HOME}", "only 0 name(s) below {HOME}"),
        ("{HOME}/demo", "only 1 name(s) below {HOME}"),
        ("demo/data", "the path is relative"),
        ("", "the path is empty"),
        ("{APPDATA}/demo", "`{APPDATA}` is not set on linux"),
        ("{XDG_CONFIG_HOME}/../x", "`.` and `..` are not allowed"),
        ("{HOME}/Documents/demo", "a person's own files"),
        ("{HOME}/.local/share", "shared by many apps"),
        ("/etc/demo/x", "belongs to the system"),
        ("/srv/demo", "only 2 name(s) below /"),
        ("{HOME}/*/demo", "a wildcard is allowed only after two plain names"),
    ] {
        refused("{XDG_CONFIG_HOME}/demo", to, 11, reason);
    }
    refused("data:lock", "cache:lock", 7, "a running marker is `ROOT:PATH`");
}

#[test]
fn patterns_that_are_none_are_refused() {
    for (to, reason) in [
        ("../pictures", "`.` and `..` are not allowed"),
        ("/cache/pictures", "starts or ends with `/`"),
        ("cache/[a-z]", "is not part of the pattern language"),
        ("cache/pictures/**", "a trailing `**` adds nothing"),
        ("cache/pict**", "`**` must stand for whole names"),
        ("*", "only wildcards"),
        ("cache/{a", "a brace is not closed"),
        ("<profile>/cache", "`<profile>` is no parameter"),
    ] {
        refused("\"cache/pictures\"]", &format!("\"{to}\"]"), 19, reason);
    }
}

#[test]
fn permissions_that_do_not_fit_are_refused() {
    refused("may = [\"rebuild\"]", "may = [\"clear-store\"]", 30, "only class `cache` may be");
    refused("may = [\"rebuild\"]", "may = [\"restore-backup\"]", 30, "is for kind `shared-prefs`");
    refused("may = [\"rebuild\"]", "budget = \"1 MiB\"", 30, "are for class `cache`");
    refused("max-age-days = 7", "max-age-days = 0", 14, "must be at least 1");
    refused("kind = \"files\"", "kind = \"blockfile-cache\"", 14, "use `clear-store`");
    let guess = VALID.replacen("confidence = \"confirmed\"", "confidence = \"guess\"", 1);
    assert!(problems(&guess)[0].1.contains("what is only a guess is never cleared"));
}

#[test]
fn parts_of_a_store_are_never_cleared_alone() {
    for (to, reason) in [
        ("cache/*-journal", "`x-journal`, which is a part of a store"),
        ("db/{CURRENT,MANIFEST-*}", "`CURRENT`, which is a part of a store"),
        ("db/*.ldb", "which is a part of a store"),
        ("db/*.log", "which is a part of a store"),
        ("prefs/*.bak", "which is a part of a store"),
        ("cache/*", "ends in a bare wildcard"),
    ] {
        refused("\"cache/pictures\"]", &format!("\"{to}\"]"), 14, reason);
    }
}

#[test]
fn what_is_never_cleared_is_refused_as_cache() {
    for (to, reason) in [
        ("Default/Cookies", "the login session"),
        ("x/draft/pictures", "drafts, which exist on this device only"),
        ("Default/IndexedDB/*.leveldb", "drafts"),
        ("databases/*_im.db", "messages or uploads"),
        ("Default/Service Worker/CacheStorage", "a web page stored it"),
    ] {
        refused("\"cache/pictures\"]", &format!("\"{to}\"]"), 14, reason);
    }
}

#[test]
fn rules_of_different_classes_may_not_meet() {
    let own = |path: &str, except: &str| {
        VALID
            .replace("paths = [\"cache/pictures\"]", &format!("paths = [\"{path}\"]\nexcept = [{except}]"))
            .replace("matches = [\"cache/pictures/1\"]", "matches = []")
    };
    // Samples are no matter here; only overlaps are asked for.
    let overlaps = |path: &str, except: &str| {
        problems(&own(path, except).replace("matches = []", "matches = [\"zz\"]"))
            .into_iter()
            .filter(|(_, why)| why.contains("would be class"))
            .collect::<Vec<_>>()
    };
    for path in ["o*.db", "**/orders.db", "{a,orders}.db", "orders.d?"] {
        let found = overlaps(path, "");
        assert_eq!(found.len(), 1, "{path}");
        assert!(
            found[0].1.contains("`orders.db` would be class `user` by this rule `orders` and class `cache`"),
            "{found:?}"
        );
        assert_eq!(overlaps(path, "\"orders.db\""), [], "{path}");
    }
    assert_eq!(overlaps("orders.db/x", ""), [], "a file has nothing below it");
}

#[test]
fn samples_are_checked() {
    refused(
        "matches = [\"cache/pictures/1\"]",
        "matches = [\"pictures/1\"]",
        14,
        "should match this rule `pictures`, but does not",
    );
    refused(
        "matches = [\"cache/pictures/1\"]",
        "matches = [\"orders.db\"]",
        14,
        "but the rule `orders` covers it",
    );
    refused(
        "not-matches = [\"cache/other\"]",
        "not-matches = [\"cache/pictures/2\"]",
        14,
        "should not match this rule",
    );
    refused("matches = [\"cache/pictures/1\"]", "matches = [\"../x\"]", 26, "is no path below the root");
}

#[test]
fn names_may_be_used_once() {
    refused(
        "id = \"orders\"",
        "id = \"pictures\"",
        30,
        "the rule `pictures` is already defined at own.toml:14",
    );
    let twice = format!("{VALID}\n{VALID}");
    assert!(
        problems(&twice).iter().any(|(_, why)| why.contains("the app `demo` on linux is already defined"))
    );
    let layout = "[[layout]]\nid = \"firefox-profile\"\n";
    assert!(problems(layout)[0].1.contains("already defined in profiles/firefox.toml"));
}

#[test]
fn a_layout_is_used_with_its_parameters() {
    let with = |text: &str| {
        VALID.replace(
            "[[app.install]]",
            &format!("[[app.use]]\nlayout = \"chromium-profile\"\n{text}\n\n[[app.install]]"),
        )
    };
    assert_eq!(problems(&with("with = { profile = [\"\"] }")), []);
    for (text, reason) in [
        ("", "parameter `profile` is not set"),
        ("with = { profil = [\"x\"] }", "has no parameter `profil`"),
        ("with = { profile = [\"x\"] }\nwithout = [\"no-such\"]", "no rule `no-such` to leave out"),
        ("with = { profile = [\"/x\"] }", "is refused"),
    ] {
        assert!(problems(&with(text)).iter().any(|(_, why)| why.contains(reason)), "{text}");
    }
    let none = VALID.replace("[[app.install]]", "[[app.use]]\nlayout = \"no-such\"\n\n[[app.install]]");
    assert!(problems(&none)[0].1.contains("there is no layout `no-such`"));
}

#[test]
fn files_that_are_too_large_or_no_text_are_refused() {
    let tmp = tempfile::tempdir().unwrap();
    let file = tmp.path().join("a.toml");
    std::fs::write(&file, vec![b'#'; 2 << 20]).unwrap();
    let extra = Extra { config_dir: None, dirs: vec![tmp.path().to_path_buf()], ..Extra::default() };
    assert_eq!(Profiles::load(&extra).unwrap_err().kind(), Kind::Profile);
    std::fs::write(&file, b"# x\n\xff\n").unwrap();
    let err = Profiles::load(&extra).unwrap_err();
    assert!(err.to_string().contains("a.toml:2: the text is not UTF-8"), "{err}");
    assert!(
        Profiles::load(&Extra {
            config_dir: None,
            dirs: vec![PathBuf::from("/no/such")],
            ..Extra::default()
        })
        .is_err()
    );
}

#[test]
fn own_apps_are_added_and_replace_built_in_ones() {
    let tmp = tempfile::tempdir().unwrap();
    let config = tmp.path().join("config");
    std::fs::create_dir_all(config.join("profiles.d")).unwrap();
    std::fs::write(config.join("profiles.toml"), VALID).unwrap();
    std::fs::write(config.join("profiles.d/a.toml"), VALID.replace("\"demo\"", "\"demo2\"")).unwrap();
    std::fs::write(config.join("profiles.d/note.txt"), "no profile").unwrap();
    let dir = tmp.path().join("dir");
    std::fs::create_dir(&dir).unwrap();
    std::fs::write(dir.join("b.toml"), VALID.replace("id = \"demo\"", "id = \"chromium\"")).unwrap();
    let built_in = Profiles::load(&Extra::default()).unwrap();
    let all =
        Profiles::load(&Extra { config_dir: Some(config), dirs: vec![dir], ..Extra::default() }).unwrap();
    assert_eq!(all.apps().len(), built_in.apps().len() + 2);
    let chromium = all.of(Platform::Linux).find(|a| a.id == "chromium").unwrap();
    assert_eq!(chromium.name, "Demo");
    assert!(all.of(Platform::Macos).any(|a| a.id == "chromium" && a.name == "Chromium"));
    assert!(chromium.file.ends_with("b.toml"));
}

#[test]
fn the_commands_say_what_is_known() {
    let profiles = Profiles::from_texts(&[("own.toml", VALID)]).unwrap();
    let android = list(&profiles, Some(Platform::Android));
    assert!(android.iter().any(|a| a.id == "com.tiktokshop.seller" && a.clearable == 0));
    assert!(list_text(&android).contains("TikTok Shop Seller Center"));
    assert_eq!(show(&profiles, "firefox", None).unwrap().len(), 3);
    let err = show(&profiles, "firefix", Some(Platform::Linux)).unwrap_err();
    assert_eq!(err.kind(), Kind::Usage);
    assert!(err.hint_text().unwrap().contains("firefox"));
    insta::assert_snapshot!("show", show_text(&show(&profiles, "demo", None).unwrap()));
}

#[test]
fn a_file_is_validated_with_the_built_in_layouts() {
    let tmp = tempfile::tempdir().unwrap();
    let file = tmp.path().join("own.toml");
    std::fs::write(&file, VALID).unwrap();
    let valid = validate(&file).unwrap();
    assert_eq!(valid.apps.len(), 1);
    assert!(validate_text(&valid).contains("is valid"));
    std::fs::write(&file, VALID.replace("reason = \"the person's\"", "")).unwrap();
    let err = validate(&file).unwrap_err();
    assert_eq!(err.kind(), Kind::Profile);
    assert!(err.to_string().contains(&format!("{}:29: missing field `reason`", file.display())), "{err}");
    assert!(err.hint_text().is_some());
    assert_eq!(validate(Path::new("/no/such.toml")).unwrap_err().kind(), Kind::Io);
    // The files of this program's own source are valid by themselves.
    for name in ["linux", "windows", "macos", "android"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("profiles/{name}.toml"));
        assert!(validate(&path).unwrap().apps.len() > 3);
    }
}

#[test]
fn any_path_is_explained() {
    let tmp = tempfile::tempdir().unwrap();
    let home = tmp.path().canonicalize().unwrap();
    let data = home.join(".config/chromium");
    for dir in ["Default/GPUCache", "Default/IndexedDB/https_seller-us.tiktok.com_0.indexeddb.leveldb"] {
        std::fs::create_dir_all(data.join(dir)).unwrap();
    }
    std::fs::create_dir_all(home.join(".cache/chromium/Default/Cache/Cache_Data")).unwrap();
    std::fs::write(home.join(".cache/chromium/Default/Cache/Cache_Data/index"), "x").unwrap();
    std::fs::write(data.join("Default/Cookies-journal"), "x").unwrap();
    std::os::unix::fs::symlink("Default", data.join("Profile 1")).unwrap();
    std::os::unix::fs::symlink(home.join(".cache"), home.join("caches")).unwrap();
    std::os::unix::fs::symlink(home.join(".config"), home.join(".config/google-chrome")).unwrap();

    let profiles = Profiles::load(&Extra::default()).unwrap();
    let place = ImagePlace::open(&home, Some(Platform::Linux)).unwrap();
    let located = locate(&profiles, &place, &Filter::default()).unwrap();
    let ask = |path: &str| explain(&profiles, &located, &home.join(path)).unwrap();
    let rule = |path: &str| ask(path).root.and_then(|r| r.store).map(|s| (s.rule, s.class, s.path.to_text()));

    assert_eq!(
        rule(".cache/chromium/Default/Cache/Cache_Data/index"),
        Some(("http-cache".into(), Class::Cache, "Default/Cache/Cache_Data".into()))
    );
    assert_eq!(
        rule("caches/chromium/Default/Cache/Cache_Data/index").unwrap().0,
        "http-cache",
        "through a link"
    );
    assert_eq!(rule(".cache/../.config/chromium/Default/Cookies-journal").unwrap().2, "Default/Cookies");
    let shop = ask(".config/chromium/Default/IndexedDB/https_seller-us.tiktok.com_0.indexeddb.leveldb");
    assert_eq!(shop.root.unwrap().store.unwrap().shop_site.as_deref(), Some("seller-us.tiktok.com"));
    for none in [
        ".config/chromium",
        ".config/chromium/Default/unheard-of",
        ".config/other",
        ".bashrc",
        ".config/chromium/Profile 1",
    ] {
        let answer = ask(none);
        assert!(answer.done[0].starts_with("nothing"), "{answer:?}");
        assert!(!answer.why.is_empty());
    }
    assert!(ask(".config/google-chrome/Default/Cookies").why.contains("left out: it is a link"));
    assert!(ask(".config/chromium/Default/draft").why.contains("never-clear list"));
    assert!(!ask(".config/chromium/Default/GPUCache/data_9").exists);

    let text = explain_text(&ask(".cache/chromium/Default/Cache/Cache_Data/index"));
    insta::assert_snapshot!("explain", text.replace(home.to_str().unwrap(), "/home/ann"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Whatever is in a file, it is read or refused, and what is read has only
    /// rules that hold together.
    #[test]
    fn any_text_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let text = String::from_utf8_lossy(&bytes);
        let _ = Profiles::from_text_alone("own.toml", &text);
    }

    #[test]
    fn any_change_to_a_valid_file_is_read_or_refused(
        at in 0..VALID.len(), cut in 0..20usize, put in "[a-z*?{}\"\\[\\]/.=,\n-]{0,6}",
    ) {
        let end = (at + cut).min(VALID.len());
        let text = format!("{}{put}{}", &VALID[..at], &VALID[end..]);
        if let Ok(profiles) = Profiles::from_text_alone("own.toml", &text) {
            for rule in profiles.apps().iter().flat_map(|a| &a.rules) {
                prop_assert!(!rule.may_clear() || rule.class == Class::Cache);
            }
        }
    }
}
