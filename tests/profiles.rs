//! Profiles and places together: what is found where, in trees that are built
//! here.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use shopmend::fsys::RelPath;
use shopmend::model::{Class, Platform};
use shopmend::place::{Filter, ImagePlace, Located, NoteKind, explain, locate};
use shopmend::profile::{Confidence, Extra, Profiles, Rule};

/// The built-in profiles, read once for all tests.
fn profiles() -> &'static Profiles {
    static ONCE: LazyLock<Profiles> =
        LazyLock::new(|| Profiles::load(&Extra::default()).unwrap_or_else(|e| panic!("{e}")));
    &ONCE
}

/// A tree in a temporary folder.
struct Tree {
    _tmp: tempfile::TempDir,
    dir: PathBuf,
}

impl Tree {
    /// Folders end in `/`; what is above is made as needed.
    fn new(paths: &[&str]) -> Self {
        let tmp = tempfile::tempdir().unwrap();
        let dir = tmp.path().canonicalize().unwrap();
        let tree = Self { _tmp: tmp, dir };
        for path in paths {
            tree.add(path);
        }
        tree
    }

    fn add(&self, path: &str) {
        let full = self.dir.join(path);
        if path.ends_with('/') {
            std::fs::create_dir_all(full).unwrap();
        } else {
            std::fs::create_dir_all(full.parent().unwrap()).unwrap();
            std::fs::write(full, "x").unwrap();
        }
    }

    fn link(&self, at: &str, to: &str) {
        let at = self.dir.join(at);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(self.dir.join(to), at).unwrap();
    }

    fn locate(&self, platform: Platform) -> Located {
        let place = ImagePlace::open(&self.dir, Some(platform)).unwrap();
        locate(profiles(), &place, &Filter::default()).unwrap()
    }

    /// `app:install:user root=path`, the tree's own path left out.
    fn found(&self, platform: Platform) -> Vec<String> {
        let mut out = Vec::new();
        for target in self.locate(platform).targets {
            for root in target.roots {
                let path = root.path.strip_prefix(&self.dir).unwrap().display();
                let user = target.user.as_deref().unwrap_or("-");
                out.push(format!("{}:{}:{user} {}={path}", target.app.id, target.install, root.id));
            }
        }
        out
    }
}

#[test]
fn the_built_in_profiles_are_valid() {
    let proved = Profiles::prove_builtin().unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(proved.apps().len(), profiles().apps().len());
    for platform in [Platform::Windows, Platform::Macos, Platform::Linux, Platform::Android] {
        assert!(proved.of(platform).count() > 3);
    }
}

#[test]
fn browsers_of_every_user_of_a_linux_disk_are_found() {
    let tree = Tree::new(&[
        "home/ann/.config/chromium/Default/Cookies",
        "home/ann/.cache/chromium/Default/",
        "home/ann/.mozilla/firefox/abc.default/places.sqlite",
        "home/bob/snap/brave/12/.config/BraveSoftware/Brave-Browser/Default/",
        "home/bob/snap/brave/common/.cache/BraveSoftware/Brave-Browser/",
        "root/.config/google-chrome-beta/",
        "etc/",
    ]);
    tree.link("home/bob/snap/brave/current", "home/bob/snap/brave/12");
    assert_eq!(
        tree.found(Platform::Linux),
        [
            "brave:snap:bob cache=home/bob/snap/brave/common/.cache/BraveSoftware/Brave-Browser",
            "brave:snap:bob data@12=home/bob/snap/brave/12/.config/BraveSoftware/Brave-Browser",
            "chrome:beta:root data=root/.config/google-chrome-beta",
            "chromium:native:ann cache=home/ann/.cache/chromium",
            "chromium:native:ann data=home/ann/.config/chromium",
            "firefox:native:ann data=home/ann/.mozilla/firefox",
        ]
    );
    assert!(tree.locate(Platform::Linux).left_out.is_empty());
}

#[test]
fn a_link_below_the_base_folder_is_refused_and_said() {
    let tree = Tree::new(&["home/ann/.cache/", "home/ann/real/chromium/", "home/bob/x/.config/chromium/"]);
    tree.link("home/ann/.config/chromium", "home/ann/real/chromium");
    tree.link("home/bob/.config", "home/bob/x/.config");
    tree.link("home/eve", "home/ann");
    let located = tree.locate(Platform::Linux);
    assert!(located.targets.is_empty());
    let refused: Vec<_> = located.left_out.iter().filter(|n| n.kind == NoteKind::Refused).collect();
    assert_eq!(refused.len(), located.left_out.len());
    for path in ["home/ann/.config/chromium", "home/bob/.config"] {
        assert!(refused.iter().any(|n| n.path == tree.dir.join(path)), "{path}: {refused:?}");
    }
}

#[test]
fn stores_are_told_apart_by_path() {
    let tree = Tree::new(&["home/ann/.config/chromium/Default/", "home/ann/.cache/chromium/"]);
    let located = tree.locate(Platform::Linux);
    let root = |id: &str| located.targets[0].roots.iter().find(|r| r.id == id).unwrap();
    let find = |root_id: &str, path: &str| {
        let rel = shopmend::fsys::RelPath::new(path).unwrap();
        let hit = root(root_id).rules.find(&rel, false)?;
        Some((hit.rule.id.clone(), hit.rule.class, hit.store_path(&rel).to_text()))
    };
    let is = |id: &str, class, store: &str| Some((id.to_owned(), class, store.to_owned()));
    assert_eq!(find("data", "Default/Cookies-journal"), is("cookies", Class::User, "Default/Cookies"));
    assert_eq!(
        find("cache", "Profile 2/Cache/Cache_Data/0123456789abcdef_0"),
        is("http-cache", Class::Cache, "Profile 2/Cache/Cache_Data")
    );
    assert_eq!(find("data", "Default/Service Worker/CacheStorage/0a/index.txt").unwrap().1, Class::User);
    assert_eq!(find("data", "Default/unheard-of"), None);
    let mut at = root("cache").rules.top();
    for name in ["Default", "Cache", "Cache_Data"] {
        at = at.folder(OsStr::new(name));
    }
    assert!(matches!(at.below(), shopmend::profile::Below::All(hit) if hit.rule.may_clear()));
    assert!(matches!(
        root("cache").rules.top().folder(OsStr::new("Other")).below(),
        shopmend::profile::Below::Nothing
    ));
}

#[test]
fn an_unknown_app_is_an_error_that_lists_the_known_ones() {
    let tree = Tree::new(&["home/ann/.config/chromium/"]);
    let place = ImagePlace::open(&tree.dir, Some(Platform::Linux)).unwrap();
    let err = locate(profiles(), &place, &Filter { apps: vec!["chrom".into()] }).unwrap_err();
    assert!(err.hint_text().unwrap().contains("chromium, edge"));
    let one = locate(profiles(), &place, &Filter { apps: vec!["chromium".into()] }).unwrap();
    assert_eq!(one.targets.len(), 1);
    assert_eq!(one.targets[0].id, format!("chromium:native:{}", tree.dir.join("home/ann").display()));
}

#[test]
fn an_image_without_anybodys_data_is_an_error() {
    let tree = Tree::new(&["some/folder/"]);
    assert!(ImagePlace::open(&tree.dir, None).is_err());
    assert!(ImagePlace::open(&tree.dir, Some(Platform::Windows)).is_err());
    assert!(ImagePlace::open(Path::new("/no/such/folder"), None).is_err());
}

/// Where the base folder of each variable lies in an image of its platform.
fn base_in_image(platform: Platform, variable: &str) -> &'static str {
    match (platform, variable) {
        (Platform::Linux, "HOME") => "home/ann",
        (Platform::Linux, "XDG_CONFIG_HOME") => "home/ann/.config",
        (Platform::Linux, "XDG_CACHE_HOME") => "home/ann/.cache",
        (Platform::Macos, "HOME") => "Users/ann",
        (Platform::Windows, "LOCALAPPDATA") => "Users/ann/AppData/Local",
        (Platform::Windows, "APPDATA") => "Users/ann/AppData/Roaming",
        (Platform::Android, "DATA") => "data/data",
        (Platform::Android, "DATA_DE") => "data/user_de/0",
        (Platform::Android, "EXTERNAL") => "data/media/0/Android/data",
        other => panic!("no place for {other:?}"),
    }
}

/// A tree in which every packaging of every app of a platform is installed.
fn everything(platform: Platform) -> Tree {
    let tree = Tree::new(&[]);
    for app in profiles().of(platform) {
        for install in &app.installs {
            for root in &install.roots {
                let (variable, below) = root.template.as_str()[1..].split_once('}').unwrap();
                let path = format!("{}{}", base_in_image(platform, variable), below.replace('*', "1x"));
                tree.add(&format!("{path}/"));
                if let Some(identify) = &install.identify {
                    let plist = format!(
                        "<?xml version=\"1.0\"?><plist version=\"1.0\"><dict><key>{}</key><string>{}</string></dict></plist>",
                        identify.key, identify.values[0]
                    );
                    std::fs::write(tree.dir.join(path).join(&identify.file), plist).unwrap();
                }
            }
        }
    }
    tree
}

fn every_root_is_found(platform: Platform) {
    let tree = everything(platform);
    let located = tree.locate(platform);
    assert!(located.left_out.is_empty() && located.notes.is_empty(), "{:?}", located.left_out);
    let installs: usize = profiles().of(platform).map(|a| a.installs.len()).sum();
    assert_eq!(located.targets.len(), installs);
    insta::assert_snapshot!(platform.as_str(), tree.found(platform).join("\n"));
    every_rule_covers_its_samples(&tree, &located);
}

/// Every rule of every app as a person of that platform knows the paths.
#[test]
fn every_rule_of_windows_and_macos_is_resolved() {
    for platform in [Platform::Windows, Platform::Macos] {
        let tree = everything(platform);
        insta::assert_snapshot!(format!("rules_{platform}"), resolved(&tree, platform));
    }
}

/// Where the folders of a tree lie on a device of that platform.
fn on_device(platform: Platform, path: &str) -> String {
    match platform {
        Platform::Windows => format!("C:\\{}", path.replace('/', "\\")),
        _ => format!("/{path}"),
    }
}

/// For each app its folders, and for each rule what may be done and the paths
/// in the first of the app's installs that has such a folder; the others have
/// the same below theirs.
fn resolved(tree: &Tree, platform: Platform) -> String {
    use std::fmt::Write as _;
    let located = tree.locate(platform);
    let mut out = String::new();
    let mut done: BTreeSet<&str> = BTreeSet::new();
    for target in located.targets.iter().filter(|t| done.insert(&t.app.id)) {
        let app = &target.app;
        let processes = if app.processes.is_empty() { "-".to_owned() } else { app.processes.join(", ") };
        writeln!(out, "{} ({}), processes: {processes}", app.name, app.id).unwrap();
        let all: Vec<_> = located.targets.iter().filter(|t| t.app.id == app.id).collect();
        let device =
            |path: &Path| on_device(platform, path.strip_prefix(&tree.dir).unwrap().to_str().unwrap());
        for (t, root) in all.iter().flat_map(|t| t.roots.iter().map(move |r| (t, r))) {
            writeln!(out, "  {} {} = {}", t.install, root.id, device(&root.path)).unwrap();
        }
        for rule in &app.rules {
            let may: Vec<&str> = rule.may.iter().filter(|m| rule.may(**m)).map(|m| m.as_str()).collect();
            let may = if may.is_empty() { "report".to_owned() } else { may.join(" ") };
            let kind = rule.kind.map_or("by content", |k| k.as_str());
            let confidence = rule.confidence.as_str();
            writeln!(out, "  {}: {}, {kind}, {confidence}: {may}", rule.id, rule.class).unwrap();
            for root in &target.roots {
                let id = root.id.split(['~', '@']).next().unwrap();
                if !rule.roots.iter().any(|r| r == id) {
                    continue;
                }
                for (sign, patterns) in [("", &rule.paths), ("not ", &rule.except)] {
                    for pattern in patterns {
                        writeln!(out, "    {sign}{}", device(&root.path.join(pattern))).unwrap();
                    }
                }
            }
        }
        out.push('\n');
    }
    out
}

/// Makes each sample in the app's real folder, and asks the way a walk does.
fn every_rule_covers_its_samples(tree: &Tree, located: &Located) {
    let mut checked = BTreeSet::new();
    for target in &located.targets {
        for root in &target.roots {
            let id = root.id.split(['~', '@']).next().unwrap();
            for rule in target.app.rules.iter().filter(|r| r.roots.iter().any(|r| r == id)) {
                for sample in &rule.matches {
                    let full = root.path.join(sample.trim_end_matches('/'));
                    tree.add(&format!("{}/{sample}", root.path.strip_prefix(&tree.dir).unwrap().display()));
                    let meta = root.open().unwrap().stat(&RelPath::new(sample).unwrap()).unwrap();
                    let is_dir = meta.kind == shopmend::fsys::Kind::Dir;
                    let Some(found) = root.rules.find(&RelPath::new(sample).unwrap(), is_dir) else {
                        panic!("{sample} of {} {}", target.id, rule.id);
                    };
                    assert_eq!(found.rule, rule, "{sample} of {}", target.id);
                    assert!(found.store_path(&RelPath::new(sample).unwrap()).components().count() > 0);
                    // The next sample may want a file where this has a folder.
                    let top = root.path.join(Path::new(sample).components().next().unwrap());
                    if meta.kind == shopmend::fsys::Kind::Dir || top != full {
                        std::fs::remove_dir_all(top).unwrap();
                    } else {
                        std::fs::remove_file(full).unwrap();
                    }
                }
                checked.insert((target.app.id.clone(), rule.id.clone()));
            }
        }
    }
    let apps: BTreeSet<&str> = located.targets.iter().map(|t| t.app.id.as_str()).collect();
    for app in located.targets.iter().map(|t| &t.app).filter(|a| apps.contains(a.id.as_str())) {
        for rule in &app.rules {
            assert!(checked.contains(&(app.id.clone(), rule.id.clone())), "{} {}", app.id, rule.id);
        }
    }
}

#[test]
fn every_root_and_rule_of_linux_is_found_in_a_tree() {
    every_root_is_found(Platform::Linux);
}

#[test]
fn every_root_and_rule_of_windows_is_found_in_a_tree() {
    every_root_is_found(Platform::Windows);
}

#[test]
fn every_root_and_rule_of_macos_is_found_in_a_tree() {
    every_root_is_found(Platform::Macos);
}

#[test]
fn every_root_and_rule_of_android_is_found_in_a_tree() {
    every_root_is_found(Platform::Android);
}

#[test]
fn names_on_windows_and_macos_are_found_whatever_their_case() {
    let tree = Tree::new(&["USERS/Ann/appdata/ROAMING/tiktok live studio/Gecko_Cache/1"]);
    assert_eq!(
        tree.found(Platform::Windows),
        ["live-studio:native:Ann data=USERS/Ann/appdata/ROAMING/tiktok live studio"]
    );
    let root = &tree.locate(Platform::Windows).targets[0].roots[0];
    let hit = root.rules.find(&RelPath::new("GECKO_CACHE/1").unwrap(), false).unwrap();
    assert_eq!(hit.rule.id, "offline-bundles");
    let tree = Tree::new(&["Users/Ann/Library/Application Support/TikTok Live Studio/"]);
    assert_eq!(tree.found(Platform::Macos).len(), 1);
}

/// A Mac's disk can be formatted so that case counts.
#[test]
fn of_folders_that_differ_only_in_case_the_apps_own_is_taken() {
    let support = "Users/ann/Library/Application Support";
    let tree = Tree::new(&[]);
    for name in ["Google/chrome", "Google/Chrome", "google/Chrome", "microsoft EDGE", "MICROSOFT Edge"] {
        tree.add(&format!("{support}/{name}/Default/"));
    }
    assert_eq!(
        tree.found(Platform::Macos),
        [
            format!("chrome:stable:ann data={support}/Google/Chrome"),
            format!("edge:stable:ann data={support}/MICROSOFT Edge"),
        ]
    );
    let located = tree.locate(Platform::Macos);
    for left in ["Google/chrome", "google", "microsoft EDGE"] {
        let path = tree.dir.join(support).join(left);
        let note = located.left_out.iter().find(|n| n.path == path).unwrap_or_else(|| panic!("{left}"));
        assert!(note.kind == NoteKind::Refused && note.reason.contains("only in case"), "{note}");
    }
    // As a person writes it, whatever the case.
    let asked = tree.dir.join(support).join("google/CHROME/default/cookies");
    let answer = explain(profiles(), &located, &asked).unwrap();
    assert_eq!(answer.root.and_then(|r| r.store).map(|s| s.rule), Some("cookies".to_owned()));
}

/// A phone app's container has a random name, and a property list in one of
/// its two forms that tells whose it is.
#[test]
fn a_container_is_recognised_by_its_property_list() {
    let tree = Tree::new(&[]);
    let list = |name: &str, write: &dyn Fn(&plist::Value, &Path)| {
        let folder = format!("Users/ann/Library/Containers/{name}");
        tree.add(&format!("{folder}/Data/"));
        let id = if name.starts_with("9F") { "com.zhiliaoapp.musically" } else { "com.apple.mail" };
        let list = plist::Dictionary::from_iter([("MCMMetadataIdentifier", plist::Value::from(id))]);
        let file = tree.dir.join(folder).join(".com.apple.containermanagerd.metadata.plist");
        write(&plist::Value::Dictionary(list), &file);
    };
    list("9F1", &|value, file| value.to_file_binary(file).unwrap());
    list("9F2", &|value, file| value.to_file_xml(file).unwrap());
    list("9F3", &|_, file| std::fs::write(file, "bplist00 cut off").unwrap());
    list("9F4", &|_, file| std::fs::create_dir(file).unwrap());
    list("A11", &|value, file| value.to_file_binary(file).unwrap());
    tree.add("Users/ann/Library/Containers/no list/Data/");
    tree.link("Users/ann/Library/Containers/9F5", "Users/ann/Library/Containers/9F1");
    assert_eq!(
        tree.found(Platform::Macos),
        [
            "tiktok-ios:container:ann data@9F1=Users/ann/Library/Containers/9F1",
            "tiktok-ios:container:ann data@9F2=Users/ann/Library/Containers/9F2",
        ]
    );
    assert_eq!(tree.locate(Platform::Macos).left_out, []);
}

/// Chromium's rule: what is below `Application Support` has its caches at the
/// same place below `Caches`.
#[test]
fn caches_on_macos_lie_beside_the_data() {
    let mut seen = 0;
    for app in profiles().of(Platform::Macos) {
        for install in &app.installs {
            let root = |id: &str| install.roots.iter().find(|r| r.id == id).map(|r| r.template.as_str());
            let Some((data, cache)) = root("data").zip(root("cache")).filter(|_| app.id != "safari") else {
                continue;
            };
            assert_eq!(
                data.replace("/Library/Application Support/", "/Library/Caches/"),
                cache,
                "{}",
                app.id
            );
            seen += 1;
        }
    }
    assert!(seen >= 12, "{seen}");
}

#[test]
fn android_data_is_found_in_every_form_in_which_it_is_copied() {
    let seller = "com.tiktokshop.seller";
    for (paths, wanted) in [
        (
            // A whole device, with two users; on the device `user/0` is a link.
            vec![
                "data/data/com.tiktokshop.seller/cache/1",
                "data/user/10/com.tiktokshop.seller/",
                "data/user_de/0/com.tiktokshop.seller/",
                "data/media/0/Android/data/com.tiktokshop.seller/",
            ],
            vec![
                "0 data=data/data",
                "0 device=data/user_de/0",
                "0 external=data/media/0/Android/data",
                "10 data=data/user/10",
            ],
        ),
        // A data partition.
        (vec!["data/com.tiktokshop.seller/", "app/x/"], vec!["0 data=data"]),
        (vec!["user/0/com.tiktokshop.seller/"], vec!["0 data=user/0"]),
        // A copied shared storage.
        (vec!["Android/data/com.tiktokshop.seller/cache/"], vec!["- external=Android/data"]),
        // A folder of app folders, private or shared.
        (vec!["com.tiktokshop.seller/databases/", "com.example.other/files/"], vec!["- data="]),
        (vec!["com.tiktokshop.seller/cache/"], vec!["- external="]),
    ] {
        let tree = Tree::new(&paths);
        if paths[0].starts_with("data/data/") {
            tree.link("data/user/0", "data/data");
        }
        let wanted: Vec<String> = wanted
            .iter()
            .map(|w| {
                let slash = if w.ends_with('=') { "" } else { "/" };
                format!("{seller}:installed:{w}{slash}{seller}")
            })
            .collect();
        let mut found = tree.found(Platform::Android);
        found.sort();
        assert_eq!(found, wanted, "{paths:?}");
        // Told by its layout alone, too.
        assert!(ImagePlace::open(&tree.dir, None).is_ok());
    }
}

#[test]
fn a_lone_app_folder_is_looked_at_without_its_neighbours() {
    let tree =
        Tree::new(&["apps/com.tiktokshop.seller/databases/", "apps/com.zhiliaoapp.musically/databases/"]);
    let place =
        ImagePlace::open(&tree.dir.join("apps/com.tiktokshop.seller"), Some(Platform::Android)).unwrap();
    let located = locate(profiles(), &place, &Filter::default()).unwrap();
    assert_eq!(located.targets.len(), 1);
    assert_eq!(located.targets[0].app.id, "com.tiktokshop.seller");
}

#[test]
fn waydroid_in_a_linux_image_is_found_for_the_user_and_the_system() {
    let tree = Tree::new(&[
        "home/ann/.local/share/waydroid/data/data/com.tiktok.lite.go/",
        "var/lib/waydroid/data/media/0/Android/data/com.zhiliaoapp.musically/",
    ]);
    assert_eq!(
        tree.found(Platform::Linux),
        [
            "com.tiktok.lite.go:installed:0 data=home/ann/.local/share/waydroid/data/data/com.tiktok.lite.go",
            "com.zhiliaoapp.musically:installed:0 external=var/lib/waydroid/data/media/0/Android/data/com.zhiliaoapp.musically",
        ]
    );
}

#[test]
fn the_last_update_is_known_where_the_place_can_tell() {
    let tree = Tree::new(&["home/ann/.config/chromium/", "usr/lib/chromium/chromium"]);
    let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000);
    std::fs::File::open(tree.dir.join("usr/lib/chromium/chromium")).unwrap().set_modified(time).unwrap();
    assert_eq!(tree.locate(Platform::Linux).targets[0].updated_ns, Some(1_700_000_000_000_000_000));
    let tree = Tree::new(&["home/ann/.config/chromium/"]);
    assert_eq!(tree.locate(Platform::Linux).targets[0].updated_ns, None);

    // macOS itself shows the same folder at the top, as on another file system.
    let app = "System/Volumes/Data/Applications/Google Chrome.app/Contents/Info.plist";
    let tree = Tree::new(&["Users/ann/Library/Application Support/Google/Chrome/", app]);
    std::fs::File::open(tree.dir.join(app)).unwrap().set_modified(time).unwrap();
    assert_eq!(tree.locate(Platform::Macos).targets[0].updated_ns, Some(1_700_000_000_000_000_000));

    let tree = Tree::new(&["data/data/com.tiktokshop.seller/", "data/system/"]);
    let list = r#"<packages><package name="com.tiktokshop.seller" ut="18c2a5e3d80"/></packages>"#;
    std::fs::write(tree.dir.join("data/system/packages.xml"), list).unwrap();
    assert_eq!(tree.locate(Platform::Android).targets[0].updated_ns, Some(0x18c_2a5e_3d80 * 1_000_000));
}

#[test]
fn seller_center_on_android_is_only_reported() {
    let profiles = profiles();
    let app = profiles.of(Platform::Android).find(|a| a.id == "com.tiktokshop.seller").unwrap();
    assert!(app.rules.iter().all(|r| !r.may_clear() && r.confidence == Confidence::Guess));
    let tiktok = profiles.of(Platform::Android).find(|a| a.id == "com.zhiliaoapp.musically").unwrap();
    assert!(tiktok.rules.iter().any(Rule::may_clear));
}

/// The list of what must never be cleared, as paths of real stores.
#[test]
fn nothing_on_the_never_clear_list_may_be_cleared() {
    let android = [
        "shared_prefs/aweme_user.xml",
        "shared_prefs/ttnetCookieStore.xml",
        "shared_prefs/token_shared_preference.xml",
        "databases/account_db",
        "databases/aweme.db-wal",
        "databases/7012_im.db-journal",
        "databases/db_im_xx",
        "databases/androidx.work.workdb",
        "databases/bd_sync_sdk_v4.db",
        "files/keva/repo/mssdk/mssdk.blk",
        "files/mmkv/mmkv.default",
        "files/.msdata/x",
        "files/draft/1.mp4",
        "cache/x/draft/1.mp4",
        "cache/drafts/1",
        "cache/aweme_publish/1.json",
        "cache/cjpayWebData/1",
        "cache/runnableCache/1",
        "files/Download/1",
        "cache/picture/fresco_custom_cache/stable_sticker/1",
        "files/share/out/1.mp4",
        "Videos/1.mp4",
        "no_backup/x",
        "app_webview/Default/Cookies",
        "app_webview/Cookies-journal",
        "app_webview_x/Default/Local Storage/leveldb/CURRENT",
        "app_webview/Default/Service Worker/CacheStorage/1/index.txt",
        "files/plugins/1.apk",
        "lib-main/1.so",
        "files/effect/1",
        "files/ve_frame_cache2/1",
        "files/unheard-of",
        "cache/x/1_im.db",
    ];
    let browser = [
        "Default/Network/Cookies",
        "Default/Cookies-journal",
        "Default/Login Data",
        "Local State",
        "Default/Preferences",
        "Default/Secure Preferences",
        "Default/IndexedDB/https_a_0.indexeddb.leveldb/000003.log",
        "Default/IndexedDB/https_a_0/0",
        "Default/Local Storage/leveldb/MANIFEST-000001",
        "Default/Session Storage/CURRENT",
        "Default/Service Worker/Database/CURRENT",
        "Default/Service Worker/CacheStorage/a/b/index",
        "Default/Service Worker/ScriptCache/index",
        "Default/File System/000/t/1",
        "Default/History-wal",
        "Default/WebStorage/1/CacheStorage/index.txt",
        "Default/Sync Data/LevelDB/000005.ldb",
        "Default/Bookmarks",
    ];
    let firefox = [
        "p/cookies.sqlite-wal",
        "p/logins.json",
        "p/key4.db",
        "p/cert9.db",
        "p/places.sqlite",
        "p/prefs.js",
        "p/storage/default/https+++a/cache/caches.sqlite",
        "p/storage/default/https+++a/cache/morgue/1/a.final",
        "p/storage/default/https+++a/idb/1.sqlite-wal",
        "p/storage/default/https+++a/idb/1.files/1",
    ];
    let studio = [
        "TTStore/services.json",
        "userImage/1.png",
        "effects/1",
        "overlays/1",
        "aiassets/1",
        "Local Storage/leveldb/CURRENT",
        "Network/Cookies",
        "IndexedDB/https_a_0.indexeddb.leveldb/CURRENT",
    ];
    let profiles = profiles();
    for app in profiles.apps() {
        for root in app.root_ids() {
            let rules = app.rules_of(root);
            for path in android.iter().chain(&browser).chain(&firefox).chain(&studio) {
                let path = RelPath::new(path).unwrap();
                if let Some(hit) = rules.find(&path, false) {
                    assert_ne!(
                        hit.rule.class,
                        Class::Cache,
                        "{} on {}: {path} by {}",
                        app.id,
                        app.platform,
                        hit.rule.id
                    );
                    assert!(!hit.rule.may_clear());
                }
            }
        }
    }
}

#[test]
fn an_app_that_had_not_ended_is_told_by_its_lock_files() {
    let tree =
        Tree::new(&["home/ann/.config/chromium/Default/", "home/ann/.mozilla/firefox/a.default/prefs.js"]);
    let markers = || -> Vec<_> {
        tree.locate(Platform::Linux)
            .targets
            .iter()
            .flat_map(shopmend::place::Target::running_markers)
            .collect()
    };
    assert!(markers().is_empty());
    // Both are links to nothing that exists.
    tree.link("home/ann/.config/chromium/SingletonLock", "host-1");
    tree.link("home/ann/.mozilla/firefox/a.default/lock", "127.0.1.1:+1");
    assert_eq!(
        markers(),
        [
            tree.dir.join("home/ann/.config/chromium/SingletonLock"),
            tree.dir.join("home/ann/.mozilla/firefox/a.default/lock")
        ]
    );
}
