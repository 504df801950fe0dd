//! For any profile and any tree: only what a cache rule names is ever in a
//! plan, what was previewed is what is done, and undo is the identity.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use serde_json::Value;
use shopmend::exit::Exit;
use shopmend::fsys::RelPath;

use crate::support::run::Run;
use crate::support::tree::Tree;

/// Folders that rules and files are put in; some lie in others.
const FOLDERS: [&str; 6] = ["d0", "d0/sub", "d0/keep", "d1", "d1/sub/deep", "d2"];
/// Names that are plain, mean something to rules, or are hard to carry.
const NAMES: [&[u8]; 8] =
    [b"a", b"keep", b"b.tmp", b"x.db-wal", b"%41 b", b"\xff\xfe", b"\n\x1b[2J", "ü\u{202e}".as_bytes()];
const CLASSES: [&str; 3] = ["cache", "state", "user"];
const CONFIDENCES: [&str; 3] = ["confirmed", "likely", "guess"];

#[derive(Debug, Clone)]
struct RandomRule {
    folder: usize,
    class: usize,
    confidence: usize,
    /// 0 nothing, 1 single entries, 2 only as a whole.
    may: u8,
    except: bool,
    max_age_days: Option<u32>,
    budget: Option<u32>,
}

impl RandomRule {
    fn path(&self) -> &'static str {
        FOLDERS[self.folder]
    }

    fn except(&self) -> PathBuf {
        Path::new(self.path()).join("keep")
    }

    fn covers(&self, path: &Path) -> bool {
        path.starts_with(self.path()) && !(self.except && path.starts_with(self.except()))
    }

    fn lets_clear(&self) -> bool {
        CLASSES[self.class] == "cache" && self.may > 0 && CONFIDENCES[self.confidence] != "guess"
    }

    fn toml(&self, number: usize) -> String {
        let may = match (CLASSES[self.class], self.may) {
            ("cache", 1) => "\"clear-entries\"",
            ("cache", 2) => "\"clear-store\"",
            (class, 1) if class != "cache" => "\"rebuild\"",
            _ => "",
        };
        let except = self.except.then(|| format!("except = [\"{}\"]\n", self.except().display()));
        let limits = self.max_age_days.map(|days| format!("max-age-days = {days}\n")).unwrap_or_default()
            + &self.budget.map(|bytes| format!("budget = \"{bytes} B\"\n")).unwrap_or_default();
        format!(
            "\n[[app.rule]]\nid = \"r{number}\"\nname = \"Rule {number}\"\nclass = \"{}\"\nroots = [\"data\"]\n\
             paths = [\"{}\"]\n{}may = [{may}]\n{}reason = \"a test\"\nsource = \"a test\"\nconfidence = \"{}\"\n\
             matches = [\"{}/1\"]\nnot-matches = [\"elsewhere\"]\n",
            CLASSES[self.class],
            self.path(),
            except.unwrap_or_default(),
            if CLASSES[self.class] == "cache" { limits } else { String::new() },
            CONFIDENCES[self.confidence],
            self.path(),
        )
    }
}

#[derive(Debug, Clone)]
struct RandomFile {
    folder: usize,
    names: Vec<usize>,
    content: Vec<u8>,
    days_old: u64,
    link: bool,
}

impl RandomFile {
    fn path(&self) -> PathBuf {
        let names = self.names.iter().map(|&n| OsStr::from_bytes(NAMES[n]));
        Path::new(FOLDERS[self.folder]).join(names.collect::<PathBuf>())
    }
}

fn rules() -> impl Strategy<Value = Vec<RandomRule>> {
    let rule = (
        0..FOLDERS.len(),
        prop_oneof![3 => Just(0usize), 1 => 1..3usize],
        prop_oneof![4 => Just(0usize), 1 => 1..3usize],
        prop_oneof![1 => Just(0u8), 3 => 1..3u8],
        any::<bool>(),
        prop::option::of(1..200u32),
        prop::option::of(1..60u32),
    );
    let rule = rule.prop_map(|(folder, class, confidence, may, except, max_age_days, budget)| RandomRule {
        folder,
        class,
        confidence,
        may,
        except,
        max_age_days,
        budget,
    });
    prop::collection::vec(rule, 1..4)
}

fn files() -> impl Strategy<Value = Vec<RandomFile>> {
    let file = (
        0..FOLDERS.len(),
        prop::collection::vec(0..NAMES.len(), 1..3),
        prop::collection::vec(any::<u8>(), 0..40),
        0..400u64,
        prop::bool::weighted(0.1),
    );
    let file = file.prop_map(|(folder, names, content, days_old, link)| RandomFile {
        folder,
        names,
        content,
        days_old,
        link,
    });
    prop::collection::vec(file, 1..30)
}

fn plant(tree: &Tree, root: &Path, files: &[RandomFile]) {
    tree.file(root.join("precious"), "not under any rule");
    for file in files {
        let path = root.join(file.path());
        let full = tree.at(&path);
        let blocked = full.symlink_metadata().is_ok()
            || full.ancestors().skip(1).any(|a| a.symlink_metadata().is_ok_and(|m| !m.is_dir()));
        if blocked {
            continue;
        }
        if file.link {
            tree.dir(path.parent().unwrap());
            tree.link(&path, tree.at(root).join("precious"));
        } else {
            tree.file(&path, &file.content);
        }
    }
    for file in files.iter().filter(|f| !f.link) {
        let path = root.join(file.path());
        if tree.at(&path).symlink_metadata().is_ok_and(|m| m.is_file()) {
            let then = SystemTime::now() - Duration::from_secs(file.days_old * 86_400 + 7200);
            tree.mtime(&path, then.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_nanos() as u64);
        }
    }
}

/// Paths of one list of every action, relative to the root.
fn planned(plan: &Value, list: &str) -> BTreeSet<PathBuf> {
    let actions = plan["actions"].as_array().unwrap();
    let items = actions.iter().flat_map(|a| a[list].as_array().into_iter().flatten());
    let path =
        |item: &Value| RelPath::from_text(item["path"].as_str().unwrap()).unwrap().as_path().to_path_buf();
    items.map(path).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_global_rejects: 4096, ..ProptestConfig::default() })]
    #[test]
    fn a_plan_holds_cache_alone_is_what_is_done_and_can_be_undone(rules in rules(), files in files()) {
        let tree = Tree::new();
        let root = Path::new("home/some/app");
        plant(&tree, root, &files);
        let mut profile = String::from(
            "[[app]]\nid = \"random\"\nname = \"Random\"\nplatform = \"linux\"\n\n[[app.install]]\nid = \"native\"\n\
             roots = { data = \"{HOME}/some/app\" }\n",
        );
        for (number, rule) in rules.iter().enumerate() {
            profile += &rule.toml(number);
        }
        tree.file("profiles/random.toml", &profile);
        let run = Run::new().home(tree.at("home"));
        let profiles = tree.at("profiles");
        let wanted = ["--profiles", profiles.to_str().unwrap(), "--app", "random", "--format", "json"];
        let before = tree.snapshot();

        let preview = run.call(["repair", "--dry-run"].iter().chain(&wanted));
        // Rules of different classes that overlap are refused as a whole.
        prop_assume!(preview.code != Some(i32::from(Exit::Profile.code())));
        before.assert_same(&tree.snapshot());
        let preview = preview.json();
        let (gone, folders) = (planned(&preview["plan"], "files"), planned(&preview["plan"], "whole"));
        for path in &gone {
            let may = rules.iter().any(|r| r.covers(path) && r.lets_clear());
            let mine = rules.iter().any(|r| r.covers(path) && CLASSES[r.class] != "cache");
            prop_assert!(may && !mine, "{path:?} is planned to go");
            let kind = tree.at(root).join(path).symlink_metadata().unwrap();
            prop_assert!(kind.is_file(), "{path:?} is no plain file");
        }
        for folder in &folders {
            let all = before.paths().filter_map(|p| p.strip_prefix(root).ok()).filter(|p| p.starts_with(folder));
            for inside in all.filter(|p| !tree.at(root).join(p).is_dir()) {
                prop_assert!(gone.contains(inside), "{inside:?} would go with its folder");
            }
        }

        let done = run.call(["repair", "--yes"].iter().chain(&wanted)).json();
        prop_assert_eq!(&done["plan"]["actions"], &preview["plan"]["actions"]);
        let after = tree.snapshot();
        for path in before.paths() {
            let Ok(rel) = path.strip_prefix(root) else { continue };
            let (was, is) = (before.get(path).unwrap(), after.get(path));
            if was.kind == "folder" {
                let cleared = folders.iter().any(|f| rel.starts_with(f));
                prop_assert!(is.is_some() || cleared, "{rel:?} is gone");
            } else {
                prop_assert_eq!(is.is_none(), gone.contains(rel), "{:?}", rel);
            }
        }
        prop_assert!(after.paths().all(|p| before.get(p).is_some()), "something new is there");

        if !gone.is_empty() {
            run.call(["undo"]).expect(Exit::Ok);
        }
        before.assert_same(&tree.snapshot());
    }
}
