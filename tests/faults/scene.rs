//! A small device of an app with one store of each kind of work, the commands
//! that work on it, and what must hold after any of them was cut off.

use std::collections::BTreeSet;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use shopmend::control::Control;
use shopmend::sample::harm::break_index;
use shopmend::vault::{StateDir, list, verify};

use crate::support::shop;
use crate::support::tree::{Snapshot, Tree};

/// What runs while the fault happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Repair,
    Undo,
    Prune,
    /// The next start after a repair that was killed at a point.
    Recovery(super::trace::Point),
    /// The next start after an undo that was killed at a point.
    RecoveryOfUndo(super::trace::Point),
    Salvage,
    Backup,
    /// Putting back everything that a repair changed, by `vault restore`.
    Restore,
    Export,
    /// An undo of what an undo of one store left.
    RestOfUndo,
}

/// The device, the state folder, and a build of the program.
pub struct Scene {
    /// Everything that is traced lies below it.
    base: PathBuf,
    state: PathBuf,
    /// A deliberately wrong order, in a build that can be told to.
    wrong: Option<&'static str>,
    outside: Tree,
    model: Snapshot,
}

impl Scene {
    /// In a folder that is empty; the state beside the device.
    pub fn new(base: &Path) -> Self {
        let outside = Tree::new();
        outside.file(
            "profiles/shop.toml",
            shop::profile_of(&[shop::CACHE, shop::MESSAGES, shop::INDEX, shop::SETTINGS]),
        );
        device(&outside.at("device"));
        let model = Snapshot::of(&outside.at("device"));
        let scene = Self { base: base.to_owned(), state: base.join("state"), wrong: None, outside, model };
        scene.renew();
        scene
    }

    /// The state on another file system: then files are copied, not moved.
    pub fn state_at(mut self, state: PathBuf) -> Self {
        self.state = state;
        self
    }

    pub fn wrong(mut self, order: &'static str) -> Self {
        self.wrong = Some(order);
        self
    }

    pub fn base(&self) -> &Path {
        &self.base
    }

    pub fn state(&self) -> &Path {
        &self.state
    }

    pub fn image(&self) -> PathBuf {
        self.base.join("home")
    }

    /// What the device is like before anything was done.
    pub fn before(&self) -> &Snapshot {
        &self.model
    }

    pub fn now(&self) -> Snapshot {
        Snapshot::of(&self.image())
    }

    /// A file that is written for one run and lies outside of what is watched.
    pub fn trace(&self) -> PathBuf {
        self.outside.at("trace")
    }

    /// Makes the device anew, and forgets the state.
    pub fn renew(&self) {
        for old in [self.image(), self.state.clone(), self.base.join("tmp"), self.base.join("out")] {
            if old.exists() {
                std::fs::remove_dir_all(&old).unwrap();
            }
        }
        copy(&self.outside.at("device"), &self.image());
        for new in ["tmp", "out"] {
            std::fs::create_dir(self.base.join(new)).unwrap();
        }
    }

    pub fn command(&self, args: &[&str]) -> Command {
        let program = std::env::var_os("SHOPMEND_FAULTS_PROGRAM");
        let mut command = Command::new(program.unwrap_or_else(|| env!("CARGO_BIN_EXE_shopmend").into()));
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        // One thread: strace counts the calls of each by itself.
        command
            .env("HOME", self.outside.path())
            .env("TMPDIR", self.base.join("tmp"))
            .env("RAYON_NUM_THREADS", "1");
        if let Some(order) = self.wrong {
            command.env("SHOPMEND_WRONG_ORDER", order);
        }
        command.arg("--state-dir").arg(&self.state).args(args).stdin(Stdio::null());
        if ["repair", "backup"].contains(&args[0]) {
            command
                .args(["--app", "shop", "--platform", "linux", "--profiles"])
                .arg(self.outside.at("profiles"));
            command.arg("--image").arg(self.image());
        }
        command
    }

    /// What is run under the fault, after everything that it builds on is done.
    pub fn prepare(&self, what: &What) -> Command {
        let repair = ["repair", "--yes"];
        match what {
            What::Repair => self.command(&repair),
            What::Undo => {
                self.done(&repair);
                self.command(&["undo"])
            }
            What::Prune => {
                self.done(&["backup"]);
                self.done(&repair);
                self.command(&["vault", "prune", "--keep-last", "0"])
            }
            What::Recovery(at) => {
                super::trace::faulted(&self.command(&repair), &self.trace(), at, super::trace::Fault::Kill);
                self.command(&["vault", "prune"])
            }
            What::RecoveryOfUndo(at) => {
                self.done(&repair);
                super::trace::faulted(&self.command(&["undo"]), &self.trace(), at, super::trace::Fault::Kill);
                self.command(&["vault", "prune"])
            }
            What::Backup => self.command(&["backup"]),
            What::Restore => {
                self.done(&repair);
                self.command(&["vault", "restore", &self.run()])
            }
            What::Export => {
                self.done(&repair);
                let to = self.base.join("out/export").display().to_string();
                self.command(&["vault", "export", &self.run(), &to])
            }
            What::RestOfUndo => {
                self.done(&repair);
                self.done(&["undo", "--store", &self.store("messages.db")]);
                self.command(&["undo"])
            }
            What::Salvage => {
                let (from, to) = (self.at("messages.db"), self.base.join("out/new.db"));
                self.command(&["salvage", &from.display().to_string(), "-o", &to.display().to_string()])
            }
        }
    }

    /// The first run.
    fn run(&self) -> String {
        let state = StateDir::open(&self.state).unwrap();
        state.runs().unwrap()[0].to_string()
    }

    /// The id of the store that a run worked on at a path.
    fn store(&self, path: &str) -> String {
        let runs = list(&StateDir::open(&self.state).unwrap()).unwrap();
        let mut stores = runs.iter().flat_map(|r| &r.stores);
        stores.find(|s| s.path.ends_with(path)).unwrap().store.clone()
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.image().join(".cache/shop").join(path)
    }

    /// Runs a command that has to succeed.
    #[track_caller]
    pub fn done(&self, args: &[&str]) {
        let (code, said) = self.call(args);
        // The stores of the scene are damaged: a copy is of the damage, and an undo brings it back.
        assert!([Some(0), Some(1), Some(3)].contains(&code), "{args:?}: {code:?} {said}");
    }

    pub fn call(&self, args: &[&str]) -> (Option<i32>, String) {
        let out = self.command(args).output().unwrap();
        let said =
            format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        (out.status.code(), said)
    }

    /// What may be true at no instant, not even right after a kill.
    pub fn instant(&self) -> Result<(), String> {
        let old = |name: &str| {
            let now = std::fs::read(self.at(name)).ok();
            now.is_some() && now == self.model.get(format!(".cache/shop/{name}")).map(|n| n.content.clone())
        };
        if self.at("messages.db").exists() && !old("messages.db") && old("messages.db-wal") {
            return Err("a new database stands beside an old log".to_owned());
        }
        Ok(())
    }

    /// Starts again as the next run does, brings everything back, and compares
    /// it with the beginning.
    pub fn settle(&self, what: &What) -> Result<(), String> {
        self.instant()?;
        if *what == What::Salvage {
            return self.salvaged();
        }
        if self.state.exists() {
            let (code, said) = self.call(&["vault", "prune"]);
            if code != Some(0) {
                return Err(format!("the next start ended with {code:?}: {said}"));
            }
        }
        self.kept(*what == What::Prune)?;
        if self.state.exists() {
            if *what == What::Prune {
                return self.pruned();
            }
            self.bring_back()?;
        }
        let diff = self.model.diff(&self.now());
        if diff.is_empty() { Ok(()) } else { Err(format!("brought back, but\n{}", diff.join("\n"))) }
    }

    /// Whether every original content still exists somewhere, and every copy
    /// can be read back.
    fn kept(&self, pruned: bool) -> Result<(), String> {
        let mut there: BTreeSet<Vec<u8>> = contents(&self.image());
        if self.state.exists() {
            there.extend(contents(&self.state));
            let found = StateDir::open(&self.state)
                .and_then(|state| verify(&state, &Control::default()))
                .map_err(|e| format!("the vault cannot be verified: {e}"))?;
            if let Some(problem) = found.problems.first() {
                return Err(format!("{}: {}", problem.path, problem.what));
            }
        }
        for path in self.model.paths() {
            // What was cleared is given up by pruning on purpose.
            if pruned && path.starts_with(".cache/shop/cache") {
                continue;
            }
            let node = self.model.get(path).unwrap();
            if node.kind == "file" && !there.contains(&node.content) {
                return Err(format!("LOST: the content of {}", path.display()));
            }
        }
        Ok(())
    }

    /// Undoes, through the program, whatever is not undone yet.
    fn bring_back(&self) -> Result<(), String> {
        let runs = StateDir::open(&self.state).and_then(|s| list(&s)).map_err(|e| e.to_string())?;
        for run in runs.iter().filter(|r| r.kind == "repair") {
            if run.stores.iter().all(|s| s.undone_by.is_some() || s.files == 0) {
                continue;
            }
            let (code, said) = self.call(&["undo", run.run.as_str()]);
            if !is_whole(code, &said) {
                return Err(format!("the undo of {} ended with {code:?}: {said}", run.run));
            }
        }
        Ok(())
    }

    /// After pruning, done or not: the device is untouched, and the newest
    /// backup of what is no cache can be written out.
    fn pruned(&self) -> Result<(), String> {
        let out = self.base.join("out/restored");
        let runs = StateDir::open(&self.state).and_then(|s| list(&s)).map_err(|e| e.to_string())?;
        for run in &runs {
            let to = out.join(run.run.as_str());
            std::fs::create_dir_all(&out).unwrap();
            self.call(&["vault", "restore", run.run.as_str(), "--to", &to.display().to_string()]);
        }
        let restored = contents(&out);
        for name in ["messages.db", "messages.db-wal", "settings.xml"] {
            let original = &self.model.get(format!(".cache/shop/{name}")).unwrap().content;
            if !restored.contains(original) {
                return Err(format!("LOST: no run gives {name} back"));
            }
        }
        Ok(())
    }

    /// After a salvage, done or not: the input is untouched, and the output is
    /// whole or not there.
    fn salvaged(&self) -> Result<(), String> {
        let diff = self.model.diff(&self.now());
        if !diff.is_empty() {
            return Err(format!("the input changed:\n{}", diff.join("\n")));
        }
        let new = self.base.join("out/new.db");
        if !new.exists() {
            return Ok(());
        }
        let count = || -> rusqlite::Result<(i64, i64, String)> {
            let db = rusqlite::Connection::open(&new)?;
            Ok((
                db.query_row("SELECT count(*) FROM msg", [], |r| r.get(0))?,
                db.query_row("SELECT count(*) FROM late", [], |r| r.get(0))?,
                db.query_row("PRAGMA integrity_check", [], |r| r.get(0))?,
            ))
        };
        match count() {
            Ok((60, 20, ok)) if ok == "ok" => Ok(()),
            other => Err(format!("what was salvaged is not whole: {other:?}")),
        }
    }
}

/// Every file's content below a folder.
fn contents(root: &Path) -> BTreeSet<Vec<u8>> {
    Snapshot::of(root).contents().into_iter().map(<[u8]>::to_vec).collect()
}

/// The device: a cache with old and young entries, a database with a log whose
/// index is damaged, a LevelDB with a bad block, settings that were torn.
fn device(home: &Path) {
    let app = home.join(".cache/shop");
    let write = |path: &str, content: &[u8]| {
        let path = app.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    };
    write("cache/0/one", b"the first");
    write("cache/0/two", b"the second");
    write("cache/1/deep/three", b"the third");
    write("cache/2/old", b"an old one");
    let odd = app.join("cache/2").join(std::ffi::OsStr::from_bytes(b"odd \xff\n'name"));
    std::fs::write(odd, "a hard name").unwrap();
    write("drafts/one.json", b"{}");

    let made = Tree::new();
    let path = made.at("messages.db");
    let db = rusqlite::Connection::open(&path).unwrap();
    db.execute_batch(
        "PRAGMA page_size=1024; PRAGMA journal_mode=WAL; PRAGMA wal_autocheckpoint=0;
         CREATE TABLE msg(id INTEGER PRIMARY KEY, sender TEXT, body TEXT); CREATE INDEX by_sender ON msg(sender);
         CREATE TABLE late(id INTEGER PRIMARY KEY, body TEXT);",
    )
    .unwrap();
    for i in 0..60 {
        db.execute(
            "INSERT INTO msg(sender, body) VALUES(?1, ?2)",
            (format!("s{}", i % 7), format!("text {i}")),
        )
        .unwrap();
    }
    db.execute_batch("PRAGMA wal_checkpoint(TRUNCATE)").unwrap();
    for i in 0..20 {
        db.execute("INSERT INTO late(body) VALUES(?1)", [format!("later {i}")]).unwrap();
    }
    for name in ["messages.db", "messages.db-wal"] {
        write(name, &std::fs::read(made.at(name)).unwrap());
    }
    break_index(&app.join("messages.db")).unwrap();

    let records: Vec<(Vec<u8>, Vec<u8>)> =
        (0..30).map(|i| (format!("key {i:03}").into_bytes(), vec![b'v'; 40])).collect();
    let index = shopmend::sample::Tree::new(&app.join("index"), std::time::SystemTime::now());
    shopmend::sample::leveldb::folder(&index, &records, 1).unwrap();
    let manifest = app.join("index/CURRENT");
    std::fs::write(manifest, "MANIFEST-999999\n").unwrap();

    write("settings.xml", b"<?xml version='1.0' encoding='utf-8' standalone='yes' ?>\n<map>\n<int na");
    write(
        "settings.xml.bak",
        b"<?xml version='1.0' encoding='utf-8' standalone='yes' ?>\n<map>\n    <int name=\"a\" value=\"1\" />\n</map>\n",
    );
    age(home);
    // A young entry keeps its folder from going as a whole.
    std::fs::write(app.join("cache/2/young"), "a young one").unwrap();
}

/// Everything gets an old time of its own.
fn age(dir: &Path) {
    fn all(dir: &Path, out: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                all(&path, out);
            }
            out.push(path);
        }
    }
    let mut paths = Vec::new();
    all(dir, &mut paths);
    for (i, path) in paths.iter().enumerate() {
        set_time(path, 1_500_000_000_123_456_789 + i as i128 * 1_000_000_001);
    }
}

fn set_time(path: &Path, ns: i128) {
    use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, utimensat};
    let time = Timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 };
    let times = Timestamps { last_access: time, last_modification: time };
    utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// Copies a tree with its times.
fn copy(from: &Path, to: &Path) {
    use std::os::unix::fs::MetadataExt as _;
    let meta = from.metadata().unwrap();
    if meta.is_dir() {
        std::fs::create_dir(to).unwrap();
        for entry in std::fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            copy(&entry.path(), &to.join(entry.file_name()));
        }
    } else {
        std::fs::copy(from, to).unwrap();
    }
    std::fs::set_permissions(to, meta.permissions()).unwrap();
    set_time(to, i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec()));
}

/// Whether a run did all that it set out to do. What it leaves may still be
/// damaged, as after an undo: that is 3.
pub fn is_whole(code: Option<i32>, said: &str) -> bool {
    let short = ["skipped  ", "left alone", "done in part", "rolled back", "not done", "FAILED"];
    code == Some(0) || (code == Some(3) && !short.iter().any(|word| said.contains(word)))
}
