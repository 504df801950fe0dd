//! What a careless or hostile surrounding must not be able to do: an app that
//! works on unseen, files in the way, folders that are away, another owner.

use std::fs::File;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use shopmend::error::Error;
use shopmend::exit::Exit;
use shopmend::model::StoreKind;
use shopmend::place::{LocalPlace, Place as _};
use shopmend::repair::{Affected, Done};

use crate::support::plans;
use crate::support::run::Run;
use crate::support::shop::Shop;
use crate::support::skip::skipped;
use crate::support::tree::{Snapshot, Tree};

/// A process of the test; ends with it.
struct App(Child);

impl App {
    /// One that has a file open as its input.
    fn with(program: &Path, file: File) -> Self {
        Self(Command::new(program).arg("60").stdin(file).spawn().unwrap())
    }

    /// One that a shell prepares; it says when it is ready.
    fn shell(wrapper: &[&str], script: &str) -> Self {
        use std::io::Read as _;
        let mut command = Command::new(wrapper.first().unwrap_or(&"sh"));
        command.args(wrapper.iter().skip(1));
        if !wrapper.is_empty() {
            command.arg("sh");
        }
        command.args(["-c", &format!("{script}; echo; exec sleep 60")]);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap();
        child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
        Self(child)
    }
}

impl Drop for App {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn open(path: impl AsRef<Path>) -> File {
    File::options().read(true).write(true).open(path).unwrap()
}

fn damaged() -> Shop {
    let shop = Shop::new();
    shop.break_index();
    shop.aged()
}

/// The repair is refused, and not a byte changed; without the app it works.
#[track_caller]
fn refused_while(app: App, shop: &Shop, more: &[&str]) {
    let before = shop.home.snapshot();
    let args = [&["repair", "--yes"], more].concat();
    let out = shop.run.call(shop.args(&args)).expect(Exit::AppRunning);
    before.assert_same(&shop.home.snapshot());
    drop(app);
    shop.run.call(shop.args(&args)).expect(Exit::Ok);
    assert!(out.stderr.contains("nothing was changed"), "{out}");
}

#[test]
fn an_app_in_another_mount_namespace_is_seen() {
    let test = "an_app_in_another_mount_namespace_is_seen";
    if !is_root() {
        return skipped(test, "only root can make a mount namespace everywhere");
    }
    let shop = damaged();
    let elsewhere = Tree::new();
    let script = format!(
        "mount --bind {} {} && exec 9<>{}/messages.db",
        shop.at("").display(),
        elsewhere.path().display(),
        elsewhere.path().display()
    );
    refused_while(App::shell(&["unshare", "-m"], &script), &shop, &[]);
}

#[test]
fn a_lock_is_seen_from_another_pid_namespace_and_an_open_file_cannot_be() {
    let test = "a_lock_is_seen_from_another_pid_namespace_and_an_open_file_cannot_be";
    if !is_root() {
        return skipped(test, "only root can make a PID namespace everywhere");
    }
    let shop = damaged();
    let inside = |more: &[&str]| {
        let plain = shop.run.command(shop.args(&[&["repair", "--yes"], more].concat()));
        let mut command = Command::new("unshare");
        command.args(["-p", "-f", "--mount-proc"]).arg(plain.get_program()).args(plain.get_args());
        command.env_clear().env("HOME", shop.home.path()).env("PATH", std::env::var_os("PATH").unwrap());
        let out = command.stdin(Stdio::null()).output().unwrap();
        (out.status.code().unwrap(), String::from_utf8_lossy(&out.stderr).into_owned())
    };
    let before = shop.home.snapshot();
    let db = rusqlite::Connection::open(shop.at("messages.db")).unwrap();
    db.execute_batch("BEGIN IMMEDIATE").unwrap();
    // Whoever has a lock uses the file, whatever the person says.
    for more in [&[][..], &["--not-in-use"]] {
        let (code, said) = inside(more);
        assert_eq!(code, 11, "{said}");
    }
    db.execute_batch("ROLLBACK").unwrap();
    drop(db);
    let (code, said) = inside(&[]);
    assert_eq!(code, 11, "{said}");
    assert!(said.contains("cannot be told") && said.contains("--not-in-use"), "{said}");
    before.assert_same(&shop.home.snapshot());
    let (code, said) = inside(&["--not-in-use"]);
    assert_eq!(code, 0, "{said}");
}

#[test]
fn an_image_that_lies_on_a_disk_in_use_is_looked_at_as_well() {
    let shop = damaged();
    let home = shop.home.path().display().to_string();
    let app = App::with(Path::new("sleep"), open(shop.at("messages.db")));
    refused_while(app, &shop, &["--image", &home, "--platform", "linux"]);
}

#[test]
fn a_file_that_is_only_mapped_is_in_use() {
    let shop = Shop::new();
    let program = shop.at("cache/0/program");
    let sleep = ["/bin/sleep", "/usr/bin/sleep"].iter().map(PathBuf::from).find(|p| p.exists()).unwrap();
    std::fs::copy(sleep, &program).unwrap();
    let shop = shop.aged();
    // Running it maps it, and leaves no descriptor open.
    let app = App(Command::new(&program).arg("60").stdin(Stdio::null()).spawn().unwrap());
    std::thread::sleep(std::time::Duration::from_millis(200));
    refused_while(app, &shop, &[]);
}

#[test]
fn a_second_name_of_a_file_is_the_same_file() {
    let shop = damaged();
    let elsewhere = shop.home.at("elsewhere.db");
    std::fs::hard_link(shop.at("drafts/one.json"), &elsewhere).unwrap();
    refused_while(App::with(Path::new("sleep"), open(&elsewhere)), &shop, &[]);
}

#[test]
fn a_lock_that_names_another_computer_is_said_and_respected() {
    let shop = damaged();
    symlink("otherhost-1234", shop.at("SingletonLock")).unwrap();
    let before = shop.home.snapshot();
    let out = shop.run.call(shop.args(&["repair", "--yes"])).expect(Exit::AppRunning);
    assert!(out.stderr.contains("otherhost") && out.stderr.contains("1234"), "{out}");
    before.assert_same(&shop.home.snapshot());
    shop.run.call(shop.args(&["repair", "--yes", "--not-in-use"])).expect(Exit::Ok);
}

#[test]
fn a_scan_of_this_programs_own_is_no_app_in_use_and_its_repair_is() {
    let shop = damaged();
    let bin = Tree::new();
    let program = bin.at("shopmend");
    let sleep = ["/bin/sleep", "/usr/bin/sleep"].iter().map(PathBuf::from).find(|p| p.exists()).unwrap();
    std::fs::copy(sleep, &program).unwrap();
    let writes = App::with(&program, open(shop.at("messages.db")));
    shop.run.call(shop.args(&["repair", "--yes"])).expect(Exit::AppRunning);
    drop(writes);
    let _reads = App::with(&program, File::open(shop.at("messages.db")).unwrap());
    shop.run.call(shop.args(&["repair", "--yes"])).expect(Exit::Ok);
}

#[test]
fn who_opens_the_old_file_at_the_last_moment_keeps_it() {
    let tree = Tree::new();
    tree.file("app/x.db", "damaged").age();
    let (root, state) = (tree.at("app"), Tree::new());
    let before = tree.snapshot();
    let app: std::cell::RefCell<Option<App>> = std::cell::RefCell::new(None);
    let place = LocalPlace::by_records();
    let asked = std::cell::Cell::new(0);
    let running = |store: &Affected<'_>| -> Result<(), Error> {
        asked.set(asked.get() + 1);
        if !store.moved.is_empty() {
            return place.in_use(store);
        }
        // It comes right after the last look before the swap.
        if asked.get() > 1 {
            *app.borrow_mut() = Some(App::with(Path::new("sleep"), open(root.join("x.db"))));
        }
        Ok(())
    };
    let hooks = shopmend::repair::Hooks { running: &running, ..plans::hooks() };
    let action = plans::rebuild(&root, "x.db", StoreKind::Sqlite);
    let done = plans::run_with(&state.at("state"), vec![action], &hooks);
    assert!(app.borrow().is_some(), "it was not asked again");
    assert_eq!((done.actions[0].done, done.exit()), (Done::Skipped, Exit::AppRunning), "{done:?}");
    before.assert_same(&tree.snapshot());
}

#[test]
fn what_the_app_wrote_since_the_repair_is_kept_in_place_or_named() {
    let shop = damaged();
    let before = shop.home.snapshot();
    shop.run.call(shop.args(&["repair", "--yes"])).expect(Exit::Ok);
    // A new file, one of an old name, and rows.
    for folder in ["cache/0", "cache/1"] {
        std::fs::create_dir_all(shop.at(folder)).unwrap();
    }
    std::fs::write(shop.at("cache/0/new"), "by the app").unwrap();
    std::fs::write(shop.at("cache/1/1.bin"), "newer").unwrap();
    let db = rusqlite::Connection::open(shop.at("messages.db")).unwrap();
    db.execute("INSERT INTO msg(sender, body) VALUES('later', 'later')", []).unwrap();
    db.close().unwrap();
    let since = shop.home.snapshot();
    let out = shop.run.call(["undo"]).expect_one_of(&[Exit::Ok, Exit::Left]);
    assert_eq!(std::fs::read(shop.at("cache/0/new")).unwrap(), b"by the app");
    std::fs::remove_file(shop.at("cache/0/new")).unwrap();
    let named = out.stdout.split_whitespace().collect::<Vec<_>>().join(" ");
    for name in ["cache/1/1.bin", "messages.db"] {
        assert!(named.contains(name) && named.contains("brings it back"), "{out}");
    }
    for name in [".cache/shop/messages.db", ".cache/shop/cache/1/1.bin", ".cache/shop/cache/3/3.bin"] {
        assert!(before.get(name) == shop.home.snapshot().get(name), "{name}");
    }
    let run = named.split("`shopmend undo ").nth(1).unwrap().split('`').next().unwrap().to_owned();
    shop.run.call(["undo", &run]).expect_one_of(&[Exit::Ok, Exit::Left]);
    for name in [".cache/shop/messages.db", ".cache/shop/cache/1/1.bin"] {
        assert_eq!(
            since.get(name).unwrap().content,
            shop.home.snapshot().get(name).unwrap().content,
            "{name}"
        );
    }
}

#[test]
fn an_undo_that_had_to_leave_something_goes_on() {
    let test = "an_undo_that_had_to_leave_something_goes_on";
    if !crate::faults::trace::available() {
        return skipped(test, "strace is missing or may not trace");
    }
    let shop = Shop::new().aged();
    let before = shop.home.snapshot();
    // One file is kept, so that the others go one by one.
    shop.run.call(shop.args(&["repair", "--yes", "--keep", "0.bin"])).expect_one_of(&[Exit::Ok, Exit::Left]);
    let plain = shop.run.command(["undo"]);
    let mut traced = Command::new("strace");
    traced.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=renameat2"]);
    traced.args(["-e", "inject=renameat2:error=EPERM:when=4"]);
    traced.arg(plain.get_program()).args(plain.get_args());
    shop.run.at_home(&mut traced);
    traced.env("PATH", std::env::var_os("PATH").unwrap());
    let first = traced.stdin(Stdio::null()).output().unwrap();
    assert_eq!(first.status.code(), Some(3), "{}", String::from_utf8_lossy(&first.stdout));
    let left = before.paths().count() - shop.home.snapshot().paths().count();
    assert_eq!(left, 1, "{}", String::from_utf8_lossy(&first.stdout));
    shop.run.call(["undo"]).expect(Exit::Ok);
    before.assert_same(&shop.home.snapshot());
}

#[test]
fn a_state_folder_that_was_copied_to_another_disk_undoes_everything() {
    for other_file_system in [false, true] {
        let shop = damaged();
        let before = shop.home.snapshot();
        shop.run.call(shop.args(&["repair", "--yes"])).expect(Exit::Ok);
        let memory = if other_file_system {
            tempfile::Builder::new().prefix("shopmend-").tempdir_in("/dev/shm").unwrap()
        } else {
            tempfile::tempdir().unwrap()
        };
        let copy = memory.path().canonicalize().unwrap().join("state");
        let copied = Command::new("cp").arg("-a").args([shop.run.state_path(), &copy]).status().unwrap();
        assert!(copied.success());
        let run = Run::new().home(shop.home.path()).state(&copy);
        run.call(["vault", "verify"]).expect(Exit::Ok);
        run.call(["undo"]).expect_one_of(&[Exit::Ok, Exit::Left]);
        before.assert_same(&shop.home.snapshot());
    }
}

#[test]
fn one_folder_that_is_away_stops_what_was_in_it_and_nothing_else() {
    let (tree, state) = (Tree::new(), Tree::new());
    for app in ["one", "two"] {
        tree.file(format!("{app}/cache/f"), app).file(format!("{app}/x.db"), "damaged");
    }
    tree.age();
    let before = ["one", "two"].map(|app| Snapshot::of(&tree.at(app)));
    let state = state.at("state");
    let actions = ["one", "two"].map(|app| {
        [plans::clear_whole(&tree.at(app), "cache"), plans::rebuild(&tree.at(app), "x.db", StoreKind::Sqlite)]
    });
    let run = plans::run(&state, actions.concat()).run;
    std::fs::rename(tree.at("one"), tree.at("away")).unwrap();
    let done = plans::undo_run(&state, &run).unwrap();
    assert_eq!((done.count(Done::Done), done.count(Done::Skipped)), (2, 2), "{done:?}");
    let why = done.actions.iter().find_map(|a| a.reason.clone()).unwrap();
    assert!(why.contains("/one") && why.contains("bring it back"), "{why}");
    std::fs::rename(tree.at("away"), tree.at("one")).unwrap();
    let done = plans::undo_run(&state, &run).unwrap();
    assert_eq!(done.count(Done::Done), 2, "{done:?}");
    for (before, app) in before.iter().zip(["one", "two"]) {
        before.assert_same(&Snapshot::of(&tree.at(app)));
    }
}

#[test]
fn a_run_that_was_cut_off_in_a_folder_that_is_away_stops_no_other() {
    let (tree, state) = (Tree::new(), Tree::new());
    for app in ["one", "two"] {
        tree.file(format!("{app}/x.db"), "damaged");
    }
    tree.age();
    let before = ["one", "two"].map(|app| Snapshot::of(&tree.at(app)));
    let state = state.at("state");
    let mend = |app| vec![plans::rebuild(&tree.at(app), "x.db", StoreKind::Sqlite)];
    // The process ends when both have changed places and nothing is committed.
    let ends = |store: &Affected| {
        assert!(store.moved.is_empty(), "the end of the process");
        Ok(())
    };
    let hooks = shopmend::repair::Hooks { running: &ends, ..plans::hooks() };
    let cut_off = std::panic::AssertUnwindSafe(|| plans::run_with(&state, mend("one"), &hooks));
    assert!(std::panic::catch_unwind(cut_off).is_err());
    std::fs::rename(tree.at("one"), tree.at("away")).unwrap();
    assert_ne!(std::fs::read(tree.at("away/x.db")).unwrap(), b"damaged");

    for _ in 0..2 {
        let recovered = shopmend::repair::recover(&plans::open(&state), &plans::down).unwrap();
        assert_eq!(recovered[0].waiting.len(), 1, "{recovered:?}");
        assert!(recovered[0].notes[0].contains("/one"), "{recovered:?}");
    }
    let done = plans::run(&state, mend("two"));
    assert_eq!(done.count(Done::Done), 1, "{done:?}");
    plans::undo_run(&state, &done.run).unwrap();
    before[1].assert_same(&Snapshot::of(&tree.at("two")));

    std::fs::rename(tree.at("away"), tree.at("one")).unwrap();
    let recovered = shopmend::repair::recover(&plans::open(&state), &plans::down).unwrap();
    assert_eq!((recovered[0].waiting.len(), recovered[0].taken_back.len()), (0, 1), "{recovered:?}");
    before[0].assert_same(&Snapshot::of(&tree.at("one")));
}

/// The default list of a folder in the kernel's form (acl(5)): user nobody may
/// do everything.
const DEFAULT_LIST: [u8; 44] = [
    2, 0, 0, 0, // version
    1, 0, 7, 0, 255, 255, 255, 255, // the owner
    2, 0, 7, 0, 254, 255, 0, 0, // user 65534
    4, 0, 5, 0, 255, 255, 255, 255, // the group
    16, 0, 7, 0, 255, 255, 255, 255, // the mask
    32, 0, 5, 0, 255, 255, 255, 255, // others
];

#[test]
fn a_default_access_list_is_not_taken_over_by_what_is_put_back() {
    let test = "a_default_access_list_is_not_taken_over_by_what_is_put_back";
    let shop = damaged();
    let names = ["messages.db", "cache/0/0.bin"];
    let set = |path: &Path| {
        rustix::fs::setxattr(path, "system.posix_acl_default", &DEFAULT_LIST, rustix::fs::XattrFlags::empty())
    };
    if set(&shop.at("")).and_then(|()| set(&shop.at("cache/0"))).is_err() {
        return skipped(test, "the file system has no access lists");
    }
    let lists = |path: &str| {
        rustix::fs::getxattr(shop.at(path), "system.posix_acl_access", &mut [0u8; 200][..]).is_ok()
    };
    let before = shop.home.snapshot();
    shop.run.call(shop.args(&["repair", "--yes"])).expect(Exit::Ok);
    assert!(!lists("messages.db"), "after the repair");
    shop.run.call(["undo"]).expect_one_of(&[Exit::Ok, Exit::Left]);
    for name in names {
        assert!(!lists(name), "{name} after the undo");
    }
    before.assert_same(&shop.home.snapshot());
}

#[test]
fn nothing_is_made_where_a_state_folder_should_be() {
    let tree = Tree::new();
    let run = Run::new().state(tree.at("media/usb/state"));
    for command in [
        &["undo"][..],
        &["vault", "list"],
        &["vault", "verify"],
        &["vault", "prune"],
        &["vault", "restore", "20260101T000000-0000"],
        &["vault", "export", "20260101T000000-0000", "out"],
    ] {
        let out = run.call(command).expect(Exit::Failed);
        assert!(out.stderr.contains("--state-dir"), "{out}");
        assert_eq!(std::fs::read_dir(tree.path()).unwrap().count(), 0, "{command:?}");
    }
    // A folder of other things is none either, and stays as it is.
    let other = tree.dir("other").at("other");
    tree.file("other/mine.txt", "mine");
    let before = tree.snapshot();
    Run::new().state(other).call(["vault", "list"]).expect(Exit::Failed);
    before.assert_same(&tree.snapshot());
}

#[test]
fn a_home_that_does_not_exist_is_an_error_and_is_not_made() {
    let tree = Tree::new();
    let home = tree.at("no-such-home");
    let run = Run::new().home(&home);
    for command in [&["scan"][..], &["repair", "--yes"]] {
        let out = run.call(command).expect(Exit::Usage);
        assert!(out.stderr.contains("no-such-home"), "{out}");
    }
    let mut bare = Command::new(env!("CARGO_BIN_EXE_shopmend"));
    let out = bare.arg("scan").env_clear().env("HOME", &home).output().unwrap();
    assert_eq!(out.status.code(), Some(64));
    assert!(!home.exists());
}

#[test]
fn root_leaves_nothing_of_its_own_in_anothers_home() {
    let test = "root_leaves_nothing_of_its_own_in_anothers_home";
    if !is_root() {
        return skipped(test, "only root can own nothing of its own there");
    }
    let shop = damaged();
    let all = Command::new("chown").args(["-R", "1234:1234"]).arg(shop.home.path()).status().unwrap();
    assert!(all.success());
    let before = shop.home.snapshot();
    // Root's own home is left alone as well, for the test's sake.
    let mut bare = Command::new(env!("CARGO_BIN_EXE_shopmend"));
    bare.args(shop.args(&["scan"])).env_clear().env("HOME", shop.home.path());
    bare.env("XDG_STATE_HOME", shop.home.at(".local/state"));
    let out = bare.args(["--state-dir"]).arg(shop.home.at("state")).output().unwrap();
    assert_eq!(out.status.code(), Some(1), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(String::from_utf8_lossy(&out.stdout).contains("another user"));
    before.assert_same(&shop.home.snapshot());
    shop.run.call(shop.args(&["repair", "--yes", "--allow-root"])).expect(Exit::Ok);
    let of_root = |s: &Snapshot| s.paths().filter(|p| s.get(p).unwrap().uid == 0).count();
    assert_eq!(of_root(&shop.home.snapshot()), 0);
}

#[test]
fn a_report_and_a_log_never_replace_what_is_not_their_own() {
    let shop = damaged();
    let victim = shop.home.at("victim");
    std::fs::write(&victim, "root only").unwrap();
    symlink(&victim, shop.home.at("report.txt")).unwrap();
    std::fs::write(shop.home.at("notes.txt"), "mine").unwrap();
    let before = shop.home.snapshot();
    for path in
        [shop.at("messages.db"), shop.at("new.txt"), shop.home.at("report.txt"), shop.home.at("notes.txt")]
    {
        let path = path.to_str().unwrap();
        for command in [&["scan", "--report", path][..], &["repair", "--yes", "--report", path]] {
            let out = shop.run.call(shop.args(command)).expect(Exit::Failed);
            assert!(out.stderr.contains(path), "{out}");
        }
    }
    for path in [shop.at("messages.db"), shop.home.at("report.txt"), shop.home.at("notes.txt")] {
        shop.run.call(shop.args(&["scan", "--log", path.to_str().unwrap()])).expect(Exit::Failed);
    }
    before.assert_same(&shop.home.snapshot());
    // Twice to the same place is no slip.
    let out = Tree::new();
    for format in ["text", "json", "html"] {
        let path = out.at(format);
        for _ in 0..2 {
            let args = ["scan", "--format", format, "--report", path.to_str().unwrap()];
            shop.run.call(shop.args(&args)).expect(Exit::Findings);
        }
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o077, 0);
    }
}

#[test]
fn a_salvage_takes_no_name_that_belongs_to_a_database() {
    let shop = damaged();
    let db = shop.at("messages.db");
    for suffix in ["-wal", "-journal", "-shm"] {
        let out = format!("{}{suffix}", db.display());
        let said = shop.run.call(["salvage", db.to_str().unwrap(), "-o", &out]).expect(Exit::Failed);
        assert!(said.stderr.contains(suffix) && !Path::new(&out).exists(), "{said}");
    }
    let out = Tree::new();
    let path = out.at("new.db");
    let said = shop.run.call(["salvage", db.to_str().unwrap(), "-o", path.to_str().unwrap()]);
    said.expect_one_of(&[Exit::Ok, Exit::Left]);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o077, 0, "it holds private rows");
}

#[test]
fn a_keep_pattern_that_matches_nothing_is_said_and_stops_what_cannot_be_undone() {
    let shop = Shop::new().aged();
    let before = shop.home.snapshot();
    let out =
        shop.run.call(shop.args(&["repair", "--yes", "--reclaim", "--keep", "Cahce/"])).expect(Exit::Usage);
    assert!(out.stderr.contains("Cahce/"), "{out}");
    before.assert_same(&shop.home.snapshot());
    let here = format!("{}/", shop.at("cache/0").display());
    let args = ["repair", "--yes", "--keep", "cache/1/", "--keep", &here, "--keep", "~/.cache/shop/cache/2"];
    shop.run.call(shop.args(&args)).expect_one_of(&[Exit::Ok, Exit::Left]);
    let left = |folder: &str| std::fs::read_dir(shop.at(folder)).unwrap().count();
    assert_eq!([left("cache/0"), left("cache/1"), left("cache/2"), left("cache/3")], [10, 10, 10, 0]);
}

#[test]
fn a_read_only_disk_is_said_and_does_not_stand_in_the_way_of_the_next_run() {
    let test = "a_read_only_disk_is_said_and_does_not_stand_in_the_way_of_the_next_run";
    if !is_root() {
        return skipped(test, "only root can mount");
    }
    let shop = damaged();
    let (image, elsewhere) = (Tree::new(), Tree::new());
    let run = |args: &[&str]| Command::new("mount").args(args).status().is_ok_and(|s| s.success());
    let (from, to) = (shop.home.path().to_str().unwrap(), image.path().to_str().unwrap());
    if !run(&["--bind", from, to]) || !run(&["-o", "remount,ro,bind", to]) {
        return skipped(test, "nothing can be mounted here");
    }
    let of_image = ["repair", "--yes", "--image", to, "--platform", "linux"];
    let out = shop.run.call(shop.args(&of_image));
    let unmounted = Command::new("umount").arg(to).status().unwrap();
    assert!(unmounted.success());
    drop(elsewhere);
    assert_eq!(out.code, Some(i32::from(Exit::Left.code())), "{out}");
    assert!(out.stdout.contains("read-only"), "{out}");
    shop.run.call(shop.args(&["repair", "--yes"])).expect(Exit::Ok);
}

#[test]
fn the_commands_by_hand_bring_back_folders_too() {
    for state_in_memory in [false, true] {
        let shop = damaged();
        std::fs::set_permissions(shop.at("cache/2"), std::fs::Permissions::from_mode(0o750)).unwrap();
        std::fs::set_permissions(shop.at(""), std::fs::Permissions::from_mode(0o711)).unwrap();
        if is_root() {
            let all = Command::new("chown").args(["-R", "1234:1235"]).arg(shop.home.path()).status().unwrap();
            assert!(all.success());
        }
        let shop = shop.aged();
        let before = shop.home.snapshot();
        let memory = tempfile::Builder::new().prefix("shopmend-").tempdir_in("/dev/shm").unwrap();
        let run = if state_in_memory {
            Run::new().home(shop.home.path()).state(memory.path().join("state"))
        } else {
            Run::new().home(shop.home.path())
        };
        run.call(shop.args(&["repair", "--yes", "--allow-root"])).expect(Exit::Ok);
        let runs = run.state_path().join("runs");
        let id = std::fs::read_dir(&runs).unwrap().next().unwrap().unwrap().file_name();
        let text = runs.join(id).join("RESTORE.txt");
        let done = Command::new("bash").arg(&text).output().unwrap();
        println!("{}", String::from_utf8_lossy(&done.stderr));
        before.assert_same(&shop.home.snapshot());
    }
}

/// Calls the program as a user who is not the system's owner.
fn as_user(shop: &Shop, program: &Path, args: &[&str]) -> (Option<i32>, String) {
    let plain = shop.run.command(shop.args(args));
    let mut command = if is_root() {
        let mut less = Command::new("setpriv");
        less.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(program);
        less
    } else {
        Command::new(program)
    };
    command.args(plain.get_args());
    shop.run.at_home(&mut command);
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    let out = command.stdin(Stdio::null()).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (out.status.code(), text(&out.stdout) + &text(&out.stderr))
}

#[test]
fn what_the_system_would_refuse_is_said_before_the_plan_is_agreed_to() {
    let test = "what_the_system_would_refuse_is_said_before_the_plan_is_agreed_to";
    if is_root() && !crate::support::skip::has("setpriv") {
        return skipped(test, "root may write everywhere, and there is no setpriv");
    }
    let all = Tree::new();
    let program = all.at("shopmend");
    std::fs::copy(env!("CARGO_BIN_EXE_shopmend"), &program).unwrap();
    std::fs::set_permissions(all.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    all.dir("home").dir("state");
    let mut shop = Shop::filling(Tree::under(&all.at("home")));
    shop.run = Run::new().home(shop.home.path()).state(all.at("state/own"));
    shop.break_index();
    let shop = shop.aged();
    std::fs::set_permissions(shop.at("cache/1"), std::fs::Permissions::from_mode(0o555)).unwrap();
    let chown = |who: &str, path: &Path| {
        assert!(!is_root() || Command::new("chown").args(["-R", who]).arg(path).status().unwrap().success());
    };
    chown("65534:65534", all.path());
    std::fs::set_permissions(shop.args(&[]).last().unwrap(), std::fs::Permissions::from_mode(0o755)).unwrap();

    let (code, said) = as_user(&shop, &program, &["repair", "--dry-run"]);
    assert_eq!(code, Some(1), "{said}");
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("10 files in it cannot be moved") && said.contains("`chmod u+w`"), "{said}");

    // All of it is closed, and the database is root's.
    for folder in ["cache/0", "cache/2", "cache/3"] {
        std::fs::set_permissions(shop.at(folder), std::fs::Permissions::from_mode(0o555)).unwrap();
    }
    chown("0:0", &shop.at("messages.db"));
    let before = shop.home.snapshot();
    let (code, said) = as_user(&shop, &program, &["repair", "--yes"]);
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(said.contains("nothing can be moved out of it"), "{said}");
    if is_root() {
        assert_eq!(code, Some(3), "{said}");
        assert!(said.contains("messages.db belongs to root; run as that user"), "{said}");
        assert!(!said.contains("rolled back"), "{said}");
        before.assert_same(&shop.home.snapshot());
    }
}

#[test]
fn a_disk_that_its_caches_fill_is_cleared() {
    let test = "a_disk_that_its_caches_fill_is_cleared";
    let Some(disk) = crate::crash::Mount::new("32m") else {
        return skipped(test, "mounting a tmpfs takes root");
    };
    let shop = Shop::filling(Tree::under(&disk.path()));
    for i in 0..8 {
        shop.home.file(format!(".cache/shop/cache/large/{i}"), vec![i; 1 << 20]);
    }
    let mut shop = shop.aged();
    shop.run = Run::new().home(shop.home.path()).state(disk.path().join("state"));
    let clear = shop.args(&["repair", "--yes", "--allow-root", "--only", "clear", "--reclaim"]);
    let fill = || {
        let filler = File::create(disk.path().join("filler")).unwrap();
        while std::io::Write::write(&mut &filler, &[1; 4096]).is_ok_and(|n| n > 0) {}
    };

    // Never run before: nothing could be kept, and the message says what helps.
    fill();
    let out = shop.run.call(&clear).expect(Exit::Failed);
    assert!(out.stderr.contains("--state-dir DIR") && out.stderr.contains("/dev/shm"), "{out}");
    std::fs::remove_file(disk.path().join("filler")).unwrap();

    // An earlier scan left room for the journal.
    shop.run.call(shop.args(&["scan"])).expect(Exit::Findings);
    fill();
    shop.run.call(&clear).expect(Exit::Ok);
    assert!(!shop.at("cache/large/0").exists());
    std::fs::remove_file(disk.path().join("filler")).unwrap();
    assert!(!disk.path().join("state/reserve").exists(), "it was not needed");
    shop.run.call(shop.args(&["scan"])).expect(Exit::Ok);
    assert!(disk.path().join("state/reserve").exists());
}

/// Stores of every kind, cleared, rebuilt and restored from their own backup:
/// what was there before comes back by hand.
fn by_hand(as_another: bool) {
    let base = Tree::new();
    let scene = crate::faults::scene::Scene::new(base.path());
    let program = base.at("program");
    std::fs::copy(env!("CARGO_BIN_EXE_shopmend"), &program).unwrap();
    let owned = |path: &Path| {
        let chown = || Command::new("chown").args(["-R", "65534:65534"]).arg(path).status().unwrap();
        assert!(!as_another || chown().success());
    };
    let call = |command: Command| {
        let mut out = if as_another {
            let mut less = Command::new("setpriv");
            less.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]);
            less.arg(if command.get_program() == "bash" { "bash".as_ref() } else { program.as_os_str() });
            less.args(command.get_args()).env_clear();
            less.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
            less
        } else {
            command
        };
        let out = out.stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&out.stdout) + String::from_utf8_lossy(&out.stderr);
        println!("{:?} {said}", out.status.code());
        out.status.code()
    };
    std::fs::set_permissions(base.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    let home = scene.command(&["repair"]);
    let home = home.get_envs().find(|(name, _)| *name == "HOME").and_then(|(_, home)| home).unwrap();
    std::fs::set_permissions(home, std::fs::Permissions::from_mode(0o755)).unwrap();
    owned(base.path());
    let image = scene.image();
    let before = Snapshot::of(&image);
    assert_eq!(call(scene.command(&["repair", "--yes"])), Some(0));
    assert!(!before.diff(&Snapshot::of(&image)).is_empty());
    let run = std::fs::read_dir(scene.state().join("runs")).unwrap().next().unwrap().unwrap().path();
    let mut shell = Command::new("bash");
    shell.arg(run.join("RESTORE.txt")).env("PATH", std::env::var_os("PATH").unwrap());
    call(shell);
    before.assert_same(&Snapshot::of(&image));
}

#[test]
fn the_commands_by_hand_bring_back_every_kind_of_store() {
    by_hand(false);
}

#[test]
fn the_commands_by_hand_work_for_the_owner_alone() {
    let test = "the_commands_by_hand_work_for_the_owner_alone";
    if !is_root() || !crate::support::skip::has("setpriv") {
        return skipped(test, "only root can become another user, and by setpriv");
    }
    by_hand(true);
}

#[test]
fn no_thread_to_be_had_is_an_error_that_says_so() {
    let test = "no_thread_to_be_had_is_an_error_that_says_so";
    if !crate::faults::trace::available() {
        return skipped(test, "strace is missing or may not trace");
    }
    let shop = damaged();
    let before = shop.home.snapshot();
    for from in 1..4 {
        let plain = shop.run.command(shop.args(&["repair", "--yes"]));
        let mut traced = Command::new("strace");
        traced.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=clone3"]);
        traced.arg("-e").arg(format!("inject=clone3:error=EAGAIN:when={from}+"));
        traced.arg(plain.get_program()).args(plain.get_args());
        shop.run.at_home(&mut traced);
        let out =
            traced.env("PATH", std::env::var_os("PATH").unwrap()).stdin(Stdio::null()).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(!said.contains("panicked"), "{said}");
        match out.status.code() {
            Some(5) => before.assert_same(&shop.home.snapshot()),
            // It had as many as it needed.
            Some(0) => {}
            other => panic!("{other:?}: {said}"),
        }
    }
}
