//! Accidents of other tools, each made impossible here. A test is named after
//! the report of the accident; it fails when the guard against it is removed.

use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::process::Stdio;

use shopmend::exit::Exit;

use crate::support::shop::{PROFILE, Shop};
use crate::support::skip::skipped;
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

    let file = Tree::new();
    file.file(
        "p.toml",
        PROFILE.replace("paths = [\"guess\"]\nmay = []", "paths = [\"guess\"]\nmay = [\"clear-store\"]"),
    );
    let path = file.at("p.toml").display().to_string();
    shop.run.call(["profile", "validate", &path]).expect(Exit::Profile);
    for missing in ["reason", "source", "matches", "not-matches"] {
        let mut gone = false;
        let text: Vec<&str> = PROFILE
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
    let file = Tree::new();
    for pattern in ["**/*-journal", "**/*-wal", "**/CURRENT", "**/MANIFEST-*", "**/*.ldb"] {
        let text = PROFILE.replacen("paths = [\"cache\"]", &format!("paths = [\"cache\", \"{pattern}\"]"), 1);
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
