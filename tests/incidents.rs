//! Accidents of other tools, each made impossible here. A test is named after
//! the report of the accident; it fails when the guard against it is removed.

use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;

use shopmend::exit::Exit;

use crate::faults::scene::{Scene, What};
use crate::faults::trace;
use crate::support::android_tree::AndroidTree;
use crate::support::plans;
use crate::support::shop::{self, Shop};
use crate::support::skip::{beyond, has, skipped};
use crate::support::tree::{Snapshot, Tree};

/// A cleaner followed a bare link that stood where a cleaned folder should be,
/// and emptied what it pointed to.
#[test]
fn bleachbit_1889_a_link_as_the_root_of_a_cache_is_not_followed() {
    for (what, place) in
        [("root", ".cache/shop"), ("store", ".cache/shop/cache"), ("inside", ".cache/shop/cache/0")]
    {
        let precious = Tree::new();
        precious.file("cache/0/a", "precious").file("a", "precious").age();
        let shop = Shop::new();
        let aside = Tree::new();
        std::fs::rename(shop.home.at(place), aside.at("was")).unwrap();
        symlink(precious.path(), shop.home.at(place)).unwrap();
        let shop = shop.aged();
        let before = precious.snapshot();
        let out = shop.run.call(shop.args(&["repair", "--yes"]));
        before.assert_same(&precious.snapshot());
        assert!(
            shop.home.at(place).symlink_metadata().unwrap().is_symlink(),
            "{what}: the link is gone: {out}"
        );
    }
}

/// `rm` and `rd` were called on paths with links in them.
#[test]
fn claude_code_75275_no_outside_program_deletes_and_no_tree_is_removed_by_path() {
    fn look(dir: &std::path::Path, bad: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                look(&path, bad);
                continue;
            }
            if path.extension().is_none_or(|e| e != "rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod ").next().unwrap();
            if path.ends_with("tests.rs") {
                continue;
            }
            for (number, line) in code.lines().enumerate() {
                let line = line.split("//").next().unwrap();
                for word in ["remove_dir_all", "Command::new(\"rm", "Command::new(\"rd", "Command::new(\"cmd"]
                {
                    if line.contains(word) {
                        bad.push(format!("{}:{}: {word}", path.display(), number + 1));
                    }
                }
            }
        }
    }
    let mut bad = Vec::new();
    look(&std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut bad);
    assert_eq!(bad, Vec::<String>::new());
}

/// A trailing slash turned "the link" into "what it points to".
#[test]
fn trash_cli_322_a_trailing_slash_does_not_follow_a_link() {
    let precious = Tree::new();
    precious.file("shop/cache/a", "precious").age();
    let shop = Shop::new().aged();
    symlink(precious.at("shop"), shop.home.at("link")).unwrap();
    let before = precious.snapshot();
    for image in ["link", "link/", "link//."] {
        let dir = format!("{}/{image}", shop.home.path().display());
        let args = shop.args(&["repair", "--yes", "--image", &dir, "--platform", "linux"]);
        let out = shop.run.call(args);
        before.assert_same(&precious.snapshot());
        assert_ne!(out.code, Some(0), "{image}: {out}");
    }
}

/// An empty variable made a script delete from the top of the file system.
#[test]
fn steam_for_linux_3671_an_unset_or_empty_home_is_an_error_and_never_a_guess() {
    let shop = Shop::new().aged();
    let before = shop.home.snapshot();
    for home in [None, Some(""), Some("relative"), Some("."), Some("/")] {
        let mut command = shop.run.command(shop.args(&["repair", "--yes"]));
        command.current_dir(shop.home.path());
        match home {
            Some(home) => command.env("HOME", home),
            None => command.env_remove("HOME"),
        };
        let out = command.stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&out.stderr);
        assert_ne!(out.status.code(), Some(0), "HOME={home:?}: {text}");
        before.assert_same(&shop.home.snapshot());
    }
}

/// A rule without evidence, on by default, cleared folders that held other
/// things.
#[test]
fn winapp2_881_a_rule_without_reason_or_sample_is_refused_and_a_guess_is_never_cleared() {
    let shop = Shop::new();
    shop.home.file(".cache/shop/guess/a", "x");
    let shop = shop.aged();
    let before = Snapshot::of(&shop.at("guess"));
    shop.run.call(shop.args(&["repair", "--yes"])).expect(Exit::Ok);
    before.assert_same(&Snapshot::of(&shop.at("guess")));

    let (file, profile) = (Tree::new(), shop::profile());
    file.file(
        "p.toml",
        profile.replace("paths = [\"guess\"]\nmay = []", "paths = [\"guess\"]\nmay = [\"clear-store\"]"),
    );
    let path = file.at("p.toml").display().to_string();
    shop.run.call(["profile", "validate", &path]).expect(Exit::Profile);
    for missing in ["reason", "source", "matches", "not-matches"] {
        let mut gone = false;
        let text: Vec<&str> = profile
            .lines()
            .filter(|l| {
                let drop = !gone && l.starts_with(&format!("{missing} ="));
                gone |= drop;
                !drop
            })
            .collect();
        file.file("p.toml", text.join("\n"));
        let path = file.at("p.toml").display().to_string();
        let out = shop.run.call(["profile", "validate", &path]).expect(Exit::Profile);
        assert!(format!("{out}").contains("p.toml"), "{missing}: {out}");
    }
}

/// `*-journal` and `MANIFEST-*` were cleared as if they were cache.
#[test]
fn winapp2_journal_sidecars_and_leveldb_control_files_are_never_cleared_alone() {
    let shop = Shop::new();
    let (file, profile) = (Tree::new(), shop::profile());
    for pattern in ["**/*-journal", "**/*-wal", "**/CURRENT", "**/MANIFEST-*", "**/*.ldb"] {
        let text = profile.replacen("paths = [\"cache\"]", &format!("paths = [\"cache\", \"{pattern}\"]"), 1);
        file.file("p.toml", text);
        let path = file.at("p.toml").display().to_string();
        shop.run.call(["profile", "validate", &path]).expect(Exit::Profile);
    }
    // An old journal beside a young database stays, though each file is an entry of the cache.
    let shop = Shop::new();
    shop.home.file(".cache/shop/cache/x.db-journal", "j").file(".cache/shop/cache/MANIFEST-000001", "m");
    let shop = shop.aged();
    shop.home.file(".cache/shop/cache/x.db", "d");
    shop.run.call(shop.args(&["repair", "--yes"]));
    assert!(shop.at("cache/x.db-journal").exists() && shop.at("cache/x.db").exists());
    assert!(shop.at("cache/MANIFEST-000001").exists());
}

/// The preview and the deletion worked on different sets.
#[test]
fn sdmaid_62194f0d6_what_was_previewed_is_what_is_done() {
    let shop = Shop::new().aged();
    shop.break_index();
    let dry = shop
        .run
        .call([shop.args(&["repair", "--dry-run", "--format", "json"])].concat())
        .expect(Exit::Findings);
    let done = shop.run.call([shop.args(&["repair", "--yes", "--format", "json"])].concat()).expect(Exit::Ok);
    // Content hashes are only there where the scan had to read.
    let without_hashes = |mut json: serde_json::Value| {
        for action in json["plan"]["actions"].as_array_mut().unwrap() {
            for list in ["files", "whole", "members"] {
                for item in action[list].as_array_mut().into_iter().flatten() {
                    item.as_object_mut().unwrap().remove("blake3");
                }
            }
        }
        json
    };
    let (dry, done) = (without_hashes(dry.json()), without_hashes(done.json()));
    assert_eq!(dry["plan"]["actions"], done["plan"]["actions"]);
    assert_eq!(dry["plan"]["hash"], done["plan"]["hash"]);
    assert!(dry["plan"]["actions"].as_array().is_some_and(|a| a.len() == 2), "{}", dry["plan"]);
}

/// A replacement that the file system refused was made in a weaker way, and
/// the file was gone in between.
#[test]
fn czkawka_1656_a_refused_rename_is_never_replaced_by_something_weaker() {
    let test = "czkawka_1656";
    if !trace::available() {
        return skipped(test, "strace is missing or may not trace");
    }
    let base = Tree::new();
    let scene = Scene::new(base.path());
    for (kind, error) in [
        ("renameat2", "EPERM"),
        ("renameat2", "EXDEV"),
        ("renameat2", "EROFS"),
        ("renameat2,linkat", "EINVAL"),
        ("linkat,symlinkat,unlinkat,unlink", "EPERM"),
    ] {
        scene.renew();
        let original = std::fs::File::open(scene.at("messages.db")).unwrap();
        let length = original.metadata().unwrap().len();
        let ended = trace::failing(&scene.prepare(&What::Repair), &scene.trace(), kind, error);
        assert_ne!(ended.code, Some(0), "{kind} {error}: {}", ended.said);
        // Whatever happened, no content was written over or cut off.
        assert_eq!(original.metadata().unwrap().len(), length);
        assert!(scene.now().paths().all(|p| scene.now().get(p).unwrap().kind != "link"));
        scene.settle(&What::Repair).unwrap_or_else(|e| panic!("{kind} {error}: {e}\n{}", ended.said));
    }
}

/// A folder that could not be listed counted as empty, and what seemed to be
/// orphaned by it was pruned.
#[test]
fn restic_4612_a_folder_that_cannot_be_read_is_unknown_and_never_empty() {
    let test = "restic_4612";
    if !rustix::process::geteuid().is_root() {
        return skipped(test, "only root can become a user that may not read a folder");
    }
    let shop = Shop::new().aged();
    let nobody = 65534;
    for path in walk(shop.home.path()) {
        std::os::unix::fs::lchown(&path, Some(nobody), Some(nobody)).unwrap();
    }
    std::os::unix::fs::lchown(shop.home.path(), Some(nobody), Some(nobody)).unwrap();
    shop.home.mode(".cache/shop/cache/1", 0o000);
    let base = Tree::new();
    std::os::unix::fs::lchown(base.path(), Some(nobody), Some(nobody)).unwrap();
    let program = base.at("shopmend");
    std::fs::copy(env!("CARGO_BIN_EXE_shopmend"), &program).unwrap();
    let call = |args: &[&str]| {
        let mut command = std::process::Command::new(&program);
        command.env_clear().env("HOME", shop.home.path()).arg("--state-dir").arg(base.at("state"));
        let profiles = shop.args(&[]);
        std::fs::set_permissions(&profiles[3], std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        command.args(args).args(profiles).uid(nobody).gid(nobody).stdin(Stdio::null());
        command.output().unwrap()
    };
    let scan = call(&["scan", "--format", "json"]);
    let scan: serde_json::Value = serde_json::from_slice(&scan.stdout).unwrap();
    let stores = scan["targets"][0]["stores"].as_array().unwrap();
    let cache = stores.iter().find(|s| s["class"] == "cache").unwrap();
    assert_eq!(cache["verdict"], "unreadable", "{cache:#}");
    let before = shop.home.snapshot();
    let repair = call(&["repair", "--yes", "--only", "clear"]);
    before.assert_same(&shop.home.snapshot());
    assert!(repair.status.code().is_some());
}

/// A restore wiped the backup, which lay inside what was restored.
#[test]
fn borg_community_69_the_vault_may_not_lie_in_a_root_nor_a_root_in_the_vault() {
    let shop = Shop::new().aged();
    for state in [shop.at("cache/state"), shop.at("state"), shop.home.at(".cache")] {
        let existed = state.exists();
        let mut command = shop.run.command(shop.args(&["repair", "--yes"]));
        // The last one wins over the builder's own.
        command.arg("--state-dir").arg(&state);
        let out = command.stdin(Stdio::null()).output().unwrap();
        assert_ne!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stdout));
        assert_eq!(std::fs::read_dir(shop.at("cache/0")).unwrap().count(), 10);
        if !existed && state.exists() {
            std::fs::remove_dir_all(&state).unwrap();
        }
    }
}

/// A restore deleted what stood beside the restored files.
#[test]
fn restic_21819_a_restore_touches_exactly_what_it_restores() {
    let shop = Shop::new().aged();
    shop.break_index();
    shop.run.call(shop.args(&["repair", "--yes"])).expect(Exit::Ok);
    // What the app made since then, beside and between what is brought back.
    for new in ["cache/0/new", "cache/9/new", "drafts/two.json", "messages.db.note", "other/x"] {
        shop.home.file(format!(".cache/shop/{new}"), "made since");
    }
    let keep = |snapshot: Snapshot| -> Vec<(std::path::PathBuf, Vec<u8>)> {
        let new = snapshot.paths().filter(|p| snapshot.get(p).unwrap().content == b"made since");
        new.map(|p| (p.to_owned(), snapshot.get(p).unwrap().content.clone())).collect()
    };
    let made = keep(Snapshot::of(&shop.at("")));
    assert_eq!(made.len(), 5);
    // The messages are damaged again.
    shop.run.call(["undo"]).expect(Exit::Left);
    let back = Snapshot::of(&shop.at(""));
    assert!(back.get("cache/0/0.bin").is_some(), "{back:?}");
    for path in ["drafts/two.json", "messages.db.note", "other/x", "drafts/one.json"] {
        assert!(back.get(path).is_some(), "{path} is gone");
    }
    // What stands where a whole folder comes back to is set aside, not deleted.
    let state = Snapshot::of(shop.run.state_path());
    for (path, content) in made {
        let kept = back.get(&path).is_some() || state.contents().contains(&content.as_slice());
        assert!(kept, "{} is gone", path.display());
    }
}

/// A restore pruned all backups before it began.
#[test]
fn mscs_322_a_restore_prunes_nothing() {
    let shop = Shop::new().aged();
    for _ in 0..3 {
        shop.run.call(shop.args(&["backup"])).expect(Exit::Ok);
    }
    shop.break_index();
    shop.run.call(shop.args(&["repair", "--yes"])).expect(Exit::Ok);
    let runs = || -> Vec<String> {
        let list = shop.run.call(["vault", "list", "--format", "json"]).expect(Exit::Ok).json();
        list["runs"].as_array().unwrap().iter().map(|r| r["run"].as_str().unwrap().to_owned()).collect()
    };
    let copies = || Snapshot::of(&shop.run.state_path().join("vault/objects"));
    let (held, objects) = (runs(), copies());
    assert_eq!(held.len(), 4);
    shop.run.call(["vault", "restore", &held[0]]).expect(Exit::Ok);
    shop.run.call(["undo", &held[3]]).expect(Exit::Ok);
    assert_eq!(runs()[..4], held[..]);
    let now = copies();
    assert!(objects.contents().iter().all(|c| now.contents().contains(c)));
    shop.run.call(["vault", "verify"]).expect(Exit::Ok);
}

/// Programs that ran as root in a user's folder were led elsewhere by a link
/// that the user put in the way (CWE-59): the folder is refused, or worked in
/// only on demand, and everything stays its owner's.
#[test]
fn cve_2025_53503_root_is_not_led_through_another_users_folder() {
    let test = "cve_2025_53503";
    if !rustix::process::geteuid().is_root() {
        return skipped(test, "only root can give a folder away");
    }
    let shop = Shop::new();
    shop.break_index();
    let shop = shop.aged();
    for path in walk(shop.home.path()).into_iter().chain([shop.home.path().to_path_buf()]) {
        std::os::unix::fs::lchown(path, Some(12345), Some(12345)).unwrap();
    }
    let before = shop.home.snapshot();
    let refused = |args: &[&str]| {
        let args = if args[0] == "repair" || args[0] == "backup" {
            shop.args(args)
        } else {
            args.iter().map(ToString::to_string).collect()
        };
        let out = shop.run.call(args);
        assert!(![Some(0), Some(130)].contains(&out.code), "{out}");
        assert!(format!("{out}").contains("running as root"), "{out}");
    };
    refused(&["repair", "--yes"]);
    refused(&["backup"]);
    before.assert_same(&shop.home.snapshot());
    // A copy of a damaged database is a copy of the damage.
    shop.run.call(shop.args(&["backup", "--allow-root"])).expect(Exit::Findings);
    let list = shop.run.call(["vault", "list", "--format", "json"]).expect(Exit::Ok).json();
    let backup = list["runs"].as_array().unwrap().last().unwrap()["run"].as_str().unwrap().to_owned();
    shop.run.call(shop.args(&["repair", "--yes", "--allow-root"])).expect(Exit::Ok);
    let after = shop.home.snapshot();
    assert!(after.paths().all(|p| after.get(p).unwrap().uid == 12345));
    refused(&["undo"]);
    refused(&["vault", "restore", &backup]);
    after.assert_same(&shop.home.snapshot());
    shop.run.call(["undo", "--allow-root"]).expect(Exit::Left);
    before.assert_same(&shop.home.snapshot());
    // The damaged database is as the backup holds it.
    shop.run.call(["vault", "restore", &backup, "--allow-root"]).expect(Exit::Left);
    let again = shop.home.snapshot();
    assert!(again.paths().all(|p| again.get(p).unwrap().uid == 12345));
}

/// Retention by count deleted the only copy of the data.
#[test]
fn neo_backup_792_the_last_copy_of_anything_is_never_pruned() {
    let shop = Shop::new().aged();
    shop.run.call(shop.args(&["backup"])).expect(Exit::Ok);
    let out = shop.run.call(["vault", "prune", "--keep-last", "0", "--max-size", "1B"]);
    assert!(out.code.is_some(), "{out}");
    shop.run.call(["vault", "verify"]).expect(Exit::Ok);
    let to = Tree::new();
    let list = shop.run.call(["vault", "list", "--format", "json"]).expect(Exit::Ok).json();
    let run = list["runs"][0]["run"].as_str().unwrap_or_else(|| panic!("{list:#}")).to_owned();
    let target = to.at("out").display().to_string();
    shop.run.call(["vault", "restore", &run, "--to", &target]).expect(Exit::Ok);
    let restored = Snapshot::of(&to.at("out"));
    let original = std::fs::read(shop.at("messages.db")).unwrap();
    assert!(restored.contents().contains(&original.as_slice()));
}

/// A repair whose check was wrong replaced good data by nothing.
#[test]
fn borg_3444_a_repair_with_a_wrong_check_destroys_nothing() {
    use shopmend::model::StoreKind;
    use shopmend::repair::{Done, Hooks};
    let tree = Tree::new();
    tree.file("app/x.db", "sound, whatever the check says").file("app/l/CURRENT", "c").age();
    let root = tree.at("app");
    let before = tree.snapshot();
    let state = Tree::new();
    let actions = || {
        vec![plans::rebuild(&root, "x.db", StoreKind::Sqlite), plans::rebuild(&root, "l", StoreKind::Leveldb)]
    };
    // It refuses everything: nothing is replaced.
    let refuses = |_: StoreKind, _: &std::path::Path| Err("not sound".to_owned());
    let hooks = Hooks { verify: &refuses, ..plans::hooks() };
    let done = plans::run_with(&state.at("s"), actions(), &hooks);
    assert!(done.actions.iter().all(|a| a.done == Done::RolledBack), "{done:?}");
    before.assert_same(&tree.snapshot());
    // It accepts everything, and what it accepts is worthless: the old is held.
    let done = plans::run_with(&state.at("s"), actions(), &plans::hooks());
    assert!(done.actions.iter().all(|a| a.done == Done::Done), "{done:?}");
    assert_eq!(std::fs::read(root.join("x.db")).unwrap(), b"rebuilt");
    let held = Snapshot::of(&state.at("s/vault/objects"));
    assert!(held.contents().contains(&b"sound, whatever the check says".as_slice()));
    plans::undo_last(&state.at("s"));
    before.assert_same(&tree.snapshot());
}

/// Data of another user's apps counted as orphaned; backups counted as cache.
#[test]
fn sdmaid_3595_what_no_rule_names_of_any_user_is_left_alone() {
    let tree = AndroidTree::healthy();
    let at = |path: &str| tree.image().join(path);
    let copy = |from: &str, to: &str| {
        std::fs::create_dir_all(at(to).parent().unwrap()).unwrap();
        let done = std::process::Command::new("cp").arg("-a").arg(at(from)).arg(at(to)).status().unwrap();
        assert!(done.success());
    };
    let package = shopmend::sample::android::TIKTOK;
    copy(&format!("data/data/{package}"), &format!("data/user/10/{package}"));
    let foreign = [
        "data/user/10/org.other.app/cache/a",
        "data/data/org.other.app/cache/a",
        "data/media/0/TWRP/BACKUPS/x/data.win",
        "data/media/0/Signal/Backups/signal.backup",
        "data/media/10/Android/data/org.other.app/cache/b",
    ];
    for path in foreign {
        std::fs::create_dir_all(at(path).parent().unwrap()).unwrap();
        std::fs::write(at(path), "not ours").unwrap();
    }
    let before = Snapshot::of(tree.image());
    let run = crate::support::run::Run::new();
    let image = tree.image().display().to_string();
    let args = ["--platform", "android", "--image", &image, "--format", "json"];
    let report = run.call(["repair", "--yes", "--older-than", "1h"].iter().chain(&args));
    let report = report.json();
    let users: std::collections::BTreeSet<String> =
        report["targets"].as_array().unwrap().iter().map(|t| t["user"].to_string()).collect();
    assert!(users.len() > 1, "both users are looked at: {users:?}");
    let after = Snapshot::of(tree.image());
    for path in foreign {
        assert!(before.get(path) == after.get(path), "{path} was touched");
    }
    // All that changed lies below what the plan names.
    let planned: Vec<std::path::PathBuf> = report["plan"]["actions"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| std::path::Path::new(a["root"].as_str().unwrap()).join(a["path"].as_str().unwrap()))
        .collect();
    assert!(!planned.is_empty());
    for path in
        before.paths().filter(|p| after.get(p).map(|n| &n.content) != before.get(p).map(|n| &n.content))
    {
        assert!(planned.iter().any(|p| tree.image().join(path).starts_with(p)), "{}", path.display());
    }
}

/// The disk was full in the middle of it.
#[test]
fn borg_1138_a_full_disk_is_refused_or_taken_back() {
    let test = "borg_1138";
    for small in ["state", "home"] {
        let mounted = Tree::new();
        let mount = std::process::Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "shopmend-test"])
            .arg(mounted.path())
            .stderr(Stdio::null())
            .status();
        if !mount.is_ok_and(|s| s.success()) {
            return skipped(test, "mounting a tmpfs takes root");
        }
        let shop = if small == "home" { Shop::over(Tree::under(mounted.path())) } else { Shop::new() };
        // On the small disk there is no room for a second database; elsewhere it
        // is larger than the small disk for the backups.
        let rows = if small == "home" { 3000 } else { 9000 };
        let _ = std::fs::remove_file(shop.at("messages.db"));
        shop.home.file(".cache/shop/cache/0/a", "old");
        let db = rusqlite::Connection::open(shop.at("messages.db")).unwrap();
        db.execute_batch(&format!(
            "CREATE TABLE msg(id INTEGER PRIMARY KEY, body TEXT); CREATE INDEX b ON msg(body);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<{rows})
             INSERT INTO msg(body) SELECT printf('%080d', i) || 'x' FROM n;"
        ))
        .unwrap();
        db.close().unwrap();
        shop.break_index();
        let shop = shop.aged();
        let before = shop.home.snapshot();
        let mut command = shop.run.command(shop.args(&["repair", "--yes"]));
        if small == "state" {
            // The last one wins over the builder's own.
            command.arg("--state-dir").arg(mounted.at("s"));
        }
        let out = command.stdin(Stdio::null()).output().unwrap();
        let said =
            format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        let now = shop.home.snapshot();
        drop(shop);
        std::process::Command::new("umount").arg("-l").arg(mounted.path()).status().unwrap();
        assert!([Some(4), Some(5)].contains(&out.status.code()), "{small}: {:?} {said}", out.status.code());
        assert!(said.contains("space"), "{small}: {said}");
        before.assert_same(&now);
    }
}

/// Failures ended with exit 0.
#[test]
fn bleachbit_exit_0_after_failures_every_failure_has_its_own_code() {
    let shop = Shop::new().aged();
    shop.run.call(["scan", "--app", "no-such-app"]).expect(Exit::Usage);
    shop.run.call(["frobnicate"]).expect(Exit::Usage);
    shop.run.call(["check", "/no/such/file"]).expect(Exit::Usage);
    shop.run.call(["undo", "20200101T000000-0000"]).expect(Exit::Usage);
}

/// A mount point inside a cache belongs to something else.
#[test]
fn windirstat_82_a_mount_point_inside_a_cache_is_left_alone() {
    let test = "windirstat_82";
    let shop = Shop::new();
    shop.home.dir(".cache/shop/cache/mounted");
    let at = shop.at("cache/mounted");
    let mount = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "shopmend-test"])
        .arg(&at)
        .output();
    if !mount.is_ok_and(|o| o.status.success()) {
        return skipped(test, "no tmpfs can be mounted here");
    }
    std::fs::write(at.join("other"), "somebody else's").unwrap();
    let shop = shop.aged();
    let out = shop.run.call(shop.args(&["repair", "--yes"]));
    let left = std::fs::read_to_string(at.join("other"));
    let mounted = std::fs::read_to_string("/proc/mounts").unwrap().contains(&*at.to_string_lossy());
    std::process::Command::new("umount").arg(&at).status().unwrap();
    assert_eq!(left.unwrap(), "somebody else's", "{out}");
    assert!(mounted, "the mount point was moved: {out}");
}

/// A scan fetched what a cloud drive kept elsewhere, and clearing the names of
/// such files deleted them from the cloud. A disk of Windows is mounted here.
#[test]
fn windirstat_242_what_a_cloud_drive_keeps_is_neither_read_nor_cleared() {
    let test = "windirstat_242";
    if !rustix::process::geteuid().is_root() || !has("mkntfs") || !has("ntfs-3g") {
        return skipped(test, "mounting a disk of Windows takes root and ntfs-3g");
    }
    if !std::path::Path::new("/dev/fuse").exists() {
        return beyond(test, "this kernel has no /dev/fuse");
    }
    let disk = Tree::new();
    std::fs::File::create(disk.at("image")).unwrap().set_len(16 << 20).unwrap();
    disk.dir("m");
    let run = |program: &str, args: &[&str]| {
        let done = std::process::Command::new(program).args(args).current_dir(disk.path()).output().unwrap();
        assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
    };
    run("mkntfs", &["-F", "-Q", "-q", "image"]);
    run("ntfs-3g", &["image", "m"]);
    let shop = Shop::over(Tree::under(&disk.at("m")));
    for i in 0..6 {
        shop.home.file(format!(".cache/shop/cache/{}/{i}", i % 2), vec![7; 5000]);
    }
    let cloud = shop.at("cache/0/cloud");
    std::fs::File::create(&cloud).unwrap().set_len(1 << 20).unwrap();
    let shop = shop.aged();
    let offline = 0x1000_u32.to_be_bytes();
    rustix::fs::setxattr(&cloud, "system.ntfs_attrib_be", &offline, rustix::fs::XattrFlags::empty()).unwrap();
    let read = cloud.metadata().unwrap().accessed().unwrap();
    let image = shop.home.path().display().to_string();
    let mut args = shop.args(&["repair", "--yes", "--allow-root", "--platform", "linux", "--image", &image]);
    let scan = shop.run.call(shop.args(&["scan", "--deep", "--platform", "linux", "--image", &image]));
    let out = shop.run.call(&args);
    let left: Vec<std::path::PathBuf> = walk(&shop.at("cache")).into_iter().filter(|p| p.is_file()).collect();
    let accessed = cloud.metadata().map(|m| m.accessed().unwrap());
    // The same without the attribute is an old file like any other.
    let plain = 0x20_u32.to_be_bytes();
    rustix::fs::setxattr(&cloud, "system.ntfs_attrib_be", &plain, rustix::fs::XattrFlags::empty()).unwrap();
    args.push("--rehash".into());
    let again = shop.run.call(&args);
    let gone = !cloud.exists();
    drop(shop);
    run("umount", &["m"]);
    assert_eq!(left, [cloud], "{out}");
    assert_eq!(accessed.unwrap(), read);
    assert!(scan.stdout.contains("cloud drive"), "{scan}");
    assert!(gone, "{again}");
}

fn walk(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.is_symlink() {
            out.extend(walk(&path));
        }
        out.push(path);
    }
    out
}
