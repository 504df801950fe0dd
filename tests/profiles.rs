//! Profiles and places together: what is found where, in trees that are built
//! here.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use shopmend::model::{Class, Platform};
use shopmend::place::{Filter, ImagePlace, Located, NoteKind, locate};
use shopmend::profile::{Extra, Profiles};

fn profiles() -> Profiles {
    Profiles::load(&Extra::default()).unwrap_or_else(|e| panic!("{e}"))
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
        locate(&profiles(), &place, &Filter::default()).unwrap()
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
            "brave:snap:bob data=home/bob/snap/brave/12/.config/BraveSoftware/Brave-Browser",
            "chrome:beta:root data=root/.config/google-chrome-beta",
            "chromium:native:ann cache=home/ann/.cache/chromium",
            "chromium:native:ann data=home/ann/.config/chromium",
            "firefox:native:ann data=home/ann/.mozilla/firefox",
        ]
    );
    assert!(tree.locate(Platform::Linux).notes.is_empty());
}

#[test]
fn a_link_below_the_base_folder_is_refused_and_said() {
    let tree = Tree::new(&["home/ann/.cache/", "home/ann/real/chromium/", "home/bob/x/.config/chromium/"]);
    tree.link("home/ann/.config/chromium", "home/ann/real/chromium");
    tree.link("home/bob/.config", "home/bob/x/.config");
    tree.link("home/eve", "home/ann");
    let located = tree.locate(Platform::Linux);
    assert!(located.targets.is_empty());
    let refused: Vec<_> = located.notes.iter().filter(|n| n.kind == NoteKind::Refused).collect();
    assert_eq!(refused.len(), located.notes.len());
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
    let err = locate(&profiles(), &place, &Filter { apps: vec!["chrom".into()] }).unwrap_err();
    assert!(err.hint_text().unwrap().contains("chromium, edge"));
    let one = locate(&profiles(), &place, &Filter { apps: vec!["chromium".into()] }).unwrap();
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
